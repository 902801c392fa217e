"""Extensions (RFC 6455 9): the interfaces of an extension and its codec, and the negotiation.

    client: make_offers ─▶ request … response ─ agree_to_answers ─▶ codecs for the Stream
    server: request ─ accept_offers ─▶ response, codecs for the Stream

`PerMessageDeflate` is an extension. Others are possible if they transform the payload of data
messages, and mark these messages by RSV bits in their first frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

__all__ = [
    "Codec",
    "Extension",
    "Parameters",
    "Terms",
    "accept_offers",
    "agree_to_answers",
    "check_codecs",
    "make_offers",
]

#: The three reserved bits of a first byte, which only extensions may set (5.2).
_RSV_BITS: Final = 0x70

#: The parameters of an extension, in order: pairs of name and value, which is None without "=".
Parameters: TypeAlias = Sequence[tuple[str, str | None]]

#: The name of an extension and its parameters, as offered or agreed (9.1).
Terms: TypeAlias = tuple[str, Parameters]


class Codec(Protocol):
    """An extension of one connection, which transforms the payload of data messages.

    A message passes through at most one codec: a received one through the codec with its RSV bits,
    a sent one through the first codec of the stream. One stream uses a codec, in one call at a
    time, until it calls `close`.
    """

    @property
    def rsv(self) -> int:
        """The RSV bits (of 0x70) in the first frame of transformed messages, or 0."""

    @property
    def threshold(self) -> int:
        """Smallest message to encode, in bytes, unless `compress` of `send` is given."""

    @property
    def pending(self) -> bool:
        """Whether `decode` has more content to return before it needs more payload."""

    def decode(self, payload: bytes, most: int, last: bool) -> bytes:
        """Decode a piece of the payload of a message.

        Args:
            payload: The next piece; b"" while `pending`.
            most: The largest content to return, in bytes.
            last: Whether the message ends with this piece.

        Returns:
            Up to `most` bytes of content.

        Raises:
            ValueError: The payload is corrupt: the stream fails with 1007. Any other exception
                closes the stream.
        """

    def encode(self, content: bytes, last: bool) -> bytes:
        """Encode a piece of a message.

        Args:
            content: The next piece of the message.
            last: Whether the message ends with it.

        Returns:
            The whole payload for this piece.
        """

    def abandon(self) -> None:
        """Reset the encoder, because its last payload will not be sent.

        Later payloads must not depend on it.
        """

    def close(self) -> None:
        """Free all memory at the end of the connection."""


class Extension(Protocol):
    """An extension with its settings, for any number of connections of either role."""

    @property
    def name(self) -> str:
        """The registered name, a token."""

    def offers(self) -> Sequence[Parameters]:
        """Return the offers of a client, best first."""

    def accept(self, offer: Parameters) -> tuple[Parameters, Codec] | None:
        """Accept an offer as a server.

        Args:
            offer: The parameters that the client offers.

        Returns:
            The parameters of the answer, and the codec of the connection; None to decline the
            offer, or if it is malformed.
        """

    def agree(self, answer: Parameters) -> Codec:
        """Accept an answer as a client.

        Args:
            answer: The parameters of the server's answer.

        Returns:
            The codec of the connection.

        Raises:
            ValueError: The offer does not permit this answer.
        """


def make_offers(extensions: Iterable[Extension]) -> list[Terms]:
    """Return the offers of a client with these extensions, in order.

    Args:
        extensions: The extensions, best first.
    """
    return [(extension.name, parameters) for extension in extensions for parameters in extension.offers()]


def accept_offers(offers: Iterable[Terms], extensions: Iterable[Extension]) -> tuple[list[Terms], list[Codec]]:
    """Accept the first acceptable offer of each extension, in the server's order.

    Offers that are unknown or malformed, or whose RSV bits another extension uses, are declined,
    which is not an error (RFC 6455 9.1, RFC 7692 5.1).

    Args:
        offers: The offers of the client.
        extensions: The extensions of the server.

    Returns:
        The answers and their codecs.
    """
    offers = list(offers)
    answers: list[Terms] = []
    codecs: list[Codec] = []
    for extension in extensions:
        for name, parameters in offers:
            accepted = extension.accept(parameters) if name == extension.name else None
            if accepted is not None and not accepted[1].rsv & _taken(codecs):
                answers.append((name, accepted[0]))
                codecs.append(accepted[1])
                break
    return answers, codecs


def agree_to_answers(answers: Iterable[Terms], extensions: Iterable[Extension]) -> list[Codec]:
    """Return the codecs of a client for a server's answers.

    Args:
        answers: The answers of the server.
        extensions: The extensions that the client has offered. Of several with one name, the first
            that permits the answer agrees.

    Raises:
        ValueError: An extension was not offered or is answered twice, its parameters do not match
            the offer, or two extensions use the same RSV bit. The connection must fail (4.1).
    """
    known: dict[str, list[Extension]] = {}
    for extension in extensions:
        known.setdefault(extension.name, []).append(extension)
    codecs: list[Codec] = []
    for name, parameters in answers:
        offered = known.pop(name, None)
        if offered is None:
            raise ValueError(f"the extension {name} was not offered, or is answered twice")
        codecs.append(_agree_to(parameters, offered))
    return check_codecs(codecs)


def _agree_to(parameters: Parameters, offered: list[Extension]) -> Codec:
    """Return the codec of the first of several offers of one extension that permits the answer."""
    *others, last = offered
    for extension in others:
        with suppress(ValueError):
            return extension.agree(parameters)
    return last.agree(parameters)


#: The codecs of a connection without extensions; shared to save memory.
_NO_CODECS: Final[list[Codec]] = []


def check_codecs(codecs: Iterable[Codec]) -> list[Codec]:
    """Return the codecs that transform messages.

    Args:
        codecs: The codecs of a connection.

    Raises:
        TypeError: One of them is not a codec, for example an extension.
        ValueError: A codec uses a bit that is not an RSV bit, or that another codec uses.
    """
    active: list[Codec] = []
    for codec in codecs:
        if not hasattr(codec, "rsv"):
            name = type(codec).__name__
            how = ""
            if hasattr(codec, "agree"):
                how = f": get one for a connection from {name}.accept(offer) or agree(answer), or from the handshake"
            raise TypeError(f"a stream takes codecs, and {name} is no codec{how}")
        if codec.rsv & ~_RSV_BITS or codec.rsv & _taken(active):
            raise ValueError("two extensions claim one RSV bit, or one claims another bit")
        if codec.rsv:
            active.append(codec)
    return active or _NO_CODECS


def _taken(codecs: Iterable[Codec]) -> int:
    bits = 0
    for codec in codecs:
        bits |= codec.rsv
    return bits
