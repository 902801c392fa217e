"""gevent-websocket: its UTF-8 check and its unmasking, both byte by byte in Python."""

from __future__ import annotations

from typing import Any

from geventwebsocket import utf8validator, websocket

from .._backend import apply_mask_in_place
from .accelerate import Change, expect_same
from .samples import KEY, TEXTS, validate_with
from .wsaccel import Utf8Validator

_original_mask = websocket.Header.mask_payload


def changes() -> list[Change]:
    """Replaces the name `Utf8Validator` and the methods `Header.mask_payload` and `unmask_payload`."""
    expect_same("mask_payload", _original_mask, mask_payload, *map(_sample, (0, 1, 2, 3, 4, 5, 31, 256)))
    expect_same("Utf8Validator", validate_with(utf8validator.Utf8Validator), validate_with(Utf8Validator), *TEXTS)
    return [
        Change(websocket.Header, "mask_payload", mask_payload),
        Change(websocket.Header, "unmask_payload", mask_payload),
        Change(utf8validator, "Utf8Validator", Utf8Validator),
        Change(websocket, "Utf8Validator", Utf8Validator),
    ]


def mask_payload(self: Any, payload: bytes | bytearray) -> bytearray:
    """Returns the payload, of which `self.length` bytes are XORed with the masking key."""
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
