"""Proxies between a client and its server, without I/O: the choice of a proxy, and HTTP CONNECT
(RFC 9110 9.3.6).

SOCKS is left to python-socks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from ..errors import ProxyError, ResponseError
from ..exceptions import InvalidProxy, InvalidProxyMessage, InvalidProxyStatus
from ..protocol.record import Record, assign
from .basic_auth import build_authorization_basic
from .headers import check_field
from .http11 import HeadLimits
from .response_reader import ResponseReader
from .uri import Uri, format_authority

__all__ = ["Proxy", "Tunnel", "find_proxy", "parse_proxy", "socks_errors"]

_PORTS: Final = {"http": 80, "https": 443, "socks5h": 1080, "socks5": 1080, "socks4a": 1080, "socks4": 1080}


class Proxy(Record):
    """A proxy.

    Args:
        scheme: The protocol: http, https (HTTP in TLS), socks5h, socks5, socks4a or socks4.
        host: The host.
        port: The port.
        username: The user name for the proxy, None for none.
        password: The password for the proxy, None for none.
    """

    __slots__ = __match_args__ = ("scheme", "host", "port", "username", "password")
    _secrets = ("password",)

    scheme: str
    host: str
    port: int
    username: str | None
    password: str | None

    def __init__(self, scheme: str, host: str, port: int, username: str | None, password: str | None) -> None:
        assign(self, "scheme", scheme)
        assign(self, "host", host)
        assign(self, "port", port)
        assign(self, "username", username)
        assign(self, "password", password)

    @property
    def socks(self) -> bool:
        """Whether the protocol is a version of SOCKS, not HTTP."""
        return self.scheme.startswith("socks")

    def check_ssl(self, ssl: object) -> None:
        """Check the TLS context for the connection to the proxy.

        Raises:
            ValueError: There is one, and the scheme is not https.
        """
        if ssl is not None and self.scheme != "https":
            raise ValueError("proxy_ssl goes with a proxy of the scheme https")

    def socks_arguments(self) -> tuple[Any, ...]:
        """Return the arguments of the `Proxy` classes of python-socks.

        Raises:
            ImportError: python-socks is not installed.
        """
        try:
            from python_socks import ProxyType
        except ImportError as error:
            raise ImportError("a SOCKS proxy needs python-socks: pip install framewire[socks]") from error
        kind = ProxyType.SOCKS5 if self.scheme.startswith("socks5") else ProxyType.SOCKS4
        # The last letter of socks5h and socks4a asks the proxy to resolve the name.
        return kind, self.host, self.port, self.username, self.password, self.scheme in ("socks5h", "socks4a")


@contextmanager
def socks_errors() -> Iterator[None]:
    """Raise the errors of python-socks that are no OSError, as TimeoutError is, as a ProxyError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ProxyError(f"the SOCKS proxy does not connect: {error}") from error


def find_proxy(target: Uri) -> str | None:
    """Find the proxy that the environment names for a URI.

    For wss the variables `wss_proxy`, `socks_proxy` and `https_proxy` are read in this order; for
    ws `ws_proxy`, `socks_proxy`, `https_proxy` and `http_proxy`. Hosts in `no_proxy` need no proxy.
    The settings of macOS name a SOCKS proxy by an http URL: a `socks_proxy` of this scheme is
    socks5h.

    Returns:
        The URL of the proxy, None for none.
    """
    # Imported here because it takes longer to import than framewire, and servers never need it.
    from urllib.request import getproxies, proxy_bypass

    if proxy_bypass(f"{target.host}:{target.port}"):
        return None
    names = ("wss", "socks", "https") if target.secure else ("ws", "socks", "https", "http")
    found = getproxies()
    name = next((name for name in names if name in found), None)
    if name == "socks" and ("://" not in found[name] or found[name].lower().startswith("http://")):
        return f"socks5h://{found[name].rpartition('://')[2]}"
    return None if name is None else found[name]


def parse_proxy(url: str) -> Proxy:
    """Parse the URL of a proxy; the default scheme is http.

    Raises:
        InvalidProxy: It is not the URL of a proxy, or its scheme is unknown.
    """
    from urllib.parse import unquote, urlsplit

    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError as error:
        raise InvalidProxy(url, "the host or the port of the proxy is malformed") from error
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidProxy(url, "not the URL of a proxy")
    if parts.scheme not in _PORTS:
        raise InvalidProxy(url, f"proxies of the scheme {parts.scheme!r} are not known")
    username, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return Proxy(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], username, password)


class Tunnel:
    """Asks an HTTP proxy for a tunnel (RFC 9110 9.3.6).

    Send `request` to the proxy, then pass the bytes that arrive to `receive` until the tunnel is
    open.

    Args:
        proxy: The proxy.
        target: The URI whose host and port the tunnel leads to.
        user_agent: The value of User-Agent, None for no such header.
        limits: The limits of the answer; None for those of the environment.

    Raises:
        ValueError: A header is malformed.
    """

    def __init__(self, proxy: Proxy, target: Uri, user_agent: str | None, limits: HeadLimits | None = None) -> None:
        lines = [("Host", format_authority(target.host, target.port, None))]
        if user_agent is not None:
            lines.append(("User-Agent", user_agent))
        if proxy.username is not None:
            value = build_authorization_basic(proxy.username, proxy.password or "")
            lines.append(("Proxy-Authorization", value))
        fields = b"".join([b"%b: %b\r\n" % check_field(name, value) for name, value in lines])
        self.request = b"CONNECT %b HTTP/1.1\r\n%b\r\n" % (lines[0][1].encode("ascii"), fields)
        self._reader = ResponseReader(range(200, 300), limits)

    def receive(self, data: bytes) -> bool:
        """Receive the next bytes of the proxy.

        Args:
            data: The bytes; empty at the end of input.

        Returns:
            Whether the tunnel is open.

        Raises:
            InvalidProxyStatus: The proxy refuses; the error has up to `max_body` bytes of the body.
            InvalidProxyMessage: Its response is not HTTP, or incomplete.
            ProxyError: Bytes follow the head, where the server cannot have sent any yet.
        """
        if not data:
            raise self.refusal_error() or InvalidProxyMessage("the proxy closed the connection")
        try:
            found = self._reader.receive(data)
        except ResponseError as error:
            raise InvalidProxyMessage(f"the proxy's answer is not HTTP: {error.reason}") from error
        if found is None:
            return False
        response, rest = found
        if not 100 <= response.status < 600:
            raise InvalidProxyMessage(f"the proxy's answer is not HTTP: status {response.status}")
        if not 200 <= response.status < 300:
            raise InvalidProxyStatus(response)
        if rest:
            raise ProxyError("the proxy sends bytes of its own into the tunnel")
        return True

    def refusal_error(self) -> InvalidProxyStatus | None:
        """Return the error of a refusal whose body is incomplete.

        None if the head of none has arrived.
        """
        response = self._reader.partial_refusal()
        return None if response is None else InvalidProxyStatus(response)
