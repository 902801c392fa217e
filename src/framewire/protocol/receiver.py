"""Stage 4 of the data path, the general lane: one frame at a time, every rule of RFC 6455 sections 5, 7 and 8.

Whatever the fast lane does not take comes here: control frames, fragments, frames in pieces, messages that an
extension has transformed, violations. A rule is stated once, here, and checked as soon as the byte that breaks it is
in; what is inside a transformed message, with the end of each block of its payload.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from typing import Any, Literal

from .._backend import PartialMessage, Utf8Validator, apply_mask, read_header, take_payload
from ..errors import Violation
from .codecs import Codec, Unpacker
from .constants import MAX_CONTROL_PAYLOAD, MAX_LENGTH, CloseCode, Opcode, may_be_received
from .events import Close, Event, Fragment, Ping, Pong, Text

__all__ = ["Assembly", "TextErrors"]

#: What becomes of text that is not UTF-8: it fails the connection (8.1), or is decoded by that handler of Python's.
TextErrors = Literal["strict", "replace", "surrogateescape"]

_PINGS: dict[int, type[Ping | Pong]] = {0x89: Ping, 0x8A: Pong}
_CONTROL = frozenset({0x88, *_PINGS})
_BETWEEN_MESSAGES = _CONTROL | {0x01, 0x02, 0x81, 0x82}
_INSIDE_A_MESSAGE = _CONTROL | {0x00, 0x80}
_TEXT = int(Opcode.TEXT)  # a look at a member of an enum takes longer than a call


class Assembly:
    """Turns frames into events. `masked` tells whether they must be masked; limits are in bytes, None is unlimited.

    `text_errors` and `piece_size` are those of `Stream`, `codecs` those of `extensions.check_codecs`.
    """

    __slots__ = (
        "_continued", "_decode", "_fragments", "_key", "_left", "_masked", "_max_frame", "_max_message", "_piece",
        "_text_errors", "_total", "_unpacker", "_unpackers", "_validated", "partial",
    )  # fmt: skip

    def __init__(
        self,
        masked: bool,
        max_message_size: int | None,
        max_frame_size: int | None,
        fragments: bool,
        text_as_bytes: bool,
        text_errors: TextErrors = "strict",
        piece_size: int | None = None,
        codecs: Sequence[Codec] = (),
    ) -> None:
        self._masked = masked
        self._max_message = MAX_LENGTH if max_message_size is None else max_message_size
        self._max_frame = MAX_LENGTH if max_frame_size is None else max_frame_size
        self._fragments = fragments
        self._total = 0  # announced payload bytes of the open message, all frames together
        self._continued = False  # the frame in progress is a continuation, or a piece of it was delivered
        self._text_errors = text_errors
        #: Makes an event of text that need not be UTF-8, piece by piece; None where it must be.
        self._decode: Callable[[Any, bool], Any] | None = None
        if text_errors != "strict":
            decoder = getincrementaldecoder("utf-8")(text_errors)
            self._decode = (lambda content, last: Text(content)) if text_as_bytes else decoder.decode
        self._validated = _TEXT if self._decode is None else 0  # the opcode of messages that must be UTF-8
        self._piece = MAX_LENGTH if piece_size is None else piece_size
        # The fast lane validates, so without it nothing but empty messages is left to that lane. Nor does it cut.
        limit = min(self._max_message, self._max_frame, self._piece) if self._validated else 0
        wrap = Text if text_as_bytes else None
        self.partial = PartialMessage(masked, limit, wrap)
        #: What receives transformed messages, by RSV bits and opcode of their first frames.
        self._unpackers: dict[int, Unpacker] = {}
        for codec in codecs:
            unpacker = Unpacker(codec, self.partial, min(self._max_message, MAX_LENGTH), self._max_frame)
            if self.partial.codec is None and self._validated:
                unpacker.lend_codec()
            self._unpackers[codec.rsv | Opcode.TEXT] = self._unpackers[codec.rsv | Opcode.BINARY] = unpacker
        self._unpacker: Unpacker | None = None  # that of the open message, if it is transformed
        self._left = 0  # bytes of the frame in progress behind the block in progress
        self._key = b""  # its masking key

    def clear(self) -> None:
        """Lets go of all that was held of a message that will not end."""
        self.partial.clear()
        self._unpackers.clear()
        self._unpacker = None

    def deliver_fragments(self) -> None:
        """From here on fragments are events. Of a message that has begun the next one holds all so far."""
        self._fragments = True

    def take_frame(self, data: bytes, start: int, stop: int, events: list[Event]) -> int:
        """Takes one frame, or what is there of a data frame, from data[start:stop]; returns the index behind it.

        Returns `start` if nothing can be taken yet: less than a header, or less than a whole control frame. Raises
        Violation; its offset counts from data[0].
        """
        partial = self.partial
        if partial.in_frame:
            fill = self._fill if self._unpacker is None else self._fill_block
            return fill(data, start, stop, events)
        first = data[start]
        if first in _PINGS:
            taken = take_payload(data, start, self._masked, MAX_CONTROL_PAYLOAD)
            if taken is not None:
                payload, stop = taken
                events.append(_PINGS[first](payload))
                return stop
            # Less than a frame, or not as it must be: see below.
        begins = not partial.opcode
        if not first and not begins and not self._fragments and self._unpacker is None:
            position = partial.fill_frames(data, start, stop)
            if position > start:
                self._total = partial.size
                return position
        unpacker = self._unpackers.get(first & 127) if begins else self._unpacker
        if first not in (_BETWEEN_MESSAGES if begins else _INSIDE_A_MESSAGE) and (unpacker is None or not begins):
            raise Violation(CloseCode.PROTOCOL_ERROR, self._explain(first), start)
        header = read_header(data, start, stop)
        if header is None:
            if stop - start > 1:
                self._check_second(first, data[start + 1], start + 1)
            return start
        # What is right in nearly all frames is seen here; what is not is named by the methods.
        _, masked, length, end, key = header
        if masked is not self._masked or (first & 8 and not 2 <= length <= MAX_CONTROL_PAYLOAD):
            self._check_second(first, data[start + 1], start + 1)
        if first & 8:
            if end + length > stop:
                return start
            payload = data[end : end + length]
            events.append(_read_close(apply_mask(payload, key) if key else payload, end, self._text_errors))
            return end + length
        total = length if begins else self._total + length
        limit = self._max_message if unpacker is None else unpacker.max_payload
        if not 0 <= length <= self._max_frame or total > limit:
            raise self._too_long(length, total, limit, end, end - 4 if masked else end)
        if key is None:
            return start
        self._total = total
        self._continued = not begins
        opcode = first & 15 or partial.opcode
        if unpacker is None:
            partial.begin_frame(opcode, first > 127, length, key, opcode == self._validated)
            return self._fill(data, end, stop, events)
        if begins:
            self._unpacker = unpacker
            unpacker.begin(opcode, opcode == self._validated)
        self._left, self._key = length, key
        self._begin_block(opcode, first > 127, unpacker.block)
        return self._fill_block(data, end, stop, events)

    def _fill(self, data: bytes, start: int, stop: int, events: list[Event]) -> int:
        partial = self.partial
        most = self._piece if self._fragments else MAX_LENGTH
        while True:
            end = stop
            if stop - start > most - partial.size:
                end = start + max(most - partial.size, 1)
            position = partial.fill(data, start, end)
            if not partial.remaining:
                break
            if position < end:
                raise Violation(CloseCode.INVALID_DATA, "text is not valid UTF-8", position)
            if partial.size >= most:
                self._deliver_piece(partial, events)
            if end == stop:
                return position
            start = end
        if partial.final and partial.need:
            raise Violation(CloseCode.INVALID_DATA, "text ends inside a code point", position)
        self._end_frame(partial, events)
        return position

    def _begin_block(self, opcode: int, final: bool, block: int) -> None:
        """Begins the next block of a frame whose payload is transformed; the key fits, as it repeats in a block."""
        size = min(self._left, block)
        self._left -= size
        self.partial.begin_frame(opcode, final, size, self._key, False)

    def _fill_block(self, data: bytes, start: int, stop: int, events: list[Event]) -> int:
        partial, unpacker = self.partial, self._unpacker
        assert unpacker is not None
        position = partial.fill(data, start, stop)
        while not partial.remaining:
            payload: Any = partial.take_piece()
            unpacker.feed(payload, partial.final and not self._left, position)
            if not self._left:
                self._end_frame(unpacker, events)
                break
            if self._fragments and unpacker.size >= self._piece:
                self._deliver_piece(unpacker, events)
            self._begin_block(partial.opcode, partial.final, unpacker.block)
            position = partial.fill(data, position, stop)
        return position

    def _end_frame(self, content: PartialMessage | Unpacker, events: list[Event]) -> None:
        """Ends the frame in progress, and its message if it is the last one."""
        partial = self.partial
        decode = self._decode if partial.opcode == _TEXT else None
        if not partial.final:
            if self._fragments:
                self._deliver_piece(content, events)
            partial.end_frame()
            return
        message = content.finish() if decode is None else decode(content.finish(), True)
        partial.messages += 1
        if content is not partial:
            partial.finish()
            self._unpacker = None
        events.append(Fragment(message, False, True) if self._continued and self._fragments else message)
        self._continued = False

    def _deliver_piece(self, content: PartialMessage | Unpacker, events: list[Event]) -> None:
        """Delivers what there is of the message and keeps it open."""
        decode = self._decode if self.partial.opcode == _TEXT else None
        piece = content.take_piece()
        events.append(Fragment(piece if decode is None else decode(piece, False), not self._continued, False))
        self._continued = True

    def _explain(self, first: int) -> str:
        """Says what is wrong with the first byte of a header (5.2, 5.4, 5.5)."""
        if first & 0x70 and first & 127 not in self._unpackers:
            return "a reserved bit is set and no extension gives it a meaning"
        opcode = first & 15
        if opcode not in Opcode.__members__.values():
            return f"opcode {opcode} is reserved"
        if opcode & 8:
            return "a control frame is fragmented"
        if opcode:
            return "a new message begins inside a fragmented one"
        return "a continuation frame continues nothing"

    def _check_second(self, first: int, second: int, offset: int) -> None:
        """Checks mask bit and length of a control frame: 5.1, 5.5, 5.5.1."""
        if (second > 127) is not self._masked:
            whose = "a client must mask its frames" if self._masked else "a server must not mask its frames"
            raise Violation(CloseCode.PROTOCOL_ERROR, whose, offset)
        if first & 8:
            if second & 127 > MAX_CONTROL_PAYLOAD:
                raise Violation(CloseCode.PROTOCOL_ERROR, "a control frame has over 125 bytes", offset)
            if first == 0x88 and second & 127 == 1:
                raise Violation(CloseCode.PROTOCOL_ERROR, "a close frame has half a code", offset)

    def _too_long(self, length: int, total: int, limit: int, end: int, length_end: int) -> Violation:
        """Says what is wrong with a data frame's length (5.2, 10.4), before a byte of its payload is taken."""
        if length < 0:
            reason = "a length is not in its shortest form, or over 63 bits"
            return Violation(CloseCode.PROTOCOL_ERROR, reason, length_end)
        if length > self._max_frame:
            reason = f"a frame of {length} bytes is over the limit of {self._max_frame}"
            return Violation(CloseCode.MESSAGE_TOO_BIG, reason, length_end)
        reason = f"a message of {total} bytes is over the limit of {limit}"
        return Violation(CloseCode.MESSAGE_TOO_BIG, reason, end if length <= limit else length_end)


def _read_close(payload: bytes, offset: int, text_errors: str) -> Close:
    """Reads the payload of a close frame (5.5.1, 7.4), whose first byte has the offset `offset`."""
    if not payload:
        return Close(int(CloseCode.NO_STATUS_RCVD), "")
    code = int.from_bytes(payload[:2], "big")
    if not may_be_received(code):
        raise Violation(CloseCode.PROTOCOL_ERROR, f"close code {code} may not travel", offset)
    reason, validator = payload[2:], Utf8Validator()
    valid = validator.feed(reason)
    if text_errors == "strict" and (valid < len(reason) or validator.need):
        raise Violation(CloseCode.INVALID_DATA, "a close reason is not valid UTF-8", offset + 2 + valid)
    return Close(code, reason.decode(errors=text_errors))
