"""WebSocket URIs (RFC 6455 3)."""

from __future__ import annotations

import re
from typing import Final

from ..errors import UriError
from ..protocol.record import Record, assign

__all__ = ["Uri", "format_authority", "parse_host", "parse_uri"]

#: The part of a URI after the scheme: user, host, port, path, query.
_URI: Final = re.compile(
    r"(?:([^/?@]*)@)?(\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.~%\-]+)?\]|[^\[\]/?@:]+)(?::([0-9]*))?(/[^?]*)?(?:\?(.*))?",
    re.DOTALL,
)


class Uri(Record):
    """A ws or wss URI (3).

    Args:
        secure: Whether the scheme is wss.
        host: The host in lower case, without the brackets of an IPv6 address; the zone of a
            link-local address follows it, as in "fe80::1%eth0".
        port: The port.
        target: The path and the query, percent-encoded.
        username: The user name, decoded; None for none.
        password: The password, decoded.
    """

    __slots__ = __match_args__ = ("secure", "host", "port", "target", "username", "password")
    _secrets = ("password",)

    secure: bool
    host: str
    port: int
    target: str
    username: str | None
    password: str

    def __init__(
        self, secure: bool, host: str, port: int, target: str, username: str | None = None, password: str = ""
    ) -> None:
        assign(self, "secure", secure)
        assign(self, "host", host)
        assign(self, "port", port)
        assign(self, "target", target)
        assign(self, "username", username)
        assign(self, "password", password)

    @property
    def authority(self) -> str:
        """The value of the Host header: without the port if that is the default."""
        return format_authority(self.host, self.port, self.secure)

    @property
    def server_name(self) -> str:
        """The host as the server knows it, for its certificate: without the zone of an IPv6
        address.
        """
        return self.host.partition("%")[0]

    def has_origin_of(self, other: Uri) -> bool:
        """Return whether the scheme, host and port are those of another URI.

        Args:
            other: The other URI.
        """
        return (self.secure, self.host, self.port) == (other.secure, other.host, other.port)


def format_authority(host: str, port: int, secure: bool | None) -> str:
    """Return the value of a Host header.

    Args:
        host: The host, an IPv6 address without its brackets. Its zone is left out: it has a meaning
            on this machine only (RFC 6874 4).
        port: The port, left out if it is the default of the scheme.
        secure: Whether the scheme is wss; None to write each port.
    """
    host = host.partition("%")[0]
    bracketed = f"[{host}]" if ":" in host else host
    default = None if secure is None else 443 if secure else 80
    return bracketed if port == default else f"{bracketed}:{port}"


def parse_uri(text: str) -> Uri:
    """Parse a ws or wss URI (3).

    Characters beyond ASCII become IDNA in the host, percent-encoded UTF-8 in the path and query.

    Args:
        text: The URI.

    Raises:
        TypeError: It is no text.
        UriError: Another scheme, a fragment, a control character or a space, a malformed host,
            port, user name or password, or a user name without a password.
    """
    # Imported here because only clients need it.
    from urllib.parse import quote, unquote

    if not isinstance(text, str):
        raise TypeError(f"a URI is text, not {type(text).__name__}")
    scheme, separator, rest = text.partition("://")
    secure = scheme.lower() == "wss"
    if not separator or scheme.lower() not in ("ws", "wss"):
        raise UriError(text, "the URI does not begin with ws:// or wss://")
    if "#" in rest:
        raise UriError(text, "a fragment has no meaning in a WebSocket URI")
    if re.search(r"[\x00-\x20\x7f]", rest):
        raise UriError(text, "a control character or space in the URI")
    match = _URI.fullmatch(rest)
    if not match:
        raise UriError(text, "the host or the port of the URI is missing or malformed")
    user, host, port, path, query = match.groups()
    try:
        host = parse_host(host)
        number = int(port.lstrip("0")[:6] or "0") if port else 443 if secure else 80
        # "%" is not encoded: it introduces an escape that the caller has made.
        target = quote(path or "/", safe="%:/[]@!$&'()*+,;=")
        if query:
            target += "?" + quote(query, safe="%:/?[]@!$&'()*+,;=")
        username, colon, password = (user or "").partition(":")
        username, password = (unquote(part, errors="strict") for part in (username, password))
        (username + password).encode(errors="surrogateescape")  # as `build_authorization_basic` does
    except ValueError as error:
        raise UriError(text, f"malformed URI: {error}") from error
    if not 0 < number <= 65535:
        raise UriError(text, "the port of the URI is not 1 to 65535")
    if user is not None and not colon:
        raise UriError(text, "a user name without a password")
    if ":" in username or re.search(r"[\x00-\x1f\x7f]", username + password):
        raise UriError(text, "a colon in the user name, or a control character in the credentials")
    return Uri(secure, host, number, target, None if user is None else username, password)


def parse_host(text: str) -> str:
    """Return a host in lower case, with IDNA, or an IPv6 address without its brackets.

    Raises:
        ValueError: It is malformed.
    """
    if text.startswith("["):
        from ipaddress import IPv6Address
        from urllib.parse import unquote

        address, percent, zone = text[1:-1].partition("%")
        if zone[2:] and zone.startswith("25"):  # "%" is encoded in a URI (RFC 6874 2), but users write it as it is too
            zone = unquote(zone[2:], errors="strict")
        if percent and not re.fullmatch(r"[A-Za-z0-9_.~\-]+", zone):
            raise ValueError("not the zone of an address")
        return str(IPv6Address(address + percent + zone))
    host = text.encode("idna").decode("ascii").lower()
    if not re.fullmatch(r"[a-z0-9._\-]+", host):
        raise ValueError("not a host name")
    return host
