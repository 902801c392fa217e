"""The asyncio server: `serve` gives every connection to a handler or a listener (RFC 6455 4.2)."""

from __future__ import annotations

import asyncio
import math
import os
import ssl as tls
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from functools import partial
from os import PathLike
from socket import socket
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias

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
from ..session.arguments import check_absent
from ..session.base_server import BaseServer, ServerOptions, handler_failed
from ..session.logs import Logger
from ..session.rate_limit import RateLimit
from ..session.settings import LINGER
from .beginning import BeginningProtocol, has_tls_of_sockets, make_driver, make_limited_driver
from .callbacks import Listener
from .connection import broadcast
from .metrics import Counters
from .server_connection import ServerConnection, ServerListenerConnection
from .server_loop import LoopThread, ServerLoop
from .timer import SharedTimer
from .transport_writer import end_output

__all__ = [
    "SAME_ORIGIN", "Server", "ServerConnection", "ServerListenerConnection", "basic_auth", "broadcast", "serve",
    "unix_serve",
]  # fmt: skip

Handler: TypeAlias = Callable[[ServerConnection], Awaitable[None]]

#: The limit of a TLS handshake in place of 0, which event loops do not take, in seconds.
_SHORTEST_LIMIT: Final = 0.001

#: The options of TLS that event loops have besides the context.
_TLS_OPTIONS: Final = (
    "ssl_handshake_timeout", "ssl_shutdown_timeout", "ssl_incoming_bio_size", "ssl_outgoing_bio_size",
)  # fmt: skip


class Server(BaseServer):
    """A listening server, as `serve` returns it. Leaving it as an async context closes it.

    With `threads` it has several event loops. `connections`, `counters`, `close` and `wait_closed` may
    then be used in each of them; the other methods belong to the loop that has called `serve`.
    """

    def __init__(self, options: ServerOptions) -> None:
        super().__init__(options)
        self._home = ServerLoop(asyncio.get_running_loop(), self.settings)
        self._loops = {self._home.loop: self._home}
        self._closed = asyncio.Event()
        self._lock = threading.RLock()  # for changes of `_everyone` and of `_past`
        self._past = Counters()

    @property
    def _here(self) -> ServerLoop:
        """The part of the server in the running event loop."""
        return self._loops[asyncio.get_running_loop()]

    @property
    def sockets(self) -> tuple[socket, ...]:
        """The listening sockets, those of each event loop; none once it is closed."""
        return tuple(sock for part in self._loops.values() for sock in part.sockets)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that has called `serve`."""
        return self._home.loop

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return any(listener.is_serving() for listener in self._home.listeners)

    async def start_serving(self) -> None:
        """Begin to accept connections, after `serve(..., start_serving=False)`."""
        for part in self._loops.values():
            for listener in part.listeners:
                await part.run(listener.start_serving())
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
        self.log_sockets(self._home.sockets)

    def counters(self) -> Counters:
        """Return the numbers of connections, messages and bytes since the start."""
        with self._lock:
            return self._past.plus(self._everyone)

    def log_counters(self) -> None:
        """Write the counters to the log, one line at level INFO."""
        self.logger.info("%s", ", ".join(f"{name} {value}" for name, value in self.counters().as_dict().items()))

    def close(
        self, close_connections: bool = True, code: int = CloseCode.GOING_AWAY, reason: str = "",
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        """Stop listening and close every connection, without waiting: see `wait_closed`.

        Clients in the opening handshake are answered 503, those before it, as in TLS, are cut. A
        closed server cannot be used again.

        Args:
            close_connections: False lets open connections go on until their handlers return.
            code: The close code.
            reason: The close reason, at most 123 bytes of UTF-8.
            timeout: Time after which all that is left is cut, in seconds; None: each connection
                has its `close_timeout`.
        """
        self.begin_closing(code, reason)
        for part in self._loops.values():
            part.call(self._close_part, part, close_connections, code, reason, timeout)

    def _close_part(
        self, part: ServerLoop, close_connections: bool, code: int, reason: str, timeout: float | None
    ) -> None:
        """Do the part of `close` that belongs to the running event loop."""
        for listener in part.listeners:
            listener.close()
        for early in list(part.beginning):
            early.abort()
        for connection in self._connections_of(part):
            if connection.state is State.CONNECTING:
                connection._driver.opening.close()
            elif close_connections:
                connection.start_closing(code, reason)
        if timeout is not None:
            part.loop.call_later(timeout, self._cut, part)
        if part.finishing is None:
            self._start_finishing(part)

    def _connections_of(self, part: ServerLoop) -> list[Any]:
        return [connection for connection in list(self._everyone) if connection.loop is part.loop]

    def _cut(self, part: ServerLoop) -> None:
        for connection in self._connections_of(part):
            connection.transport.abort()
        for listener in part.listeners:
            if hasattr(listener, "abort_clients"):  # see `has_tls_of_sockets`
                listener.abort_clients()
        for task in list(part.tasks):
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until the server is closed, its connections have ended and their handlers have
        returned.

        A handler that calls this, also in a task that it has created, does not wait for itself, nor
        for others that call it too. If all tasks of the event loop are cancelled meanwhile, all that
        is left is cut.
        """
        part = self._loops.get(asyncio.get_running_loop())
        own = None if part is None else part.find_own()
        if part is None or own is None:
            await self._home.run(self._closed.wait())
            return
        part.stopping.append(own)
        part.note_change()
        try:
            for each in list(self._loops.values()):
                await asyncio.wrap_future(each.others_ended)
        finally:
            part.stopping.remove(own)

    def _start_finishing(self, part: ServerLoop) -> None:
        part.finishing = part.loop.create_task(self._finish(part))
        part.finishing.add_done_callback(partial(self._finished, part))

    def _finished(self, part: ServerLoop, task: asyncio.Task[None]) -> None:
        """If the task was cancelled, as programs do with all tasks at their end, cut the connections that are
        left, and wait again.
        """
        if task.cancelled():
            self._cut(part)
            self._start_finishing(part)

    async def _finish(self, part: ServerLoop) -> None:
        """Wait for the end of everything in the running event loop, after `close`."""
        connections = self._connections_of(part)
        await part.wait_for_others(connections)
        if not part.others_ended.done():
            part.others_ended.set_result(None)
        for connection in connections:
            await connection.wait_closed()
        for listener in part.listeners:
            await listener.wait_closed()
        if part.tasks:
            await asyncio.wait(part.tasks)
        if part.thread is not None:
            part.thread.stop()
            return
        for other in self._loops.values():
            if other.thread is not None:
                await other.thread.wait_ended()
        self.logger.info("server closed")
        self._closed.set()

    def _add_loop(self) -> ServerLoop:
        """Start another event loop, in a thread of its own."""
        thread = LoopThread(f"framewire-server-{len(self._loops) + 1}")
        part = self._loops[thread.loop] = ServerLoop(thread.loop, self.settings, thread)
        return part

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

    # Methods that its connections call, each in its own event loop.

    def began(self, early: BeginningProtocol) -> bool:
        """A client has come whose connection begins with TLS or the header of a proxy; whether it may
        go on.

        No more of them may than get a place, or an answer that there is none.
        """
        part = self._here
        with self._lock:
            begun = len(self._everyone) + sum(len(each.beginning) for each in self._loops.values())
            full = self.max_connections is not None and not self.may_refuse(begun - self.max_connections)
            if not (self.closing or full):
                part.beginning.add(early)
                return True
            if not self.closing:  # else it was accepted by the kernel before the listener was closed
                self._past.accepted += 1
                self._past.refused_busy += 1
        return False

    @property
    def timer(self) -> SharedTimer:
        """The timer of the connections in the running event loop."""
        return self._here.timer

    @property
    def beginning(self) -> set[BeginningProtocol]:
        """The connections in the running event loop that have not come to their opening handshake."""
        return self._here.beginning

    def connected(self, connection: Any) -> bool:
        """A client has come; whether it may stay."""
        with self._lock:
            self._past.accepted += 1
            closing, full = self.closing, self.is_full(len(self._everyone))
            if not (closing or full):
                self._everyone.add(connection)
                return True
            self._past.refused_busy += not closing
        if closing:  # accepted by the kernel before the listener was closed
            connection.transport.abort()
        else:
            self._refuse(connection.transport)
        return False

    def _refuse(self, transport: asyncio.Transport) -> None:
        """Answer 503 without reading the request, unless too many are being refused."""
        part = self._here
        if not self.may_refuse(len(part.refused)):
            transport.abort()
            return
        part.refused.add(transport)
        transport.write(BUSY)
        end_output(transport)
        part.loop.call_later(LINGER, self._drop, transport)

    def _drop(self, transport: asyncio.Transport) -> None:
        self._here.refused.discard(transport)
        transport.abort()

    def disconnected(self, connection: Any) -> None:
        """A client has gone."""
        part = self._here
        part.refused.discard(connection.transport)
        part.note_change()
        with self._lock:
            if connection in self._everyone:
                self._everyone.discard(connection)
                self._past.add(connection)

    def opened(self, connection: Any) -> None:
        """A WebSocket is open."""
        if isinstance(connection, ServerConnection):
            self.start(self._handle(connection), connection)

    async def _handle(self, connection: ServerConnection) -> None:
        """Run the handler, then begin to close."""
        assert not isinstance(self.handler, Listener)
        code = CloseCode.INTERNAL_ERROR
        try:
            await self.run_handler(connection)
            code = CloseCode.NORMAL_CLOSURE
        except Exception as error:
            code = handler_failed(connection, error)
        finally:
            connection.start_closing(code)

    def start(self, run: Coroutine[Any, Any, None], connection: Any = None) -> asyncio.Task[None]:
        """Run a task of a connection."""
        return self._here.start(run, connection)


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
            and low, by default a quarter of high. None: 16384.
        write_limit: Bytes that may wait for the network before `send` waits, or a pair of marks.
        max_unsent: Bytes waiting for the network above which a further message aborts the
            connection.
        max_connections: Connections at a time; others are answered 503.
        fragment_size: Longer messages are sent in fragments of this size, except for those of broadcasts
            and topics.
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
        create_connection: Makes the connections in place of `ServerConnection`, from the server; not
            with a `Listener`.
        ssl: The TLS context, to serve wss.
        threads: The number of event loops, for free-threaded Python: the calling one, and others of
            its kind in threads of their own. The kernel distributes the connections over them
            (Linux). Handlers run in the loop of their connection.
        allow_gil: True allows several threads also with the GIL, for tests: they are slower than one.
        **kwargs: Arguments of `loop.create_server`, such as `sock`, `backlog` or `reuse_port`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value.
        RuntimeError: `threads` is more than 1, and this Python has a GIL.
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
        threads: int = 1,
        allow_gil: bool = False,
        **kwargs: Any,
    ) -> None:
        self._options = ServerOptions(locals(), ServerConnection)
        if isinstance(handler, Listener):
            check_absent("a Listener", create_connection=create_connection)
            self._options.create_connection = lambda server: ServerListenerConnection(server, handler)
        else:
            _check_handler(handler)
        self._tls_options: dict[str, Any] = {
            name: kwargs.pop(name) for name in _TLS_OPTIONS if ssl is not None and name in kwargs
        }
        _check_threads(threads, allow_gil)
        self._threads = threads
        self._entered = False
        self._unix = kwargs.pop("unix", False)
        if self._unix:
            check_absent("a Unix socket", host=host, port=port)
        names = ("path", "sock") if self._unix else ("sock", "family", "reuse_port")
        self._address = {name: kwargs.pop(name) for name in names if name in kwargs}
        if not self._unix:
            self._address.update(host=host, port=port)
            if threads > 1 and "sock" not in self._address:
                self._address["reuse_port"] = True
        self._kwargs = kwargs

    async def _start(self) -> Server:
        server = Server(self._options)
        try:
            await self._listen(server, self._address)
            if self._threads > 1 and not server.closing:
                await self._start_threads(server)
        except BaseException:
            if server.sockets:
                server.close()
                await server.wait_closed()
            raise
        if server.is_serving():
            server.log_listening()
        return server

    async def _start_threads(self, server: Server) -> None:
        """Start the other event loops, each with sockets of its own at the same addresses."""
        shared = self._unix or "sock" in self._address
        for part in [server._add_loop() for _ in range(self._threads - 1)]:
            for sock in server._home.sockets:
                if shared:  # the kernel cannot distribute connections over sockets: the loops share one
                    address: dict[str, Any] = {"sock": socket(fileno=os.dup(sock.fileno()))}
                else:
                    host, port = sock.getsockname()[:2]
                    address = {"host": host, "port": port, "family": sock.family, "reuse_port": True}
                await part.run(self._listen(server, address))

    async def _listen(self, server: Server, address: dict[str, Any]) -> None:
        """Listen at an address, in the running event loop."""
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if self._unix else loop.create_server
        kwargs, context, proxies = {**self._kwargs, **address}, self._options.ssl, server.policy.trusted_proxies
        make: Callable[[], Any] = partial(make_driver, server)
        has_header = proxies is not None and proxies.proxy_protocol
        limit = {"ssl_handshake_timeout": math.inf}  # not the 60 s of the event loop: `open_timeout` is the limit
        if has_header or (context is not None and not has_tls_of_sockets(loop)):
            make = lambda: BeginningProtocol(server, context, limit | self._tls_options)  # noqa: E731
        elif context is not None:
            make = partial(make_limited_driver, server)
            if (seconds := server.settings.open_timeout) is not None:
                limit["ssl_handshake_timeout"] = seconds or _SHORTEST_LIMIT
            kwargs.update(limit | self._tls_options, ssl=context)
        start_serving = kwargs.pop("start_serving", True)
        listener = await create(make, start_serving=False, **kwargs)
        server._here.listeners.append(listener)  # before the next wait, which may be cancelled
        if start_serving:
            await listener.start_serving()

    def __await__(self) -> Generator[Any, Any, Server]:
        return self._start().__await__()

    async def __aenter__(self) -> Server:
        if self._entered:
            raise RuntimeError("this serve() is entered already")
        self._entered = True
        try:
            self._server = await self
        except BaseException:
            self._entered = False
            raise
        return self._server

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered = False
        await self._server.__aexit__(kind, error, trace)


def _check_handler(handler: Any) -> None:
    check_functions(handler=handler)
    if isinstance(handler, type) and issubclass(handler, Listener):
        raise TypeError(f"pass an instance of {handler.__name__}, not the class")


def _check_threads(threads: int, allow_gil: bool) -> None:
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise TypeError(f"threads is an integer, not {type(threads).__name__}")
    if threads < 1:
        raise ValueError(f"threads is 1 or more, not {threads}")
    if threads > 1 and not allow_gil and getattr(sys, "_is_gil_enabled", lambda: True)():
        raise RuntimeError(
            f"threads={threads} needs a free-threaded Python: with the GIL, several event loops are slower than one; "
            "use several processes, or pass allow_gil=True to try it all the same"
        )


def unix_serve(handler: Handler | Listener, path: str | PathLike[str] | None = None, **kwargs: Any) -> serve:
    """Start a WebSocket server on a Unix socket; otherwise as `serve`.

    Args:
        handler: As for `serve`.
        path: The path of the socket; None with `sock`.
        **kwargs: Other arguments of `serve`.
    """
    return serve(handler, unix=True, path=path, **kwargs)
