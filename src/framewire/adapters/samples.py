"""What a masker or a UTF-8 validator is tried on before it replaces another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

__all__ = ["KEY", "PAYLOADS", "TEXTS", "mask_with", "validate_with"]

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
