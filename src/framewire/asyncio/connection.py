"""One WebSocket on one asyncio transport: what server and client have in common (RFC 6455, 5 to 7).

    transport ─ get_buffer, buffer_updated ─▶ Stream ─ events ─▶ queue ─▶ recv()
    transport ◀──────────── write ─────────── Stream ◀─────────────────── send()

A whole read is taken apart before any task wakes, and `recv` finds the next message in the queue without a
switch. Both directions push back: a full queue stops reading from the transport, and a full transport makes
`send` wait.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from ..codes import CloseCode, Role, State
from ..errors import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    StateError,
)
from ..events import Close, Event, Failure, Pong
from ..extensions import Codec
from ..head import Request, Response
from ..stream import Stream

__all__ = ["Connection", "Limits", "Opening", "broadcast"]

#: The most that one read takes from the transport, in bytes.
READ_SIZE: Final = 1 << 16

#: Messages in the queue may hold this many bytes or characters; one message may exceed it alone.
QUEUE_SIZE: Final = 1 << 20

#: Automatic replies in bytes that a peer which does not read them may cause before it is not read either.
REPLIES_LIMIT: Final = 1 << 16

#: `recv` lets other tasks run after this many messages that it did not have to wait for.
MESSAGES_PER_TURN: Final = 256

#: How many bytes of a read are taken at a time where messages may be compressed.
PORTION: Final = 1 << 12

#: Messages of over so many bytes or characters are encoded in steps, between which other tasks run.
LONG_MESSAGE: Final = 1 << 16

#: An end with these codes on both sides is no error; 1005 stands for an empty close.
_ORDERLY: Final = frozenset({CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take: times in seconds (None: no limit), sizes in bytes, queues in messages."""

    open_timeout: float | None = 10
    close_timeout: float | None = 10
    max_size: int | None = 1 << 20
    max_queue: int | tuple[int, int | None] | None = 16
    write_limit: int | tuple[int, int | None] = 1 << 15

    def queue_marks(self) -> tuple[float, float]:
        """The lengths of the queue above which reading stops and down to which it goes on."""
        if self.max_queue is None:
            return float("inf"), float("inf")
        high, low = self.max_queue if isinstance(self.max_queue, tuple) else (self.max_queue, None)
        return high, high // 4 if low is None else low

    def write_marks(self) -> tuple[int, int | None]:
        """The sizes of the transport's buffer above which `send` waits and down to which it waits."""
        return self.write_limit if isinstance(self.write_limit, tuple) else (self.write_limit, None)


class Connection(asyncio.BufferedProtocol):
    """An open WebSocket. `serve` and `connect` make them; they are not for calling by hand.

    Use it as an async iterator over the peer's messages (a `str` each for text, `bytes` for binary), which ends
    with an orderly close and raises `ConnectionClosedError` otherwise; or call `recv` and `send`. One task may
    receive at a time, any number may send.
    """

    role: ClassVar[Role]

    # An idle connection should be small; `__dict__` is there for the user's own attributes.
    __slots__ = (
        "__dict__", "__weakref__", "_buffer", "_deadline", "_deaf", "_encodes", "_full", "_held", "_high", "_limits",
        "_lost", "_low", "_messages", "_order", "_pings", "_queued", "_rcvd", "_rcvd_then_sent", "_receiver",
        "_senders", "_sent", "_stream", "_taken", "_unread", "_unread_replies", "latency", "loop", "request",
        "response", "subprotocol", "transport",
    )  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self.loop = asyncio.get_running_loop()
        self.request: Request | None = None
        self.response: Response | None = None
        self.subprotocol: str | None = None
        #: Seconds between the last answered `ping` and its pong; 0 before the first.
        self.latency = 0.0
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._limits = limits
        self._stream: Stream | None = None
        self._lost: asyncio.Future[None] = self.loop.create_future()
        self._deadline: asyncio.TimerHandle | None = None
        # Receiving.
        self._unread = b""  # read from the transport, but held back as the queue is full
        self._buffer = _read_buffer(self.loop)
        self._messages: deque[str | bytes] = deque()
        self._queued = 0
        self._high, self._low = limits.queue_marks()
        self._held = False
        self._deaf = False
        self._receiver: asyncio.Future[None] | None = None
        self._taken = 0
        # Sending.
        self._full = False
        self._senders: list[asyncio.Future[None]] = []
        self._unread_replies = 0
        self._encodes = False
        self._order: asyncio.Lock | None = None
        self._pings: dict[bytes, tuple[float, asyncio.Future[float]]] = {}
        # The end.
        self._rcvd: Close | None = None
        self._sent: Close | None = None
        self._rcvd_then_sent: bool | None = None

    # What it is.

    @cached_property
    def id(self) -> uuid.UUID:
        """A random name for logs."""
        return uuid.uuid4()

    @property
    def state(self) -> State:
        """CONNECTING before the handshake is done, then the state of the closing handshake."""
        if self._stream is not None:
            return self._stream.state
        return State.CLOSED if self._lost.done() else State.CONNECTING

    @property
    def close_code(self) -> int | None:
        """The peer's close code, 1005 if empty, 1006 if it sent none (7.1.5); None before the end."""
        return self._stream.close_code if self._stream and self.state is State.CLOSED else None

    @property
    def close_reason(self) -> str | None:
        """The peer's close reason (7.1.6); None before the end."""
        return self._stream.close_reason if self._stream and self.state is State.CLOSED else None

    @property
    def local_address(self) -> Any:
        """The socket's own address: (host, port, ...) for TCP."""
        return self.transport.get_extra_info("sockname")

    @property
    def remote_address(self) -> Any:
        """The peer's address: (host, port, ...) for TCP."""
        return self.transport.get_extra_info("peername")

    # Receiving.

    async def recv(self) -> str | bytes:
        """Take the next message: a `str` if it is text, `bytes` if binary.

        Cancelling loses no message. Raises `ConnectionClosed` when the connection has ended and every message
        that arrived before has been taken, `ConcurrencyError` while another task receives.
        """
        if self._receiver is not None:
            raise ConcurrencyError("another task is already receiving from this connection")
        if self._taken >= MESSAGES_PER_TURN:
            self._taken = 0
            await asyncio.sleep(0)
        while not self._messages:
            if self.state is State.CLOSED:
                raise self._closed()
            self._taken = 0
            self._receiver = self.loop.create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        self._taken += 1
        message = self._messages.popleft()
        self._queued -= len(message)
        if self._held:
            self._regulate()
        return message

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.recv()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None

    # Sending.

    async def send(
        self, message: str | bytes | bytearray | memoryview, text: bool | None = None, *, compress: bool | None = None
    ) -> None:
        """Send one message: text from a `str`, binary from bytes, or what `text` says.

        `compress` says whether to compress it, if that was agreed on; by default its size decides. A message of over
        64 KiB is compressed in steps, between which other tasks run; messages still go out in the order of the calls.

        Waits first while the transport holds more than `write_limit` bytes, so a call that is cancelled has
        sent nothing and a call that returns has sent all. Raises `ConnectionClosed` after the end.
        """
        stream = await self._sendable()
        long = self._encodes and compress is not False and len(message) > LONG_MESSAGE
        if self._order is None:
            if not long:
                self.transport.write(stream.send(message, text=text, compress=compress))
                return
            self._order = asyncio.Lock()
        async with self._order:
            stream = await self._sendable()
            if long:
                frame = await self._encode(stream.send_steps(message, text=text, compress=compress))
            else:
                frame = stream.send(message, text=text, compress=compress)
            self.transport.write(frame)

    async def _encode(self, steps: Generator[None, None, bytes]) -> bytes:
        """Take the steps of `Stream.send_steps`, and let other tasks run in between."""
        with closing(steps):
            while True:
                try:
                    next(steps)
                except StopIteration as stop:
                    frame: bytes = stop.value
                    return frame
                await asyncio.sleep(0)
                await self._sendable()

    async def ping(self, payload: str | bytes | None = None) -> asyncio.Future[float]:
        """Send a ping of at most 125 bytes, random ones if not given; await the result for its pong.

        The result is a future of the round trip in seconds. A pong answers all pings before its own too
        (5.5.3). Raises `ConcurrencyError` while a ping with the same payload waits.
        """
        stream = await self._sendable()
        data = os.urandom(4) if payload is None else _as_bytes(payload)
        if data in self._pings:
            raise ConcurrencyError("a ping with this payload is already waiting for its pong")
        self.transport.write(stream.ping(data))
        answer: asyncio.Future[float] = self.loop.create_future()
        self._pings[data] = self.loop.time(), answer
        return answer

    async def pong(self, payload: str | bytes = b"") -> None:
        """Send a pong nobody asked for: a heartbeat of one direction (5.5.3)."""
        stream = await self._sendable()
        self.transport.write(stream.pong(_as_bytes(payload)))

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Close with `code` (None: an empty close) and `reason` (123 bytes of UTF-8 at most) and wait for the end.

        The transport is cut if the peer has not done its part within `close_timeout`. What arrives meanwhile
        can still be received, as far as the queue has room. Closing again only waits.
        """
        self.start_closing(code, reason)
        await self.wait_closed()

    def start_closing(self, code: int | None = 1000, reason: str = "") -> None:
        """Do what `close` does, without waiting for the end."""
        if self._stream is None or self._stream.state is not State.OPEN:
            return
        self.transport.write(self._stream.close(code, reason))
        self._sent = Close(int(CloseCode.NO_STATUS_RCVD) if code is None else code, reason)
        self._limit_end()
        self._regulate()

    async def wait_closed(self) -> None:
        """Wait until the transport is closed, whoever closed it."""
        await asyncio.shield(self._lost)

    async def _sendable(self) -> Stream:
        """The stream, as soon as the transport has room for more."""
        while self._full:
            turn: asyncio.Future[None] = self.loop.create_future()
            self._senders.append(turn)
            try:
                await turn
            finally:
                self._senders.remove(turn)
        if self.state is State.CLOSING:  # only the end will tell whether it was an orderly one
            await self.wait_closed()
        if self._stream is None:
            raise StateError("the opening handshake is not done")
        if self._stream.state is State.CLOSED:
            raise self._closed()
        return self._stream

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close(CloseCode.NORMAL_CLOSURE if error is None else CloseCode.INTERNAL_ERROR)

    # The opening handshake, by the subclasses.

    def head_received(self, data: bytes) -> None:
        """Take bytes of the handshake, and call `_open` when it is done."""
        raise NotImplementedError

    def opening_failed(self, error: Exception | None) -> None:
        """The transport was lost before the handshake was done."""

    def _open(self, rest: bytes, codecs: Sequence[Codec]) -> None:
        """Begin with the frames; `rest` is what arrived behind the handshake, which agreed on `codecs`."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._encodes = bool(codecs)
        self._stream = Stream(self.role, max_message_size=self._limits.max_size, extensions=codecs)
        self._unread = rest
        self._read_on()

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(*self._limits.write_marks())

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = self._buffer[:nbytes]
        if self._stream is None:
            self.head_received(bytes(data))
        elif not self._unread and (not self._encodes or nbytes <= PORTION):
            self._received(self._stream.receive(data))
        else:
            self._unread += data
            self._read_on()

    def _read_on(self) -> None:
        """Take what was read by portions: it may inflate a thousandfold, so a full queue has to stop it midway."""
        while self._unread and not self._held:
            portion, self._unread = self._unread[:PORTION], self._unread[PORTION:]
            self._received(self._stream.receive(portion) if self._stream is not None else [])

    def _read_end(self) -> None:
        """Take the end of input, and first what was held back."""
        if self._stream is not None:
            rest, self._unread = self._unread, b""
            self._received(self._stream.receive(rest) + self._stream.receive_eof())

    def eof_received(self) -> None:
        self._read_end()
        self._limit_end()  # returning None closes the transport once its buffer is flushed

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport.close()  # what Python 3.10 does not do for TLS when the peer ended it
        if self._deadline is not None:
            self._deadline.cancel()
        if self._stream is None:
            self.opening_failed(exc)
        else:
            self._read_end()
            self._forget_pings()
        self.resume_writing()
        self._lost.set_result(None)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._unread_replies = 0
        for turn in self._senders:
            if not turn.done():
                turn.set_result(None)
        if self._held:
            self._regulate()

    def _received(self, events: list[Event]) -> None:
        """Queue the messages of one read, write what the stream replies, and wake the receiver once."""
        stream = self._stream
        assert stream is not None
        for event in events:
            if isinstance(event, (str, bytes)):
                if not self._deaf:
                    self._messages.append(event)
                    self._queued += len(event)
            elif isinstance(event, Pong):
                self._pong_received(event.payload)
            elif isinstance(event, Close):
                self._rcvd, self._rcvd_then_sent = event, self._sent is None
                self._sent = self._sent or Close(event.code, "")
            elif isinstance(event, Failure) and event.code != CloseCode.ABNORMAL_CLOSURE:
                self._sent = self._sent or Close(event.code, event.reason)
        replies = stream.pending()
        if replies:
            self.transport.write(replies)
            if self._full:
                self._unread_replies += len(replies)
        self._regulate()
        if stream.state is State.CLOSED:
            self._finish()
        if self._messages or stream.state is State.CLOSED:
            self._wake_receiver()

    def _wake_receiver(self) -> None:
        if self._receiver is not None and not self._receiver.done():
            self._receiver.set_result(None)

    def _regulate(self) -> None:
        """Read from the transport while there is room.

        After our own close the peer's has to come through, so reading goes on whatever comes; from the read that
        fills the queue on, messages are dropped.
        """
        hold = False
        if self.state is State.OPEN:
            room = (self._low, QUEUE_SIZE // 4) if self._held else (self._high, QUEUE_SIZE)
            hold = self._over(*room) or self._unread_replies > REPLIES_LIMIT
        elif self.state is State.CLOSING and self._over(self._high, QUEUE_SIZE):
            self._deaf = True
        if hold != self._held:
            self._held = hold
            if hold:
                self.transport.pause_reading()
                return
            self._read_on()
            if not self._held:
                self.transport.resume_reading()

    def _over(self, count: float, size: int) -> bool:
        return len(self._messages) > count or self._queued > size

    def _pong_received(self, payload: bytes) -> None:
        now = self.loop.time()
        while payload in self._pings:  # its own is the last of those that it answers
            since, answer = self._pings.pop(next(iter(self._pings)))
            self.latency = now - since
            if not answer.done():
                answer.set_result(self.latency)

    def _forget_pings(self) -> None:
        for _, answer in self._pings.values():
            if not answer.done():
                answer.set_exception(self._closed())
                answer.exception()  # nobody has to wait for a pong
        self._pings.clear()

    # The end.

    def _finish(self) -> None:
        """End TCP after the last frame (7.1.1): the server first, and never while input is unread.

        To close a socket with unread input resets the connection, and the peer may lose the close frame. So
        the server ends its direction only and discards input until the peer ends the other; the client
        waits for the server. TLS has no half-close that peers agree on: there, closing is left to its own
        shutdown.
        """
        if self.transport.is_closing():
            return
        self._limit_end()
        if self.role is Role.SERVER:
            if self.transport.can_write_eof():
                self.transport.write_eof()
            else:
                self.transport.close()

    def _limit_end(self) -> None:
        """Cut the transport unless it ends by itself in time. The first call counts."""
        timeout = self._limits.close_timeout
        if timeout is not None and self._deadline is None and not self._lost.done():
            self._deadline = self.loop.call_later(timeout, self.transport.abort)

    def _closed(self) -> ConnectionClosed:
        orderly = (
            self._rcvd is not None
            and self._sent is not None
            and self._rcvd.code in _ORDERLY
            and self._sent.code in _ORDERLY
        )
        kind = ConnectionClosedOK if orderly else ConnectionClosedError
        return kind(self._rcvd, self._sent, self._rcvd_then_sent)


Opened = TypeVar("Opened", bound=AbstractAsyncContextManager[Any])


class Opening(Generic[Opened]):
    """What `serve` and `connect` return: await it, or enter it with `async with` to have it closed again."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, Opened]]) -> None:
        self._start = start

    def __await__(self) -> Generator[Any, Any, Opened]:
        return self._start().__await__()

    async def __aenter__(self) -> Opened:
        self._opened = await self
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._opened.__aexit__(kind, error, trace)


def broadcast(connections: Iterable[Connection], message: str | bytes) -> None:
    """Send one message to all open `connections` without waiting for any.

    A peer that reads too slowly to keep up, with more than its `write_limit` unread, is closed with 1013
    (try again later) instead: neither memory nor the others pay for it.
    """
    for connection in connections:
        stream = connection._stream
        if stream is None or stream.state is not State.OPEN:
            continue
        if connection._full:
            connection.start_closing(CloseCode.TRY_AGAIN_LATER, "reading too slowly")
        else:
            # Where a long message is being compressed, nothing else can be.
            busy = connection._order is not None and connection._order.locked()
            connection.transport.write(stream.send(message, compress=False if busy else None))


_read_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def _read_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """The memory that all connections of one loop read into.

    A transport calls `get_buffer`, reads, and calls `buffer_updated` without a pause between, and the stream copies
    what it keeps: so an idle connection needs no buffer of its own.
    """
    buffer = _read_buffers.get(loop)
    if buffer is None:
        buffer = _read_buffers[loop] = memoryview(bytearray(READ_SIZE))
    return buffer


def _as_bytes(payload: str | bytes) -> bytes:
    return payload.encode() if isinstance(payload, str) else payload
