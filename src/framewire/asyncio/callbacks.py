"""The callback API of one WebSocket, for programs that count microseconds.

No task and no switch stands between the network and the callback, and everything that it sends
while one read is handled leaves in one system call.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Any, cast

from ..errors import StateError
from ..protocol.constants import OPEN, Role
from ..protocol.events import Close, Event, Ping
from ..session.connection import BaseConnection, close_code_after
from ..session.logs import Logger
from ..session.session import MESSAGE_TYPES, Data, Session, length_of
from ..session.settings import ConnectionSettings
from .driver import LOOP_ENDING, Driver
from .timer import SharedTimer
from .transport_writer import MAX_CORKED, MIN_UNCORKED, TransportWriter, max_corked_message

__all__ = ["Listener", "ListenerConnection"]


class Listener:
    """Callbacks for the events of connections; subclass it and give an instance to `serve` or
    `connect`.

    One instance may listen to any number of connections. The callbacks must not block. One that
    raises closes its connection with 1011, and the error is logged; only `on_close` is called after
    it. SystemExit and KeyboardInterrupt end the event loop too, as in any callback of asyncio.
    """

    def on_open(self, connection: ListenerConnection) -> None:
        """Called when the opening handshake is done.

        Args:
            connection: The connection.
        """

    def on_message(self, connection: ListenerConnection, message: str | bytes) -> None:
        """Called with each message.

        Args:
            connection: The connection.
            message: Text is a `str`, binary is `bytes`.
        """

    def on_ping(self, connection: ListenerConnection, payload: bytes) -> None:
        """Called with each ping, which has been answered.

        Args:
            connection: The connection.
            payload: The payload of the ping.
        """

    def on_drain(self, connection: ListenerConnection) -> None:
        """Called when the connection is no longer `full`: at most the low mark of `write_limit`
        waits.

        Args:
            connection: The connection.
        """

    def on_close(self, connection: ListenerConnection, code: int, reason: str) -> None:
        """Called last, when the connection has ended.

        Args:
            connection: The connection.
            code: The peer's close code: 1005 if empty, 1006 without one (7.1.5).
            reason: The peer's close reason.
        """


class ListenerConnection(BaseConnection):
    """An open WebSocket whose events go to a `Listener`. Nothing waits: use it in the event loop's
    thread.

    While the peer reads so slowly that more than `write_limit` bytes wait for it, and `on_message`
    and `on_ping` have sent 64 KiB to it since, nothing is read from it; a message after more than
    `max_unsent` unread bytes aborts the connection.
    """

    _driver: _ListenerDriver
    _in_fragments = False  # it sends no iterables

    __slots__ = ("_failed", "_max_corked", "_writer", "listener")

    def __init__(self, role: Role, settings: ConnectionSettings, timer: SharedTimer, listener: Listener) -> None:
        super().__init__(_ListenerDriver(role, settings, timer, False, self))
        #: The callbacks.
        self.listener = listener
        self._max_corked = max_corked_message(settings)
        self._writer: TransportWriter | None = None
        self._failed = False  # a callback has raised

    def opened(self, session: Session, compressed: bool) -> None:
        """Take over the session at the end of the opening handshake."""
        self._writer = self._driver.writer
        self._session = session
        self._call(self.listener.on_open)

    # What it is.

    @property
    def transport(self) -> asyncio.Transport:
        """The asyncio transport; to ask it, not to read or write."""
        return self._driver.transport

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the connection belongs to."""
        return self._driver.loop

    @property
    @abstractmethod
    def logger(self) -> Logger:
        """The logger for errors of callbacks."""

    @property
    def full(self) -> bool:
        """Whether more than `write_limit` bytes wait for the peer to read them."""
        return self._session is not None and self._session.write_paused

    # Sending.

    def send(self, message: Data, text: bool | None = None, *, last: bool = True, compress: bool | None = None) -> bool:
        """Send one message, or a fragment of one.

        Returns at once; look at `full` before you send much. A whole message of more than
        `fragment_size` bytes is sent in fragments.

        Args:
            message: Text as `str`, binary as a bytes-like object.
            text: Whether it is sent as text; by default the type decides.
            last: False for all fragments of a message but the last.
            compress: Whether it is compressed, if that was agreed on; by default its size decides.

        Returns:
            True; or False, and nothing was sent, if the connection is closing or closed.

        Raises:
            StateError: The opening handshake is not done.
            TypeError: The message is neither text nor bytes-like.
            PayloadTooBigError: The message is larger than `max_send_size`.
            FragmentError: The fragments of a message are of both types.
        """
        writer = self._writer
        if text is None and compress is None and last and writer is not None and not writer.blocked:
            if writer.uncorked and writer.send_whole(message):
                writer.uncorked = False
                return True
            if (type(message) is str or type(message) is bytes) and len(message) <= self._max_corked:
                session: Any = self._session
                try:
                    session.send_whole(message)
                except StateError:
                    return False
                if writer.uncorked or not session.handling or session.output_size > MAX_CORKED:
                    writer.cork()
                return True
        if writer is None:
            raise StateError("the opening handshake is not done")
        return self._send(message, text, last, compress)

    def _send(self, message: Data, text: bool | None, last: bool, compress: bool | None) -> bool:
        """Send a message that is large or needs compression, fragments or a choice of its type."""
        session, writer = cast(Session, self._session), cast(TransportWriter, self._writer)
        length = length_of(message)
        if session.state is not OPEN or not writer.may_write():
            return False
        whole = text is None and compress is None and last
        # While writing is paused, messages go through the session, which counts their bytes.
        if whole and length >= MIN_UNCORKED and not session.write_paused and writer.send_large(message):
            return True
        if not last or session.stream.message_open:
            session.send(message, text, last=last, compress=compress)
            writer.cork()
            if last:
                writer.end_parts()
            else:
                writer.set_in_parts(True)  # messages of topics wait until the last part
            return True
        if session.is_fragmented(message):
            self._driver.send_fragments(message, text, compress)
        else:
            session.send(message, text, compress=compress)
        writer.cork()
        return True

    def ping(self, payload: bytes | bytearray | memoryview = b"") -> asyncio.Future[float]:
        """Send a ping; return a future of the round trip in seconds.

        Args:
            payload: At most 125 bytes; 4 random ones if empty.

        Raises:
            StateError: The connection is not open.
            ConcurrencyError: A ping with this payload waits for its pong.
        """
        if self._writer is None:
            raise StateError("the opening handshake is not done")
        if self.state is not OPEN:
            raise StateError("the connection is not open")
        answer = self._driver.ping(payload or None)
        self._writer.cork()
        return answer

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Begin to close; `on_close` tells when it is done.

        The connection is aborted after `close_timeout`.

        Args:
            code: The close code; None: an empty close frame.
            reason: At most 123 bytes of UTF-8.
        """
        self.start_closing(code, reason)

    async def wait_closed(self) -> None:
        """Wait until the connection has ended, whoever closed it."""
        await self._driver.wait_lost()

    # Receiving; called by the driver.

    def deliver(self, events: list[Event]) -> None:
        """Give the messages and pings of a read to the listener; called by the driver."""
        driver = self._driver
        session, writer = driver.session, driver.writer
        if not events or self._failed:
            self.settle(session)
            return
        session.handling = True
        # The reply to one message leaves at once, those to several together.
        writer.uncorked = len(events) == 1 and not session.output
        listener = self.listener
        try:
            if session.only_messages:
                for event in events:
                    listener.on_message(self, event)  # type: ignore[arg-type]
            else:
                for event in events:
                    if type(event) is bytes or type(event) is str:
                        listener.on_message(self, event)
                    elif isinstance(event, Ping):
                        listener.on_ping(self, event.payload)
        except BaseException as error:
            self.fail(error)
        session.handling = False
        writer.flush()
        self.settle(session)

    def settle(self, session: Session) -> None:
        """After the messages of one read: fail if that was held back, and follow the session."""
        if session.stream.failing is not None:
            session.settle(self._driver.now())
        self._driver.update()

    def _call(self, callback: object, *arguments: object) -> None:
        try:
            callback(self, *arguments)  # type: ignore[operator]
        except BaseException as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Close the connection because a callback has raised.

        The listener gets no more messages, however they are split into reads.
        """
        self._failed = True
        self._driver.deliver_all()
        if isinstance(error, LOOP_ENDING):
            self._driver.end_loop(error)
        else:
            self.logger.error("listener failed", exc_info=error)
        self.start_closing(close_code_after(error))

    def drained(self) -> None:
        """Tell the listener that the transport has room again; called by the driver."""
        if not self._failed:
            self._call(self.listener.on_drain)

    def lost(self) -> None:
        """Process the loss of the transport."""
        if self._session is not None:
            rcvd = self._session.close_state.rcvd or Close(1006, "")
            self._call(self.listener.on_close, rcvd.code, rcvd.reason)


class _ListenerDriver(Driver):
    """The driver of a connection with a listener: reads of messages only take the fewest calls."""

    __slots__ = ()

    _owner: ListenerConnection

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.opened:
            self._owner.drained()

    def process(self, events: list[Event]) -> None:
        session = self.session
        if session.handling:
            return  # a callback has closed, which lets input in that was held back: it comes after this read
        self._owner.deliver(session.process(events, self.now()))
        while session.has_held_back and session.reading:
            self._owner.deliver(session.process([], self.now()))

    def deliver_all(self) -> None:
        """Pass all reads to `ListenerConnection.deliver` from now on."""
        self._max_direct_read = 0

    def buffer_updated(self, nbytes: int) -> None:
        if nbytes > self._max_direct_read:
            self._process_large_read(nbytes)
            return
        events = self._receive(self._buffer, nbytes)
        if not events:
            return
        session, alone = self.session, len(events) == 1
        messages = type(events[0]) in MESSAGE_TYPES if alone else session.are_messages(events)
        if messages:  # what `process` does with them, in the fewest calls
            owner, writer = self._owner, self.writer
            session.handling = True
            writer.uncorked = alone and not session.output
            listener = owner.listener
            try:
                for event in events:
                    listener.on_message(owner, event)  # type: ignore[arg-type]
            except BaseException as error:
                owner.fail(error)
            session.handling = False
            if session.output:
                writer.flush()
            if session.write_paused or session.stream.failing is not None:
                owner.settle(session)
        else:
            self.process(events)
