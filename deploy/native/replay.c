/* Event lines from write-ahead frames: ingest/spool/sealing.py, `Sealer._take_all`.
 *
 * Frames that hold nothing but definitions, intents and outcomes in their order are taken here, one after the other; the first that
 * holds anything else, or is not as it was written, is left for the Python, with nothing of it taken.
 */

#include "hot.h"

#include <string.h>

enum { DEFINE = 2, INTENT = 3, OUTCOME = 6 };
#define HEADER 24

static uint64_t little64(const unsigned char *data) { return little32(data) | (uint64_t)little32(data + 4) << 32; }

typedef struct {
    PyObject *intents, *definitions, *lines, *concludes, *lost_context, *lost_statement, *lost, *query;
    const char *prefix, *middle;
    Py_ssize_t prefix_size, middle_size;
    uint64_t seq;   /* of the last line */
    Py_ssize_t size;   /* of all lines */
} Reading;

/* Whether a payload holds only what is taken here. */
static int is_common(const unsigned char *payload, size_t size, uint64_t seq) {
    size_t at = 0;
    while (at < size) {
        if (size - at < 5)
            return 0;
        const unsigned char *body = payload + at + 5;
        size_t length = little32(payload + at + 1);
        if (length > size - at - 5)
            return 0;
        switch (payload[at]) {
        case DEFINE:
            if (length < 4)
                return 0;
            break;
        case INTENT:
            if (length < 24)
                return 0;
            break;
        case OUTCOME:
            if (length < 16 || little64(body + 8) != ++seq)
                return 0;
            break;
        default:
            return 0;
        }
        at += 5 + length;
    }
    return 1;
}

static char *hexadecimal(char *at, uint64_t value, int digits) {
    for (int n = digits; n--; value >>= 4)
        at[n] = "0123456789abcdef"[value & 15];
    return at + digits;
}

static char *decimal(char *at, uint64_t value) {
    char digits[20], *first = digits + sizeof digits;
    do {
        *--first = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    size_t size = (size_t)(digits + sizeof digits - first);
    memcpy(at, first, size);
    return at + size;
}

static char *put(char *at, const void *data, size_t size) {
    memcpy(at, data, size);
    return at + size;
}

/* lines.py, `LineFormat.query` */
static PyObject *line_of(const Reading *reading, uint64_t seq, PyObject *intent, const char *outcome, size_t size) {
    if (!PyTuple_Check(intent) || PyTuple_GET_SIZE(intent) != 5) {
        PyErr_SetString(PyExc_TypeError, "an open intent is a tuple of five");
        return NULL;
    }
    static const int order[3] = {4, 2, 3}; /* dynamic, context, statement */
    long long when = PyLong_AsLongLong(PyTuple_GET_ITEM(intent, 1));
    if (when == -1 && PyErr_Occurred())
        return NULL;
    uint64_t millisecond = (uint64_t)when / 1000;
    if (when < 0 || millisecond >> 48) /* more than an id has room for */
        return PyObject_CallFunction(reading->query, "KLOOOy#", (unsigned long long)seq, when, PyTuple_GET_ITEM(intent, 4),
                                     PyTuple_GET_ITEM(intent, 2), PyTuple_GET_ITEM(intent, 3), outcome, (Py_ssize_t)size);
    char *parts[3];
    Py_ssize_t sizes[3], all = 0;
    for (int n = 0; n < 3; n++) {
        if (PyBytes_AsStringAndSize(PyTuple_GET_ITEM(intent, order[n]), &parts[n], &sizes[n]) < 0)
            return NULL;
        all += sizes[n];
    }
    char head[128], *end = decimal(head, seq);
    end = put(end, ",\"event_id\":\"", 13);
    end = hexadecimal(end, millisecond >> 16, 8);
    *end++ = '-';
    end = hexadecimal(end, millisecond, 4);
    char tail[48], *last = hexadecimal(tail, seq, 8);
    last = put(last, "\",\"at\":", 7);
    last = decimal(last, (uint64_t)when);
    all += reading->prefix_size + reading->middle_size + (end - head) + (last - tail) + (Py_ssize_t)size + 1;
    PyObject *line = PyBytes_FromStringAndSize(NULL, all);
    if (line == NULL)
        return NULL;
    char *at = PyBytes_AS_STRING(line);
    at = put(at, reading->prefix, (size_t)reading->prefix_size);
    at = put(at, head, (size_t)(end - head));
    at = put(at, reading->middle, (size_t)reading->middle_size);
    at = put(at, tail, (size_t)(last - tail));
    for (int n = 0; n < 3; n++)
        at = put(at, parts[n], (size_t)sizes[n]);
    at = put(at, outcome, size);
    *at = '}';
    return line;
}

static int take_definition(const Reading *reading, const unsigned char *body, size_t length) {
    PyObject *number = PyLong_FromUnsignedLong(little32(body));
    PyObject *fragment = PyBytes_FromStringAndSize((const char *)body + 4, (Py_ssize_t)length - 4);
    int failed = number == NULL || fragment == NULL ? -1 : PyDict_SetItem(reading->definitions, number, fragment);
    Py_XDECREF(number);
    Py_XDECREF(fragment);
    return failed;
}

/* Return the fragment that a definition's number stands for, or what stands for one that is lost; a new reference. */
static PyObject *defined(const Reading *reading, uint32_t number, PyObject *lost) {
    PyObject *key = PyLong_FromUnsignedLong(number);
    if (key == NULL)
        return NULL;
    PyObject *found = PyDict_GetItemWithError(reading->definitions, key);
    Py_DECREF(key);
    if (found == NULL && PyErr_Occurred())
        return NULL;
    found = found == NULL ? lost : found;
    Py_INCREF(found);
    return found;
}

static int take_intent(const Reading *reading, const unsigned char *body, size_t length) {
    PyObject *intent = PyTuple_New(5);
    if (intent == NULL)
        return -1;
    PyObject *parts[5] = {
        PyLong_FromUnsignedLongLong(little64(body)),
        PyLong_FromLongLong((long long)little64(body + 8)),
        defined(reading, little32(body + 16), reading->lost_context),
        defined(reading, little32(body + 20), reading->lost_statement),
        PyBytes_FromStringAndSize((const char *)body + 24, (Py_ssize_t)length - 24),
    };
    int failed = 0;
    for (int n = 0; n < 5; n++) {
        failed |= parts[n] == NULL;
        PyTuple_SET_ITEM(intent, n, parts[n]);
    }
    failed = failed ? -1 : PyDict_SetItem(reading->intents, parts[0], intent);
    Py_DECREF(intent);
    return failed;
}

static int take_outcome(Reading *reading, const unsigned char *body, size_t length) {
    uint64_t seq = little64(body + 8);
    const char *outcome = (const char *)body + 16;
    size_t size = length - 16;
    PyObject *number = PyLong_FromUnsignedLongLong(little64(body)), *line;
    if (number == NULL)
        return -1;
    PyObject *intent = PyDict_GetItemWithError(reading->intents, number);
    if (intent != NULL) {
        Py_INCREF(intent);
        line = line_of(reading, seq, intent, outcome, size);
        Py_DECREF(intent);
    } else {
        line = PyErr_Occurred() ? NULL
                                : PyObject_CallFunction(reading->lost, "Ky#", (unsigned long long)seq, outcome, (Py_ssize_t)size);
    }
    int failed = line == NULL || !PyBytes_Check(line) || PyList_Append(reading->lines, line) < 0 ||
                 PyList_Append(reading->concludes, number) < 0 || (intent != NULL && PyDict_DelItem(reading->intents, number) < 0);
    if (!failed) {
        reading->seq = seq;
        reading->size += PyBytes_GET_SIZE(line);
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "a line is bytes");
    }
    Py_XDECREF(line);
    Py_DECREF(number);
    return failed ? -1 : 0;
}

static int take(Reading *reading, const unsigned char *payload, size_t size) {
    for (size_t at = 0; at < size;) {
        size_t length = little32(payload + at + 1);
        const unsigned char *body = payload + at + 5;
        int failed = payload[at] == INTENT    ? take_intent(reading, body, length)
                     : payload[at] == OUTCOME ? take_outcome(reading, body, length)
                                              : take_definition(reading, body, length);
        if (failed)
            return -1;
        at += 5 + length;
    }
    return 0;
}

/* replay(data, at, epoch, frames, seq, format, intents, definitions, lines, concludes) -> (at, frames, seq, size)
 *
 * `format` is `LineFormat.parts`. `frames` is the number of the frame that begins at `at`, and is returned of
 * the first one that was not taken; `seq` is the last line's; `size` is that of all new lines. Raises what adding to the lists and
 * dictionaries does, with no line added. */
PyObject *replay(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 10) {
        PyErr_Format(PyExc_TypeError, "replay() takes 10 arguments, not %zd", count);
        return NULL;
    }
    char *data;
    Py_ssize_t length;
    Py_ssize_t at = PyLong_AsSsize_t(args[1]);
    unsigned long long epoch = PyLong_AsUnsignedLongLong(args[2]), frames = PyLong_AsUnsignedLongLong(args[3]);
    Reading reading = {.intents = args[6], .definitions = args[7], .lines = args[8], .concludes = args[9]};
    reading.seq = PyLong_AsUnsignedLongLong(args[4]);
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(args[0], &data, &length) < 0)
        return NULL;
    PyObject *format = args[5];
    if (at < 0 || !PyTuple_Check(format) || PyTuple_GET_SIZE(format) != 6 || !PyBytes_Check(PyTuple_GET_ITEM(format, 0)) ||
        !PyBytes_Check(PyTuple_GET_ITEM(format, 1)) || !PyDict_Check(args[6]) || !PyDict_Check(args[7]) || !PyList_Check(args[8]) ||
        !PyList_Check(args[9])) {
        PyErr_SetString(PyExc_TypeError, "replay() takes bytes, numbers, a format, two dictionaries and two lists");
        return NULL;
    }
    reading.prefix = PyBytes_AS_STRING(PyTuple_GET_ITEM(format, 0));
    reading.prefix_size = PyBytes_GET_SIZE(PyTuple_GET_ITEM(format, 0));
    reading.middle = PyBytes_AS_STRING(PyTuple_GET_ITEM(format, 1));
    reading.middle_size = PyBytes_GET_SIZE(PyTuple_GET_ITEM(format, 1));
    reading.lost_context = PyTuple_GET_ITEM(format, 2);
    reading.lost_statement = PyTuple_GET_ITEM(format, 3);
    reading.lost = PyTuple_GET_ITEM(format, 4);
    reading.query = PyTuple_GET_ITEM(format, 5);
    Py_ssize_t lines = PyList_GET_SIZE(reading.lines), concludes = PyList_GET_SIZE(reading.concludes);
    while (length - at > HEADER) {
        const unsigned char *frame = (const unsigned char *)data + at;
        size_t size = little32(frame + 8);
        if (memcmp(frame, MAGIC, 4) != 0 || little32(frame + 12) != epoch || little32(frame + 16) != frames ||
            size > (size_t)(length - at - HEADER - 1) || frame[HEADER + size] != '\n' || little32(frame + 4) != crc(frame + 8, 12) ||
            little32(frame + 20) != crc(frame + HEADER, size) || !is_common(frame + HEADER, size, reading.seq))
            break;
        if (take(&reading, frame + HEADER, size) < 0) {
            PyObject *type, *value, *traceback;
            PyErr_Fetch(&type, &value, &traceback);
            PyList_SetSlice(reading.lines, lines, PyList_GET_SIZE(reading.lines), NULL);
            PyList_SetSlice(reading.concludes, concludes, PyList_GET_SIZE(reading.concludes), NULL);
            PyErr_Restore(type, value, traceback);
            return NULL;
        }
        at += HEADER + (Py_ssize_t)size + 1;
        frames++;
    }
    return Py_BuildValue("(nKKn)", at, frames, (unsigned long long)reading.seq, reading.size);
}
