"""The blocking server: `serve` listens, and runs a handler in a thread for each WebSocket (RFC 6455 4.2)."""

from __future__ import annotations

import logging
import selectors
import socket
import ssl as tls
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias

from ..errors import ConnectionClosed, HandshakeError
from ..http.http11 import Request, Response
from ..http.request_checks import Origin
from ..http.server_handshake import BUSY, ServerHandshake
from ..http.server_policy import SAME_ORIGIN, ServerPolicy, check_functions, make_response
from ..protocol.codecs import Codec, Extension, Terms
from ..protocol.constants import SERVER, CloseCode, State
from ..protocol.permessage_deflate import SERVER_DEFAULT, add_compression
from ..protocol.receiver import TextErrors
from ..session.settings import LINGER, REFUSED, ConnectionSettings, check_max_connections
from .connection import Connection
from .driver import Driver
from .transport import Transport

__all__ = ["Server", "ServerConnection", "serve"]

logger = logging.getLogger("framewire.server")

#: How much of a request is read at a time, in bytes.
_HEAD_READ: Final = 4096

#: How long to wait, in seconds, when the system has no resources for another connection.
_ACCEPT_PAUSE: Final = 0.1


class ServerConnection(Connection):
    """The server's end. `request` is what the client sent, `response` what it was answered."""

    def __init__(self, transport: Transport, settings: ConnectionSettings, server: Server) -> None:
        super().__init__(self.make_driver(transport, settings))
        self.server = server
        #: What to choose from; `process_request` may replace it.
        self.subprotocols: Sequence[str] = server.policy.subprotocols

    def make_driver(self, transport: Transport, settings: ConnectionSettings) -> Driver:
        """Return the driver of this connection; for subclasses with other options."""
        return Driver(transport, SERVER, settings)

    def respond(self, status: int, text: str) -> Response:
        """A response in plain text, for `process_request` to return."""
        return make_response(status, text)

    def run(self, busy: bool = False) -> None:
        """Serves the connection from its first byte to its last; if the server is `busy`, refuses it."""
        transport = self._driver.transport
        transport.limit(self._driver.settings.open_timeout)
        try:
            if self.server.ssl is not None:
                transport.start_tls(self.server.ssl)
            if busy:
                transport.sendall(BUSY)
                self._discard(LINGER)
            else:
                self._shake_hands(ServerHandshake())
        except OSError:
            pass  # the client gave up, took too long, or does not speak TLS
        finally:
            if self._session is None:
                transport.abort()
                transport.close()
        if self._session is not None:
            self._handle()
            self._driver.reader.join()

    def _shake_hands(self, handshake: ServerHandshake) -> None:
        try:
            response = self.answer(handshake)
        except OSError:
            raise
        except Exception as error:
            if not isinstance(error, HandshakeError):
                logger.exception("opening handshake failed")
            answer = handshake.respond(self.server.policy.explain(error))
        else:
            if response is None:
                return
            answer = handshake.respond(response)
        self.response = handshake.response
        self._driver.transport.sendall(answer)
        self._discard(self._driver.settings.close_timeout)

    def answer(self, handshake: ServerHandshake) -> Response | None:
        """Receives the request and opens the connection, or returns what to answer instead.

        Raises HandshakeError to refuse; for subclasses.
        """
        request = self._receive_request(handshake)
        if self.server.process_request is not None:
            response = self.server.process_request(self, request)
            if response is not None:
                return response
        policy = self.server.policy
        self.subprotocol, answers, codecs = policy.choose(policy.check(handshake), self, self.subprotocols)
        self._accept(handshake, answers, codecs)
        return None

    def _receive_request(self, handshake: ServerHandshake) -> Request:
        while self.request is None:
            if not (data := self._driver.transport.recv(_HEAD_READ)):
                raise ConnectionResetError("the client left before a whole request")
            self.request = handshake.receive(data)
        return self.request

    def _accept(
        self,
        handshake: ServerHandshake,
        extensions: Sequence[Terms],
        codecs: Sequence[Codec],
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Open the connection, with `extensions` that have become `codecs`; `headers` are added to the answer."""
        answer = handshake.accept(subprotocol=self.subprotocol, extensions=extensions, headers=headers)
        self.response = handshake.response
        self._driver.transport.sendall(answer)
        self._begin(handshake.trailing, codecs)

    def _begin(self, rest: bytes, codecs: Sequence[Codec]) -> None:
        """Begin with the frames; `rest` is what arrived after the handshake."""
        self._driver.open(rest, codecs, self.opened)

    def stop(self, code: int, reason: str) -> None:
        """Closes the connection without waiting, or cuts it in the opening handshake."""
        if self._session is None:
            self._driver.transport.abort()
        else:
            self._driver.start_closing(code, reason, watched=True)

    def abort(self) -> None:
        """Close the connection at once."""
        self._driver.transport.abort()

    def _discard(self, seconds: float | None) -> None:
        """Waits for the client to take the answer, without losing it to a reset."""
        self._driver.transport.deadline = None
        self._driver.transport.limit(seconds)
        self._driver.transport.end_output()
        while self._driver.transport.recv(_HEAD_READ):
            pass

    def _handle(self) -> None:
        try:
            self.server.handler(self)
        except ConnectionClosed:
            pass  # the handler was not done, but the client was
        except Exception:
            logger.exception("connection handler failed")
            self.close(CloseCode.INTERNAL_ERROR)
        self.close()


Handler: TypeAlias = Callable[[Any], None]
CreateConnection: TypeAlias = "Callable[[Transport, ConnectionSettings, Server], ServerConnection]"
ProcessRequest: TypeAlias = Callable[[Any, Request], "Response | None"]


class Server:
    """A listening server, as `serve` gives it. Leaving it as a context shuts it down."""

    def __init__(
        self,
        sock: socket.socket,
        handler: Handler,
        settings: ConnectionSettings,
        ssl: tls.SSLContext | None,
        process_request: ProcessRequest | None,
        policy: ServerPolicy,
        max_connections: int | None,
        create_connection: CreateConnection,
    ) -> None:
        self.socket = sock
        self.handler = handler
        self.settings = settings
        self.ssl = ssl
        self.process_request = process_request
        self.policy = policy
        self._max_connections = max_connections
        self._create_connection = create_connection
        self._everyone: dict[ServerConnection, threading.Thread] = {}
        self._refused: set[ServerConnection] = set()
        self._lock = threading.RLock()  # `shutdown` may interrupt its own thread, as a signal handler
        self._stopping = False
        self._acceptor: threading.Thread | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._woken, self._waker = socket.socketpair()
        sock.setblocking(False)

    @property
    def connections(self) -> set[ServerConnection]:
        """The connections that are open now."""
        with self._lock:
            return {one for one in self._everyone if one.state is State.OPEN}

    def fileno(self) -> int:
        """The descriptor of the listening socket, for `select`."""
        return self.socket.fileno()

    def serve_forever(self) -> None:
        """Accept connections until `shutdown` is called, from another thread or a signal handler."""
        self._acceptor = threading.current_thread()
        self._idle.clear()
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self.socket, selectors.EVENT_READ)
                selector.register(self._woken, selectors.EVENT_READ)
                while not self._stopping:
                    selector.select()
                    if not self._stopping:
                        self._accept_one()
        finally:
            self._idle.set()

    def _accept_one(self) -> None:
        try:
            sock, _ = self.socket.accept()
        except (BlockingIOError, ConnectionError):
            return  # the client was gone before we had it, or there was none
        except OSError:
            logger.exception("no connection can be accepted for now")
            time.sleep(_ACCEPT_PAUSE)
            return
        self._start(sock)

    def _start(self, sock: socket.socket) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._create_connection(Transport(sock), self.settings, self)
        thread = threading.Thread(target=self._run, args=(connection,), name="framewire handler", daemon=True)
        most = self._max_connections
        with self._lock:
            if most is not None and len(self._everyone) - len(self._refused) >= most:
                if len(self._refused) >= max(most, REFUSED):
                    sock.close()
                    return
                self._refused.add(connection)
            self._everyone[connection] = thread
        thread.start()
        if self._stopping:  # accepted before the socket was closed
            connection.stop(CloseCode.GOING_AWAY, "")

    def _run(self, connection: ServerConnection) -> None:
        try:
            connection.run(connection in self._refused)
        finally:
            with self._lock:
                self._refused.discard(connection)
                del self._everyone[connection]

    def shutdown(self, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """Stop listening, close every connection with `code`, and wait until their handlers have returned.

        Those in the opening handshake are cut. A server that is shut down cannot be used again.
        """
        self._stopping = True
        self._waker.close()  # wakes `serve_forever`
        if self._acceptor is not threading.current_thread():
            self._idle.wait()
        self.socket.close()
        with self._lock:
            everyone = list(self._everyone.items())
        for connection, _ in everyone:
            connection.stop(code, reason)
        timeout = self.settings.close_timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        others = [(connection, thread) for connection, thread in everyone if thread is not threading.current_thread()]
        for connection, thread in others:
            thread.join(None if deadline is None else max(0, deadline - time.monotonic()))
            if thread.is_alive():  # its peer is gone or does not read; the handler learns of it now
                connection.abort()
        for _, thread in others:
            thread.join()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
        self._woken.close()


def serve(
    handler: Handler,
    host: str | None = None,
    port: int = 0,
    *,
    sock: socket.socket | None = None,
    ssl: tls.SSLContext | None = None,
    origins: Sequence[Origin] | None = None,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
    compression: Literal["deflate"] | None = "deflate",
    process_request: ProcessRequest | None = None,
    open_timeout: float | None = 10,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    close_timeout: float | None = 10,
    idle_timeout: float | None = None,
    total_timeout: float | None = None,
    max_size: int | None = 1 << 20,
    max_queue: int | None = 16,
    fragment_size: int | None = None,
    piece_size: int | None = None,
    max_send_size: int | None = None,
    text_errors: TextErrors = "strict",
    send_close_reasons: bool = True,
    max_connections: int | None = None,
    backlog: int | None = None,
    create_connection: CreateConnection = ServerConnection,
) -> Server:
    """Listen on `host` (None: all addresses) and `port` (0: a free one), or on `sock`; call `serve_forever` then.

    `handler(connection)` runs in a thread for each connection; when it returns the connection is closed with 1000,
    when it raises with 1011 and the error is logged to `framewire.server`.

    `origins` lists the origins that may connect (None in it: requests without one); without the list, those of the
    server's own host, and requests without one (10.2). `subprotocols` are those the handler speaks, best first.
    `extensions` are those that clients may use besides permessage-deflate, which is on unless `compression` is None;
    one among them with other settings replaces it. `process_request(connection, request)` may return a `Response` to
    answer with instead. `ssl` serves wss.

    Times are in seconds, None for no limit: `open_timeout` is for the whole handshake, `close_timeout` for the whole
    end. Every `ping_interval` a ping is sent, and the connection fails with 1011 if its pong takes longer than
    `ping_timeout`. It is closed with 1008 when no message passed for `idle_timeout`, or after `total_timeout`.

    `max_size` is the largest message in bytes, `max_queue` how many messages may wait for `recv` before reading stops.
    Longer messages than `fragment_size` bytes are sent in fragments; `send` refuses those over `max_send_size`.
    `piece_size` is the most that `recv_streaming` gives at once. `text_errors` lets text in that is not UTF-8, as
    `Stream` says. `send_close_reasons=False` sends the close codes 1002, 1007 and 1009 without a reason.
    `max_connections` are served at a time; others are answered 503. `backlog` is how many connections the system may
    hold until they are accepted.

    Raises OSError if it cannot listen there.
    """
    policy = ServerPolicy(
        SAME_ORIGIN if origins is None else origins,
        subprotocols,
        extensions=add_compression(extensions, compression, SERVER_DEFAULT),
    )
    settings = ConnectionSettings(
        open_timeout=open_timeout, ping_interval=ping_interval, ping_timeout=ping_timeout, close_timeout=close_timeout,
        idle_timeout=idle_timeout, total_timeout=total_timeout, max_size=max_size, max_queue=max_queue,
        fragment_size=fragment_size, piece_size=piece_size, max_send_size=max_send_size, text_errors=text_errors,
        send_close_reasons=send_close_reasons,
    )  # fmt: skip
    check_max_connections(max_connections)
    check_functions(handler=handler, create_connection=create_connection)
    if process_request is not None:
        check_functions(process_request=process_request)
    if ssl is not None and not hasattr(ssl, "wrap_socket"):
        raise TypeError(f"ssl is an SSLContext or None, not {type(ssl).__name__}")
    if sock is None:
        address = ("" if host is None else host, port)
        dual = host is None and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual or ":" in address[0] else socket.AF_INET
        sock = socket.create_server(address, family=family, backlog=backlog, dualstack_ipv6=dual)
    return Server(sock, handler, settings, ssl, process_request, policy, max_connections, create_connection)
