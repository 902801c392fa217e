"""The trio server: `serve` runs a handler in a task for each WebSocket (RFC 6455 4.2)."""

from __future__ import annotations

import logging
import os
import ssl as tls
import stat
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

import trio

from ..errors import ConnectionClosed, HandshakeError
from ..http.auth import basic_auth
from ..http.http11 import HeadLimits, Response
from ..http.proxy_protocol import ProxyHeader
from ..http.request_checks import Origin
from ..http.server_answer import ProcessRequest, ProcessResponse, answer_request
from ..http.server_handshake import BUSY
from ..http.server_policy import (
    SAME_ORIGIN,
    SERVER_HEADER,
    SelectSubprotocol,
    ServerPolicy,
    check_functions,
    make_response,
)
from ..http.trusted_proxies import TrustedProxies
from ..protocol.codecs import Extension
from ..protocol.constants import SERVER, CloseCode, State
from ..protocol.permessage_deflate import SERVER_DEFAULT, add_compression
from ..protocol.receiver import TextErrors
from ..session.connection import close_code_after
from ..session.logs import Logger, describe_address, log_proxy_header, log_refusal, log_request, log_response
from ..session.rate_limit import RateLimit
from ..session.settings import LINGER, REFUSED, ConnectionSettings, check_max_connections
from .connection import Connection, broadcast
from .driver import READ_SIZE, STREAM_ERRORS, addresses_of, limit_time

__all__ = ["SAME_ORIGIN", "Server", "ServerConnection", "basic_auth", "broadcast", "serve", "unix_serve"]
if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


class ServerConnection(Connection):
    """The server's end of a connection.

    `request` is what the client sent, `response` what it was answered.

    Args:
        nursery: The nursery in which the connection runs.
        stream: The stream, after TLS has been started.
        server: The server.
    """

    def __init__(self, nursery: trio.Nursery, stream: trio.abc.Stream, server: Server) -> None:
        super().__init__(nursery, stream, SERVER, server.settings, server.logger)
        #: The `Server`.
        self.server = server
        #: The subprotocols to choose from; `process_request` may replace them.
        self.subprotocols: Sequence[str] = server.policy.subprotocols
        #: The user name, set by `basic_auth`.
        self.username: str

    def respond(self, status: int, text: str) -> Response:
        """Return a response in plain text, for `process_request` to return."""
        return make_response(status, text)

    async def handshake(self) -> bool:
        """Perform the opening handshake; return whether the connection is open, else it is
        closed.
        """
        handshake, malformed = self.server.policy.new_handshake(), None
        try:
            while self.request is None:
                data = await self.stream.receive_some(READ_SIZE)
                if not data:
                    self.logger.debug(
                        "! no valid HTTP request",
                        exc_info=EOFError("connection closed while reading HTTP request line"),
                    )
                    return False
                self.request = handshake.receive(bytes(data))
            log_request(self.logger, "<", self.request)
        except HandshakeError as error:
            self.logger.debug("! no valid HTTP request", exc_info=error)
            malformed = error
        answer, codecs = await answer_request(self, handshake, self.server, malformed)
        assert self.response is not None
        log_response(self.logger, ">", self.response)
        if self.response.status != 101:
            log_refusal(self.logger, self.response)
            await self._driver.refuse(answer, self.server.settings.close_timeout)
            return False
        await self.stream.send_all(answer)
        self.begin(handshake.trailing, codecs)
        return True


class Server(trio.abc.AsyncResource):
    """A listening server, as `nursery.start(serve, ...)` returns it.

    Leaving it as an async context closes it.
    """

    def __init__(
        self, listeners: list[trio.SocketListener], handler: Callable[[Any], Awaitable[None]], logger: Logger,
        policy: ServerPolicy, settings: ConnectionSettings, ssl: tls.SSLContext | None,
        process_request: ProcessRequest | None, process_response: ProcessResponse | None,
        max_connections: int | None, create_connection: Callable[..., ServerConnection],
    ) -> None:  # fmt: skip
        #: The listeners that it accepts connections from.
        self.listeners = listeners
        self.handler = handler
        self.logger = logger
        self.policy = policy
        self.settings = settings
        self.process_request = process_request
        self.process_response = process_response
        #: Set when the server is closed and all handlers have returned.
        self.handlers_waiter = trio.Event()
        #: Whether `aclose` has been called.
        self.closing = False
        self._close_arguments: tuple[int, str] | None = None  # for a connection that opens after that call
        self._ssl = ssl
        self._max_connections = max_connections
        self._create_connection = create_connection
        self._connections: set[ServerConnection] = set()
        self._accepted = self._refused = 0  # now, and how many of these get 503
        self._accepting = trio.CancelScope()
        self._serving = trio.CancelScope()
        #: The opening handshakes, with their connections after TLS.
        self._opening: dict[trio.CancelScope, ServerConnection | None] = {}

    @property
    def connections(self) -> set[ServerConnection]:
        """The connections that are open now."""
        return {each for each in self._connections if each.state is State.OPEN}

    async def serve_forever(self, task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept connections until `aclose` is called, and wait for their handlers."""
        try:
            with self._serving:
                async with trio.open_nursery() as handlers:
                    for listener in self.listeners:
                        self.logger.info("server listening on %s", describe_address(listener.socket.getsockname()))
                    task_status.started(self)
                    with self._accepting:
                        await trio.serve_listeners(self._serve, self.listeners, handler_nursery=handlers)
        finally:
            self.handlers_waiter.set()
        self.logger.info("server closed")

    async def aclose(self, close_connections: bool = True, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """Stop listening, close every connection, and wait until their handlers have returned.

        Clients whose request has arrived are answered 503, those without a request are cut. If this
        call is cancelled, all that is left is cut.

        Args:
            close_connections: False lets open connections go on until their handlers return.
            code: The close code.
            reason: The close reason.
        """
        if not self.closing:
            self.logger.info("server closing")
        self.closing = True
        self._accepting.cancel()
        for scope, opening in self._opening.items():
            if opening is None or opening.request is None:
                scope.cancel()
        if close_connections:
            self._close_arguments = code, reason
            for connection in self._connections:
                connection.start_closing(code, reason)
        try:
            await self.handlers_waiter.wait()
        except trio.Cancelled:
            self._serving.cancel()
            raise

    # One connection.

    async def _serve(self, stream: trio.abc.Stream) -> None:
        """Serve a connection from its first byte to its last; trio closes the stream."""
        self._accepted += 1
        busy = self._max_connections is not None and self._accepted - self._refused > self._max_connections
        self._refused += busy
        try:
            async with trio.open_nursery() as nursery:
                connection = await self._open(nursery, stream, busy)
                if connection is not None:
                    self._connections.add(connection)
                    if self._close_arguments is not None:
                        connection.start_closing(*self._close_arguments)
                    try:
                        await self._handle(connection)
                    finally:
                        self._connections.discard(connection)
        except Exception:
            self.logger.exception("connection failed")
        finally:
            self._accepted -= 1
            self._refused -= busy

    async def _open(self, nursery: trio.Nursery, stream: trio.abc.Stream, busy: bool) -> ServerConnection | None:
        """Perform TLS and the opening handshake; return the connection if that has opened it."""
        with limit_time(self.settings.open_timeout) as scope, suppress(*STREAM_ERRORS):
            self._opening[scope] = None
            try:
                header = self.policy.begin(addresses_of(stream)[1])
                if header is not None and not await self._read_proxy_header(stream, header):
                    return None
                if self._ssl is not None:
                    stream = trio.SSLStream(stream, self._ssl, server_side=True)
                    await stream.do_handshake()
                connection = self._opening[scope] = self._create_connection(nursery, stream, self)
                connection.client_address = None if header is None else header.source
                if not busy:
                    return connection if await connection.handshake() else None
                if self._refused <= max(self._max_connections or 0, REFUSED):
                    await connection._driver.refuse(BUSY, LINGER)
            finally:
                del self._opening[scope]
        return None

    async def _read_proxy_header(self, stream: trio.abc.Stream, header: ProxyHeader) -> bool:
        """Read the header of the PROXY protocol; return whether the connection goes on."""
        try:
            while not header.receive(bytes(await stream.receive_some(header.needed))):
                pass
        except (ValueError, EOFError) as error:
            log_proxy_header(self.logger, error)
            return False
        return True

    async def _handle(self, connection: ServerConnection) -> None:
        """Run the handler, then close."""
        failure: Exception | None = None
        try:
            await self.handler(connection)
        except Exception as error:
            if not _is_closed(error):  # else the handler was not done, but the client was
                connection.logger.error("connection handler failed", exc_info=error)
                failure = error
        await connection.aclose(close_code_after(failure))


def _is_closed(error: BaseException) -> bool:
    """Return whether an exception, or each of a group, says that the connection has ended."""
    return isinstance(error, ConnectionClosed) or (
        isinstance(error, BaseExceptionGroup) and all(map(_is_closed, error.exceptions))
    )


async def serve(
    handler: Callable[[ServerConnection], Awaitable[None]],
    port: int | None = None,
    *,
    host: str | bytes | None = None, backlog: int | None = None, listeners: list[trio.SocketListener] | None = None,
    ssl: tls.SSLContext | None = None,
    origins: Sequence[Origin] | str | None = SAME_ORIGIN,
    extensions: Sequence[Extension] | None = None,
    subprotocols: Sequence[str] | None = None, select_subprotocol: SelectSubprotocol | None = None,
    compression: Literal["deflate"] | None = "deflate",
    process_request: ProcessRequest | None = None, process_response: ProcessResponse | None = None,
    server_header: str | None = SERVER_HEADER,
    open_timeout: float | None = 10, ping_interval: float | None = 20, ping_timeout: float | None = 20,
    close_timeout: float | None = 10, idle_timeout: float | None = None, total_timeout: float | None = None,
    max_size: int | tuple[int | None, int | None] | None = 1 << 20,
    max_queue: int | tuple[int, int | None] | None = 16, write_limit: int | tuple[int, int | None] = 1 << 15,
    max_connections: int | None = None, fragment_size: int | None = None, piece_size: int | None = None,
    max_send_size: int | None = None, text_errors: TextErrors = "strict", send_close_reasons: bool = True,
    rate_limit: RateLimit | None = None, trusted_proxies: TrustedProxies | None = None,
    head_limits: HeadLimits | None = None,
    logger: Logger | None = None, create_connection: Callable[..., ServerConnection] | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:  # fmt: skip
    """Serve WebSockets until cancelled, or until `Server.aclose`.

    `server = await nursery.start(serve, handler, port)` returns the `Server`, and `async with
    server:` closes it gracefully at the end. To cancel `serve` cuts all connections.

    Times are in seconds, sizes in bytes; None: no limit. `ConnectionSettings` says more.

    Args:
        handler: Runs for each connection; when it returns the connection is closed with 1000, when
            it raises with 1011 and the error is logged.
        port: The TCP port, 0 for a free one.
        host: The address to listen on; None for all.
        backlog: How many connections the system may hold until they are accepted.
        listeners: Listeners to use, instead of `port`, `host` and `backlog`.
        ssl: The TLS context, to serve wss.
        origins: The origins that may connect, as text or patterns, None in it for requests without
            one; by default those of the server's own host (10.2); None for everyone.
        extensions: Extensions besides permessage-deflate, best first.
        subprotocols: The subprotocols that the handler speaks, best first.
        select_subprotocol: Chooses instead, given the connection and those that the client offers.
        compression: None: no permessage-deflate.
        process_request: Given the connection and the request, returns a `Response` to answer with
            instead, or None; sync or async.
        process_response: Given the response too, changes it or returns another one.
        server_header: The value of the Server header, None for no such header.
        open_timeout: Time for TLS and the opening handshake together.
        ping_interval: Time between pings.
        ping_timeout: Silence after a ping that fails the connection with 1011.
        close_timeout: Time for the closing handshake and the end of TCP.
        idle_timeout: Time without messages after which the connection is closed with 1008.
        total_timeout: Age at which the connection is closed with 1008.
        max_size: Largest message to receive, or a pair: message, frame.
        max_queue: Messages that may wait for `recv` before reading stops, or a pair of marks.
        write_limit: Bytes that may wait for the network before `send` waits, or a pair of marks.
        max_connections: Connections at a time; others are answered 503.
        fragment_size: Longer messages are sent in fragments of this size.
        piece_size: Largest piece of `recv_streaming`.
        max_send_size: Largest message to send.
        text_errors: What becomes of text that is not UTF-8; see `Stream`.
        send_close_reasons: False sends the close codes 1002, 1007 and 1009 without a reason.
        rate_limit: How much each client may send in a time; see `RateLimit`.
        trusted_proxies: The proxies that tell the addresses of clients, by the PROXY protocol or
            X-Forwarded-For; see `TrustedProxies`.
        head_limits: The limits of requests; see `HeadLimits`.
        logger: The logger, by default `framewire.server`.
        create_connection: Makes the connections in place of `ServerConnection`.
        task_status: For `nursery.start`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value.
        OSError: It cannot listen there.
    """
    policy = ServerPolicy(
        origins, () if subprotocols is None else subprotocols, select_subprotocol,
        add_compression(extensions or (), compression, SERVER_DEFAULT), server_header, trusted_proxies,
        head_limits,
    )  # fmt: skip
    settings = ConnectionSettings(
        open_timeout=open_timeout, ping_interval=ping_interval, ping_timeout=ping_timeout, close_timeout=close_timeout,
        idle_timeout=idle_timeout, total_timeout=total_timeout, max_size=max_size, max_queue=max_queue,
        write_limit=write_limit, fragment_size=fragment_size, piece_size=piece_size, max_send_size=max_send_size,
        text_errors=text_errors, send_close_reasons=send_close_reasons, rate_limit=rate_limit,
    )  # fmt: skip
    check_max_connections(max_connections)
    check_functions(handler=handler, create_connection=create_connection or ServerConnection)
    callbacks = {"process_request": process_request, "process_response": process_response}
    check_functions(**{name: callback for name, callback in callbacks.items() if callback is not None})
    if ssl is not None and not isinstance(ssl, tls.SSLContext):
        raise TypeError(f"ssl is an SSLContext or None, not {type(ssl).__name__}")
    if listeners is None:
        if port is None:
            raise ValueError("port is required when listeners is not provided")
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=backlog)
    else:
        for name, value in (("port", port), ("host", host), ("backlog", backlog)):
            if value is not None:
                raise ValueError(f"{name} is incompatible with listeners")
    server = Server(
        listeners, handler, logger or logging.getLogger("framewire.server"), policy, settings, ssl, process_request,
        process_response, max_connections, create_connection or ServerConnection,
    )  # fmt: skip
    await server.serve_forever(task_status)


async def unix_serve(
    handler: Callable[[ServerConnection], Awaitable[None]],
    path: str | os.PathLike[str],
    *,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
    **kwargs: Any,
) -> None:
    """Serve WebSockets on a Unix socket at `path`, in place of one that is there; otherwise as
    `serve`.
    """
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
    await sock.bind(os.fspath(path))
    sock.listen()
    await serve(handler, listeners=[trio.SocketListener(sock)], task_status=task_status, **kwargs)
