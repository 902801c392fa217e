"""Redirects of the opening handshake: where they may lead, and which credentials go there (RFC 9110 15.4)."""

from __future__ import annotations

from typing import Final

from ..errors import SecurityError
from .http11 import Response
from .uri import Uri, parse_uri

__all__ = ["MAX_REDIRECTS", "follow_redirect", "is_redirect", "without_credentials"]

#: The maximum number of redirects that a client follows.
MAX_REDIRECTS: Final = 10

_STATUSES: Final = frozenset({300, 301, 302, 303, 307, 308})
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


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

    # urljoin resolves relative references only for schemes that it knows: http instead of ws.
    new = urljoin(f"http{'s' * old.secure}://{old.authority}{old.target}", location)
    if new.startswith("http"):
        new = "ws" + new[4:]
    target = parse_uri(new)
    if old.secure and not target.secure:
        raise SecurityError("a redirect from wss to ws")
    if target.username is None and target.has_origin_of(old):
        target = Uri(target.secure, target.host, target.port, target.target, old.username, old.password)
    return target


def without_credentials(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the header lines that may be sent to another origin: all without credentials."""
    return [line for line in headers if line[0].lower() not in _CREDENTIALS]
