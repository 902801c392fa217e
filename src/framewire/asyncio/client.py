"""The asyncio client: `connect` opens one WebSocket, or again and again (RFC 6455 4.1)."""

from __future__ import annotations

import asyncio
import math
import ssl as tls
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

from ..http.client_handshake import USER_AGENT, ClientHandshake
from ..http.http11 import HeadLimits
from ..http.proxy import Tunnel
from ..http.reconnect import backoff, process_exception
from ..http.uri import Uri
from ..protocol.codecs import Extension
from ..protocol.receiver import TextErrors
from ..session.arguments import check_absent
from ..session.base_client import BaseConnect, unix_uri
from ..session.connection import close_code_after
from ..session.logs import Logger
from .callbacks import Listener
from .client_connection import ClientConnection, ClientListenerConnection, ClientOpening
from .compat import timeout
from .proxy import open_through_proxy, without_proxy_arguments

__all__ = ["ClientConnection", "ClientListenerConnection", "backoff", "connect", "process_exception", "unix_connect"]

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    #: The type of `listener`, on which that of the connection depends.
    ListenerType = TypeVar("ListenerType", bound=Listener | None, default=None)
else:
    from typing import TypeVar

    ListenerType = TypeVar("ListenerType")  # before Python 3.13 without a default


class connect(BaseConnect, Generic[ListenerType]):  # noqa: N801 - called like the function that it is to its users
    """Open a WebSocket; `await` it for the connection, or use it in `async with`, which closes the
    connection.

    `async for connection in connect(...)` opens one connection after another: the next one when the
    body ends, and again after a delay if it could not be opened, or the server has ended it within
    a second. A Retry-After of the server makes the delay longer. With a `sock` there is one attempt.

    Up to 10 redirects are followed, none from wss to ws. Another origin (scheme, host and port)
    gets no credentials: no Authorization or Cookie, and no user name and password of `uri`.

    Args:
        uri: The ws or wss URI. Its user name and password become basic authentication.
        origin: The value of the Origin header.
        extensions: Extensions to offer before permessage-deflate, best first.
        subprotocols: Subprotocols to offer, best first.
        compression: "deflate" to offer permessage-deflate with default settings, unless
            `extensions` has it with others; None not to.
        additional_headers: Headers to add to the request, as a mapping or as pairs of name and
            value. They replace Host, Origin and User-Agent.
        user_agent_header: The value of the User-Agent header, None for no such header.
        proxy: The URL of an HTTP or SOCKS proxy (SOCKS needs the extra `socks`), None for no proxy,
            True to read the environment: `wss_proxy`, `socks_proxy`, `https_proxy`, `no_proxy`; for
            ws `ws_proxy` first and `http_proxy` last. wss through a proxy of the scheme https needs
            Python 3.11, or uvloop.
        process_exception: Decides in `async for` whether an exception of an attempt is temporary:
            it returns None to try again, or the exception to raise.
        open_timeout: Time for the connection, TLS, the redirects and the opening handshake
            together, in seconds; None for no limit.
        ping_interval: As for `serve`, like the arguments after it.
        head_limits: The limits of responses, those of a proxy included; see `HeadLimits`.
        reconnect_delays: Returns the delays between attempts in `async for`, in seconds. When they
            are used up, the error of the next attempt is raised, or the loop ends if the server has
            ended the connection.
        logger: The logger, by default `framewire.client`.
        listener: Receives the events of the connection as callbacks.
        create_connection: Makes the connection in place of `ClientConnection`; not with a `listener`.
        ssl: The TLS context for wss; True for one that verifies the server.
        **kwargs: Arguments of `loop.create_connection`, such as `sock` or `server_hostname`; those
            for the connection to an HTTP proxy begin with `proxy_`, and are not used without one.

    Raises:
        UriError: `uri` is not a ws or wss URI. This, TypeError and ValueError for other arguments
            are raised at once, the following when the connection is opened.
        OSError: There is no connection.
        TimeoutError: `open_timeout` has passed.
        ResponseError: The server does not accept.
        ProxyError: The proxy does not connect to the server.
        SecurityError: There are too many redirects, or one leads from wss to ws.
        ValueError: A redirect cannot be followed with a `sock`, `host` or `port` of the caller.
    """

    _verifying_ssl = True

    def __init__(
        self,
        uri: str,
        *,
        origin: str | None = None,
        extensions: Sequence[Extension] | None = None,
        subprotocols: Sequence[str] | None = None,
        compression: Literal["deflate"] | None = "deflate",
        additional_headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        user_agent_header: str | None = USER_AGENT,
        proxy: str | Literal[True] | None = True,
        process_exception: Callable[[Exception], Exception | None] = process_exception,
        open_timeout: float | None = 10,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = 10,
        idle_timeout: float | None = None,
        total_timeout: float | None = None,
        reconnect_delays: Callable[[], Iterator[float]] = backoff,
        max_size: int | tuple[int | None, int | None] | None = 1 << 20,
        max_queue: int | tuple[int, int | None] | None = 16,
        write_limit: int | tuple[int, int | None] = 1 << 15,
        max_unsent: int | None = 1 << 24,
        fragment_size: int | None = None,
        piece_size: int | None = None,
        max_send_size: int | None = None,
        text_errors: TextErrors = "strict",
        text_as_bytes: bool = False,
        send_close_reasons: bool = True,
        head_limits: HeadLimits | None = None,
        logger: Logger | None = None,
        listener: ListenerType = None,  # type: ignore[assignment]  # the default of `ListenerType` too
        create_connection: Callable[..., ClientConnection] | None = None,
        ssl: tls.SSLContext | Literal[True] | None = True,
        **kwargs: Any,
    ) -> None:
        fixed = "host", "port", "sock"
        super().__init__(locals(), ClientConnection, kwargs.get("sock"), fixed)
        if ssl is None and self.target.secure:
            raise ValueError("ssl=None does not go with a wss URI")
        if listener is not None:
            check_absent("listener", create_connection=create_connection)
        self._listener = listener

    async def _open(self, waiting: list[Tunnel | ClientHandshake]) -> Any:
        """Open a connection; `waiting` gets the handshakes with proxies and servers, in order."""
        return await self.open_at_redirects(partial(self._attempt, waiting))

    async def _attempt(
        self, waiting: list[Tunnel | ClientHandshake], target: Uri, headers: list[tuple[str, str]]
    ) -> Any:
        handshake = self.make_handshake(target, headers)
        made: list[tuple[Any, ClientOpening]] = []

        def make() -> Any:
            arguments = self.settings, handshake, self.extensions, self.logger
            if self._listener is None:
                connection: Any = self.create_connection(*arguments)
            else:
                connection = ClientListenerConnection(*arguments, self._listener)
            made.append((connection, connection._driver.opening))
            return connection._driver

        try:
            transport = await self._open_transport(make, target, waiting)
        except BaseException:
            for connection, _ in made:  # its maker may have kept it
                connection._driver.end_unconnected()
            raise
        connection, opening = made[-1]
        waiting.append(handshake)
        try:
            await opening.done
        except BaseException:
            transport.abort()
            raise
        return connection

    async def _open_transport(
        self, make: Callable[[], Any], target: Uri, waiting: list[Tunnel | ClientHandshake]
    ) -> asyncio.Transport:
        """Connect to the server of a URI, if need be through a proxy and with TLS."""
        loop, kwargs = asyncio.get_running_loop(), dict(self.kwargs)
        if target.secure:
            kwargs.setdefault("server_hostname", target.server_name)
            kwargs["ssl"] = True if self.ssl is None else self.ssl  # None if a redirect leads to wss
            kwargs.setdefault("ssl_handshake_timeout", math.inf)  # `open_timeout` is the limit, not asyncio's 60 s
        proxy = self.choose_proxy(target)
        if proxy is not None:
            transport, _ = await open_through_proxy(proxy, target, make, self.make_tunnel, kwargs, waiting)
            return transport
        kwargs = without_proxy_arguments(kwargs)
        if self.unix:
            transport, _ = await loop.create_unix_connection(make, **kwargs)
        else:
            if kwargs.get("sock") is None:
                kwargs.setdefault("host", target.host)
                kwargs.setdefault("port", target.port)
            transport, _ = await loop.create_connection(make, **kwargs)
        return transport

    async def _start(self) -> Any:
        seconds = self.settings.open_timeout
        waiting: list[Tunnel | ClientHandshake] = []
        limit = timeout(seconds)
        try:
            async with limit:  # before Python 3.12, `wait_for` can lose a cancellation
                return await self._open(waiting)
        except asyncio.TimeoutError as error:
            if not limit.expired():  # an error of the network, such as ETIMEDOUT
                raise
            refusal = waiting[-1].refusal_error() if waiting else None
            if refusal:  # its body does not end
                raise refusal from error
            raise TimeoutError(f"timed out during opening handshake, after {seconds} seconds") from error

    @overload
    def __await__(self: connect[None]) -> Generator[Any, Any, ClientConnection]: ...  # type: ignore[overload-overlap]
    @overload
    def __await__(self) -> Generator[Any, Any, ClientListenerConnection]: ...
    def __await__(self) -> Generator[Any, Any, Any]:
        return self._start().__await__()

    @overload
    async def __aenter__(self: connect[None]) -> ClientConnection: ...  # type: ignore[overload-overlap]
    @overload
    async def __aenter__(self) -> ClientListenerConnection: ...
    async def __aenter__(self) -> Any:
        with self.entering():
            connection = self._entered = await self
        return connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        connection, self._entered = self._entered, None
        connection.start_closing(close_code_after(error))
        await connection.wait_closed()

    @overload
    def __aiter__(self: connect[None]) -> AsyncIterator[ClientConnection]: ...  # type: ignore[overload-overlap]
    @overload
    def __aiter__(self) -> AsyncIterator[ClientListenerConnection]: ...
    async def __aiter__(self) -> AsyncIterator[Any]:
        reconnection = self.begin_reconnecting()
        clock = asyncio.get_running_loop().time
        while True:
            try:
                connection = await self
                begin = clock()
                try:
                    yield connection
                    by_peer = connection.ended_by_peer
                finally:
                    connection.start_closing()
                    await connection.wait_closed()
            except Exception as error:
                delay: float | None = reconnection.failed(error)
            else:
                delay = reconnection.ended(clock() - begin, by_peer)
            if delay is None:
                return
            if delay:
                await asyncio.sleep(delay)


def unix_connect(path: str | PathLike[str] | None = None, uri: str | None = None, **kwargs: Any) -> connect:
    """Open a WebSocket on a Unix socket; otherwise as `connect`.

    Args:
        path: The path of the socket.
        uri: The URI for the request, by default that of localhost.
        **kwargs: Arguments of `connect`.
    """
    return connect(unix_uri(uri, kwargs.get("ssl")), unix=True, path=path, **kwargs)
