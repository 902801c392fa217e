# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The way back, stages 4 to 1: messages to frames (RFC 6455 5.2, 5.3, 5.6)."""

from __future__ import annotations

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from kernels cimport framewire_write_header

include "dispatch.pxi"

cdef extern from "Python.h":
    bytes PyUnicode_AsUTF8String(object text)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef extern from "objects.h":
    uint8_t *framewire_str_data(PyObject *text)


def send(
    stream: Any,
    message: str | bytes | bytearray | memoryview,
    *,
    text: bool | None = None,
    last: bool = True,
    compress: bool | None = None,
) -> bytes:
    """Returns the frame that carries a message: text for a `str`, binary for a bytes-like object.

    `text=True` sends bytes as text, `text=False` a `str` as binary. `last=False` begins or continues a fragmented
    message, whose pieces may cut a code point. `compress` says whether an extension such as permessage-deflate encodes
    the message, the first fragment's for all of it; by default fragments are, and messages from its threshold on.

    Raises StateError after a close or a failure, and while `send_steps` encodes another message; FragmentError if the
    type changes inside a message, TextError if the text is not UTF-8. Nothing has changed then.
    """
    return send_any(stream, message, text, last, compress, False)


def send_parts(
    stream: Any,
    message: str | bytes | bytearray | memoryview,
    *,
    text: bool | None = None,
    last: bool = True,
    compress: bool | None = None,
) -> list[bytes]:
    """As `send`, but leaves the header (2 to 14 bytes) and the payload unjoined, for `writelines`.

    A server's payload is not copied if it is `bytes`.
    """
    return send_any(stream, message, text, last, compress, True)


cdef object send_any(object stream, object message, object text, object last, object compress, bint apart):
    cdef uint8_t first
    if text is None and compress is None and last:
        try:
            first = plain_first(stream, message)
            if first:
                return frame(first, message, key_from(stream._keys), apart)
            codec = stream._whole
            if codec is not None and not stream._stepping:
                if type(message) is str:
                    first, content = 0x81, PyUnicode_AsUTF8String(message)
                elif type(message) is bytes:
                    first, content = 0x82, message
                if first:
                    key = key_from(stream._keys)
                    with stream._partial:  # two threads in one compressor would mix their messages
                        try:
                            return frame(first | <uint8_t> codec.rsv, codec.encode(content, True), key, apart)
                        except BaseException:
                            codec.abandon()
                            raise
        except UnicodeEncodeError:
            pass  # the general way says so in our terms
    return stream._send_other(message, text, last, compress, make_parts if apart else make_frame)


cdef inline uint8_t plain_first(object stream, object message) except? 0:
    """The first byte of the frame of a message that needs no more than that, or 0."""
    if type(message) is str:
        return 0x81 if PyUnicode_GET_LENGTH(message) < <Py_ssize_t> stream._plain else 0
    if type(message) is bytes:
        return 0x82 if PyBytes_GET_SIZE(message) < <Py_ssize_t> stream._plain else 0
    return 0


def take_key(keys: Any) -> bytes:
    """Returns the next masking key from `keys`, see `keys.py`; b"" from None, as a server's frames have none."""
    return key_from(keys)


cdef inline object key_from(object keys):
    if keys is None:
        return b""
    try:
        return keys.pop()
    except IndexError:
        return keys.refill()


def make_frame(first: int, payload: str | bytes | bytearray | memoryview, key: bytes) -> bytes:
    """Makes a whole frame: the header with the first byte `first`, then the payload, masked unless `key` is empty.

    A `str` is encoded as UTF-8. Raises UnicodeEncodeError for a lone surrogate, else as `write_header`.
    """
    if not 0 <= first <= 255:
        raise ValueError("the first byte of a header is 0 to 255")
    return frame(first, payload, key, False)


def make_parts(first: int, payload: bytes, key: bytes) -> list[bytes]:
    return frame(first, payload, key, True)


cdef object frame(uint8_t first, object payload, object key, bint apart):
    """The frame, or a list of its header and its payload."""
    cdef Py_buffer view
    cdef const uint8_t *src
    if isinstance(payload, str):
        if PyUnicode_IS_COMPACT_ASCII(payload):
            src = framewire_str_data(<PyObject *> payload)
            return build(first, payload, src, PyUnicode_GET_LENGTH(payload), key, apart)
        payload = PyUnicode_AsUTF8String(payload)
    if type(payload) is bytes:
        src = <const uint8_t *> PyBytes_AS_STRING(payload)
        return build(first, payload, src, PyBytes_GET_SIZE(payload), key, apart)
    with memoryview(payload) as whole, whole.cast("B") as source:
        PyObject_GetBuffer(source, &view, PyBUF_SIMPLE)
        try:
            return build(first, payload, <const uint8_t *> view.buf, view.len, key, apart)
        finally:
            PyBuffer_Release(&view)


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
