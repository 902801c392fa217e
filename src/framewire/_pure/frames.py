"""Stages 1 and 2 for parsers that keep their own rules and types: whole plain data frames, in one go."""

from __future__ import annotations

from .header import Buffer, read_header
from .mask import apply_mask


def take_frames(data: Buffer, masked: bool, limit: int, frames: list[tuple[int, bytes]]) -> int:
    """Takes from the front of `data` all whole, plain data frames; returns the index behind the last of them.

    Plain: FIN set, no RSV bit, text or binary, masked if and only if `masked`, of minimal length, up to `limit` bytes.
    Appends (first byte, unmasked payload) for each: 0x81 is text, whose UTF-8 nobody has looked at, 0x82 binary. It
    never rejects: it stops before whatever else there is. Accepts any contiguous buffer, of any item type.
    """
    if type(frames) is not list:
        raise TypeError("take_frames() takes a list")
    with memoryview(data) as whole, whole.cast("B") as octets:
        start, stop = 0, len(octets)
        while header := read_header(octets, start, stop):
            first, has_mask, length, end, key = header
            if first not in (0x81, 0x82) or has_mask is not bool(masked) or not 0 <= length <= limit or key is None:
                break
            if length > stop - end:
                break
            with octets[end : end + length] as payload:
                frames.append((first, apply_mask(payload, key) if key else bytes(payload)))
            start = end + length
        return start
