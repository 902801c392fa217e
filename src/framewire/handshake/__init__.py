"""The opening handshake, both sides, without I/O (RFC 6455 3 and 4).

    server: bytes ─ receive ─▶ Request ─ check ─▶ Offer ─ accept | reject ─▶ bytes
    client: Uri ─ request ─▶ bytes … bytes ─ receive ─▶ Response

What follows the head in the same read is `trailing`: the first bytes for the `Stream`.
"""

from .._backend import accept_key
from .client import MAX_BODY, MAX_INTERIM, ClientHandshake
from .request import (
    Offer,
    Origin,
    check_connection_header,
    check_http_version,
    check_request,
    check_upgrade_header,
    check_version_header,
    choose_subprotocol,
)
from .server import BUSY, MAX_TRAILING, ServerHandshake, refusal

__all__ = [
    "BUSY",
    "MAX_BODY",
    "MAX_INTERIM",
    "MAX_TRAILING",
    "ClientHandshake",
    "Offer",
    "Origin",
    "ServerHandshake",
    "accept_key",
    "check_connection_header",
    "check_http_version",
    "check_request",
    "check_upgrade_header",
    "check_version_header",
    "choose_subprotocol",
    "refusal",
]
