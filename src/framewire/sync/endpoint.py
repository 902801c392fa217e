"""One WebSocket on one socket, for threads: all but its messages (RFC 6455, 5 to 7).

    socket ─ reader thread ─▶ Stream ─ events ─▶ what a subclass does with messages
    socket ◀─ whoever has the turn ─ outbox ◀─ Stream ◀── messages, and the reader's replies

A thread of the connection's own reads all the time, so pings are answered and a close is noticed whatever the
program does meanwhile. It stops while there is no room for messages. Any number of threads may send; frames leave in
the order in which the stream made them.
"""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from time import monotonic
from types import TracebackType
from typing import Any, ClassVar, Final, TypeVar

from ..errors import ConcurrencyError, StateError
from ..protocol.codecs import Codec
from ..protocol.constants import CloseCode, Role, State
from ..protocol.events import Event, Fragment, Ping, Pong
from ..protocol.stream import Stream
from ..session.close_state import Closing
from ..session.endpoint import BaseEndpoint, as_payload, take_answered
from ..session.settings import REPLIES_LIMIT
from .options import Options
from .transport import Transport

__all__ = ["Endpoint"]

Self = TypeVar("Self", bound="Endpoint")

_NEVER: Final = float("inf")


class Endpoint(BaseEndpoint):
    """What the connections of server and client have in common below their messages."""

    role: ClassVar[Role]
    #: Whether a close and a violation are answered at once, or by a call of `close`.
    auto_close: ClassVar[bool] = True

    def __init__(self, transport: Transport, options: Options) -> None:
        super().__init__()
        self._transport = transport
        self._options = options
        self._reader = threading.Thread(target=self._read, name="framewire reader", daemon=True)
        #: Guards all that follows; notified when any of it has changed that somebody may wait for.
        self._changed = threading.Condition()
        self._held = False  # the reader waits for room
        self._over = False  # nothing more will come
        self._broken = False  # the network does not take any more
        self._outbox: list[bytes] = []
        self._replies = 0  # bytes in the outbox that nobody waits for
        self._pings: dict[bytes, tuple[float, threading.Event]] = {}
        self._closing = Closing(self.auto_close)
        self._output_ended = False
        #: Held by the thread that writes what is in the outbox.
        self._writing = threading.Lock()
        # Times, the reader's own: for a ping, and for the pong of the last one.
        self._ping_due = self._pong_due = _NEVER
        self._probe = b""
        self._since = self._active = 0.0  # when it was opened, and when the last message passed

    # What it is.

    @property
    def state(self) -> State:
        return State.CONNECTING if self._stream is None else self._stream.state

    @property
    def local_address(self) -> Any:
        """The socket's own address: (host, port, ...) for TCP."""
        return self._transport.socket.getsockname()

    @cached_property
    def remote_address(self) -> Any:
        """The peer's address: (host, port, ...) for TCP; None if the connection was lost before anybody asked."""
        try:
            return self._transport.socket.getpeername()
        except OSError:
            return None

    # Sending.

    def ping(self, payload: str | bytes | None = None) -> threading.Event:
        """Send a ping of at most 125 bytes, random ones if not given; the result is set when its pong comes.

        A pong answers all pings before its own too (5.5.3); the end of the connection sets all. Raises
        `ConcurrencyError` while a ping with the same payload waits.
        """
        data = os.urandom(4) if payload is None else as_payload(payload)
        with self._changed:
            stream = self._sendable()
            if data in self._pings:
                raise ConcurrencyError("a ping with this payload is already waiting for its pong")
            self._outbox.append(stream.ping(data))
            answered = threading.Event()
            self._pings[data] = monotonic(), answered
        self._flush()
        return answered

    def pong(self, payload: str | bytes = b"") -> None:
        """Send a pong nobody asked for: a heartbeat of one direction (5.5.3)."""
        with self._changed:
            self._outbox.append(self._sendable().pong(as_payload(payload)))
        self._flush()

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Close with `code` (None: an empty close) and `reason` (123 bytes of UTF-8 at most), and wait for the end.

        The connection is cut if the peer has not done its part within `close_timeout`. What arrives meanwhile can
        still be received, as far as the queue has room. Closing again only waits.
        """
        self.start_closing(code, reason)
        if self._stream is not None:
            self._transport.limit(self._options.close_timeout)
            self._reader.join(self._options.close_timeout)
            if self._reader.is_alive():
                self._transport.abort()
                self._reader.join()

    def start_closing(self, code: int | None = 1000, reason: str = "") -> None:
        """Do what `close` does, without waiting for the end."""
        with self._changed:
            stream = self._stream
            if stream is None or self._closing.sent is not None or not self._may_close():
                return
            if stream.failing:
                self._fail_late(stream)
            else:
                self._outbox.append(stream.close(code, reason))
                self._closing.note_sent(code, reason)
                self._changed.notify_all()
            self._transport.limit(self._options.close_timeout)
        self._flush(wait=False)

    def _sendable(self) -> Stream:
        """The stream, while it is open. Called with `_changed` held."""
        if self._stream is None:
            raise StateError("the opening handshake is not done")
        while self.state is State.CLOSING and not self._over:  # only the end tells whether it was an orderly one
            self._changed.wait()
        if self.state is not State.OPEN:
            raise self._closing.error()
        return self._stream

    def _flush(self, wait: bool = True) -> None:
        """Writes what is in the outbox, unless another thread does; `wait` until it has.

        Without it the time is limited: the reader must not wait for a peer that only writes.
        """
        waited_for = wait
        while (self._outbox or self._at_end()) and self._writing.acquire(blocking=wait):
            try:
                while data := self._empty_outbox():
                    self._transport.sendall(data, None if wait else self._options.close_timeout)
                    waited_for = False  # the rest is not the caller's
                if self._at_end():
                    self._end_output()
            except OSError:
                self._break(waited_for)
                return
            finally:
                self._writing.release()
            # What came into the outbox meanwhile, from a thread that did not wait, is this one's to write.

    def _empty_outbox(self) -> bytes:
        with self._changed:
            data = b"".join(self._outbox)
            self._outbox.clear()
            self._replies = 0
            if self._held:
                self._changed.notify_all()
        return data

    def _break(self, wait: bool) -> None:
        """Gives the connection up: the reader sees its end, and says so to everybody."""
        self._transport.abort()
        with self._changed:
            self._broken = True
            self._changed.notify_all()
            if wait and threading.current_thread() is not self._reader:
                self._changed.wait_for(lambda: self._over)
                raise self._closing.error()

    def _may_close(self) -> bool:
        """Whether a close frame can be sent: by ourselves, or as the answer that is left to us."""
        failure = self._closing.failure
        lost = failure is not None and failure.code == CloseCode.ABNORMAL_CLOSURE
        return self.state is State.OPEN or (not self.auto_close and not lost)

    def _at_end(self) -> bool:
        """Whether everything was sent but the end of TCP."""
        answered = self.auto_close or self._closing.sent is not None
        return self.state is State.CLOSED and answered and not self._output_ended

    def _end_output(self) -> None:
        """Ends TCP after the last frame (7.1.1): the server first, and never while input is unread.

        To close a socket with unread input resets the connection, and the peer may lose the close frame. So the
        server ends its direction only, and its reader discards input until the peer ends the other.
        """
        self._output_ended = True
        self._transport.limit(self._options.close_timeout)
        if self.role is Role.SERVER:
            self._transport.end_output()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(CloseCode.NORMAL_CLOSURE if error is None else CloseCode.INTERNAL_ERROR)

    # The reader.

    def make_stream(self, codecs: Sequence[Codec]) -> Stream:
        """The stream of this connection, whose handshake agreed on `codecs`; for subclasses with other options."""
        return Stream(
            self.role,
            max_message_size=self._options.max_size,
            max_send_size=self._options.max_send_size,
            text_errors=self._options.text_errors,
            fragments=True,
            auto_close=self.auto_close,
            late_failure=self.auto_close,
            piece_size=self._options.piece_size,
            extensions=codecs,
        )

    @abstractmethod
    def _enqueue(self, message: str | bytes | Fragment) -> None:
        """Takes a message, or a piece of one, for whoever receives. Called with `_changed` held."""

    @abstractmethod
    def _is_full(self, part: int) -> bool:
        """Whether there are more messages than a `part` of what there is room for. Called with `_changed` held."""

    @abstractmethod
    def _all_received(self) -> bool:
        """Whether somebody waits for more than what has come. Called with `_changed` held."""

    def ping_received(self, payload: bytes) -> None:
        """A ping has come, and the stream has answered it; for subclasses. Called in the reader's thread."""

    def pong_received(self, payload: bytes) -> None:
        """A pong has come; for subclasses. Called in the reader's thread."""

    def _open(self, rest: bytes, codecs: Sequence[Codec]) -> None:
        """Begin with the frames; `rest` is what arrived behind the handshake, which agreed on `codecs`."""
        self._transport.deadline = None
        self._stream = self.make_stream(codecs)
        self._since = self._active = monotonic()
        if self._options.ping_interval is not None:
            self._ping_due = self._since + self._options.ping_interval
        self._received(self._stream.receive(rest))
        self._reader.start()

    def _read(self) -> None:
        """Receives until the connection is at its end."""
        stream = self._stream
        assert stream is not None
        try:
            while nbytes := self._receive(stream):
                with self._changed:
                    events = stream.buffer_updated(nbytes)
                self._received(events)
        finally:
            self._transport.abort()
            with self._changed:
                self._note(stream.receive_eof())
                self._over = True
                for _, answered in self._pings.values():
                    answered.set()
                self._changed.notify_all()
            with self._writing:
                self._transport.close()

    def _receive(self, stream: Stream) -> int:
        """Waits for room, then for input; returns how many bytes came, 0 at the end."""
        while True:
            with self._changed:
                self._held = self._must_wait(4 if self._held else 1)
                if not self._held:
                    break
                self._changed.wait(_seconds_until(self._over_due()))
            self._expire()
        if stream.failing:
            self._wait_to_fail(stream)
        buffer = stream.get_buffer(-1)
        while True:
            due = min(self._ping_due, self._pong_due, self._over_due())
            try:
                return self._transport.recv_into(buffer, _seconds_until(due))
            except TimeoutError:
                if self._transport.expired:
                    return 0
                self._expire()
                self._keep_alive(stream)
            except OSError:
                return 0

    def _received(self, events: list[Event]) -> None:
        """Queues the messages of one read, writes what the stream replies, and wakes the receiver once."""
        stream = self._stream
        assert stream is not None
        with self._changed:
            self._note(events)
            if replies := stream.pending():
                self._reply(replies)
            if events or stream.state is not State.OPEN:
                self._changed.notify_all()
        for event in events:
            if isinstance(event, Ping):
                self.ping_received(event.payload)
            elif isinstance(event, Pong):
                self.pong_received(event.payload)
        self._flush(wait=False)

    def _wait_to_fail(self, stream: Stream) -> None:
        """Lets what came before a failure be answered first, for `close_timeout` at most."""
        with self._changed:
            self._changed.wait_for(
                lambda: not stream.failing or self._broken or self._all_received(), self._options.close_timeout
            )
            self._fail_late(stream)
        self._flush(wait=False)

    def _fail_late(self, stream: Stream) -> None:
        """Takes the failure that was kept back until what came before it was answered. Called with `_changed` held."""
        self._note(stream.take_failure())
        self._reply(stream.pending())
        self._changed.notify_all()

    def _reply(self, frames: bytes) -> None:
        """Has the reader write what nobody waits for. Called with `_changed` held."""
        self._outbox.append(frames)
        self._replies += len(frames)

    def _note(self, events: list[Event]) -> None:
        stream = self._stream
        assert stream is not None
        for event in events:
            if isinstance(event, (str, bytes, Fragment)):
                self._active = monotonic()
                self._enqueue(event)
            elif isinstance(event, Pong):
                self._pong_came(event.payload)
            else:
                self._closing.note_event(event)
        # After a close or a failure the stream delivers nothing more, even if the socket is not at its end.
        self._over = self._over or self._closing.rcvd is not None or stream.state is State.CLOSED

    def _must_wait(self, part: int = 1) -> bool:
        """Whether the reader has to wait for room; once it does, for a queue that is down to a quarter (`part` 4)."""
        return self.state is State.OPEN and not self._broken and (self._is_full(part) or self._replies > REPLIES_LIMIT)

    def _pong_came(self, payload: bytes) -> None:
        now = monotonic()
        for since, answered in take_answered(self._pings, payload):
            self.latency = now - since
            answered.set()
        if self._probe not in self._pings:
            self._pong_due = _NEVER

    def _over_due(self) -> float:
        """When the connection is to be closed for its age, or because no message has passed."""
        if self.state is not State.OPEN:
            return _NEVER
        total, idle = self._options.total_timeout, self._options.idle_timeout
        return min(_NEVER if total is None else self._since + total, _NEVER if idle is None else self._active + idle)

    def _expire(self) -> None:
        """Closes the connection if that is due."""
        now = monotonic()
        reason = self._options.overdue(now - self._since, now - self._active)
        if reason is not None and self.state is State.OPEN:
            self.start_closing(CloseCode.POLICY_VIOLATION, reason)

    def _keep_alive(self, stream: Stream) -> None:
        """Sends a ping every `ping_interval`; fails the connection if its pong takes over `ping_timeout`."""
        now = monotonic()
        with self._changed:
            if stream.state is not State.OPEN:
                self._ping_due = self._pong_due = _NEVER
                return
            if now >= self._pong_due:
                self._pong_due = _NEVER
                if self._probe in self._pings:
                    reason = "no pong came in time"
                    self._outbox.append(stream.fail(CloseCode.INTERNAL_ERROR, reason))
                    self._closing.note_sent(CloseCode.INTERNAL_ERROR, reason)
                    self._over = True
                    self._changed.notify_all()
            elif now >= self._ping_due and self._pong_due == _NEVER:
                self._probe = os.urandom(4)
                self._pings[self._probe] = now, threading.Event()
                self._outbox.append(stream.ping(self._probe))
                if self._options.ping_timeout is not None:
                    self._pong_due = now + self._options.ping_timeout
            if now >= self._ping_due:
                self._ping_due = now + (self._options.ping_interval or _NEVER)
        self._flush(wait=False)


def _seconds_until(due: float) -> float | None:
    return None if due == _NEVER else max(due - monotonic(), 0)
