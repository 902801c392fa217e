"""Stages 1 and 2 of the data path in one call: parse and build whole frames (RFC 6455 5.2, 5.3)."""

from __future__ import annotations

from typing import Any, Final, cast

from .header import Buffer, read_header, write_header
from .mask import apply_mask

#: First bytes of whole messages: FIN and the opcode (5.2).
FIRST_TEXT: Final = 0x81
FIRST_BINARY: Final = 0x82


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
    """Return the unmasked payload of the frame at data[start], and the index after the frame.

    Returns:
        None unless the frame is whole, is masked if and only if `masked`, and has a minimal length
        of at most `limit` bytes. Its first byte is not checked.
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
    """Return the next masking key from `keys` (see `masking_keys.py`), or b"" if that is None."""
    if keys is None:
        return b""
    try:
        return cast(bytes, keys.pop())
    except IndexError:
        return cast(bytes, keys.refill())


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
    return b"".join(make_parts(first, payload, key))


def make_parts(first: int, payload: str | bytes | bytearray | memoryview, key: bytes) -> list[bytes]:
    """Like `make_frame`, but return [header, payload]; an unmasked `bytes` is not copied."""
    if not 0 <= first <= 255:
        raise ValueError("the first byte of a header is 0 to 255")
    if isinstance(payload, str):
        payload = payload.encode()
    elif type(payload) is not bytes:
        with memoryview(payload) as view:
            payload = view.cast("B").tobytes()
    return [write_header(first, len(payload), key), apply_mask(payload, key) if key else payload]
