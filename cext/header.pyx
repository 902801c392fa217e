# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True, auto_pickle=False
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Stage 1 of the data path: the frame header (RFC 6455 5.2)."""

from __future__ import annotations

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from cpython_compat cimport check_range, clipped
from kernels cimport MAX_HEADER, framewire_header, framewire_read_header, framewire_write_header


def read_header(data: Buffer, start: int, stop: int) -> tuple[int, bool, int, int, bytes | None] | None:
    """Read the frame header in data[start:stop].

    Returns:
        (first byte, masked, payload length, end of the header, masking key), or None while the
        length is incomplete. The payload length is -1 if it is not minimal or has more than 63
        bits. The key is b"" in an unmasked frame, and None while its 4 bytes are incomplete; the
        end of the header includes them.

    Raises:
        ValueError: Unless 0 <= start <= stop <= len(data).
    """
    cdef Py_buffer view
    cdef Py_ssize_t first = clipped(start)
    cdef Py_ssize_t last = clipped(stop)
    if type(data) is bytes:
        return read(<const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), first, last)
    octets = memoryview(data).cast("B")
    PyObject_GetBuffer(octets, &view, PyBUF_SIMPLE)
    try:
        return read(<const uint8_t *> view.buf, view.len, first, last)
    finally:
        PyBuffer_Release(&view)


cdef object read(const uint8_t *data, Py_ssize_t size, Py_ssize_t start, Py_ssize_t stop):
    cdef framewire_header header
    check_range(start, stop, size)
    if not framewire_read_header(&header, data + start, <size_t> (stop - start)):
        return None
    cdef Py_ssize_t end = start + header.size
    cdef object key = b""
    if header.masked:
        key = PyBytes_FromStringAndSize(<const char *> data + end - 4, 4) if end <= stop else None
    return header.first, header.masked == 1, header.length if header.minimal else -1, end, key


def write_header(first: int, length: int, key: bytes) -> bytes:
    """Return a frame header of 2 to 14 bytes.

    Args:
        first: The first byte: FIN, RSV bits, opcode.
        length: Length of the payload in bytes.
        key: The masking key of 4 bytes, or b"" for an unmasked frame.

    Raises:
        ValueError: Unless `first` is 0 to 255, `length` 0 to `2**63 - 1`, and `key` 0 or 4 bytes.
        TypeError: `key` is not bytes.
    """
    cdef uint8_t header[MAX_HEADER]
    cdef const uint8_t *mask = NULL
    if not 0 <= first <= 255:
        raise ValueError("the first byte of a header is 0 to 255")
    if not 0 <= length < 1 << 63:
        raise ValueError("a payload length is 0 to 2**63 - 1")
    if type(key) is not bytes:
        raise TypeError("a masking key is bytes")
    if len(key) not in (0, 4):
        raise ValueError("a masking key is 4 bytes")
    if key:
        mask = <const uint8_t *> PyBytes_AS_STRING(key)
    cdef size_t size = framewire_write_header(header, first, length, mask)
    return PyBytes_FromStringAndSize(<const char *> header, <Py_ssize_t> size)
