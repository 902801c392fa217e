"""One WebSocket on one asyncio transport, whichever the API above it (RFC 6455 5 to 7).

transport ─ get_buffer, buffer_updated ─▶ Stream ─ events ─▶ what a subclass does with them
socket ◀────────── Output ◀────────────── Stream ◀────────── messages
"""

from __future__ import annotations

import asyncio
import logging
import os
from abc import abstractmethod
from collections.abc import Sequence
from time import monotonic
from typing import Any, ClassVar, Final, cast

from ..protocol.codecs import Codec
from ..protocol.constants import CloseCode, Role, State
from ..protocol.events import Event, Ping, Pong
from ..protocol.stream import Stream
from ..session.endpoint import take_answered
from .limits import Limits
from .read_buffer import READ_SIZE, TakesTurns, read_buffer
from .timer import Pulse
from .transport_writer import Output, end_output

__all__ = ["Endpoint"]

#: The most that one read takes before the handshake is done.
HEAD_SIZE: Final = 1 << 15

#: How many bytes of a read are taken at a time where messages may be compressed.
PORTION: Final = 1 << 12


class Endpoint(Output, TakesTurns):
    """What the connections of all APIs have in common. Subclasses do the handshake and take the events.

    Counters, which are for reading: `messages_received`, `messages_sent`, `bytes_received` and `bytes_sent` (frames
    with their headers, without the handshake), `pings_received`, `pings_sent`.
    """

    __slots__ = (
        "__dict__", "__weakref__", "_active", "_buffer", "_deadline", "_encodes", "_gone", "_held", "_keepalive",
        "_next_ping", "_pings", "_pulse", "_since", "_small", "_unread", "_waiters", "pings_received", "pings_sent",
    )  # fmt: skip

    role: ClassVar[Role]

    def __init__(self, limits: Limits, pulse: Pulse) -> None:
        super().__init__(limits)
        self._pulse = pulse
        self._gone = False
        self._waiters: list[asyncio.Future[None]] | None = None  # those that wait for the end
        self._deadline: asyncio.TimerHandle | None = None
        self.pings_received = self.pings_sent = 0
        self._buffer = read_buffer(self.loop)[:HEAD_SIZE]
        self._held = False
        self._encodes = False
        self._small = -1  # the most bytes of a read that goes to the stream just so; none before the handshake is done
        self._unread = b""  # read from the transport, but held back as the queue is full
        self._pings: dict[bytes, tuple[float, asyncio.Future[float]]] | None = None
        # Time.
        self._since = 0.0
        self._active = (0.0, 0)  # when messages were last seen to have passed, and how many
        self._next_ping = 0.0
        self._keepalive: bytes | None = None

    # What it is.

    @property
    def state(self) -> State:
        if self._stream is not None:
            return self._stream.state
        return State.CLOSED if self._gone else State.CONNECTING

    @property
    def messages_received(self) -> int:
        return 0 if self._stream is None else self._stream.messages_received

    @property
    def bytes_received(self) -> int:
        return 0 if self._stream is None else self._stream.bytes_received

    @property
    def local_address(self) -> Any:
        """The socket's own address: (host, port, ...) for TCP."""
        return self.transport.get_extra_info("sockname")

    @property
    def remote_address(self) -> Any:
        """The peer's address: (host, port, ...) for TCP."""
        return self.transport.get_extra_info("peername")

    @property
    @abstractmethod
    def logger(self) -> logging.Logger:
        """Where this end logs to."""

    # The opening handshake, by the subclasses.

    @abstractmethod
    def head_received(self, data: bytes) -> None:
        """Take bytes of the handshake, and call `_open` when it is done."""

    def opening_failed(self, error: Exception | None) -> None:
        """The transport was lost before the handshake was done."""

    def _open(self, rest: bytes, codecs: Sequence[Codec]) -> None:
        """Begin with the frames; `rest` is what arrived behind the handshake, which agreed on `codecs`."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._buffer = read_buffer(self.loop)
        self._encodes = bool(codecs)
        self._small = PORTION if codecs else READ_SIZE - 1
        message, frame = self._limits.sizes()
        stream = Stream(
            self.role, max_message_size=message, max_frame_size=frame, text_errors=self._limits.text_errors,
            piece_size=self._limits.piece_size, max_send_size=self._limits.max_send_size, late_failure=True,
            extensions=codecs,
        )  # fmt: skip
        self._begin_output(stream)
        self._stream = stream
        now = self.loop.time()
        self._since, self._active = now, (now, 0)
        self._next_ping = now + (self._limits.ping_interval or 0)
        self._pulse.add(self)
        self._unread = rest
        self._read_on()

    # What arrives.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(*self._limits.write_marks())

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if nbytes > self._small or self._unread:
            self._read_more(nbytes)
        else:
            self._received(self._stream.receive(self._buffer, nbytes))  # type: ignore[union-attr]

    def _read_more(self, nbytes: int) -> None:
        """Take a read that does not go to the stream just so."""
        if self._stream is None:
            self.head_received(bytes(self._buffer[:nbytes]))
            return
        if self._unread or (self._encodes and nbytes > PORTION):
            self._unread += self._buffer[:nbytes]
            self._read_on()
        else:
            self._received(self._stream.receive(self._buffer, nbytes))
        if nbytes == READ_SIZE:
            self._yield_turn()

    def _read_on(self) -> None:
        """Take what was read by portions: it may inflate a thousandfold, so a full queue has to stop it midway."""
        while self._unread and not self._held and self._stream is not None:
            size = PORTION if self._encodes else len(self._unread)
            portion, self._unread = self._unread[:size], self._unread[size:]
            self._received(self._stream.receive(portion))

    def _read_end(self) -> None:
        """Take the end of input, and first what was held back."""
        assert self._stream is not None
        rest, self._unread = self._unread, b""
        self._received(self._stream.receive(rest) + self._stream.receive_eof())

    def eof_received(self) -> None:
        if self._stream is not None:
            self._read_end()
        self._limit_end()  # returning None closes the transport once its buffer is flushed

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport.close()  # what Python 3.10 does not do for TLS when the peer ended it
        self._gone = True
        self._pulse.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
        if self._stream is None:
            self.opening_failed(exc)
        else:
            self._writer.close()
            if self._stream.state is not State.CLOSED:
                self._read_end()
            self._forget_pings()
        self.resume_writing()
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    @abstractmethod
    def _received(self, events: list[Event]) -> None:
        """Take the events of one read."""

    def _note(self, event: Event) -> None:
        """Take note of a control frame, or of the end."""
        kind = type(event)
        if kind is Ping:
            self.pings_received += 1
        elif kind is Pong:
            self._pong_received(cast(Pong, event).payload)
        else:
            self._closing.note_event(event)

    def _fail_late(self) -> None:
        """Take the failure that was kept back until the messages before it were answered, or for `close_timeout`."""
        assert self._stream is not None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._received(self._stream.take_failure())

    def _reply(self) -> None:
        """Write what the stream has to say by itself, and end the connection after its last frame."""
        stream = self._stream
        assert stream is not None
        replies = stream.pending()
        if replies:
            self._write(replies)
            if self._full:
                self._unread_replies += len(replies)
        if stream.state is State.CLOSED:
            self._finish()

    def _hold(self, hold: bool) -> None:
        """Stop reading, or go on."""
        if hold != self._held:
            self._held = hold
            if hold:
                self.transport.pause_reading()
                return
            self._read_on()
            if not self._held:
                self.transport.resume_reading()

    # Pings.

    def _ping(self, payload: bytes | None = None) -> bytes | None:
        """Send a ping; returns its payload, None if one with that payload waits already."""
        assert self._stream is not None
        data = os.urandom(4) if payload is None else payload
        if self._pings is None:
            self._pings = {}
        if data in self._pings:
            return None
        self._write(self._stream.ping(data))
        self.pings_sent += 1
        self._pings[data] = monotonic(), self.loop.create_future()  # uvloop's clock has whole milliseconds
        return data

    def _pong_received(self, payload: bytes) -> None:
        if not self._pings:
            return
        now = monotonic()
        for since, answer in take_answered(self._pings, payload):
            self.latency = now - since
            if not answer.done():
                answer.set_result(self.latency)

    def _forget_pings(self) -> None:
        for _, answer in (self._pings or {}).values():
            if not answer.done():
                answer.set_exception(self._closing.error())
                answer.exception()  # nobody has to wait for a pong
        self._pings = None

    def beat(self, now: float) -> None:
        """Look after the times of an open connection; called by the pulse."""
        if self.state is not State.OPEN:
            return
        limits = self._limits
        exchanged = self.messages_received + self.messages_sent
        if exchanged != self._active[1]:
            self._active = now, exchanged
        reason = limits.overdue(now - self._since, now - self._active[0])
        if reason is not None:
            self.start_closing(CloseCode.POLICY_VIOLATION, reason)
        elif self._keepalive is not None and self._pings and self._keepalive in self._pings:
            sent = self._pings[self._keepalive][0]
            if limits.ping_timeout is not None and monotonic() - sent >= limits.ping_timeout:
                self.start_closing(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
        elif limits.ping_interval is not None and now >= self._next_ping:
            self._next_ping = now + limits.ping_interval
            self._keepalive = self._ping()

    # The end.

    def start_closing(self, code: int | None = 1000, reason: str = "") -> None:
        """Do what `close` does, without waiting for the end."""
        if self._stream is None or self._stream.state is not State.OPEN:
            return
        if self._stream.failing:
            self._fail_late()
            return
        if self.transport.is_closing():  # somebody has cut it
            self._writer.close()
        frame = self._stream.close(code, reason)
        self._flush()
        self._push(frame)
        self._uncorked = False
        self._closing.note_sent(code, reason)
        self._limit_end()

    async def wait_closed(self) -> None:
        """Wait until the transport is closed, whoever closed it."""
        if not self._gone:
            if self._waiters is None:
                self._waiters = []
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)

    def _finish(self) -> None:
        """End TCP after the last frame (7.1.1): the server first, and never while input is unread.

        To close a socket with unread input resets the connection, and the peer may lose the close frame. So
        the server ends its direction only and discards input until the peer ends the other; the client
        waits for the server. TLS has no half-close that peers agree on: there, closing is left to its own
        shutdown.
        """
        self._flush()
        if self.transport.is_closing():
            return
        self._limit_end()
        if self.role is Role.SERVER:
            end_output(self.transport)

    def _limit_end(self) -> None:
        """Cut the transport unless it ends by itself in time. The first call counts."""
        timeout = self._limits.close_timeout
        if timeout is not None and self._deadline is None and not self._gone:
            self._deadline = self.loop.call_later(timeout, self.transport.abort)
