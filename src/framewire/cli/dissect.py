"""Split the bytes of one direction of a WebSocket into frames and explain each (RFC 6455 5).

`Stream` reads the same bytes and decides what they mean and whether they are valid. This module
adds what `Stream` does not report: the position and the bits of each frame, and the section of the
RFC that a failure violates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .._backend import apply_mask, read_header
from ..protocol.codecs import Codec, Parameters
from ..protocol.constants import Opcode, Role, State
from ..protocol.events import Event, Failure
from ..protocol.permessage_deflate import CLIENT_DEFAULT, SERVER_DEFAULT
from ..protocol.stream import Stream

__all__ = ["Fault", "Frame", "dissect"]

#: Largest message, in bytes. It bounds the memory for compressed input, which may grow a
#: thousandfold.
MAX_MESSAGE: Final = 1 << 28

#: The section of the RFC for each beginning of a `Failure.reason`.
RULES: Final = {
    "a reserved bit": "RFC 6455 5.2",
    "opcode": "RFC 6455 5.2",
    "a length": "RFC 6455 5.2",
    "a control frame is fragmented": "RFC 6455 5.4",
    "a control frame has": "RFC 6455 5.5",
    "a new message": "RFC 6455 5.4",
    "a continuation": "RFC 6455 5.4",
    "a client must mask": "RFC 6455 5.1",
    "a server must not mask": "RFC 6455 5.1",
    "a close frame": "RFC 6455 5.5.1",
    "a close reason": "RFC 6455 5.5.1, 8.1",
    "close code": "RFC 6455 7.4",
    "text": "RFC 6455 8.1",
    "a frame of": "RFC 6455 10.4",
    "a message of": "RFC 6455 10.4",
    "a compressed message": "RFC 7692 7.2.2",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Why the connection fails.

    Attributes:
        code: The close code.
        reason: The reason, as `Failure.reason`.
        offset: The first offending byte, counted from 0.
        rule: The section of the RFC, or "".
    """

    code: int
    reason: str
    offset: int
    rule: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, which may be cut short by the end of the input.

    Attributes:
        offset: Position of its first byte.
        first_byte: FIN, RSV1 to RSV3 and opcode.
        header: The header, including the masking key.
        masked: Whether the mask bit is set.
        key: The masking key, or b"".
        length: The payload length in the header; -1 if it is not valid, None if the header is cut.
        wire: The payload as received.
        payload: The payload unmasked.
        events: The events that the stream returned for this frame.
        fault: The failure that this frame causes, if any.
        unread: Why the stream ignores this frame, or "".
    """

    offset: int
    first_byte: int
    header: bytes
    masked: bool
    key: bytes
    length: int | None
    wire: bytes
    payload: bytes
    events: tuple[Event, ...]
    fault: Fault | None
    unread: str

    @property
    def final(self) -> bool:
        """Whether FIN is set: this frame ends its message."""
        return self.first_byte > 127

    @property
    def reserved(self) -> tuple[int, ...]:
        """The numbers of the RSV bits that are set, of 1, 2 and 3."""
        return tuple(n for n in (1, 2, 3) if self.first_byte & 0x80 >> n)

    @property
    def opcode(self) -> int:
        """The opcode, 0 to 15."""
        return self.first_byte & 15

    @property
    def name(self) -> str:
        """The name of the opcode; "reserved" for one without a meaning."""
        try:
            return Opcode(self.opcode).name.lower()
        except ValueError:
            return "reserved"

    @property
    def missing(self) -> int:
        """Number of payload bytes after the end of the input."""
        return max((self.length or 0) - len(self.wire), 0)


def dissect(data: bytes, receiver: Role, base: int = 0, compression: Parameters | None = None) -> Iterator[Frame]:
    """Split the bytes that one end received after the opening handshake into frames.

    Args:
        data: The bytes.
        receiver: The end that received them.
        base: Added to every offset.
        compression: The parameters of permessage-deflate in the server's response; None without
            compression.

    Yields:
        The frames. The last one may be cut short.

    Raises:
        ValueError: If the parameters of permessage-deflate are not valid.
    """
    stream = Stream(receiver, max_message_size=MAX_MESSAGE, extensions=_make_codecs(receiver, compression))
    position, unread = 0, ""
    while position < len(data):
        first_byte, masked, length, end, key = _read_header(data, position)
        stop = len(data) if length is None or length < 0 else min(end + length, len(data))
        events = stream.receive(data[position:stop])
        fault = None
        if events and isinstance(events[-1], Failure):
            failure = events.pop()
            assert isinstance(failure, Failure)
            fault = Fault(failure.code, failure.reason, base + failure.offset, find_rule(failure.reason))
        wire = data[end:stop]
        payload = apply_mask(wire, key) if key else wire
        yield Frame(
            base + position,
            first_byte,
            data[position:end],
            masked,
            key,
            length,
            wire,
            payload,
            tuple(events),
            fault,
            unread,
        )
        if fault:
            unread = "not read: the connection has failed"
        elif stream.state is not State.OPEN and not unread:
            unread = "not read: no frame may follow a close frame (RFC 6455 5.5.1)"
        position = stop


def _make_codecs(receiver: Role, compression: Parameters | None) -> list[Codec]:
    """Return the codec that `receiver` uses after a response with these parameters."""
    if compression is None:
        return []
    if receiver is Role.CLIENT:
        return [CLIENT_DEFAULT.agree(compression)]
    accepted = SERVER_DEFAULT.accept(compression)  # a response has the form of an offer without a choice
    if accepted is None:
        raise ValueError("the parameters of permessage-deflate are not valid")
    return [accepted[1]]


def _read_header(data: bytes, position: int) -> tuple[int, bool, int | None, int, bytes]:
    """Like `read_header`, but treats a header that is cut short as the rest of the input."""
    header = read_header(data, position, len(data))
    if header is None or header[4] is None:
        second_byte = data[position + 1] if position + 1 < len(data) else 0
        return data[position], second_byte > 127, None, len(data), b""
    first_byte, masked, length, end, key = header
    return first_byte, masked, length, end, key or b""


def find_rule(reason: str) -> str:
    """Return the section of the RFC that a `Failure.reason` is about; "" if there is none."""
    return next((rule for start, rule in RULES.items() if reason.startswith(start)), "")
