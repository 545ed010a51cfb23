/* The root of a block from its lines: schemas/integrity.py, `lines_root`.
 *
 * SHA-256 (FIPS 180-4) by the instructions that x86-64 processors have for it. Each waits for the one before, so two messages are
 * hashed side by side, in nearly the time of one. Where the processor, or the compiler, has no such instructions the module has no
 * `root`, and OpenSSL does the work.
 */

#include "hot.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)

#include <cpuid.h>
#include <immintrin.h>

#define LANES 2
#define USES_SHA __attribute__((target("sha,sse4.1,ssse3")))

static const uint32_t K[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* A message: one byte that tells a leaf (0) from a node (1), then data. Its blocks are `head`, if it fills one, blocks of the data
 * as it lies there, and one or two in `tail`: what is left, a bit, zeros, the length. `state` holds the words A B E F and C D G H from
 * the highest down, as the instructions want them. */
typedef struct {
    __m128i state[2];
    const unsigned char *data;
    size_t full, blocks, done;
    unsigned char head[64], tail[128];
} Message;

USES_SHA static void begin(Message *message, unsigned char first, const unsigned char *data, size_t size) {
    size_t whole = size + 1, rest = whole % 64, ends = rest < 56 ? 1 : 2;
    message->state[0] = _mm_set_epi32(0x6a09e667, (int)0xbb67ae85, 0x510e527f, (int)0x9b05688c);
    message->state[1] = _mm_set_epi32(0x3c6ef372, (int)0xa54ff53a, 0x1f83d9ab, 0x5be0cd19);
    message->data = data;
    message->full = whole / 64;
    message->blocks = message->full + ends;
    message->done = 0;
    memset(message->tail, 0, 64 * ends);
    if (message->full) {
        message->head[0] = first;
        memcpy(message->head + 1, data, 63);
        memcpy(message->tail, data + size - rest, rest);
    } else {
        message->tail[0] = first;
        memcpy(message->tail + 1, data, size);
    }
    message->tail[rest] = 0x80;
    for (int n = 0; n < 8; n++)
        message->tail[64 * ends - 1 - n] = (unsigned char)((uint64_t)whole << 3 >> 8 * n);
}

static const unsigned char *next_block(Message *message) {
    size_t n = message->done++;
    if (n >= message->full)
        return message->tail + 64 * (n - message->full);
    return n ? message->data + 64 * n - 1 : message->head;
}

/* Take the next block of each of so many messages. */
USES_SHA static inline __attribute__((always_inline)) void compress(Message *messages, int lanes) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef[LANES], cdgh[LANES], w[LANES][4];
    const unsigned char *block[LANES];
    for (int lane = 0; lane < lanes; lane++) {
        abef[lane] = messages[lane].state[0];
        cdgh[lane] = messages[lane].state[1];
        block[lane] = next_block(&messages[lane]);
    }
#pragma GCC unroll 16
    for (int n = 0; n < 16; n++) {
        const __m128i k = _mm_load_si128((const __m128i *)(K + 4 * n));
#pragma GCC unroll 2
        for (int lane = 0; lane < lanes; lane++) {
            __m128i *now = &w[lane][n % 4], last = w[lane][(n + 3) % 4];
            if (n < 4)
                *now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block[lane] + 16 * n)), big_endian);
            else
                *now = _mm_sha256msg2_epu32(
                    _mm_add_epi32(_mm_sha256msg1_epu32(*now, w[lane][(n + 1) % 4]), _mm_alignr_epi8(last, w[lane][(n + 2) % 4], 4)), last);
            __m128i sum = _mm_add_epi32(*now, k);
            cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], sum);
            abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], _mm_shuffle_epi32(sum, 0x0e));
        }
    }
    for (int lane = 0; lane < lanes; lane++) {
        messages[lane].state[0] = _mm_add_epi32(messages[lane].state[0], abef[lane]);
        messages[lane].state[1] = _mm_add_epi32(messages[lane].state[1], cdgh[lane]);
    }
}

USES_SHA static void finish(Message *message, unsigned char digest[32]) {
    while (message->done < message->blocks)
        compress(message, 1);
    uint32_t words[8];
    _mm_storeu_si128((__m128i *)words, message->state[0]);
    _mm_storeu_si128((__m128i *)(words + 4), message->state[1]);
    static const int order[8] = {3, 2, 7, 6, 1, 0, 5, 4}; /* A B C D E F G H */
    for (int n = 0; n < 8; n++) {
        uint32_t word = words[order[n]];
        for (int byte = 0; byte < 4; byte++)
            digest[4 * n + byte] = (unsigned char)(word >> (24 - 8 * byte));
    }
}

/* Hash two messages that were begun. */
USES_SHA static void hash_both(Message messages[LANES], unsigned char *digests) {
    while (messages[0].done < messages[0].blocks && messages[1].done < messages[1].blocks)
        compress(messages, LANES);
    finish(&messages[0], digests);
    finish(&messages[1], digests + 32);
}

int can_hash(void) {
    unsigned a, b, c, d;
    return __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 29 & 1;
}

/* Replace so many hashes of a level by those of the level above it; return how many these are. An odd last one moves up. */
static Py_ssize_t level_above(unsigned char *level, Py_ssize_t count) {
    Message messages[LANES];
    Py_ssize_t pairs = count / 2, n = 0;
    for (; n + 1 < pairs; n += 2) {
        begin(&messages[0], 1, level + 64 * n, 64);
        begin(&messages[1], 1, level + 64 * (n + 1), 64);
        hash_both(messages, level + 32 * n);
    }
    if (n < pairs) {
        begin(&messages[0], 1, level + 64 * n, 64);
        finish(&messages[0], level + 32 * n);
    }
    if (count % 2)
        memmove(level + 32 * pairs, level + 32 * (count - 1), 32);
    return pairs + count % 2;
}

PyObject *root(PyObject *module, PyObject *given) {
    PyObject *lines = PySequence_Tuple(given);
    if (lines == NULL)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(lines);
    if (count == 0) {
        PyErr_SetString(PyExc_ValueError, "there are no lines");
        Py_DECREF(lines);
        return NULL;
    }
    for (Py_ssize_t n = 0; n < count; n++) {
        if (!PyBytes_Check(PyTuple_GET_ITEM(lines, n))) {
            PyErr_SetString(PyExc_TypeError, "lines are bytes");
            Py_DECREF(lines);
            return NULL;
        }
    }
    unsigned char *level = count > PY_SSIZE_T_MAX / 32 ? NULL : PyMem_RawMalloc(32 * (size_t)count);
    if (level == NULL) {
        Py_DECREF(lines);
        return PyErr_NoMemory();
    }
    Message messages[LANES];
#define BEGIN(lane, n) \
    begin(&messages[lane], 0, (unsigned char *)PyBytes_AS_STRING(PyTuple_GET_ITEM(lines, n)), (size_t)PyBytes_GET_SIZE(PyTuple_GET_ITEM(lines, n)))
    Py_ssize_t n = 0;
    for (; n + 1 < count; n += 2) {
        BEGIN(0, n);
        BEGIN(1, n + 1);
        hash_both(messages, level + 32 * n);
    }
    if (n < count) {
        BEGIN(0, n);
        finish(&messages[0], level + 32 * n);
    }
    while (count > 1)
        count = level_above(level, count);
    PyObject *made = PyBytes_FromStringAndSize((char *)level, 32);
    PyMem_RawFree(level);
    Py_DECREF(lines);
    return made;
}

#else

int can_hash(void) { return 0; }

PyObject *root(PyObject *module, PyObject *lines) {
    PyErr_SetString(PyExc_NotImplementedError, "this processor has no instructions for SHA-256");
    return NULL;
}

#endif
