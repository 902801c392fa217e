"""The coroutine API of one WebSocket: `recv`, `recv_streaming`, iteration and `send`.

A whole read is processed before any task wakes, and `recv` finds the next message in the queue
without a switch. A full queue stops reading from the transport; a full transport makes `send` wait.
"""

from __future__ import annotations

import asyncio
import sys
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Mapping
from contextlib import aclosing, closing
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias, cast, overload

from ..errors import ConcurrencyError, ConnectionClosedOK, StateError
from ..protocol.constants import Role
from ..protocol.events import Event
from ..session.broadcast import Broadcast, Compression, skip
from ..session.connection import BaseConnection, as_payload, close_code_after
from ..session.fragments import closing_generator, mark_last
from ..session.logs import Logger, adapt_logger
from ..session.message_queue import ALREADY_RECEIVING, Message, MessageQueue, encode_or_decode
from ..session.session import ABANDONED_MESSAGE, Data, Session, length_of
from ..session.settings import ConnectionSettings
from .callbacks import ListenerConnection
from .driver import Driver
from .inbox import post
from .logged_driver import LoggedDriver, choose_driver
from .timer import SharedTimer
from .transport_writer import MAX_CORKED, MIN_UNCORKED, TransportWriter, max_corked_message

__all__ = ["AnyConnection", "Connection", "broadcast"]

#: `recv` lets other tasks run after this many messages that it did not have to wait for.
MESSAGES_PER_TURN: Final = 256

#: Messages of more than this, in bytes or characters, are compressed in steps between which other
#: tasks run.
MAX_COMPRESSED_AT_ONCE: Final = 1 << 16


class Connection(BaseConnection):
    """An open WebSocket, made by `serve` or `connect`.

    Use it as an async iterator over the peer's messages (`str` for text, `bytes` for binary), which
    ends with an orderly close and raises `ConnectionClosedError` otherwise; or call `recv` and
    `send`. One task may receive at a time, any number may send.
    """

    _driver: Driver

    __slots__ = ("_encodes", "_in_fragments", "_max_corked", "_queue", "_taken", "_writer")

    def __init__(self, role: Role, settings: ConnectionSettings, timer: SharedTimer, logger: Logger) -> None:
        driver = choose_driver(logger)(role, settings, timer, True, self)
        super().__init__(driver)
        if isinstance(driver, LoggedDriver):
            driver.set_logger(adapt_logger(logger, self))
        self._queue = cast(MessageQueue, None)
        self._writer: TransportWriter | None = None
        self._encodes = False
        self._max_corked = max_corked_message(settings)
        self._taken = 0  # messages taken without waiting
        self._in_fragments = False  # these parts are fragments

    def opened(self, session: Session, compressed: bool) -> None:
        """Take over the session at the end of the opening handshake."""
        self._queue = cast(MessageQueue, session.queue)
        self._writer = self._driver.writer
        self._encodes = compressed
        self._session = session

    # What it is.

    @property
    @abstractmethod
    def logger(self) -> Logger:
        """The logger; its records have the connection as `websocket`."""

    @property
    def transport(self) -> asyncio.Transport:
        """The asyncio transport; to ask it, not to read or write."""
        return self._driver.transport

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the connection belongs to."""
        return self._driver.loop

    # Receiving.

    @property
    def next_size(self) -> int | None:
        """The size in bytes of the message, or the piece of one, that `recv` would begin with.

        None if none waits.
        """
        if self._session is None:
            return None
        size = self._queue.next_size
        self._make_room()  # the rest of a message may have been dropped
        return size

    @overload
    async def recv(self, decode: None = None) -> Message: ...

    @overload
    async def recv(self, decode: Literal[True]) -> str: ...

    @overload
    async def recv(self, decode: Literal[False]) -> bytes: ...

    @overload
    async def recv(self, decode: bool) -> Message: ...

    async def recv(self, decode: bool | None = None) -> Message:
        """Receive the next message. Cancelling loses nothing.

        Args:
            decode: False gives text as its UTF-8, True decodes binary; by default text is `str`,
                binary `bytes`.

        Raises:
            ConnectionClosed: The connection has ended, and everything that arrived before has been
                received.
            ConcurrencyError: Another task receives, or a message is being received in pieces.
            UnicodeDecodeError: `decode` is True, and the message, which is dropped, is binary that
                is not UTF-8.
        """
        # Like `_recv`, without its calls for a whole message: test_recv_and_iteration_return_the_same.
        driver, queue, session = self._driver, self._queue, self._session
        if session is not None and driver.receiver is None and not queue.streaming:
            if not queue.items and session.quiet:
                if session.output:
                    driver.writer.flush()
                driver.receiver = driver.waiter
                try:
                    await driver.waiter
                finally:
                    driver.receiver = None
                    self._taken = 0
            items = queue.items
            if items and self._taken < MESSAGES_PER_TURN:
                item = items[-1]
                if type(item) is bytes or type(item) is str:  # no part of a message is missing
                    self._taken += 1
                    queue.size -= len(item)
                    del items[-1]
                    if not session.reading:
                        self._make_room()
                    return item if decode is None else encode_or_decode(item, decode, self._text_errors)
        message = await self._recv()
        return message if decode is None else encode_or_decode(message, decode, self._text_errors)

    async def _recv(self) -> Message:
        await self._let_others_run()
        while (message := self._queue.take_message()) is None:
            self._make_room()
            await self._wait_for_items()
        self._taken += 1
        self._make_room()
        return message

    @overload
    def recv_streaming(self, decode: None = None) -> AsyncIterator[Message]: ...

    @overload
    def recv_streaming(self, decode: Literal[True]) -> AsyncIterator[str]: ...

    @overload
    def recv_streaming(self, decode: Literal[False]) -> AsyncIterator[bytes]: ...

    @overload
    def recv_streaming(self, decode: bool) -> AsyncIterator[Message]: ...

    async def recv_streaming(self, decode: bool | None = None) -> AsyncIterator[Message]:
        """Receive the next message as an async iterator over its pieces, as they arrive.

        A piece is the payload of one frame, or at most `piece_size` bytes of it, which then come
        while the rest is still under way. From the first call on such messages arrive in pieces;
        what `recv` returns does not change. Take every piece: until the last one is taken, other
        calls raise ConcurrencyError. Raises as `recv`; UnicodeDecodeError, if `decode` is True and a
        piece of binary is not UTF-8, drops the rest of the message.

        Args:
            decode: As for `recv`; a code point in two pieces comes with the second one.
        """
        self._check_receiving()
        self._driver.deliver_fragments()
        await self._let_others_run()
        self._queue.check_between_messages()  # last, as others may have begun to receive a message
        while True:
            while (taken := self._queue.take_piece()) is None:
                self._make_room()
                await self._wait_for_items()
            piece, last = taken
            self._taken += 1
            self._make_room()
            yield self._queue.convert_piece(piece, last, decode)
            if last:
                return
            await self._let_others_run()

    @property
    def _text_errors(self) -> str:
        return cast(Session, self._session).settings.text_errors

    def _check_receiving(self) -> None:
        if self._session is None:
            raise StateError("the opening handshake is not done")
        if self._driver.receiver is not None:
            raise ConcurrencyError(ALREADY_RECEIVING)

    async def _let_others_run(self) -> None:
        self._check_receiving()
        if self._taken >= MESSAGES_PER_TURN:
            self._taken = 0
            await asyncio.sleep(0)
            self._check_receiving()

    def _make_room(self) -> None:
        """Go on reading if what was taken has made room."""
        if self._session.has_room_again:  # type: ignore[union-attr]
            self._driver.make_room()

    async def _wait_for_items(self) -> None:
        """Wait until the queue may have more. Raises ConnectionClosed at the end."""
        driver, session = self._driver, cast(Session, self._session)
        self._check_receiving()
        self._taken = 0
        if session.stream.failing is not None:
            session.settle(driver.now())
            driver.update()
        if self._queue.items:
            return
        if session.over:
            raise session.error()
        if session.output:
            driver.writer.flush()  # everything that was read is answered
        driver.receiver = driver.waiter
        try:
            await driver.waiter
        finally:
            driver.receiver = None

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def aclose(self) -> None:
        """End an iteration, like the method of a generator; the connection stays open (see
        `close`).
        """

    async def __anext__(self) -> Message:
        # Like `_recv`, without its calls for a whole message, as `recv`.
        driver, queue, session = self._driver, self._queue, self._session
        if session is not None and driver.receiver is None and not queue.streaming:
            if not queue.items and session.quiet:
                if session.output:
                    driver.writer.flush()
                driver.receiver = driver.waiter
                try:
                    await driver.waiter
                finally:
                    driver.receiver = None
                    self._taken = 0
            items = queue.items
            if items and self._taken < MESSAGES_PER_TURN:
                item = items[-1]
                if type(item) is bytes or type(item) is str:  # no part of a message is missing
                    self._taken += 1
                    queue.size -= len(item)
                    del items[-1]
                    if not session.reading:
                        self._make_room()
                    return item
            elif not items and session.over and session.stream.failing is None and session.close_state.orderly:
                raise StopAsyncIteration
        try:
            return await self._recv()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None

    def deliver(self, events: list[Event]) -> None:
        """Wake the receiver once for what a read has brought; called by the driver."""
        self._driver.update()
        self._driver.wake_receiver()

    def lost(self) -> None:
        """Process the loss of the transport; called by the driver."""

    # Sending.

    async def send(
        self,
        message: Data | Iterable[Data] | AsyncIterable[Data],
        text: bool | None = None,
        *,
        compress: bool | None = None,
    ) -> None:
        """Send one message.

        An iterable or async iterable is sent as one message of as many fragments, which are all
        text or all binary; other messages wait until it is over. If it raises, the connection is
        closed with 1011. A generator is closed if the rest cannot be sent. Messages longer than
        `fragment_size` are sent in fragments too. A message of over 64 KiB is compressed in steps,
        between which other tasks run; messages still leave in the order of the calls.

        Waits first while more than `write_limit` bytes wait for the network, and after much was sent
        until other tasks have run. A call that is cancelled has sent nothing, and a call that returns
        has sent everything.

        Args:
            message: Text as `str`, binary as a bytes-like object, or an iterable of one of them.
            text: Whether it is sent as text; by default the type decides.
            compress: Whether it is compressed, if that was agreed on; by default its size decides.

        Raises:
            ConnectionClosed: The connection has ended.
            TypeError: `message` is none of these.
            PayloadTooBigError: It is larger than `max_send_size`.
        """
        writer = self._writer
        if text is None and compress is None and writer is not None and not writer.blocked:
            if writer.uncorked and writer.send_whole(message):
                writer.uncorked = False
                return
            if (type(message) is str or type(message) is bytes) and len(message) <= self._max_corked:
                session: Any = self._session
                try:
                    session.send_whole(message)
                except StateError:
                    pass  # which end this is will be known when it is over
                else:
                    if writer.uncorked or not session.handling or session.output_size > MAX_CORKED:
                        writer.cork()
                    return
        if isinstance(message, (str, bytes, bytearray, memoryview)):
            await self._send_whole(message, text, compress)
        elif isinstance(message, (Iterable, AsyncIterable)) and not isinstance(message, Mapping):
            fragments = cast("Iterable[Data]", message)
            async with closing_generator(fragments), aclosing(mark_last(fragments)) as marked:
                await self._sendable(whole=True)
                await self._send_fragments(marked, text, compress)
        else:
            raise TypeError(f"a message is str, bytes or an iterable of them, not {type(message).__name__}")

    async def _send_whole(self, message: Data, text: bool | None, compress: bool | None) -> None:
        session = await self._sendable(whole=True)
        length = length_of(message)
        if self._encodes and compress is not False and length > MAX_COMPRESSED_AT_ONCE:
            self._begin_parts()
            try:
                await self._take_steps(session.send_steps(message, text=text, compress=compress))
                self._cork()
            finally:
                self._end_parts()
        elif session.is_fragmented(message):
            self._driver.send_fragments(message, text, compress)
            self._cork()
        elif not (text is None and compress is None and length >= MIN_UNCORKED and self._send_large(message)):
            session.send(message, text, compress=compress)
            self._cork()

    def _send_large(self, message: Data) -> bool:
        return cast(TransportWriter, self._writer).send_large(message)

    def _cork(self) -> None:
        cast(TransportWriter, self._writer).cork()

    async def _take_steps(self, steps: Generator[None, None, None]) -> None:
        """Take the steps of `Session.send_steps`, and let other tasks run in between."""
        with closing(steps):
            for _ in steps:
                await asyncio.sleep(0)
                await self._sendable()

    async def _send_fragments(
        self, fragments: AsyncIterable[tuple[Data, bool]], text: bool | None, compress: bool | None
    ) -> None:
        """Send fragments, each with whether it is the last, while other messages wait; to be called
        with the turn to send.
        """
        self._in_fragments = True
        self._begin_parts()
        begun = False
        try:
            async for fragment, last in fragments:
                session = await self._sendable()
                session.send(fragment, text, last=last, compress=compress)
                begun = not last
                self._cork()
        except BaseException:
            if begun:  # the message can neither be ended any more nor another one begun
                self.start_closing(*ABANDONED_MESSAGE)
            raise
        finally:
            self._end_parts()

    def _begin_parts(self) -> None:
        cast(TransportWriter, self._writer).set_in_parts(True)

    def _end_parts(self) -> None:
        self._in_fragments = False
        cast(TransportWriter, self._writer).set_in_parts(False)

    async def _sendable(self, whole: bool = False) -> Session:
        """Wait for the turn to send, and with `whole` until no message is being sent in parts.

        Raises ConnectionClosed after the end.
        """
        session, writer = self._session, self._writer
        if session is None or writer is None:
            raise StateError("the opening handshake is not done")
        await writer.drain(whole)
        if not session.check_sendable():
            await self._driver.wait_lost()
            raise session.error()
        return session

    async def ping(self, data: Data | None = None) -> asyncio.Future[float]:
        """Send a ping; await the result for its pong.

        Args:
            data: At most 125 bytes, text as UTF-8; by default 4 random bytes.

        Returns:
            A future of the round trip in seconds. A pong answers all pings before its own too
            (5.5.3).

        Raises:
            ConcurrencyError: A ping with this payload waits for its pong.
            ConnectionClosed: The connection has ended.
            PayloadTooBigError: `data` is longer.
            TextError: The text cannot be encoded as UTF-8.
        """
        await self._sendable()
        answer = self._driver.ping(None if data is None else as_payload(data))
        self._cork()
        return answer

    async def pong(self, data: Data = b"") -> None:
        """Send an unsolicited pong: a heartbeat in one direction (5.5.3).

        Args:
            data: At most 125 bytes, text as UTF-8.

        Raises:
            ConnectionClosed: The connection has ended.
            PayloadTooBigError: `data` is longer.
            TextError: The text cannot be encoded as UTF-8.
        """
        (await self._sendable()).pong(as_payload(data))
        self._cork()

    # The end.

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Close, and wait for the end.

        The connection is aborted if the peer has not done its part within `close_timeout`. What
        arrives meanwhile can still be received, as far as the queue has room. Closing again only
        waits.

        Args:
            code: The close code; None: an empty close frame.
            reason: At most 123 bytes of UTF-8.
        """
        self.start_closing(code, reason)
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the connection has ended, whoever closed it."""
        await self._driver.wait_lost()

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close(close_code_after(error))


#: A connection of either API.
AnyConnection: TypeAlias = Connection | ListenerConnection


def broadcast(
    connections: Iterable[AnyConnection],
    message: Data,
    *,
    text: bool | None = None,
    raise_exceptions: bool = False,
    compression: Compression = "shared",
) -> None:
    """Send one message to all open `connections` without waiting for any; from any thread.

    Each connection is written to by its own event loop: at once by the running one, soon by others.
    The messages of one thread keep their order.

    A peer that does not keep up is closed with 1013 (try again later): one that has let the
    transport fill up (`write_limit`), and then takes less than is added, by more than `write_limit`
    bytes. A connection that is in the middle of another message in fragments, or cannot send the
    message as it is larger than its `max_send_size`, is left out, with a warning in its log.

    Args:
        connections: The connections; those that are not open are left out.
        message: Text as `str`, binary as a bytes-like object.
        text: Whether the message is sent as text; by default the type decides.
        raise_exceptions: Whether to raise the exceptions of single connections at the end, instead
            of logging them; those of other event loops are logged.
        compression: "shared" compresses the message once for all connections with the same settings
            of permessage-deflate. After it, each of them begins its own next message with an empty
            window. "own" compresses it for each connection, with the context of its earlier
            messages: smaller if these are nearly alike. None does not compress.

    Raises:
        TypeError: `message` is neither text nor binary.
        ValueError: `compression` is none of these, or `raise_exceptions` needs Python 3.11.
        TextError: The text is not UTF-8.
        ExceptionGroup: `raise_exceptions` is set, and connections were left out: the error of each,
            such as a ConcurrencyError or a PayloadTooBigError.
    """
    message_to_all = Broadcast(message, text, compression)
    if raise_exceptions and sys.version_info < (3, 11):
        raise ValueError("raise_exceptions needs Python 3.11")
    skipped: list[Exception] = []
    elsewhere = _broadcast_here(connections, message_to_all, skipped if raise_exceptions else None)
    for loop, others in elsewhere.items():
        post(loop, _broadcast_copy, others, message_to_all)
    if skipped:
        raise ExceptionGroup("skipped broadcast", skipped)  # noqa: F821 - there since Python 3.11


def _broadcast_copy(connections: Iterable[AnyConnection], message: Broadcast) -> None:
    """Send a message of another thread: a copy, since both count references."""
    _broadcast_here(connections, message.copy(), None)


def _broadcast_here(
    connections: Iterable[AnyConnection], message: Broadcast, skipped: list[Exception] | None
) -> dict[asyncio.AbstractEventLoop, list[AnyConnection]]:
    """Send a message to the open connections of the running event loop; return the others by loop.

    Args:
        connections: The connections.
        message: The message.
        skipped: Gets the errors of connections that are left out, which are logged otherwise.
    """
    here, frames = asyncio._get_running_loop(), message.frames
    elsewhere: dict[asyncio.AbstractEventLoop, list[AnyConnection]] = {}
    last, others = here, None  # of the last connection of another event loop
    for connection in connections:
        driver = connection._driver
        if driver.loop is not here:
            if driver.loop is not last:
                last = driver.loop
                others = elsewhere.setdefault(last, [])
            others.append(connection)  # type: ignore[union-attr]
            continue
        session, writer = connection._session, connection._writer
        if session is None or writer is None:
            continue
        try:
            if not session.output and not writer.blocked and writer.send_shared(frames):
                continue
            waiting = writer.unsent if writer.blocked else 0
            if not message.queue(session, driver.now(), waiting, connection._in_fragments):
                driver.update()
            elif session.handling or len(session.output) > 1:
                writer.cork()
            else:
                writer.flush()
        except Exception as error:
            skip(connection.logger, error, skipped)
    return elsewhere
