"""permessage-deflate (RFC 7692): its settings and its negotiation; the codec of a connection is a twin, `Deflate`.

Compression costs memory as long as a connection lives: both contexts are made when the first message needs them and
freed with the connection. In bytes: `2 ** (bits + 2) + 2 ** (memory level + 9)` for what is sent and `2 ** bits` for
what is received, and some 16 KiB of state. The README has measured sizes.

A compressed message tells by its length how much of it was in the messages before: secrets and what an attacker may
choose do not belong on one compressed connection (RFC 7692 8). `send(..., compress=False)` keeps a message out.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from .._backend import Deflate
from .codecs import Extension, Parameters

__all__ = ["CLIENT_DEFAULT", "SERVER_DEFAULT", "Deflate", "PerMessageDeflate", "add_compression"]

_BACKENDS: Final = {"zlib": "zlib", "zlib_ng": "zlib_ng.zlib_ng", "isal": "isal.isal_zlib"}
_zlib: Any = zlib


def use_zlib(name: str) -> None:
    """Chooses who compresses for the connections to come: "zlib" (the standard library's), "zlib_ng" or "isal".

    The latter two are faster and come with the extras of their names, as in `framewire[zlib-ng]`. ImportError if the
    one asked for is not installed, ValueError for another name.
    """
    global _zlib
    if name not in _BACKENDS:
        raise ValueError(f"{name!r} is none of {', '.join(_BACKENDS)}")
    _zlib = import_module(_BACKENDS[name])


class PerMessageDeflate:
    """The settings of permessage-deflate for any number of connections (RFC 7692 7.1).

    `server_max_window_bits` and `client_max_window_bits`, 9 to 15, are the windows that the server and the client
    compress with; None leaves 15 or what the peer wishes. A server can set the client's only if the client offers
    that. `server_no_context_takeover` and `client_no_context_takeover` make the respective side begin each message
    with an empty window: smaller memory while idle, larger messages.

    Of one's own sending: `level` is that of the zlib in use, None its default; `memory_level` is 1 to 9; messages from
    `threshold` bytes on are compressed unless `send` is told otherwise.

    Raises ValueError for window bits or a memory level outside these ranges.
    """

    name: Final = "permessage-deflate"

    def __init__(
        self,
        *,
        server_max_window_bits: int | None = 12,
        client_max_window_bits: int | None = 12,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        level: int | None = None,
        memory_level: int = 5,
        threshold: int = 64,
    ) -> None:
        for bits in (server_max_window_bits, client_max_window_bits):
            if bits is not None and not 9 <= bits <= 15:
                raise ValueError("window bits are 9 to 15: zlib can read but not write a window of 8")
        if not 1 <= memory_level <= 9:
            raise ValueError("a memory level is 1 to 9")
        self._server_bits = server_max_window_bits
        self._client_bits = client_max_window_bits
        self._server_resets = server_no_context_takeover
        self._client_resets = client_no_context_takeover
        self._level = level
        self._memory_level = memory_level
        self._threshold = threshold

    def offers(self) -> list[Parameters]:
        """One offer. It always lets the server choose the client's window, up to the setting (7.1.2.2)."""
        offer: list[tuple[str, str | None]] = []
        if self._server_resets:
            offer.append(("server_no_context_takeover", None))
        if self._client_resets:
            offer.append(("client_no_context_takeover", None))
        if self._server_bits is not None:
            offer.append(("server_max_window_bits", str(self._server_bits)))
        offer.append(("client_max_window_bits", None if self._client_bits is None else str(self._client_bits)))
        return [offer]

    def accept(self, offer: Parameters) -> tuple[Parameters, Deflate] | None:
        """The answer of a server and its codec; None for an offer that is malformed or asks for a window of 8 bits."""
        try:
            wished = _read(offer, "client_max_window_bits")
        except ValueError:
            return None
        server_bits = min(self._server_bits or 15, wished.get("server_max_window_bits") or 15)
        if server_bits == 8:
            return None
        server_resets = self._server_resets or "server_no_context_takeover" in wished
        client_resets = self._client_resets or "client_no_context_takeover" in wished
        client_bits = 15
        answer: list[tuple[str, str | None]] = []
        if server_resets:
            answer.append(("server_no_context_takeover", None))
        if client_resets:
            answer.append(("client_no_context_takeover", None))
        if server_bits < 15 or "server_max_window_bits" in wished:
            answer.append(("server_max_window_bits", str(server_bits)))
        if "client_max_window_bits" in wished:
            client_bits = min(self._client_bits or 15, wished["client_max_window_bits"] or 15)
            answer.append(("client_max_window_bits", str(client_bits)))
        return answer, self._codec(server_bits, client_bits, server_resets, client_resets)

    def agree(self, answer: Parameters) -> Deflate:
        """The codec of a client for the server's answer to `offers`.

        Raises ValueError if the answer is malformed, grants less than the offer asked for, or wants the client to
        compress with a window of 8 bits.
        """
        agreed = _read(answer)
        if self._server_resets and "server_no_context_takeover" not in agreed:
            raise ValueError("the server does not agree to server_no_context_takeover")
        server_bits = agreed.get("server_max_window_bits")
        if self._server_bits is not None and (server_bits is None or server_bits > self._server_bits):
            raise ValueError("the server does not agree to server_max_window_bits")
        limit = self._client_bits or 15
        client_bits = agreed.get("client_max_window_bits") or limit
        if not 9 <= client_bits <= limit:
            raise ValueError(f"the client cannot compress with client_max_window_bits={client_bits}")
        return self._codec(
            client_bits,
            server_bits or 15,
            self._client_resets or "client_no_context_takeover" in agreed,
            "server_no_context_takeover" in agreed,
        )

    def _codec(self, encode_bits: int, decode_bits: int, encode_resets: bool, decode_resets: bool) -> Deflate:
        return Deflate(
            encode_bits,
            decode_bits,
            encode_resets,
            decode_resets,
            self._level,
            self._memory_level,
            self._threshold,
            "zlib",
        )


#: What a server and a client use unless told otherwise. The client offers what browsers do, which every server knows.
SERVER_DEFAULT: Final = PerMessageDeflate()
CLIENT_DEFAULT: Final = PerMessageDeflate(server_max_window_bits=None, client_max_window_bits=None)


def add_compression(
    extensions: Sequence[Extension], compression: str | None, default: PerMessageDeflate
) -> Sequence[Extension]:
    """`extensions`, and `default` behind them if `compression` is "deflate", unless they have it already.

    Raises ValueError for a `compression` but "deflate" or None.
    """
    if compression not in ("deflate", None):
        raise ValueError(f'compression is "deflate" or None, not {compression!r}')
    if compression is None or any(extension.name == default.name for extension in extensions):
        return extensions
    return [*extensions, default]


_FLAGS: Final = ("server_no_context_takeover", "client_no_context_takeover")
_BITS: Final = {str(bits): bits for bits in range(8, 16)}


def _read(parameters: Parameters, bare: str = "") -> dict[str, int | None]:
    """The parameters by name, window bits as numbers; that called `bare` may stand without a value (7.1).

    Raises ValueError for one that is unknown, repeated, or has a value that it cannot have.
    """
    values: dict[str, int | None] = {}
    for name, value in parameters:
        if name in values:
            raise ValueError(f"the parameter {name} is repeated")
        if name in _FLAGS and value is None:
            values[name] = None
        elif name in ("server_max_window_bits", "client_max_window_bits"):
            if value not in _BITS and not (name == bare and value is None):
                raise ValueError(f"{name} is 8 to 15")
            values[name] = _BITS.get(value or "")
        else:
            raise ValueError(f"the parameter {name} is unknown, or has a value where it takes none")
    return values
