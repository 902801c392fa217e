"""autobahn, and daphne, which uses it: masking and the UTF-8 validation of each frame."""

from __future__ import annotations

from autobahn.websocket import protocol

from .accelerate import Replacement, expect_same
from .self_test_samples import PAYLOADS, TEXTS, make_mask_call, make_validate_call
from .wsaccel import Utf8Validator, create_xor_masker


def replacements() -> list[Replacement]:
    """Return replacements of `protocol.create_xor_masker` and `protocol.Utf8Validator`."""
    original_mask, mask = make_mask_call(protocol.create_xor_masker), make_mask_call(create_xor_masker)
    expect_same("create_xor_masker", original_mask, mask, *PAYLOADS)
    original_validate, validate = make_validate_call(protocol.Utf8Validator), make_validate_call(Utf8Validator)
    expect_same("Utf8Validator", original_validate, validate, *TEXTS)
    return [
        Replacement(protocol, "create_xor_masker", create_xor_masker),
        Replacement(protocol, "Utf8Validator", Utf8Validator),
    ]
