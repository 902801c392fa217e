"""The opening handshake of both sides without I/O (RFC 6455 3 and 4).

    server: bytes ─ receive ─▶ Request ─ check ─▶ Offer ─ accept or reject ─▶ bytes
    client: Uri ─ request ─▶ bytes … bytes ─ receive ─▶ Response

The bytes that arrive after the head are in `trailing`: pass them to the `Stream` first.
"""

from ._backend import accept_key
from .errors import ResponseError, StatusError
from .http.client_handshake import ClientHandshake
from .http.headers import Headers, format_extensions, parse_extensions
from .http.http11 import MAX_BODY, MAX_HEAD, MAX_HEADERS, MAX_LINE, HeadLimits, HeadScanner, Request, Response
from .http.request_checks import (
    Offer,
    Origin,
    check_connection_header,
    check_http_version,
    check_request,
    check_upgrade_header,
    check_version_header,
    choose_subprotocol,
)
from .http.response_reader import MAX_INTERIM
from .http.server_handshake import BUSY, MAX_TRAILING, ServerHandshake, refusal
from .http.uri import Uri, parse_uri

__all__ = [
    "BUSY",
    "MAX_BODY",
    "MAX_HEAD",
    "MAX_HEADERS",
    "MAX_INTERIM",
    "MAX_LINE",
    "MAX_TRAILING",
    "ClientHandshake",
    "HeadLimits",
    "HeadScanner",
    "Headers",
    "Offer",
    "Origin",
    "Request",
    "Response",
    "ResponseError",
    "ServerHandshake",
    "StatusError",
    "Uri",
    "accept_key",
    "check_connection_header",
    "check_http_version",
    "check_request",
    "check_upgrade_header",
    "check_version_header",
    "choose_subprotocol",
    "format_extensions",
    "parse_extensions",
    "parse_uri",
    "refusal",
]
