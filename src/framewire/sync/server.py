"""The blocking server: `serve` listens, and runs a handler in a thread for each WebSocket (RFC 6455
4.2).
"""

from __future__ import annotations

import inspect
import os
import selectors
import socket
import ssl as tls
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias

from ..http.http11 import HeadLimits, Request, Response
from ..http.request_checks import Origin
from ..http.server_policy import SAME_ORIGIN, SERVER_HEADER, SelectSubprotocol, check_functions
from ..http.trusted_proxies import TrustedProxies
from ..protocol.codecs import Extension
from ..protocol.constants import CloseCode, State
from ..protocol.receiver import TextErrors
from ..session.arguments import check_absent, check_all_used
from ..session.base_server import BaseServer, ServerOptions, remove_socket
from ..session.logs import Logger
from ..session.rate_limit import RateLimit
from ..session.settings import ConnectionSettings
from .auth import basic_auth
from .connection import broadcast
from .server_connection import ASYNC_HANDLER, ServerConnection
from .transport import Transport
from .waits import wait_until

__all__ = ["SAME_ORIGIN", "Server", "ServerConnection", "basic_auth", "broadcast", "serve", "unix_serve"]

#: How long to wait, in seconds, when the system has no resources for another connection.
_ACCEPT_PAUSE: Final = 0.1

Handler: TypeAlias = Callable[[Any], None]
CreateConnection: TypeAlias = "Callable[[Transport, ConnectionSettings, Any], ServerConnection]"
ProcessRequest: TypeAlias = Callable[[Any, Request], "Response | None"]
ProcessResponse: TypeAlias = Callable[[Any, Request, Response], "Response | None"]


class Server(BaseServer):
    """A listening server, as `serve` gives it. Leaving it as a context shuts it down."""

    def __init__(self, sock: socket.socket, options: ServerOptions) -> None:
        super().__init__(options)
        #: The listening socket.
        self.socket = sock
        self._everyone: dict[ServerConnection, threading.Thread] = {}
        self._refused: set[ServerConnection] = set()
        #: The threads that are in `shutdown`; one that a signal handler interrupts is there twice.
        self._stopping: list[threading.Thread] = []
        self._lock = threading.RLock()  # `shutdown` may interrupt its own thread, as a signal handler
        #: Notified when a handler has ended or a thread is stopping.
        self._changed = threading.Condition(self._lock)
        #: The arguments for a connection that opens after `shutdown`.
        self.close_arguments: tuple[int, str] | None = None
        self._acceptor: threading.Thread | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._woken, self._waker = socket.socketpair()
        sock.setblocking(False)

    @property
    def connections(self) -> set[ServerConnection]:
        """The connections that are open now."""
        with self._lock:
            return super().connections

    def fileno(self) -> int:
        """The descriptor of the listening socket, for `select`."""
        return self.socket.fileno()

    def serve_forever(self) -> None:
        """Accept connections until `shutdown` is called, from another thread or a signal
        handler.
        """
        self._acceptor = threading.current_thread()
        self._idle.clear()
        try:
            if self.closing:
                return
            with suppress(OSError):  # closed already
                self.log_sockets([self.socket])
            with selectors.DefaultSelector() as selector:
                selector.register(self.socket, selectors.EVENT_READ)
                selector.register(self._woken, selectors.EVENT_READ)
                while not self.closing:
                    selector.select()
                    if not self.closing:
                        self._accept_one()
        finally:
            self._acceptor = None
            if self.closing:
                self._woken.close()
            self._idle.set()

    def _accept_one(self) -> None:
        try:
            sock, _ = self.socket.accept()
        except (BlockingIOError, ConnectionError):
            return  # the client was gone before we had it, or there was none
        except OSError:
            self.logger.exception("no connection can be accepted for now")
            time.sleep(_ACCEPT_PAUSE)
            return
        self._start(sock)

    def _start(self, sock: socket.socket) -> None:
        """Serve a connection in a new thread; close it if no thread can be started."""
        connection: ServerConnection | None = None
        try:
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self.make_connection(Transport(sock), self.settings, self)
            self._start_thread(connection)
        except Exception:
            self.logger.exception("connection failed")
            sock.close()
            if connection is not None:
                self._forget(connection)
                connection._driver.end_unopened()

    def _start_thread(self, connection: ServerConnection) -> None:
        thread = threading.Thread(target=self._run, args=(connection,), name="framewire handler", daemon=True)
        with self._lock:
            if self.is_full(len(self._everyone) - len(self._refused)):
                if not self.may_refuse(len(self._refused)):
                    connection.socket.close()
                    connection._driver.end_unopened()
                    return
                self._refused.add(connection)
            self._everyone[connection] = thread
        thread.start()
        if self.close_arguments is not None:  # accepted before the socket was closed
            connection.stop(*self.close_arguments)

    def _run(self, connection: ServerConnection) -> None:
        try:
            connection.run(connection in self._refused)
        finally:
            self._forget(connection)

    def _forget(self, connection: ServerConnection) -> None:
        with self._lock:
            self._refused.discard(connection)
            self._everyone.pop(connection, None)
            self._changed.notify_all()

    def shutdown(self, close_connections: bool = True, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """Stop listening, close every connection, and wait until their handlers have returned.

        Clients whose request has arrived are answered 503, those without a request are cut. A
        server that is shut down cannot be used again. A handler that calls this does not wait for
        itself, nor for others that call it too. If a signal handler raises meanwhile, all that is
        left is cut.

        Args:
            close_connections: False lets open connections go on until their handlers return.
            code: The close code.
            reason: The close reason.
        """
        first = self.begin_closing(code, reason)
        try:
            self._stop_accepting()
            if close_connections:
                self.close_arguments = code, reason
            with self._lock:
                everyone = list(self._everyone.items())
            for connection, _ in everyone:
                if close_connections or connection.state is State.CONNECTING:
                    connection.stop(code, reason)
            timeout = self.settings.close_timeout if close_connections else None
            self._wait_for_handlers(everyone, None if timeout is None else time.monotonic() + timeout)
        except BaseException:
            with self._lock:
                left = list(self._everyone)
            for connection in left:
                connection.abort()
            raise
        if first:
            self.logger.info("server closed")

    def _stop_accepting(self) -> None:
        """Have `serve_forever` return, and close the listening socket."""
        self._waker.close()
        if self._acceptor is threading.current_thread():
            self._idle.set()  # a handler that calls this too need not wait for this thread
        self._idle.wait()
        self.socket.close()
        if self._acceptor is None:  # else `serve_forever`, which this call interrupts, still uses it
            self._woken.close()

    def _wait_for_handlers(
        self, everyone: list[tuple[ServerConnection, threading.Thread]], deadline: float | None
    ) -> None:
        """Wait for the other handlers; abort connections at the deadline, so that their handlers
        learn of the end.
        """
        own = threading.current_thread()
        others = [each for each in everyone if each[1] is not own and each[1].is_alive()]
        with self._lock:
            self._stopping.append(own)
            self._changed.notify_all()
        try:
            for each in others:
                self._wait_for_handler(*each, deadline)
            expired = deadline is not None and time.monotonic() >= deadline
            for connection, _ in everyone:
                if connection in self._everyone:
                    if expired:  # its peer is gone or does not read
                        connection.abort()
                    else:  # this thread does not wait for it
                        connection._driver.unwatch()
            for each in others:
                self._wait_for_handler(*each, None)
        finally:
            with self._lock:
                self._stopping.remove(own)
        for connection, thread in others:
            if connection not in self._everyone:
                thread.join()

    def _wait_for_handler(self, connection: ServerConnection, thread: threading.Thread, deadline: float | None) -> None:
        """Wait until a handler has returned, but not if it waits for this thread, a handler too."""
        own = threading.current_thread()

        def is_done() -> bool:
            is_waiting = thread in self._stopping and own in self._everyone.values()
            return connection not in self._everyone or is_waiting

        with self._lock:
            seconds = None if deadline is None else max(0, deadline - time.monotonic())
            wait_until(self._changed, is_done, seconds)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()


def serve(
    handler: Handler,
    host: str | None = None,
    port: int | None = None,
    *,
    sock: socket.socket | None = None, ssl: tls.SSLContext | None = None,
    origins: Sequence[Origin] | str | None = SAME_ORIGIN,
    extensions: Sequence[Extension] | None = None,
    subprotocols: Sequence[str] | None = None, select_subprotocol: SelectSubprotocol | None = None,
    compression: Literal["deflate"] | None = "deflate",
    process_request: ProcessRequest | None = None, process_response: ProcessResponse | None = None,
    server_header: str | None = SERVER_HEADER,
    open_timeout: float | None = 10, ping_interval: float | None = 20, ping_timeout: float | None = 20,
    close_timeout: float | None = 10, idle_timeout: float | None = None, total_timeout: float | None = None,
    max_size: int | tuple[int | None, int | None] | None = 1 << 20,
    max_queue: int | tuple[int, int | None] | None = 16,
    fragment_size: int | None = None, piece_size: int | None = None, max_send_size: int | None = None,
    text_errors: TextErrors = "strict", text_as_bytes: bool = False, send_close_reasons: bool = True,
    max_connections: int | None = None, rate_limit: RateLimit | None = None,
    trusted_proxies: TrustedProxies | None = None, head_limits: HeadLimits | None = None,
    logger: Logger | None = None, create_connection: CreateConnection | None = None,
    **kwargs: Any,
) -> Server:  # fmt: skip
    """Listen for WebSockets; call `serve_forever` of the server then.

    Times are in seconds, sizes in bytes; None: no limit. `ConnectionSettings` says more.

    Args:
        handler: Runs in a thread for each connection; when it returns the connection is closed with
            1000, when it raises with 1011 and the error is logged.
        host: The address to listen on; None for all.
        port: The TCP port; None or 0 for a free one.
        sock: A listening socket, instead of `host` and `port`.
        ssl: The TLS context, to serve wss.
        origins: The origins that may connect, as text or patterns, None in it for requests without
            one; by default those of the server's own host (10.2); None for everyone.
        extensions: Extensions besides permessage-deflate, best first. One with other settings
            replaces it.
        subprotocols: The subprotocols that the handler speaks, best first.
        select_subprotocol: Chooses instead, given the connection and those that the client offers.
        compression: None: no permessage-deflate.
        process_request: Given the connection and the request, returns a `Response` to answer with
            instead, or None.
        process_response: Given the response too, changes it or returns another one.
        server_header: The value of the Server header, None for no such header.
        open_timeout: Time for TLS and the opening handshake together.
        ping_interval: Time between pings.
        ping_timeout: Silence after a ping that fails the connection with 1011.
        close_timeout: Time for the closing handshake and the end of TCP.
        idle_timeout: Time without messages after which the connection is closed with 1008.
        total_timeout: Age at which the connection is closed with 1008.
        max_size: Largest message to receive, or a pair: message, frame.
        max_queue: Messages that may wait for `recv` before reading stops, or a pair of marks. None:
            16384.
        fragment_size: Longer messages are sent in fragments of this size, except for those of broadcasts
            and topics.
        piece_size: Largest piece of `recv_streaming`.
        max_send_size: Largest message to send.
        text_errors: What becomes of text that is not UTF-8; see `Stream`.
        text_as_bytes: Whether text is received as `bytes`, validated but not decoded.
        send_close_reasons: False sends the close codes 1002, 1007 and 1009 without a reason.
        max_connections: Connections at a time; others are answered 503.
        rate_limit: How much each client may send in a time; see `RateLimit`.
        trusted_proxies: The proxies that tell the addresses of clients, by the PROXY protocol or
            X-Forwarded-For; see `TrustedProxies`.
        head_limits: The limits of requests; see `HeadLimits`.
        logger: The logger, by default `framewire.server`.
        create_connection: Makes the connections in place of `ServerConnection`.
        **kwargs: Arguments of `socket.create_server`, such as `backlog` or `reuse_port`; none with
            `sock`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value.
        OSError: It cannot listen there.
    """
    options = ServerOptions(locals(), ServerConnection)
    check_functions(handler=handler)
    if inspect.iscoroutinefunction(handler):
        raise TypeError(ASYNC_HANDLER)
    unix = kwargs.pop("unix", False)
    if sock is not None:
        check_absent("sock", host=host, port=port, path=kwargs.pop("path", None))
        check_all_used(kwargs, "sock")
    elif unix:
        check_absent("a Unix socket", host=host, port=port)
        sock = _listen_unix(kwargs.pop("path", None), kwargs)
    else:
        sock = _listen(host, port, kwargs)
    return Server(sock, options)


def _listen(host: str | None, port: int | None, options: dict[str, Any]) -> socket.socket:
    """Listen on TCP; with neither host nor family on IPv4 and IPv6, where the system has both."""
    address = host or "", port or 0
    if "family" not in options:
        dual = not host and socket.has_dualstack_ipv6()
        options["family"] = socket.AF_INET6 if dual or ":" in address[0] else socket.AF_INET
        options.setdefault("dualstack_ipv6", dual)
    return socket.create_server(address, **options)


def _listen_unix(path: str | os.PathLike[str] | None, options: dict[str, Any]) -> socket.socket:
    """Listen on a Unix socket, in place of one that is there."""
    if path is None:
        raise ValueError("path is required without sock")
    address = os.fspath(path)
    # An unknown argument must not take the socket of another server away.
    inspect.signature(socket.create_server).bind(address, family=socket.AF_UNIX, **options)
    remove_socket(path)
    return socket.create_server(address, family=socket.AF_UNIX, **options)


def unix_serve(handler: Handler, path: str | os.PathLike[str] | None = None, **kwargs: Any) -> Server:
    """Listen on a Unix socket, in place of one that is there; otherwise as `serve`.

    Args:
        handler: As for `serve`.
        path: The path of the socket; None with `sock`.
        **kwargs: Other arguments of `serve`.
    """
    return serve(handler, unix=True, path=path, **kwargs)
