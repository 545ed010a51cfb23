/* What the files of `schemas._hot` know of each other. */

#ifndef AFFIDAVIT_HOT_H
#define AFFIDAVIT_HOT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

#define MAGIC "\xfa\x41\x46\xf1"

/* hot.c: four bytes as a number, and the check sum of bytes (CRC-32 as of zlib). */
static inline uint32_t little32(const unsigned char *data) {
    return (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}
uint32_t crc(const unsigned char *data, size_t size);

/* leaves.c: whether this processor has what `root` is made of, and the root of a block's lines. */
int can_hash(void);
PyObject *root(PyObject *module, PyObject *lines);

/* replay.c: event lines from write-ahead frames. */
PyObject *replay(PyObject *module, PyObject *const *args, Py_ssize_t count);

#endif
