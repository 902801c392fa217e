# One frame from one message, for the modules that send.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from kernels cimport framewire_write_header

cdef extern from "Python.h":
    PyObject *PyUnicode_AsUTF8String(object text)
    PyObject *PyObject_CallMethodNoArgs(object self, object name)
    bint PyErr_ExceptionMatches(object kind)
    void PyErr_Clear()
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef extern from "objects.h":
    uint8_t *framewire_str_data(PyObject *text)
    object made "framewire_made" (PyObject *data)


cdef inline object key_from(object keys):
    cdef PyObject *key
    if keys is None:
        return b""
    key = PyObject_CallMethodNoArgs(keys, "pop")
    if key == NULL and PyErr_ExceptionMatches(IndexError):
        PyErr_Clear()
        return keys.refill()
    return made(key)


cdef inline object encoded(object message, bint ascii):
    """A str as UTF-8, None if it has a surrogate; bytes as they are, and with `ascii` a str of that too."""
    cdef PyObject *data
    if type(message) is bytes or ascii and PyUnicode_IS_COMPACT_ASCII(message):
        return message
    data = PyUnicode_AsUTF8String(message)
    if data == NULL and PyErr_ExceptionMatches(UnicodeEncodeError):
        PyErr_Clear()
        return None
    return made(data)


cdef object build(uint8_t first, object payload, const uint8_t *src, Py_ssize_t length, object key, bint apart):
    cdef uint8_t header[14]
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
