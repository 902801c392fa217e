# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Stage 3 of the data path: UTF-8 as it arrives (RFC 6455 8.1, RFC 3629)."""

from __future__ import annotations

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from kernels cimport framewire_utf8_feed, framewire_utf8_state

include "dispatch.pxi"
include "ranges.pxi"


cdef class Utf8Validator:
    """Validates UTF-8 in pieces, cut anywhere; it fails at the first byte that cannot be right.

    `need` is the number of bytes, 0 to 3, that the last code point still lacks: 0 says that the text may end here.
    """

    cdef framewire_utf8_state state

    def __init__(self) -> None:
        self.reset()

    @property
    def need(self) -> int:
        return self.state.need

    def reset(self) -> None:
        """Begins a new text."""
        self.state.need = self.state.low = self.state.high = 0

    def feed(self, data: Buffer, start: int, stop: int) -> int:
        """Reads data[start:stop] and returns `stop`, or the index of the first impossible byte.

        After an impossible byte the validator stands before it. Raises ValueError unless
        0 <= start <= stop <= len(data).
        """
        cdef Py_ssize_t first = clipped(start)
        cdef Py_ssize_t last = clipped(stop)
        cdef Py_ssize_t taken
        if type(data) is bytes:
            taken = scan(&self.state, <const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), first, last)
        else:
            taken = scan_buffer(&self.state, data, first, last)
        return stop if taken == last else taken


cdef inline Py_ssize_t scan(
    framewire_utf8_state *state, const uint8_t *data, Py_ssize_t size, Py_ssize_t start, Py_ssize_t stop
) except -1:
    if not 0 <= start <= stop <= size:
        raise ValueError("the range lies outside the data")
    cdef size_t left = <size_t> (stop - start)
    if state.need == 0 and kernels.utf8_prefix(data + start, left) == left:
        return stop
    return start + <Py_ssize_t> framewire_utf8_feed(kernels, state, data + start, left)


cdef Py_ssize_t scan_buffer(framewire_utf8_state *state, object data, Py_ssize_t start, Py_ssize_t stop) except -1:
    cdef Py_buffer view
    octets = memoryview(data).cast("B")
    PyObject_GetBuffer(octets, &view, PyBUF_SIMPLE)
    try:
        return scan(state, <const uint8_t *> view.buf, view.len, start, stop)
    finally:
        PyBuffer_Release(&view)
