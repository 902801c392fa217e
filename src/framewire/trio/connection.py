"""The trio API of one WebSocket: `recv`, `recv_streaming`, iteration and `send`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import closing
from typing import Any, Literal, cast, overload

import trio

from ..errors import ConnectionClosedOK
from ..protocol.codecs import Codec
from ..protocol.constants import Role
from ..session.broadcast import Broadcast, Compression, queue_broadcast
from ..session.connection import BaseConnection, close_code_after
from ..session.fragments import closing_generator, is_whole
from ..session.logs import Logger, adapt_logger
from ..session.message_queue import Message
from ..session.session import Data
from ..session.settings import ConnectionSettings
from .driver import Driver, write_on

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

__all__ = ["Connection", "broadcast"]


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
        #: The logger of `serve` or `connect`, whose records have the connection as `websocket`.
        self.logger = self._driver.logger = adapt_logger(logger, self)
        #: The nursery in which the connection runs.
        self.nursery = nursery
        #: The stream; to ask it, not to read or write.
        self.stream = stream
        self._encodes = False

    def begin(self, rest: bytes, codecs: list[Codec]) -> None:
        """Begin with the frames: `rest`, after the opening handshake that agreed on `codecs`."""
        self.nursery.start_soon(self._driver.run)  # raises if the nursery is closed, with nothing begun
        self._encodes = bool(codecs)
        self._session = self._driver.open(rest, codecs)

    @property
    def next_size(self) -> int | None:
        """The size in bytes of the message, or the piece of one, that `recv` would begin with.

        None if none waits.
        """
        return self._driver.next_size

    @overload
    async def recv(self, decode: Literal[True]) -> str: ...
    @overload
    async def recv(self, decode: Literal[False]) -> bytes: ...
    @overload
    async def recv(self, decode: bool | None = None) -> Message: ...
    async def recv(self, decode: bool | None = None) -> Message:
        """Receive the next message, as `framewire.asyncio.Connection.recv`. Cancelling loses nothing.

        Args:
            decode: False gives text as its UTF-8, True decodes binary; by default text is `str`,
                binary `bytes`.
        """
        return await self._driver.recv(decode)

    @overload
    def recv_streaming(self, decode: Literal[True]) -> AsyncIterator[str]: ...
    @overload
    def recv_streaming(self, decode: Literal[False]) -> AsyncIterator[bytes]: ...
    @overload
    def recv_streaming(self, decode: bool | None = None) -> AsyncIterator[Message]: ...
    async def recv_streaming(self, decode: bool | None = None) -> AsyncIterator[Any]:
        """Receive the next message as an async iterator over its pieces, as they arrive; see
        `framewire.asyncio.Connection.recv_streaming`. Cancelling loses nothing.

        Args:
            decode: As for `recv`; a code point in two pieces comes with the second one.
        """
        first, last = True, False
        while not last:
            piece, last = await self._driver.recv_piece(decode, first)
            first = False
            yield piece

    def __aiter__(self) -> AsyncIterator[Message]:
        return _Messages(self)

    async def send(
        self, message: Data | Iterable[Data] | AsyncIterable[Data], *,
        text: bool | None = None, compress: bool | None = None,
    ) -> None:  # fmt: skip
        """Send one message, as `framewire.asyncio.Connection.send`.

        A call for a whole message that is cancelled has sent nothing, and one that returns has sent
        everything. One for fragments that is cancelled closes the connection with 1011.

        Args:
            message: Text as `str`, binary as a bytes-like object, or an iterable of one of them.
            text: Whether it is sent as text; by default the type decides.
            compress: Whether it is compressed, if that was agreed on; by default its size decides.
        """
        if is_whole(message, asynchronous=True):
            await self._send_whole(cast(Data, message), text, compress)
        else:
            async with closing_generator(message):
                await self._driver.sendable(whole=True)
                with self._driver.sending_parts():
                    await self._driver.send_fragments(message, text, compress)

    async def _send_whole(self, message: Data, text: bool | None, compress: bool | None) -> None:
        session = await self._driver.sendable(whole=True)
        if self._encodes and compress is not False:
            steps = session.send_steps(message, text=text, compress=compress)
            with self._driver.sending_parts(), closing(steps):
                for _ in steps:
                    await trio.lowlevel.checkpoint()
                    await self._driver.sendable()  # raises at the end of the connection
        elif session.is_fragmented(message):
            self._driver.queue_fragments(message, text, compress)
        else:
            session.send(message, text, compress=compress)
        self._driver.update()
        await trio.lowlevel.cancel_shielded_checkpoint()  # it is too late to cancel what was queued

    async def ping(self, data: Data | None = None, *, ack_on_close: bool = False) -> trio.Event:
        """Send a ping, as `framewire.asyncio.Connection.ping`; return an event that is set when the
        pong arrives.

        Args:
            data: At most 125 bytes, text as UTF-8; by default 4 random bytes.
            ack_on_close: Whether the event is set at the end of the connection too.
        """
        return await self._driver.ping(data, trio.Event(), ack_on_close)

    async def pong(self, data: Data = b"") -> None:
        """Send an unsolicited pong: a heartbeat in one direction (5.5.3).

        Args:
            data: At most 125 bytes, text as UTF-8.

        Raises:
            ConnectionClosed: The connection has ended.
            PayloadTooBigError: `data` is longer.
            TextError: The text cannot be encoded as UTF-8.
        """
        await self._driver.pong(data)

    async def aclose(self, code: int | None = 1000, reason: str = "") -> None:
        """Close, and wait for the end, as `framewire.asyncio.Connection.close`.

        If this call is cancelled, the connection is aborted.

        Args:
            code: The close code; None: an empty close frame.
            reason: At most 123 bytes of UTF-8.
        """
        if self._session is None:
            self._driver.end_unopened()
            await trio.aclose_forcefully(self.stream)
            return
        self.start_closing(code, reason)
        try:
            await self.wait_closed()
        except trio.Cancelled:
            self._driver.scope.cancel()
            raise

    async def wait_closed(self) -> None:
        """Wait until the connection has ended, whichever end closes it."""
        await self._driver.closed.wait()

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        await self.aclose(close_code_after(error))


class _Messages(AsyncIterator[Message]):
    """The iterator over messages; not a generator, so that it may be left at any time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __anext__(self) -> Message:
        try:
            return await self._connection.recv()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Do nothing, as `contextlib.aclosing` asks for."""


async def broadcast(
    connections: Iterable[Connection], message: Data, *,
    raise_exceptions: bool = False, text: bool | None = None, compression: Compression = "shared",
) -> None:  # fmt: skip
    """Send one message to all open `connections`, as `framewire.asyncio.broadcast`.

    What the network takes at once has been sent at the end; nothing waits for slow peers.

    Args:
        connections: The connections.
        message: Text as `str`, binary as a bytes-like object.
        raise_exceptions: As for `framewire.asyncio.broadcast`.
        text: Whether it is sent as text; by default the type decides.
        compression: As for `framewire.asyncio.broadcast`.
    """
    message_to_all, connections = Broadcast(message, text, compression), list(connections)
    await trio.lowlevel.checkpoint_if_cancelled()
    await write_on(connection._driver for connection in connections)
    drivers, errors = queue_broadcast(connections, message_to_all, raise_exceptions)
    await trio.lowlevel.cancel_shielded_checkpoint()
    await write_on(drivers)
    if errors:
        raise ExceptionGroup("skipped broadcast", errors)
