"""Sec-WebSocket-Accept of the opening handshake (RFC 6455 4.2.2)."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")


def accept_key(key: bytes) -> bytes:
    """Return the value of Sec-WebSocket-Accept, 28 bytes, for a Sec-WebSocket-Key.

    The 4 unused bits of the key may be set, as in the RFC's own example (4.1).

    Raises:
        ValueError: The key is not the base64 of 16 bytes.
        TypeError: The key is not bytes.
    """
    if type(key) is not bytes:
        raise TypeError("a key is bytes")
    if not _KEY.fullmatch(key):
        raise ValueError("a key is the base64 of 16 bytes")
    return b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
