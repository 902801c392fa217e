"""`Stream`: one end of an open connection without I/O (RFC 6455 sections 5 to 8).

A stream begins after the opening handshake. `receive` turns bytes into events, `send` and similar
methods return bytes to write, and `pending` returns the frames that the stream itself has to send:
pongs, the answer to a close frame, the close frame of a failed connection.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable
from functools import partial
from operator import index
from typing import Any, Final, get_args

from .._backend import Deflate, StreamCore, make_frame, make_parts, take_key
from ..errors import FragmentError, PayloadTooBigError, StateError, TextError, Violation
from .codecs import Codec, check_codecs
from .constants import CLIENT, CLOSED, CLOSING, MAX_LENGTH, OPEN, SERVER, CloseCode, Opcode, Role, State, may_be_sent
from .events import Close, Event, Failure, Ping
from .masking_keys import KeyPool, SourcedKeys, pool
from .receiver import Receiver, TextAsBytes, TextErrors
from .sender import Sender, check_close, check_control, encode
from .shared_message import SharedMessage

__all__ = ["Stream"]

#: The size of the buffer that `get_buffer` returns, in bytes: a common limit of one read.
_READ_SIZE: Final = 1 << 16

#: Bytes that `receive_one` processes first; it doubles them while no event is complete.
_FIRST_LOOK: Final = 256

#: Bytes of a message that `send_steps` encodes at a time: a few milliseconds of work.
_ENCODE_STEP: Final = 1 << 16

_TEXT_ERRORS: Final = get_args(TextErrors)

# First bytes as plain ints: the lookup of an enum member is slower than a function call.
_FIN: Final = 0x80
_CLOSE, _PING, _PONG = (_FIN | int(opcode) for opcode in (Opcode.CLOSE, Opcode.PING, Opcode.PONG))

#: The failures whose close frame has a reason text.
_EXPLAINED: Final = (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG)


class Stream(StreamCore[Event]):
    """One end of a WebSocket connection after the opening handshake.

    Section numbers below are those of RFC 6455.

    The state is OPEN at first, and CLOSED after close frames in both directions, a failure, `fail`
    or `receive_eof`. A stream serves one task or thread at a time: if another thread, or a function
    that the stream has called, uses it during a call that changes it, RuntimeError is raised.

    Args:
        role: `SERVER` or `CLIENT`.
        max_message_size: Largest message to receive, in bytes, all fragments together; None:
            unlimited. A larger one fails the connection with 1009 as soon as its length is known.
        max_frame_size: Largest payload of a data frame to receive, in bytes; None: unlimited.
        fragments: Deliver fragmented messages as `Fragment` events, one for each frame.
        text_as_bytes: True delivers text as `Text(payload)`, validated but not decoded. "bare" delivers
            only the payload, as `bytes` like a binary message.
        text_errors: "strict" fails the connection with 1007 for text that is not UTF-8 (8.1).
            "replace" and "surrogateescape" decode such text and close reasons with this error
            handler of `bytes.decode`; with `text_as_bytes`, text is delivered unchanged. Text to
            send must always be UTF-8.
        piece_size: With `fragments`, deliver longer frames while they arrive, in pieces of at most
            this size in bytes, but at least one code point. Those of a message that a codec decodes
            may be longer: what one block of its payload brings is one piece.
        max_send_size: Largest message to send, in bytes, all fragments together; None: unlimited.
        auto_pong: Queue a pong for each ping in `pending()`.
        auto_close: Queue the answer to the peer's close frame, and the close frame of a failure, in
            `pending()`.
        late_failure: If other events of the same call precede a failure, hold it in `failing`, so
            that they can be answered. Until `take_failure`, the stream can send, and ignores input.
        mask_source: `mask_source(4)` returns the 4 bytes of a masking key; None uses the system's
            random source. Only a client uses it. It must not use the stream.
        extensions: The codecs that the opening handshake agreed on; see `framewire.extensions`.
        send_close_reasons: Include a short reason in the close frame of a failure with 1002, 1007
            or 1009. False sends the code alone.

    Raises:
        TypeError: A limit is not an int, or one of `extensions` is not a codec.
        ValueError: A limit is not 0 to `2**63 - 1` (`piece_size`: 1 to `2**63 - 1`), `text_errors`
            or `text_as_bytes` is unknown, or two codecs use the same RSV bit.
    """

    __slots__ = (
        "_auto_close", "_auto_pong", "_buffer", "_close", "_close_sent", "_codecs", "_ended_receiving", "_head",
        "_late_failure", "_pending", "_receiver", "_role", "_send_close_reasons", "_sender",
        "_sent_reason", "_state", "failing", "slow_reads",
    )  # fmt: skip

    def __init__(
        self,
        role: Role,
        *,
        max_message_size: int | None = 1 << 20,
        max_frame_size: int | None = None,
        fragments: bool = False,
        text_as_bytes: TextAsBytes = False,
        text_errors: TextErrors = "strict",
        piece_size: int | None = None,
        max_send_size: int | None = None,
        auto_pong: bool = True,
        auto_close: bool = True,
        late_failure: bool = False,
        mask_source: Callable[[int], bytes] | None = None,
        extensions: Iterable[Codec] = (),
        send_close_reasons: bool = True,
    ) -> None:
        self._role = role if type(role) is Role else Role(role)
        if text_errors not in _TEXT_ERRORS:
            raise ValueError(f"text_errors is one of {', '.join(_TEXT_ERRORS)}")
        if isinstance(text_as_bytes, str) and text_as_bytes != "bare":
            raise ValueError("text_as_bytes is True, False or 'bare'")
        self._codecs = check_codecs(extensions)
        self._receiver = Receiver(
            self._role is SERVER,
            _check_limit("max_message_size", max_message_size),
            _check_limit("max_frame_size", max_frame_size),
            fragments,
            text_as_bytes,
            text_errors,
            _check_limit("piece_size", piece_size, 1),
            self._codecs,
        )
        keys: KeyPool | SourcedKeys | None = None
        if self._role is CLIENT:
            keys = pool if mask_source is None else SourcedKeys(mask_source)
        super().__init__(self._receiver.partial, keys, isinstance(keys, SourcedKeys))
        self._receiver.lend_codec(self)
        self._auto_pong = auto_pong
        self._auto_close = auto_close
        self._late_failure = late_failure
        self._send_close_reasons = send_close_reasons
        #: The failure that `late_failure` holds back, or None.
        self.failing: Failure | None = None
        self.slow_reads = 0  # if it has not changed, all events since then are whole messages
        self._sent_reason = ""  # of its close frame
        self._state = OPEN
        self._close: Close | None = None  # the peer's
        self._close_sent = False
        self._ended_receiving = False  # by the peer's close, a failure or the end of file
        self._pending: list[tuple[int, bytes]] = []  # first bytes and payloads of the frames for `pending`
        self._head = b""  # an incomplete header or control frame
        self._buffer: memoryview | None = None
        max_send = _check_limit("max_send_size", max_send_size)
        if max_send == MAX_LENGTH:  # no message is longer, and `Sender` has no other value for None
            max_send = None
        self._sender = Sender(self._codecs, MAX_LENGTH if max_send is None else max_send, self._keys)
        # Messages of fewer bytes, or fewer characters of up to 4 bytes each, are sent unencoded;
        # longer ones go to the codec.
        threshold = max(index(self._codecs[0].threshold), 0) if self._codecs else sys.maxsize
        max_plain = min(threshold, sys.maxsize if max_send is None else max_send // 4 + 1, sys.maxsize)
        self._set_send_limit(max_plain, self._codecs[0] if self._codecs and max_send is None else None)
        self._fast_send = True

    # State

    @property
    def role(self) -> Role:
        """The role of this end of the connection."""
        return self._role

    @property
    def state(self) -> State:
        """OPEN; CLOSING after one close frame; CLOSED after both, a failure or end of input."""
        return self._state

    @property
    def close_code(self) -> int | None:
        """The peer's close code, or None; 1005 for an empty close frame, 1006 without one."""
        if self._close is not None:
            return self._close.code
        return int(CloseCode.ABNORMAL_CLOSURE) if self._state is CLOSED else None

    @property
    def close_reason(self) -> str | None:
        """The peer's close reason; None until `close_code` is known."""
        if self._close is not None:
            return self._close.reason
        return "" if self._state is CLOSED else None

    @property
    def message_open(self) -> bool:
        """Whether a fragmented message is being sent."""
        return self._sender.opcode != 0

    @property
    def encoding(self) -> bool:
        """Whether `send_steps` is encoding a message, so that no other can be encoded."""
        return bool(self._encoding)

    @property
    def clean(self) -> bool:
        """Whether the closing handshake is complete: a close frame in each direction (7.1.4)."""
        return self._close is not None and self._close_sent

    # Receiving

    def deliver_fragments(self) -> None:
        """Deliver fragments from now on, as with `fragments=True`.

        If a message is incomplete, its first `Fragment` contains its data so far; if one frame completes
        it, it is delivered whole.
        """
        self._receiver.deliver_fragments()

    def _receive_slow(
        self,
        data: bytes,
        start: int,
        decoded: bytes | ValueError | None,
        events: list[Event],
        max_events: int = -1,
    ) -> int:
        """Process data[start:] frame by frame, until there are `max_events` events.

        An incomplete header or control frame is kept in `_head`.

        Returns:
            The number of unprocessed bytes.
        """
        self.slow_reads += 1
        if self._ended_receiving:
            return 0
        position = start
        if self._head:
            assert decoded is None  # for a frame whose header arrived whole
            data, position, self._head, self._paused = self._head + data[start:], 0, b"", False
        base, size = self._offset - position, len(data)
        take_frame, partial = self._receiver.take_frame, self._partial
        try:
            # Literals for the bits of first bytes, because this loop would look up each global name
            # once per frame.
            while position < size and len(events) != max_events:
                begin, count = position, len(events)
                position = take_frame(data, begin, size, events, decoded, max_events)
                decoded = None
                if position == begin:
                    self._head, self._paused = data[begin:], True
                    size = begin
                elif data[begin] & 8 and len(events) > count and not self._answer(events[-1]):
                    break
                elif (
                    max_events < 0 and position < size and not partial.opcode and data[position] & 0x8F in (0x81, 0x82)
                ):
                    position, decoded = self._take_messages(data, position, events)
        except Violation as violation:
            position = violation.offset
            failure = Failure(violation.code, violation.reason, base + position)
            self._fail(events, failure, violation.sent_reason)
        self._offset = base + position
        return max(size - position, 0)  # a message over the limit fails after its key, which may not have arrived

    def _answer(self, event: Event) -> bool:
        """Queue the answer that a control frame requires; return False if it ends the stream."""
        if type(event) is Ping:
            if self._auto_pong:
                self._pending.append((_PONG, event.payload))
        elif type(event) is Close:
            self._close = event
            self._stop_receiving()
            if self._auto_close and not self._close_sent:
                self._queue_close(_answer_close(event))
            if self._close_sent:
                self._drop()
            else:
                self._state = CLOSING
            return False
        return True

    def receive_one(self, data: bytes | bytearray | memoryview) -> tuple[Event | None, int]:
        """Process bytes up to the end of the next event.

        Call it again with the remaining bytes; slices of a `memoryview` avoid copies. After the end
        of the stream, all bytes are taken and ignored. A `Failure` takes the bytes before the
        offending one.

        Args:
            data: Any bytes-like object.

        Returns:
            The event, or None if it is incomplete; and the number of bytes taken.

        Raises:
            RuntimeError: Another call is using the stream.
        """
        events: list[Event] = []
        begun = False
        self._enter()
        try:
            with memoryview(data) as whole, whole.cast("B") as octets:
                begun = True
                start, stop = 0, min(_FIRST_LOOK, len(octets))
                # Copy only the part to process, and more of it while no event is complete.
                left = self._receive_slow(bytes(octets[:stop]), 0, None, events, 1)
                while not events and stop < len(octets):
                    start, stop = stop, min(2 * stop, len(octets))
                    left = self._receive_slow(bytes(octets[start:stop]), 0, None, events, 1)
                return (events[0] if events else None), max(stop - left, 0)
        except BaseException:
            if begun:
                self._end_after_error()
            raise
        finally:
            self._leave()

    def receive_eof(self) -> list[Event]:
        """Process the end of input.

        Returns:
            A `Failure` with code 1006, unless a close frame was received before.
        """
        events: list[Event] = []
        self._enter()
        try:
            if self._close is not None:
                self._drop()
            elif self.failing is not None:
                self._end(events, self.failing, self._sent_reason)
            elif self._state is not CLOSED:
                code, offset = int(CloseCode.ABNORMAL_CLOSURE), self._offset + len(self._head)
                self._fail(events, Failure(code, "the connection ended without a close frame", offset), "")
        finally:
            self._leave()
        return events

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return a buffer to read into, like `asyncio.BufferedProtocol.get_buffer`.

        Args:
            sizehint: The size that the caller recommends, in bytes; it is ignored.

        Returns:
            A buffer of at least 1 byte.
        """
        if self._buffer is None:
            self._buffer = memoryview(bytearray(_READ_SIZE))
        return self._buffer[:]

    def buffer_updated(self, nbytes: int) -> list[Event]:
        """Process the first `nbytes` bytes of the buffer of `get_buffer`, like `receive`.

        Args:
            nbytes: The number of bytes that were read into the buffer.

        Returns:
            The events; see `receive`.

        Raises:
            ValueError: There is no buffer, or it is smaller.
        """
        if self._buffer is None or not 0 <= nbytes <= len(self._buffer):
            raise ValueError("buffer_updated() tells how much of get_buffer() was filled")
        return self.receive(self._buffer, nbytes)

    def take_failure(self) -> list[Event]:
        """End the stream with the failure that `late_failure` holds back in `failing`.

        Returns:
            The failure as the only event; an empty list if there is none.
        """
        events: list[Event] = []
        self._enter()
        try:
            if self.failing is not None:
                self._end(events, self.failing, self._sent_reason)
        finally:
            self._leave()
        return events

    def _fail(self, events: list[Event], failure: Failure, sent_reason: str) -> None:
        """Fail the connection (7.1.7): at once, or with `late_failure` after the earlier events."""
        if self._late_failure and events:
            self.failing, self._sent_reason = failure, sent_reason
            self._stop_receiving()
        else:
            self._end(events, failure, sent_reason)

    def _end(self, events: list[Event], failure: Failure, sent_reason: str) -> None:
        """Deliver a failure as the last event, queue the close frame, and close the stream."""
        self.slow_reads += 1
        events.append(failure)
        if self._auto_close and not self._close_sent and may_be_sent(failure.code):
            explained = self._send_close_reasons and failure.code in _EXPLAINED
            self._queue_close(check_close(failure.code, sent_reason if explained else ""))
        self._drop()

    def _drop(self) -> None:
        """Close the stream and free its memory."""
        if self._state is not CLOSED:
            self._state = CLOSED
            self.failing = None
            self._fast_send = False
            self._stop_receiving()
            codecs = [*self._codecs]
            self._codecs.clear()
            for codec in codecs:
                codec.close()

    def _end_after_error(self) -> None:
        self._drop()

    def _stop_receiving(self) -> None:
        """Ignore further input, and free the input held."""
        self._ended_receiving = self._paused = True
        self._head = b""
        self._receiver.clear()

    # Sending

    def pending(self) -> bytes:
        """Return the frames that the stream itself has to send, once.

        Write them before any later bytes. An exception of `mask_source` is passed on; no frame is
        lost, because the next call returns all of them.

        Returns:
            The frames: pongs and a close frame; b"" if there are none.
        """
        if not self._pending:
            return b""
        self._enter()
        try:
            frames = b"".join([make_frame(first, payload, take_key(self._keys)) for first, payload in self._pending])
            self._pending.clear()
        finally:
            self._leave()
        return frames

    def send_steps(
        self,
        message: str | bytes | bytearray | memoryview,
        *,
        text: bool | None = None,
        compress: bool | None = None,
        fragment_size: int | None = None,
    ) -> Generator[None, None, bytes]:
        """Like `send`, as a generator that yields after each 64 KiB that it compresses.

        An event loop can run other tasks in between. The generator returns the frames. Before that,
        control frames and messages that are not encoded may be sent. A generator that is closed
        early has sent nothing. Exceptions are those of `send`.

        Args:
            message: See `send`.
            text: See `send`.
            compress: See `send`.
            fragment_size: Largest fragment, in bytes before it is compressed; longer messages are
                sent in fragments. None: unlimited.
        """
        size = _check_limit("fragment_size", fragment_size, 1) or sys.maxsize
        self._enter()
        try:
            self._check_whole()
            opcode, payload, _ = self._sender.check(message, text, True)
            whole = len(payload) <= size
            codec = self._sender.choose_codec(len(payload), whole, compress, self._encoding)
            if codec is None:
                if whole:
                    frames = make_frame(_FIN | opcode, payload, take_key(self._keys))
                else:
                    frames = _make_frames(opcode, list(_cut(payload, size)), partial(take_key, self._keys))
                self._note_sent(True)
                return frames
            self._encoding = True
        finally:
            self._leave()
        try:
            encoded: list[bytes] = []
            parts: list[bytes] = []
            end = 0
            for piece in _cut(payload, size, _ENCODE_STEP):
                if end and end % _ENCODE_STEP == 0:
                    yield
                end += len(piece)
                last = end == len(payload)
                parts.append(encode(codec, piece, last))
                if last or end % size == 0:
                    encoded.append(b"".join(parts))
                    parts.clear()
            self._check_open()
            if whole:
                frames = make_frame(_FIN | codec.rsv | opcode, encoded[0], self._next_key())
            else:
                frames = _make_frames(codec.rsv | opcode, encoded, self._next_key)
            self._note_sent(True)
        except BaseException:
            codec.abandon()
            raise
        finally:
            self._encoding = False
        return frames

    def send_shared(self, message: SharedMessage) -> bytes:
        """Return the frame of a message that is sent on other streams too.

        It is compressed once for all streams with the same settings of permessage-deflate, without
        the context of any. A stream that only sends shared messages has no compressor. After a
        compressed one, the next message of `send` is compressed with an empty window. Codecs other
        than `Deflate` encode the message for each stream, like `send`. The message is not
        compressed while `send_steps` encodes another.

        Args:
            message: The message.

        Raises:
            StateError: After a close or a failure.
            FragmentError: A fragmented message has not ended.
            PayloadTooBigError: The message exceeds `max_send_size`.
            RuntimeError: Another call is using the stream.
        """
        if self._shared_kind is None:
            self._choose_shared_kind()
        frame = self.take_shared(message.frames)
        if frame is not None:
            return frame
        content = message.content
        self._enter()
        try:
            self._check_whole()
            self._sender.check_size(len(content))
            compress = False if self._encoding else message.compress
            codec = self._sender.choose_codec(len(content), True, compress, False)
            if codec is None or isinstance(codec, Deflate):
                frame = message.make_frame(codec, take_key(self._keys))
                if codec is not None:
                    codec.abandon()
                if self._shared_kind is not None and not self._encoding:
                    message.frames.setdefault(self._shared_kind, frame)  # another thread may read the first
            else:
                frame = self._sender.take(content, message.is_text, True, compress, False, make_frame)
            self._note_sent(True)
        finally:
            self._leave()
        return frame

    def _choose_shared_kind(self) -> None:
        """Choose the key for the frames of shared messages.

        There is none for frames that are masked or encoded for each stream, nor with a limit on the
        size of messages, which each has to be checked for.
        """
        if self._role is SERVER and self._sender.max_size == MAX_LENGTH:
            codec = self._codecs[0] if self._codecs else None
            if codec is None:
                self._shared_kind = ()
            elif isinstance(codec, Deflate):
                self._shared_kind = (*codec.encode_settings, codec.threshold)

    def check_size(self, size: int) -> None:
        """Check that a message is not too large to be sent, before it is made to wait.

        Args:
            size: Its size in bytes, before it is compressed.

        Raises:
            PayloadTooBigError: It exceeds `max_send_size`.
        """
        self._sender.check_size(size)

    def cut(
        self, message: str | bytes | bytearray | memoryview, size: int, *, text: bool | None = None
    ) -> tuple[list[memoryview], bool]:
        """Split a whole message into pieces, to send them as fragments.

        Pieces may split a code point. An empty message is one piece. Exceptions are those of
        `send`, so that an invalid message is refused before its first piece is sent.

        Args:
            message: See `send`.
            size: Largest piece, in bytes.
            text: See `send`.

        Returns:
            The pieces, and whether they are text.
        """
        self._check_open()
        opcode, payload, _ = self._sender.check(message, text, True)
        view = memoryview(payload)
        return [view[i : i + size] for i in range(0, max(len(payload), 1), size)], opcode == Opcode.TEXT

    def _send_slow(
        self,
        message: str | bytes | bytearray | memoryview,
        text: bool | None,
        last: bool,
        compress: bool | None,
        apart: bool,
    ) -> Any:
        """Send a message or fragment; return its frame, or [header, payload] if `apart`."""
        make: Callable[[int, bytes, bytes], Any] = make_parts if apart else make_frame
        self._enter()
        try:
            self._check_open()
            made = self._sender.take(message, text, last, compress, self._encoding, make)
            self._note_sent(last)
        finally:
            self._leave()
        return made

    def lose_frame(self) -> None:
        """Take note that the frame of the last whole message will not be sent: those after it are encoded
        without its context. During a message in fragments or in steps, and in another call, do nothing.
        """
        if self.message_open or self._encoding:
            return
        try:
            self._enter()
        except RuntimeError:
            return  # a call that this one has interrupted may use the codec
        try:
            for codec in self._codecs:
                codec.abandon()
        finally:
            self._leave()

    def _check_open(self) -> None:
        if self._close_sent or self._state is CLOSED:
            raise StateError("no message can follow a close frame or a failure")

    def _check_whole(self) -> None:
        """Raise FragmentError or StateError if no whole message can be sent now."""
        if self._sender.opcode:
            raise FragmentError("a message in fragments has not ended")
        self._check_open()

    def ping(self, payload: bytes | bytearray | memoryview = b"") -> bytes:
        """Return a ping frame (5.5.2).

        Args:
            payload: 0 to 125 bytes.

        Raises:
            StateError: The state is CLOSED.
            PayloadTooBigError: The payload is too long.
        """
        return self._send_control(_PING, payload)

    def pong(self, payload: bytes | bytearray | memoryview = b"") -> bytes:
        """Return a pong frame (5.5.3), like `ping`.

        Args:
            payload: 0 to 125 bytes.
        """
        return self._send_control(_PONG, payload)

    def close(self, code: int | None = 1000, reason: str = "") -> bytes:
        """Return the only close frame of this end.

        Messages are still received until the peer's close frame. With `auto_close=False`, the
        caller also answers the peer's close frame, or a failure, with this method.

        Args:
            code: The close code (7.4); None returns an empty close frame.
            reason: At most 123 bytes of UTF-8.

        Raises:
            StateError: A close frame was sent, or the connection is closed.
            CloseCodeError: `code` is not allowed in a close frame, or there is a reason without a
                code.
            PayloadTooBigError: The reason is too long.
            TextError: The reason is not UTF-8.
            TypeError: `code` is not an integer or None, or the reason is not a `str`.
        """
        self._enter()
        try:
            if self._close_sent or (self._state is CLOSED and self._auto_close):
                closed = self._state is CLOSED
                raise StateError("the connection is closed" if closed else "a close frame was sent")
            frame = self._make_close(code, reason)
            if self._state is OPEN:
                self._state = CLOSING
            elif self._close is not None:
                self._drop()
        finally:
            self._leave()
        return frame

    def fail(self, code: int, reason: str = "") -> bytes:
        """Fail the connection from this end (7.1.7): close the stream, and ignore further input.

        Exceptions are those of `close`.

        Args:
            code: The close code (7.4).
            reason: At most 123 bytes of UTF-8.

        Returns:
            The close frame; b"" if one was sent or the stream is CLOSED.
        """
        self._enter()
        try:
            if self._state is CLOSED:
                return b""
            frame = b"" if self._close_sent else self._make_close(code, reason)
            self._drop()
        finally:
            self._leave()
        return frame

    def _send_control(self, first: int, payload: bytes | bytearray | memoryview) -> bytes:
        if self._state is CLOSED:
            raise StateError("the connection is closed")
        return make_frame(first, check_control(payload), self._next_key())

    def _make_close(self, code: int | None, reason: str) -> bytes:
        """Return the only close frame of this end, and record that it is sent."""
        frame = make_frame(_CLOSE, check_close(code, reason), take_key(self._keys))
        self._note_close_sent()
        return frame

    def _queue_close(self, payload: bytes) -> None:
        """Queue the only close frame of this end for `pending`."""
        self._pending.append((_CLOSE, payload))
        self._note_close_sent()

    def _note_close_sent(self) -> None:
        self._close_sent = True
        self._fast_send = False


def _cut(payload: bytes, *sizes: int) -> Iterable[bytes]:
    """Return the pieces of a payload, cut at all multiples of `sizes`; each is copied when it is its
    turn.
    """
    length = len(payload)
    if length <= min(sizes):
        return (payload,)
    cuts = sorted({0, length}.union(*(range(size, length, size) for size in sizes)))
    return map(payload.__getitem__, map(slice, cuts, cuts[1:]))


def _make_frames(first: int, payloads: list[bytes], new_key: Callable[[], bytes]) -> bytes:
    """Return the frames of a message in fragments.

    Args:
        first: The first byte of the first frame.
        payloads: The payload of each frame.
        new_key: Returns the masking key of a frame.
    """
    frames = [make_frame(first, payloads[0], new_key())]
    frames += [make_frame(0, payload, new_key()) for payload in payloads[1:-1]]
    frames.append(make_frame(_FIN, payloads[-1], new_key()))
    return b"".join(frames)


def _check_limit(name: str, value: int | None, minimum: int = 0) -> int | None:
    """Return a limit in bytes as a plain int, or None. TypeError or ValueError if it is invalid."""
    if value is None or (type(value) is int and minimum <= value <= MAX_LENGTH):
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is a number of bytes or None, not {type(value).__name__}")
    number = index(value)
    if not minimum <= number <= MAX_LENGTH:
        raise ValueError(f"{name} is {minimum} to 2**63 - 1, or None")
    return number


def _answer_close(close: Close) -> bytes:
    """Return the payload that answers the peer's close frame: the same code and reason (5.5.1).

    With `text_errors`, the reason may be invalid UTF-8, or too long after decoding: then only the
    code is sent.
    """
    if close.code == CloseCode.NO_STATUS_RCVD:
        return b""
    try:
        return check_close(close.code, close.reason)
    except (TextError, PayloadTooBigError):
        return check_close(close.code)
