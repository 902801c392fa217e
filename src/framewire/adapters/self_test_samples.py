"""Inputs for the self-tests that compare a replacement with the original of a library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from .._backend import make_frame

__all__ = [
    "DATA_FRAMES",
    "KEY",
    "PAYLOADS",
    "TEXTS",
    "frame_streams",
    "make_frames",
    "make_mask_call",
    "make_validate_call",
]

KEY: Final = b"\x37\xfa\x21\x3d"

#: Payloads in chunks, with every length modulo 4 and every phase of the masking key.
PAYLOADS: Final = tuple(tuple(map(bytes, map(range, sizes))) for sizes in ((0,), (1, 2, 3, 4, 5), (31,), (200, 3, 128)))

#: Texts in chunks: whole, split inside a code point, ending inside one, and with each kind of
#: error.
TEXTS: Final = (
    (b"",),
    (b"text", b"more text"),
    ("Κόσμε \U0001f600".encode(), b"", b"a"),
    (b"\xe2", b"\x82", b"\xac"),
    (b"ab\xe2\x82",),
    (b"ab\xff",),
    (b"abc", b"de\xed\xa0\x80"),
    (b"\xf4\x8f", b"\xbf\xbf"),
    (b"\xf4", b"\x90"),
    (b"\xc0\x80",),
)

#: Valid frames, as first bytes and payloads. Samples with an invalid frame have it after these, so
#: that a fast path must deliver them before the failure.
DATA_FRAMES: Final = ((0x81, b"text"), (0x82, b"\xff" * 126), (0x89, b"ping"), (0x81, b""), (0x82, b""))

_FRAGMENTS: Final = ((0x01, b"a\xe2"), (0x8A, b""), (0x80, b"\x82\xac"), (0x82, b"c"))
_CLOSE: Final = ((0x88, b"\x03\xe8bye"), (0x81, b"ignored"))


def make_frames(key: bytes, *frames: tuple[int, bytes]) -> bytes:
    """Join frames, given as first bytes and payloads; they are masked unless `key` is empty."""
    return b"".join([make_frame(first_byte, payload, key) for first_byte, payload in frames])


def frame_streams(key: bytes) -> Iterator[tuple[bytes, ...]]:
    """Yield streams of frames in chunks: data, fragments, control frames, and invalid headers."""
    whole = make_frames(key, *DATA_FRAMES, *_FRAGMENTS, *_CLOSE)
    yield (whole,)
    yield from ((whole[:cut], whole[cut:]) for cut in range(0, len(whole), 7))
    for first_byte in (0x80, 0x83, 0x91, 0x09, 0xC1):
        yield (make_frames(key, *DATA_FRAMES, (first_byte, b"x"), (0x82, b"y")),)
    yield (make_frames(key, (0x01, b"a"), (0x81, b"b")),)
    yield (make_frames(key, *DATA_FRAMES) + make_frame(0x81, b"wrong", b"" if key else KEY),)


def make_mask_call(factory: Callable[[bytes, int], Any]) -> Callable[..., list[tuple[bytes, int]]]:
    """Return a function that masks chunks with `factory(key, length)`.

    It returns each masked chunk with the value of `pointer()` after it.
    """

    def mask(*chunks: bytes) -> list[tuple[bytes, int]]:
        masker = factory(KEY, sum(map(len, chunks)))
        return [(bytes(masker.process(chunk)), masker.pointer()) for chunk in chunks]

    return mask


def make_validate_call(validator_class: Callable[[], Any]) -> Callable[..., list[tuple[bool, bool, int, int]]]:
    """Return a function that validates chunks and returns the result for each."""

    def validate(*chunks: bytes) -> list[tuple[bool, bool, int, int]]:
        validator = validator_class()
        return [validator.validate(chunk) for chunk in chunks]

    return validate
