"""Aliases of `framewire.errors` with the names of `websockets.exceptions`, for code that was written for websockets."""

from .errors import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    NegotiationError,
    OpeningError,
    ProxyError,
    SecurityError,
)
from .errors import FramewireError as WebSocketException
from .errors import HandshakeError as InvalidUpgrade
from .errors import OpeningError as InvalidHandshake
from .errors import PayloadTooBigError as PayloadTooBig
from .errors import ResponseError as InvalidMessage
from .errors import StateError as InvalidState
from .errors import StatusError as InvalidStatus
from .errors import UriError as InvalidURI

__all__ = [
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "InvalidHandshake",
    "InvalidMessage",
    "InvalidState",
    "InvalidStatus",
    "InvalidURI",
    "InvalidUpgrade",
    "NegotiationError",
    "OpeningError",
    "PayloadTooBig",
    "ProxyError",
    "SecurityError",
    "WebSocketException",
]
