# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True, auto_pickle=False
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Stage 3 of the data path: incremental validation of UTF-8 (RFC 6455 8.1, RFC 3629)."""

from __future__ import annotations

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from framewire._fast.dispatch cimport kernels, utf8_feed
from kernels cimport framewire_utf8_state


cdef class Utf8Validator:
    """Incremental UTF-8 validator, for any split of the text into chunks.

    `need` is the number of bytes, 0 to 3, that the last code point lacks; text may end if it is 0.
    """

    cdef framewire_utf8_state state

    def __init__(self) -> None:
        self.reset()

    def __reduce_ex__(self, protocol):
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    @property
    def need(self) -> int:
        return self.state.need

    def reset(self) -> None:
        """Reset the state, to begin a new text."""
        self.state.need = self.state.low = self.state.high = 0

    def feed(self, data: Buffer) -> int:
        """Validate the next chunk; return the number of bytes before the first invalid one.

        That is the length of `data` if all of it is valid so far. After an invalid byte, the state
        is as before that byte. Accepts any contiguous buffer, of any item type.
        """
        cdef Py_buffer view
        if type(data) is bytes:
            return self.scan(<const uint8_t *> PyBytes_AS_STRING(data), <size_t> PyBytes_GET_SIZE(data))
        octets = memoryview(data).cast("B")
        PyObject_GetBuffer(octets, &view, PyBUF_SIMPLE)
        try:
            return self.scan(<const uint8_t *> view.buf, <size_t> view.len)
        finally:
            PyBuffer_Release(&view)

    # Calls only C: it cannot raise.
    cdef inline size_t scan(self, const uint8_t *src, size_t size) noexcept:
        if self.state.need == 0 and kernels.utf8_prefix(src, size) == size:
            return size
        return utf8_feed(&self.state, src, size)
