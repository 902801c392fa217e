# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True, auto_pickle=False
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Stages 1 and 2 of the data path in one call: parse and build whole frames (RFC 6455 5.2, 5.3)."""

from __future__ import annotations

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from cpython_compat cimport (
    PyUnicode_AsUTF8String,
    PyUnicode_GET_LENGTH,
    PyUnicode_IS_COMPACT_ASCII,
    check_range,
    framewire_str_data,
    steal_reference,
)
from frame_writer cimport build_frame, next_key
from kernels cimport FRAME_WHOLE, framewire_check_frame, framewire_header, framewire_is_message
from payload cimport make_bytes


def take_frames(data: Buffer, masked: bool, limit: int, frames: list[tuple[int, bytes]]) -> int:
    """Take whole, plain data frames from the front of `data`, for parsers of other libraries.

    A plain frame is text or binary with FIN set and no RSV bits, with the given mask bit, and with
    a minimal length within the limit. The function never rejects a frame: it stops before the first
    one that is not plain or not whole. It does not validate UTF-8.

    Args:
        data: Any contiguous buffer, of any item type.
        masked: Whether frames must be masked.
        limit: Largest payload, in bytes.
        frames: The list to which (first byte, unmasked payload) is appended for each frame; the
            first byte is 0x81 for text and 0x82 for binary.

    Returns:
        The index after the last frame taken.
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
    if limit < 0:
        return 0
    cdef uint64_t most = min(limit, (1 << 63) - 1)
    while start < size and framewire_is_message(data[start]):
        if framewire_check_frame(&header, data + start, <size_t> (size - start), masked, most) != FRAME_WHOLE:
            break
        start += header.size
        payload = steal_reference(make_bytes(data + start, <Py_ssize_t> header.length, masked, header.key))
        frames.append((header.first, payload))
        start += <Py_ssize_t> header.length
    return start


def take_payload(data: bytes, start: int, masked: bool, limit: int) -> tuple[bytes, int] | None:
    """Return the unmasked payload of the frame at data[start], and the index after the frame.

    Returns:
        None unless the frame is whole, is masked if and only if `masked`, and has a minimal length
        of at most `limit` bytes. Its first byte is not checked.
    """
    cdef framewire_header header
    cdef Py_ssize_t position = start
    cdef bint is_masked = masked
    cdef uint64_t most = limit
    if type(data) is not bytes:
        raise TypeError("take_payload() takes bytes")
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    check_range(position, size, size)
    cdef const uint8_t *src = <const uint8_t *> PyBytes_AS_STRING(data) + position
    if framewire_check_frame(&header, src, <size_t> (size - position), is_masked, most) != FRAME_WHOLE:
        return None
    payload = steal_reference(make_bytes(src + header.size, <Py_ssize_t> header.length, is_masked, header.key))
    return payload, position + header.size + <Py_ssize_t> header.length


def take_key(keys: Any) -> bytes:
    """Return the next masking key from `keys` (see `masking_keys.py`), or b"" if that is None."""
    return next_key(keys)


def make_frame(first: int, payload: str | bytes | bytearray | memoryview, key: bytes) -> bytes:
    """Return a whole frame.

    Args:
        first: The first byte of the header: FIN, RSV bits, opcode.
        payload: The payload; a `str` is encoded as UTF-8.
        key: The masking key of 4 bytes, or b"" for an unmasked frame.

    Raises:
        UnicodeEncodeError: The text has a lone surrogate.
        ValueError: `first` or the length of `key` is out of range.
        TypeError: `key` is not bytes.
    """
    return make(first, payload, key, False)


def make_parts(first: int, payload: str | bytes | bytearray | memoryview, key: bytes) -> list[bytes]:
    """Like `make_frame`, but return [header, payload]; an unmasked `bytes` is not copied."""
    return make(first, payload, key, True)


cdef object make(object number, object payload, object key, bint apart):
    cdef Py_buffer view
    cdef const uint8_t *src
    cdef uint8_t first
    if not 0 <= number <= 255:
        raise ValueError("the first byte of a header is 0 to 255")
    first = number
    if isinstance(payload, str):
        if PyUnicode_IS_COMPACT_ASCII(payload):
            src = framewire_str_data(<PyObject *> payload)
            return build_frame(first, payload, src, PyUnicode_GET_LENGTH(payload), key, apart)
        payload = steal_reference(PyUnicode_AsUTF8String(payload))
    if type(payload) is bytes:
        src = <const uint8_t *> PyBytes_AS_STRING(payload)
        return build_frame(first, payload, src, PyBytes_GET_SIZE(payload), key, apart)
    PyObject_GetBuffer(memoryview(payload).cast("B"), &view, PyBUF_SIMPLE)
    try:
        return build_frame(first, payload, <const uint8_t *> view.buf, view.len, key, apart)
    finally:
        PyBuffer_Release(&view)
