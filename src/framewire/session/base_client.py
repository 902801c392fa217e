"""`BaseConnect`: the arguments of `connect` that every driver has, checked once, and what is done
with them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import Any, Final, TypeVar

from ..http.client_handshake import ClientHandshake, request_headers
from ..http.http11 import check_head_limits
from ..http.proxy import Proxy, Tunnel, find_proxy
from ..http.reconnect import Reconnection
from ..http.redirects import MAX_REDIRECTS, open_at_redirects
from ..http.request_checks import check_subprotocols
from ..http.server_policy import check_functions
from ..http.uri import Uri, parse_uri
from ..protocol.codecs import make_offers
from ..protocol.permessage_deflate import CLIENT_DEFAULT, add_compression
from .arguments import check_all_used, check_context
from .logs import choose_logger
from .settings import ConnectionSettings

__all__ = ["BaseConnect", "unix_uri"]

Opened = TypeVar("Opened")

#: The connection of `with` or `async with` until it is open.
_OPENING: Final = object()


class BaseConnect:
    """The arguments of one `connect`, for any number of connections.

    Args:
        arguments: The arguments of `connect` by name, with those for its driver as `kwargs`.
        default_connection: What makes connections, unless the arguments have `create_connection`.
        given: The connected socket or stream of the caller, None for none. It serves for one
            connection.
        fixed: The names in `kwargs` that choose another server than the URI does.

    Raises:
        UriError: The URI is not one of ws or wss.
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value.
    """

    #: The maximum number of redirects that are followed.
    _max_redirects = MAX_REDIRECTS
    #: The `ssl` for a context that verifies the server.
    _verifying_ssl: Any = None

    def __init__(
        self, arguments: Mapping[str, Any], default_connection: Callable[..., Any], given: Any, fixed: Iterable[str]
    ) -> None:
        self.uri: str = arguments["uri"]
        self.logger = choose_logger(arguments["logger"], "framewire.client")
        self.process_exception: Callable[[Exception], Exception | None] = arguments["process_exception"]
        self.reconnect_delays: Callable[[], Iterator[float]] = arguments["reconnect_delays"]
        self.target = parse_uri(self.uri)
        self.ssl: Any = arguments["ssl"]
        if self.ssl is not self._verifying_ssl:
            check_context("ssl", self.ssl)
        if self.ssl not in (None, True) and not self.target.secure:
            raise ValueError("ssl goes with a wss URI")
        self.settings = ConnectionSettings.of(arguments)
        self.extensions = add_compression(arguments["extensions"] or (), arguments["compression"], CLIENT_DEFAULT)
        self.subprotocols = check_subprotocols(() if arguments["subprotocols"] is None else arguments["subprotocols"])
        self.user_agent: str | None = arguments["user_agent_header"]
        self._headers = request_headers(arguments["additional_headers"], arguments["origin"], self.user_agent)
        self._head_limits = check_head_limits(arguments["head_limits"])
        self.create_connection: Callable[..., Any] = arguments["create_connection"] or default_connection
        self.kwargs: dict[str, Any] = arguments["kwargs"]
        self.unix: bool = self.kwargs.pop("unix", False)
        self.given = given
        self._fixed = self.unix or any(self.kwargs.get(name) is not None for name in fixed)
        self._proxy: Any = arguments["proxy"]
        if not isinstance(self._proxy, str) and self._proxy is not None and self._proxy is not True:
            raise TypeError(f"proxy is a URL, True or None, not {type(self._proxy).__name__}")
        # On asyncio these are among `kwargs`.
        self.server_hostname: str | None = arguments.get("server_hostname")
        self.proxy_ssl: Any = arguments.get("proxy_ssl")
        self.proxy_server_hostname: str | None = arguments.get("proxy_server_hostname")
        check_context("proxy_ssl", self.proxy_ssl)
        self._entered: Any = None
        check_functions(
            process_exception=self.process_exception,
            reconnect_delays=self.reconnect_delays,
            create_connection=self.create_connection,
        )
        self.make_handshake(self.target, self._headers)  # raises now for what no request can have

    def check_kwargs(self, connect: Callable[..., Any], given: str) -> None:
        """Check the names of the arguments for a driver that reads them only when it connects to TCP.

        Args:
            connect: The function that connects to TCP.
            given: The name of the argument for a connected socket or stream.

        Raises:
            TypeError: The function has no such argument, or is not called.
        """
        if self.unix:
            check_all_used(self.kwargs.keys() - {"path"}, "a Unix socket")
        elif self.given is not None:
            check_all_used(self.kwargs, given)
        elif self.kwargs:
            signature(connect).bind_partial(**self.kwargs)

    def make_handshake(self, target: Uri, headers: list[tuple[str, str]]) -> ClientHandshake:
        """Return the handshake for a request to a URI, with these header lines."""
        offers = make_offers(self.extensions)
        return ClientHandshake(
            target, subprotocols=self.subprotocols, extensions=offers, headers=headers, limits=self._head_limits
        )

    def choose_proxy(self, target: Uri) -> str | None:
        """Return the URL of the proxy for a URI, None for none."""
        if self._fixed or self._proxy is None:
            return None
        return find_proxy(target) if self._proxy is True else self._proxy

    def make_tunnel(self, proxy: Proxy, target: Uri) -> Tunnel:
        """Return the request of an HTTP proxy for a tunnel to the server of a URI."""
        return Tunnel(proxy, target, self.user_agent, self._head_limits)

    async def open_at_redirects(self, attempt: Callable[[Uri, list[tuple[str, str]]], Awaitable[Opened]]) -> Opened:
        """Open a connection with `attempt`, at the URI or where redirects lead. Raises as the function
        `open_at_redirects`.
        """
        limit, never = self._max_redirects, self.given is not None
        return await open_at_redirects(
            attempt, self.target, self._headers, limit=limit, same_origin=self._fixed, never=never
        )

    def begin_reconnecting(self) -> Reconnection:
        """Return the delays between the connections of one loop."""
        once = self.given is not None
        return Reconnection(self.process_exception, self.reconnect_delays, self.logger, once)

    @contextmanager
    def entering(self) -> Iterator[None]:
        """Open the connection of `with` or `async with` in the block, which sets `_entered`.

        Raises:
            RuntimeError: There is one, or another thread or task is opening one.
        """
        if self._entered is not None:
            raise RuntimeError(f"this {type(self).__name__}() is entered already")
        self._entered = _OPENING
        try:
            yield
        except BaseException:
            self._entered = None
            raise


def unix_uri(uri: str | None, ssl: object) -> str:
    """Return the URI of the request to a Unix socket: by default that of localhost."""
    if uri is not None:
        return uri
    return "ws://localhost/" if ssl is None else "wss://localhost/"
