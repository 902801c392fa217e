"""Connections over socket pairs for tests with threads: the real server and client, without a
network; and `serve_peer`, a scripted server for clients of every kind.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeAlias

from ..http.client_handshake import ClientHandshake
from ..http.server_handshake import ServerHandshake
from ..http.uri import parse_uri
from ..protocol.constants import CLIENT, SERVER, Role
from ..protocol.events import Event
from ..sync.client import ClientConnection
from ..sync.client import connect as connect_socket
from ..sync.server import Server, ServerConnection, serve
from ..sync.waits import limit_wait
from .application import Failures
from .peer import BasePeer, complete_uri

__all__ = ["Peer", "Script", "connect", "connect_peer", "pair", "serve_peer"]

Handler: TypeAlias = Callable[[ServerConnection], None]

_ANY_ORIGIN: Final = (re.compile(".*"), None)

#: The most that one read brings, in bytes.
_READ_SIZE: Final = 1 << 16

#: Seconds that a handler has to end after its connection was cut.
_CUT_TIME: Final = 1.0

#: How often to look whether the time of a block is over, in seconds.
_LOOK: Final = 0.1


@contextmanager
def connect(
    handler: Handler,
    uri: str = "/",
    *,
    timeout: float | None = 10,
    server: Mapping[str, Any] | None = None,
    **options: Any,
) -> Iterator[ClientConnection]:
    """Connect a client to a handler in `with`, which closes the connection.

    The handler runs in a thread of its own. Its exception is raised at the end of the block, or in
    place of the ConnectionClosed or ResponseError with which the block ends because of it.

    Args:
        handler: The handler, as for `framewire.sync.serve`.
        uri: The URI of the request, or its path and query.
        timeout: Time for the block with everything in it, in seconds; None for no limit. The
            connection is cut then, so that all that waits for it goes on. A handler that goes on all
            the same is not waited for.
        server: Arguments of `framewire.sync.serve`, such as `process_request`.
        **options: Arguments of `framewire.sync.connect`, such as `subprotocols`.

    Raises:
        TimeoutError: The connection was open for `timeout`.
        ResponseError: The server refuses the request, or `process_request` has answered it.
    """
    with (
        _serving(handler, timeout, server or {}) as sock,
        connect_socket(complete_uri(uri), sock=sock, **options) as connection,
    ):
        yield connection


@contextmanager
def pair(
    uri: str = "/", *, timeout: float | None = 10, server: Mapping[str, Any] | None = None, **options: Any
) -> Iterator[tuple[ClientConnection, ServerConnection]]:
    """Open a connection in `with`: its client's end and its server's end.

    Both are closed at the end of the block. The arguments and exceptions are those of `connect`,
    without the handler.

    Args:
        uri: As for `connect`.
        timeout: As for `connect`.
        server: As for `connect`.
        **options: As for `connect`.
    """
    accepted: list[ServerConnection] = []
    ready = threading.Event()

    def handler(connection: ServerConnection) -> None:
        accepted.append(connection)
        ready.set()
        connection.wait_closed()  # also if the client refuses the response, and there is no block

    with connect(handler, uri, timeout=timeout, server=server, **options) as client:
        try:
            ready.wait(limit_wait(timeout))
            yield client, accepted[0]
        finally:
            for connection in accepted:
                connection.start_closing()


@contextmanager
def connect_peer(
    handler: Handler,
    uri: str = "/",
    *,
    timeout: float | None = 10,
    server: Mapping[str, Any] | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> Iterator[Peer]:
    """Connect a scripted client to a handler in `with`, which cuts the connection.

    Args:
        handler: See `connect`, also for `uri`, `timeout` and `server`, and for the exceptions.
        headers: Headers to add to the request.
    """
    with _serving(handler, timeout, server or {}) as sock:
        peer = Peer(sock, CLIENT, timeout)
        try:
            peer._open(complete_uri(uri), headers)
            yield peer
        finally:
            peer.cut()


class Peer(BasePeer[None]):
    """One end of a connection whose every byte is the test's, blocking.

    It answers nothing by itself, and reads only in `receive`: a peer that does not receive stalls.
    Every wait raises TimeoutError after the `timeout` of the function that made it.
    """

    def __init__(self, sock: socket.socket, role: Role, timeout: float | None) -> None:
        super().__init__(role)
        sock.settimeout(limit_wait(timeout))
        self._socket = sock

    def send_bytes(self, data: bytes) -> None:
        """Send any bytes.

        Args:
            data: The bytes, as they are sent.
        """
        self._socket.sendall(data)

    def receive(self) -> Event:
        """Return the next event that the application sends: a message, or a control frame.

        Raises:
            EOFError: The application has ended the connection.
        """
        while (event := self._take_event()) is None:
            self._feed(self._read())
        return event

    def cut(self) -> None:
        """Cut the connection without a close frame, as a network does that fails."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def end(self) -> None:
        """End this direction of the connection, without a close frame."""
        self._socket.shutdown(socket.SHUT_WR)

    def _read(self) -> bytes:
        try:
            return self._socket.recv(_READ_SIZE)
        except ConnectionError:
            return b""

    def _open(self, uri: str, headers: Iterable[tuple[str, str]]) -> None:
        """Perform the opening handshake of a client."""
        handshake = ClientHandshake(parse_uri(uri), headers=headers)
        self.send_bytes(handshake.request())
        response = None
        while response is None:
            data = self._read()
            response = handshake.receive(data) if data else handshake.receive_eof()
        self._begin(response, handshake.trailing)

    def _accept(self, answer: bytes | None) -> None:
        """Perform the opening handshake of a server, with the first subprotocol that is offered.

        Args:
            answer: What to send in place of the 101 response.
        """
        handshake = ServerHandshake()
        while handshake.receive(data := self._read()) is None:
            if not data:
                raise EOFError("the application has ended the connection")
        if answer is None:
            offer = handshake.check(origins=_ANY_ORIGIN)
            answer = handshake.accept(subprotocol=next(iter(offer.subprotocols), None))
        self.send_bytes(answer)
        self._begin(handshake.response, handshake.trailing)


#: What `serve_peer` does with a connection: a function that is called with the peer, or the bytes to
#: answer the request with.
Script: TypeAlias = Callable[[Peer], None] | bytes


@contextmanager
def serve_peer(*scripts: Script, timeout: float | None = 10) -> Iterator[str]:
    """Run a scripted server at a free port of 127.0.0.1 in `with`; give its URI.

    It runs in threads of its own, so that it serves clients of every library and event loop. The
    connection is cut when its script returns. An exception of a script is raised at the end of the
    block, TimeoutError included; EOFError and other kinds of OSError, with which a script ends that
    does not expect the end of the connection, are not.

    Args:
        *scripts: What to do with each connection in turn, and with all further ones the last: a
            function that is called with the `Peer` after the opening handshake, or the bytes to
            answer the request with.
        timeout: Time for each wait of a script, and for its end after the block, in seconds; None for
            no limit.
    """
    if not scripts:
        raise TypeError("serve_peer() takes one script or more")
    failures = Failures()
    server = _ScriptedServer(scripts, timeout, failures)
    with failures.raised():
        try:
            yield server.uri
        finally:
            server.close()


class _ScriptedServer:
    """The threads of `serve_peer`: one that accepts, and one for each connection."""

    def __init__(self, scripts: tuple[Script, ...], timeout: float | None, failures: Failures) -> None:
        self._failures = failures
        self._scripts = scripts
        self._timeout = timeout
        self._listening_socket = socket.create_server(("127.0.0.1", 0))
        self.uri = f"ws://127.0.0.1:{self._listening_socket.getsockname()[1]}/"
        self._running: list[tuple[threading.Thread, Peer]] = []
        self._acceptor = threading.Thread(target=self._accept, name="framewire peer", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Stop listening, cut all connections and wait for their scripts."""
        with suppress(OSError):
            self._listening_socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listening_socket.close()
        self._acceptor.join()
        for thread, peer in self._running:
            peer.cut()
            thread.join(limit_wait(self._timeout))
            if thread.is_alive():
                self._failures.add(TimeoutError("a script goes on after the end of its connection"))

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening_socket.accept()
            except OSError:
                return
            script = self._scripts[min(len(self._running), len(self._scripts) - 1)]
            peer = Peer(sock, SERVER, self._timeout)
            thread = threading.Thread(target=self._run, args=(script, peer), name="framewire peer", daemon=True)
            self._running.append((thread, peer))
            thread.start()

    def _run(self, script: Script, peer: Peer) -> None:
        try:
            if isinstance(script, bytes):
                peer._accept(script)
                peer.end()
                peer._read()  # until the client has read the answer: a cut would destroy it
            else:
                peer._accept(None)
                script(peer)
        except (EOFError, OSError) as error:
            if isinstance(error, TimeoutError) and not isinstance(script, bytes):
                self._failures.add(error)
        except BaseException as error:
            self._failures.add(error)
        finally:
            peer.cut()


@contextmanager
def _shutting_down(server: Server, expired: threading.Event) -> Iterator[None]:
    """Shut a server down after the block, as its context does. Once the time has `expired`, handlers are
    waited for no longer than `_CUT_TIME`: one may wait for something else than its connection.
    """
    try:
        yield
    finally:
        stopping = threading.Thread(target=server.shutdown, name="framewire shutdown", daemon=True)
        stopping.start()
        while stopping.is_alive() and not expired.is_set():
            stopping.join(_LOOK)
        stopping.join(_CUT_TIME)


@contextmanager
def _serving(handler: Handler, seconds: float | None, options: Mapping[str, Any]) -> Iterator[socket.socket]:
    """Run a server whose only connection is a socket pair; give the client's socket."""
    failures = Failures()

    def run(connection: ServerConnection) -> None:
        with failures.noted(connection):
            handler(connection)

    expired = threading.Event()

    def expire() -> None:
        expired.set()
        with server._lock:
            connections = list(server._everyone)
        for connection in connections:
            connection.abort()

    timer = threading.Timer(0 if seconds is None else limit_wait(seconds), expire)
    timer.daemon = True
    try:
        with socket.socket() as unbound:
            server = serve(run, sock=unbound, **options)
            ours, theirs = socket.socketpair()
            with ours, failures.raised(), _shutting_down(server, expired):
                server._start(theirs)
                if seconds is not None:
                    timer.start()
                yield ours
    except Exception as error:
        if expired.is_set():
            raise TimeoutError(f"the connection was open for {seconds} seconds") from error
        raise
    finally:
        timer.cancel()
    if expired.is_set():
        raise TimeoutError(f"the connection was open for {seconds} seconds")
