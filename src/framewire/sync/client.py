"""The blocking client: `connect` opens one WebSocket, `reconnect` one after another (RFC 6455
4.1).
"""

from __future__ import annotations

import os
import socket
import ssl as tls
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any, Literal, TypeAlias

from ..http.client_handshake import USER_AGENT
from ..http.http11 import HeadLimits
from ..http.reconnect import backoff, process_exception
from ..protocol.codecs import Extension
from ..protocol.constants import CLIENT
from ..protocol.receiver import TextErrors
from ..session.base_client import BaseConnect, unix_uri
from ..session.logs import Logger
from ..session.settings import ConnectionSettings
from ..session.stream_client import StreamOpening
from .complete import complete
from .connection import Connection
from .driver import Driver
from .transport import HEAD_READ, Transport
from .waits import LONGEST_WAIT, limit_wait

__all__ = ["ClientConnection", "connect", "reconnect", "unix_connect", "unix_reconnect"]

HeadersLike: TypeAlias = "Mapping[str, str] | Iterable[tuple[str, str]]"
CreateConnection: TypeAlias = "Callable[[Transport, ConnectionSettings, Logger], ClientConnection]"


class ClientConnection(Connection):
    """The client's end of a connection.

    `request` is what it sent, `response` what the server answered.

    Args:
        transport: The connected socket, after TLS has been started.
        settings: The limits and times of the connection.
        logger: Where it logs.
    """

    def __init__(self, transport: Transport, settings: ConnectionSettings, logger: Logger) -> None:
        super().__init__(Driver(transport, CLIENT, settings), logger)


class _Opening(StreamOpening):
    """The opening of one connection, in the thread of the caller."""

    lost = (ConnectionError,)

    def __init__(self, client: BaseConnect) -> None:
        super().__init__(client)
        seconds = client.settings.open_timeout
        self._deadline = None if seconds is None else monotonic() + seconds

    @property
    def _timeout(self) -> float | None:
        """The time that is left, in seconds."""
        left = None if self._deadline is None else self._deadline - monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("no WebSocket opened within open_timeout")
        return left

    async def use(self, given: socket.socket) -> Transport:
        transport = Transport(given)
        transport.deadline = self._deadline
        if given.family in (socket.AF_INET, socket.AF_INET6):
            given.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return transport

    async def open_tcp(self, host: str, port: int) -> Transport:
        options: dict[str, Any] = {"address": (host, port), **self.client.kwargs}
        host, port = options.pop("address")
        *others, last = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for *_, address in others:
            with suppress(Exception):  # with `all_errors` a group
                return await self._open_address(address, options)
        return await self._open_address(last[4], options)

    async def _open_address(self, address: Any, options: dict[str, Any]) -> Transport:
        """Connect to one address: `create_connection` would give each address of a name all the time."""
        numeric = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        return await self.use(socket.create_connection(numeric, **{"timeout": limit_wait(self._timeout), **options}))

    async def open_unix(self, path: str | os.PathLike[str]) -> Transport:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(limit_wait(self._timeout))
            sock.connect(os.fspath(path))
        except BaseException:
            sock.close()
            raise
        return await self.use(sock)

    async def open_socks(self, arguments: tuple[Any, ...], host: str, port: int) -> Transport:
        from python_socks.sync import Proxy

        own, seconds = self.client.kwargs.get("source_address"), self._timeout
        limit = LONGEST_WAIT if seconds is None else limit_wait(seconds)  # None is 60 to python-socks
        opened: Future[socket.socket] = Future()

        def connect() -> None:
            try:
                opened.set_result(Proxy(*arguments).connect(host, port, limit, local_addr=own))
            except Exception as error:
                opened.set_exception(error)

        # In a thread, since python-socks limits the time of each read, not of all.
        threading.Thread(target=connect, name="framewire SOCKS", daemon=True).start()
        try:
            while not opened.done():
                wait([opened], limit_wait(self._timeout))
        except BaseException:
            opened.add_done_callback(_close)
            raise
        return await self.use(opened.result())

    async def start_tls(self, stream: Transport, context: tls.SSLContext | None, hostname: str) -> Transport:
        stream.start_tls(context or tls.create_default_context(), hostname)
        return stream

    async def send(self, stream: Transport, data: bytes) -> None:
        stream.sendall(data)

    async def receive(self, stream: Transport) -> bytes:
        return stream.recv(HEAD_READ)

    async def abort(self, stream: Transport) -> None:
        stream.close()

    def make_connection(self, stream: Transport) -> Any:
        return self.client.create_connection(stream, self.client.settings, self.client.logger)


def _close(opened: Future[socket.socket]) -> None:
    """Close a socket that comes too late."""
    if opened.exception() is None:
        opened.result().close()


class reconnect(BaseConnect):  # noqa: N801 - called like the function that it is to its users
    """Open one WebSocket after another: `for connection in reconnect(...)`.

    The next one is opened when the body ends, and again after a delay if it could not be opened.
    `with` opens one. Each is closed at the end of its body.

    Up to 10 redirects are followed, none from wss to ws. Another origin (scheme, host and port)
    gets no credentials: no Authorization or Cookie, and no user name and password of `uri`.

    Times are in seconds, sizes in bytes; None: no limit. `ConnectionSettings` says more.

    Args:
        uri: The ws or wss URI. Its user name and password become basic authentication.
        sock: A connected socket to use; there is no proxy then, and one connection in `for`.
        ssl: The TLS context for wss, by default one that verifies the server.
        server_hostname: The name of the server to verify, by default that of `uri`.
        origin: The value of the Origin header.
        extensions: Extensions to offer before permessage-deflate, best first.
        subprotocols: Subprotocols to offer, best first.
        compression: None: permessage-deflate is not offered.
        additional_headers: Headers to add to the request, as a mapping or as pairs of name and
            value. They replace Host, Origin and User-Agent.
        user_agent_header: The value of the User-Agent header, None for no such header.
        proxy: The URL of an HTTP or SOCKS proxy (SOCKS needs the extra `socks`), None for no proxy,
            True to read the environment; see `framewire.asyncio.connect`.
        proxy_ssl: The TLS context for a proxy of the scheme https.
        proxy_server_hostname: The name of that proxy to verify, by default that of its URL.
        process_exception: Decides in `for` whether an exception of an attempt is temporary: it
            returns None to try again, or the exception to raise.
        open_timeout: Time for the connection, TLS, the redirects and the opening handshake
            together.
        ping_interval: As for `serve`, like the other limits.
        head_limits: The limits of responses, those of a proxy included; see `HeadLimits`.
        reconnect_delays: Returns the delays between attempts in `for`. When they are used up, the
            error of the next attempt is raised, or the loop ends if the server has ended the
            connection.
        logger: The logger, by default `framewire.client`.
        create_connection: Makes the connection in place of `ClientConnection`.
        **kwargs: Arguments of `socket.create_connection`, such as another `address` or a
            `source_address`; none with `sock`.

    Raises:
        UriError: `uri` is not a ws or wss URI. This, TypeError and ValueError for other arguments
            are raised at once, the following when the connection is opened.
        OSError: There is no connection.
        TimeoutError: `open_timeout` has passed.
        ResponseError: The server does not accept.
        ProxyError: The proxy does not connect to the server.
        SecurityError: There are too many redirects, or one leads from wss to ws.
        ValueError: A redirect cannot be followed with a `sock`, `path` or `address` of the caller.
    """

    def __init__(
        self,
        uri: str,
        *,
        sock: socket.socket | None = None,
        ssl: tls.SSLContext | None = None, server_hostname: str | None = None,
        origin: str | None = None,
        extensions: Sequence[Extension] | None = None, subprotocols: Sequence[str] | None = None,
        compression: Literal["deflate"] | None = "deflate",
        additional_headers: HeadersLike | None = None, user_agent_header: str | None = USER_AGENT,
        proxy: str | Literal[True] | None = True, proxy_ssl: tls.SSLContext | None = None,
        proxy_server_hostname: str | None = None,
        process_exception: Callable[[Exception], Exception | None] = process_exception,
        open_timeout: float | None = 10, ping_interval: float | None = 20, ping_timeout: float | None = 20,
        close_timeout: float | None = 10, idle_timeout: float | None = None, total_timeout: float | None = None,
        reconnect_delays: Callable[[], Iterator[float]] = backoff,
        max_size: int | tuple[int | None, int | None] | None = 1 << 20,
        max_queue: int | tuple[int, int | None] | None = 16,
        fragment_size: int | None = None, piece_size: int | None = None, max_send_size: int | None = None,
        text_errors: TextErrors = "strict", text_as_bytes: bool = False, send_close_reasons: bool = True,
        head_limits: HeadLimits | None = None,
        logger: Logger | None = None, create_connection: CreateConnection | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(locals(), ClientConnection, sock, fixed=("address",))
        self.check_kwargs(socket.create_connection, "sock")

    def connect(self) -> ClientConnection:
        """Open a connection. Its owner has to close it."""
        opening = _Opening(self)
        try:
            connection: ClientConnection = complete(opening.run())
        except TimeoutError as error:
            raise opening.refusal_error() or error from None
        return connection

    def __enter__(self) -> ClientConnection:
        with self.entering():
            connection = self._entered = self.connect()
        return connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        connection, self._entered = self._entered, None
        if connection is not None:
            connection.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[ClientConnection]:
        reconnection = self.begin_reconnecting()
        while True:
            try:
                with self.connect() as connection:
                    begin = monotonic()
                    yield connection
                    by_peer = connection.ended_by_peer
            except Exception as error:
                delay: float | None = reconnection.failed(error)
            else:
                delay = reconnection.ended(monotonic() - begin, by_peer)
            if delay is None:
                return
            if delay:
                time.sleep(delay)


def connect(
    uri: str,
    *,
    sock: socket.socket | None = None,
    ssl: tls.SSLContext | None = None, server_hostname: str | None = None,
    origin: str | None = None,
    extensions: Sequence[Extension] | None = None, subprotocols: Sequence[str] | None = None,
    compression: Literal["deflate"] | None = "deflate",
    additional_headers: HeadersLike | None = None, user_agent_header: str | None = USER_AGENT,
    proxy: str | Literal[True] | None = True, proxy_ssl: tls.SSLContext | None = None,
    proxy_server_hostname: str | None = None,
    open_timeout: float | None = 10, ping_interval: float | None = 20, ping_timeout: float | None = 20,
    close_timeout: float | None = 10, idle_timeout: float | None = None, total_timeout: float | None = None,
    max_size: int | tuple[int | None, int | None] | None = 1 << 20,
    max_queue: int | tuple[int, int | None] | None = 16,
    fragment_size: int | None = None, piece_size: int | None = None, max_send_size: int | None = None,
    text_errors: TextErrors = "strict", text_as_bytes: bool = False, send_close_reasons: bool = True,
    head_limits: HeadLimits | None = None,
    logger: Logger | None = None, create_connection: CreateConnection | None = None,
    legacy: Literal[True] | None = None,
    **kwargs: Any,
) -> ClientConnection:  # fmt: skip
    """Open a WebSocket; `with connect(...) as connection` closes it at the end.

    The arguments are those of `reconnect`, without `process_exception` and `reconnect_delays`; the
    exceptions are the same, and all are raised at once.

    Args:
        uri: See `reconnect`, for the other arguments too.
        legacy: No effect, for programs for `websockets`; False returns `reconnect(...)`.
    """
    # The arguments by their names; a test compares them with those of `reconnect`.
    options = {**locals(), **kwargs}
    del options["kwargs"], options["legacy"]
    return _open(reconnect(**options), legacy)


def _open(opening: reconnect, legacy: bool | None) -> ClientConnection:
    if legacy is False:
        return opening  # type: ignore[return-value]  # declared for neither: typed programs call `reconnect`
    return opening.connect()


def unix_reconnect(path: str | os.PathLike[str] | None = None, uri: str | None = None, **kwargs: Any) -> reconnect:
    """Open one WebSocket after another on a Unix socket; otherwise as `reconnect`.

    Args:
        path: The path of the socket.
        uri: The URI for the request, by default that of localhost.
        **kwargs: Arguments of `reconnect`.

    Raises:
        ValueError: There is neither `path` nor `sock`, or both.
    """
    if (path is None) == (kwargs.get("sock") is None):
        raise ValueError("a Unix socket takes either path or sock")
    return reconnect(unix_uri(uri, kwargs.get("ssl")), unix=True, path=path, **kwargs)


def unix_connect(
    path: str | os.PathLike[str] | None = None,
    uri: str | None = None,
    *,
    legacy: Literal[True] | None = None,
    **kwargs: Any,
) -> ClientConnection:
    """Open a WebSocket on a Unix socket; otherwise as `connect`.

    Args:
        path: The path of the socket.
        uri: The URI for the request, by default that of localhost.
        legacy: See `connect`.
        **kwargs: Arguments of `connect`.

    Raises:
        ValueError: There is neither `path` nor `sock`, or both.
    """
    return _open(unix_reconnect(path, uri, **kwargs), legacy)
