"""websocket-client: masking, and UTF-8 validation, which it does byte by byte in Python."""

from __future__ import annotations

from array import array

from websocket import _abnf, _utils

from .._backend import Utf8Validator, apply_mask
from .accelerate import Replacement, expect_same
from .self_test_samples import KEY

_original_mask = _abnf._mask
_original_validate = _utils._validate_utf8


def replacements() -> list[Replacement]:
    """Return replacements of `_abnf._mask` and `_utils._validate_utf8`.

    If wsaccel is installed, these use it; they are replaced nevertheless.
    """
    samples = [(array("B", KEY), array("B", range(size))) for size in (0, 1, 2, 3, 4, 5, 31, 256)]
    expect_same("_mask", _original_mask, mask, *samples)
    texts = (b"", b"text", "Κόσμε \U0001f600".encode(), b"\xc3", b"\xe2\x82", b"\xff", b"\xed\xa0\x80", b"a\xc0\x80")
    expect_same("_validate_utf8", _original_validate, validate, *((text,) for text in texts))
    return [Replacement(_abnf, "_mask", mask), Replacement(_utils, "_validate_utf8", validate)]


def mask(mask_value: array[int], data_value: array[int]) -> bytes:
    """Return the data masked."""
    if len(mask_value) != 4:
        masked: bytes = _original_mask(mask_value, data_value)
        return masked
    return apply_mask(memoryview(data_value), mask_value.tobytes())


def validate(utfbytes: str | bytes) -> bool:
    """Return whether the text is valid UTF-8; like the original, it may end inside a code point."""
    if not isinstance(utfbytes, (bytes, bytearray)):
        valid: bool = _original_validate(utfbytes)
        return valid
    return Utf8Validator().feed(utfbytes) == len(utfbytes)
