"""gevent-websocket: UTF-8 validation and masking, which it does byte by byte in Python."""

from __future__ import annotations

from typing import Any

from geventwebsocket import utf8validator, websocket

from .._backend import apply_mask_in_place
from .accelerate import Replacement, expect_same
from .self_test_samples import KEY, TEXTS, make_validate_call
from .wsaccel import Utf8Validator

_original_mask = websocket.Header.mask_payload


def replacements() -> list[Replacement]:
    """Return replacements of `Utf8Validator`, `Header.mask_payload` and `Header.unmask_payload`."""
    expect_same("mask_payload", _original_mask, mask_payload, *map(_sample, (0, 1, 2, 3, 4, 5, 31, 256)))
    original, replacement = make_validate_call(utf8validator.Utf8Validator), make_validate_call(Utf8Validator)
    expect_same("Utf8Validator", original, replacement, *TEXTS)
    return [
        Replacement(websocket.Header, "mask_payload", mask_payload),
        Replacement(websocket.Header, "unmask_payload", mask_payload),
        Replacement(utf8validator, "Utf8Validator", Utf8Validator),
        Replacement(websocket, "Utf8Validator", Utf8Validator),
    ]


def mask_payload(self: Any, payload: bytes | bytearray) -> bytearray:
    """Return a copy of the payload whose first `self.length` bytes are masked."""
    masked = bytearray(payload)
    if len(self.mask) != 4 or self.length > len(masked):
        return bytearray(_original_mask(self, payload))
    with memoryview(masked) as whole, whole[: self.length] as part:
        apply_mask_in_place(part, bytes(self.mask))
    return masked


def _sample(size: int) -> tuple[Any, bytes]:
    header = websocket.Header(length=size)
    header.mask = KEY
    return header, bytes(size)
