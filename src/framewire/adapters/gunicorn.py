"""The ASGI worker of gunicorn (`-k asgi`): unmasking, which it does byte by byte in Python."""

from __future__ import annotations

from gunicorn.asgi.websocket import WebSocketProtocol

from .._backend import apply_mask
from .accelerate import Replacement, expect_same
from .self_test_samples import KEY


def replacements() -> list[Replacement]:
    """Return a replacement of `WebSocketProtocol._unmask`."""
    samples = [(None, bytes(range(256))[:size], KEY) for size in (0, 1, 2, 3, 4, 5, 31, 256)]
    expect_same("_unmask", WebSocketProtocol._unmask, unmask, *samples)
    return [Replacement(WebSocketProtocol, "_unmask", unmask)]


def unmask(self: object, payload: bytes, masking_key: bytes) -> bytes:
    """Return the payload unmasked."""
    return apply_mask(payload, bytes(masking_key)) if payload else payload
