"""Proxies between a client and its server, without I/O: the choice of a proxy, and HTTP CONNECT (RFC 9110 9.3.6).

SOCKS is left to python-socks.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Final

from ..errors import HandshakeError, ProxyError
from ..exceptions import InvalidMessage, InvalidProxy, InvalidProxyMessage, InvalidProxyStatus
from ..protocol.record import Record, assign
from .basic_auth import build_authorization_basic
from .client_handshake import MAX_INTERIM
from .headers import Headers, check_field, split_fields
from .http11 import HeadScanner, Response
from .uri import Uri, format_authority

__all__ = ["Proxy", "Tunnel", "find_proxy", "parse_proxy"]

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]")
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


def find_proxy(target: Uri) -> str | None:
    """Find the proxy that the environment names for a URI.

    For wss the variables `wss_proxy`, `socks_proxy` and `https_proxy` are read in this order; for ws
    `ws_proxy`, `socks_proxy`, `https_proxy` and `http_proxy`. Hosts in `no_proxy` need no proxy. The
    settings of macOS name a SOCKS proxy by an http URL: a `socks_proxy` of this scheme is socks5h.

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
    if name == "socks" and found[name].startswith("http://"):
        return "socks5h" + found[name][4:]
    return None if name is None else found[name]


def parse_proxy(url: str) -> Proxy:
    """Parse the URL of a proxy; the default scheme is http.

    Raises:
        InvalidProxy: It is not the URL of a proxy, or its scheme is unknown.
    """
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url if "://" in url else f"http://{url}")
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidProxy(url, "not the URL of a proxy")
    if parts.scheme not in _PORTS:
        raise InvalidProxy(url, f"proxies of the scheme {parts.scheme!r} are not known")
    username, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return Proxy(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], username, password)


class Tunnel:
    """Asks an HTTP proxy for a tunnel (RFC 9110 9.3.6).

    Send `request` to the proxy, then pass the bytes that arrive to `receive` until the tunnel is
    open.

    Args:
        proxy: The proxy.
        target: The URI whose host and port the tunnel leads to.
        user_agent: The value of User-Agent, None for no such header.

    Raises:
        ValueError: A header is malformed.
    """

    def __init__(self, proxy: Proxy, target: Uri, user_agent: str | None) -> None:
        lines = [("Host", format_authority(target.host, target.port, None))]
        if user_agent is not None:
            lines.append(("User-Agent", user_agent))
        if proxy.username is not None:
            value = build_authorization_basic(proxy.username, proxy.password or "")
            lines.append(("Proxy-Authorization", value))
        fields = b"".join([b"%b: %b\r\n" % check_field(name, value) for name, value in lines])
        self.request = b"CONNECT %b HTTP/1.1\r\n%b\r\n" % (lines[0][1].encode("ascii"), fields)
        self._scanner = HeadScanner()
        self._interim = 0

    def receive(self, data: bytes) -> bool:
        """Receive the next bytes of the proxy.

        Args:
            data: The bytes; empty at the end of input.

        Returns:
            Whether the tunnel is open.

        Raises:
            InvalidProxyStatus: The proxy refuses; the body of its response may be incomplete.
            InvalidProxyMessage: Its response is not HTTP, or incomplete.
            ProxyError: Bytes follow the head, where the server cannot have sent any yet.
        """
        if not data:
            raise InvalidProxyMessage("the proxy closed the connection")
        try:
            found = self._scanner.receive(data)
        except HandshakeError as error:
            raise InvalidProxyMessage(f"the proxy's answer is not HTTP: {error.reason}") from error
        if found is None:
            return False
        head, rest = found
        status = _STATUS.match(head)
        if status is None:
            raise InvalidProxyMessage("the proxy's answer is not HTTP")
        if status[1].startswith(b"1") and status[1] != b"101":  # RFC 9110 15.2
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise InvalidProxyMessage(f"more than {MAX_INTERIM} interim responses")
            self._scanner = HeadScanner()
            return self.receive(rest) if rest else False
        if not status[1].startswith(b"2"):
            raise InvalidProxyStatus(_parse_refusal(int(status[1]), head, rest))
        if rest:
            raise ProxyError("the proxy sends bytes of its own into the tunnel")
        return True


def _parse_refusal(status: int, head: bytes, rest: bytes) -> Response:
    """Return the response with the part of its body that has arrived."""
    from .message_parser import ResponseParser

    lines = head.decode("latin-1").split("\r\n")
    fields = split_fields("\r\n".join(lines[1:-2])) if len(lines) > 3 else []
    parser, body = ResponseParser(), b""
    with suppress(InvalidMessage):
        parser.parse_head(head)
        body, _ = parser.parse_body(rest)
    return Response(status, lines[0][13:], Headers(fields), body)
