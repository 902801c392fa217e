"""Proxies between a client and its server: HTTP's CONNECT (RFC 9110 9.3.6), and SOCKS by python-socks."""

from __future__ import annotations

import asyncio
import re
import ssl as tls
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import HandshakeError, ProxyError
from ..head import HeadScanner, Uri, check_field

__all__ = ["find_proxy", "open_through_proxy"]

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_SOCKS: Final = ("socks5h", "socks5", "socks4a", "socks4")
_PORTS: Final = {"http": 80, "https": 443}


def find_proxy(target: Uri) -> str | None:
    """The URL of the proxy that the environment names for `target`, None for none.

    `wss_proxy`, `socks_proxy` and `https_proxy` are looked for in this order, for ws `ws_proxy` first and `http_proxy`
    last; `no_proxy` names the hosts that need none.
    """
    if proxy_bypass(f"{target.host}:{target.port}"):
        return None
    names = ("wss", "socks", "https") if target.secure else ("ws", "socks", "https", "http")
    found = getproxies()
    return next((found[name] for name in names if name in found), None)


async def open_through_proxy(
    proxy: str, target: Uri, make: Callable[[], Any], user_agent: str | None, kwargs: dict[str, Any]
) -> tuple[asyncio.Transport, Any]:
    """As `loop.create_connection(make, **kwargs)`, through a proxy.

    Raises ValueError for a URL that is none of a proxy, ProxyError if the proxy does not do what it is asked for.
    """
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("not the URL of a proxy")
    if parts.scheme in _SOCKS:
        loop = asyncio.get_running_loop()
        own = {name: value for name, value in kwargs.items() if not name.startswith("proxy_")}
        sock = await _open_socks(parts, target)
        return await loop.create_connection(make, sock=sock, **own)
    if parts.scheme in _PORTS:
        return await _open_http(parts, target, make, user_agent, kwargs)
    raise ValueError(f"proxies of the scheme {parts.scheme!r} are not known")


async def _open_socks(parts: Any, target: Uri) -> Any:
    try:
        from python_socks import ProxyType
        from python_socks.async_.asyncio import Proxy
    except ImportError as error:
        raise ImportError("a SOCKS proxy needs python-socks: pip install framewire[socks]") from error
    kind = ProxyType.SOCKS5 if parts.scheme.startswith("socks5") else ProxyType.SOCKS4
    # With the last letter of socks5h and socks4a the proxy resolves the name.
    remote = parts.scheme in ("socks5h", "socks4a")
    username, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    proxy = Proxy(kind, parts.hostname, parts.port or 1080, username, password, remote)
    try:
        return await proxy.connect(target.host, target.port)
    except OSError:
        raise
    except Exception as error:
        raise ProxyError(f"the SOCKS proxy does not connect: {error}") from error


async def _open_http(
    parts: Any, target: Uri, make: Callable[[], Any], user_agent: str | None, kwargs: dict[str, Any]
) -> tuple[asyncio.Transport, Any]:
    inner, outer = {}, {}
    for name, value in kwargs.items():
        if name.startswith("proxy_"):
            outer[name.removeprefix("proxy_")] = value
        elif name.startswith("ssl") or name == "server_hostname":
            inner[name] = value
        else:
            outer[name] = value
    if parts.scheme == "https":
        outer.setdefault("ssl", True)
    elif "ssl" in outer:
        raise ValueError("proxy_ssl goes with a proxy of the scheme https")
    loop = asyncio.get_running_loop()
    port = parts.port or _PORTS[parts.scheme]
    request = _connect_request(parts, target, user_agent)
    transport, tunnel = await loop.create_connection(lambda: _Tunnel(request), parts.hostname, port, **outer)
    try:
        await tunnel.opened
        connection = make()
        transport.set_protocol(connection)
        context = inner.pop("ssl", None)
        if context is not None:
            if context is True:
                context = tls.create_default_context()
            secured = await loop.start_tls(transport, connection, context, **inner)
            assert secured is not None
            transport = secured
        connection.connection_made(transport)
    except BaseException:
        transport.abort()
        raise
    return transport, connection


def _connect_request(parts: Any, target: Uri, user_agent: str | None) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [("Host", f"{host}:{target.port}")]
    if user_agent is not None:
        lines.append(("User-Agent", user_agent))
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(("Proxy-Authorization", f"Basic {b64encode(pair.encode()).decode('ascii')}"))
    fields = b"".join([b"%b: %b\r\n" % check_field(name, value) for name, value in lines])
    return b"CONNECT %b HTTP/1.1\r\n%b\r\n" % (lines[0][1].encode("ascii"), fields)


class _Tunnel(asyncio.Protocol):
    """Asks an HTTP proxy for a tunnel. The server speaks second in it, so nothing follows the proxy's head."""

    def __init__(self, request: bytes) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._scanner = HeadScanner()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write")
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            return
        try:
            found = self._scanner.receive(data)
        except HandshakeError as error:
            self._fail(f"the proxy's answer is not HTTP: {error.reason}")
            return
        if found is None:
            return
        head, rest = found
        status = _STATUS.match(head)
        if status is None:
            self._fail("the proxy's answer is not HTTP")
        elif not status[1].startswith(b"2"):
            self._fail(f"the proxy answered {status[1].decode()}")
        elif rest:
            self._fail("the proxy sends bytes of its own into the tunnel")
        else:
            self.opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the proxy closed the connection")

    def _fail(self, reason: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(ProxyError(reason))
