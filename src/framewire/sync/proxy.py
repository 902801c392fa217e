"""A client's connection through a proxy, blocking."""

from __future__ import annotations

import socket
import ssl as tls
from time import monotonic

from ..errors import ProxyError
from ..http.proxy import Proxy, Tunnel, parse_proxy
from ..http.uri import Uri
from .transport import Transport

__all__ = ["open_through_proxy"]

#: How much of a proxy's answer is read at a time, in bytes.
_HEAD_READ = 4096


def open_through_proxy(
    url: str, target: Uri, user_agent: str | None, ssl: tls.SSLContext | None, timeout: float | None
) -> Transport:
    """A connection to `target`, TLS with it not begun; `ssl` is the context for a proxy of the scheme https.

    Raises ValueError for a URL that is none of a proxy, ProxyError if the proxy does not do what it is asked for,
    OSError, TimeoutError after `timeout` seconds.
    """
    proxy, begun = parse_proxy(url), monotonic()
    if proxy.socks:
        return Transport(_open_socks(proxy, target, timeout))
    if proxy.scheme == "https" and target.secure:
        raise ValueError("TLS inside of TLS, wss through a proxy of the scheme https, is for framewire.asyncio")
    if proxy.scheme != "https" and ssl is not None:
        raise ValueError("proxy_ssl goes with a proxy of the scheme https")
    tunnel = Tunnel(proxy, target, user_agent)
    transport = Transport(socket.create_connection((proxy.host, proxy.port), timeout))
    transport.deadline = None if timeout is None else begun + timeout
    try:
        if proxy.scheme == "https":
            transport.start_tls(ssl or tls.create_default_context(), proxy.host)
        transport.sendall(tunnel.request)
        while not tunnel.receive(transport.recv(_HEAD_READ)):
            pass
    except BaseException:
        transport.close()
        raise
    return transport


def _open_socks(proxy: Proxy, target: Uri, timeout: float | None) -> socket.socket:
    arguments = proxy.socks_arguments()
    from python_socks import ProxyTimeoutError
    from python_socks.sync import Proxy as SocksProxy

    try:
        sock: socket.socket = SocksProxy(*arguments).connect(target.host, target.port, timeout)
    except OSError:
        raise
    except ProxyTimeoutError as error:
        raise TimeoutError("the SOCKS proxy took too long") from error
    except Exception as error:
        raise ProxyError(f"the SOCKS proxy does not connect: {error}") from error
    return sock
