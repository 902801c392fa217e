"""The header fields of a handshake: those that a caller adds, those that arrive, and what h11 says of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import h11

from .headers import Headers, check_field

__all__ = ["FRAMING", "check_added", "decode_fields", "explain"]

#: What frames a message, and so is not for a caller to say.
FRAMING: Final = frozenset({"connection", "content-length", "transfer-encoding"})


def check_added(headers: Iterable[tuple[str, str]], *own: str) -> list[tuple[str, str]]:
    """The headers that a caller adds to a handshake, unless one is the handshake's own."""
    lines = list(headers)
    for name, value in lines:
        check_field(name, value)
        lower = name.lower()
        if lower in FRAMING or lower in ("upgrade", *own) or lower.startswith("sec-websocket-"):
            raise ValueError(f"{name} is written by the handshake itself")
    return lines


def decode_fields(lines: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The header lines of a head as h11 gives them."""
    return Headers([(name.decode("ascii"), value.decode("latin-1")) for name, value in lines])


def explain(error: h11.RemoteProtocolError) -> str:
    """What h11 says, without the bytes of the peer that it quotes behind a colon."""
    return str(error).partition(": b")[0]
