"""The trio client: `connect` opens one WebSocket, or again and again (RFC 6455 4.1)."""

from __future__ import annotations

import math
import ssl as tls
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from typing import Any, Literal

import trio

from ..http import reconnect
from ..http.client_handshake import USER_AGENT
from ..http.http11 import HeadLimits
from ..http.reconnect import Reconnection, backoff
from ..protocol.codecs import Extension
from ..protocol.constants import CLIENT, State
from ..protocol.receiver import TextErrors
from ..session.base_client import BaseConnect, unix_uri
from ..session.base_driver import READ_SIZE
from ..session.logs import Logger
from ..session.settings import ConnectionSettings
from ..session.stream_client import StreamOpening
from .connection import Connection
from .driver import STREAM_ERRORS, limit_time

__all__ = ["ClientConnection", "connect", "process_exception", "unix_connect"]


def process_exception(error: Exception) -> Exception | None:
    """Decide whether another attempt to connect may succeed, as on asyncio: an exception of a stream
    counts as the error of the network or of TLS that is its cause.
    """
    cause = error.__cause__ if isinstance(error, trio.BrokenResourceError) else error
    return None if isinstance(cause, Exception) and reconnect.process_exception(cause) is None else error


class ClientConnection(Connection):
    """The client's end of a connection, on a stream on which TLS has been started.

    `request` is what it sent, `response` what the server answered.
    """

    def __init__(
        self, nursery: trio.Nursery, stream: trio.abc.Stream, settings: ConnectionSettings, logger: Logger
    ) -> None:
        super().__init__(nursery, stream, CLIENT, settings, logger)


class _Opening(StreamOpening):
    """The opening of one connection, which then runs in a nursery."""

    lost = STREAM_ERRORS

    def __init__(self, client: BaseConnect, nursery: trio.Nursery) -> None:
        super().__init__(client)
        self._nursery = nursery

    async def open_tcp(self, host: str, port: int) -> trio.abc.Stream:
        return await trio.open_tcp_stream(**{"host": host, "port": port, **self.client.kwargs})

    async def open_unix(self, path: str | PathLike[str]) -> trio.abc.Stream:
        return await trio.open_unix_socket(path)

    async def open_socks(self, arguments: tuple[Any, ...], host: str, port: int) -> trio.abc.Stream:
        from python_socks.async_.trio import Proxy

        own = self.client.kwargs.get("local_address")
        local_address = None if own is None else (own, 0)
        return trio.SocketStream(await Proxy(*arguments).connect(host, port, math.inf, local_addr=local_address))

    async def start_tls(self, stream: trio.abc.Stream, context: Any, hostname: str) -> trio.abc.Stream:
        secured = trio.SSLStream(stream, context or tls.create_default_context(), server_hostname=hostname)
        await secured.do_handshake()
        return secured

    async def send(self, stream: trio.abc.Stream, data: bytes) -> None:
        await stream.send_all(data)

    async def receive(self, stream: trio.abc.Stream) -> bytes | bytearray:
        return await stream.receive_some(READ_SIZE)

    async def abort(self, stream: trio.abc.Stream) -> None:
        await trio.aclose_forcefully(stream)

    def make_connection(self, stream: trio.abc.Stream) -> Any:
        return self.client.create_connection(self._nursery, stream, self.client.settings, self.client.logger)


class connect(BaseConnect):  # noqa: N801 - called like the function that it is to its users
    """Open a WebSocket in `async with`, which closes the connection at the end.

    `async for connection in connect(...)` opens one connection after another: the next one when the
    body ends, and again after a delay if it could not be opened. These connections run in the
    nursery of the task that iterates; one is closed when the next is asked for, or the loop is
    left.

    Args:
        uri: As for `framewire.asyncio.connect`, like all that are not listed here.
        stream: A connected stream to use; there is no proxy then, and one connection in `async for`.
        ssl: The TLS context for wss, by default one that verifies the server.
        server_hostname: The name of the server to verify, by default that of `uri`.
        proxy_ssl: The TLS context for a proxy of the scheme https.
        proxy_server_hostname: The name of that proxy to verify, by default that of its URL.
        create_connection: Makes the connection from the arguments of `ClientConnection`.
        **kwargs: Arguments of `trio.open_tcp_stream`, such as another `host` or `port`; none with
            `stream`.

    Raises:
        trio.BrokenResourceError: TLS fails. Otherwise as `framewire.asyncio.connect`, with a
            `stream` of the caller for its `sock`.
    """

    def __init__(
        self,
        uri: str,
        *,
        stream: trio.abc.Stream | None = None,
        ssl: tls.SSLContext | None = None, server_hostname: str | None = None,
        origin: str | None = None,
        extensions: Sequence[Extension] | None = None, subprotocols: Sequence[str] | None = None,
        compression: Literal["deflate"] | None = "deflate",
        additional_headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        user_agent_header: str | None = USER_AGENT,
        proxy: str | Literal[True] | None = True, proxy_ssl: tls.SSLContext | None = None,
        proxy_server_hostname: str | None = None,
        process_exception: Callable[[Exception], Exception | None] = process_exception,
        open_timeout: float | None = 10, ping_interval: float | None = 20, ping_timeout: float | None = 20,
        close_timeout: float | None = 10, idle_timeout: float | None = None, total_timeout: float | None = None,
        reconnect_delays: Callable[[], Iterator[float]] = backoff,
        max_size: int | tuple[int | None, int | None] | None = 1 << 20,
        max_queue: int | tuple[int, int | None] | None = 16, write_limit: int | tuple[int, int | None] = 1 << 15,
        fragment_size: int | None = None, piece_size: int | None = None, max_send_size: int | None = None,
        text_errors: TextErrors = "strict", text_as_bytes: bool = False, send_close_reasons: bool = True,
        head_limits: HeadLimits | None = None,
        logger: Logger | None = None, create_connection: Callable[..., ClientConnection] | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(locals(), ClientConnection, stream, fixed=("host", "port"))
        self.check_kwargs(trio.open_tcp_stream, "stream")

    async def open(self, nursery: trio.Nursery) -> ClientConnection:
        """Open a connection that runs in a nursery. Its owner has to close it."""
        opening = _Opening(self, nursery)
        with limit_time(self.settings.open_timeout):
            connection: ClientConnection = await opening.run()
            return connection
        late = TimeoutError(f"no WebSocket opened within {self.settings.open_timeout} seconds")
        raise opening.refusal_error() or late

    async def __aenter__(self) -> ClientConnection:
        with self.entering():
            manager = trio.open_nursery()
            nursery = await manager.__aenter__()
            try:
                connection = await self.open(nursery)
            except BaseException:
                nursery.cancel_scope.cancel()
                await manager.__aexit__(None, None, None)
                raise
            self._entered = manager, connection
        return connection

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        (manager, connection), self._entered = self._entered, None
        try:
            await connection.__aexit__(kind, error, trace)
        finally:
            # The exception of the body is not passed to the nursery, which would wrap it in a
            # group.
            with trio.CancelScope(shield=True):
                await connection.wait_closed()
            await manager.__aexit__(None, None, None)

    def __aiter__(self) -> _Reconnecting:
        return _Reconnecting(self, self.begin_reconnecting())


class _Reconnecting(AsyncIterator[ClientConnection]):
    """The iterator over one connection after another; not a generator, so that the loop may be left
    at any time.
    """

    def __init__(self, connect: connect, reconnection: Reconnection) -> None:
        self._connect = connect
        self._reconnection = reconnection
        self._connection: ClientConnection | None = None
        self._begin = 0.0  # of the connection
        self._token = trio.lowlevel.current_trio_token()

    async def __anext__(self) -> ClientConnection:
        if self._connection is not None:
            by_peer = self._connection.ended_by_peer
            await self.aclose()
            delay = self._reconnection.ended(trio.current_time() - self._begin, by_peer)
            if delay is None:
                raise StopAsyncIteration
            await trio.sleep(delay)
        nursery = trio.lowlevel.current_task().parent_nursery
        assert nursery is not None  # only trio's own first task has none
        while True:
            try:
                self._connection = await self._connect.open(nursery)
            except Exception as error:
                await trio.sleep(self._reconnection.failed(error))
            else:
                self._begin = trio.current_time()
                return self._connection

    async def aclose(self) -> None:
        """Close the connection that is open, if any."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    def __del__(self) -> None:
        # The loop was left with its connection open. The garbage collector may run in any thread.
        if self._connection is not None and self._connection.state is State.OPEN:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._connection.start_closing)


def unix_connect(path: str | PathLike[str] | None = None, uri: str | None = None, **kwargs: Any) -> connect:
    """Open a WebSocket on the Unix socket `path`, with the URI of localhost by default; otherwise as
    `connect`. Raises ValueError if there is neither `path` nor `stream`, or both.

    Args:
        path: The path of the socket; None with `stream`.
        uri: As for `connect`.
        **kwargs: Other arguments of `connect`.
    """
    if (path is None) == (kwargs.get("stream") is None):
        raise ValueError("unix_connect takes either path or stream")
    return connect(unix_uri(uri, kwargs.get("ssl")), unix=True, path=path, **kwargs)
