"""Extensions (RFC 6455 9): what one has to offer, the negotiation, and a message on its way through one.

    client: offers() ─▶ request … response ─ agree_to_answers ─▶ codecs for the Stream
    server: request ─ accept_offers ─▶ response, codecs for the Stream

`deflate.PerMessageDeflate` is one. An extension of another kind fits if it transforms the payload of whole data
messages and marks those messages by RSV bits in their first frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from .._backend import PartialMessage
from ..errors import Violation
from .constants import MAX_LENGTH, CloseCode

__all__ = [
    "Codec",
    "Extension",
    "Parameters",
    "Terms",
    "Unpacker",
    "accept_offers",
    "agree_to_answers",
    "check_codecs",
    "make_offers",
]


#: The parameters of an extension in their order: pairs of name and value, which is None without "=".
Parameters: TypeAlias = Sequence[tuple[str, str | None]]

#: The name of an extension and its parameters, as offered or agreed (9.1).
Terms: TypeAlias = tuple[str, Parameters]


class Codec(Protocol):
    """An extension as agreed for one connection: it transforms the payload of data messages, both ways.

    A message passes through one codec at most: a received one through that whose bits it has, a sent one through the
    first that the stream was given.
    """

    @property
    def rsv(self) -> int:
        """The RSV bits, of 0x70, that mark the first frame of a transformed message; 0 if it transforms none."""

    @property
    def threshold(self) -> int:
        """The size in bytes from which messages are encoded unless the caller wishes otherwise."""

    @property
    def pending(self) -> bool:
        """Whether `decode` has more to give before it needs more payload."""

    def decode(self, payload: bytes, most: int, last: bool) -> bytes:
        """Takes a piece of the payload of a message, `last` with its end; returns up to `most` bytes of content.

        While it is `pending` it is called with b"" for the rest. Raises ValueError if the payload is corrupt; the
        codec is of no further use for receiving then.
        """

    def encode(self, content: bytes, last: bool) -> bytes:
        """Takes a piece of the content of a message, `last` with its end; returns all payload that stands for it."""

    def abandon(self) -> None:
        """Forgets all that was encoded: the last of it will not be sent, and what follows must not build on it."""

    def close(self) -> None:
        """Lets go of all memory; the connection is over."""


class Extension(Protocol):
    """An extension with its settings, for any number of connections of either role."""

    @property
    def name(self) -> str:
        """The registered name, a token."""

    def offers(self) -> Sequence[Parameters]:
        """What a client offers, best first."""

    def accept(self, offer: Parameters) -> tuple[Parameters, Codec] | None:
        """A server's answer to one offer, and its codec; None if it declines, be it because it is malformed."""

    def agree(self, answer: Parameters) -> Codec:
        """The client's codec for the server's answer; ValueError if it may not be answered so."""


def make_offers(extensions: Iterable[Extension]) -> list[Terms]:
    """What a client that knows these extensions offers, in their order."""
    return [(extension.name, parameters) for extension in extensions for parameters in extension.offers()]


def accept_offers(offers: Iterable[Terms], extensions: Iterable[Extension]) -> tuple[list[Terms], list[Codec]]:
    """A server's choice: of each extension, in the server's order, the first offer that is acceptable.

    Offers of what is unknown or malformed are declined, never an error (RFC 6455 9.1, RFC 7692 5.1), as are those whose
    RSV bits another extension has taken. Returns the answers and their codecs.
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
    """The codecs for what a server has answered to a client that knows these extensions.

    Raises ValueError, and the connection must fail (4.1), for an extension that the client does not know, one answered
    twice, parameters that do not fit the offer, and RSV bits that two of them claim.
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
    """Those codecs that transform messages; ValueError if a bit they claim is no RSV bit, or claimed twice."""
    active: list[Codec] = []
    for codec in codecs:
        if codec.rsv & ~0x70 or codec.rsv & _taken(active):
            raise ValueError("two extensions claim one RSV bit, or one claims another bit")
        if codec.rsv:
            active.append(codec)
    return active


def _taken(codecs: Iterable[Codec]) -> int:
    bits = 0
    for codec in codecs:
        bits |= codec.rsv
    return bits


#: How often the codec may begin anew inside one block, as after a block with BFINAL (RFC 7692 7.2.3.4): each time costs
#: as much as hundreds of bytes, and takes as few as two.
_MAX_ENDS: Final = 16


class Unpacker:
    """The message that comes out of one codec, and the limit on it, which holds while it comes out.

    `limit` is that of the content in bytes, `max_payload` that of the payload as sent: an eighth and 1 KiB more, which
    no sender that compresses needs; `max_frame` that of a frame.

    The codec gets the payload of each frame in blocks of `block` bytes: what comes out, and which error, must not
    depend on how the bytes arrived. It gives the content in steps. Both are small beside the limit, so that what is
    held beyond it is too, and large enough that they cost next to nothing. A message of one block that is within all
    limits, and gives no more than one step, can be left to the fast lane, `plain`; what that begins is ended here.
    """

    __slots__ = ("_codec", "_content", "_limit", "_max_whole", "_plain", "_step", "block", "max_payload")

    def __init__(self, codec: Codec, plain: PartialMessage, limit: int, max_frame: int) -> None:
        self._codec = codec
        self._plain = plain
        self._content = PartialMessage(False, 0, plain.wrap)
        self._limit = limit
        self._step = min(max(1 << 14, min(limit // 8, 1 << 22)), limit + 1)
        self.block = max(1 << 13, min(limit // 16, 1 << 20)) & ~3  # a multiple of the length of a masking key
        self.max_payload = min(limit + limit // 8 + 1024, MAX_LENGTH)
        self._max_whole = min(self.block, self.max_payload, max_frame)

    def lend_codec(self) -> None:
        """Has the fast lane take the messages for which one block and one step are enough."""
        plain = self._plain
        plain.codec, plain.most, plain.max_encoded = self._codec, self._step, self._max_whole

    def begin(self, opcode: int, validated: bool) -> None:
        """Begins a message of the type `opcode`, 1 or 2; `validated` says that its content must be UTF-8."""
        self._content.begin_frame(opcode, True, self._limit, b"", validated)

    def feed(self, payload: bytes, last: bool, offset: int) -> None:
        """Takes up to a block of the payload, `last` with the end of the message.

        Raises Violation at `offset`, the end of the block: 1007 if the payload is corrupt or the text is not UTF-8,
        1009 above the limit.
        """
        content = self._decode(payload, last, self._content.remaining, offset)
        ends = 0
        while True:
            if len(content) > self._content.remaining:
                reason = f"a message inflates beyond the limit of {self._limit} bytes"
                raise Violation(CloseCode.MESSAGE_TOO_BIG, reason, offset)
            if self._content.fill(content, 0, len(content)) < len(content):
                raise Violation(CloseCode.INVALID_DATA, "text is not valid UTF-8", offset)
            if not self._codec.pending:
                break
            ends += len(content) < self._step
            if ends > _MAX_ENDS:
                raise Violation(CloseCode.POLICY_VIOLATION, "a compressed message begins again and again", offset)
            del content  # before the next one is made
            content = self._decode(b"", last, self._content.remaining, offset)
        if last and self._content.need:
            raise Violation(CloseCode.INVALID_DATA, "text ends inside a code point", offset)

    def _decode(self, payload: bytes, last: bool, room: int, offset: int) -> bytes:
        decoded, self._plain.decoded = self._plain.decoded, None
        if isinstance(decoded, bytes):
            return decoded
        try:
            if decoded is not None:
                raise decoded
            return self._codec.decode(payload, min(self._step, room + 1), last)
        except ValueError as error:
            raise Violation(CloseCode.INVALID_DATA, str(error), offset) from None

    @property
    def size(self) -> int:
        """How many bytes of content are held."""
        return self._content.size

    def take_piece(self) -> Any:
        """Returns the content so far and keeps the message open; a code point that is not whole stays."""
        return self._content.take_piece()

    def finish(self) -> Any:
        """Returns the content, or what of it was not yet taken, and ends the message."""
        return self._content.finish()
