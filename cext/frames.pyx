# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Stages 1 and 2 for parsers that keep their own rules and types: whole plain data frames, in one go."""

from __future__ import annotations

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t

from kernels cimport framewire_header, framewire_read_plain

include "dispatch.pxi"


def take_frames(data: Buffer, masked: bool, limit: int, frames: list[tuple[int, bytes]]) -> int:
    """Takes from the front of `data` all whole, plain data frames; returns the index behind the last of them.

    Plain: FIN set, no RSV bit, text or binary, masked if and only if `masked`, of minimal length, up to `limit` bytes.
    Appends (first byte, unmasked payload) for each: 0x81 is text, whose UTF-8 nobody has looked at, 0x82 binary. It
    never rejects: it stops before whatever else there is. Accepts any contiguous buffer, of any item type.
    """
    cdef Py_buffer view
    if type(frames) is not list:
        raise TypeError("take_frames() takes a list")
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return take(<const uint8_t *> view.buf, view.len, masked, limit, frames)
    finally:
        PyBuffer_Release(&view)


cdef Py_ssize_t take(const uint8_t *data, Py_ssize_t size, bint masked, object limit, list frames) except -1:
    cdef framewire_header header
    cdef Py_ssize_t start = 0
    cdef bytes payload
    if limit < 0:
        return 0
    cdef uint64_t most = min(limit, (1 << 63) - 1)
    while framewire_read_plain(&header, data + start, size - start, masked):
        if (header.first != 0x81 and header.first != 0x82) or header.length > most:
            break
        if header.length > <uint64_t> (size - start - header.size):
            break
        start += header.size
        payload = PyBytes_FromStringAndSize(<const char *> data + start if not masked else NULL,
                                            <Py_ssize_t> header.length)
        if masked:
            kernels.mask(<uint8_t *> PyBytes_AS_STRING(payload), data + start, <size_t> header.length, header.key)
        frames.append((header.first, payload))
        start += <Py_ssize_t> header.length
    return start
