"""Connections over streams in memory for tests on trio: the real server and client, without a
socket, in virtual time if the test has trio's `MockClock`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias

try:
    import trio
    import trio.testing
except ImportError as error:
    raise ImportError("framewire.testing.trio needs trio: pip install framewire[trio]") from error

from ..http.client_handshake import ClientHandshake
from ..http.uri import parse_uri
from ..protocol.constants import CLIENT
from ..protocol.events import Event
from ..trio.client import ClientConnection
from ..trio.client import connect as connect_stream
from ..trio.server import Server, ServerConnection, serve
from .application import Failures
from .memory import SERVER_ADDRESS
from .peer import BasePeer, complete_uri

__all__ = ["Peer", "connect", "connect_peer", "pair"]

Handler: TypeAlias = Callable[[ServerConnection], Awaitable[None]]

#: The most that one read brings, in bytes.
_READ_SIZE: Final = 1 << 16


@asynccontextmanager
async def connect(
    handler: Handler,
    uri: str = "/",
    *,
    timeout: float | None = 10,  # noqa: ASYNC109 - of a block
    server: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[ClientConnection]:
    """Connect a client to a handler in `async with`, which closes the connection.

    An exception of the handler is raised at the end of the block, or in place of the
    ConnectionClosed or ResponseError with which the block ends because of it.

    Args:
        handler: The handler, as for `framewire.trio.serve`.
        uri: The URI of the request, or its path and query.
        timeout: Time for the block with everything in it, in seconds; None for no limit. The
            handler is cancelled then.
        server: Arguments of `framewire.trio.serve`, such as `process_request`.
        **options: Arguments of `framewire.trio.connect`, such as `subprotocols`.

    Raises:
        trio.TooSlowError: The block, or the handler after it, goes on after `timeout`.
        ResponseError: The server refuses the request, or `process_request` has answered it.
    """
    ours, theirs = trio.testing.memory_stream_pair()
    async with (
        _serving(handler, theirs, server or {}, timeout),
        connect_stream(complete_uri(uri), stream=ours, **options) as connection,
    ):
        yield connection


@asynccontextmanager
async def pair(
    uri: str = "/",
    *,
    timeout: float | None = 10,  # noqa: ASYNC109 - of a block
    server: Mapping[str, Any] | None = None,
    **options: Any,
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
    send, receive = trio.open_memory_channel[ServerConnection](1)

    async def handler(connection: ServerConnection) -> None:
        send.send_nowait(connection)
        await connection.wait_closed()

    async with connect(handler, uri, timeout=timeout, server=server, **options) as client:
        yield client, await receive.receive()


@asynccontextmanager
async def connect_peer(
    handler: Handler,
    uri: str = "/",
    *,
    timeout: float | None = 10,  # noqa: ASYNC109 - of a block
    server: Mapping[str, Any] | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> AsyncIterator[Peer]:
    """Connect a scripted client to a handler in `async with`, which cuts the connection.

    What one end sends waits until the other end receives it: there is no buffer in between.

    Args:
        handler: See `connect`, also for `uri`, `timeout` and `server`, and for the exceptions.
        headers: Headers to add to the request.
    """
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with _serving(handler, theirs, server or {}, timeout):
        peer = Peer(ours)
        try:
            await peer._open(complete_uri(uri), headers)
            yield peer
        finally:
            peer.cut()


class Peer(BasePeer[Awaitable[None]]):
    """The client's end of a connection on trio whose every byte is the test's.

    It answers nothing by itself, and reads only in `receive`: a peer that does not receive stalls.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(CLIENT)
        self._stream_pair = stream

    async def send_bytes(self, data: bytes) -> None:
        """Send any bytes.

        Args:
            data: The bytes, as they are sent.
        """
        await self._stream_pair.send_all(data)

    async def receive(self) -> Event:
        """Return the next event that the application sends: a message, or a control frame.

        Raises:
            EOFError: The application has ended the connection.
        """
        while (event := self._take_event()) is None:
            self._feed(await self._read())
        return event

    def cut(self) -> None:
        """Cut the connection without a close frame, as a network does that fails."""
        self._stream_pair.send_stream.close()
        self._stream_pair.receive_stream.close()

    async def end(self) -> None:
        """End this direction of the connection, without a close frame."""
        await self._stream_pair.send_eof()

    async def _read(self) -> bytes:
        try:
            return bytes(await self._stream_pair.receive_some(_READ_SIZE))
        except trio.BrokenResourceError:
            return b""

    async def _open(self, uri: str, headers: Iterable[tuple[str, str]]) -> None:
        handshake = ClientHandshake(parse_uri(uri), headers=headers)
        await self.send_bytes(handshake.request())
        response = None
        while response is None:
            data = await self._read()
            response = handshake.receive(data) if data else handshake.receive_eof()
        self._begin(response, handshake.trailing)


class _Listener(trio.abc.Listener[trio.abc.Stream]):
    """A listener that accepts one stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.socket = self  # of which the server logs the address
        self._stream: trio.abc.Stream | None = stream

    def getsockname(self) -> tuple[str, int]:
        return SERVER_ADDRESS

    async def accept(self) -> trio.abc.Stream:
        stream, self._stream = self._stream, None
        if stream is None:
            await trio.sleep_forever()
        assert stream is not None
        return stream

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def _serving(
    handler: Handler, stream: trio.abc.Stream, options: Mapping[str, Any], seconds: float | None
) -> AsyncIterator[None]:
    """Run a server whose only connection is a stream; raise what its handler raises at the end."""
    failures = Failures(trio.Cancelled)

    async def run(connection: ServerConnection) -> None:
        with failures.noted(connection):
            await handler(connection)

    failure: BaseException | None = None
    with failures.raised(), trio.fail_after(math.inf if seconds is None else seconds):
        async with trio.open_nursery() as nursery:
            listeners: Any = [_Listener(stream)]
            try:
                server: Server = await nursery.start(partial(serve, run, listeners=listeners, **options))
                yield
            except trio.Cancelled:
                raise
            except BaseException as error:  # raised below, as the nursery would put it into a group
                failure = error
                nursery.cancel_scope.cancel()
            else:
                await server.aclose()
        if failure is not None:
            raise failure
