"""Extensions (RFC 6455 9): the interfaces of an extension and its codec, and the negotiation.

    client: make_offers ─▶ request … response ─ agree_to_answers ─▶ codecs for the Stream
    server: request ─ accept_offers ─▶ response, codecs for the Stream

`PerMessageDeflate` is an extension. One of another kind fits if it transforms the payload of whole
data messages and marks those messages by RSV bits in their first frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

#: The parameters of an extension in their order: pairs of name and value, which is None without
#: "=".
Parameters: TypeAlias = Sequence[tuple[str, str | None]]

#: The name of an extension and its parameters, as offered or agreed (9.1).
Terms: TypeAlias = tuple[str, Parameters]


class Codec(Protocol):
    """An extension as agreed for one connection: it transforms the payload of data messages in both directions.

    A message passes through one codec at most: a received one through that whose RSV bits it has, a
    sent one through the first that the stream was given. A codec is used by one stream, in one call
    at a time, until `close`.
    """

    @property
    def rsv(self) -> int:
        """The RSV bits, of 0x70, that mark the first frame of a transformed message; 0 if it transforms none."""

    @property
    def threshold(self) -> int:
        """The size in bytes from which messages are encoded unless the caller of `send` decides."""

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
        """Encode a piece of the content of a message, `last` with its end; return all of the payload for it."""

    def abandon(self) -> None:
        """Forget what was encoded: the last of it will not be sent, and later payloads must not build on it."""

    def close(self) -> None:
        """Free all memory; the connection is over."""


class Extension(Protocol):
    """An extension with its settings, for any number of connections of either role."""

    @property
    def name(self) -> str:
        """The registered name, a token."""

    def offers(self) -> Sequence[Parameters]:
        """Return the offers of a client, best first."""

    def accept(self, offer: Parameters) -> tuple[Parameters, Codec] | None:
        """Return a server's answer to one offer, and its codec; None if it is declined or malformed."""

    def agree(self, answer: Parameters) -> Codec:
        """Return the client's codec for the server's answer; ValueError if the offer does not allow that answer."""


def make_offers(extensions: Iterable[Extension]) -> list[Terms]:
    """Return the offers of a client that knows these extensions, in their order."""
    return [(extension.name, parameters) for extension in extensions for parameters in extension.offers()]


def accept_offers(offers: Iterable[Terms], extensions: Iterable[Extension]) -> tuple[list[Terms], list[Codec]]:
    """Choose for a server: of each extension, in the server's order, the first offer that is acceptable.

    Unknown and malformed offers are declined, which is no error (RFC 6455 9.1, RFC 7692 5.1), as
    are those whose RSV bits another extension has taken.

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
    """Return the codecs for a server's answers to a client that knows these extensions.

    Raises:
        ValueError: For an extension that the client does not know, one answered twice, parameters
            that do not fit the offer, and RSV bits that two of them claim: the connection must fail
            (4.1).
    """
    known = {extension.name: extension for extension in extensions}
    codecs: list[Codec] = []
    for name, parameters in answers:
        extension = known.pop(name, None)
        if extension is None:
            raise ValueError(f"the extension {name} was not offered, or is answered twice")
        codecs.append(extension.agree(parameters))
    return check_codecs(codecs)


def check_codecs(codecs: Iterable[Codec]) -> list[Codec]:
    """Return those codecs that transform messages.

    Raises:
        TypeError: One of them is an extension, or anything else that is no codec.
        ValueError: One claims a bit that is no RSV bit, or that another one claims.
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
    return active


def _taken(codecs: Iterable[Codec]) -> int:
    bits = 0
    for codec in codecs:
        bits |= codec.rsv
    return bits
