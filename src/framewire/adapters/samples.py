"""What a masker, a UTF-8 validator or a reader of frames is tried on before it replaces another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from .._backend import make_frame

__all__ = ["DATA", "KEY", "PAYLOADS", "TEXTS", "make_frames", "mask_with", "streams", "validate_with"]

KEY: Final = b"\x37\xfa\x21\x3d"

#: Payloads in pieces, of every length modulo 4 and at every phase of the key.
PAYLOADS: Final = tuple(tuple(map(bytes, map(range, sizes))) for sizes in ((0,), (1, 2, 3, 4, 5), (31,), (200, 3, 128)))

#: Texts in pieces: whole, cut inside a code point, ending inside one, and with each kind of error.
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

#: Frames that nothing is wrong with, first bytes and payloads: what fails is tried behind them.
DATA: Final = ((0x81, b"text"), (0x82, b"\xff" * 126), (0x89, b"ping"), (0x81, b""), (0x82, b""))

_FRAGMENTS: Final = ((0x01, b"a\xe2"), (0x8A, b""), (0x80, b"\x82\xac"), (0x82, b"c"))
_CLOSE: Final = ((0x88, b"\x03\xe8bye"), (0x81, b"ignored"))


def make_frames(key: bytes, *frames: tuple[int, bytes]) -> bytes:
    """Frames of these first bytes and payloads, masked unless `key` is empty."""
    return b"".join([make_frame(first, payload, key) for first, payload in frames])


def streams(key: bytes) -> Iterator[tuple[bytes, ...]]:
    """Streams of frames, whole and in pieces: data, fragments, control frames, and what a header can fail by."""
    whole = make_frames(key, *DATA, *_FRAGMENTS, *_CLOSE)
    yield (whole,)
    yield from ((whole[:cut], whole[cut:]) for cut in range(0, len(whole), 7))
    for first in (0x80, 0x83, 0x91, 0x09, 0xC1):
        yield (make_frames(key, *DATA, (first, b"x"), (0x82, b"y")),)
    yield (make_frames(key, (0x01, b"a"), (0x81, b"b")),)
    yield (make_frames(key, *DATA) + make_frame(0x81, b"wrong", b"" if key else KEY),)


def mask_with(make: Callable[[bytes, int], Any]) -> Callable[..., list[tuple[bytes, int]]]:
    """A function that masks pieces with `make(key, length).process`, and gives each with the pointer behind it."""

    def mask(*pieces: bytes) -> list[tuple[bytes, int]]:
        masker = make(KEY, sum(map(len, pieces)))
        return [(bytes(masker.process(piece)), masker.pointer()) for piece in pieces]

    return mask


def validate_with(kind: Callable[[], Any]) -> Callable[..., list[tuple[bool, bool, int, int]]]:
    """A function that validates pieces with `kind().validate`, and gives each answer."""

    def validate(*pieces: bytes) -> list[tuple[bool, bool, int, int]]:
        validator = kind()
        return [validator.validate(piece) for piece in pieces]

    return validate
