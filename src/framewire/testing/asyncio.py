"""Connections in memory for tests on asyncio: the real server and client, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from ..asyncio.client import ClientConnection
from ..asyncio.client import connect as connect_socket
from ..asyncio.compat import timeout as limit_time
from ..asyncio.server import Server, ServerConnection, serve
from ..http.client_handshake import ClientHandshake
from ..http.proxy import Tunnel
from ..http.uri import Uri, parse_uri
from ..protocol.constants import CLIENT
from ..protocol.events import Event
from .application import Failures
from .memory import MemoryTransport, connect_in_memory
from .peer import BasePeer, complete_uri

__all__ = ["Peer", "connect", "connect_peer", "pair"]

Handler: TypeAlias = Callable[[ServerConnection], Awaitable[None]]

#: Seconds that a handler has to end after it was cancelled.
_CUT_TIME: Final = 1.0


@asynccontextmanager
async def connect(
    handler: Handler,
    uri: str = "/",
    *,
    timeout: float | None = 10,
    server: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[ClientConnection]:
    """Connect a client to a handler in `async with`, which closes the connection.

    An exception of the handler is raised at the end of the block, or in place of the
    ConnectionClosed or ResponseError with which the block ends because of it.

    Args:
        handler: The handler, as for `framewire.asyncio.serve`.
        uri: The URI of the request, or its path and query.
        timeout: Time for the block with everything in it, in seconds; None for no limit. The
            handler is cancelled then.
        server: Arguments of `framewire.asyncio.serve`, such as `process_request`.
        **options: Arguments of `framewire.asyncio.connect`, such as `subprotocols`.

    Raises:
        TimeoutError: The block, or the handler after it, goes on after `timeout`
            (asyncio.TimeoutError in Python 3.10).
        ResponseError: The server refuses the request, or `process_request` has answered it.
    """
    async with connect_memory(
        handler, uri, Failures(asyncio.CancelledError), timeout, server or {}, options
    ) as connection:
        yield connection


@asynccontextmanager
async def pair(
    uri: str = "/", *, timeout: float | None = 10, server: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[ClientConnection, ServerConnection]]:
    """Open a connection in `async with`: its client's end and its server's end.

    Both are closed at the end of the block. The arguments and exceptions are those of `connect`,
    without the handler.

    Args:
        uri: As for `connect`.
        timeout: As for `connect`.
        server: As for `connect`.
        **options: As for `connect`.
    """
    accepted: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        accepted.set_result(connection)
        await connection.wait_closed()

    async with connect(handler, uri, timeout=timeout, server=server, **options) as client:
        yield client, await accepted


@asynccontextmanager
async def connect_peer(
    handler: Handler,
    uri: str = "/",
    *,
    timeout: float | None = 10,
    server: Mapping[str, Any] | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> AsyncIterator[Peer]:
    """Connect a scripted client to a handler in `async with`, which cuts the connection.

    Args:
        handler: See `connect`, also for `uri`, `timeout` and `server`, and for the exceptions.
        headers: Headers to add to the request.
    """
    async with connect_memory_peer(
        handler, uri, Failures(asyncio.CancelledError), timeout, server or {}, headers
    ) as peer:
        yield peer


class Peer(BasePeer[Awaitable[None]]):
    """The client's end of a connection on asyncio whose every byte is the test's.

    It answers nothing by itself, and reads only in `receive`: a peer that does not receive stalls.
    """

    def __init__(self) -> None:
        super().__init__(CLIENT)
        self._protocol = _PeerProtocol()

    async def send_bytes(self, data: bytes) -> None:
        """Send any bytes.

        Args:
            data: The bytes, as they are sent.
        """
        self._protocol.transport.write(data)

    async def receive(self) -> Event:
        """Return the next event that the application sends: a message, or a control frame.

        Raises:
            EOFError: The application has ended the connection.
        """
        while (event := self._take_event()) is None:
            self._feed(await self._protocol.read())
        return event

    def cut(self) -> None:
        """Cut the connection without a close frame, as a network does that fails."""
        self._protocol.transport.reset()

    def end(self) -> None:
        """End this direction of the connection, without a close frame."""
        self._protocol.transport.write_eof()

    async def _open(self, uri: str, headers: Iterable[tuple[str, str]]) -> None:
        handshake = ClientHandshake(parse_uri(uri), headers=headers)
        await self.send_bytes(handshake.request())
        response = None
        while response is None:
            data = await self._protocol.read()
            response = handshake.receive(data) if data else handshake.receive_eof()
        self._begin(response, handshake.trailing)


class _PeerProtocol(asyncio.Protocol):
    """The transport of a `Peer`, from which nothing is read but in `read`."""

    transport: MemoryTransport

    def __init__(self) -> None:
        self._received = bytearray()
        #: Done when there is something to read; None while nobody waits.
        self._waiter: asyncio.Future[None] | None = None
        self._lost = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.pause_reading()

    async def read(self) -> bytes:
        """Return the next bytes; b"" at the end. If it is cancelled, the next call returns them."""
        if not self._received and not self._lost:
            self._waiter = asyncio.get_running_loop().create_future()
            self.transport.resume_reading()
            try:
                await self._waiter
            finally:
                self._waiter = None
                self.transport.pause_reading()
        data = bytes(self._received)
        self._received.clear()
        return data

    def data_received(self, data: bytes) -> None:
        self.transport.pause_reading()
        self._received += data
        self._wake()

    def eof_received(self) -> bool:
        self._end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        self._lost = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@asynccontextmanager
async def connect_memory(
    handler: Handler,
    uri: str,
    failures: Failures,
    timeout: float | None,
    server: Mapping[str, Any],
    options: Mapping[str, Any],
) -> AsyncIterator[ClientConnection]:
    """As `connect`, for an application whose exceptions get into `failures`."""
    async with (
        _serving(handler, server, timeout, failures) as running,
        _MemoryConnect(running, complete_uri(uri), **options) as connection,
    ):
        yield connection


@asynccontextmanager
async def connect_memory_peer(
    handler: Handler,
    uri: str,
    failures: Failures,
    timeout: float | None,
    server: Mapping[str, Any],
    headers: Iterable[tuple[str, str]],
) -> AsyncIterator[Peer]:
    """As `connect_peer`, for an application whose exceptions get into `failures`."""
    async with _serving(handler, server, timeout, failures) as running:
        peer = Peer()
        connect_in_memory(peer._protocol, running.make_connection(running)._driver)
        try:
            await peer._open(complete_uri(uri), headers)
            yield peer
        finally:
            peer.cut()


class _MemoryConnect(connect_socket):
    """`framewire.asyncio.connect` to a server in memory."""

    def __init__(self, server: Server, uri: str, **options: Any) -> None:
        super().__init__(uri, **options)
        self._server = server
        self._fixed = True  # no proxy, and redirects stay with this server

    async def _open_transport(
        self, make: Callable[[], Any], target: Uri, waiting: list[Tunnel | ClientHandshake]
    ) -> asyncio.Transport:
        return connect_in_memory(make(), self._server.make_connection(self._server)._driver)


@asynccontextmanager
async def _serving(
    handler: Handler, options: Mapping[str, Any], seconds: float | None, failures: Failures
) -> AsyncIterator[Server]:
    """Run a server in memory; raise what its handler raises at the end."""

    async def run(connection: ServerConnection) -> None:
        with failures.noted(connection):
            await handler(connection)

    server = Server(serve(run, **options)._options)
    with failures.raised():
        async with limit_time(seconds):
            try:
                yield server
                server.close()
                await server.wait_closed()
            except BaseException:
                server.close()
                server._cut(server._home)
                assert server._home.finishing is not None
                await asyncio.wait({server._home.finishing}, timeout=_CUT_TIME)
                raise
