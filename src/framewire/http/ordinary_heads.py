"""Parsing of the heads that nearly all opening handshakes have (RFC 9112 3 to 5).

These heads are strictly formed, and `split_head` simply splits them. All others are left to
`HeadScanner` and h11, which alone decide which heads to reject; they would cost as much as the rest
of an opening handshake.
"""

from __future__ import annotations

import re
import sys
from typing import Final

from .._backend import split_head
from .headers import Headers
from .http11 import HeadLimits, Request, Response

__all__ = ["parse_switch", "take_request"]

_REQUEST: Final = re.compile(r"GET ([!-~]+) HTTP/1\.1")
_SWITCH: Final = re.compile(r"HTTP/1\.1 101 ([!-~]+(?: [!-~]+)*)")


def take_request(data: bytes, limits: HeadLimits) -> tuple[Request, bytes] | None:
    """Parse a GET request of HTTP/1.1 that names one host and has no body.

    Args:
        data: The first bytes of a connection, as any bytes-like object.
        limits: The limits of the head. One of over `max_line` bytes is left to `HeadScanner`.

    Returns:
        The request as `HeadScanner` and h11 read it, and the bytes after it; None for all other
        heads.
    """
    data = bytes(data)
    split = split_head(data, limits.max_headers)
    if split is None:
        return None
    first, lines, found, size = split
    match = _REQUEST.fullmatch(first)
    if match is None or size > limits.max_line or len(found.get("host", ())) != 1 or _has_body(found):
        return None
    return Request("GET", match[1], Headers.from_text(lines, found)), data[size:]


def parse_switch(head: bytes) -> Response | None:
    """Parse a 101 (Switching Protocols) response of HTTP/1.1.

    Returns:
        The response as h11 reads it; None for all other heads.
    """
    split = split_head(head, sys.maxsize)
    if split is None:
        return None
    first, lines, found, size = split
    match = _SWITCH.fullmatch(first)
    if match is None or size != len(head) or _has_body(found):
        return None
    return Response(101, match[1], Headers.from_text(lines, found))


def _has_body(found: dict[str, list[str]]) -> bool:
    return "content-length" in found or "transfer-encoding" in found
