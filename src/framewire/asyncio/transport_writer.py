"""`TransportWriter`: everything about writing to one asyncio transport.

    send ─▶ Session.output ─ flush ─▶ SocketWriter ─▶ socket, or the transport for what the socket does not take

Writes are corked: the frames of one read, or of one turn of the event loop, leave in one system
call. The first answer to a single message does not wait for more.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from .._backend import SocketWriter
from ..session.logs import FrameLog
from ..session.session import Ending, Session
from ..session.settings import ConnectionSettings
from ..session.turns import Turns

__all__ = ["MAX_CORKED", "MIN_UNCORKED", "TransportWriter", "end_output", "max_corked_message", "write_buffer_size"]

#: Corked bytes that leave at once, to be sent while further frames are made.
MAX_CORKED: Final = 1 << 16

#: Uncompressed messages of this size, in bytes or characters, are not copied into the cork.
MIN_UNCORKED: Final = 1 << 15

#: How many tasks that wait to send are woken together: their messages leave in one write.
WOKEN_AT_ONCE: Final = 16

#: Senders let other tasks run after this many writes of a full cork or of a long message.
WRITES_PER_TURN: Final = 16

#: The transports that write exactly what they are given to their socket, and whose socket tells
#: when it is closed.
_PLAIN_TRANSPORTS: Final = {
    "aiofastnet.selector_transport.SelectorSocketTransport",
    "asyncio.selector_events._SelectorSocketTransport",
    "uvloop.loop.TCPTransport",
    "uvloop.loop.UnixTransport",
}


_ABORT: Final = Ending.ABORT  # see `OPEN` in `constants`


class TransportWriter:
    """The send side of a connection: cork, socket and backpressure.

    Attributes:
        uncorked: Whether the next frame leaves at once.
        send_whole: Sends a whole message straight to the socket if it can be sent as it is: True,
            or False without side effects. To be called only while `uncorked` and not `blocked`.
        send_shared: Sends the frame of a shared message likewise.
        socket_writer: The `SocketWriter`.
        blocked: Whether senders have to wait or ask: the transport is full, a message is being sent
            in parts, others wait, or other tasks are to run first.
    """

    __slots__ = (
        "_flush_scheduled", "_loop", "_session", "_turns", "_writes", "blocked", "send_shared",
        "send_whole", "socket_writer", "transport", "uncorked",
    )  # fmt: skip

    def __init__(self, session: Session, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._session = session
        self._loop = loop
        self.transport = transport
        limit = min(session.settings.fragment_size or sys.maxsize, sys.maxsize)
        self._use(SocketWriter(session.stream, transport, _socket_of(transport), limit))
        self._turns: Turns | None = None  # made when somebody waits for the first time
        self._flush_scheduled = False
        self._writes = 0  # large ones, since senders were last paused
        self.blocked = False
        self.uncorked = True

    @property
    def bytes_sent(self) -> int:
        """Bytes of frames written so far."""
        sent: int = self.socket_writer.bytes_sent
        return sent

    @property
    def waiting(self) -> int:
        """Bytes that the transport holds."""
        return write_buffer_size(self.transport)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the network, in the transport or in the session."""
        return self.waiting + self._session.output_size

    def log_frames(self, log: FrameLog) -> None:
        """Log the frames that are written from now on; to be called before the first one."""
        self._use(LoggedSocketWriter(self.socket_writer, log))

    def _use(self, socket_writer: Any) -> None:
        self.socket_writer = socket_writer
        self.send_whole: Callable[[object], bool] = socket_writer.send
        self.send_shared: Callable[[dict[object, bytes]], bool] = socket_writer.send_shared

    # Writing.

    def send_large(self, message: object) -> bool:
        """Send a long message after what is corked, without copying it.

        False if it cannot be sent as it is.
        """
        self.flush()
        self.uncorked = False
        self._count_write()
        return self.send_whole(message)

    def cork(self) -> None:
        """Write what the session has to send: at once, or with what else is sent in this turn of
        the event loop.
        """
        if self.uncorked:
            self.uncorked = False
            self._push()
        elif self._session.output_size > MAX_CORKED:
            self._push()
            self._count_write()
        elif not (self._flush_scheduled or self._session.handling):
            self._flush_scheduled = True
            self._loop.call_soon(self._flush_later)

    def defer(self) -> None:
        """Leave what the session has to send to a call of `flush` that follows soon; write it now if
        it is much.
        """
        self.uncorked = False
        if self._session.output_size > MAX_CORKED:
            self._push()

    def _flush_later(self) -> None:
        self._flush_scheduled = False
        self.flush()

    def flush(self) -> None:
        """Write what the session has to send, now."""
        if self._session.output:
            self._push()
        self.uncorked = not self._session.handling

    def _push(self) -> None:
        data = self._session.data_to_send()  # cleared first: the transport may call back
        if self._session.ending is not _ABORT:
            self.socket_writer.write(data)

    def may_write(self) -> bool:
        """Return whether a further message may be written; aborts the connection if the peer does
        not read.

        Not asked for control frames: pings and pongs are due while one long message is written, and
        are limited by other rules.
        """
        session = self._session
        if session.write_paused and not session.check_unsent(self.waiting):
            self.abort()
        return session.ending is not _ABORT

    # Backpressure.

    def pause_writing(self) -> None:
        """Take note that the transport is full."""
        self._session.pause_writing(self.waiting)
        self.blocked = True

    def resume_writing(self) -> None:
        """Take note that the transport has room again."""
        self._session.resume_writing()
        if self._turns is None:
            self.blocked = False
        else:
            self._give_turns()

    @property
    def turns(self) -> Turns:
        """The order of the tasks that wait to send."""
        if self._turns is None:
            self._turns = Turns(self._session, partial(Event, self._loop), WOKEN_AT_ONCE)
        return self._turns

    def _give_turns(self) -> None:
        turns = self.turns
        try:
            turns.give()
        finally:
            self.blocked = turns.blocked

    def _count_write(self) -> None:
        """Count a large write; after some of them, senders wait until other tasks have run.

        A loop that only sends would otherwise never learn that the peer is gone, and no other task
        would run again: a transport that is lost takes everything, and tells in a later turn of the
        event loop.
        """
        self._writes += 1
        if self._writes == WRITES_PER_TURN:
            self._writes = 0
            self.turns.paused = self.blocked = True
            self._loop.call_soon(self._resume_senders)

    def _resume_senders(self) -> None:
        self.turns.paused = False
        self._give_turns()

    def set_in_parts(self, in_parts: bool) -> None:
        """Begin or end a message that is sent in parts."""
        self.turns.in_parts = in_parts
        self._give_turns()

    def call_in_turn(self, function: Callable[[], object]) -> None:
        """Call a function once the transport has room and no message is being sent in parts, after
        those who wait in `drain` already; or when the connection is over.
        """
        self.turns.add(function)
        self._give_turns()

    def end_parts(self) -> None:
        """End a message that was sent in parts on a connection whose senders do not wait."""
        self.set_in_parts(False)
        if self.blocked:
            self.turns.call_all()

    async def drain(self, whole: bool = False) -> None:
        """Wait until the transport has room and all who came before have sent, or the connection is
        over.

        Args:
            whole: Wait also until no message is being sent in parts.
        """
        if self.blocked and self.turns.must_wait(whole):
            try:
                await self.turns.wait(whole)
            finally:
                if self.turns.calls_next:
                    self._loop.call_soon(self._give_turns)  # after the caller has sent
                else:
                    self._give_turns()

    # The end.

    def close(self) -> None:
        """Leave everything to the transport from now on: it is being closed."""
        self.socket_writer.close()

    def abort(self) -> None:
        """Close the connection at once; what was not written is lost."""
        self.socket_writer.close()
        self.transport.abort()


class Event:
    """An `asyncio.Event` for a single task, which costs less."""

    __slots__ = ("_future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._future: asyncio.Future[None] = loop.create_future()

    def set(self) -> None:
        """Wake the task that waits."""
        if not self._future.done():
            self._future.set_result(None)

    def wait(self) -> asyncio.Future[None]:
        """Return what a task awaits."""
        return self._future


class LoggedSocketWriter:
    """Writes like `SocketWriter` and logs the frames, which therefore all come as bytes of the
    session.
    """

    def __init__(self, writer: Any, log: FrameLog) -> None:
        self._writer = writer
        self._log = log

    @property
    def bytes_sent(self) -> int:
        """Bytes of frames written so far."""
        sent: int = self._writer.bytes_sent
        return sent

    def send(self, message: object) -> bool:
        """Leave the message to the session."""
        return False

    def send_shared(self, frames: dict[object, bytes]) -> bool:
        """Leave the message to the session."""
        return False

    def write(self, data: bytes) -> None:
        """Log the frames and write them."""
        self._log.feed(data)
        self._writer.write(data)

    def close(self) -> None:
        """Leave everything to the transport from now on."""
        self._writer.close()


def max_corked_message(settings: ConnectionSettings) -> int:
    """Return the length up to which a message is simply corked: bytes, or characters of up to 4
    bytes each.
    """
    return min(MIN_UNCORKED - 1, (settings.fragment_size or MIN_UNCORKED << 2) // 4)


def _socket_of(transport: asyncio.BaseTransport) -> Any:
    """Return the socket to ask for the descriptor to write to beside the transport.

    None where only the transport may write, as with TLS.
    """
    kind = type(transport)
    if sys.platform == "win32" or f"{kind.__module__}.{kind.__qualname__}" not in _PLAIN_TRANSPORTS:
        return None
    sock = transport.get_extra_info("socket")
    return getattr(sock, "_sock", sock)  # asyncio's wrapper costs more than the descriptor that it is asked for


def write_buffer_size(transport: asyncio.WriteTransport) -> int:
    """Return how many bytes a transport holds; 0 for a TLS transport of asyncio that has forgotten it
    at its end.
    """
    try:
        return transport.get_write_buffer_size()
    except AttributeError:
        return 0


def end_output(transport: asyncio.Transport) -> None:
    """End our direction of TCP once all is written; with TLS, which peers do not half-close, both
    directions.
    """
    if transport.can_write_eof():
        try:  # noqa: SIM105 - `suppress` would be three more calls for each connection
            transport.write_eof()
        except OSError:
            pass  # the peer has ended both directions already
    else:
        transport.close()
