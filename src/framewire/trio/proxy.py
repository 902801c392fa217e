"""A client's connection through a proxy, on trio."""

from __future__ import annotations

import ssl as tls
from typing import Any

import trio

from ..errors import ProxyError
from ..http.proxy import Proxy, Tunnel, parse_proxy
from ..http.uri import Uri

__all__ = ["open_through_proxy", "start_tls"]

#: How much of a proxy's answer is read at a time, in bytes.
_HEAD_READ = 4096


async def start_tls(
    stream: trio.abc.Stream, context: tls.SSLContext | None, hostname: str
) -> trio.SSLStream[trio.abc.Stream]:
    """Start TLS as a client; without a context with one that verifies the server."""
    secured = trio.SSLStream(stream, context or tls.create_default_context(), server_hostname=hostname)
    await secured.do_handshake()
    return secured


async def open_through_proxy(
    url: str,
    target: Uri,
    user_agent: str | None,
    ssl: tls.SSLContext | None,
    hostname: str | None,
    options: Any,
    waiting: list[Any],
) -> trio.abc.Stream:
    """Connect to a server through a proxy.

    Args:
        url: The URL of the proxy.
        target: The URI of the server.
        user_agent: The value of User-Agent, None for no such header.
        ssl: The TLS context for a proxy of the scheme https.
        hostname: The name of the proxy to verify, by default that of `url`.
        options: Arguments of `trio.open_tcp_stream`.
        waiting: Gets the `Tunnel` that is waited for.

    Raises:
        ValueError: `url` is not that of a proxy.
        ProxyError: The proxy does not connect to the server.
        OSError: There is no connection to the proxy.
    """
    proxy = parse_proxy(url)
    if proxy.scheme != "https" and ssl is not None:
        raise ValueError("proxy_ssl goes with a proxy of the scheme https")
    if proxy.socks:
        return await _open_socks(proxy, target, options.get("local_address"))
    tunnel = Tunnel(proxy, target, user_agent)
    waiting.append(tunnel)
    stream: trio.abc.Stream = await trio.open_tcp_stream(proxy.host, proxy.port, **options)
    try:
        if proxy.scheme == "https":
            stream = await start_tls(stream, ssl, hostname or proxy.host)
        await stream.send_all(tunnel.request)
        while not tunnel.receive(bytes(await stream.receive_some(_HEAD_READ))):
            pass
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _open_socks(proxy: Proxy, target: Uri, local_address: str | None) -> trio.abc.Stream:
    arguments = proxy.socks_arguments()
    from python_socks.async_.trio import Proxy as SocksProxy

    try:
        sock = await SocksProxy(*arguments).connect(target.host, target.port, local_addr=local_address)
    except OSError:
        raise
    except Exception as error:
        raise ProxyError(f"the SOCKS proxy does not connect: {error}") from error
    return trio.SocketStream(sock)
