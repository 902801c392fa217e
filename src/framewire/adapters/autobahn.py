"""autobahn, and daphne on it: masking and the UTF-8 check of each frame."""

from __future__ import annotations

from autobahn.websocket import protocol

from .accelerate import Change, expect_same
from .samples import PAYLOADS, TEXTS, mask_with, validate_with
from .wsaccel import Utf8Validator, create_xor_masker


def changes() -> list[Change]:
    """Replaces the names `create_xor_masker` and `Utf8Validator` of `autobahn.websocket.protocol`."""
    original, replacement = mask_with(protocol.create_xor_masker), mask_with(create_xor_masker)
    expect_same("create_xor_masker", original, replacement, *PAYLOADS)
    expect_same("Utf8Validator", validate_with(protocol.Utf8Validator), validate_with(Utf8Validator), *TEXTS)
    return [
        Change(protocol, "create_xor_masker", create_xor_masker),
        Change(protocol, "Utf8Validator", Utf8Validator),
    ]
