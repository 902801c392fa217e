"""WebSocket URIs with path and query apart, under the module name that they have in websockets.

`framewire.handshake.parse_uri` returns a `Uri`, which clients of framewire use.
"""

from __future__ import annotations

from .http import uri as _uri
from .protocol.record import Record, assign

__all__ = ["WebSocketURI", "parse_uri"]


class WebSocketURI(Record):
    """A ws or wss URI (RFC 6455 3).

    Args:
        secure: Whether the scheme is wss.
        host: The host in lower case, without the brackets of an IPv6 address.
        port: The port.
        path: The path, percent-encoded; "" if the URI has none.
        query: The query, percent-encoded, without "?"; "" if the URI has none.
        username: The user name, decoded; None for none.
        password: The password, decoded; None for none.
    """

    __slots__ = __match_args__ = ("secure", "host", "port", "path", "query", "username", "password")
    _secrets = ("password",)

    secure: bool
    host: str
    port: int
    path: str
    query: str
    username: str | None
    password: str | None

    def __init__(
        self,
        secure: bool,
        host: str,
        port: int,
        path: str,
        query: str,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        assign(self, "secure", secure)
        assign(self, "host", host)
        assign(self, "port", port)
        assign(self, "path", path)
        assign(self, "query", query)
        assign(self, "username", username)
        assign(self, "password", password)

    @property
    def resource_name(self) -> str:
        """The request target: the path, "/" if there is none, and the query."""
        return (self.path or "/") + (f"?{self.query}" if self.query else "")

    @property
    def user_info(self) -> tuple[str, str] | None:
        """The user name and the password, None for none."""
        return None if self.username is None else (self.username, self.password or "")


def parse_uri(uri: str) -> WebSocketURI:
    """Parse a ws or wss URI, as `framewire.handshake.parse_uri` does.

    Args:
        uri: The URI.

    Raises:
        InvalidURI: It is malformed; see there.
    """
    parsed = _uri.parse_uri(uri)
    path, _, query = parsed.target.partition("?")
    if "/" not in uri.partition("://")[2].partition("?")[0]:
        path = ""
    password = None if parsed.username is None else parsed.password
    return WebSocketURI(parsed.secure, parsed.host, parsed.port, path, query, parsed.username, password)
