"""Stage 4 of the data path, the general lane: one frame at a time, every rule of RFC 6455 sections 5, 7 and 8.

Whatever the fast lane does not take comes here: control frames, fragments, frames in pieces, violations. A rule is
stated once, here, and checked as soon as the byte that breaks it is in.
"""

from __future__ import annotations

from ._backend import PartialMessage, Utf8Validator, apply_mask, read_header
from .codes import MAX_CONTROL_PAYLOAD, MAX_LENGTH, CloseCode, Opcode, may_be_received
from .errors import Violation
from .events import Close, Event, Fragment, Ping, Pong, Text

__all__ = ["Assembly"]

_CONTROL = frozenset({0x88, 0x89, 0x8A})
_BETWEEN_MESSAGES = _CONTROL | {0x01, 0x02, 0x81, 0x82}
_INSIDE_A_MESSAGE = _CONTROL | {0x00, 0x80}


class Assembly:
    """Turns frames into events. `masked` tells whether they must be masked; limits are in bytes, None is unlimited."""

    __slots__ = ("_continued", "_fragments", "_masked", "_max_frame", "_max_message", "_total", "partial")

    def __init__(
        self,
        masked: bool,
        max_message_size: int | None,
        max_frame_size: int | None,
        fragments: bool,
        text_as_bytes: bool,
    ) -> None:
        self._masked = masked
        self._max_message = MAX_LENGTH if max_message_size is None else max_message_size
        self._max_frame = MAX_LENGTH if max_frame_size is None else max_frame_size
        self._fragments = fragments
        self._total = 0  # announced payload bytes of the open message, all frames together
        self._continued = False  # the frame in progress is a continuation
        limit = min(self._max_message, self._max_frame, MAX_LENGTH)
        self.partial = PartialMessage(masked, limit, Text if text_as_bytes else None)

    def take_frame(self, data: bytes | memoryview, start: int, stop: int, events: list[Event]) -> int:
        """Takes one frame, or what is there of a data frame, from data[start:stop]; returns the index behind it.

        Returns `start` if nothing can be taken yet: less than a header, or less than a whole control frame. Raises
        Violation; its offset counts from data[0].
        """
        partial = self.partial
        if partial.in_frame:
            return self._fill(data, start, stop, events)
        first = data[start]
        if first not in (_INSIDE_A_MESSAGE if partial.opcode else _BETWEEN_MESSAGES):
            raise Violation(CloseCode.PROTOCOL_ERROR, self._explain(first), start)
        if stop - start > 1:
            self._check_second(first, data[start + 1], start + 1)
        header = read_header(data, start, stop)
        if header is None:
            return start
        _, masked, length, end, key = header
        if first & 8:
            return start if end + length > stop else self._take_control(data, first, end, length, key or b"", events)
        self._check_length(first, length, end, end - 4 if masked else end)
        if key is None:
            return start
        if first & 15:
            self._total = 0
        self._total += length
        self._continued = not first & 15
        opcode = first & 15 or partial.opcode
        partial.begin_frame(opcode, first > 127, length, key, opcode == Opcode.TEXT)
        return self._fill(data, end, stop, events)

    def _fill(self, data: bytes | memoryview, start: int, stop: int, events: list[Event]) -> int:
        partial = self.partial
        position = partial.fill(data, start, stop)
        if partial.remaining:
            if position < stop:
                raise Violation(CloseCode.INVALID_DATA, "text is not valid UTF-8", position)
            return position
        if partial.final:
            if partial.need:
                raise Violation(CloseCode.INVALID_DATA, "text ends inside a code point", position)
            message = partial.finish()
            events.append(Fragment(message, False, True) if self._continued and self._fragments else message)
            self._continued = False
        else:
            if self._fragments:
                events.append(Fragment(partial.take_piece(), not self._continued, False))
            partial.end_frame()
        return position

    def _explain(self, first: int) -> str:
        """Says what is wrong with the first byte of a header (5.2, 5.4, 5.5)."""
        if first & 0x70:
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

    def _check_length(self, first: int, length: int, end: int, length_end: int) -> None:
        """Checks a data frame's length (5.2) and both limits (10.4), before a byte of its payload is taken."""
        if length < 0:
            raise Violation(
                CloseCode.PROTOCOL_ERROR, "a length is not in its shortest form, or over 63 bits", length_end
            )
        if length > self._max_frame:
            raise Violation(
                CloseCode.MESSAGE_TOO_BIG,
                f"a frame of {length} bytes is over the limit of {self._max_frame}",
                length_end,
            )
        begun = 0 if first & 15 else self._total
        if begun + length > self._max_message:
            raise Violation(
                CloseCode.MESSAGE_TOO_BIG,
                f"a message of {begun + length} bytes is over the limit of {self._max_message}",
                end if length <= self._max_message else length_end,
            )

    def _take_control(
        self, data: bytes | memoryview, first: int, start: int, length: int, key: bytes, events: list[Event]
    ) -> int:
        """Takes a control frame (5.5) whose header ends at `start` and whose payload is all there."""
        stop = start + length
        payload = apply_mask(data[start:stop], key) if key else bytes(data[start:stop])
        if first == 0x89:
            events.append(Ping(payload))
        elif first == 0x8A:
            events.append(Pong(payload))
        else:
            events.append(_read_close(payload, start))
        return stop


def _read_close(payload: bytes, offset: int) -> Close:
    """Reads the payload of a close frame (5.5.1, 7.4), whose first byte has the offset `offset`."""
    if not payload:
        return Close(int(CloseCode.NO_STATUS_RCVD), "")
    code = int.from_bytes(payload[:2], "big")
    if not may_be_received(code):
        raise Violation(CloseCode.PROTOCOL_ERROR, f"close code {code} may not travel", offset)
    validator = Utf8Validator()
    valid = validator.feed(payload, 2, len(payload))
    if valid < len(payload) or validator.need:
        raise Violation(CloseCode.INVALID_DATA, "a close reason is not valid UTF-8", offset + valid)
    return Close(code, payload[2:].decode())
