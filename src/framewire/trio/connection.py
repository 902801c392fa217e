"""The trio API of one WebSocket: `recv`, `recv_streaming`, iteration and `send`."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import closing
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, TypeVar, cast, overload

import trio

from ..errors import ConcurrencyError, ConnectionClosedOK
from ..protocol.codecs import Codec
from ..protocol.constants import Role, State
from ..session.broadcast import Broadcast, Compression
from ..session.connection import BaseConnection, as_payload, close_code_after
from ..session.logs import Logger, adapt_logger
from ..session.message_queue import Message, MessageQueue, encode_or_decode
from ..session.session import ABANDONED_MESSAGE, Data, Session
from ..session.settings import ConnectionSettings
from .driver import Driver, write_on

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

__all__ = ["Connection", "broadcast"]

Taken = TypeVar("Taken")


class Connection(BaseConnection, trio.abc.AsyncResource):
    """An open WebSocket, made by `serve` or `connect`.

    Iterate over it for the peer's messages (`str` for text, `bytes` for binary): that ends with an
    orderly close and raises `ConnectionClosedError` otherwise. Or call `recv` and `send`. One task
    may receive at a time, any number may send.

    Args:
        nursery: The nursery in which the connection runs.
        stream: The stream, after TLS has been started.
        role: Which end this is.
        settings: The limits and times of the connection.
        logger: Where it logs.
    """

    _driver: Driver

    def __init__(
        self, nursery: trio.Nursery, stream: trio.abc.Stream, role: Role, settings: ConnectionSettings, logger: Logger
    ) -> None:
        super().__init__(Driver(stream, role, settings))
        #: The nursery in which the connection runs.
        self.nursery = nursery
        #: The stream; to ask it, not to read or write.
        self.stream = stream
        self._logger = logger
        self._encodes = False
        self._receiving = False
        #: Whether a message is being sent in parts, whether these are fragments, and where others
        #: wait for its end.
        self._in_parts = self._in_fragments = False
        self._turns = trio.lowlevel.ParkingLot()

    @cached_property
    def logger(self) -> logging.LoggerAdapter[Any]:
        """The logger of `serve` or `connect`, whose records have the connection as `websocket`."""
        return adapt_logger(self._logger, self)

    def begin(self, rest: bytes, codecs: list[Codec]) -> None:
        """Begin with the frames after the opening handshake.

        Args:
            rest: What arrived after it.
            codecs: The extensions that it agreed on.
        """
        self._encodes = bool(codecs)
        self._session = self._driver.open(rest, codecs, self.logger)
        self.nursery.start_soon(self._run)

    async def _run(self) -> None:
        self.logger.info("connection open")
        await self._driver.run()
        self.logger.info("connection closed")

    # Receiving.

    @property
    def next_size(self) -> int | None:
        """The size in bytes of the message, or the piece of one, that `recv` would begin with.

        None if none waits.
        """
        return None if self._session is None else cast(MessageQueue, self._session.queue).next_size

    @overload
    async def recv(self, decode: Literal[True]) -> str: ...
    @overload
    async def recv(self, decode: Literal[False]) -> bytes: ...
    @overload
    async def recv(self, decode: bool | None = None) -> Message: ...
    async def recv(self, decode: bool | None = None) -> Message:
        """Receive the next message. Cancelling loses nothing.

        Args:
            decode: False gives text as its UTF-8, True decodes binary; by default text is `str`,
                binary `bytes`.

        Raises:
            ConnectionClosed: The connection has ended, and everything that arrived before has been
                received.
            ConcurrencyError: Another task receives, or a message is being received in pieces.
        """
        queue = cast(MessageQueue, self._driver.opened_session().queue)
        return self._convert(await self._take(queue.take_message), decode)

    @overload
    def recv_streaming(self, decode: Literal[True]) -> AsyncIterator[str]: ...
    @overload
    def recv_streaming(self, decode: Literal[False]) -> AsyncIterator[bytes]: ...
    @overload
    def recv_streaming(self, decode: bool | None = None) -> AsyncIterator[Message]: ...
    async def recv_streaming(self, decode: bool | None = None) -> AsyncIterator[Any]:
        """Receive the next message as an async iterator over its pieces, as they arrive.

        A piece is the payload of one frame, or at most `piece_size` bytes of it, which then come
        while the rest is still under way. Take every piece: until the last one is taken, other
        calls raise ConcurrencyError. Cancelling loses nothing. Raises as `recv`.

        Args:
            decode: See `recv`.
        """
        queue = cast(MessageQueue, self._driver.opened_session().queue)

        def take_first() -> tuple[Message, bool] | None:
            if queue.streaming:
                raise ConcurrencyError("a message is being received in pieces")
            return queue.take_piece()

        piece, last = await self._take(take_first)
        yield self._convert(piece, decode)
        while not last:
            piece, last = await self._take(queue.take_piece)
            yield self._convert(piece, decode)

    def __aiter__(self) -> AsyncIterator[Message]:
        return _Messages(self)

    def _convert(self, data: Message, decode: bool | None) -> Message:
        return encode_or_decode(data, decode, self._driver.settings.text_errors)

    async def _take(self, take: Callable[[], Taken | None]) -> Taken:
        """Wait until `take` returns something, and return it."""
        driver = self._driver
        session = driver.opened_session()
        if self._receiving:
            raise ConcurrencyError("another task is already receiving from this connection")
        await trio.lowlevel.checkpoint_if_cancelled()
        self._receiving = True
        try:
            while (taken := take()) is None:
                self._make_room(session)
                if session.stream.failing is not None:
                    session.settle(trio.current_time())
                    driver.update()
                elif session.over:
                    raise session.error()
                else:
                    await driver.arrivals.park()
            self._make_room(session)
            await trio.lowlevel.cancel_shielded_checkpoint()  # cancelled here, what was taken would be lost
        finally:
            self._receiving = False
        return taken

    def _make_room(self, session: Session) -> None:
        """Go on reading if what was taken has made room."""
        if session.has_room_again:
            session.taken()
            self._driver.update()

    # Sending.

    async def send(
        self,
        message: Data | Iterable[Data] | AsyncIterable[Data],
        *,
        text: bool | None = None,
        compress: bool | None = None,
    ) -> None:
        """Send one message.

        An iterable or async iterable is sent as one message of as many fragments, which are all
        text or all binary; other messages wait until it is over. If it raises or is cancelled, the
        connection is closed with 1011. Messages longer than `fragment_size` are sent in fragments
        too.

        Waits first while more than `write_limit` bytes wait for the network. A call for a whole
        message that is cancelled has sent nothing, and one that returns has sent everything.

        Args:
            message: Text as `str`, binary as a bytes-like object, or an iterable of one of them.
            text: Whether it is sent as text; by default the type decides.
            compress: Whether it is compressed, if that was agreed on; by default its size decides.

        Raises:
            ConnectionClosed: The connection has ended.
            TypeError: `message` is none of these.
            PayloadTooBigError: It is larger than `max_send_size`.
        """
        if isinstance(message, (str, bytes, bytearray, memoryview)):
            await self._send_whole(message, text, compress)
        elif isinstance(message, (Iterable, AsyncIterable)) and not isinstance(message, Mapping):
            await self._send_fragments(cast("Iterable[Data]", message), text, compress)
        else:
            raise TypeError(f"a message is str, bytes or an iterable of them, not {type(message).__name__}")

    async def _send_whole(self, message: Data, text: bool | None, compress: bool | None) -> None:
        session = await self._next_turn()
        if session.is_fragmented(message):
            for fragment, is_text, last in session.fragments(message, text):
                session.send(fragment, is_text, last=last, compress=compress)
        elif self._encodes and compress is not False:
            self._in_parts = True
            try:
                with closing(session.send_steps(message, text=text, compress=compress)) as steps:
                    for _ in steps:
                        await trio.lowlevel.checkpoint()
                        await self._driver.sendable()  # raises at the end of the connection
            finally:
                self._end_parts()
        else:
            session.send(message, text, compress=compress)
        await self._written()

    async def _send_fragments(
        self, fragments: Iterable[Data] | AsyncIterable[Data], text: bool | None, compress: bool | None
    ) -> None:
        """Send fragments while other messages wait.

        Which one is the last is known too late: an empty one follows.
        """
        await self._next_turn()
        self._in_parts = self._in_fragments = True
        empty: Data | None = None
        try:
            if isinstance(fragments, AsyncIterable):
                async for fragment in fragments:
                    empty = await self._send_fragment(fragment, text, False, compress)
            else:
                for fragment in fragments:
                    empty = await self._send_fragment(fragment, text, False, compress)
            if empty is not None:
                await self._send_fragment(empty, text, True, compress)
        except BaseException:
            # The message can neither be ended any more nor another one begun.
            if cast(Session, self._session).stream.message_open:
                self.start_closing(*ABANDONED_MESSAGE)
            raise
        finally:
            self._end_parts()

    async def _send_fragment(self, fragment: Data, text: bool | None, last: bool, compress: bool | None) -> Data:
        """Send a fragment; return an empty one of the same type."""
        if not isinstance(fragment, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"a fragment is str or bytes, not {type(fragment).__name__}")
        session = await self._driver.sendable()
        session.send(fragment, text, last=last, compress=compress)
        await self._written()
        return "" if isinstance(fragment, str) else b""

    def _end_parts(self) -> None:
        self._in_parts = self._in_fragments = False
        self._turns.unpark_all()

    async def _next_turn(self) -> Session:
        """Wait until there is room and no message is being sent in parts."""
        session = await self._driver.sendable()
        while self._in_parts:
            await self._turns.park()
            session = await self._driver.sendable()
        return session

    async def _written(self) -> None:
        """Let the writer take what was queued; it is too late to cancel that."""
        self._driver.update()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def ping(self, data: str | bytes | None = None, *, ack_on_close: bool = False) -> trio.Event:
        """Send a ping.

        Args:
            data: At most 125 bytes, text as UTF-8; by default 4 random bytes.
            ack_on_close: Whether the event is set at the end of the connection too.

        Returns:
            An event that is set when the pong arrives. A pong answers all pings before its own too
            (5.5.3).

        Raises:
            ConcurrencyError: A ping with this payload waits for its pong.
            ConnectionClosed: The connection has ended.
        """
        payload = None if data is None else as_payload(data)
        session, answered = await self._driver.sendable(), trio.Event()

        def note_answer(latency: float | None) -> None:
            if latency is not None or ack_on_close:
                answered.set()

        session.ping(payload, trio.current_time(), note_answer)
        await self._written()
        return answered

    async def pong(self, data: str | bytes = b"") -> None:
        """Send an unsolicited pong: a heartbeat in one direction (5.5.3)."""
        payload = as_payload(data)
        (await self._driver.sendable()).pong(payload)
        await self._written()

    # The end.

    def start_closing(self, code: int | None = 1000, reason: str = "") -> None:
        """Begin to close like `aclose`, without waiting for the end."""
        if self._session is not None:
            self._session.close(code, reason, trio.current_time())
            self._driver.update()

    async def aclose(self, code: int | None = 1000, reason: str = "") -> None:
        """Close, and wait for the end.

        The connection is aborted if the peer has not done its part within `close_timeout`, and if
        this call is cancelled. What arrives meanwhile can still be received, as far as the queue
        has room. Closing again only waits.

        Args:
            code: The close code; None: an empty close frame.
            reason: At most 123 bytes of UTF-8.
        """
        if self._session is None:
            await self._driver.close_unopened()
            return
        self.start_closing(code, reason)
        try:
            await self.wait_closed()
        except trio.Cancelled:
            self._driver.abort()
            raise

    async def wait_closed(self) -> None:
        """Wait until the connection has ended, whoever closed it."""
        await self._driver.closed.wait()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose(close_code_after(error))


class _Messages:
    """The iterator over the messages of a connection; not a generator, so that it may be left at
    any time.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __aiter__(self) -> _Messages:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self._connection.recv()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Do nothing, as `contextlib.aclosing` asks for."""


async def broadcast(
    connections: Iterable[Connection],
    message: Data,
    *,
    raise_exceptions: bool = False,
    text: bool | None = None,
    compression: Compression = "shared",
) -> None:
    """Send one message to all open `connections` without waiting for slow peers.

    A peer that does not keep up is closed with 1013 (try again later): one that has let the
    transport fill up (`write_limit`), and then takes less than is added, by more than `write_limit`
    bytes. A connection that is in the middle of another message in fragments is left out, with a
    warning in its log.

    Args:
        connections: The connections.
        message: Text as `str`, binary as a bytes-like object.
        raise_exceptions: Whether connections that are left out are an error.
        text: Whether it is sent as text; by default the type decides.
        compression: "shared" compresses the message once for all connections with the same settings
            of permessage-deflate. After it, each of them begins its own next message with an empty
            window. "own" compresses it for each connection, with the context of its earlier
            messages: smaller if these are nearly alike. None does not compress.

    Raises:
        TypeError: `message` is neither text nor binary.
        ValueError: `compression` is none of these.
        TextError: The text is not UTF-8.
        ExceptionGroup: With `raise_exceptions`: a ConcurrencyError for each connection left out.
    """
    message_to_all = Broadcast(message, text, compression)
    await trio.lowlevel.checkpoint_if_cancelled()
    errors: list[Exception] = []
    reached = []
    for connection in connections:
        session = connection._session
        if session is None or session.state is not State.OPEN:
            continue
        if connection._in_fragments:
            errors.append(ConcurrencyError("sending a fragmented message"))
            if not raise_exceptions:
                connection.logger.warning("skipped broadcast: %s", errors[-1])
            continue
        driver = connection._driver
        waiting = session.bytes_queued - driver.bytes_sent
        message_to_all.queue(session, trio.current_time(), waiting)
        driver.update()
        reached.append(driver)
    await trio.lowlevel.cancel_shielded_checkpoint()
    await write_on(reached)
    if errors and raise_exceptions:
        raise ExceptionGroup("skipped broadcast", errors)
