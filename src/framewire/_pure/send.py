"""The way back, stages 4 to 1: messages to frames (RFC 6455 5.2, 5.3, 5.6)."""

from __future__ import annotations

from typing import Any, cast

from .header import write_header
from .mask import apply_mask


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
    return b"".join(send_parts(stream, message, text=text, last=last, compress=compress))


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
    if text is None and compress is None and last and (type(message) is str or type(message) is bytes):
        try:
            first, payload = (0x81, message.encode()) if isinstance(message, str) else (0x82, message)
            if len(message) < stream._plain:
                return _make_parts(first, payload, take_key(stream._keys))
            codec = stream._whole
            if codec is not None and not stream._stepping:
                key = take_key(stream._keys)
                with stream._partial:  # two threads in one compressor would mix their messages
                    try:
                        return _make_parts(first | codec.rsv, codec.encode(payload, True), key)
                    except BaseException:
                        codec.abandon()
                        raise
        except UnicodeEncodeError:
            pass  # the general way says so in our terms
    return cast(list[bytes], stream._send_other(message, text, last, compress, _make_parts))


def take_key(keys: Any) -> bytes:
    """Returns the next masking key from `keys`, see `keys.py`; b"" from None, as a server's frames have none."""
    if keys is None:
        return b""
    try:
        return cast(bytes, keys.pop())
    except IndexError:
        return cast(bytes, keys.refill())


def make_frame(first: int, payload: str | bytes | bytearray | memoryview, key: bytes) -> bytes:
    """Makes a whole frame: the header with the first byte `first`, then the payload, masked unless `key` is empty.

    A `str` is encoded as UTF-8. Raises UnicodeEncodeError for a lone surrogate, else as `write_header`.
    """
    if not 0 <= first <= 255:
        raise ValueError("the first byte of a header is 0 to 255")
    if isinstance(payload, str):
        payload = payload.encode()
    elif type(payload) is not bytes:
        with memoryview(payload) as view:
            payload = view.cast("B").tobytes()
    return b"".join(_make_parts(first, payload, key))


def _make_parts(first: int, payload: bytes, key: bytes) -> list[bytes]:
    return [write_header(first, len(payload), key), apply_mask(payload, key) if key else payload]
