# cython: language_level=3
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The floor under every figure: what is left when nothing is parsed, checked or unmasked. Compiled on demand.

The answers are the same Python objects; their bytes come from memory that was never masked.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

cdef extern from "widest_xor.h" nogil:
    void widest_xor(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)
    void *PyUnicode_DATA(object text)
    int PyUnicode_KIND(object text)
    Py_UCS4 PyUnicode_MAX_CHAR_VALUE(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    object PyUnicode_DecodeUTF8(const char *data, Py_ssize_t size, const char *errors)


def make_texts(bytes memory, Py_ssize_t first, Py_ssize_t stride, Py_ssize_t size, Py_ssize_t count):
    """A list of `count` ASCII strings of `size` bytes, `stride` bytes apart."""
    cdef list made = []
    cdef const char *src = PyBytes_AS_STRING(memory) + first
    for _ in range(count):
        text = PyUnicode_New(size, 0x7F)
        memcpy(PyUnicode_DATA(text), src, <size_t> size)
        made.append(text)
        src += stride
    return made


def make_bytes(bytes memory, Py_ssize_t first, Py_ssize_t stride, Py_ssize_t size, Py_ssize_t count):
    """A list of `count` bytes objects of `size` bytes, `stride` bytes apart."""
    cdef list made = []
    cdef const char *src = PyBytes_AS_STRING(memory) + first
    for _ in range(count):
        made.append(PyBytes_FromStringAndSize(src, size))
        src += stride
    return made


def make_unmasked(bytes memory, Py_ssize_t first, Py_ssize_t stride, Py_ssize_t size, Py_ssize_t count):
    """As `make_bytes`, but each object is filled by one XOR pass at full width, with a key of zeros."""
    cdef list made = []
    cdef const uint8_t *src = <const uint8_t *> PyBytes_AS_STRING(memory) + first
    for _ in range(count):
        payload = PyBytes_FromStringAndSize(NULL, size)
        widest_xor(<uint8_t *> PyBytes_AS_STRING(payload), src, <size_t> size, 0)
        made.append(payload)
        src += stride
    return made


cdef class EmptyValidator:
    """What a call of `Utf8Validator.feed` costs before it looks at a byte."""

    def feed(self, data):
        return 0


def mask_nothing(data, key, phase=0):
    """What a call of `apply_mask_in_place` costs before it looks at a byte."""


def unmask_and_decode(list payloads, list keys):
    """A list of the texts: for each payload one XOR pass at full width, then the interpreter's own decoder."""
    cdef list made = []
    cdef bytes masked
    for masked, key in zip(payloads, keys):
        plain = xor_copy(masked, key)
        made.append(PyUnicode_DecodeUTF8(PyBytes_AS_STRING(plain), PyBytes_GET_SIZE(plain), NULL))
    return made


def make_wide_texts(list texts):
    """A list of copies of the texts: objects of the same width, and one memcpy for each."""
    cdef list made = []
    cdef Py_ssize_t length
    for text in texts:
        length = PyUnicode_GET_LENGTH(text)
        copy = PyUnicode_New(length, PyUnicode_MAX_CHAR_VALUE(text))
        memcpy(PyUnicode_DATA(copy), PyUnicode_DATA(text), <size_t> (length * PyUnicode_KIND(text)))
        made.append(copy)
    return made


cpdef bytes copy_of(bytes data):
    """One new object and one memcpy."""
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


def copy_each(list all_data):
    """A list of new objects, one memcpy for each."""
    return [copy_of(data) for data in all_data]


cpdef bytes xor_copy(bytes data, bytes key):
    """One new object, filled by one XOR pass at full width."""
    cdef uint32_t word
    memcpy(&word, PyBytes_AS_STRING(key), 4)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(data))
    widest_xor(<uint8_t *> PyBytes_AS_STRING(made), <const uint8_t *> PyBytes_AS_STRING(data),
               <size_t> PyBytes_GET_SIZE(data), word)
    return made


def xor_in_place(bytearray data, bytes key):
    """One XOR pass at full width."""
    cdef uint32_t word
    memcpy(&word, PyBytes_AS_STRING(key), 4)
    cdef uint8_t *dst = <uint8_t *> PyByteArray_AS_STRING(data)
    widest_xor(dst, dst, <size_t> PyByteArray_GET_SIZE(data), word)


def copy_then_xor(list reads, Py_ssize_t skip, Py_ssize_t size, bytes key):
    """One new object of `size` bytes: the reads copied into it from byte `skip` on, then one XOR pass over it."""
    cdef uint32_t word
    memcpy(&word, PyBytes_AS_STRING(key), 4)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t *dst = <uint8_t *> PyBytes_AS_STRING(made)
    cdef Py_ssize_t filled = 0
    cdef Py_ssize_t piece
    cdef bytes read
    for read in reads:
        piece = min(PyBytes_GET_SIZE(read) - skip, size - filled)
        memcpy(dst + filled, PyBytes_AS_STRING(read) + skip, <size_t> piece)
        filled += piece
        skip = 0
    widest_xor(dst, dst, <size_t> size, word)
    return made
