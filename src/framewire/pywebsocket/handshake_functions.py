"""Functions of the modules `handshake.base` and `handshake.hybi`, for handlers that write the
answer to the handshake themselves.
"""

from __future__ import annotations

from typing import Final

from .._backend import accept_key
from ..http.headers import is_token, parse_tokens
from .exceptions import HandshakeException
from .request import HandlerRequest

__all__ = [
    "WEBSOCKET_ACCEPT_UUID",
    "compute_accept",
    "compute_accept_from_unicode",
    "format_header",
    "get_default_port",
    "get_mandatory_header",
    "parse_token_list",
    "validate_mandatory_header",
    "validate_subprotocol",
]

#: The string that a server appends to the key before it hashes it (RFC 6455 1.3).
WEBSOCKET_ACCEPT_UUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def compute_accept(key: bytes) -> bytes:
    """Return the value of Sec-WebSocket-Accept for a key."""
    return accept_key(key)


def compute_accept_from_unicode(unicode_key: str) -> bytes:
    """Return the value of Sec-WebSocket-Accept for a key of the type `str`."""
    return accept_key(unicode_key.encode())


def format_header(name: str, value: str) -> str:
    """Return a header line."""
    return f"{name}: {value}\r\n"


def get_default_port(is_secure: bool) -> int:
    """Return the port of URIs without one: 443 with TLS, else 80."""
    return 443 if is_secure else 80


def get_mandatory_header(request: HandlerRequest, key: str) -> str:
    """Return the value of a header of the request. HandshakeException if it is missing."""
    value = request.headers_in.get(key)
    if value is None:
        raise HandshakeException(f"the request has no header {key}")
    return value


def validate_mandatory_header(
    request: HandlerRequest, key: str, expected_value: str, fail_status: int | None = None
) -> None:
    """Raise HandshakeException, with `fail_status`, unless a header of the request has a value."""
    if get_mandatory_header(request, key).lower() != expected_value.lower():
        raise HandshakeException(f"the header {key} is not {expected_value}", fail_status)


def parse_token_list(data: str) -> list[str]:
    """Return the tokens of a comma-separated header. HandshakeException if there are none."""
    try:
        tokens = parse_tokens([data])
    except ValueError as error:
        raise HandshakeException(str(error)) from error
    if not tokens:
        raise HandshakeException("there is no token")
    return tokens


def validate_subprotocol(subprotocol: str) -> None:
    """Raise HandshakeException unless the name of a subprotocol is a token."""
    if not is_token(subprotocol):
        raise HandshakeException(f"the name of a subprotocol is a token, not {subprotocol!r}")
