"""The trio client: `connect` opens one WebSocket, or again and again (RFC 6455 4.1)."""

from __future__ import annotations

import logging
import ssl as tls
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Any, Literal

import trio

from ..errors import ResponseError
from ..http.client_handshake import USER_AGENT, ClientHandshake, request_headers
from ..http.http11 import HeadLimits, check_head_limits
from ..http.proxy import Tunnel, find_proxy
from ..http.reconnect import Reconnection, backoff, process_exception
from ..http.redirects import MAX_REDIRECTS, open_at_redirects
from ..http.request_checks import check_subprotocols
from ..http.uri import Uri, parse_uri
from ..protocol.codecs import Extension, agree_to_answers, make_offers
from ..protocol.constants import CLIENT, State
from ..protocol.permessage_deflate import CLIENT_DEFAULT, add_compression
from ..protocol.receiver import TextErrors
from ..session.logs import Logger, log_request, log_response
from ..session.settings import ConnectionSettings
from .connection import Connection
from .driver import READ_SIZE, STREAM_ERRORS, limit_time
from .proxy import open_through_proxy, start_tls

__all__ = ["ClientConnection", "connect", "unix_connect"]


class ClientConnection(Connection):
    """The client's end of a connection.

    `request` is what it sent, `response` what the server answered.

    Args:
        nursery: The nursery in which the connection runs.
        stream: The stream, after TLS has been started.
        settings: The limits and times of the connection.
        logger: Where it logs.
    """

    def __init__(
        self, nursery: trio.Nursery, stream: trio.abc.Stream, settings: ConnectionSettings, logger: Logger
    ) -> None:
        super().__init__(nursery, stream, CLIENT, settings, logger)

    async def handshake(self, handshake: ClientHandshake, extensions: Sequence[Extension]) -> None:
        """Perform the opening handshake.

        Args:
            handshake: The handshake, with everything that the client offers.
            extensions: The extensions that it knows.

        Raises:
            ResponseError: The server does not accept.
        """
        self.request = handshake.sent
        try:
            await self.stream.send_all(handshake.request())
            log_request(self.logger, ">", handshake.sent)
            while self.response is None:
                data = await self.stream.receive_some(READ_SIZE)
                self.response = handshake.receive(bytes(data)) if data else handshake.receive_eof()
        except STREAM_ERRORS:
            handshake.receive_eof()
        assert self.response is not None  # else `receive_eof` has raised
        log_response(self.logger, "<", self.response)
        self.subprotocol = handshake.subprotocol
        try:
            codecs = agree_to_answers(handshake.extensions, extensions)
        except ValueError as error:
            raise ResponseError(str(error), self.response) from None
        self.begin(handshake.trailing, codecs)


class connect:  # noqa: N801 - called like the function that it is to its users
    """Open a WebSocket in `async with`, which closes the connection at the end.

    `async for connection in connect(...)` opens one connection after another: the next one when the
    body ends, and again after a delay if it could not be opened. These connections run in the
    nursery of the task that iterates; one is closed when the next is asked for, or the loop is
    left.

    Up to 10 redirects are followed, none from wss to ws. Another origin (scheme, host and port)
    gets no credentials: no Authorization or Cookie, and no user name and password of `uri`.

    Times are in seconds, sizes in bytes; None: no limit. `ConnectionSettings` says more.

    Args:
        uri: The ws or wss URI. Its user name and password become basic authentication.
        stream: A connected stream to use; there is no proxy then.
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
        process_exception: Decides in `async for` whether an exception of an attempt is temporary:
            it returns None to try again, or the exception to raise.
        open_timeout: Time for the connection, TLS, the redirects and the opening handshake
            together.
        ping_interval: As for `serve`, like the other limits.
        head_limits: The limits of responses; see `HeadLimits`.
        reconnect_delays: Returns the delays between attempts in `async for`.
        logger: The logger, by default `framewire.client`.
        create_connection: Makes the connection in place of `ClientConnection`.
        **kwargs: Arguments of `trio.open_tcp_stream`, such as another `host` or `port`.

    Raises:
        UriError: `uri` is not a ws or wss URI. This, TypeError and ValueError for other arguments
            are raised at once, the following when the connection is opened.
        OSError: There is no connection.
        trio.BrokenResourceError: TLS fails.
        TimeoutError: `open_timeout` has passed.
        ResponseError: The server does not accept.
        ProxyError: The proxy does not connect to the server.
        SecurityError: There are too many redirects, or one leads from wss to ws.
        ValueError: A redirect cannot be followed with a `stream`, `host` or `port` of the caller.
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
        reconnect_delays: Callable[[], Generator[float, None, None]] = backoff,
        max_size: int | tuple[int | None, int | None] | None = 1 << 20,
        max_queue: int | tuple[int, int | None] | None = 16, write_limit: int | tuple[int, int | None] = 1 << 15,
        fragment_size: int | None = None, piece_size: int | None = None, max_send_size: int | None = None,
        text_errors: TextErrors = "strict", send_close_reasons: bool = True,
        head_limits: HeadLimits | None = None,
        logger: Logger | None = None, create_connection: Callable[..., ClientConnection] | None = None,
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
            max_queue=max_queue, write_limit=write_limit, fragment_size=fragment_size, piece_size=piece_size,
            max_send_size=max_send_size, text_errors=text_errors, send_close_reasons=send_close_reasons,
        )  # fmt: skip
        self._extensions = add_compression(extensions or (), compression, CLIENT_DEFAULT)
        self._subprotocols = check_subprotocols(() if subprotocols is None else subprotocols)
        self._headers = request_headers(additional_headers, origin, user_agent_header)
        self._head_limits = check_head_limits(head_limits)
        self._proxy = proxy
        self._proxy_options = user_agent_header, proxy_ssl, proxy_server_hostname
        self._make = create_connection or ClientConnection
        self._stream, self._ssl, self._hostname = stream, ssl, server_hostname
        self._unix = kwargs.pop("unix", False)
        self._kwargs = kwargs
        self._fixed = self._unix or any(kwargs.get(name) is not None for name in ("host", "port"))
        self._entered: tuple[Any, ClientConnection] | None = None

    async def open(self, nursery: trio.Nursery) -> ClientConnection:
        """Open a connection that runs in a nursery. Its owner has to close it."""
        waiting: list[Tunnel | ClientHandshake] = []
        with limit_time(self._settings.open_timeout):
            return await open_at_redirects(
                partial(self._attempt, nursery, waiting), self._target, self._headers,
                limit=MAX_REDIRECTS, same_origin=self._fixed, never=self._stream is not None,
            )  # fmt: skip
        # A refusal whose body does not end says more than the time.
        refused = waiting[-1].refusal_error() if waiting else None
        raise refused or TimeoutError(f"no WebSocket opened within {self._settings.open_timeout} seconds")

    async def _attempt(
        self,
        nursery: trio.Nursery,
        waiting: list[Tunnel | ClientHandshake],
        target: Uri,
        headers: list[tuple[str, str]],
    ) -> ClientConnection:
        handshake = ClientHandshake(
            target, subprotocols=self._subprotocols, extensions=make_offers(self._extensions), headers=headers,
            limits=self._head_limits,
        )  # fmt: skip
        stream = await self._open_stream(target, waiting) if self._stream is None else self._stream
        waiting.append(handshake)
        try:
            if target.secure:
                stream = await start_tls(stream, self._ssl, self._hostname or target.server_name)
            connection = self._make(nursery, stream, self._settings, self.logger)
            await connection.handshake(handshake, self._extensions)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return connection

    async def _open_stream(self, target: Uri, waiting: list[Tunnel | ClientHandshake]) -> trio.abc.Stream:
        if self._unix:
            return await trio.open_unix_socket(self._kwargs["path"])
        proxy = None if self._fixed else find_proxy(target) if self._proxy is True else self._proxy
        if proxy is not None:
            return await open_through_proxy(proxy, target, *self._proxy_options, self._kwargs, waiting)
        return await trio.open_tcp_stream(**{"host": target.host, "port": target.port, **self._kwargs})

    async def __aenter__(self) -> ClientConnection:
        if self._entered is not None:
            raise RuntimeError("this connect() is entered already")
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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._entered is not None
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
        return _Reconnecting(self)


class _Reconnecting:
    """The iterator over one connection after another; not a generator, so that the loop may be left
    at any time.
    """

    def __init__(self, connect: connect) -> None:
        self._connect = connect
        self._reconnection = Reconnection(connect.process_exception, connect.reconnect_delays)
        self._connection: ClientConnection | None = None
        self._begin = 0.0  # of the connection

    def __aiter__(self) -> _Reconnecting:
        return self

    async def __anext__(self) -> ClientConnection:
        connect = self._connect
        if self._connection is not None:
            by_peer = self._connection.ended_by_peer
            await self.aclose()
            delay = self._reconnection.ended(trio.current_time() - self._begin, by_peer)
            if delay:
                connect.logger.info("connection closed at once; reconnecting in %.1f seconds", delay)
                await trio.sleep(delay)
        nursery = trio.lowlevel.current_task().parent_nursery
        assert nursery is not None  # only trio's own first task has none
        while True:
            try:
                self._connection = await connect.open(nursery)
            except Exception as error:
                delay = self._reconnection.failed(error)
                connect.logger.info("connect failed; reconnecting in %.1f seconds: %r", delay, error)
                await trio.sleep(delay)
            else:
                self._begin = trio.current_time()
                return self._connection

    async def aclose(self) -> None:
        """Close the connection that is open, if any."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    def __del__(self) -> None:
        # The loop was left with its connection open.
        if self._connection is not None and self._connection.state is State.OPEN:
            self._connection.start_closing()


def unix_connect(path: str | PathLike[str] | None = None, uri: str | None = None, **kwargs: Any) -> connect:
    """Open a WebSocket on a Unix socket; otherwise as `connect`.

    Args:
        path: The path of the socket.
        uri: The URI for the request, by default that of localhost.
        **kwargs: Arguments of `connect`.

    Raises:
        ValueError: There is neither `path` nor `stream`, or both.
    """
    if (path is None) == (kwargs.get("stream") is None):
        raise ValueError("unix_connect takes either path or stream")
    if uri is None:
        uri = "ws://localhost/" if kwargs.get("ssl") is None else "wss://localhost/"
    return connect(uri, unix=True, path=path, **kwargs)
