# cython: language_level=3
# The compiled PartialMessage, which stream_core.pxd needs. It is private: other extensions use only
# StreamCore.
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t


# The layout of framewire_utf8_state in kernels.h, which is not installed.
ctypedef struct Utf8State:
    uint8_t need
    uint8_t low
    uint8_t high


cdef class PartialMessage:
    cdef readonly uint64_t messages
    cdef readonly uint64_t limit
    cdef readonly uint64_t remaining
    cdef readonly object wrap
    cdef readonly Py_ssize_t size
    cdef readonly int opcode
    cdef readonly bint masked
    cdef readonly bint in_frame
    cdef readonly bint final
    cdef bint fast
    cdef bint validated
    cdef bint frame_masked
    cdef uint32_t key
    cdef Utf8State utf8
    cdef PyObject *buffer
    cdef Py_ssize_t capacity
    cdef bint is_str
    cdef uint8_t not_ascii

    cdef void begin(self, int opcode, bint final, uint64_t length, bint validated) noexcept
    cdef Py_ssize_t take_payload(self, const uint8_t *src, Py_ssize_t available) except -1
    cdef Py_ssize_t take_text(self, uint8_t *dst, const uint8_t *src, Py_ssize_t size) noexcept
    cdef void unread_last_byte(self) noexcept
    cdef uint8_t *data(self) noexcept
    cdef int reserve(self, Py_ssize_t arriving) except -1
    cdef int resize(self, Py_ssize_t capacity) except -1
    cdef object steal_content(self)
    cdef object end_message(self)
