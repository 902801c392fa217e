"""The slow path of receiving: every rule of RFC 6455 sections 5, 7 and 8, one frame at a time.

It processes everything at which the fast path of `StreamCore` stops: control frames, fragments,
partial frames, messages that an extension has transformed, violations. Each rule exists once, here,
and is checked as soon as the byte that breaks it has arrived; in a transformed message, at the end
of each block of its payload.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

from .._backend import PartialMessage, StreamCore, Utf8Validator, apply_mask, read_header, take_payload
from ..errors import Violation
from .codecs import Codec
from .constants import MAX_CONTROL_PAYLOAD, MAX_LENGTH, CloseCode, Opcode, may_be_received
from .decompression import FRAME_OVERHEAD, Decompressor
from .events import Close, Event, Fragment, Ping, Pong, Text

__all__ = ["Receiver", "TextErrors"]

#: The result of `read_header`.
_Header: TypeAlias = tuple[int, bool, int, int, bytes | None]

#: The treatment of text that is not UTF-8: "strict" fails the connection (8.1), the others are
#: error handlers of `bytes.decode`.
TextErrors = Literal["strict", "replace", "surrogateescape"]

#: Whether text is delivered as `str` (False), as `Text` (True) or as plain `bytes` ("bare").
TextAsBytes: TypeAlias = bool | Literal["bare"]

# Plain ints: the lookup of an enum member is slower than a function call.
_FIN: Final = 0x80
_TEXT: Final = int(Opcode.TEXT)
_BINARY: Final = int(Opcode.BINARY)
_FIRST_CLOSE: Final = _FIN | int(Opcode.CLOSE)
_PINGS: Final[dict[int, type[Ping | Pong]]] = {_FIN | int(Opcode.PING): Ping, _FIN | int(Opcode.PONG): Pong}
_CONTROL: Final = frozenset({_FIRST_CLOSE, *_PINGS})
_BETWEEN_MESSAGES: Final = _CONTROL | {_TEXT, _BINARY, _FIN | _TEXT, _FIN | _BINARY}
_INSIDE_A_MESSAGE: Final = _CONTROL | {int(Opcode.CONTINUATION), _FIN | int(Opcode.CONTINUATION)}


#: The decompressors of a receiver without extensions; shared to save memory.
_NO_DECOMPRESSORS: Final[dict[int, Decompressor]] = {}


class Receiver:
    """Converts frames to events.

    Args:
        masked: Whether frames must be masked.
        max_message_size: See `Stream`.
        max_frame_size: See `Stream`.
        fragments: See `Stream`.
        text_as_bytes: See `Stream`.
        text_errors: See `Stream`.
        piece_size: See `Stream`.
        codecs: The result of `check_codecs`.
    """

    __slots__ = (
        "_block_key", "_decode", "_decompressor", "_decompressors", "_delivered", "_fragments", "_left_of_frame",
        "_masked", "_max_frame", "_max_message", "_piece", "_text_errors", "_total", "_validated", "partial",
    )  # fmt: skip

    def __init__(
        self,
        masked: bool,
        max_message_size: int | None,
        max_frame_size: int | None,
        fragments: bool,
        text_as_bytes: TextAsBytes,
        text_errors: TextErrors,
        piece_size: int | None,
        codecs: Sequence[Codec],
    ) -> None:
        self._masked = masked
        self._max_message = MAX_LENGTH if max_message_size is None else max_message_size
        self._max_frame = MAX_LENGTH if max_frame_size is None else max_frame_size
        self._fragments = fragments
        #: Announced payload bytes of the open message, all frames together; of a transformed one, those
        #: that count for `Decompressor.max_payload`.
        self._total = 0
        self._delivered = False  # a piece of the open message was delivered
        self._text_errors = text_errors
        wrap: Callable[[bytes], Any] | None = None
        if text_as_bytes:
            wrap = bytes if text_as_bytes == "bare" else Text  # `bytes` returns its argument
        #: Decodes text that may be invalid UTF-8, piece by piece; None if it must be valid.
        self._decode: Callable[[Any, bool], Any] | None = None
        if text_errors != "strict":
            decoder = getincrementaldecoder("utf-8")(text_errors)
            self._decode = decoder.decode if wrap is None else lambda content, last: wrap(content)
        self._validated = _TEXT if self._decode is None else 0  # the opcode of messages that must be UTF-8
        self._piece = MAX_LENGTH if piece_size is None else piece_size
        # The fast path validates all text and never splits a message. With `text_errors` it may
        # therefore take empty messages only.
        limit = min(self._max_message, self._max_frame, self._piece) if self._validated else 0
        self.partial = PartialMessage(masked, limit, wrap)
        #: The decompressors, by RSV bits and opcode of the first frame.
        self._decompressors = {} if codecs else _NO_DECOMPRESSORS
        for codec in codecs:
            decompressor = Decompressor(codec, wrap, self._max_message, self._max_frame)
            self._decompressors[codec.rsv | _TEXT] = self._decompressors[codec.rsv | _BINARY] = decompressor
        self._decompressor: Decompressor | None = None  # of the open message, if it is transformed
        self._left_of_frame = 0  # bytes of the frame in progress after the block in progress
        self._block_key = b""  # the masking key of the frame in progress

    def lend_codec(self, core: StreamCore[Any]) -> None:
        """Let the fast path decode short messages of the first codec if text must be UTF-8."""
        if self._decompressors and self._validated:
            next(iter(self._decompressors.values())).lend_to(core)

    def clear(self) -> None:
        """Free the open message and the codecs, at the end of the stream."""
        self.partial.clear()
        self._decompressors.clear()
        self._decompressor = None

    def deliver_fragments(self) -> None:
        """Deliver fragments from now on; the first of an open message has its data so far."""
        self._fragments = True

    def take_frame(
        self,
        data: bytes,
        start: int,
        stop: int,
        events: list[Event],
        decoded: bytes | ValueError | None,
        max_events: int,
    ) -> int:
        """Take one frame, or the available part of a data frame, from data[start:stop].

        Args:
            data: The input.
            start: The index of the first byte to take.
            stop: The end of the input.
            events: The list to which events are appended.
            decoded: The result of the codec for the frame at `start`, if the fast path has passed
                it to the codec; otherwise None.
            max_events: Stop at the end of a piece when there are so many events.

        Returns:
            The index after the bytes taken: `start` if a header or control frame is incomplete.

        Raises:
            Violation: The peer broke a rule; the offset counts from data[0].
        """
        partial = self.partial
        if partial.in_frame:
            assert decoded is None  # for a whole frame only
            fill = self._fill if self._decompressor is None else self._fill_blocks
            return fill(data, start, stop, events, max_events)
        first = data[start]
        if first in _PINGS:
            taken = take_payload(data, start, self._masked, MAX_CONTROL_PAYLOAD)
            if taken is not None:
                payload, stop = taken
                events.append(_PINGS[first](payload))
                return stop
            # An incomplete frame, or a violation: see below.
        begins = not partial.opcode
        if not first and not begins and not self._fragments and self._decompressor is None:
            position = partial.fill_frames(data, start, stop)
            if position > start:
                self._total = partial.size
                return position
        decompressor = self._decompressors.get(first & 127) if begins else self._decompressor
        if first not in (_BETWEEN_MESSAGES if begins else _INSIDE_A_MESSAGE) and (decompressor is None or not begins):
            raise Violation(CloseCode.PROTOCOL_ERROR, self._explain(first), start)
        header = read_header(data, start, stop)
        if header is None:
            if stop - start > 1:
                self._check_second(first, data[start + 1], start + 1)
            return start
        _, masked, length, end, key = header
        if first & 8 or masked is not self._masked:
            self._check_second(first, data[start + 1], start + 1)
            return self._take_close(data, start, stop, header, events)
        total = length if begins else self._total + length
        limit = self._max_message if decompressor is None else decompressor.max_payload
        if not 0 <= length <= self._max_frame or total > limit:
            raise self._too_long(length, total, limit, end, end - 4 if masked else end)
        if key is None:
            return start
        self._total = total
        opcode = first & 15 or partial.opcode
        if decompressor is None:
            assert decoded is None  # for a message of the codec only
            partial.begin_frame(opcode, first > 127, length, key, opcode == self._validated)
            return self._fill(data, end, stop, events, max_events)
        if begins:
            self._decompressor = decompressor
            decompressor.begin(opcode, opcode == self._validated)
        self._total -= min(length, FRAME_OVERHEAD)
        self._left_of_frame, self._block_key = length, key
        self._begin_block(opcode, first > 127, decompressor.block)
        return self._fill_blocks(data, end, stop, events, max_events, decoded)

    def _take_close(self, data: bytes, start: int, stop: int, header: _Header, events: list[Event]) -> int:
        """Take a close frame; return `start` if the control frame is incomplete."""
        _, _, length, end, key = header
        if end + length > stop:
            return start
        payload = data[end : end + length]
        events.append(_read_close(apply_mask(payload, key) if key else payload, end, self._text_errors))
        return end + length

    def _fill(self, data: bytes, start: int, stop: int, events: list[Event], max_events: int) -> int:
        """Take payload of the current frame and deliver the events that it completes."""
        partial = self.partial
        max_held = self._piece if self._fragments else MAX_LENGTH
        while True:
            end = stop
            if stop - start > max_held - partial.size:
                end = min(stop, start + max(max_held - partial.size, 1))
            position = partial.fill(data, start, end)
            if not partial.remaining:
                break
            if position < end:
                raise Violation(CloseCode.INVALID_DATA, "text is not valid UTF-8", position)
            if partial.size >= max_held and position > start:
                self._deliver_piece(partial, events)
            if end == stop or len(events) == max_events:
                return position
            start = end
        if partial.final and partial.need:
            raise Violation(CloseCode.INVALID_DATA, "text ends inside a code point", position)
        self._end_frame(partial, events)
        return position

    def _begin_block(self, opcode: int, final: bool, block: int) -> None:
        """Begin the next block of a frame for a codec.

        The size of a block is a multiple of 4, so that each block begins with the same key byte.
        """
        size = min(self._left_of_frame, block)
        self._left_of_frame -= size
        self.partial.begin_frame(opcode, final, size, self._block_key, False)

    def _fill_blocks(
        self,
        data: bytes,
        start: int,
        stop: int,
        events: list[Event],
        max_events: int,
        decoded: bytes | ValueError | None = None,
    ) -> int:
        partial, decompressor = self.partial, self._decompressor
        assert decompressor is not None
        position = partial.fill(data, start, stop)
        assert decoded is None or not (partial.remaining or self._left_of_frame)  # for one block only
        while not partial.remaining:
            payload: Any = partial.take_piece()
            decompressor.feed(payload, partial.final and not self._left_of_frame, decoded, position)
            if not self._left_of_frame:
                self._end_frame(decompressor, events)
                break
            if self._fragments and decompressor.size >= self._piece:
                self._deliver_piece(decompressor, events)
            self._begin_block(partial.opcode, partial.final, decompressor.block)
            if len(events) == max_events:
                break
            position = partial.fill(data, position, stop)
        return position

    def _end_frame(self, content: PartialMessage | Decompressor, events: list[Event]) -> None:
        """End the current frame, and its message if it is the last one."""
        partial = self.partial
        decode = self._decode if partial.opcode == _TEXT else None
        if not partial.final:
            if self._fragments:
                self._deliver_piece(content, events, True)
            partial.end_frame()
            return
        message = content.finish() if decode is None else decode(content.finish(), True)
        if content is not partial:
            partial.finish()  # which counts the message
            self._decompressor = None
        events.append(Fragment(message, False, True) if self._delivered else message)
        self._delivered = False

    def _deliver_piece(
        self, content: PartialMessage | Decompressor, events: list[Event], ends_frame: bool = False
    ) -> None:
        """Deliver the payload held of the message and keep it open.

        Inside a frame, part of a code point waits for the rest of it.
        """
        decode = self._decode if self.partial.opcode == _TEXT else None
        held, piece = content.size, content.take_piece()
        if decode is not None:
            piece = decode(piece, False)
        if ends_frame or (content.size < held and piece):
            events.append(Fragment(piece, not self._delivered, False))
            self._delivered = True

    def _explain(self, first: int) -> str:
        """Return which rule a first byte breaks (5.2, 5.4, 5.5)."""
        if first & 0x70 and first & 127 not in self._decompressors:
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
        """Check the mask bit, and the length of a control frame (5.1, 5.5, 5.5.1)."""
        if (second > 127) is not self._masked:
            rule = "a client must mask its frames" if self._masked else "a server must not mask its frames"
            raise Violation(CloseCode.PROTOCOL_ERROR, rule, offset)
        if first & 8:
            if second & 127 > MAX_CONTROL_PAYLOAD:
                raise Violation(CloseCode.PROTOCOL_ERROR, "a control frame has over 125 bytes", offset)
            if first == _FIRST_CLOSE and second & 127 == 1:
                raise Violation(CloseCode.PROTOCOL_ERROR, "a close frame has half a code", offset)

    def _too_long(self, length: int, total: int, limit: int, end: int, length_end: int) -> Violation:
        """Return the violation for an invalid length of a data frame (5.2, 10.4)."""
        if length < 0:
            reason = "a length is not in its shortest form, or over 63 bits"
            return Violation(CloseCode.PROTOCOL_ERROR, reason, length_end)
        if length > self._max_frame:
            reason = f"a frame of {length} bytes is over the limit of {self._max_frame}"
            return Violation(CloseCode.MESSAGE_TOO_BIG, reason, length_end)
        reason = f"a message of {total} bytes is over the limit of {limit}"
        return Violation(CloseCode.MESSAGE_TOO_BIG, reason, end if length <= limit else length_end)


def _read_close(payload: bytes, offset: int, text_errors: str) -> Close:
    """Read the payload of a close frame (5.5.1, 7.4), whose first byte has the offset `offset`."""
    if not payload:
        return Close(int(CloseCode.NO_STATUS_RCVD), "")
    code = int.from_bytes(payload[:2], "big")
    if not may_be_received(code):
        raise Violation(CloseCode.PROTOCOL_ERROR, f"close code {code} may not be sent", offset)
    if len(payload) == 2:  # as nearly all
        return Close(code, "")
    reason, validator = payload[2:], Utf8Validator()
    valid = validator.feed(reason)
    if text_errors == "strict" and (valid < len(reason) or validator.need):
        raise Violation(CloseCode.INVALID_DATA, "a close reason is not valid UTF-8", offset + 2 + valid)
    return Close(code, reason.decode(errors=text_errors))
