"""`Session`: every rule about one open connection, without I/O and without a clock (RFC 6455 5 to
7).

    in:   receive, receive_eof, send, ping, close, handle_timer, written, pause_writing,
    resume_writing out:  data_to_send, next_timer, reading, ending, queue (or the events that
    `receive` returns), error

A driver reads, writes and waits; what to read, when to stop, what to send and when to give up is
decided here. After each call the driver writes `data_to_send()`, follows `reading` and `ending`,
and comes back at `next_timer()`. All times are seconds on the driver's clock, all sizes bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from enum import Enum
from typing import Final, cast

from ..errors import ConcurrencyError, ConnectionClosed
from ..protocol.codecs import Codec
from ..protocol.constants import CLOSED, CLOSING, OPEN, SERVER, CloseCode, Role, State
from ..protocol.events import Close, Event, Failure, Fragment, Ping, Pong
from ..protocol.sender import check_control
from ..protocol.shared_message import SharedMessage
from ..protocol.stream import Stream
from .close_state import CloseState
from .keepalive import LOOKS, MIN_LOOK, Keepalive, PongCallback
from .message_queue import Item, MessageQueue
from .rate_limit import Budget, RateLimit
from .settings import QUEUE_SIZE, REPLIES_LIMIT, ConnectionSettings

__all__ = ["ABANDONED_MESSAGE", "MESSAGE_TYPES", "Data", "Ending", "Session", "length_of"]

#: One message to send, or the data of one fragment.
Data = str | bytes | bytearray | memoryview

#: How many bytes are received at a time where they may inflate a thousandfold: a full queue has to
#: stop that midway.
COMPRESSED_STEP: Final = 1 << 12

#: How many bytes are received at a time where each frame, of 2 bytes perhaps, becomes an event.
FRAGMENT_STEP: Final = 1 << 14

#: How many bytes of messages may wait for `recv` at the end of input before the rest of what was
#: held back is dropped.
END_SIZE: Final = 1 << 24

#: The close code and reason after a message in fragments whose sender gave up: neither can that
#: message be ended any more, nor another one begin.
ABANDONED_MESSAGE: Final = (CloseCode.INTERNAL_ERROR, "error in fragmented message")

#: The types of the events that are whole messages.
MESSAGE_TYPES: Final = frozenset({str, bytes})


class Ending(Enum):
    """How far the driver has to end TCP (7.1.1)."""

    #: The connection goes on.
    NONE = "none"
    #: Wait for the peer to end TCP: a client, to which the server owes that.
    WAIT = "wait"
    #: End our direction once everything is written, and discard input until the peer ends its own.
    #: To close a socket with unread input would reset the connection, and the peer could lose the
    #: close frame.
    OUTPUT = "output"
    #: Close both directions once everything is written: the peer has ended its own.
    CLOSE = "close"
    #: Close both directions at once.
    ABORT = "abort"


# See `OPEN` in `constants`.
_NONE, _WAIT, _OUTPUT = Ending.NONE, Ending.WAIT, Ending.OUTPUT
_CLOSE, _ABORT = Ending.CLOSE, Ending.ABORT


class Session:
    """One WebSocket connection from the end of the opening handshake to the end of TCP.

    With `queue=True` messages wait in `queue` for a receiver, who calls `taken` after taking from
    it; otherwise `receive` and `process` return them: no more of what was held back than a queue
    would hold, so the driver calls `process` again while the session `has_held_back` input and is
    `reading`. One thread or task at a time.

    Args:
        role: Which end this is.
        settings: Its limits and times.
        now: The time.
        codecs: The extensions that the opening handshake agreed on.
        queue: Whether messages wait in `queue`.
        auto_close: Whether close frames and violations are answered by the session; otherwise by a
            call of `close`.
        auto_pong: Whether pings are answered by the session; otherwise by calls of `reply_pong`.
        fragments: Whether fragmented messages are delivered frame by frame from the beginning; see
            `deliver_fragments`.
    """

    __slots__ = (
        "_budget", "_bytes_taken", "_end_at", "_fail_at", "_held_back", "_idle_look", "_idle_since",
        "_messages", "_opened_at", "_paused_size", "_resume_at", "_slow_reads", "_step", "_unread_replies",
        "_waiting", "_was_paused", "_written", "auto_close", "close_state", "ending", "handling", "keepalive",
        "only_messages", "output", "output_size", "pings_received", "pings_sent", "queue", "quiet", "reading",
        "receive_step", "role", "settings", "stream", "write_paused",
    )  # fmt: skip

    def __init__(
        self,
        role: Role,
        settings: ConnectionSettings,
        now: float,
        *,
        codecs: Sequence[Codec] = (),
        queue: bool = True,
        auto_close: bool = True,
        auto_pong: bool = True,
        fragments: bool = False,
    ) -> None:
        self.role = role
        self.settings = settings
        self.auto_close = auto_close
        max_message, max_frame = settings.sizes
        self.stream = Stream(
            role,
            max_message_size=max_message,
            max_frame_size=max_frame,
            max_send_size=settings.max_send_size,
            piece_size=settings.piece_size,
            text_errors=settings.text_errors,
            text_as_bytes="bare" if settings.text_as_bytes else False,
            auto_close=auto_close,
            auto_pong=auto_pong,
            fragments=fragments,
            late_failure=auto_close,
            extensions=codecs,
            send_close_reasons=settings.send_close_reasons,
        )
        self.close_state = CloseState(auto_close)
        self.keepalive = Keepalive(settings.ping_interval, settings.ping_timeout, now)
        #: Messages that wait for a receiver; None if `receive` returns them.
        self.queue = MessageQueue(settings) if queue else None
        #: Frames that `data_to_send` will return, and their size.
        self.output: list[bytes] = []
        self.output_size = 0
        self._bytes_taken = 0  # by `data_to_send`
        #: Whether the driver is to read; False asks it to stop.
        self.reading = True
        #: Whether a receiver can just wait for messages: the connection is open, and no failure is
        #: held back.
        self.quiet = True
        #: Whether a callback handles received messages, so that messages sent meanwhile are replies;
        #: set by the driver.
        self.handling = False
        #: Whether the transport holds more than `write_limit`; see `pause_writing`.
        self.write_paused = False
        self._paused_size = 0  # bytes that the transport held when it was paused
        #: Whether the events that `process` returned last are known to be whole messages only.
        self.only_messages = True
        self._slow_reads = 0  # of the stream, up to which all events were messages
        self.pings_received = self.pings_sent = 0
        self._step = COMPRESSED_STEP if codecs else FRAGMENT_STEP if fragments else sys.maxsize
        self._budget = None if settings.rate_limit is None else Budget(settings.rate_limit, now)
        self._resume_at: float | None = None  # when the peer may send again
        #: Reads of fewer bytes are received at once; others wait for `process`, with the time.
        self.receive_step = self._step if self._budget is None else 1
        self._held_back = b""  # received, but not processed as there is no room
        self._was_paused = False  # reading was paused since the last look of the keepalive
        self._unread_replies = 0  # bytes of replies queued since writing was paused
        self._written = self._waiting = 0  # bytes that the driver has written, and those that the transport still holds
        self._opened_at = self._idle_since = now
        self._messages = 0  # received and sent until `_idle_since`
        #: When to look for messages again.
        self._idle_look = None if settings.idle_timeout is None else now
        #: What the driver has to do about the end of TCP, once `data_to_send` is written.
        self.ending = _NONE
        self._fail_at: float | None = None  # when a failure is no longer held back
        self._end_at: float | None = None  # when TCP is aborted

    # State.

    @property
    def state(self) -> State:
        """The state of the closing handshake."""
        return self.stream.state

    @property
    def message_open(self) -> bool:
        """Whether a fragmented message is being sent, which no other may interrupt."""
        return self.stream.message_open

    @property
    def encoding(self) -> bool:
        """Whether a message is being compressed in steps, so that no other can be."""
        return self.stream.encoding

    @property
    def over(self) -> bool:
        """Whether nothing more will be received."""
        return self.close_state.rcvd is not None or self.stream.state is CLOSED

    def error(self) -> ConnectionClosed:
        """Return the exception that `recv` and `send` raise after the end."""
        return self.close_state.error()

    def check_sendable(self) -> bool:
        """Return whether a message can be sent now.

        Returns:
            False while the closing handshake is under way: its end tells which exception to raise.

        Raises:
            ConnectionClosed: The connection has ended.
        """
        if self.over:
            raise self.error()
        return self.stream.state is OPEN

    # Receiving.

    def receive(self, data: bytes | bytearray | memoryview, now: float, size: int | None = None) -> list[Event]:
        """Process received bytes.

        Args:
            data: The bytes.
            now: The time.
            size: Only the first `size` bytes of `data`.

        Returns:
            All events, for a session without a queue, or the first of them (see `Session`);
            otherwise those that are no messages. The session has processed them; they are for
            information.
        """
        events = self.receive_quickly(data, size)
        return self.process(events, now) if events or self._held_back else events

    def receive_quickly(self, data: bytes | bytearray | memoryview, size: int | None = None) -> list[Event]:
        """Receive bytes; queue them if they bring nothing but messages, else return the events to
        `process`.

        The first half of `receive`, for a driver that needs no clock for most reads.
        """
        if self._held_back or (len(data) if size is None else size) >= self.receive_step:
            with memoryview(data) as view:
                self._held_back += bytes(view if size is None else view[:size])
            return []
        events = self.stream.receive(data, size)
        queue = self.queue
        if queue is None or queue.dropping or self.stream.failing is not None:
            return events
        if len(events) == 1:
            event = events[0]
            if type(event) is not str and type(event) is not bytes:
                return events
            length = len(event)
            if not queue.items and length <= queue.max_alone:  # like the following, without its calls
                queue.items = events  # type: ignore[assignment]
                queue.size = length
                return []
        elif events and self.are_messages(events):
            length = sum(map(len, events))  # type: ignore[arg-type]
        else:
            return events
        queue.put(events, length)  # type: ignore[arg-type]
        if queue.is_above(low=False):
            self._regulate()
        return []

    @property
    def has_held_back(self) -> bool:
        """Whether received bytes wait for room, or for `process`."""
        return bool(self._held_back)

    def process(self, events: list[Event], now: float) -> list[Event]:
        """Process the events of a read and what was held back; the second half of `receive`."""
        remaining = self._note(events, now)
        if self._held_back:
            remaining = remaining + self._process_held_back(now)
            self.only_messages = False  # only the last step is known
        return remaining

    def _process_held_back(self, now: float) -> list[Event]:
        """Receive what was held back, step by step, as long as there is room."""
        remaining: list[Event] = []
        size = 0  # without a queue; the whole of a read may inflate to hundreds of megabytes
        while self._held_back and self.reading and size <= QUEUE_SIZE:
            if self._budget is not None and self.stream.state is OPEN and self.stream.failing is None:
                events = self._receive_limited(self._budget, now)
            else:
                step, self._held_back = self._held_back[: self._step], self._held_back[self._step :]
                events = self.stream.receive(step)
            events = self._note(events, now)
            size += _size_of_messages(events)
            remaining += events
        return remaining

    def _receive_limited(self, budget: Budget, now: float) -> list[Event]:
        """Receive some of what was held back, message by message, as far as `rate_limit` allows."""
        events: list[Event] = []
        budget.fill(now)
        with memoryview(self._held_back) as held, held[:COMPRESSED_STEP] as step:
            start = 0
            while start < len(step) and self.stream.failing is None and (size := budget.allowed(len(step) - start)):
                before = self.stream.messages_received
                with step[start : start + size] as part:
                    event, taken = self.stream.receive_one(part)
                if event is None:
                    taken = size  # the stream keeps what is incomplete
                else:
                    events.append(event)
                start += taken
                budget.spend(self.stream.messages_received - before, taken)
        self._held_back = self._held_back[start:]
        if not start:
            self._note_excess(budget, now)
        return events

    def _note_excess(self, budget: Budget, now: float) -> None:
        """Do what `rate_limit` asks for if the peer sends more than it may."""
        limit = cast(RateLimit, self.settings.rate_limit)
        if limit.close:
            self.fail(CloseCode.POLICY_VIOLATION, "rate limit exceeded", now)
        else:
            self._resume_at = budget.next_time()

    def _note(self, events: list[Event], now: float) -> list[Event]:
        """Queue messages, process control frames and the end, and decide whether to go on
        reading.
        """
        items = events
        remaining = events if self.queue is None else []
        self.only_messages = self.are_messages(events)
        if not self.only_messages:
            items = []
            controls: list[Event] = []
            for event in events:
                if isinstance(event, (str, bytes, Fragment)):
                    items.append(event)
                else:
                    controls.append(event)
                    self._note_control(event, now)
            self._queue_replies()
            if self.queue is not None:
                remaining = controls
        if self.stream.failing is not None and self._fail_at is None and self.settings.close_timeout is not None:
            self._fail_at = now + self.settings.close_timeout
        if self.queue is not None:
            if items and not self.queue.dropping:
                self.queue.put(cast("list[Item]", items), sum(map(_size_of, items)))
            if self.stream.failing is not None and not self.queue.items:
                self.settle(now)
        self._note_end(now)
        self._regulate()
        return remaining

    def are_messages(self, events: list[Event]) -> bool:
        """Return whether all events, which the last read has brought, are whole messages."""
        slow_reads = self.stream.slow_reads
        if slow_reads == self._slow_reads:
            return True
        if not MESSAGE_TYPES.issuperset(map(type, events)):
            return False  # and of the same events if asked again
        if events:
            self._slow_reads = slow_reads
        return True

    def _note_control(self, event: Event, now: float) -> None:
        """Process a control frame or the end."""
        if isinstance(event, Ping):
            self.pings_received += 1
        elif isinstance(event, Pong):
            self.keepalive.answered(event.payload, now)
        else:
            assert isinstance(event, (Close, Failure))
            self.close_state.note_received(event)

    def _queue_replies(self) -> None:
        """Queue what the stream has to say by itself."""
        replies = self.stream.pending()
        if replies:
            self._add_output(replies, reply=True)

    def _note_end(self, now: float) -> None:
        """Begin to end TCP once the last frame has been sent (7.1.1): the server first."""
        if self.queue is not None and self.over:
            self.queue.ended = True
        if self.stream.state is not CLOSED or self.ending is not _NONE:
            return
        if not self.auto_close and self.close_state.sent is None and self._may_answer():
            return  # the answer is left to the caller
        self.ending = _OUTPUT if self.role is SERVER else _WAIT
        self._fail_at = None
        self.keepalive.stop()
        self._limit_end(now)

    def _may_answer(self) -> bool:
        failure = self.close_state.failure
        return failure is None or failure.code != CloseCode.ABNORMAL_CLOSURE

    def _limit_end(self, now: float) -> None:
        """Set the time at which TCP is aborted; the first one counts."""
        if self._end_at is None and self.settings.close_timeout is not None:
            self._end_at = now + self.settings.close_timeout

    def receive_eof(self, now: float, error: BaseException | None = None) -> list[Event]:
        """Process the end of input: that the peer has ended TCP, or that the connection is lost.

        Args:
            now: The time.
            error: The error of the transport, None for an orderly end of TCP.
        """
        remaining: list[Event] = []
        if self.stream.state is not CLOSED or self.stream.failing is not None:
            remaining = self._receive_rest(now)  # first, as it may bring the close frame
            if self.stream.failing is None and self.ending is not _ABORT:
                self.note_cause(error or EOFError("TCP ended without a close frame"))
            remaining += self._note(self.stream.receive_eof(), now)
            self.only_messages = False  # only the last step is known
        elif self.quiet:  # the stream has raised, and nobody has taken note of its end
            self._note_end(now)
            self._regulate()
        if self.ending is not _ABORT:
            self.ending = _CLOSE
            self._limit_end(now)
        self.keepalive.stop()
        return remaining

    def _receive_rest(self, now: float) -> list[Event]:
        """Receive what was held back whether or not there is room, since the connection ends: up to
        `END_SIZE`, as it may inflate a thousandfold.
        """
        remaining: list[Event] = []
        size = 0
        while self._held_back and size <= END_SIZE:
            step, self._held_back = self._held_back[: self._step], self._held_back[self._step :]
            events = self.stream.receive(step)
            size += _size_of_messages(events)
            remaining += self._note(events, now)
        self._held_back = b""
        self.only_messages = False  # only the last step is known
        return remaining

    def taken(self) -> None:
        """Go on reading if there is room again.

        To be called after taking from `queue` if `has_room_again`. If the session `has_held_back`
        input, the driver then calls `process`.
        """
        self._regulate()

    @property
    def has_room_again(self) -> bool:
        """Whether reading was paused, and enough has been taken from `queue` to go on."""
        return not (self.reading or cast(MessageQueue, self.queue).is_above(low=True))

    def stop_queueing(self) -> None:
        """Drop the messages that arrive from now on, for a caller that takes none after its own
        close.
        """
        cast(MessageQueue, self.queue).dropping = True

    def settle(self, now: float) -> None:
        """Take a failure that was held back until everything before it was answered.

        To be called when a receiver has taken all that `queue` held and waits for more, or has
        processed all that `receive` returned; the session does so itself after `close_timeout`.
        """
        if self.stream.failing is not None:
            self._fail_at = None
            for event in self.stream.take_failure():
                self._note_control(event, now)
            self._queue_replies()
            self._note_end(now)
            self._regulate()

    def _regulate(self) -> None:
        """Decide whether to read: not while there is no room, but always on the way to the end.

        While writing is paused reading goes on until replies pile up. Other messages do not count:
        two ends that both send much and then read would wait for each other for ever.

        After our own close the peer's has to come through, so reading goes on; messages are dropped
        from the first that finds no room.
        """
        state, queue = self.stream.state, self.queue
        reading = True
        if state is OPEN:
            full = queue is not None and queue.is_above(low=not self.reading)
            reading = not (full or self._unread_replies > REPLIES_LIMIT)
        elif state is CLOSING and queue is not None and queue.is_above(low=False):
            queue.dropping = True
        if state is not OPEN or self.stream.failing is not None:
            self._resume_at = None
        reading = reading and self._resume_at is None
        if not reading:
            self._was_paused = True
        self.reading = reading
        self.quiet = state is OPEN and self.stream.failing is None

    def deliver_fragments(self) -> None:
        """From now on deliver fragmented messages frame by frame, and long frames in pieces of
        `piece_size`.
        """
        self.stream.deliver_fragments()
        self._step = min(self._step, FRAGMENT_STEP)
        self.receive_step = min(self.receive_step, FRAGMENT_STEP)

    # Sending.

    @property
    def messages_sent(self) -> int:
        """Messages sent so far, those that a driver has sent straight to the socket included."""
        return self.stream.messages_sent

    def send(self, message: Data, text: bool | None = None, *, last: bool = True, compress: bool | None = None) -> None:
        """Queue a message, or a fragment of one. Raises as `Stream.send`.

        Args:
            message: Text as `str`, binary as bytes-like.
            text: Whether it is sent as text; by default the type decides.
            last: False for all fragments of a message but the last.
            compress: Whether it is compressed; by default its size decides.
        """
        try:
            self._add_output(self.stream.send(message, text=text, last=last, compress=compress))
        except BaseException:  # perhaps of a signal handler, with the frame on its way to the output
            self.stream.lose_frame()
            raise

    def send_whole(self, message: Data) -> None:
        """Like `send`, for a whole message that is sent as its type says; it never counts as a
        reply.
        """
        frame = self.stream.send(message)
        self.output.append(frame)
        self.output_size += len(frame)

    def check_size(self, size: int) -> None:
        """Check that a message of `size` bytes may be sent. Raises as `Stream.check_size`."""
        self.stream.check_size(size)

    def send_shared(self, message: SharedMessage) -> None:
        """Queue a message that is sent on other connections too. Raises as `Stream.send_shared`."""
        self._add_output(self.stream.send_shared(message))

    def send_frame_of(self, frames: dict[object, bytes]) -> bool:
        """Queue the frame of a shared message, if it was made already; see `Stream.take_shared`.

        Args:
            frames: The frames of the message.

        Returns:
            False, without side effects, if the message needs `send_shared`, or the transport is
            full.
        """
        frame = None if self.write_paused else self.stream.take_shared(frames)
        if frame is None:
            return False
        self.output.append(frame)
        self.output_size += len(frame)
        return True

    def send_steps(
        self, message: Data, text: bool | None = None, *, compress: bool | None = None
    ) -> Generator[None, None, None]:
        """Like `send`, as a generator that yields after each 64 KiB it compresses, so that other
        tasks can run. Messages longer than `fragment_size` are sent in fragments.
        """
        size = self.settings.fragment_size
        frames = yield from self.stream.send_steps(message, text=text, compress=compress, fragment_size=size)
        self._add_output(frames)

    def is_fragmented(self, message: Data) -> bool:
        """Return whether a whole message may be longer than `fragment_size`, and goes through
        `fragments`.
        """
        size = self.settings.fragment_size
        return size is not None and length_of(message) * (4 if isinstance(message, str) else 1) > size

    def fragments(self, message: Data, text: bool | None = None) -> list[tuple[Data, bool, bool]]:
        """Return the fragments of `fragment_size` as which to send a whole message: data, `text`,
        `last`.

        Raises as `send`, so that none is sent of a message that cannot be sent.
        """
        pieces, is_text = self.stream.cut(message, self.settings.fragment_size or sys.maxsize, text=text)
        return [(piece, is_text, number == len(pieces)) for number, piece in enumerate(pieces, 1)]

    def ping(
        self, payload: bytes | bytearray | memoryview | None, now: float, callback: PongCallback | None = None
    ) -> bytes:
        """Queue a ping; return its payload.

        Args:
            payload: At most 125 bytes; None: 4 random ones.
            now: The time.
            callback: Called with the round trip in seconds when the pong arrives, with None if it
                never will.

        Raises:
            ConcurrencyError: A ping with this payload waits for its pong.
            PayloadTooBigError: The payload is longer.
            TypeError: The payload is not bytes-like.
        """
        payload = self.keepalive.new_payload() if payload is None else check_control(payload)
        if self.keepalive.waits_for(payload):
            raise ConcurrencyError("a ping with this payload is already waiting for its pong")
        self._add_output(self.stream.ping(payload))
        self.keepalive.sent(payload, now, callback)
        self.pings_sent += 1
        return payload

    def pong(self, payload: bytes | bytearray | memoryview) -> None:
        """Queue an unsolicited pong (5.5.3)."""
        self._add_output(self.stream.pong(payload))

    def send_ping(self, payload: bytes) -> None:
        """Queue a ping whose pong is for the caller to recognise; like `ping`, it may repeat the
        payload of another.
        """
        self._add_output(self.stream.ping(payload))
        self.pings_sent += 1

    def reply_pong(self, payload: bytes) -> None:
        """Answer a ping, for a session without `auto_pong`; nothing after the end."""
        if self.stream.state is not CLOSED:
            self._add_output(self.stream.pong(payload), reply=True)

    def send_raw(self, data: bytes) -> None:
        """Queue bytes that are no frame of ours, in their turn."""
        self._add_output(data)

    def close(self, code: int | None, reason: str, now: float) -> None:
        """Begin the closing handshake, unless it has begun. Raises as `Stream.close`.

        In the middle of a fragmented message the code is 1011: the peer must not take the message
        for complete.

        Args:
            code: The close code; None: an empty close frame.
            reason: At most 123 bytes of UTF-8.
            now: The time.
        """
        if self.close_state.sent is not None or not (
            self.stream.state is OPEN or (not self.auto_close and self._may_answer())
        ):
            return
        if self.stream.failing is not None:
            self.settle(now)
            return
        if self.stream.message_open and code != CloseCode.INTERNAL_ERROR:
            code, reason = CloseCode.INTERNAL_ERROR, "close during fragmented message"
        self._add_output(self.stream.close(code, reason))
        self.close_state.note_sent(code, reason)
        self._limit_end(now)
        self._note_end(now)
        self._regulate()

    def fail(self, code: int, reason: str, now: float) -> None:
        """Fail the connection (7.1.7): send a close frame and receive nothing more."""
        if self.stream.state is CLOSED:
            return
        self._add_output(self.stream.fail(code, reason))
        self.close_state.note_sent(code, reason)
        self._note_end(now)
        self._regulate()

    def _add_output(self, frames: bytes, reply: bool = False) -> None:
        self.output.append(frames)
        self.output_size += len(frames)
        if self.write_paused and (reply or (self.handling and self.queue is None)):
            self._unread_replies += len(frames)
            self._regulate()

    @property
    def bytes_queued(self) -> int:
        """Bytes queued so far, in all, whether `data_to_send` has returned them or not."""
        return self._bytes_taken + self.output_size

    def data_to_send(self) -> bytes:
        """Return, once, the bytes to write."""
        output = self.output
        if not output:
            return b""
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        self._bytes_taken += self.output_size
        self.output_size = 0
        return data

    # What the driver reports.

    def pause_writing(self, waiting: int) -> None:
        """Take note that the transport holds more than the high mark of `write_limit`.

        Args:
            waiting: How many bytes it holds.
        """
        if not self.write_paused:  # a driver may say so again
            self.write_paused = True
            self._paused_size = waiting
        self._regulate()

    def resume_writing(self) -> None:
        """Take note that the transport holds no more than the low mark of `write_limit`."""
        self.write_paused = False
        self._unread_replies = 0
        self._regulate()

    def note_cause(self, error: BaseException) -> None:
        """Take note of the error of the transport that ends the connection; the first one counts,
        and none once nothing more will be received.
        """
        if not self.over:
            self.close_state.note_cause(error)

    def write_failed(self, now: float) -> None:
        """Take note that nothing more can be written: what has arrived can be read, for
        `close_timeout` at most.
        """
        self._limit_end(now)

    def written(self, nbytes: int, waiting: int) -> None:
        """Take note of the progress of writing; to be called before `handle_timer`.

        Args:
            nbytes: Bytes written so far, in all.
            waiting: How many of them still wait for the network.
        """
        self._written, self._waiting = nbytes - waiting, waiting

    def keeps_up(self, waiting: int) -> bool:
        """Return whether the peer reads fast enough for a further message of a broadcast.

        It does until the transport is full; then see `ConnectionSettings.keeps_up`.

        Args:
            waiting: How many bytes wait for the network.
        """
        return not self.write_paused or self.settings.keeps_up(waiting, self._paused_size)

    def check_unsent(self, waiting: int) -> bool:
        """Return whether another message may be written behind `waiting` bytes that wait for the
        network.

        What waited before the message tells that a peer does not read, however long the message is.
        If it is more than `max_unsent` the connection is aborted.
        """
        limit = self.settings.max_unsent
        if limit is None or waiting <= limit:
            return True
        self.close_state.note_sent(CloseCode.POLICY_VIOLATION, "too much is unread")
        self.ending = _ABORT
        return False

    # Time.

    @property
    def deadline(self) -> float | None:
        """When something is forced that was waited for: the end of TCP, a failure that is held back,
        or, while the peer has sent too much, reading.
        """
        if self.ending is _ABORT:
            return None
        return _earliest(self._end_at, self._fail_at, self._resume_at)

    def next_timer(self) -> float | None:
        """Return when to call `handle_timer`; None: not before something else has happened."""
        if self.stream.state is not OPEN or self.stream.failing is not None:
            return self.deadline
        limit = self.settings.total_timeout
        total = None if limit is None else self._opened_at + limit
        return _earliest(self.deadline, self.keepalive.next_timer(), total, self._idle_look)

    def handle_timer(self, now: float) -> list[Event]:
        """Do what is due: pings, the ends of timeouts. Too early a call does nothing.

        If the session `reading` and `has_held_back` input then, the driver calls `process`.

        Returns:
            The events of the input that was held back when the connection fails; as `receive`.
        """
        if self._resume_at is not None and now >= self._resume_at:
            self._resume_at = None
            self._regulate()
        if self._end_at is not None and now >= self._end_at:
            self.close_state.note_cause(TimeoutError("the peer did not end the connection within close_timeout"))
            self.ending = _ABORT
        elif self._fail_at is not None and now >= self._fail_at:
            self.settle(now)
        elif self.stream.state is OPEN and self.stream.failing is None:
            return self._look_after_open(now)
        return []

    def _look_after_open(self, now: float) -> list[Event]:
        remaining: list[Event] = []
        settings, keepalive, received = self.settings, self.keepalive, self.stream.bytes_received
        if settings.total_timeout is not None and now >= self._opened_at + settings.total_timeout:
            self.close(CloseCode.POLICY_VIOLATION, "the time for this connection is over", now)
        elif self._is_idle(now):
            self.close(CloseCode.POLICY_VIOLATION, "no messages for too long", now)
        elif keepalive.is_overdue(now, received, self._written, self._waiting, self._was_paused):
            remaining = self._receive_rest(now)  # it arrived before the failure
            if self.quiet:  # it has brought no other end
                self.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout", now)
        elif keepalive.is_due(now):
            payload = keepalive.new_payload()
            self._add_output(self.stream.ping(payload))
            self.pings_sent += 1
            keepalive.probe(payload, now, received, self._written)
        self._was_paused = not self.reading
        return remaining

    def _is_idle(self, now: float) -> bool:
        """Return whether no message has passed for `idle_timeout`."""
        messages = self.stream.messages_received + self.stream.messages_sent
        if messages != self._messages:
            self._messages, self._idle_since = messages, now
        limit = self.settings.idle_timeout
        if limit is None:
            return False
        deadline = self._idle_since + limit
        self._idle_look = min(deadline, now + max(MIN_LOOK, limit / LOOKS))
        return now >= deadline


def length_of(message: Data) -> int:
    """Return the length of a message to send, in bytes, or in characters of a `str`.

    Raises:
        TypeError: It is neither text nor bytes-like.
    """
    if isinstance(message, (str, bytes, bytearray)):
        return len(message)
    try:
        with memoryview(message) as view:  # whose `len` counts items, which may be longer than a byte
            return view.nbytes
    except TypeError:
        raise TypeError(f"a message is str or bytes, not {type(message).__name__}") from None


def _earliest(*times: float | None) -> float | None:
    """Return the earliest of some times; None if there is none."""
    earliest = None
    for time in times:
        if time is not None and (earliest is None or time < earliest):
            earliest = time
    return earliest


def _size_of_messages(events: list[Event]) -> int:
    return sum(_size_of(event) for event in events if isinstance(event, (str, bytes, Fragment)))


def _size_of(event: Event) -> int:
    return len(cast("str | bytes", event.data if isinstance(event, Fragment) else event))
