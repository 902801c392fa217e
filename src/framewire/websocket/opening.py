"""Exceptions, checks of arguments and the choice of the connection, for both APIs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from ..errors import ConnectionClosed, LocalError, UriError
from ..http.headers import is_token
from ..http.uri import Uri
from ..http.web_url import parse_web_url
from ..protocol.constants import MAX_REASON

if sys.platform == "emscripten":
    from .browser_connection import open_connection
else:
    from .native_connection import open_connection

__all__ = [
    "DOMException", "InvalidAccessError", "InvalidStateError", "UrlSyntaxError", "check_close", "check_protocols",
    "is_clean", "open_connection", "parse_url", "to_message",
]  # fmt: skip


class DOMException(LocalError):  # noqa: N818
    """Base class of the exceptions of the standard.

    Attributes:
        name: The name of the exception in the standard.
    """

    name: ClassVar[str]


class UrlSyntaxError(DOMException):
    """An invalid URL, subprotocol or close reason: the "SyntaxError" of the standard."""

    name = "SyntaxError"


class InvalidAccessError(DOMException):
    """A close code that applications may not use: any except 1000 and 3000 to 4999."""

    name = "InvalidAccessError"


class InvalidStateError(DOMException):
    """A call of `send` before the connection is open."""

    name = "InvalidStateError"


def is_clean(closed: ConnectionClosed) -> bool:
    """Return whether both ends sent a close frame."""
    return closed.rcvd is not None and closed.sent is not None


def check_protocols(protocols: str | Iterable[str] | Mapping[str, Any]) -> list[str]:
    """Return the subprotocols to offer.

    Raises:
        UrlSyntaxError: If they are not tokens, each given once.
    """
    if isinstance(protocols, Mapping):
        protocols = protocols.get("protocols", ())
    offered = [protocols] if isinstance(protocols, str) else list(protocols)
    if len(set(offered)) < len(offered) or not all(map(is_token, offered)):
        raise UrlSyntaxError("subprotocols must be tokens, each given once")
    return offered


def check_close(code: int | None, reason: str) -> str:
    """Return the reason to send with a close code.

    Raises:
        TypeError: If the code is no integer, or the reason no text.
        InvalidAccessError: If the code is not allowed.
        UrlSyntaxError: If the reason is too long.
    """
    if code is not None and not isinstance(code, int):
        raise TypeError(f"a close code is an integer, not {type(code).__name__}")
    if not isinstance(reason, str):
        raise TypeError(f"a close reason is text, not {type(reason).__name__}")
    if code is not None and code != 1000 and not 3000 <= code <= 4999:
        raise InvalidAccessError(f"the close code must be 1000 or 3000 to 4999, not {code}")
    text = _to_scalars(reason)
    if len(text.encode()) > MAX_REASON:
        raise UrlSyntaxError(f"the close reason exceeds {MAX_REASON} bytes")
    return text


def parse_url(url: str) -> tuple[Uri, str]:
    """Parse the URL; return it and its normalized text.

    Raises:
        UrlSyntaxError: If it is not valid.
    """
    try:
        return parse_web_url(_to_scalars(url))
    except UriError as error:
        raise UrlSyntaxError(str(error)) from error


def to_message(data: str | bytes | bytearray | memoryview) -> str | bytes:
    """Return a message to send: text with U+FFFD in place of each lone surrogate, or the bytes, which
    do not change with `data`.

    Raises:
        TypeError: If it is neither text nor a bytes-like object.
    """
    if isinstance(data, str):
        return _to_scalars(data)
    if isinstance(data, bytes):
        return data
    with memoryview(data) as octets:  # unlike `bytes`, takes neither numbers nor iterables
        return octets.tobytes()


def _to_scalars(text: str) -> str:
    """Return the text with U+FFFD in place of each lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
