"""The whole path: bytes in, events out; messages in, bytes out (RFC 6455 sections 5 to 8). No I/O.

A stream begins after the opening handshake. `receive` gives events, `send` and its kin give bytes to write, and
`pending` gives what the stream itself has to say: pongs, the answer to a close, the close of a failed connection.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable
from operator import index
from typing import TYPE_CHECKING, Final, get_args

from .._backend import make_frame, send, send_parts, take_key, take_messages
from ..errors import FragmentError, StateError, Violation
from .codecs import Codec, check_codecs
from .constants import MAX_REASON, CloseCode, Opcode, Role, State, may_be_sent
from .events import Close, Event, Failure, Ping
from .masking_keys import KeyPool, SourcedKeys, pool
from .receiver import Assembly, TextErrors
from .sender import Made, Outgoing, check_close, check_control

__all__ = ["Stream"]

#: What `get_buffer` offers when the event loop has no wish: as much as one read commonly brings.
_READ_SIZE: Final = 1 << 16
_FIN: Final = 0x80
_CLOSE, _PING, _PONG = (_FIN | int(opcode) for opcode in (Opcode.CLOSE, Opcode.PING, Opcode.PONG))

_TEXT_ERRORS: Final = get_args(TextErrors)

#: How much `receive_one` looks at before it looks at more, in bytes: some small frames.
_FIRST_LOOK: Final = 256

#: How much of a message `send_steps` encodes at a time, in bytes: a few milliseconds.
_STEP: Final = 1 << 16


class Stream:
    """One end of a WebSocket connection after the opening handshake.

    `role` says which end: `SERVER` or `CLIENT`. What comes in is limited: `max_message_size` bytes for a message
    (fragments together, delivered or joined; default 1 MiB), `max_frame_size` for the payload of one data frame;
    None is unlimited. `fragments=True` delivers fragmented messages as `Fragment` events, one for each frame, and with
    `piece_size` also longer frames in pieces of that many bytes at most (or one code point), while they arrive.
    `text_as_bytes=True` delivers text as `Text(payload)`, validated but not decoded. Text that is not UTF-8 fails the
    connection (8.1), unless `text_errors` is "replace" or "surrogateescape": then it is delivered, and so is a close
    reason, decoded by `bytes.decode` with these errors, or just as it is with `text_as_bytes`. What is sent is always
    UTF-8. A message to send has at most `max_send_size` bytes, fragments together (None: no limit).

    `auto_pong` and `auto_close` queue the answers that RFC 6455 demands in `pending()`. `mask_source(4)` returns the 4
    bytes of a masking key (default: the system's random source; a client only). `extensions` are the codecs that the
    opening handshake agreed on (see `extensions`); ValueError if two of them claim the same RSV bit.

    `late_failure=True` keeps a failure back in `failing` where other events of the same call come before it, so that
    they can be answered: until `take_failure` the stream is open to be sent through, and hears nothing.

    A stream serves one task or thread at a time: RuntimeError for whoever comes while another call is changing it, be
    it from another thread or from a function that the stream has called.
    """

    __slots__ = (
        "_assembly", "_auto_close", "_auto_pong", "_buffer", "_close", "_close_sent", "_codecs", "_deaf",
        "_head", "_keys", "_late_failure", "_max_send", "_outgoing", "_partial", "_pending", "_plain",
        "_role", "_state", "_stepping", "_threshold", "_whole", "failing",
    )  # fmt: skip

    def __init__(
        self,
        role: Role,
        *,
        max_message_size: int | None = 1 << 20,
        max_frame_size: int | None = None,
        fragments: bool = False,
        text_as_bytes: bool = False,
        text_errors: TextErrors = "strict",
        piece_size: int | None = None,
        max_send_size: int | None = None,
        auto_pong: bool = True,
        auto_close: bool = True,
        late_failure: bool = False,
        mask_source: Callable[[int], bytes] | None = None,
        extensions: Iterable[Codec] = (),
    ) -> None:
        self._role = Role(role)
        for limit in (max_message_size, max_frame_size, max_send_size):
            if limit is not None and index(limit) < 0:
                raise ValueError("a limit is a number of bytes, 0 or more, or None")
        if piece_size is not None and index(piece_size) < 1:
            raise ValueError("a piece has at least 1 byte")
        if text_errors not in _TEXT_ERRORS:
            raise ValueError(f"text_errors is one of {', '.join(_TEXT_ERRORS)}")
        self._codecs = check_codecs(extensions)
        self._assembly = Assembly(
            self._role is Role.SERVER, max_message_size, max_frame_size, fragments, text_as_bytes, text_errors,
            piece_size, self._codecs,
        )  # fmt: skip
        self._partial = self._assembly.partial
        self._auto_pong = auto_pong
        self._auto_close = auto_close
        self._late_failure = late_failure
        self.failing: Failure | None = None
        self._keys: KeyPool | SourcedKeys | None = None
        if self._role is Role.CLIENT:
            self._keys = pool if mask_source is None else SourcedKeys(mask_source)
        self._state = State.OPEN
        self._close: Close | None = None  # the peer's
        self._close_sent = False
        self._deaf = False  # after the peer's close, a failure or the end of file
        self._pending: list[tuple[int, bytes]] = []  # first bytes and payloads of what this end has to say
        self._head = b""  # an incomplete header or control frame
        self._buffer: memoryview | None = None
        self._max_send = sys.maxsize if max_send_size is None else max_send_size
        # Of fewer bytes or characters, of up to 4 bytes each, a message is sent as it is.
        self._threshold = min(self._codecs[0].threshold if self._codecs else sys.maxsize, self._max_send // 4 + 1)
        self._allow_whole(True)
        self._outgoing = Outgoing(self._codecs, self._max_send, self._keys)
        self._stepping = False  # a message is being encoded by `send_steps`

    # State

    @property
    def role(self) -> Role:
        """Which end of the connection this is."""
        return self._role

    @property
    def state(self) -> State:
        """OPEN; CLOSING once a close frame went either way; CLOSED after both, a failure, or the end of file."""
        return self._state

    @property
    def close_code(self) -> int | None:
        """The peer's close code: 1005 if its close frame was empty, 1006 if the connection ended without one."""
        if self._close is not None:
            return self._close.code
        return int(CloseCode.ABNORMAL_CLOSURE) if self._state is State.CLOSED else None

    @property
    def close_reason(self) -> str | None:
        """The peer's close reason, None until `close_code` is known."""
        if self._close is not None:
            return self._close.reason
        return "" if self._state is State.CLOSED else None

    @property
    def clean(self) -> bool:
        """Whether the closing handshake is complete: a close frame went each way (7.1.4)."""
        return self._close is not None and self._close_sent

    @property
    def bytes_received(self) -> int:
        """How many bytes were taken: frames with their headers, as far as they are not ignored."""
        return self._partial.offset

    @property
    def messages_received(self) -> int:
        """How many messages have come whole, in fragments or not."""
        return self._partial.messages

    @property
    def message_open(self) -> bool:
        """Whether a fragmented message to send has begun and not ended."""
        return self._outgoing.opcode != 0

    # Receiving

    if TYPE_CHECKING:  # the twins lie below the events and cannot name them

        def receive(self, data: bytes | bytearray | memoryview, size: int | None = None) -> list[Event]: ...

    else:
        from .._backend import receive

    def deliver_fragments(self) -> None:
        """From here on as with `fragments=True`; of a message that has begun, the next `Fragment` holds all so far."""
        self._assembly.deliver_fragments()

    def _take_frames(
        self, data: bytes | bytearray | memoryview, untaken: int, events: list[Event], most: int = -1
    ) -> int:
        """Drives the general lane over the last `untaken` bytes of `data`, at most to the event number `most`.

        Returns how many bytes are left then. What is too little to be taken waits in `_head` for more.
        """
        if self._deaf:
            return 0
        if type(data) is not bytes:
            with memoryview(data) as whole, whole.cast("B") as octets:
                data = bytes(octets[-untaken:])
        position = len(data) - untaken
        take_frame, partial = self._assembly.take_frame, self._partial
        if self._head:
            data, self._head, partial.paused = self._head + data, b"", False
        base, size = partial.offset - position, len(data)
        try:
            while position < size and len(events) != most:
                start, count = position, len(events)
                position = take_frame(data, start, size, events)
                if position == start:
                    self._head, partial.paused = data[start:], True
                    size = start
                elif data[start] & 8 and len(events) > count and not self._answer(events[-1]):
                    break
                elif most < 0 and position < size and not partial.opcode and data[position] & 0x8F in (0x81, 0x82):
                    partial.offset = base + position
                    position = size - take_messages(partial, data, position, events)
        except Violation as violation:
            position = violation.offset
            self._end(events, violation.code, violation.reason, base + position)
        partial.offset = base + position
        return max(size - position, 0)  # a message over the limit fails behind its key, which may be still to come

    def _answer(self, event: Event) -> bool:
        """Queues what a control frame obliges to; False if it ends the stream."""
        if type(event) is Ping:
            if self._auto_pong:
                self._pending.append((_PONG, event.payload))
        elif type(event) is Close:
            self._close = event
            self._stop_receiving()
            if self._auto_close and not self._close_sent:
                # 5.5.1: the answer typically echoes the code; browsers show the reason of the answer too.
                self._queue_close(None if event.code == CloseCode.NO_STATUS_RCVD else event.code, _echoed(event.reason))
            if self._close_sent:
                self._drop()
            else:
                self._state = State.CLOSING
            return False
        return True

    def receive_one(self, data: bytes | bytearray | memoryview) -> tuple[Event | None, int]:
        """Reads up to the end of the next event; returns it (None: more is needed) and how many bytes it took.

        Call it again with the rest: a slice of a `memoryview`, where there are many events. Once the stream has ended
        all bytes are taken and ignored; a `Failure` takes the bytes before the offending one.
        """
        events: list[Event] = []
        with self._partial, memoryview(data) as whole, whole.cast("B") as octets:
            start, stop = 0, min(_FIRST_LOOK, len(octets))
            try:
                # Only what is looked at is copied, more and more while nothing ends there.
                left = self._take_frames(bytes(octets[:stop]), stop, events, most=1)
                while not events and stop < len(octets):
                    start, stop = stop, min(2 * stop, len(octets))
                    left = self._take_frames(bytes(octets[start:stop]), stop - start, events, most=1)
            except MemoryError:
                self._drop()
                raise
        return (events[0] if events else None), max(stop - left, 0)

    def receive_eof(self) -> list[Event]:
        """Says that the peer will send no more: a `Failure` with code 1006 unless its close frame came first."""
        events: list[Event] = []
        with self._partial:
            if self._close is not None:
                self._drop()
            elif self.failing is not None:
                self._fail(events, self.failing)
            elif self._state is not State.CLOSED:
                offset = self._partial.offset + len(self._head)
                self._end(events, CloseCode.ABNORMAL_CLOSURE, "the connection ended without a close frame", offset)
        return events

    def get_buffer(self, sizehint: int) -> memoryview:
        """Returns memory for the event loop to read into, as `asyncio.BufferedProtocol.get_buffer` does.

        `sizehint` is a wish in bytes, -1 for none; the buffer has at least 1 byte.
        """
        if self._buffer is None:
            self._buffer = memoryview(bytearray(_READ_SIZE))
        return self._buffer[:]

    def buffer_updated(self, nbytes: int) -> list[Event]:
        """Reads the first `nbytes` bytes of the buffer that `get_buffer` returned; else as `receive`."""
        if self._buffer is None or not 0 <= nbytes <= len(self._buffer):
            raise ValueError("buffer_updated() tells how much of get_buffer() was filled")
        return self.receive(self._buffer, nbytes)

    def _end(self, events: list[Event], code: int, reason: str, offset: int) -> None:
        """Fails the connection (7.1.7): one last event, and a close frame that carries the code alone."""
        failure = Failure(int(code), reason, offset)
        if self._late_failure and events:
            self.failing = failure
            self._stop_receiving()
        else:
            self._fail(events, failure)

    def take_failure(self) -> list[Event]:
        """Delivers what `late_failure` kept back in `failing`, and ends as a failure does otherwise; [] if nothing."""
        events: list[Event] = []
        with self._partial:
            if self.failing is not None:
                self._fail(events, self.failing)
        return events

    def _fail(self, events: list[Event], failure: Failure) -> None:
        events.append(failure)
        code = failure.code
        if self._auto_close and not self._close_sent and may_be_sent(code):
            self._queue_close(code)
        self._drop()

    def _drop(self) -> None:
        """Closes the stream for what comes in and lets go of what it held."""
        if self._state is not State.CLOSED:
            self._state = State.CLOSED
            self.failing = None
            self._stop_receiving()
            for codec in self._codecs:
                codec.close()
            self._codecs.clear()
            self._allow_whole(False)

    def _stop_receiving(self) -> None:
        """Ignores what still comes in, and holds nothing of it."""
        self._deaf = self._partial.paused = True
        self._head = b""
        self._assembly.clear()

    # Sending

    def pending(self) -> bytes:
        """Returns, once, what the stream has to say by itself: to be written before any later bytes.

        If `mask_source` raises, that goes to the caller and nothing is lost: the next call begins again.
        """
        if not self._pending:
            return b""
        with self._partial:
            frames = b"".join([make_frame(first, payload, take_key(self._keys)) for first, payload in self._pending])
            self._pending.clear()
        return frames

    send, send_parts = send, send_parts

    def send_steps(
        self,
        message: str | bytes | bytearray | memoryview,
        *,
        text: bool | None = None,
        compress: bool | None = None,
    ) -> Generator[None, None, bytes]:
        """As `send`, in steps of 64 KiB to encode, for who has other things to do in between.

        The frame is what the generator returns in the end. Until then control frames and messages that are not encoded
        may be sent; a generator that is closed early has sent nothing. Raises as `send`.
        """
        with self._partial:
            if self._outgoing.opcode:
                raise FragmentError("a message in fragments has not ended")
            self._check_open()
            opcode, payload, _ = self._outgoing.check(message, text, True)
            codec = self._outgoing.choose_codec(len(payload), True, compress, self._stepping)
            if codec is None:
                return make_frame(_FIN | opcode, payload, take_key(self._keys))
            self._stepping = True
        try:
            encoded = []
            for start in range(0, len(payload), _STEP):
                if start:
                    yield
                encoded.append(codec.encode(payload[start : start + _STEP], start + _STEP >= len(payload)))
            self._check_open()
            payload = b"".join(encoded) or codec.encode(b"", True)
            return make_frame(_FIN | codec.rsv | opcode, payload, take_key(self._keys))
        except BaseException:
            codec.abandon()
            raise
        finally:
            self._stepping = False

    def cut(
        self, message: str | bytes | bytearray | memoryview, size: int, *, text: bool | None = None
    ) -> tuple[list[memoryview], bool]:
        """Returns the pieces of at most `size` bytes as which to send a whole message, and whether they are text.

        They may cut a code point. An empty message is one piece. Raises as `send`, so no piece need be sent in vain.
        """
        self._check_open()
        opcode, payload, _ = self._outgoing.check(message, text, True)
        view = memoryview(payload)
        return [view[i : i + size] for i in range(0, max(len(payload), 1), size)], opcode == Opcode.TEXT

    def _send_other(
        self,
        message: str | bytes | bytearray | memoryview,
        text: bool | None,
        last: bool,
        compress: bool | None,
        make: Callable[[int, bytes, bytes], Made],
    ) -> Made:
        """Sends what needs more than a look; returns what `make` makes of first byte, payload and key."""
        with self._partial:
            self._check_open()
            made = self._outgoing.take(message, text, last, compress, self._stepping, make)
            if not (last and self._plain):  # the message begins, goes on or ends in fragments
                self._allow_whole(last)
        return made

    def _allow_whole(self, allowed: bool) -> None:
        """Says whether a whole message may be sent just so: below `_plain` bytes as it is, else encoded by `_whole`."""
        self._plain = self._threshold if allowed else 0
        self._whole = self._codecs[0] if allowed and self._codecs and self._max_send == sys.maxsize else None

    def _check_open(self) -> None:
        if self._close_sent or self._state is State.CLOSED:
            raise StateError("no message can follow a close frame or a failure")

    def ping(self, payload: bytes | bytearray | memoryview = b"") -> bytes:
        """Returns a ping frame of 0 to 125 bytes. Raises StateError when CLOSED, PayloadTooBigError."""
        return self._send_control(_PING, payload)

    def pong(self, payload: bytes | bytearray | memoryview = b"") -> bytes:
        """Returns a pong frame of 0 to 125 bytes. Raises StateError when CLOSED, PayloadTooBigError."""
        return self._send_control(_PONG, payload)

    def close(self, code: int | None = 1000, reason: str = "") -> bytes:
        """Returns the one close frame of this end; `code=None` makes an empty one.

        Data still comes in until the peer's close frame does. After it, or after a failure, this is the answer that
        `auto_close=False` left to the caller. Raises StateError if a close frame was sent, CloseCodeError for a
        code that may not travel (7.4), PayloadTooBigError for a reason of over 123 bytes of UTF-8.
        """
        with self._partial:
            if self._close_sent or (self._state is State.CLOSED and self._auto_close):
                closed = self._state is State.CLOSED
                raise StateError("the connection is closed" if closed else "a close frame was sent")
            frame = self._close_frame(code, reason)
            if self._state is State.OPEN:
                self._state = State.CLOSING
            elif self._close is not None:
                self._drop()
        return frame

    def fail(self, code: int, reason: str = "") -> bytes:
        """Ends the connection from this side (7.1.7): returns a close frame, or b"" if one was sent.

        The stream is CLOSED then and ignores what still comes in. Raises as `close`.
        """
        with self._partial:
            if self._state is State.CLOSED:
                return b""
            frame = b"" if self._close_sent else self._close_frame(code, reason)
            self._drop()
        return frame

    def _send_control(self, first: int, payload: bytes | bytearray | memoryview) -> bytes:
        if self._state is State.CLOSED:
            raise StateError("the connection is closed")
        return make_frame(first, check_control(payload), take_key(self._keys))

    def _close_frame(self, code: int | None, reason: str) -> bytes:
        """Makes the one close frame of this end and notes that it is sent."""
        frame = make_frame(_CLOSE, check_close(code, reason), take_key(self._keys))
        self._close_sent = True
        self._allow_whole(False)
        return frame

    def _queue_close(self, code: int | None, reason: str = "") -> None:
        """Has the one close frame of this end sent with what is pending."""
        self._pending.append((_CLOSE, check_close(code, reason)))
        self._close_sent = True
        self._allow_whole(False)


def _echoed(reason: str) -> str:
    """Return the reason for the answer to a close; "" if one that is not UTF-8 was let in and cannot be sent."""
    try:
        return reason if len(reason.encode()) <= MAX_REASON else ""
    except UnicodeEncodeError:
        return ""
