"""A client's connection through a proxy, on asyncio."""

from __future__ import annotations

import asyncio
import math
import ssl as tls
import sys
from collections.abc import Callable
from typing import Any, Final

from ..errors import ProxyError
from ..http.proxy import Proxy, Tunnel, parse_proxy, socks_errors
from ..http.uri import Uri

__all__ = ["open_through_proxy", "without_proxy_arguments"]

#: The arguments of `connect` that are for the connection to an HTTP proxy.
_PROXY_ARGUMENTS: Final = frozenset([
    "proxy_ssl", "proxy_server_hostname", "proxy_ssl_handshake_timeout", "proxy_ssl_shutdown_timeout", "proxy_family",
    "proxy_proto", "proxy_flags", "proxy_local_addr", "proxy_happy_eyeballs_delay", "proxy_interleave",
    "proxy_all_errors",
])  # fmt: skip


def without_proxy_arguments(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return arguments of `loop.create_connection` without those for the connection to an HTTP proxy.

    Unknown names stay, so that the event loop raises TypeError for a misspelled one.
    """
    return {name: value for name, value in kwargs.items() if name not in _PROXY_ARGUMENTS}


async def open_through_proxy(
    url: str,
    target: Uri,
    make: Callable[[], Any],
    make_tunnel: Callable[[Proxy, Uri], Tunnel],
    kwargs: dict[str, Any],
    waiting: list[Any],
) -> tuple[asyncio.Transport, Any]:
    """Like `loop.create_connection(make, **kwargs)`, through a proxy.

    Args:
        url: The URL of the proxy.
        target: The URI of the server.
        make: Makes the protocol of the connection.
        make_tunnel: Makes the `Tunnel` through an HTTP proxy.
        kwargs: Arguments of `loop.create_connection`; those for the connection to an HTTP proxy
            begin with `proxy_`.
        waiting: Gets the `Tunnel` that is waited for.

    Raises:
        InvalidProxy: `url` is not that of a proxy.
        ProxyError: The proxy does not connect to the server.
        ValueError: The arguments do not go with the proxy.
    """
    proxy = parse_proxy(url)
    proxy.check_ssl(kwargs.get("proxy_ssl"))
    if not proxy.socks:
        waiting.append(make_tunnel(proxy, target))
        return await _open_http(proxy, waiting[-1], make, kwargs)
    own = without_proxy_arguments(kwargs)
    sock = await _open_socks(proxy, target, own.pop("local_addr", None))
    try:
        return await asyncio.get_running_loop().create_connection(make, sock=sock, **own)
    except (TypeError, ValueError):  # the event loop has not taken the socket if it rejects the arguments
        sock.close()
        raise


async def _open_socks(proxy: Proxy, target: Uri, local_addr: tuple[str, int] | None) -> Any:
    arguments = proxy.socks_arguments()
    from python_socks.async_.asyncio import Proxy as SocksProxy

    with socks_errors():
        # The caller has a limit for the time; python-socks would have one of 60 s.
        return await SocksProxy(*arguments).connect(target.host, target.port, math.inf, local_addr=local_addr)


async def _open_http(
    proxy: Proxy, tunnel: Tunnel, make: Callable[[], Any], kwargs: dict[str, Any]
) -> tuple[asyncio.Transport, Any]:
    inner, outer = {}, {}
    for name, value in kwargs.items():
        if name.startswith("proxy_"):
            outer[name.removeprefix("proxy_")] = value
        elif name.startswith("ssl") or name == "server_hostname":
            inner[name] = value
        else:
            outer[name] = value
    if proxy.scheme == "https":
        outer.setdefault("ssl", True)
        if outer["ssl"] is None:
            raise ValueError("proxy_ssl=None does not go with a proxy of the scheme https")
        outer.setdefault("ssl_handshake_timeout", math.inf)
    loop = asyncio.get_running_loop()
    if (
        sys.version_info < (3, 11)
        and proxy.scheme == "https"
        and inner.get("ssl") is not None
        and isinstance(loop, asyncio.BaseEventLoop)  # which cannot start TLS in TLS
    ):
        raise ProxyError("wss through a proxy of the scheme https needs Python 3.11, or uvloop")
    transport, opening = await loop.create_connection(lambda: _Opening(tunnel), proxy.host, proxy.port, **outer)
    try:
        await opening.opened
        context = inner.pop("ssl", None)
        if context is not None:
            if context is True:
                context = tls.create_default_context()
            # The connection does not see a TLS handshake that fails.
            try:
                secured = await loop.start_tls(transport, opening, context, **inner)
            except TypeError as error:
                # The transport of TLS to the proxy cannot be cut by the TLS inside (CPython 3.11).
                if isinstance(error.__context__, tls.SSLError):
                    raise error.__context__ from None
                raise
            assert secured is not None
            transport = secured
        if opening.lost:
            raise ConnectionResetError("the connection was lost before the opening handshake")
        connection = make()
        transport.set_protocol(connection)
        connection.connection_made(transport)
    except BaseException:
        transport.abort()
        raise
    return transport, connection


class _Opening(asyncio.Protocol):
    """The connection through an HTTP proxy, until the tunnel is open and TLS in it has started."""

    def __init__(self, tunnel: Tunnel) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = False
        self._tunnel = tunnel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write")
        transport.write(self._tunnel.request)

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            return
        try:
            if self._tunnel.receive(data):
                self.opened.set_result(None)
        except ProxyError as error:
            self.opened.set_exception(error)
            self.opened.exception()  # nobody waits for it if `connect` was cancelled

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.data_received(b"")
