"""`Driver`: moves bytes and time between one trio stream and one session.

    stream ─ receive_some ─ reader task ─▶ Session ─▶ queue ─ recv()
    stream ◀─ send_all ─ writer task ◀─ Session ◀─ send(), the reader's replies, the clock task

The three tasks run in one nursery from the end of the opening handshake to the end of TCP. Only
they touch the stream, so a call of the API that is cancelled never leaves half a frame. The session
decides everything; after each call to it `update` does what it asks for.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Final, TypeVar, cast

import trio

from ..protocol.codecs import Codec
from ..protocol.constants import Role
from ..session.base_driver import READ_SIZE, BaseDriver, own_address, peer_address
from ..session.message_queue import MessageQueue
from ..session.session import Ending, Session
from ..session.settings import ConnectionSettings
from ..session.turns import Turns

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

Result = TypeVar("Result")
Taken = TypeVar("Taken")

__all__ = ["STREAM_ERRORS", "Driver", "limit_time", "write_on"]

#: The most that one write passes to the stream, in bytes: the keepalive must see that a long
#: message makes progress.
WRITE_SIZE: Final = 1 << 16

#: Turns of the scheduler within which a stream has passed a write to the network, TLS included.
WRITE_TURNS: Final = 10

#: What trio raises when a stream is lost, or has been closed by another task.
STREAM_ERRORS: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


def limit_time(seconds: float | None) -> trio.CancelScope:
    """Return a scope that is cancelled after `seconds`; never if that is None."""
    return trio.move_on_after(math.inf if seconds is None else seconds)


async def write_on(drivers: Iterable[Driver]) -> None:
    """Let writers write what is queued, as long as the network takes it at once: they are not to be
    taken for slow. What `refused` tells of them is true then.
    """
    sessions = [(driver, driver.session) for driver in drivers]
    left = [(driver, session, session.bytes_queued) for driver, session in sessions if session and session.write_paused]
    while left := [
        (driver, session, end)
        for driver, session, end in left
        if session.write_paused and driver.stuck_at < driver.bytes_sent < end
    ]:
        sent = {driver: driver.bytes_sent for driver, _, _ in left}
        for _ in range(WRITE_TURNS):
            await trio.lowlevel.cancel_shielded_checkpoint()
        for driver in sent:
            driver.stuck_at = sent[driver]


class Driver(BaseDriver):
    """The tasks of one connection, on a stream on which TLS has been started."""

    def __init__(self, stream: trio.abc.Stream, role: Role, settings: ConnectionSettings) -> None:
        below = stream
        while isinstance(below, trio.SSLStream):
            below = below.transport_stream
        super().__init__(role, settings)
        sock = getattr(below, "socket", None)
        self.local_address, self.remote_address = own_address(sock), peer_address(sock)
        self.lock = nullcontext()  # trio has one thread
        self.stream = stream
        #: Set when TCP has ended.
        self.closed = trio.Event()
        #: Where tasks wait for a message or the end.
        self.arrivals = trio.lowlevel.ParkingLot()
        #: The order of the tasks that wait to send.
        self.turns: Turns
        self._high, self._low = settings.write_marks
        self._output_ended = False
        #: The value of `bytes_sent` at which the network has not taken more at once; see `write_on`.
        self.stuck_at = -1
        #: Where the reader waits for room in the queue, and the writer for output.
        self._reader, self._writer = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()
        #: Cancelled to end both directions at once.
        self.scope = trio.CancelScope()
        self._alarm = trio.CancelScope()

    def open(self, rest: bytes, codecs: Sequence[Codec]) -> Session:
        """Begin with the frames, as `Connection.begin`; a task for `run` must have been started."""
        session = self.session = Session(self.role, self.settings, self.now(), codecs=codecs, fragments=True)
        self.turns = Turns(session, trio.Event)
        self.log_open()
        if rest:
            self._receive(session, rest)
        return session

    async def run(self) -> None:
        """Run the connection until the end of TCP. The stream is closed then."""
        session = self.session
        if session is None:  # `open` has raised
            return
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, session)
                    nursery.start_soon(self._watch_clock, session)
                    await self._read(session)
        except BaseExceptionGroup as group:
            # A task that is cancelled from outside ends like any other: whoever cancelled it knows.
            if group.split(trio.Cancelled)[1] is not None:
                raise
        finally:
            try:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(self.stream)
            except Exception as error:  # a stream of the caller may raise
                session.note_cause(error)
            finally:
                session.receive_eof(self.now())
                self.note_end()
                self.closed.set()
                self.arrivals.unpark_all()
                self.turns.give()
        self.log_closed()

    async def refuse(self, answer: bytes, seconds: float | None) -> None:
        """Write the answer that refuses a connection; return once the peer has read it, or after
        `seconds`.
        """
        with suppress(*STREAM_ERRORS), limit_time(seconds):
            await self.stream.send_all(answer)
            await self._end_output()
            # To close a socket with unread input would reset the connection, and the peer lose the
            # answer.
            while await self.stream.receive_some(READ_SIZE):
                pass

    def end_unopened(self) -> None:
        super().end_unopened()
        self.closed.set()

    @contextmanager
    def sending_parts(self) -> Iterator[None]:
        """Let other messages wait while one is sent in parts."""
        self.turns.in_parts = True
        try:
            yield
        finally:
            self.turns.in_parts = False
            self.turns.give()

    async def sendable(self, whole: bool = False) -> Session:
        """Wait until there is room in the write buffer and all who came before have sent; return the
        session.

        Args:
            whole: Whether to wait until no message is being sent in parts, too.

        Raises:
            ConnectionClosed: The connection has ended.
        """
        session = self.opened_session()
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.turns.must_wait(whole):
            try:
                await self.turns.wait(whole)
            finally:
                self.turns.give()
        if not session.over and not session.check_sendable():
            await self.closed.wait()  # only the end tells whether it was an orderly one
        if session.over:
            raise session.error()
        return session

    @property
    def refused(self) -> int:
        return self.waiting if self.stuck_at == self.bytes_sent else 0

    def now(self) -> float:
        return trio.current_time()

    def start_closing(self, code: int | None, reason: str) -> None:
        if self.session is None:
            self.end_unopened()  # the opening handshake notices, and closes the stream
            return
        self.session.close(code, reason, self.now())
        self.update()

    async def perform(self, action: Callable[[Session], Result]) -> Result:
        result = action(await self.sendable())
        self.update()
        await trio.lowlevel.cancel_shielded_checkpoint()  # it is too late to cancel what was queued
        return result

    async def take_item(self, take: Callable[[], Taken | None], until: float | None) -> Taken:
        await trio.lowlevel.checkpoint_if_cancelled()
        taken = await super().take_item(take, until)
        await trio.lowlevel.cancel_shielded_checkpoint()  # cancelled here, what was taken would be lost
        return taken

    async def wait_for_input(self, until: float | None) -> None:
        await self.arrivals.park()

    def update(self) -> None:
        session = self.opened_session()
        if session.ending is Ending.ABORT:
            self.scope.cancel()
        if self.holding:
            self.release_held()
        if not session.write_paused and self.waiting > self._high:
            session.pause_writing(self.waiting)
        if self._writer and (session.output or session.ending is not Ending.NONE):
            self._writer.unpark_all()
        if self._reader and session.reading:
            self._reader.unpark_all()
        if self.arrivals and (cast(MessageQueue, session.queue).items or not session.quiet):
            self.arrivals.unpark_all()
        if session.deadline is not None:
            self._alarm.deadline = min(self._alarm.deadline, session.deadline)

    async def _read(self, session: Session) -> None:
        """Receive until the peer has ended its direction of TCP."""
        while True:
            while not session.reading:
                await self._reader.park()
            if session.has_held_back:  # there is room again
                if session.process([], self.now()):
                    self._advance_alarm(session)
                self.update()
                continue
            try:
                data = await self.stream.receive_some(READ_SIZE)
            except Exception as error:  # a stream of the caller may raise others than those of trio
                session.note_cause(error)
                data = b""
            if not data:
                session.receive_eof(self.now())
                self.update()
                return
            self._receive(session, data)
            self.update()

    def _receive(self, session: Session, data: bytes | bytearray) -> None:
        if self.received_log is not None:
            self.received_log.feed(data)
        if session.receive(data, self.now()):
            self._advance_alarm(session)

    def _advance_alarm(self, session: Session) -> None:
        """Let the clock task look earlier if control frames ask for it: a pong, after which the next
        ping may be due before the next look at a silent peer.
        """
        when = session.next_timer()
        if when is not None:
            self._alarm.deadline = min(self._alarm.deadline, when)

    async def _write(self, session: Session) -> None:
        """Write what the session has to send, and end TCP as it asks."""
        try:
            while session.ending is not Ending.CLOSE or session.output:
                if session.output:
                    await self._send(session, memoryview(session.data_to_send()))
                elif session.ending is Ending.OUTPUT and not self._output_ended:
                    await self._end_output()
                else:
                    await self._writer.park()
            await self.stream.aclose()
        except Exception as error:
            session.note_cause(error)
            session.write_failed(self.now())
            self.update()
            while session.ending is not Ending.CLOSE:  # until all that has arrived is read
                await self._writer.park()
        self.scope.cancel()

    async def _send(self, session: Session, data: memoryview) -> None:
        if self.sent_log is not None:
            self.sent_log.feed(data)
        for start in range(0, len(data), WRITE_SIZE):
            piece = data[start : start + WRITE_SIZE]
            await self.stream.send_all(piece)
            self.bytes_sent += len(piece)
            if session.write_paused and self.waiting <= self._low:
                session.resume_writing()
                self.turns.give()
                self.update()

    async def _end_output(self) -> None:
        """End our direction of TCP; with TLS, which peers do not half-close, both directions."""
        self._output_ended = True
        if isinstance(self.stream, trio.abc.HalfCloseableStream):
            await self.stream.send_eof()
        else:
            await self.stream.aclose()

    async def _watch_clock(self, session: Session) -> None:
        """Do what the session wants to be done in time."""
        while True:
            when = session.next_timer()
            with trio.CancelScope(deadline=math.inf if when is None else when) as self._alarm:
                await trio.sleep_forever()
            session.written(session.bytes_queued, self.waiting)
            session.handle_timer(self.now())
            self.update()
