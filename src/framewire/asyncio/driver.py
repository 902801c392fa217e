"""`Driver`: moves bytes and time between one asyncio transport and one session.

    transport ─ get_buffer, buffer_updated ─▶ Session ─▶ the connection's API
    transport ◀────── TransportWriter ◀────── Session ◀── the connection's API

Before the session begins, bytes go to the opening handshake.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from .._backend import ReceiveWaiter
from ..protocol.codecs import Codec
from ..protocol.constants import CLOSED, CONNECTING, Role, State
from ..protocol.events import Event
from ..session.session import ABANDONED_MESSAGE, Data, Ending, Session
from ..session.settings import ConnectionSettings
from .read_buffer import READ_SIZE, read_buffer
from .timer import SharedTimer
from .transport_writer import TransportWriter, end_output

__all__ = ["LOOP_ENDING", "Driver", "Opening"]

#: The most that one read brings before the opening handshake is done, in bytes.
HEAD_READ_SIZE: Final = 1 << 15

#: Exceptions that end the event loop, whichever callback or task raises them.
LOOP_ENDING: Final = (KeyboardInterrupt, SystemExit)

# See `OPEN` in `constants`.
_NONE, _OUTPUT, _CLOSE, _ABORT = Ending.NONE, Ending.OUTPUT, Ending.CLOSE, Ending.ABORT


class Owner(Protocol):
    """The connection of an API, as its driver needs it."""

    def deliver(self, events: list[Event]) -> None:
        """Take the events of a read, which the session has processed, or what it has queued."""

    def lost(self) -> None:
        """Process the loss of the transport."""


class Opening(ABC):
    """The opening handshake of a connection, from one side."""

    @abstractmethod
    def connected(self) -> None:
        """Process that the transport is connected."""

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Process bytes; calls `Driver.open` once the handshake is done."""

    def receive_eof(self) -> None:  # noqa: B027 - most have nothing to do
        """Process the end of input."""

    def abandon(self) -> None:  # noqa: B027
        """Process that the connection is closed before the handshake is done."""

    def lost(self, error: Exception | None) -> None:  # noqa: B027
        """Process the loss of the transport before the handshake was done."""

    def ended(self) -> None:  # noqa: B027
        """Process the loss of the transport, whenever it came."""


class Driver(asyncio.BufferedProtocol):
    """The asyncio protocol of one connection.

    Args:
        role: Which end this is.
        settings: The limits and times of the connection.
        timer: The timer that looks after it while it is open.
        queue: Whether messages are queued in the session; otherwise `deliver` gets them.
        owner: The connection of the API above.
    """

    __slots__ = (
        "__weakref__", "_addresses", "_buffer", "_deadline", "_end_timer", "_ending", "_max_direct_read", "_owner",
        "_queue", "_reading", "_receive", "_role", "_settings", "_timer", "_waiters", "_when_lost", "loop", "now",
        "opened", "opening", "receiver", "session", "transport", "transport_lost", "waiter", "writer",
    )  # fmt: skip

    session: Session
    writer: TransportWriter
    opening: Opening

    def __init__(
        self,
        role: Role,
        settings: ConnectionSettings,
        timer: SharedTimer,
        queue: bool,
        owner: Owner,
    ) -> None:
        self._role = role
        self._settings = settings
        self._timer = timer
        self._queue = queue
        self._owner = owner
        self._addresses: tuple[Any, Any] | None = None  # both ends' over TLS, whose transport forgets them
        self.loop = asyncio.get_running_loop()
        #: The clock: uvloop's own has whole milliseconds.
        self.now = timer.clock(self.loop)
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        #: Whether the opening handshake is done.
        self.opened = False
        #: Whether the transport is gone.
        self.transport_lost = False
        #: What a task awaits that waits for a message; only with `queue`.
        self.waiter: ReceiveWaiter = ReceiveWaiter(self.loop) if queue else None  # type: ignore[assignment]
        #: `waiter` while a task waits, otherwise None.
        self.receiver: ReceiveWaiter | None = None
        self._receive: Callable[[memoryview, int], list[Event]]
        self._buffer = read_buffer(self.loop)[:HEAD_READ_SIZE]
        #: The largest read that goes straight to the stream; -1 until the opening handshake is
        #: done.
        self._max_direct_read = -1
        self._reading = True
        self._ending = _NONE
        self._end_timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None  # of the session, for which `_end_timer` waits
        self._waiters: list[asyncio.Future[None]] | None = None  # those that wait for the loss of the transport
        self._when_lost: list[Callable[[Driver], object]] | None = None  # called at the loss of the transport

    # The opening handshake.

    def open(self, rest: bytes, codecs: Sequence[Codec], opened: Callable[[Session], None]) -> None:
        """Begin with the frames.

        Args:
            rest: What arrived after the opening handshake.
            codecs: The extensions that it agreed on.
            opened: Called with the session before it receives anything.
        """
        self._cancel_end_timer()
        self._buffer = read_buffer(self.loop)
        session = self.session = Session(self._role, self._settings, self.now(), codecs=codecs, queue=self._queue)
        self.writer = TransportWriter(session, self.transport, self.loop)
        # Without a queue and without extensions there is nothing to do between the stream and the
        # API.
        self._receive = session.receive_quickly if self._queue or codecs else session.stream.receive
        self._max_direct_read = min(session.receive_step, READ_SIZE) - 1
        self.opened = True
        self._timer.add(self)
        opened(session)
        if rest:
            self.process(session.receive_quickly(rest))

    def set_timeout(self, seconds: float | None, callback: Callable[[], object]) -> None:
        """Call `callback` after so many seconds, unless the handshake is done or another timeout is
        set by then.
        """
        self._cancel_end_timer()
        if seconds is not None:
            self._end_timer = self.loop.call_later(seconds, callback)

    def take_timeout(self, timer: asyncio.TimerHandle) -> None:
        """Go on with a timeout that began before there was a driver, in place of `set_timeout`."""
        self._end_timer = timer

    @property
    def has_timeout(self) -> bool:
        """Whether a timeout is set."""
        return self._end_timer is not None

    def _cancel_end_timer(self) -> None:
        if self._end_timer is not None:
            self._end_timer.cancel()
            self._end_timer = None

    def refuse(self) -> None:
        """End the connection after an answer that refuses it has been written."""
        self.set_timeout(self._settings.close_timeout, self.transport.abort)
        if not self.transport.is_closing():
            self.end_output()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        high, low = self._settings.write_marks
        # A TLS transport is full at the high mark already, and with both marks at 0 it would be full
        # while it is empty.
        over_tls = transport.get_extra_info("ssl_object") is not None
        self.transport.set_write_buffer_limits(high + over_tls, low)
        if over_tls:
            self._addresses = self.local_address, self.remote_address
        self.opening.connected()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if nbytes > self._max_direct_read:
            self._process_large_read(nbytes)
            return
        events = self._receive(self._buffer, nbytes)
        if events:
            self.process(events)
        elif self._queue:
            self.wake_receiver(now=True)

    def _process_large_read(self, nbytes: int) -> None:
        """Process a read that may fill the buffer, inflate, or belong to the opening handshake."""
        if not self.opened:
            try:
                self.opening.receive(bytes(self._buffer[:nbytes]))
            except LOOP_ENDING as error:  # of a callback of the server
                self.transport.abort()
                self.end_loop(error)
            return
        self.process(self.session.receive_quickly(self._buffer, nbytes))
        if nbytes == READ_SIZE:
            self._yield_turn()

    def _yield_turn(self) -> None:
        """Let other connections read: uvloop reads up to 32 times from one that floods before it
        goes on.
        """
        if not isinstance(self.loop, asyncio.BaseEventLoop) and self._reading and not self.transport.is_closing():
            self.transport.pause_reading()
            self.loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        if self._reading and not self.transport.is_closing():
            self.transport.resume_reading()

    def eof_received(self) -> None:
        if self.opened:
            self._owner.deliver(self.session.receive_eof(self.now()))
        else:
            self.opening.receive_eof()
            if self._end_timer is None:
                self.set_timeout(self._settings.close_timeout, self.transport.abort)
        # Returning None closes the transport once its buffer is flushed.

    def connection_lost(self, exc: Exception | None) -> None:
        # Python 3.10 does not close it for TLS when the peer has ended it; later ones forget their TLS
        # connection if it is closed again, and the next write raises AttributeError.
        if not self.transport.is_closing():
            self.transport.close()
        self.transport_lost = True
        self._timer.discard(self)
        if self.opened:
            self.writer.close()
            if self.session.ending is not _CLOSE:  # else the end of input came before
                self._owner.deliver(self.session.receive_eof(self.now(), exc))
            self.writer.resume_writing()  # waiting senders wake and raise ConnectionClosed
        else:
            self.opening.lost(exc)
        self._cancel_end_timer()
        self._wake_waiters()
        for callback in self._when_lost or ():
            callback(self)
        self._owner.lost()
        self.opening.ended()
        # So that nothing refers to the connection in a circle.
        self._owner = _NOBODY
        del self.opening

    def end_unconnected(self) -> None:
        """Take note that there will be no transport, as TLS has failed for example, if there is none."""
        if self.transport is None:
            self.transport_lost = True
            self._wake_waiters()

    def _wake_waiters(self) -> None:
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def pause_writing(self) -> None:
        if self.opened:
            self.writer.pause_writing()
            self.update()

    def resume_writing(self) -> None:
        if self.opened:
            self.writer.resume_writing()
            if self.session.has_held_back:  # since too many answers to pings were unread
                self.process([])
            self.update()

    def ping(self, payload: bytes | bytearray | memoryview | None) -> asyncio.Future[float]:
        """Have the session send a ping; return a future of the round trip in seconds.

        Raises as `Session.ping`.
        """
        answer: asyncio.Future[float] = self.loop.create_future()

        def answered(latency: float | None) -> None:
            if answer.done():
                return
            if latency is None:
                answer.set_exception(self.session.error())
                answer.exception()  # nobody has to wait for a pong
            else:
                answer.set_result(latency)

        self.session.ping(payload, self.now(), answered)
        return answer

    def send_fragments(self, message: Data, text: bool | None, compress: bool | None) -> None:
        """Have the session send a whole message in fragments, all at once: neither a cancellation nor
        another message comes in between. Raises as `Session.send`.
        """
        session = self.session
        fragments = session.fragments(message, text)
        try:
            for fragment, is_text, last in fragments:
                session.send(fragment, is_text, last=last, compress=compress)
        except BaseException:
            if session.message_open:  # it can neither be ended any more nor another one begun
                self.start_closing(*ABANDONED_MESSAGE)
            raise

    def start_closing(self, code: int | None, reason: str) -> None:
        """Have the session begin to close; before the opening handshake is done, cut the connection;
        once TCP ends, do nothing. Raises as `Session.close`.
        """
        if not self.opened:
            if not self.transport_lost:
                self.opening.abandon()
            return
        if self._ending is not _NONE:
            return
        if self.transport.is_closing():
            self.writer.close()  # it was cut, and nothing may follow the bytes that it has dropped
        self.session.close(code, reason, self.now())
        self.process([])
        self.update()

    # Following the session.

    def process(self, events: list[Event]) -> None:
        """Have the session process events that a read has brought, and what it has held back."""
        self._owner.deliver(self.session.process(events, self.now()))

    def wake_receiver(self, now: bool = False) -> None:
        """After a read: let the task go on that waits for a message.

        Args:
            now: Whether this is the transport's callback: the task goes on at once then, unless
                another task has called it.
        """
        session, receiver, writer = self.session, self.receiver, self.writer
        if not session.reading:
            self.update()
        items = session.queue.items  # type: ignore[union-attr]
        # The answer to one message leaves at once, those to several leave together.
        writer.uncorked = not session.output and len(items) == 1
        if receiver is None or not receiver.waiting or not (items or not session.quiet):
            return
        if not now or asyncio.current_task(self.loop) is not None:
            receiver.wake()
            return
        session.handling = True
        try:
            receiver.wake_now()
        except LOOP_ENDING as error:
            self.end_loop(error)
        finally:
            session.handling = False
        if session.output:
            writer.flush()

    def end_loop(self, error: BaseException) -> None:
        """End the event loop with one of `LOOP_ENDING`, soon: raised in a callback of the transport it
        would leave the connection half-way, and uvloop take it for an error of the protocol.
        """
        self.loop.call_soon(_raise, error)

    def make_room(self) -> None:
        """After taking from a queue that had no room: go on reading if it has."""
        session = self.session
        session.taken()
        if session.has_held_back:
            session.process([], self.now())
        self.update()

    def deliver_fragments(self) -> None:
        """Have the session deliver fragmented messages frame by frame, and process in steps all reads
        that it receives in steps.
        """
        self.session.deliver_fragments()
        self._max_direct_read = min(self._max_direct_read, self.session.receive_step - 1)

    def update(self) -> None:
        """Do what the session asks for: write, pause or resume reading, end TCP, wait."""
        session, writer = self.session, self.writer
        if session.output and not session.handling:
            writer.flush()
        if session.reading is not self._reading:
            self._reading = session.reading
            if not self.transport.is_closing():
                (self.transport.resume_reading if session.reading else self.transport.pause_reading)()
        if session.ending is not self._ending:
            self._end(session.ending)
        deadline = session.deadline
        if deadline is not None or self._end_timer is not None:
            self._set_end_timer(deadline)

    def _end(self, ending: Ending) -> None:
        """End TCP as far as the session asks for."""
        self._ending = ending
        if ending is _ABORT:
            self.writer.abort()
            return
        self.writer.flush()
        if self.transport.is_closing():
            return
        if ending is _OUTPUT:
            self.end_output()
        elif ending is _CLOSE:
            self.close_transport()

    def close_transport(self) -> None:
        """End TCP once everything is written; nothing goes to the socket any more."""
        if self.opened:
            self.writer.close()
        self.transport.close()

    def end_output(self) -> None:
        """End our direction of TCP once everything is written."""
        end_output(self.transport)

    def _set_end_timer(self, deadline: float | None) -> None:
        """Wait for the session's deadline, as exactly as the event loop can."""
        if self._end_timer is None or deadline != self._deadline:
            self._cancel_end_timer()
            self._deadline = deadline
            if deadline is not None and not self.transport_lost:
                self._end_timer = self.loop.call_later(max(0.0, deadline - self.now()), self._handle_deadline)

    def _handle_deadline(self) -> None:
        self._end_timer = None
        # The loop may call a fraction of its clock's resolution too early.
        self._handle_timer(max(self.now(), self.session.deadline or 0.0))

    def look_at_clock(self) -> None:
        session, now = self.session, self.now()
        when = session.next_timer()
        if when is not None and now >= when:
            session.written(self.writer.bytes_sent, self.writer.waiting)
            self._handle_timer(now)

    def _handle_timer(self, now: float) -> None:
        events = self.session.handle_timer(now)
        if events:
            self._owner.deliver(events)
        self.process([])
        self.update()

    async def wait_lost(self) -> None:
        """Wait until the transport is gone, whoever closed it."""
        if not self.transport_lost:
            if self._waiters is None:
                self._waiters = []
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)

    def call_when_lost(self, callback: Callable[[Driver], object]) -> None:
        """Call `callback` with the driver when the transport is lost."""
        if self._when_lost is None:
            self._when_lost = []
        self._when_lost.append(callback)

    @property
    def state(self) -> State:
        """The state of the connection."""
        if self.opened:
            return self.session.state
        closing = self.transport is not None and self.transport.is_closing()
        return CLOSED if self.transport_lost or closing else CONNECTING

    @property
    def local_address(self) -> Any:
        """The socket's own address."""
        return self.transport.get_extra_info("sockname") if self._addresses is None else self._addresses[0]

    @property
    def remote_address(self) -> Any:
        """The peer's address."""
        return self.transport.get_extra_info("peername") if self._addresses is None else self._addresses[1]

    @property
    def messages_sent(self) -> int:
        """Messages sent so far."""
        return self.session.messages_sent if self.opened else 0

    @property
    def bytes_sent(self) -> int:
        """Bytes of frames written so far."""
        return self.writer.bytes_sent if self.opened else 0


def _raise(error: BaseException) -> None:
    raise error


class _Nobody:
    """The owner of a driver whose transport is gone: all events were delivered."""

    def deliver(self, events: list[Event]) -> None:
        pass

    def lost(self) -> None:
        pass


_NOBODY: Final = _Nobody()
