"""The requirements of a server on a request (RFC 6455 4.2.1), and the choice of a subprotocol
(4.2.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from .._backend import accept_key
from ..errors import HandshakeError
from ..exceptions import InvalidMethod, InvalidOrigin, InvalidProtocol
from ..protocol.codecs import Terms
from .headers import Headers, is_token, parse_extensions, parse_tokens, split_list
from .http11 import Request

__all__ = [
    "Offer",
    "Origin",
    "check_connection_header",
    "check_host",
    "check_http_version",
    "check_request",
    "check_subprotocols",
    "check_upgrade_header",
    "check_version_header",
    "choose_subprotocol",
    "find_host",
]

#: An origin that may connect: text, a pattern that matches all of it, or None for requests without
#: Origin.
Origin: TypeAlias = str | re.Pattern[str] | None

_VERSION: Final = re.compile(r"HTTP/([0-9]+)\.([0-9]+)")
#: A path, or an absolute URI with its host and port.
_TARGET: Final = re.compile(r"/|(?:https?|wss?)://([^/?#@]+)(?:[/?#]|$)", re.IGNORECASE)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ZERO: Final = frozenset({"0"})
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_WANTED: Final = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))


def check_http_version(version: str | None) -> bool:
    """Return whether `version`, as in "HTTP/1.1", is at least 1.1 (4.2.1).

    Args:
        version: The version.
    """
    if version == "HTTP/1.1":
        return True
    match = _VERSION.fullmatch(version or "")
    if not match:
        return False
    # Compared as text: the numbers may be longer than int() takes.
    major, minor = (number.lstrip("0") for number in match.groups())
    return minor != "" if major == "1" else major != ""


def check_connection_header(values: Iterable[str]) -> bool:
    """Return whether the lines of Connection name the token "upgrade", in any case (4.2.1).

    Args:
        values: The value of each line of Connection.
    """
    return values == ["Upgrade"] or "upgrade" in map(str.lower, split_list(values))


def check_upgrade_header(values: Iterable[str]) -> bool:
    """Return whether the lines of Upgrade name the protocol "websocket", in any case (4.2.1).

    Args:
        values: The value of each line of Upgrade.
    """
    return values == ["websocket"] or "websocket" in map(str.lower, split_list(values))


def check_version_header(value: str | None) -> bool:
    """Return whether Sec-WebSocket-Version is exactly "13" (4.2.1).

    Args:
        value: The value of the header, or None.
    """
    return value == "13"


def check_host(headers: Headers) -> str:
    """Return the Host header (RFC 9110 7.2).

    Raises:
        HandshakeError: It is missing, repeated or malformed.
    """
    host = _only(headers.by_name(), "Host")
    if not _is_host(host):
        raise HandshakeError(400, "the Host header is not a host")
    return host


def find_host(request: Request) -> str:
    """Return the host and port that a request is for: those of a target that is an absolute URI,
    else those of the Host header (RFC 9112 3.2.2).

    Args:
        request: The request.

    Raises:
        HandshakeError: As `check_host`, or the host of the target is malformed.
    """
    return _host_of(_TARGET.match(request.target), request.headers)


def _host_of(target: re.Match[str] | None, headers: Headers) -> str:
    host = check_host(headers)
    if target is None or target[1] is None:
        return host
    if not _is_host(target[1]):
        raise HandshakeError(400, "the host of the request target is not a host")
    return target[1]


def _is_host(text: str) -> bool:
    return bool(_HOST.fullmatch(text)) and not (text.startswith("[") and not _is_ipv6(text[1:].partition("]")[0]))


def _is_ipv6(address: str) -> bool:
    # Imported here because hosts are rarely addresses of this kind.
    from ipaddress import AddressValueError, IPv6Address

    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return True


class Offer(NamedTuple):
    """The offers in a client's request."""

    #: Subprotocols in the client's order of preference.
    subprotocols: list[str]
    #: Extensions in the client's order of preference.
    extensions: list[Terms]


def check_request(request: Request, *, origins: Sequence[Origin] | None = None, version: str | None = None) -> Offer:
    """Check the request of a client against 4.2.1.

    Args:
        request: The request.
        origins: The only origins that may connect, with None for requests without Origin. By
            default a request with Origin must come from the host that it names, and one without,
            which browsers never send, passes (10.2).
        version: The HTTP version, as in "HTTP/1.0", if another parser read the request and passed
            it on under a version of its own; by default that of `request`.

    Returns:
        What the client offers.

    Raises:
        HandshakeError: 405 for a method other than GET (InvalidMethod); 426 for a request without
            upgrade, or for another version of WebSocket; 403 for an origin that may not connect
            (InvalidOrigin); 400 for the rest, such as another HTTP version (InvalidProtocol) or a
            body, which could pass for frames.
    """
    headers = request.headers
    if request.method != "GET":
        raise InvalidMethod(request.method)
    http_version = request.version if version is None else version
    if not check_http_version(http_version):
        raise InvalidProtocol(http_version)
    target = _TARGET.match(request.target)
    if not target:
        raise HandshakeError(400, "the request target is neither a path nor an absolute URI")
    found = headers.by_name()
    host = _host_of(target, headers)
    if "transfer-encoding" in found or not _ZERO.issuperset(found.get("content-length", ())):
        raise HandshakeError(400, "a request to upgrade has no body")
    if not check_upgrade_header(found.get("upgrade", ())):
        raise HandshakeError(426, "the Upgrade header does not name websocket", _WANTED)
    if not check_connection_header(found.get("connection", ())):
        raise HandshakeError(426, "the Connection header does not name Upgrade", _WANTED)
    wanted = _only(found, "Sec-WebSocket-Version")
    if not check_version_header(wanted):
        status = 426 if re.fullmatch("[0-9]{1,3}", wanted) else 400
        raise HandshakeError(status, "the Sec-WebSocket-Version header is not 13", _WANTED)
    try:
        accept_key(_only(found, "Sec-WebSocket-Key").encode("latin-1"))
    except ValueError:
        reason = "the Sec-WebSocket-Key header is not the base64 of 16 bytes"
        raise HandshakeError(400, reason) from None
    _check_origin(found.get("origin", ()), host, origins)
    subprotocols, extensions = found.get("sec-websocket-protocol"), found.get("sec-websocket-extensions")
    try:
        return Offer(
            parse_tokens(subprotocols) if subprotocols else [], parse_extensions(extensions) if extensions else []
        )
    except ValueError as error:
        raise HandshakeError(400, f"malformed subprotocols or extensions: {error}") from None


def _only(found: Mapping[str, list[str]], name: str) -> str:
    values = found.get(name.lower(), ())
    if len(values) != 1:
        problem = "repeated" if values else "missing"
        raise HandshakeError(400, f"the {name} header is {problem}")
    return values[0]


def _check_origin(values: Sequence[str], host: str, origins: Sequence[Origin] | None) -> None:
    if len(values) > 1:
        raise HandshakeError(400, "the Origin header is repeated")
    origin = values[0] if values else None
    if origins is None:
        allowed = origin is None or _is_same_host(origin, host)
    else:
        allowed = any(_matches(origin, wanted) for wanted in origins)
    if not allowed:
        raise InvalidOrigin(origin)


def _is_same_host(origin: str, host: str) -> bool:
    # Host does not tell the scheme, and a proxy may have changed the scheme: that of the origin
    # decides the default port.
    scheme, _, authority = origin.lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    return port is not None and authority.removesuffix(port) == host.lower().removesuffix(port)


def _matches(origin: str | None, wanted: Origin) -> bool:
    if origin is None or wanted is None:
        return origin is wanted
    if isinstance(wanted, re.Pattern):
        return wanted.fullmatch(origin) is not None
    return origin.lower() == wanted.lower()


def check_subprotocols(subprotocols: Any) -> tuple[str, ...]:
    """Validate the subprotocols that a client offers or a server speaks.

    Returns:
        The subprotocols.

    Raises:
        TypeError: Not a list of text; text itself is none.
        ValueError: One of them is not a token (RFC 9110 5.6.2).
    """
    if isinstance(subprotocols, (str, bytes)) or not isinstance(subprotocols, Iterable):
        raise TypeError(f"subprotocols is a list of text, not {type(subprotocols).__name__}")
    names = tuple(subprotocols)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"subprotocols is a list of text, not of {type(name).__name__}")
        if not is_token(name):
            raise ValueError(f"a subprotocol is a token, not {name!r}")
    return names


def choose_subprotocol(offered: Iterable[str], supported: Iterable[str]) -> str | None:
    """Choose a subprotocol (4.2.2).

    Args:
        offered: The subprotocols that the client offers.
        supported: Those of the server, best first.

    Returns:
        The first of `supported` that is offered, in the same case. None if there is none: the
        connection then has no subprotocol, and browsers that asked for one close it.
    """
    names = set(offered)
    if not names:
        return None
    return next((name for name in supported if name in names), None)
