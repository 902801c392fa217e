"""Bytes of one direction of a WebSocket, cut into frames, each with what it means and what is wrong (RFC 6455 5).

The verdict is that of `Stream`, which reads the same bytes; here is only what it has no need to tell: where each frame
lies, its bits, and which section of the RFC a failure is about.
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

#: The largest message, in bytes: what is compressed may grow a thousandfold.
LIMIT: Final = 1 << 28

#: How the reason of a `Failure` begins, and the section that it is about.
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
    """Why the connection fails: the close code, the reason, the byte at fault (counted from 0), and the rule."""

    code: int
    reason: str
    offset: int
    rule: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, or what there is of it.

    `wire` is the payload as it came and `payload` the same unmasked; `length` is what the header announces, -1 if that
    is no valid length, None if the header is cut short. `events` is what the stream gives for it. `unread` says why
    the stream ignores the frame, if it does.
    """

    offset: int
    first: int
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
        """FIN: the message ends here."""
        return self.first > 127

    @property
    def reserved(self) -> tuple[int, ...]:
        """Which of RSV1, RSV2 and RSV3 are set, as numbers."""
        return tuple(n for n in (1, 2, 3) if self.first & 0x80 >> n)

    @property
    def opcode(self) -> int:
        """The opcode, 0 to 15."""
        return self.first & 15

    @property
    def name(self) -> str:
        """The opcode in words."""
        try:
            return Opcode(self.opcode).name.lower()
        except ValueError:
            return "reserved"

    @property
    def missing(self) -> int:
        """How many bytes of the payload are not there."""
        return max((self.length or 0) - len(self.wire), 0)


def dissect(data: bytes, receiver: Role, base: int = 0, compression: Parameters | None = None) -> Iterator[Frame]:
    """Cuts `data`, which the end `receiver` got after the opening handshake, into frames.

    `base` is added to every offset. `compression` are the parameters of permessage-deflate in the server's answer,
    None if there is none. Raises ValueError if they cannot be.
    """
    stream = Stream(receiver, max_message_size=LIMIT, extensions=_make_codecs(receiver, compression))
    position, unread = 0, ""
    while position < len(data):
        first, masked, length, end, key = _read_header(data, position)
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
            base + position, first, data[position:end], masked, key, length, wire, payload, tuple(events), fault, unread
        )
        if fault:
            unread = "not read: the connection has failed"
        elif stream.state is not State.OPEN and not unread:
            unread = "not read: the close frame is the last that an end may send (RFC 6455 5.5.1)"
        position = stop


def _make_codecs(receiver: Role, compression: Parameters | None) -> list[Codec]:
    """The codec that the end `receiver` has after an answer with these parameters."""
    if compression is None:
        return []
    if receiver is Role.CLIENT:
        return [CLIENT_DEFAULT.agree(compression)]
    accepted = SERVER_DEFAULT.accept(compression)  # an answer reads like an offer that leaves no choice
    if accepted is None:
        raise ValueError("these parameters of permessage-deflate cannot be")
    return [accepted[1]]


def _read_header(data: bytes, position: int) -> tuple[int, bool, int | None, int, bytes]:
    """As `read_header`, but takes a header that is cut short for all that there is."""
    header = read_header(data, position, len(data))
    if header is None or header[4] is None:
        second = data[position + 1] if position + 1 < len(data) else 0
        return data[position], second > 127, None, len(data), b""
    first, masked, length, end, key = header
    return first, masked, length, end, key or b""


def find_rule(reason: str) -> str:
    """The section that states the rule; empty if the reason of a `Failure` is about none."""
    return next((rule for start, rule in RULES.items() if reason.startswith(start)), "")
