"""The trio server: `serve` runs a handler in a task for each WebSocket (RFC 6455 4.2)."""

from __future__ import annotations

import os
import ssl as tls
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any, Literal, cast

import trio

from ..http.auth import basic_auth
from ..http.http11 import HeadLimits, Response
from ..http.request_checks import Origin
from ..http.server_answer import ProcessRequest, ProcessResponse
from ..http.server_handshake import BUSY
from ..http.server_policy import SAME_ORIGIN, SERVER_HEADER, SelectSubprotocol, check_functions, make_response
from ..http.trusted_proxies import TrustedProxies
from ..protocol.codecs import Extension
from ..protocol.constants import SERVER, CloseCode, State
from ..protocol.receiver import TextErrors
from ..session.arguments import check_absent
from ..session.base_driver import READ_SIZE, peer_address
from ..session.base_server import BaseServer, ServerOptions, handler_failed, remove_socket
from ..session.logs import Logger
from ..session.opening import answer_client, read_proxy_header
from ..session.rate_limit import RateLimit
from ..session.settings import LINGER
from .connection import Connection, broadcast
from .driver import STREAM_ERRORS, limit_time

__all__ = ["SAME_ORIGIN", "Server", "ServerConnection", "basic_auth", "broadcast", "serve", "unix_serve"]


class ServerConnection(Connection):
    """The server's end of a connection, on a stream on which TLS has been started.

    `request` is what the client sent, `response` what it was answered.
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
        """Return a response in plain text, for `process_request` to return.

        Args:
            status: The status code, 400 for example.
            text: The body, sent as UTF-8.
        """
        return make_response(status, text)


class Server(BaseServer, trio.abc.AsyncResource):
    """A listening server, as `nursery.start(serve, ...)` returns it.

    Leaving it as an async context closes it.
    """

    def __init__(self, listeners: list[trio.SocketListener], options: ServerOptions) -> None:
        super().__init__(options)
        #: The listeners that it accepts connections from.
        self.listeners = listeners
        #: Set when the server is closed and all handlers have returned.
        self.handlers_waiter = trio.Event()
        self._close_arguments: tuple[int, str] | None = None  # for a connection that opens after `aclose`
        #: The tasks of the connections, and how many of these get 503.
        self._tasks: set[trio.lowlevel.Task] = set()
        self._refused = 0
        #: Those of them that wait in `aclose`, and where they wait.
        self._stopping: list[trio.lowlevel.Task] = []
        self._stoppers = trio.lowlevel.ParkingLot()
        self._accepting, self._serving = trio.CancelScope(), trio.CancelScope()
        #: The opening handshakes, with their connections after TLS.
        self._opening: dict[trio.CancelScope, ServerConnection | None] = {}

    async def serve_forever(self, task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept connections until `aclose` is called, and wait for their handlers.

        Args:
            task_status: For `nursery.start`.
        """
        try:
            with self._serving:
                async with trio.open_nursery() as handlers:
                    self.log_sockets(listener.socket for listener in self.listeners)
                    task_status.started(self)
                    with self._accepting:
                        await trio.serve_listeners(self._serve, self.listeners, handler_nursery=handlers)
        finally:
            self.handlers_waiter.set()
        self.logger.info("server closed")

    async def aclose(self, close_connections: bool = True, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """Stop listening, close every connection, and wait until their handlers have returned.

        Clients whose request has arrived are answered 503, those without a request are cut. If this
        call is cancelled, all that is left is cut. A handler that calls this does not wait for
        itself, nor for others that call it too.

        Args:
            close_connections: False lets open connections go on until their handlers return.
            code: The close code.
            reason: The close reason.
        """
        self.begin_closing(code, reason)
        self._accepting.cancel()
        for scope, opening in self._opening.items():
            if opening is None or opening.request is None:
                scope.cancel()
        if close_connections:
            self._close_arguments = code, reason
            for connection in self._everyone:
                connection.start_closing(code, reason)
        try:
            own = self._find_own_task()
            if own is None:
                await self.handlers_waiter.wait()
            else:
                await self._wait_for_others(own)
        except trio.Cancelled:
            self._serving.cancel()
            raise

    def _find_own_task(self) -> trio.lowlevel.Task | None:
        """Return the task of the connection that the running task belongs to, if any."""
        task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        while task is not None and task not in self._tasks:
            task = None if task.parent_nursery is None else task.parent_nursery.parent_task
        return task

    async def _wait_for_others(self, own: trio.lowlevel.Task) -> None:
        """Wait until all other handlers have returned, or wait here too."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._stopping.append(own)
        self._stoppers.unpark_all()
        try:
            while self._tasks.difference(self._stopping):
                await self._stoppers.park()
        finally:
            self._stopping.remove(own)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _serve(self, stream: trio.abc.Stream) -> None:
        """Serve a connection from its first byte to its last; trio closes the stream."""
        busy = self.is_full(len(self._tasks) - self._refused)
        if busy and not self.may_refuse(self._refused):
            return
        task = trio.lowlevel.current_task()
        self._tasks.add(task)
        self._refused += busy
        try:
            async with trio.open_nursery() as nursery:
                connection = await self._open(nursery, stream, busy)
                if connection is not None:
                    await self._handle(connection)
        except Exception:
            self.logger.exception("connection failed")
        finally:
            self._tasks.discard(task)
            self._refused -= busy
            self._stoppers.unpark_all()

    async def _open(self, nursery: trio.Nursery, stream: trio.abc.Stream, busy: bool) -> ServerConnection | None:
        """Perform TLS and the opening handshake; return the connection if that has opened it."""
        connection: ServerConnection | None = None
        with limit_time(self.settings.open_timeout) as scope:
            self._opening[scope] = None
            try:
                peer = peer_address(getattr(stream, "socket", None))
                address = await read_proxy_header(self.policy, peer, stream.receive_some, self.logger)
                if self.ssl is not None:
                    stream = trio.SSLStream(stream, self.ssl, server_side=True)
                    await stream.do_handshake()
                connection = self._opening[scope] = self.make_connection(nursery, stream, self)
                connection.client_address = address
                if busy:
                    await connection._driver.refuse(BUSY, LINGER)
                else:
                    await self._answer(connection)
            except EOFError:
                pass  # there is no valid header of the PROXY protocol, or no request; that is logged
            except STREAM_ERRORS as error:
                self.logger.debug("! opening handshake failed", exc_info=error)
            finally:
                del self._opening[scope]
                if connection is not None and connection.state is State.CONNECTING:
                    connection._driver.end_unopened()
        return connection if connection is not None and connection._session is not None else None

    async def _answer(self, connection: ServerConnection) -> None:
        """Perform the opening handshake, or answer with a refusal. Raises as `answer_client`."""
        handshake = self.policy.new_handshake()
        receive = partial(connection.stream.receive_some, READ_SIZE)
        answer, codecs = await answer_client(connection, handshake, self, receive)
        if cast(Response, connection.response).status == 101:
            await connection.stream.send_all(answer)
            connection.begin(handshake.trailing, codecs)
        else:
            await connection._driver.refuse(answer, self.settings.close_timeout)

    async def _handle(self, connection: ServerConnection) -> None:
        """Run the handler, then close."""
        self._everyone.add(connection)
        code = CloseCode.NORMAL_CLOSURE
        try:
            if self._close_arguments is not None:
                connection.start_closing(*self._close_arguments)
            await self.run_handler(connection)
        except Exception as error:
            code = handler_failed(connection, error)
        finally:
            self._everyone.discard(connection)
        await connection.aclose(code)


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
    max_send_size: int | None = None, text_errors: TextErrors = "strict", text_as_bytes: bool = False,
    send_close_reasons: bool = True, rate_limit: RateLimit | None = None,
    trusted_proxies: TrustedProxies | None = None, head_limits: HeadLimits | None = None,
    logger: Logger | None = None, create_connection: Callable[..., ServerConnection] | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:  # fmt: skip
    """Serve WebSockets until cancelled, or until `Server.aclose`.

    `server = await nursery.start(serve, handler, port)` returns the `Server`, and `async with
    server:` closes it gracefully at the end. To cancel `serve` cuts all connections.

    Args:
        handler: As for `framewire.asyncio.serve`, like all that are not listed here.
        port: The TCP port, 0 for a free one.
        host: The address to listen on; None for all.
        backlog: How many connections the system may hold until they are accepted.
        listeners: Listeners to use, instead of `port`, `host` and `backlog`.
        ssl: The TLS context, to serve wss.
        open_timeout: Time for TLS and the opening handshake together, in seconds.
        create_connection: Makes the connections from a nursery, a stream and the server.
        task_status: For `nursery.start`.

    Raises:
        OSError: It cannot listen there. TypeError and ValueError are raised for invalid arguments.
    """
    options = _check_arguments(locals())
    if listeners is None:
        if port is None:
            raise ValueError("port is required when listeners is not provided")
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=backlog)
    else:
        check_absent("listeners", port=port, host=host, backlog=backlog)
    await Server(listeners, options).serve_forever(task_status)


async def unix_serve(
    handler: Callable[[ServerConnection], Awaitable[None]], path: str | os.PathLike[str], *,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED, **kwargs: Any,
) -> None:  # fmt: skip
    """Serve WebSockets on a Unix socket, in place of one that is there; otherwise as `serve`.

    Args:
        handler: As for `serve`.
        path: The path of the socket.
        task_status: For `nursery.start`.
        **kwargs: Other arguments of `serve`.
    """
    arguments = signature(serve).bind(handler, **kwargs)
    arguments.apply_defaults()
    # An argument that is invalid must not take the socket of another server away.
    options = _check_arguments(arguments.arguments)
    names = "port", "host", "backlog", "listeners"
    check_absent("a Unix socket", **{name: arguments.arguments[name] for name in names})
    with trio.socket.socket(trio.socket.AF_UNIX) as sock:
        remove_socket(path)
        await sock.bind(os.fspath(path))
        sock.listen()
        await Server([trio.SocketListener(sock)], options).serve_forever(task_status)


def _check_arguments(arguments: Mapping[str, Any]) -> ServerOptions:
    """Return the options among the arguments of `serve`. Raises TypeError and ValueError."""
    options = ServerOptions(arguments, ServerConnection)
    check_functions(handler=options.handler)
    return options
