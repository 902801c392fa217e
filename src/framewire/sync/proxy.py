"""A client's connection through a proxy, blocking."""

from __future__ import annotations

import socket
import ssl as tls
from time import monotonic
from typing import Any

from ..errors import ProxyError
from ..http.proxy import Proxy, Tunnel, parse_proxy
from ..http.uri import Uri
from .transport import Transport

__all__ = ["open_through_proxy"]

#: How much of a proxy's answer is read at a time, in bytes.
_HEAD_READ = 4096


def open_through_proxy(
    url: str,
    target: Uri,
    user_agent: str | None,
    ssl: tls.SSLContext | None,
    server_hostname: str | None,
    options: dict[str, Any],
) -> Transport:
    """Connect to a server through a proxy; TLS with the server is not started.

    Args:
        url: The URL of the proxy.
        target: The URI of the server.
        user_agent: The value of User-Agent, None for no such header.
        ssl: The TLS context for a proxy of the scheme https.
        server_hostname: The name of the proxy to verify, by default that of `url`.
        options: Arguments of `socket.create_connection`, with a `timeout` in seconds for all of it.

    Raises:
        InvalidProxy: `url` is not that of a proxy.
        ValueError: `ssl` for a proxy of another scheme.
        ProxyError: The proxy does not connect to the server.
        OSError: There is no connection to the proxy.
        TimeoutError: It takes too long.
    """
    proxy, timeout = parse_proxy(url), options["timeout"]
    deadline = None if timeout is None else monotonic() + timeout
    if proxy.scheme != "https" and ssl is not None:
        raise ValueError("proxy_ssl goes with a proxy of the scheme https")
    if proxy.socks:
        return Transport(_open_socks(proxy, target, timeout, options.get("source_address")))
    tunnel = Tunnel(proxy, target, user_agent)
    transport = Transport(socket.create_connection((proxy.host, proxy.port), **options))
    transport.deadline = deadline
    try:
        if proxy.scheme == "https":
            transport.start_tls(ssl or tls.create_default_context(), server_hostname or proxy.host)
        transport.sendall(tunnel.request)
        while not tunnel.receive(transport.recv(_HEAD_READ)):
            pass
    except OSError as error:
        transport.close()
        raise tunnel.refusal_error() or error from None
    except BaseException:
        transport.close()
        raise
    return transport


def _open_socks(proxy: Proxy, target: Uri, timeout: float | None, source_address: Any) -> socket.socket:
    arguments = proxy.socks_arguments()
    from python_socks import ProxyTimeoutError
    from python_socks.sync import Proxy as SocksProxy

    try:
        sock: socket.socket = SocksProxy(*arguments).connect(
            target.host, target.port, timeout, local_addr=source_address
        )
    except OSError:
        raise
    except ProxyTimeoutError as error:
        raise TimeoutError("the SOCKS proxy took too long") from error
    except Exception as error:
        raise ProxyError(f"the SOCKS proxy does not connect: {error}") from error
    return sock
