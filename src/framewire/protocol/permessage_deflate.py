"""`PerMessageDeflate`: settings and negotiation of permessage-deflate (RFC 7692).

The codec of a connection is `Deflate`, a twin. Its two contexts are created for the first message
that needs them, and freed with the connection. They take `2 ** (bits + 2) + 2 ** (memory_level +
9)` bytes for sending, `2 ** bits` bytes for receiving, and some 16 KiB of state;
`docs/how-to/memory.md` has measured sizes.

The length of a compressed message reveals how much of it occurred in earlier messages. Secrets and
text that an attacker may choose must not share a compressed connection (RFC 7692 8);
`send(..., compress=False)` sends a message without compression.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Final, Literal

from .._backend import Deflate
from .codecs import Extension, Parameters
from .record import check_switch

__all__ = ["CLIENT_DEFAULT", "SERVER_DEFAULT", "Deflate", "PerMessageDeflate", "add_compression"]

_SERVER_BITS: Final = "server_max_window_bits"
_CLIENT_BITS: Final = "client_max_window_bits"
_SERVER_RESETS: Final = "server_no_context_takeover"
_CLIENT_RESETS: Final = "client_no_context_takeover"


class PerMessageDeflate:
    """The `Extension` permessage-deflate for any number of connections (RFC 7692 7.1).

    Pass it to `serve` and `connect`. A `Stream` takes the codec of one connection, which `accept`
    or `agree` returns.

    Args:
        server_max_window_bits: Window bits of the server's compressor, 9 to 15. None: 15, or fewer
            if the peer requests it.
        client_max_window_bits: Window bits of the client's compressor, likewise. A server can limit
            them only if the client offers this parameter.
        server_no_context_takeover: Whether the server begins each message with an empty window:
            less memory while idle, but larger messages.
        client_no_context_takeover: The same for the client.
        level: Compression level for sending, -1 to 9, or 0 to 3 with "isal"; None: the default of
            `zlib`.
        memory_level: Memory for the state of the compressor, 1 to 9.
        threshold: Smallest message to compress, in bytes, unless `compress` of `send` is given. A `str`
            that is not ASCII may count by its characters, which are fewer.
        zlib: The module that compresses: "zlib" (the standard library's), or the faster "zlib_ng"
            and "isal", which the extras `framewire[zlib-ng]` and `framewire[isal]` install.

    Raises:
        TypeError: A number is not an integer, a switch is not True or False, or `zlib` is not a str.
        ValueError: A number is out of range, or `zlib` is unknown.
        ImportError: The chosen zlib is not installed.
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
        zlib: Literal["zlib", "zlib_ng", "isal"] = "zlib",
    ) -> None:
        self._server_bits = _check_window_bits(_SERVER_BITS, server_max_window_bits)
        self._client_bits = _check_window_bits(_CLIENT_BITS, client_max_window_bits)
        check_switch(_SERVER_RESETS, server_no_context_takeover)
        check_switch(_CLIENT_RESETS, client_no_context_takeover)
        self._server_resets = server_no_context_takeover
        self._client_resets = client_no_context_takeover
        self._level = level
        self._memory_level = memory_level
        self._threshold = threshold
        self._zlib = zlib
        self._make_codec(15, 15, False, False)  # so that invalid settings raise here, not in a handshake

    def offers(self) -> list[Parameters]:
        """Return the only offer of a client.

        It always includes `client_max_window_bits`, because otherwise the server could not request
        a smaller window (7.1.2.2).
        """
        offer: list[tuple[str, str | None]] = []
        if self._server_resets:
            offer.append((_SERVER_RESETS, None))
        if self._client_resets:
            offer.append((_CLIENT_RESETS, None))
        if self._server_bits is not None:
            offer.append((_SERVER_BITS, str(self._server_bits)))
        offer.append((_CLIENT_BITS, None if self._client_bits is None else str(self._client_bits)))
        return [offer]

    def accept(self, offer: Parameters) -> tuple[Parameters, Deflate] | None:
        """Accept an offer as a server.

        Args:
            offer: The parameters that the client offers.

        Returns:
            The parameters of the answer, and the codec of the connection; None to decline an offer
            that is malformed, or that requests a server window of 8 bits, which zlib does not
            support.
        """
        try:
            offered = _parse(offer, optional_value=_CLIENT_BITS)
        except ValueError:
            return None
        server_bits = min(self._server_bits or 15, offered.get(_SERVER_BITS) or 15)
        if server_bits == 8:
            return None
        server_resets = self._server_resets or _SERVER_RESETS in offered
        client_resets = self._client_resets or _CLIENT_RESETS in offered
        client_bits = 15
        answer: list[tuple[str, str | None]] = []
        if server_resets:
            answer.append((_SERVER_RESETS, None))
        if client_resets:
            answer.append((_CLIENT_RESETS, None))
        if server_bits < 15 or _SERVER_BITS in offered:
            answer.append((_SERVER_BITS, str(server_bits)))
        if _CLIENT_BITS in offered:
            client_bits = min(self._client_bits or 15, offered[_CLIENT_BITS] or 15)
            answer.append((_CLIENT_BITS, str(client_bits)))
        return answer, self._make_codec(server_bits, client_bits, server_resets, client_resets)

    def agree(self, answer: Parameters) -> Deflate:
        """Accept an answer to `offers` as a client.

        Args:
            answer: The parameters of the server's answer.

        Returns:
            The codec of the connection.

        Raises:
            ValueError: The answer is malformed, does not fulfil the offer, or requests a client
                window of 8 bits, which zlib does not support.
        """
        agreed = _parse(answer)
        if self._server_resets and _SERVER_RESETS not in agreed:
            raise ValueError(f"the server does not agree to {_SERVER_RESETS}")
        server_bits = agreed.get(_SERVER_BITS)
        if self._server_bits is not None and (server_bits is None or server_bits > self._server_bits):
            raise ValueError(f"the server does not agree to {_SERVER_BITS}")
        limit = self._client_bits or 15
        client_bits = agreed.get(_CLIENT_BITS) or limit
        if not 9 <= client_bits <= limit:
            raise ValueError(f"the client cannot compress with {_CLIENT_BITS}={client_bits}")
        client_resets = self._client_resets or _CLIENT_RESETS in agreed
        return self._make_codec(client_bits, server_bits or 15, client_resets, _SERVER_RESETS in agreed)

    def _make_codec(self, encode_bits: int, decode_bits: int, encode_resets: bool, decode_resets: bool) -> Deflate:
        return Deflate(
            encode_bits=encode_bits,
            decode_bits=decode_bits,
            encode_resets=encode_resets,
            decode_resets=decode_resets,
            level=self._level,
            memory_level=self._memory_level,
            threshold=self._threshold,
            zlib=self._zlib,
        )


def add_compression(
    extensions: Iterable[Extension], compression: str | None, default: PerMessageDeflate
) -> list[Extension]:
    """Return the extensions of a connection.

    Args:
        extensions: The extensions that the caller has given; read once.
        compression: "deflate" adds `default`, unless `extensions` include permessage-deflate.
        default: The extension to add.

    Raises:
        TypeError: One of `extensions` is none.
        ValueError: `compression` is neither "deflate" nor None.
    """
    given = list(extensions)
    for extension in given:
        if not hasattr(extension, "offers"):
            raise TypeError(f"extensions is a list of extensions, and {type(extension).__name__} is none")
    if compression not in ("deflate", None):
        raise ValueError(f'compression is "deflate" or None, not {compression!r}')
    if compression is None or any(extension.name == default.name for extension in given):
        return given
    return [*given, default]


def _check_window_bits(name: str, bits: int | None) -> int | None:
    """Return window bits for compressing as a plain int, or None."""
    if bits is None:
        return None
    if isinstance(bits, bool) or not hasattr(bits, "__index__"):
        raise TypeError(f"{name} is an integer or None, not {type(bits).__name__}")
    number = index(bits)
    if not 9 <= number <= 15:
        raise ValueError(f"{name} is 9 to 15, or None: zlib can decompress a window of 8 bits, not compress with it")
    return number


#: The valid values of window bits on the wire: no leading zero, no sign (7.1.2).
_BITS: Final = {str(bits): bits for bits in range(8, 16)}


def _parse(parameters: Parameters, optional_value: str = "") -> dict[str, int | None]:
    """Return the parameters by name, window bits as numbers (7.1).

    Args:
        parameters: Names and values.
        optional_value: The name of window bits that may come without a value.

    Raises:
        ValueError: A parameter is unknown or repeated, or its value is not valid.
    """
    values: dict[str, int | None] = {}
    for name, value in parameters:
        if name in values:
            raise ValueError(f"the parameter {name} is repeated")
        if name in (_SERVER_RESETS, _CLIENT_RESETS) and value is None:
            values[name] = None
        elif name in (_SERVER_BITS, _CLIENT_BITS):
            if value not in _BITS and not (name == optional_value and value is None):
                raise ValueError(f"{name} is 8 to 15")
            values[name] = _BITS.get(value or "")
        else:
            raise ValueError(f"the parameter {name} is unknown, or has a value where it takes none")
    return values


#: The defaults of servers and clients. The client sends the same offer as browsers, which every
#: server supports.
SERVER_DEFAULT: Final = PerMessageDeflate()
CLIENT_DEFAULT: Final = PerMessageDeflate(server_max_window_bits=None, client_max_window_bits=None)
