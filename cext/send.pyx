# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The way back, stages 4 to 1: messages to frames (RFC 6455 5.2, 5.3, 5.6)."""

from __future__ import annotations

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

include "dispatch.pxi"
include "frame.pxi"


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
    cdef bint plain
    if text is None and compress is None and last and (type(message) is str or type(message) is bytes):
        first = 0x81 if type(message) is str else 0x82
        plain = len(message) < <Py_ssize_t> stream._plain
        codec = None if plain else stream._whole
        if plain or codec is not None and not stream._stepping:
            content = encoded(message, plain)
            if content is not None:  # else the general way says why, in our terms
                key = key_from(stream._keys)
                if plain:
                    return frame(first, content, key, apart)
                leave = stream._partial.__exit__  # now, when it may fail
                stream._partial.__enter__()  # two threads in one compressor would mix their messages
                try:
                    return frame(first | <uint8_t> codec.rsv, codec.encode(content, True), key, apart)
                except BaseException:
                    codec.abandon()
                    raise
                finally:
                    leave(None, None, None)
    return stream._send_other(message, text, last, compress, make_parts if apart else make_frame)


def take_key(keys: Any) -> bytes:
    """Returns the next masking key from `keys`, see `keys.py`; b"" from None, as a server's frames have none."""
    return key_from(keys)


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
        payload = made(PyUnicode_AsUTF8String(payload))
    if type(payload) is bytes:
        src = <const uint8_t *> PyBytes_AS_STRING(payload)
        return build(first, payload, src, PyBytes_GET_SIZE(payload), key, apart)
    PyObject_GetBuffer(memoryview(payload).cast("B"), &view, PyBUF_SIMPLE)
    try:
        return build(first, payload, <const uint8_t *> view.buf, view.len, key, apart)
    finally:
        PyBuffer_Release(&view)
