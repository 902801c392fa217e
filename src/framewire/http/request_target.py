"""The forms of a request target (RFC 9112 3.2)."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["split_target"]

_ORIGIN: Final = re.compile(r"(?:https?|wss?)://[^/?#]*", re.IGNORECASE)


def split_target(target: str) -> tuple[str, str]:
    """Split a request target, which may be an absolute URI.

    Args:
        target: The request target as sent.

    Returns:
        The scheme, host and port of an absolute URI, "" for other targets; and the path and query,
        which begin with "/" after an absolute URI.
    """
    match = _ORIGIN.match(target)
    if match is None:
        return "", target
    rest = target[match.end() :]
    return match[0], rest if rest.startswith("/") else f"/{rest}"
