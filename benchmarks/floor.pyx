# cython: language_level=3
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The floor, a lower bound: the work that remains if nothing is parsed, checked or unmasked.

The results are the same Python objects; their contents are copied from memory that was never masked.
Compiled on demand.
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


def make_texts(bytes memory, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t size, Py_ssize_t count):
    """Return a list of `count` ASCII strings of `size` bytes, copied from every `stride` bytes."""
    cdef list made = []
    cdef const char *src = PyBytes_AS_STRING(memory) + start
    for _ in range(count):
        text = PyUnicode_New(size, 0x7F)
        memcpy(PyUnicode_DATA(text), src, <size_t> size)
        made.append(text)
        src += stride
    return made


def make_bytes(bytes memory, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t size, Py_ssize_t count):
    """Return a list of `count` bytes objects of `size` bytes, copied from every `stride` bytes."""
    cdef list made = []
    cdef const char *src = PyBytes_AS_STRING(memory) + start
    for _ in range(count):
        made.append(PyBytes_FromStringAndSize(src, size))
        src += stride
    return made


def make_unmasked(bytes memory, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t size, Py_ssize_t count):
    """Like `make_bytes`, but copy with one XOR pass at full width, with a key of zeros."""
    cdef list made = []
    cdef const uint8_t *src = <const uint8_t *> PyBytes_AS_STRING(memory) + start
    for _ in range(count):
        payload = PyBytes_FromStringAndSize(NULL, size)
        widest_xor(<uint8_t *> PyBytes_AS_STRING(payload), src, <size_t> size, 0)
        made.append(payload)
        src += stride
    return made


cdef class EmptyValidator:
    """A validator that does nothing: the cost of a call of `Utf8Validator.feed`."""

    def feed(self, data):
        return 0


def mask_nothing(data, key, phase=0):
    """Do nothing: the cost of a call of `apply_mask_in_place`."""


def unmask_and_decode(list payloads, list keys):
    """Return the texts: for each payload, one XOR pass at full width and the decoder of CPython."""
    cdef list made = []
    cdef bytes masked
    for masked, key in zip(payloads, keys):
        unmasked = xor_copy(masked, key)
        made.append(PyUnicode_DecodeUTF8(PyBytes_AS_STRING(unmasked), PyBytes_GET_SIZE(unmasked), NULL))
    return made


def make_wide_texts(list texts):
    """Return copies of the texts: new objects of the same width, one memcpy for each."""
    cdef list made = []
    cdef Py_ssize_t length
    for text in texts:
        length = PyUnicode_GET_LENGTH(text)
        copy = PyUnicode_New(length, PyUnicode_MAX_CHAR_VALUE(text))
        memcpy(PyUnicode_DATA(copy), PyUnicode_DATA(text), <size_t> (length * PyUnicode_KIND(text)))
        made.append(copy)
    return made


cpdef bytes copy_of(bytes data):
    """Return a copy: one new object and one memcpy."""
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


def copy_each(list all_data):
    """Return copies: new objects, one memcpy for each."""
    return [copy_of(data) for data in all_data]


cpdef bytes xor_copy(bytes data, bytes key):
    """Return a masked copy: one new object, filled by one XOR pass at full width."""
    cdef uint32_t word
    memcpy(&word, PyBytes_AS_STRING(key), 4)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(data))
    widest_xor(<uint8_t *> PyBytes_AS_STRING(made), <const uint8_t *> PyBytes_AS_STRING(data),
               <size_t> PyBytes_GET_SIZE(data), word)
    return made


def xor_in_place(bytearray data, bytes key):
    """Mask in place with one XOR pass at full width."""
    cdef uint32_t word
    memcpy(&word, PyBytes_AS_STRING(key), 4)
    cdef uint8_t *dst = <uint8_t *> PyByteArray_AS_STRING(data)
    widest_xor(dst, dst, <size_t> PyByteArray_GET_SIZE(data), word)


def copy_then_xor(list reads, Py_ssize_t skip, Py_ssize_t size, bytes key):
    """Return the payload of a frame of one message: the reads are copied, then unmasked in one pass.

    `skip` is the size of the header, `size` that of the payload.
    """
    cdef uint32_t word
    memcpy(&word, PyBytes_AS_STRING(key), 4)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t *dst = <uint8_t *> PyBytes_AS_STRING(made)
    cdef Py_ssize_t filled = 0
    cdef Py_ssize_t copied
    cdef bytes read
    for read in reads:
        copied = min(PyBytes_GET_SIZE(read) - skip, size - filled)
        memcpy(dst + filled, PyBytes_AS_STRING(read) + skip, <size_t> copied)
        filled += copied
        skip = 0
    widest_xor(dst, dst, <size_t> size, word)
    return made
