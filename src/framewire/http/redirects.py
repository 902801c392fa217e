"""Where a redirect of the opening handshake may lead, and what is sent there (RFC 6455 4.1, RFC 9110 15.4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from urllib.parse import urljoin

from ..errors import SecurityError
from .http11 import Response
from .uri import Uri, parse_uri

__all__ = ["MAX_REDIRECTS", "follow_redirect", "is_redirect", "without_credentials"]

#: The most redirects that are followed.
MAX_REDIRECTS: Final = 10

_STATUSES: Final = frozenset({300, 301, 302, 303, 307, 308})
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


def is_redirect(response: Response | None) -> bool:
    """Return whether a response is a redirect."""
    return response is not None and response.status in _STATUSES and "Location" in response.headers


def follow_redirect(old: Uri, location: str) -> Uri:
    """Return the URI that a redirect leads to.

    Within the same origin (scheme, host and port) the user and the password of the old URI stay, unless the new one
    has its own.

    Args:
        old: The URI that was asked for.
        location: The Location header of the answer.

    Raises:
        UriError: `location` is no WebSocket URI.
        SecurityError: It leads from wss to ws.
    """
    # urljoin resolves relative references for the schemes that it knows: http in the place of ws.
    new = urljoin(f"http{'s' * old.secure}://{old.authority}{old.target}", location)
    if new.startswith("http"):
        new = "ws" + new[4:]
    target = parse_uri(new)
    if old.secure and not target.secure:
        raise SecurityError("a redirect from wss to ws")
    if target.username is None and target.has_origin_of(old):
        target = replace(target, username=old.username, password=old.password)
    return target


def without_credentials(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the header lines that may go to another origin."""
    return [line for line in headers if line[0].lower() not in _CREDENTIALS]
