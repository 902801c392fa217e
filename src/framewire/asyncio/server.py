"""The asyncio server: `serve` gives every connection to a handler or a listener (RFC 6455 4.2)."""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from os import PathLike
from socket import socket
from types import TracebackType
from typing import Any, Literal, TypeAlias

from ..http.auth import basic_auth
from ..http.http11 import HeadLimits
from ..http.request_checks import Origin
from ..http.server_answer import ProcessRequest, ProcessResponse
from ..http.server_handshake import BUSY
from ..http.server_policy import SAME_ORIGIN, SERVER_HEADER, SelectSubprotocol, check_functions
from ..http.trusted_proxies import TrustedProxies
from ..protocol.codecs import Extension
from ..protocol.constants import CloseCode, State
from ..protocol.receiver import TextErrors
from ..session.base_server import BaseServer, ServerOptions, handler_failed
from ..session.logs import Logger
from ..session.rate_limit import RateLimit
from ..session.settings import LINGER
from .callbacks import Listener
from .connection import broadcast
from .metrics import Counters
from .proxy_header import ProxyHeaderProtocol
from .server_connection import ServerConnection, ServerListenerConnection
from .timer import SharedTimer
from .transport_writer import end_output

__all__ = [
    "SAME_ORIGIN", "Server", "ServerConnection", "ServerListenerConnection", "basic_auth", "broadcast", "serve",
    "unix_serve",
]  # fmt: skip

Handler: TypeAlias = Callable[[ServerConnection], Awaitable[None]]


class Server(BaseServer):
    """A listening server, as `serve` returns it. Leaving it as an async context closes it."""

    def __init__(self, options: ServerOptions) -> None:
        super().__init__(options)
        self.timer = SharedTimer(self.settings)
        self._listener: asyncio.Server
        self._closed = asyncio.Event()
        self._finishing: asyncio.Task[None] | None = None
        self._refused: set[asyncio.BaseTransport] = set()
        #: Connections that have not come to their opening handshake.
        self.beginning: set[ProxyHeaderProtocol] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._past = Counters()

    @property
    def sockets(self) -> tuple[socket, ...]:
        """The listening sockets; none once it is closed."""
        return tuple(self._listener.sockets)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it runs in."""
        return self._listener.get_loop()

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._listener.is_serving()

    async def start_serving(self) -> None:
        """Begin to accept connections, after `serve(..., start_serving=False)`."""
        await self._listener.start_serving()
        self.log_listening()

    async def serve_forever(self) -> None:
        """Accept connections until `close` is called; cancelling this call closes the server too.

        Returns, or raises CancelledError, when everything is closed.
        """
        try:
            if not self.closing and not self.is_serving():
                await self.start_serving()
            await self.wait_closed()
        except asyncio.CancelledError:
            self.close()
            await self.wait_closed()
            raise

    def log_listening(self) -> None:
        """Log at INFO what the server listens on."""
        self.log_sockets(self.sockets)

    def counters(self) -> Counters:
        """Return the numbers of connections, messages and bytes since the start."""
        return self._past.plus(self._everyone)

    def log_counters(self) -> None:
        """Write the counters to the log, one line at level INFO."""
        self.logger.info("%s", ", ".join(f"{name} {value}" for name, value in self.counters().as_dict().items()))

    def close(
        self, close_connections: bool = True, code: int = CloseCode.GOING_AWAY, reason: str = "",
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        """Stop listening and close every connection, without waiting: see `wait_closed`.

        Clients in the opening handshake are answered 503. A closed server cannot be used again.

        Args:
            close_connections: False lets open connections go on until their handlers return.
            code: The close code.
            reason: The close reason, at most 123 bytes of UTF-8.
            timeout: Time after which all that is left is cut, in seconds; None: each connection
                has its `close_timeout`.
        """
        self.begin_closing()
        self._listener.close()
        for early in list(self.beginning):
            early.abort()
        for connection in list(self._everyone):
            if connection.state is State.CONNECTING:
                connection._driver.opening.close()
            elif close_connections:
                connection.start_closing(code, reason)
        if timeout is not None:
            self._listener.get_loop().call_later(timeout, self._cut)
        if self._finishing is None:
            self._finishing = asyncio.get_running_loop().create_task(self._finish())

    def _cut(self) -> None:
        for connection in list(self._everyone):
            connection.transport.abort()
        for task in list(self._tasks):
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until the server is closed, its connections have ended and their handlers have
        returned.
        """
        await self._closed.wait()

    async def _finish(self) -> None:
        """Wait for the end of everything, after `close`."""
        for connection in list(self._everyone):
            await connection.wait_closed()
        await self._listener.wait_closed()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.logger.info("server closed")
        self._closed.set()

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        await self.wait_closed()

    # What its connections call.

    def connected(self, connection: Any) -> bool:
        """A client has come; whether it may stay."""
        self._past.accepted += 1
        if self.closing:  # accepted by the kernel before the listener was closed
            connection.transport.abort()
            return False
        if self.is_full(len(self._everyone)):
            self._past.refused_busy += 1
            self._refuse(connection.transport)
            return False
        self._everyone.add(connection)
        return True

    def _refuse(self, transport: asyncio.Transport) -> None:
        """Answer 503 without reading the request, unless too many are being refused."""
        if not self.may_refuse(len(self._refused)):
            transport.abort()
            return
        self._refused.add(transport)
        transport.write(BUSY)
        end_output(transport)
        asyncio.get_running_loop().call_later(LINGER, self._drop, transport)

    def _drop(self, transport: asyncio.Transport) -> None:
        self._refused.discard(transport)
        transport.abort()

    def disconnected(self, connection: Any) -> None:
        """A client has gone."""
        self._refused.discard(connection.transport)
        if connection in self._everyone:
            self._everyone.discard(connection)
            self._past.add(connection)

    def opened(self, connection: Any) -> None:
        """A WebSocket is open."""
        if isinstance(connection, ServerConnection):
            self.start(self._handle(connection))

    async def _handle(self, connection: ServerConnection) -> None:
        """Run the handler, then close."""
        assert not isinstance(self.handler, Listener)
        code = CloseCode.NORMAL_CLOSURE
        try:
            await self.handler(connection)
        except Exception as error:
            code = handler_failed(connection, error)
        finally:
            connection.start_closing(code)
        await connection.wait_closed()

    def start(self, run: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task of a connection."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(run)
        self._tasks.add(task)  # the event loop itself keeps weak references only
        task.add_done_callback(self._tasks.discard)
        return task


class serve:  # noqa: N801 - called like the function that it is to its users
    """Start a WebSocket server; `await` it, or enter it with `async with`, which closes it.

    Times are in seconds, sizes in bytes; None: no limit.

    Args:
        handler: Called with each connection; when it returns the connection is closed with 1000,
            when it raises with 1011 and the error is logged. A `Listener` in its place gets the
            events as callbacks.
        host: The address to listen on, or several; None for all.
        port: The TCP port; 0 for a free one.
        origins: The origins that may connect, as text or patterns, None in it for requests without
            one; by default those of the server's own host, and requests without one (10.2); None
            for everyone.
        extensions: Extensions besides permessage-deflate, best first. One with other settings
            replaces it.
        subprotocols: The subprotocols that the handler speaks, best first.
        compression: None: no permessage-deflate.
        select_subprotocol: Chooses instead, given the connection and those that the client offers.
        process_request: Given the connection and the request, returns a `Response` to answer with
            instead, or None; may be a coroutine function. So other HTTP requests can be served.
        process_response: Given the response too, changes it or returns another one.
        server_header: The value of the Server header, None for no such header.
        open_timeout: Time for TLS and the opening handshake together.
        ping_interval: Time between pings.
        ping_timeout: Silence after a ping that fails the connection with 1011.
        close_timeout: Time for the closing handshake and the end of TCP.
        idle_timeout: Time without messages after which the connection is closed with 1008.
        total_timeout: Age at which the connection is closed with 1008.
        max_size: Largest message to receive, or a pair: message, frame.
        max_queue: Messages that may wait for `recv` before reading stops, or a pair of marks: high
            and low, by default a quarter of high.
        write_limit: Bytes that may wait for the network before `send` waits, or a pair of marks.
        max_unsent: Bytes waiting for the network above which a further message aborts the
            connection.
        max_connections: Connections at a time; others are answered 503.
        fragment_size: Longer messages are sent in fragments of this size.
        piece_size: Largest piece of `recv_streaming`.
        max_send_size: Largest message to send.
        text_errors: What becomes of text that is not UTF-8; see `Stream`.
        text_as_bytes: True receives text as `bytes`, validated but not decoded; nothing tells it from
            binary then.
        send_close_reasons: False sends the close codes 1002, 1007 and 1009 without a reason.
        rate_limit: How much each client may send in a time; see `RateLimit`.
        trusted_proxies: The proxies that tell the addresses of clients, by the PROXY protocol or
            X-Forwarded-For; see `TrustedProxies`.
        head_limits: The limits of requests; see `HeadLimits`.
        logger: The logger, by default `framewire.server`.
        create_connection: Makes the connections in place of `ServerConnection`, from the server.
        ssl: The TLS context, to serve wss.
        **kwargs: Arguments of `loop.create_server`, such as `sock`, `backlog` or `reuse_port`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value.
        OSError: It cannot listen there.
    """

    def __init__(
        self,
        handler: Handler | Listener,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        *,
        origins: Sequence[Origin] | str | None = SAME_ORIGIN,
        extensions: Sequence[Extension] | None = None,
        subprotocols: Sequence[str] | None = None,
        compression: Literal["deflate"] | None = "deflate",
        select_subprotocol: SelectSubprotocol | None = None,
        process_request: ProcessRequest | None = None,
        process_response: ProcessResponse | None = None,
        server_header: str | None = SERVER_HEADER,
        open_timeout: float | None = 10,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = 10,
        idle_timeout: float | None = None,
        total_timeout: float | None = None,
        max_size: int | tuple[int | None, int | None] | None = 1 << 20,
        max_queue: int | tuple[int, int | None] | None = 16,
        write_limit: int | tuple[int, int | None] = 1 << 15,
        max_unsent: int | None = 1 << 24,
        max_connections: int | None = None,
        fragment_size: int | None = None,
        piece_size: int | None = None,
        max_send_size: int | None = None,
        text_errors: TextErrors = "strict",
        text_as_bytes: bool = False,
        send_close_reasons: bool = True,
        rate_limit: RateLimit | None = None,
        trusted_proxies: TrustedProxies | None = None,
        head_limits: HeadLimits | None = None,
        logger: Logger | None = None,
        create_connection: Callable[[Server], ServerConnection] | None = None,
        ssl: tls.SSLContext | None = None,
        **kwargs: Any,
    ) -> None:
        self._options = ServerOptions(locals(), ServerConnection)
        if isinstance(handler, Listener):
            self._options.create_connection = lambda server: ServerListenerConnection(server, handler)
        else:
            _check_handler(handler)
        if ssl is not None and open_timeout is not None:
            kwargs.setdefault("ssl_handshake_timeout", open_timeout)
        self._unix = kwargs.pop("unix", False)
        self._kwargs = {"ssl": ssl, **kwargs} if self._unix else {"host": host, "port": port, "ssl": ssl, **kwargs}

    async def _start(self) -> Server:
        server = Server(self._options)
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if self._unix else loop.create_server
        kwargs, proxies = dict(self._kwargs), server.policy.trusted_proxies
        make: Callable[[], Any] = lambda: server.make_connection(server)._driver  # noqa: E731
        if proxies is not None and proxies.proxy_protocol:  # whose header comes before TLS
            tls_options = {name: kwargs.pop(name) for name in self._kwargs if name.startswith("ssl")}
            make = lambda: ProxyHeaderProtocol(server, tls_options)  # noqa: E731
        server._listener = await create(make, **kwargs)
        if server.is_serving():
            server.log_listening()
        return server

    def __await__(self) -> Generator[Any, Any, Server]:
        return self._start().__await__()

    async def __aenter__(self) -> Server:
        self._server = await self
        return self._server

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._server.__aexit__(kind, error, trace)


def _check_handler(handler: Any) -> None:
    check_functions(handler=handler)
    if isinstance(handler, type) and issubclass(handler, Listener):
        raise TypeError(f"pass an instance of {handler.__name__}, not the class")


def unix_serve(handler: Handler | Listener, path: str | PathLike[str] | None = None, **kwargs: Any) -> serve:
    """Start a WebSocket server on a Unix socket; otherwise as `serve`.

    Args:
        handler: As for `serve`.
        path: The path of the socket; None with `sock`.
        **kwargs: Other arguments of `serve`.
    """
    return serve(handler, unix=True, path=path, **kwargs)
