"""Stage 1 of the data path: the frame header (RFC 6455 5.2)."""

from __future__ import annotations

from typing import TypeAlias

Buffer: TypeAlias = "bytes | bytearray | memoryview"


def check_range(data: Buffer, start: int, stop: int) -> bytes | memoryview:
    """Return `data` as a buffer of bytes. ValueError if the range lies outside of it."""
    # Do not create a view if `data` is a view of bytes already: a debugger that keeps stack frames
    # would keep it open.
    if type(data) is not bytes and not (
        type(data) is memoryview and data.format == "B" and data.ndim == 1 and data.c_contiguous
    ):
        data = memoryview(data).cast("B")
    if not 0 <= start <= stop <= len(data):
        raise ValueError("the range lies outside the data")
    return data


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
    data = check_range(data, start, stop)
    if stop - start < 2:
        return None
    first, second = data[start], data[start + 1]
    masked = second > 127
    length = second & 0x7F
    end = start + 2
    if length > 125:
        end += 2 if length == 126 else 8
        if end > stop:
            return None
        shortest = 126 if length == 126 else 0x10000
        length = int.from_bytes(data[start + 2 : end], "big")
        if length < shortest or length >> 63:
            length = -1
    if not masked:
        return first, masked, length, end, b""
    end += 4
    return first, masked, length, end, bytes(data[end - 4 : end]) if end <= stop else None


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
    if not 0 <= first <= 255:
        raise ValueError("the first byte of a header is 0 to 255")
    if not 0 <= length < 1 << 63:
        raise ValueError("a payload length is 0 to 2**63 - 1")
    if type(key) is not bytes:
        raise TypeError("a masking key is bytes")
    if len(key) not in (0, 4):
        raise ValueError("a masking key is 4 bytes")
    mask = 0x80 if key else 0
    if length < 126:
        return bytes((first, mask | length)) + key
    if length < 0x10000:
        return bytes((first, mask | 126)) + length.to_bytes(2, "big") + key
    return bytes((first, mask | 127)) + length.to_bytes(8, "big") + key
