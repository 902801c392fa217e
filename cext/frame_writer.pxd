# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# Building of a frame from a message, inlined into the modules that send.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from cpython_compat cimport (
    PyErr_Clear,
    PyErr_ExceptionMatches,
    PyObject_CallMethodNoArgs,
    PyUnicode_AsUTF8String,
    PyUnicode_IS_COMPACT_ASCII,
    steal_reference,
)
from framewire._fast.dispatch cimport kernels
from kernels cimport MAX_HEADER, framewire_write_header


cdef inline object next_key(object keys):
    """Return the next masking key from `keys`, or b"" if that is None. It may run Python code."""
    cdef PyObject *key
    if keys is None:
        return b""
    key = PyObject_CallMethodNoArgs(keys, "pop")
    if key == NULL and PyErr_ExceptionMatches(IndexError):
        PyErr_Clear()
        return keys.refill()
    return steal_reference(key)


cdef inline object encode_text(object text):
    """Return an exact str as UTF-8: itself if it is ASCII, else a bytes; None for a surrogate."""
    cdef PyObject *data
    if PyUnicode_IS_COMPACT_ASCII(text):
        return text
    data = PyUnicode_AsUTF8String(text)
    if data == NULL and PyErr_ExceptionMatches(UnicodeEncodeError):
        PyErr_Clear()
        return None
    return steal_reference(data)


cdef inline object build_frame(
    uint8_t first, object payload, const uint8_t *src, Py_ssize_t length, object key, bint apart
):
    """Return a whole frame as a bytes, or the list [header, payload] if `apart`.

    `src` points to the `length` bytes of `payload`. With `apart`, an unmasked bytes is not copied.
    """
    cdef uint8_t header[MAX_HEADER]
    cdef const uint8_t *mask = NULL
    cdef uint32_t word
    if type(key) is not bytes:
        raise TypeError("a masking key is bytes")
    if PyBytes_GET_SIZE(key) == 4:
        mask = <const uint8_t *> PyBytes_AS_STRING(key)
    elif PyBytes_GET_SIZE(key) != 0:
        raise ValueError("a masking key is 4 bytes")
    cdef size_t size = framewire_write_header(header, first, <uint64_t> length, mask)
    cdef bytes head, result
    if apart:
        head = PyBytes_FromStringAndSize(<const char *> header, <Py_ssize_t> size)
        if mask == NULL and type(payload) is bytes:
            return [head, payload]
        size = 0
    result = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> size + length)
    cdef uint8_t *dst = <uint8_t *> PyBytes_AS_STRING(result)
    memcpy(dst, header, size)
    if mask == NULL:
        memcpy(dst + size, src, <size_t> length)
    else:
        memcpy(&word, mask, 4)
        kernels.mask(dst + size, src, <size_t> length, word)
    return [head, result] if apart else result
