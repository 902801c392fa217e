"""Parsing of the heads that nearly all opening handshakes have (RFC 9112 3 to 5).

These heads match one pattern, and are simply split. All others are left to `HeadScanner` and h11,
which alone decide which heads to reject; they would cost as much as the rest of an opening
handshake.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from .headers import Headers
from .http11 import HeadLimits, Request, Response

__all__ = ["parse_switch", "take_request"]

_FIELD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n"
_SWITCH: Final = re.compile(rf"HTTP/1\.1 101 ([!-~]+(?: [!-~]+)*)\r\n((?:{_FIELD})+)\r\n")


@lru_cache(16)
def _request(max_headers: int) -> re.Pattern[str]:
    return re.compile(rf"GET ([!-~]+) HTTP/1\.1\r\n((?:{_FIELD}){{1,{max_headers}}})\r\n")


def take_request(data: bytes, limits: HeadLimits) -> tuple[Request, bytes] | None:
    """Parse a GET request of HTTP/1.1 that names one host and has no body.

    Args:
        data: The first bytes of a connection, as any bytes-like object.
        limits: The limits of the head. One of over `max_line` bytes is left to `HeadScanner`.

    Returns:
        The request as `HeadScanner` and h11 read it, and the bytes after it; None for all other
        heads.
    """
    match = _request(limits.max_headers).match(str(data, "latin-1"))
    if match is None or match.end() > limits.max_line:
        return None
    headers = Headers.from_text(match[2][:-2])
    if len(headers.by_name().get("host", ())) != 1 or _has_body(headers):
        return None
    return Request("GET", match[1], headers), bytes(data[match.end() :])


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
