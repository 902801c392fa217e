"""Redirects of the opening handshake: where they may lead, and which credentials go there (RFC 9110
15.4).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, cast

from ..errors import SecurityError, StatusError, UriError
from .http11 import Response
from .uri import Uri, parse_uri

__all__ = ["MAX_REDIRECTS", "follow_redirect", "is_redirect", "keep_for_other_origin", "open_at_redirects"]

Opened = TypeVar("Opened")

#: The maximum number of redirects that a client follows.
MAX_REDIRECTS: Final = 10

_STATUSES: Final = frozenset({300, 301, 302, 303, 307, 308})
#: Headers for one origin only: its credentials and its name.
_OF_ONE_ORIGIN: Final = frozenset({"authorization", "cookie", "host", "proxy-authorization"})


def is_redirect(response: Response) -> bool:
    """Return whether a response is a redirect: it has such a status, and one Location."""
    return response.status in _STATUSES and len(response.headers.get_all("Location")) == 1


def follow_redirect(old: Uri, location: str) -> Uri:
    """Return the URI that a redirect leads to.

    Within the same origin (scheme, host and port) the new URI keeps the user name and password of
    the old one, unless it has its own.

    Args:
        old: The URI of the request.
        location: The Location header of the response: a ws, wss, http or https URI, or a relative
            reference.

    Raises:
        UriError: `location` is not the URI of a WebSocket.
        SecurityError: The redirect leads from wss to ws.
    """
    from urllib.parse import urljoin

    location = _decode_location(location)
    try:
        # It resolves relative references only for schemes that it knows: http instead of ws.
        new = urljoin(f"http{'s' * old.secure}://{old.authority}{old.target}", location)
    except ValueError as error:
        raise UriError(location, f"malformed URI: {error}") from error
    if new[:4].lower() == "http":  # `urljoin` leaves the case of a scheme that differs
        new = "ws" + new[4:]
    target = parse_uri(new)
    if old.secure and not target.secure:
        raise SecurityError("a redirect from wss to ws")
    if target.host == old.server_name:  # servers do not know the zone of an IPv6 address
        target = Uri(target.secure, old.host, target.port, target.target, target.username, target.password)
    if target.username is None and target.has_origin_of(old):
        target = Uri(target.secure, target.host, target.port, target.target, old.username, old.password)
    return target


def _decode_location(location: str) -> str:
    """Return a Location with the characters beyond ASCII that its bytes stand for.

    Headers are decoded as Latin-1. Servers send UTF-8, which then is percent-encoded once; other
    bytes are percent-encoded as they are.
    """
    from urllib.parse import quote

    try:
        data = location.encode("latin-1")
    except UnicodeEncodeError:
        return location
    try:
        return data.decode()
    except UnicodeDecodeError:
        return quote(data, safe="".join(map(chr, range(0x80))))


async def open_at_redirects(
    attempt: Callable[[Uri, list[tuple[str, str]]], Awaitable[Opened]],
    target: Uri,
    headers: list[tuple[str, str]],
    *,
    limit: int,
    same_origin: bool,
    never: bool,
) -> Opened:
    """Open a connection where redirects lead. It waits for nothing but `attempt`, so it runs on
    every event loop.

    Args:
        attempt: Opens a connection, given a URI and the header lines of the request.
        target: The first URI.
        headers: The header lines for it.
        limit: The maximum number of redirects.
        same_origin: Whether redirects to another origin cannot be followed, as the caller has
            chosen the host or the port.
        never: Whether no redirect can be followed, as the caller has given a stream that is used
            up.

    Raises:
        SecurityError: There are too many redirects, or one leads from wss to ws.
        ValueError: A redirect cannot be followed because of `same_origin` or `never`.
    """
    for _ in range(limit + 1):
        try:
            return await attempt(target, headers)
        except StatusError as error:
            response = cast(Response, error.response)
            if not is_redirect(response):
                raise
            old, target = target, follow_redirect(target, response.headers["Location"])
            if never or (same_origin and not target.has_origin_of(old)):
                raise ValueError(
                    "a redirect cannot be followed with a socket, host or port given by the caller"
                ) from error
        if not target.has_origin_of(old):
            headers = keep_for_other_origin(headers)
    raise SecurityError(f"more than {limit} redirects")


def keep_for_other_origin(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the header lines that may be sent to another origin: neither credentials nor Host."""
    return [line for line in headers if line[0].lower() not in _OF_ONE_ORIGIN]
