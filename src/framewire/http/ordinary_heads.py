"""Parsing of the heads that nearly all opening handshakes have, after `HeadScanner` has passed
them (RFC 9112 3 to 5).

These heads match one pattern, and are simply split. All others are left to h11, which alone decides
which heads to reject; it would cost as much as the rest of an opening handshake.
"""

from __future__ import annotations

import re
from typing import Final

from .headers import Headers
from .http11 import Request, Response

__all__ = ["parse_request", "parse_switch"]

_FIELDS: Final = r"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)+)\r\n"
_REQUEST: Final = re.compile(r"GET ([!-~]+) HTTP/1\.1\r\n" + _FIELDS)
_SWITCH: Final = re.compile(r"HTTP/1\.1 101 ([!-~]+(?: [!-~]+)*)\r\n" + _FIELDS)


def parse_request(head: bytes) -> Request | None:
    """Parse a GET request of HTTP/1.1 that names one host and has no body.

    Returns:
        The request as h11 reads it; None for all other heads.
    """
    match = _REQUEST.fullmatch(head.decode("latin-1"))
    if match is None:
        return None
    headers = Headers.from_text(match[2][:-2])
    if len(headers.by_name().get("host", ())) != 1 or _has_body(headers):
        return None
    return Request("GET", match[1], headers)


def parse_switch(head: bytes) -> Response | None:
    """Parse a 101 (Switching Protocols) response of HTTP/1.1.

    Returns:
        The response as h11 reads it; None for all other heads.
    """
    match = _SWITCH.fullmatch(head.decode("latin-1"))
    if match is None:
        return None
    headers = Headers.from_text(match[2][:-2])
    return None if _has_body(headers) else Response(101, match[1], headers)


def _has_body(headers: Headers) -> bool:
    found = headers.by_name()
    return "content-length" in found or "transfer-encoding" in found
