"""`Driver`: moves bytes and time between one trio stream and one session.

    stream ─ receive_some ─ reader task ─▶ Session ─▶ queue ─ recv()
    stream ◀─ send_all ─ writer task ◀─ Session ◀─ send(), the reader's replies, the clock task

The three tasks run in one nursery from the end of the opening handshake to the end of TCP. Only
they touch the stream, so a call of the API that is cancelled never leaves half a frame. The session
decides everything; after each call to it `update` does what it asks for.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

import trio

from ..errors import StateError
from ..protocol.codecs import Codec
from ..protocol.constants import Role, State
from ..session.logs import FrameLog, Logger
from ..session.message_queue import MessageQueue
from ..session.session import Ending, Session
from ..session.settings import ConnectionSettings

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["STREAM_ERRORS", "Driver", "addresses_of", "limit_time", "write_on"]

#: The most that one read brings, in bytes.
READ_SIZE: Final = 1 << 16

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
    taken for slow.
    """
    ends = {driver: driver.opened_session().bytes_queued for driver in drivers}
    while ends := {
        each: end for each, end in ends.items() if each.bytes_sent < end and each.opened_session().write_paused
    }:
        sent = {each: each.bytes_sent for each in ends}
        for _ in range(WRITE_TURNS):
            await trio.lowlevel.cancel_shielded_checkpoint()
        ends = {each: end for each, end in ends.items() if each.bytes_sent != sent[each]}


class Driver:
    """The tasks of one connection.

    Args:
        stream: The stream, after TLS has been started.
        role: Which end this is.
        settings: The limits and times of the connection.
    """

    def __init__(self, stream: trio.abc.Stream, role: Role, settings: ConnectionSettings) -> None:
        self.stream = stream
        self.settings = settings
        #: The addresses of both ends, None for a stream without a socket.
        self.local_address, self.remote_address = addresses_of(stream)
        self.session: Session | None = None
        #: Set when TCP has ended.
        self.closed = trio.Event()
        #: Where tasks wait for a message or the end, and for room in the write buffer or the end.
        self.arrivals, self.room = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()
        self._role = role
        self._high, self._low = settings.write_marks
        #: Bytes of frames that the stream has taken so far.
        self.bytes_sent = 0
        self._output_ended = False
        self._received_log: FrameLog | None = None
        self._sent_log: FrameLog | None = None
        #: Where the reader waits for room in the queue, and the writer for output.
        self._reader, self._writer = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()
        self._alarm = trio.CancelScope()

    # What the connection tells of itself.

    @property
    def state(self) -> State:
        """CONNECTING during the opening handshake, then the session's state.

        CLOSED if it never opened.
        """
        if self.session is not None:
            return self.session.state
        return State.CLOSED if self.closed.is_set() else State.CONNECTING

    @property
    def messages_sent(self) -> int:
        """Messages sent so far."""
        return 0 if self.session is None else self.session.messages_sent

    @property
    def is_write_paused(self) -> bool:
        """Whether more than `write_limit` waits for the network."""
        return self.opened_session().write_paused

    # The life cycle.

    def open(self, rest: bytes, codecs: Sequence[Codec], logger: Logger) -> Session:
        """Begin with the frames; `run` must follow.

        Args:
            rest: What arrived after the opening handshake.
            codecs: The extensions that it agreed on.
            logger: Logs the frames, if it is enabled for DEBUG.
        """
        if logger.isEnabledFor(logging.DEBUG):
            self._received_log, self._sent_log = FrameLog(logger, "<"), FrameLog(logger, ">")
        now = trio.current_time()
        session = self.session = Session(self._role, self.settings, now, codecs=codecs, fragments=True)
        if rest:
            self._receive(session, rest)
        return session

    async def run(self) -> None:
        """Run the connection until the end of TCP. The stream is closed then."""
        session = self.opened_session()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, session)
                    nursery.start_soon(self._watch_clock, session)
                    await self._read(session)
        except BaseExceptionGroup as group:
            # A task that is cancelled from outside ends like any other: whoever cancelled it knows.
            if group.split(trio.Cancelled)[1] is not None:
                raise
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self.stream)
            session.receive_eof(trio.current_time())
            self.closed.set()
            self.arrivals.unpark_all()
            self.room.unpark_all()

    def abort(self) -> None:
        """End both directions at once."""
        self._scope.cancel()

    async def refuse(self, answer: bytes, seconds: float | None) -> None:
        """Write the answer that refuses a connection, and close once the peer has read it, or after
        `seconds`.
        """
        try:
            with suppress(*STREAM_ERRORS), limit_time(seconds):
                await self.stream.send_all(answer)
                await self._end_output()
                # To close a socket with unread input would reset the connection, and the peer lose
                # the answer.
                while await self.stream.receive_some(READ_SIZE):
                    pass
        finally:
            await self.close_unopened()

    async def close_unopened(self) -> None:
        """Close a connection whose opening handshake is not done."""
        self.closed.set()
        await trio.aclose_forcefully(self.stream)

    # For the API's tasks.

    def opened_session(self) -> Session:
        """Return the session. Raises StateError before the opening handshake is done."""
        if self.session is None:
            raise StateError("the opening handshake is not done")
        return self.session

    async def sendable(self) -> Session:
        """Wait until there is room in the write buffer; return the session.

        Raises:
            ConnectionClosed: The connection has ended.
        """
        session = self.opened_session()
        await trio.lowlevel.checkpoint_if_cancelled()
        while session.write_paused and not self.closed.is_set():
            await self.room.park()
        if not session.over and not session.check_sendable():
            await self.closed.wait()  # only the end tells whether it was an orderly one
        if session.over:
            raise session.error()
        return session

    def update(self) -> None:
        """Do what the session asks for, and wake the tasks that it concerns."""
        session = self.opened_session()
        if session.ending is Ending.ABORT:
            self._scope.cancel()
        if not session.write_paused and self._waiting(session) > self._high:
            session.pause_writing(self._waiting(session))
        if self._writer and (session.output or session.ending is not Ending.NONE):
            self._writer.unpark_all()
        if self._reader and session.reading:
            self._reader.unpark_all()
        if self.arrivals and (cast(MessageQueue, session.queue).items or not session.quiet):
            self.arrivals.unpark_all()
        if session.deadline is not None:
            self._alarm.deadline = min(self._alarm.deadline, session.deadline)

    def _waiting(self, session: Session) -> int:
        """Return how many bytes wait for the network."""
        return session.bytes_queued - self.bytes_sent

    # The tasks.

    async def _read(self, session: Session) -> None:
        """Receive until the peer has ended its direction of TCP."""
        while True:
            while not session.reading:
                await self._reader.park()
            if session.has_held_back:  # there is room again
                session.process([], trio.current_time())
                self.update()
                continue
            try:
                data = await self.stream.receive_some(READ_SIZE)
            except STREAM_ERRORS as error:
                session.note_cause(error)
                data = b""
            if not data:
                session.receive_eof(trio.current_time())
                self.update()
                return
            self._receive(session, data)
            self.update()

    def _receive(self, session: Session, data: bytes | bytearray) -> None:
        if self._received_log is not None:
            self._received_log.feed(data)
        session.receive(data, trio.current_time())

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
        except STREAM_ERRORS as error:
            session.note_cause(error)
            session.write_failed(trio.current_time())
            self.update()
            while session.ending is not Ending.CLOSE:  # until all that has arrived is read
                await self._writer.park()
        self._scope.cancel()

    async def _send(self, session: Session, data: memoryview) -> None:
        if self._sent_log is not None:
            self._sent_log.feed(data)
        for start in range(0, len(data), WRITE_SIZE):
            piece = data[start : start + WRITE_SIZE]
            await self.stream.send_all(piece)
            self.bytes_sent += len(piece)
            if session.write_paused and self._waiting(session) <= self._low:
                session.resume_writing()
                self.room.unpark_all()
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
            session.written(session.bytes_queued, self._waiting(session))
            session.handle_timer(trio.current_time())
            self.update()


def addresses_of(stream: Any) -> tuple[Any, Any]:
    """Return the addresses of both ends of a stream, None where there is none any more."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    sock = getattr(stream, "socket", None)
    if sock is None:
        return None, None
    try:
        return sock.getsockname(), sock.getpeername()
    except OSError:  # the peer is gone
        return sock.getsockname(), None
