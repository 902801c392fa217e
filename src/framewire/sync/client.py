"""The blocking client: `connect` opens one WebSocket, `reconnect` one after another (RFC 6455
4.1).
"""

from __future__ import annotations

import logging
import os
import socket
import ssl as tls
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias

from ..errors import ResponseError
from ..http.client_handshake import USER_AGENT, ClientHandshake, request_headers
from ..http.http11 import HeadLimits, check_head_limits
from ..http.proxy import find_proxy
from ..http.reconnect import Reconnection, backoff, process_exception
from ..http.redirects import MAX_REDIRECTS, open_at_redirects
from ..http.request_checks import check_subprotocols
from ..http.uri import Uri, parse_uri
from ..protocol.codecs import Extension, agree_to_answers, make_offers
from ..protocol.constants import CLIENT
from ..protocol.permessage_deflate import CLIENT_DEFAULT, add_compression
from ..protocol.receiver import TextErrors
from ..session.logs import Logger, log_request, log_response
from ..session.settings import ConnectionSettings
from .complete import complete
from .connection import Connection
from .driver import Driver
from .proxy import open_through_proxy
from .transport import Transport

__all__ = ["ClientConnection", "connect", "reconnect", "unix_connect", "unix_reconnect"]

#: How much of an answer is read at a time, in bytes.
_HEAD_READ: Final = 4096

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

    def handshake(self, handshake: ClientHandshake, extensions: Sequence[Extension]) -> None:
        """Perform the opening handshake.

        Args:
            handshake: The handshake, with everything that the client offers.
            extensions: The extensions that it knows.

        Raises:
            ResponseError: The server does not accept.
        """
        transport = self._driver.transport
        self.request = handshake.sent
        transport.sendall(handshake.request())
        log_request(self.logger, ">", handshake.sent)
        while self.response is None:
            try:
                data = transport.recv(_HEAD_READ)
            except TimeoutError as error:
                raise handshake.refusal_error() or error from None  # the body of the refusal does not end
            except ConnectionError:
                data = b""
            self.response = handshake.receive(data) if data else handshake.receive_eof()
        log_response(self.logger, "<", self.response)
        self.subprotocol = handshake.subprotocol
        try:
            codecs = agree_to_answers(handshake.extensions, extensions)
        except ValueError as error:
            raise ResponseError(str(error), self.response) from None
        self._driver.open(handshake.trailing, codecs, self.opened)


class reconnect:  # noqa: N801 - called like the function that it is to its users
    """Open one WebSocket after another: `for connection in reconnect(...)`.

    The next one is opened when the body ends, and again after a delay if it could not be opened.
    `with` opens one. Each is closed at the end of its body.

    Up to 10 redirects are followed, none from wss to ws. Another origin (scheme, host and port)
    gets no credentials: no Authorization or Cookie, and no user name and password of `uri`.

    Times are in seconds, sizes in bytes; None: no limit. `ConnectionSettings` says more.

    Args:
        uri: The ws or wss URI. Its user name and password become basic authentication.
        sock: A connected socket to use; there is no proxy then.
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
        head_limits: The limits of responses; see `HeadLimits`.
        reconnect_delays: Returns the delays between attempts in `for`.
        logger: The logger, by default `framewire.client`.
        create_connection: Makes the connection in place of `ClientConnection`.
        **kwargs: Arguments of `socket.create_connection`, such as another `address` or a
            `source_address`.

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
        reconnect_delays: Callable[[], Generator[float, None, None]] = backoff,
        max_size: int | tuple[int | None, int | None] | None = 1 << 20,
        max_queue: int | tuple[int, int | None] | None = 16,
        fragment_size: int | None = None, piece_size: int | None = None, max_send_size: int | None = None,
        text_errors: TextErrors = "strict", send_close_reasons: bool = True,
        head_limits: HeadLimits | None = None,
        logger: Logger | None = None, create_connection: CreateConnection | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        self.uri = uri
        self.logger = logger or logging.getLogger("framewire.client")
        self.process_exception = process_exception
        self.reconnect_delays = reconnect_delays
        self._target = parse_uri(uri)
        if ssl is not None and not self._target.secure:
            raise ValueError("ssl goes with a wss URI")
        self._settings = ConnectionSettings(
            open_timeout=open_timeout, ping_interval=ping_interval, ping_timeout=ping_timeout,
            close_timeout=close_timeout, idle_timeout=idle_timeout, total_timeout=total_timeout, max_size=max_size,
            max_queue=max_queue, fragment_size=fragment_size, piece_size=piece_size, max_send_size=max_send_size,
            text_errors=text_errors, send_close_reasons=send_close_reasons,
        )  # fmt: skip
        self._extensions = add_compression(extensions or (), compression, CLIENT_DEFAULT)
        self._subprotocols = check_subprotocols(() if subprotocols is None else subprotocols)
        self._headers = request_headers(additional_headers, origin, user_agent_header)
        self._head_limits = check_head_limits(head_limits)
        self._proxy = proxy
        self._proxy_options = user_agent_header, proxy_ssl, proxy_server_hostname
        self._make = create_connection or ClientConnection
        self._sock, self._ssl, self._hostname = sock, ssl, server_hostname
        self._unix = kwargs.pop("unix", False)
        self._kwargs = kwargs
        self._fixed = self._unix or kwargs.get("address") is not None
        self._entered: ClientConnection | None = None

    def connect(self) -> ClientConnection:
        """Open a connection. Its owner has to close it."""
        seconds = self._settings.open_timeout
        deadline = None if seconds is None else monotonic() + seconds

        async def attempt(target: Uri, headers: list[tuple[str, str]]) -> ClientConnection:
            return self._attempt(target, headers, deadline)

        never = self._sock is not None
        opening = open_at_redirects(
            attempt, self._target, self._headers, limit=MAX_REDIRECTS, same_origin=self._fixed, never=never
        )
        return complete(opening)

    def _attempt(self, target: Uri, headers: list[tuple[str, str]], deadline: float | None) -> ClientConnection:
        handshake = ClientHandshake(
            target, subprotocols=self._subprotocols, extensions=make_offers(self._extensions), headers=headers,
            limits=self._head_limits,
        )  # fmt: skip
        transport = self._open_transport(target, deadline) if self._sock is None else Transport(self._sock)
        transport.deadline = deadline
        try:
            if transport.socket.family in (socket.AF_INET, socket.AF_INET6):
                transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if target.secure:
                transport.start_tls(self._ssl or tls.create_default_context(), self._hostname or target.server_name)
            connection = self._make(transport, self._settings, self.logger)
            connection.handshake(handshake, self._extensions)
        except BaseException:
            transport.close()
            raise
        return connection

    def _open_transport(self, target: Uri, deadline: float | None) -> Transport:
        """Connect to the server of a URI, if need be through a proxy."""
        options: dict[str, Any] = {"timeout": None if deadline is None else max(deadline - monotonic(), 0.001)}
        if self._unix:
            return _open_unix(self._kwargs["path"], options["timeout"])
        options.update(self._kwargs)
        proxy = None if self._fixed else find_proxy(target) if self._proxy is True else self._proxy
        if proxy is not None:
            return open_through_proxy(proxy, target, *self._proxy_options, options)
        options.setdefault("address", (target.host, target.port))
        return Transport(socket.create_connection(**options))

    def __enter__(self) -> ClientConnection:
        if self._entered is not None:
            raise RuntimeError("this reconnect() is entered already")
        self._entered = self.connect()
        return self._entered

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
        reconnection = Reconnection(self.process_exception, self.reconnect_delays)
        while True:
            try:
                with self as connection:
                    begin = monotonic()
                    yield connection
                    by_peer = connection.ended_by_peer
            except Exception as error:
                delay = reconnection.failed(error)
                self.logger.info("connect failed; reconnecting in %.1f seconds: %r", delay, error)
            else:
                delay = reconnection.ended(monotonic() - begin, by_peer)
                if delay:
                    self.logger.info("connection closed at once; reconnecting in %.1f seconds", delay)
            if delay:
                time.sleep(delay)


def _open_unix(path: str | os.PathLike[str], timeout: float | None) -> Transport:
    """Connect to a Unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(timeout)
        sock.connect(os.fspath(path))
    except BaseException:
        sock.close()
        raise
    return Transport(sock)


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
    text_errors: TextErrors = "strict", send_close_reasons: bool = True,
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
    if uri is None:
        uri = "ws://localhost/" if kwargs.get("ssl") is None else "wss://localhost/"
    return reconnect(uri, unix=True, path=path, **kwargs)


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
