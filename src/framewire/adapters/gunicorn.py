"""gunicorn's ASGI worker (`-k asgi`): unmasking, which it does byte by byte in Python."""

from __future__ import annotations

from gunicorn.asgi.websocket import WebSocketProtocol

from .._backend import apply_mask
from .accelerate import Change, expect_same
from .samples import KEY


def changes() -> list[Change]:
    """Replaces `WebSocketProtocol._unmask`."""
    samples = [(None, bytes(range(256))[:size], KEY) for size in (0, 1, 2, 3, 4, 5, 31, 256)]
    expect_same("_unmask", WebSocketProtocol._unmask, unmask, *samples)
    return [Change(WebSocketProtocol, "_unmask", unmask)]


def unmask(self: object, payload: bytes, masking_key: bytes) -> bytes:
    """Returns the payload XOR the masking key."""
    return apply_mask(payload, bytes(masking_key)) if payload else payload
