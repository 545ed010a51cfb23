/* What each statement needs word for word, in C: beside the Python it stands in for, and with the same results.
 *
 *     outcome, dynamic    the two fragments of an event that are its own     ingest/protocols/postgres/executions.py
 *     frame               one frame of a write-ahead segment                 ingest/spool/frames.py
 *     intent, ended       records of a statement                             ingest/spool/records.py
 *     Keyed               tokens of values: BLAKE2b (RFC 7693), 8 bytes      processors/statements/tokens.py
 *     bound               the values of a Bind that is a repetition          ingest/protocols/postgres/repeats.py
 *     length_at           a message's length                                 ingest/protocols/postgres/framing.py
 *     now_us              the clock                                          ingest/net/clock.py
 *     replay              event lines of frames, in replay.c                 ingest/spool/sealing.py
 *     root                the root of a block, in leaves.c                   schemas/integrity.py
 *     without_digits, numbers     texts that differ in whole numbers only    processors/statements/shapes.py
 *
 * `deploy.compiled` builds it as `schemas._hot`; where it is not, the Python runs. tests/unit/test_native.py holds the two to
 * each other. No function keeps anything but Keyed, which keeps the state that its key leads to.
 */

#include "hot.h"

#include <string.h>
#include <time.h>

/* -- Text that grows ------------------------------------------------------------------------------------------------- */

#define ROOM 1024

typedef struct {
    char *at;
    size_t size, room;
    char own[ROOM];
} Text;

static void begin(Text *text) {
    text->at = text->own;
    text->size = 0;
    text->room = ROOM;
}

static void drop(Text *text) {
    if (text->at != text->own)
        PyMem_Free(text->at);
}

static int grow(Text *text, size_t more) {
    size_t room = 2 * text->room + more;
    char *larger = PyMem_Malloc(room);
    if (larger == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(larger, text->at, text->size);
    drop(text);
    text->at = larger;
    text->room = room;
    return 0;
}

/* Inline, so that a literal is copied by a few instructions. */
static inline int add(Text *text, const char *data, size_t size) {
    if (size > text->room - text->size && grow(text, size) < 0)
        return -1;
    memcpy(text->at + text->size, data, size);
    text->size += size;
    return 0;
}

#define ADD(text, literal) add(text, literal, sizeof(literal) - 1)

static int add_bytes(Text *text, PyObject *given) {
    char *data;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(given, &data, &size) < 0)
        return -1;
    return add(text, data, (size_t)size);
}

static int add_number(Text *text, PyObject *given) {
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(given, &overflow);
    if (overflow) {
        PyObject *word = PyObject_Str(given);
        if (word == NULL)
            return -1;
        Py_ssize_t size;
        const char *digits = PyUnicode_AsUTF8AndSize(word, &size);
        int failed = digits == NULL ? -1 : add(text, digits, (size_t)size);
        Py_DECREF(word);
        return failed;
    }
    if (value == -1 && PyErr_Occurred())
        return -1;
    char digits[24];
    char *end = digits + sizeof digits, *first = end;
    unsigned long long left = value < 0 ? 0ULL - (unsigned long long)value : (unsigned long long)value;
    do {
        *--first = (char)('0' + left % 10);
        left /= 10;
    } while (left);
    if (value < 0)
        *--first = '-';
    return add(text, first, (size_t)(end - first));
}

static int expects(const char *name, Py_ssize_t given, Py_ssize_t wanted) {
    if (given == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, not %zd", name, wanted, given);
    return -1;
}

/* -- Fragments of events --------------------------------------------------------------------------------------------- */

static PyObject *outcome(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (expects("outcome", count, 11) < 0)
        return NULL;
    Text text;
    begin(&text);
    PyObject *made = NULL;
    if (ADD(&text, ",\"ended_at\":") == 0 && add_number(&text, args[0]) == 0 &&
        ADD(&text, ",\"outcome\":{\"status\":\"") == 0 && add_bytes(&text, args[1]) == 0 &&
        ADD(&text, "\",\"sqlstate\":\"") == 0 && add_bytes(&text, args[2]) == 0 &&
        ADD(&text, "\",\"rows_returned\":") == 0 && add_number(&text, args[3]) == 0 &&
        ADD(&text, ",\"rows_affected\":") == 0 && add_number(&text, args[4]) == 0 &&
        ADD(&text, ",\"bytes_in\":") == 0 && add_number(&text, args[5]) == 0 &&
        ADD(&text, ",\"bytes_out\":") == 0 && add_number(&text, args[6]) == 0 &&
        ADD(&text, ",\"db_us\":") == 0 && add_number(&text, args[7]) == 0 &&
        ADD(&text, ",\"held_us\":") == 0 && add_number(&text, args[8]) == 0 &&
        ADD(&text, ",\"total_us\":") == 0 && add_number(&text, args[9]) == 0 &&
        ADD(&text, "},\"exposure\":") == 0 && add_bytes(&text, args[10]) == 0)
        made = PyBytes_FromStringAndSize(text.at, (Py_ssize_t)text.size);
    drop(&text);
    return made;
}

static int add_tokens(Text *text, PyObject *tokens) {
    PyObject *items = PySequence_Fast(tokens, "tokens are not a sequence");
    if (items == NULL)
        return -1;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(items);
    int failed = add(text, count ? "[\"" : "[", count ? 2 : 1);
    for (Py_ssize_t n = 0; n < count && !failed; n++) {
        Py_ssize_t size;
        const char *token = PyUnicode_AsUTF8AndSize(PySequence_Fast_GET_ITEM(items, n), &size);
        failed = token == NULL ? -1 : add(text, token, (size_t)size);
        if (!failed && n + 1 < count)
            failed = ADD(text, "\",\"");
    }
    Py_DECREF(items);
    return failed ? -1 : add(text, count ? "\"]" : "]", count ? 2 : 1);
}

static PyObject *dynamic(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (expects("dynamic", count, 5) < 0)
        return NULL;
    Text text;
    begin(&text);
    PyObject *made = NULL;
    if (ADD(&text, ",\"kind\":\"") == 0 && add_bytes(&text, args[0]) == 0 &&
        ADD(&text, "\",\"transaction\":\"") == 0 && add_bytes(&text, args[1]) == 0 &&
        ADD(&text, "\",\"params\":") == 0 && add_tokens(&text, args[2]) == 0 &&
        ADD(&text, ",\"claims\":") == 0 && add_bytes(&text, args[3]) == 0 &&
        ADD(&text, ",\"decision\":") == 0 && add_bytes(&text, args[4]) == 0)
        made = PyBytes_FromStringAndSize(text.at, (Py_ssize_t)text.size);
    drop(&text);
    return made;
}

/* -- Frames ---------------------------------------------------------------------------------------------------------- */

static uint32_t crc_of[8][256];

static void make_crc(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t value = n;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? 0xEDB88320U ^ (value >> 1) : value >> 1;
        crc_of[0][n] = value;
    }
    for (int table = 1; table < 8; table++)
        for (int n = 0; n < 256; n++)
            crc_of[table][n] = (crc_of[table - 1][n] >> 8) ^ crc_of[0][crc_of[table - 1][n] & 255];
}

/* Go on with a check sum from its state, which is the sum's complement. */
static uint32_t crc_on(uint32_t value, const unsigned char *data, size_t size) {
    for (; size >= 8; data += 8, size -= 8) {
        uint32_t low = little32(data) ^ value, high = little32(data + 4);
        value = crc_of[7][low & 255] ^ crc_of[6][low >> 8 & 255] ^ crc_of[5][low >> 16 & 255] ^ crc_of[4][low >> 24] ^
                crc_of[3][high & 255] ^ crc_of[2][high >> 8 & 255] ^ crc_of[1][high >> 16 & 255] ^ crc_of[0][high >> 24];
    }
    while (size--)
        value = value >> 8 ^ crc_of[0][(value ^ *data++) & 255];
    return value;
}

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

static int multiplies; /* whether the processor multiplies without carry */

#define FOLD(x, by, next) \
    _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, by, 0x00), _mm_clmulepi64_si128(x, by, 0x11)), next)

/* Fold 64 bytes or more, a multiple of 16, to 16 with the same remainder, four times 16 side by side: Gopal and others, "Fast CRC
 * computation for generic polynomials using PCLMULQDQ". The factors are powers of x modulo zlib's polynomial. */
__attribute__((target("pclmul,sse4.1"))) static void fold(uint32_t value, const unsigned char *data, size_t size, unsigned char rest[16]) {
    const __m128i by_64 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4), by_16 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i *at = (const __m128i *)data;
    __m128i x[4];
    for (int n = 0; n < 4; n++)
        x[n] = _mm_loadu_si128(at++);
    x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)value));
    for (size -= 64; size >= 64; size -= 64)
        for (int n = 0; n < 4; n++) {
            x[n] = FOLD(x[n], by_64, _mm_loadu_si128(at));
            at++;
        }
    for (int n = 1; n < 4; n++)
        x[0] = FOLD(x[0], by_16, x[n]);
    for (; size >= 16; size -= 16) {
        x[0] = FOLD(x[0], by_16, _mm_loadu_si128(at));
        at++;
    }
    _mm_storeu_si128((__m128i *)rest, x[0]);
}

uint32_t crc(const unsigned char *data, size_t size) {
    if (!multiplies || size < 64)
        return ~crc_on(0xFFFFFFFFU, data, size);
    unsigned char rest[16];
    size_t folded = size & ~(size_t)15;
    fold(0xFFFFFFFFU, data, folded, rest);
    return ~crc_on(crc_on(0, rest, 16), data + folded, size - folded);
}

#else

uint32_t crc(const unsigned char *data, size_t size) { return ~crc_on(0xFFFFFFFFU, data, size); }

#endif

static void put32(unsigned char *at, uint32_t value) {
    for (int n = 0; n < 4; n++)
        at[n] = (unsigned char)(value >> 8 * n);
}

#define HEADER 24

static PyObject *frame(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (expects("frame", count, 3) < 0)
        return NULL;
    unsigned long long epoch = PyLong_AsUnsignedLongLong(args[0]), number = PyLong_AsUnsignedLongLong(args[1]);
    char *payload;
    Py_ssize_t length;
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(args[2], &payload, &length) < 0)
        return NULL;
    if (epoch > UINT32_MAX || number > UINT32_MAX || (size_t)length > 0x7FFFFFFF) {
        PyErr_SetString(PyExc_OverflowError, "a frame's epoch, number or length is too large");
        return NULL;
    }
    PyObject *made = PyBytes_FromStringAndSize(NULL, HEADER + length + 1);
    if (made == NULL)
        return NULL;
    unsigned char *at = (unsigned char *)PyBytes_AS_STRING(made);
    memcpy(at, MAGIC, 4);
    put32(at + 8, (uint32_t)length);
    put32(at + 12, (uint32_t)epoch);
    put32(at + 16, (uint32_t)number);
    put32(at + 4, crc(at + 8, 12));
    put32(at + 20, crc((unsigned char *)payload, (size_t)length));
    memcpy(at + HEADER, payload, (size_t)length);
    at[HEADER + length] = '\n';
    return made;
}

static void put64(unsigned char *at, uint64_t value) {
    put32(at, (uint32_t)value);
    put32(at + 4, (uint32_t)(value >> 32));
}

/* A record: kind, length of what follows, `size` bytes of numbers to be filled in, and a fragment. */
static unsigned char *record(PyObject **made, unsigned char kind, size_t size, PyObject *fragment) {
    char *data;
    Py_ssize_t length;
    *made = NULL;
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(fragment, &data, &length) < 0)
        return NULL;
    if ((size_t)length > UINT32_MAX - size) {
        PyErr_SetString(PyExc_OverflowError, "a record's fragment is too large");
        return NULL;
    }
    *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(5 + size) + length);
    if (*made == NULL)
        return NULL;
    unsigned char *at = (unsigned char *)PyBytes_AS_STRING(*made);
    at[0] = kind;
    put32(at + 1, (uint32_t)(size + (size_t)length));
    memcpy(at + 5 + size, data, (size_t)length);
    return at + 5;
}

static PyObject *intent(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (expects("intent", count, 5) < 0)
        return NULL;
    unsigned long long number = PyLong_AsUnsignedLongLong(args[0]);
    long long when = PyLong_AsLongLong(args[1]);
    unsigned long long context = PyLong_AsUnsignedLongLong(args[2]), statement = PyLong_AsUnsignedLongLong(args[3]);
    if (!PyErr_Occurred() && (context > UINT32_MAX || statement > UINT32_MAX))
        PyErr_SetString(PyExc_OverflowError, "a definition's number is too large");
    PyObject *made;
    unsigned char *at = record(&made, 3, 24, args[4]);
    if (at != NULL) {
        put64(at, number);
        put64(at + 8, (uint64_t)when);
        put32(at + 16, (uint32_t)context);
        put32(at + 20, (uint32_t)statement);
    }
    return made;
}

static PyObject *ended(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (expects("ended", count, 3) < 0)
        return NULL;
    unsigned long long number = PyLong_AsUnsignedLongLong(args[0]), seq = PyLong_AsUnsignedLongLong(args[1]);
    PyObject *made;
    unsigned char *at = record(&made, 6, 16, args[2]);
    if (at != NULL) {
        put64(at, number);
        put64(at + 8, seq);
    }
    return made;
}

/* -- Tokens: BLAKE2b, RFC 7693 --------------------------------------------------------------------------------------- */

static const uint64_t INITIAL[8] = {
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
};

static const unsigned char ORDER[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
};

#define TURN(x, n) ((x) >> (n) | (x) << (64 - (n)))
#define MIX(a, b, c, d, x, y) \
    do { \
        a += b + (x); \
        d = TURN(d ^ a, 32); \
        c += d; \
        b = TURN(b ^ c, 24); \
        a += b + (y); \
        d = TURN(d ^ a, 16); \
        c += d; \
        b = TURN(b ^ c, 63); \
    } while (0)

static void compress(uint64_t state[8], const unsigned char block[128], uint64_t counted, int last) {
    uint64_t v[16], m[16];
    for (int n = 0; n < 16; n++)
        m[n] = (uint64_t)little32(block + 8 * n) | (uint64_t)little32(block + 8 * n + 4) << 32;
    memcpy(v, state, 64);
    memcpy(v + 8, INITIAL, 64);
    v[12] ^= counted;
    if (last)
        v[14] = ~v[14];
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 12
#endif
    for (int round = 0; round < 12; round++) {
        const unsigned char *s = ORDER[round];
        MIX(v[0], v[4], v[8], v[12], m[s[0]], m[s[1]]);
        MIX(v[1], v[5], v[9], v[13], m[s[2]], m[s[3]]);
        MIX(v[2], v[6], v[10], v[14], m[s[4]], m[s[5]]);
        MIX(v[3], v[7], v[11], v[15], m[s[6]], m[s[7]]);
        MIX(v[0], v[5], v[10], v[15], m[s[8]], m[s[9]]);
        MIX(v[1], v[6], v[11], v[12], m[s[10]], m[s[11]]);
        MIX(v[2], v[7], v[8], v[13], m[s[12]], m[s[13]]);
        MIX(v[3], v[4], v[9], v[14], m[s[14]], m[s[15]]);
    }
    for (int n = 0; n < 8; n++)
        state[n] ^= v[n] ^ v[n + 8];
}

typedef struct {
    PyObject_HEAD
    uint64_t before[8]; /* the state ahead of the key's block, which is also the last one of an empty value */
    uint64_t keyed[8];  /* and behind it */
    unsigned char key[128];
} Keyed;

static PyObject *keyed_new(PyTypeObject *type, PyObject *args, PyObject *names) {
    const unsigned char *key;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "y#", &key, &size))
        return NULL;
    if (size < 1 || size > 64) {
        PyErr_SetString(PyExc_ValueError, "a key has 1 to 64 bytes");
        return NULL;
    }
    Keyed *self = (Keyed *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    memcpy(self->key, key, (size_t)size);
    memcpy(self->before, INITIAL, 64);
    self->before[0] ^= 0x01010000 ^ (uint64_t)size << 8 ^ 8;
    memcpy(self->keyed, self->before, 64);
    compress(self->keyed, self->key, 128, 0);
    return (PyObject *)self;
}

static void keyed_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static void digest_of(const Keyed *self, const unsigned char *data, size_t size, char hex[16]) {
    uint64_t state[8], counted = 128;
    if (size == 0) {
        memcpy(state, self->before, 64);
        compress(state, self->key, 128, 1);
    } else {
        memcpy(state, self->keyed, 64);
        for (; size > 128; data += 128, size -= 128)
            compress(state, data, counted += 128, 0);
        unsigned char block[128] = {0};
        memcpy(block, data, size);
        compress(state, block, counted + size, 1);
    }
    for (int n = 0; n < 8; n++) {
        unsigned char byte = (unsigned char)(state[0] >> 8 * n);
        hex[2 * n] = "0123456789abcdef"[byte >> 4];
        hex[2 * n + 1] = "0123456789abcdef"[byte & 15];
    }
}

static PyObject *token_of(const Keyed *self, const char *word, size_t length, const unsigned char *data, size_t size) {
    char hex[17] = ":";
    digest_of(self, data, size, hex + 1);
    Text text;
    begin(&text);
    PyObject *made = NULL;
    if (add(&text, word, length) == 0 && add(&text, hex, sizeof hex) == 0)
        made = PyUnicode_DecodeUTF8(text.at, (Py_ssize_t)text.size, NULL);
    drop(&text);
    return made;
}

static PyObject *keyed_token(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    if (expects("token", count, 2) < 0)
        return NULL;
    Py_ssize_t length, size;
    char *data;
    const char *word = PyUnicode_AsUTF8AndSize(args[0], &length);
    if (word == NULL || PyBytes_AsStringAndSize(args[1], &data, &size) < 0)
        return NULL;
    return token_of((Keyed *)self, word, (size_t)length, (unsigned char *)data, (size_t)size);
}

/* -- Bind ------------------------------------------------------------------------------------------------------------ */

/* values.py, `unspecified_text` */
static int is_whole_number(const char *value, Py_ssize_t size) {
    Py_ssize_t sign = size > 0 && value[0] == '-', digits = size - sign;
    if (digits < 1 || digits > 19 || (value[sign] == '0' && !(size == 1 && !sign)))
        return 0;
    for (Py_ssize_t n = sign; n < size; n++)
        if (value[n] < '0' || value[n] > '9')
            return 0;
    return 1;
}

/* keyed_bound(data, prefix, start, plan, plain, null) -> (tokens, end) or None. `data` begins with a Bind as repeats.py has it, its
 * values at `start`; `plain` is the canoniser of text of no type. `end` is where the Bind ends. */
static PyObject *keyed_bound(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    if (expects("bound", count, 6) < 0)
        return NULL;
    Keyed *self = (Keyed *)object;
    char *data, *prefix;
    Py_ssize_t size, length, pos = PyLong_AsSsize_t(args[2]);
    PyObject *plan = args[3], *plain = args[4], *null = args[5];
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(args[0], &data, &size) < 0 ||
        PyBytes_AsStringAndSize(args[1], &prefix, &length) < 0)
        return NULL;
    if (!PyTuple_Check(plan)) {
        PyErr_SetString(PyExc_TypeError, "a plan is a tuple");
        return NULL;
    }
    if (length == 0 || size < 5 + length || pos < 5 + length || data[0] != 'B' || memcmp(data + 5, prefix, (size_t)length) != 0)
        Py_RETURN_NONE;
    const unsigned char *bytes = (unsigned char *)data;
    PyObject *tokens = PyList_New(PyTuple_GET_SIZE(plan));
    if (tokens == NULL)
        return NULL;
    for (Py_ssize_t n = 0; n < PyTuple_GET_SIZE(plan); n++) {
        if (pos + 4 > size)
            goto other;
        int32_t announced = (int32_t)((uint32_t)bytes[pos] << 24 | (uint32_t)bytes[pos + 1] << 16 |
                                      (uint32_t)bytes[pos + 2] << 8 | bytes[pos + 3]);
        pos += 4;
        if (announced < -1 || (announced > 0 && announced > size - pos))
            goto other;
        PyObject *canonise = PyTuple_GET_ITEM(plan, n), *token;
        if (announced == -1) {
            Py_INCREF(null);
            token = null;
        } else if (canonise == plain) {
            const char *word = is_whole_number(data + pos, announced) ? "int" : "text";
            token = token_of(self, word, strlen(word), bytes + pos, (size_t)announced);
        } else {
            PyObject *value = PyBytes_FromStringAndSize(data + pos, announced);
            PyObject *found = value == NULL ? NULL : PyObject_CallOneArg(canonise, value);
            Py_XDECREF(value);
            token = NULL;
            if (found != NULL && PyTuple_Check(found) && PyTuple_GET_SIZE(found) == 2) {
                PyObject *parts[2] = {PyTuple_GET_ITEM(found, 0), PyTuple_GET_ITEM(found, 1)};
                token = keyed_token(object, parts, 2);
            } else if (found != NULL) {
                PyErr_SetString(PyExc_TypeError, "a canoniser returns a pair");
            }
            Py_XDECREF(found);
        }
        if (token == NULL) {
            Py_DECREF(tokens);
            return NULL;
        }
        PyList_SET_ITEM(tokens, n, token);
        if (announced > 0)
            pos += announced;
    }
    int64_t end = (int64_t)(int32_t)((uint32_t)bytes[1] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 8 | bytes[4]) + 1;
    if (end > size || end < pos + 2 || end != pos + 2 + 2 * ((int64_t)bytes[pos] << 8 | bytes[pos + 1]))
        goto other;
    return Py_BuildValue("(NL)", tokens, (long long)end);
other:
    Py_DECREF(tokens);
    Py_RETURN_NONE;
}

/* -- Texts that differ in whole numbers only -------------------------------------------------------------------------- */

static PyObject *without_digits(PyObject *module, PyObject *given) {
    char *data;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(given, &data, &size) < 0)
        return NULL;
    PyObject *made = PyBytes_FromStringAndSize(NULL, size);
    if (made == NULL)
        return NULL;
    char *at = PyBytes_AS_STRING(made);
    for (Py_ssize_t n = 0; n < size; n++) {
        *at = data[n];
        at += data[n] < '0' || data[n] > '9';
    }
    if (_PyBytes_Resize(&made, at - PyBytes_AS_STRING(made)) < 0)
        return NULL;
    return made;
}

/* keyed_numbers(text, first, behind, most) -> tokens or None: shapes.py, `Shape.numbers`, and the token of each number. */
static PyObject *keyed_numbers(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    if (expects("numbers", count, 4) < 0)
        return NULL;
    char *text, *first;
    Py_ssize_t size, length, most = PyLong_AsSsize_t(args[3]);
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(args[0], &text, &size) < 0 ||
        PyBytes_AsStringAndSize(args[1], &first, &length) < 0)
        return NULL;
    PyObject *behind = args[2];
    if (!PyTuple_Check(behind)) {
        PyErr_SetString(PyExc_TypeError, "what stands behind the numbers is a tuple");
        return NULL;
    }
    if (length > size || memcmp(text, first, (size_t)length) != 0)
        Py_RETURN_NONE;
    Py_ssize_t pos = length;
    PyObject *tokens = PyTuple_New(PyTuple_GET_SIZE(behind));
    if (tokens == NULL)
        return NULL;
    for (Py_ssize_t n = 0; n < PyTuple_GET_SIZE(behind); n++) {
        char *part;
        if (PyBytes_AsStringAndSize(PyTuple_GET_ITEM(behind, n), &part, &length) < 0) {
            Py_DECREF(tokens);
            return NULL;
        }
        /* As bytes.find does, the first place counts; nothing but digits may stand before it. */
        Py_ssize_t end = pos;
        if (length == 0) {
            end = size;
        } else {
            while (end <= size - length && end <= pos + most && memcmp(text + end, part, (size_t)length) != 0)
                end++;
            if (end > size - length)
                goto other;
        }
        if (end <= pos || end > pos + most)
            goto other;
        for (Py_ssize_t at = pos; at < end; at++)
            if (text[at] < '0' || text[at] > '9')
                goto other;
        PyObject *token = token_of((Keyed *)object, "int", 3, (unsigned char *)text + pos, (size_t)(end - pos));
        if (token == NULL) {
            Py_DECREF(tokens);
            return NULL;
        }
        PyTuple_SET_ITEM(tokens, n, token);
        pos = end + length;
    }
    if (pos == size)
        return tokens;
other:
    Py_DECREF(tokens);
    Py_RETURN_NONE;
}

/* length_at(data, pos) */
static PyObject *length_at(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (expects("length_at", count, 2) < 0)
        return NULL;
    char *data;
    Py_ssize_t size, pos = PyLong_AsSsize_t(args[1]);
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(args[0], &data, &size) < 0)
        return NULL;
    if (pos < 0 || pos > size - 4) {
        PyErr_SetString(PyExc_IndexError, "no four bytes stand there");
        return NULL;
    }
    const unsigned char *at = (unsigned char *)data + pos;
    return PyLong_FromUnsignedLong((uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]);
}

/* -- The clock ------------------------------------------------------------------------------------------------------- */

static PyObject *now_us(PyObject *module, PyObject *none) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyLong_FromLongLong((long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

/* -- The module ------------------------------------------------------------------------------------------------------ */

static PyMethodDef keyed_methods[] = {
    {"token", (PyCFunction)(void (*)(void))keyed_token, METH_FASTCALL, "Return `type:` and 16 hex digits for a value."},
    {"bound", (PyCFunction)(void (*)(void))keyed_bound, METH_FASTCALL, "Return the tokens of a Bind's values and its end."},
    {"numbers", (PyCFunction)(void (*)(void))keyed_numbers, METH_FASTCALL, "Return the tokens of a text's whole numbers."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot keyed_slots[] = {
    {Py_tp_new, keyed_new},
    {Py_tp_dealloc, keyed_dealloc},
    {Py_tp_methods, keyed_methods},
    {Py_tp_doc, "Makes tokens under one key."},
    {0, NULL},
};

static PyType_Spec keyed_spec = {"schemas._hot.Keyed", sizeof(Keyed), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, keyed_slots};

static PyMethodDef functions[] = {
    {"outcome", (PyCFunction)(void (*)(void))outcome, METH_FASTCALL, "Return the part of an event known at its end."},
    {"dynamic", (PyCFunction)(void (*)(void))dynamic, METH_FASTCALL, "Return the part of an event known before it runs."},
    {"frame", (PyCFunction)(void (*)(void))frame, METH_FASTCALL, "Return the bytes of one frame."},
    {"intent", (PyCFunction)(void (*)(void))intent, METH_FASTCALL, "Return an INTENT record."},
    {"ended", (PyCFunction)(void (*)(void))ended, METH_FASTCALL, "Return an OUTCOME record."},
    {"now_us", now_us, METH_NOARGS, "Return microseconds since the epoch."},
    {"length_at", (PyCFunction)(void (*)(void))length_at, METH_FASTCALL, "Return four bytes as a number."},
    {"replay", (PyCFunction)(void (*)(void))replay, METH_FASTCALL, "Take event lines from write-ahead frames."},
    {"without_digits", without_digits, METH_O, "Return bytes without their digits."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef hashing[] = {
    {"root", root, METH_O, "Return the root of a block of lines."},
    {NULL, NULL, 0, NULL},
};

static int set_up(PyObject *module) {
    make_crc();
#if defined(__x86_64__) && defined(__GNUC__)
    multiplies = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
    if (can_hash() && PyModule_AddFunctions(module, hashing) < 0)
        return -1;
    PyObject *type = PyType_FromModuleAndSpec(module, &keyed_spec, NULL);
    int failed = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return failed;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, set_up}, {0, NULL}};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "schemas._hot", NULL, 0, functions, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__hot(void) { return PyModuleDef_Init(&definition); }
