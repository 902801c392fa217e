"""Stages 1 and 2 of the data path in one step: frames read whole, and made whole (RFC 6455 5.2, 5.3)."""

from __future__ import annotations

from typing import Any, Final, cast

from .header import Buffer, read_header, write_header
from .mask import apply_mask

#: First bytes of whole messages: FIN and the opcode (5.2).
FIRST_TEXT: Final = 0x81
FIRST_BINARY: Final = 0x82


def take_frames(data: Buffer, masked: bool, limit: int, frames: list[tuple[int, bytes]]) -> int:
    """Take whole, plain data frames from the front of `data`, for parsers with rules and types of their own.

    Plain: FIN set, no RSV bit, text or binary, masked if and only if `masked`, of minimal length,
    up to `limit` bytes. Appends (first byte, unmasked payload) for each: 0x81 is text, whose UTF-8
    is not validated, 0x82 binary. It never rejects: it stops before anything else. Accepts any
    contiguous buffer, of any item type.

    Returns:
        The index after the last frame taken.
    """
    if type(frames) is not list:
        raise TypeError("take_frames() takes a list")
    with memoryview(data) as whole, whole.cast("B") as octets:
        start, stop = 0, len(octets)
        while header := read_header(octets, start, stop):
            first, has_mask, length, end, key = header
            if first not in (FIRST_TEXT, FIRST_BINARY) or key is None:
                break
            if has_mask is not bool(masked) or not 0 <= length <= min(limit, stop - end):
                break
            with octets[end : end + length] as payload:
                frames.append((first, apply_mask(payload, key) if key else bytes(payload)))
            start = end + length
        return start


def take_payload(data: bytes, start: int, masked: bool, limit: int) -> tuple[bytes, int] | None:
    """Return the payload, unmasked, of the frame that begins at data[start], and the index after the frame.

    None unless the frame is whole, masked if and only if `masked`, of minimal length and has up to
    `limit` bytes. Its first byte may be anything.
    """
    if type(data) is not bytes:
        raise TypeError("take_payload() takes bytes")
    header = read_header(data, start, len(data))
    if header is None:
        return None
    _, keyed, length, end, key = header
    stop = end + length
    if keyed != masked or not 0 <= length <= limit or key is None or stop > len(data):
        return None
    return apply_mask(data[end:stop], key) if key else data[end:stop], stop


def take_key(keys: Any) -> bytes:
    """Return the next masking key from `keys`, see `masking_keys.py`; b"" from None, since a server does not mask."""
    if keys is None:
        return b""
    try:
        return cast(bytes, keys.pop())
    except IndexError:
        return cast(bytes, keys.refill())


def make_frame(first: int, payload: str | bytes | bytearray | memoryview, key: bytes) -> bytes:
    """Make a whole frame: the header with the first byte `first`, then the payload, masked unless `key` is empty.

    A `str` is encoded as UTF-8. Raises UnicodeEncodeError for a lone surrogate, else as
    `write_header`.
    """
    return b"".join(make_parts(first, payload, key))


def make_parts(first: int, payload: str | bytes | bytearray | memoryview, key: bytes) -> list[bytes]:
    """Like `make_frame`, but return the header and the payload apart. An unmasked `bytes` is not copied."""
    if not 0 <= first <= 255:
        raise ValueError("the first byte of a header is 0 to 255")
    if isinstance(payload, str):
        payload = payload.encode()
    elif type(payload) is not bytes:
        with memoryview(payload) as view:
            payload = view.cast("B").tobytes()
    return [write_header(first, len(payload), key), apply_mask(payload, key) if key else payload]
