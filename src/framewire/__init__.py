"""WebSocket (RFC 6455) at C speed: a stream without I/O whose hot paths are compiled, and its pure
Python twin.

Servers and clients are in `framewire.asyncio` and `framewire.sync`, the opening handshake without
I/O in `framewire.handshake`.
"""

from typing import TYPE_CHECKING, Any

from ._backend import Backend, backend
from .errors import (
    CloseCodeError,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    FragmentError,
    FramewireError,
    HandshakeError,
    LocalError,
    MaskSourceError,
    NegotiationError,
    OpeningError,
    PayloadTooBigError,
    ProxyError,
    ResponseError,
    SecurityError,
    StateError,
    StatusError,
    TextError,
    UriError,
)
from .protocol.constants import CLIENT, SERVER, CloseCode, Opcode, Role, State
from .protocol.events import Close, Event, Failure, Fragment, Ping, Pong, Text
from .protocol.permessage_deflate import PerMessageDeflate
from .protocol.shared_message import SharedMessage
from .protocol.stream import Stream
from .version import version as __version__

if TYPE_CHECKING:
    from .adapters.accelerate import Acceleration, accelerate
    from .asyncio.client import ClientConnection, connect, unix_connect
    from .asyncio.router import Router, route, unix_route
    from .asyncio.server import Server, ServerConnection, basic_auth, broadcast, serve, unix_serve
    from .datastructures import Headers, HeadersLike, MultipleValuesError
    from .exceptions import (
        DuplicateParameter,
        HeaderLineTooLong,
        InvalidHandshake,
        InvalidHeader,
        InvalidHeaderFormat,
        InvalidHeaderValue,
        InvalidMessage,
        InvalidMethod,
        InvalidOrigin,
        InvalidParameterName,
        InvalidParameterValue,
        InvalidProtocol,
        InvalidProxy,
        InvalidProxyMessage,
        InvalidProxyStatus,
        InvalidState,
        InvalidStatus,
        InvalidUpgrade,
        InvalidURI,
        PayloadTooBig,
        ProtocolError,
        RequestLineTooLong,
        StatusLineTooLong,
        TooManyFragments,
        TooManyHeaders,
        WebSocketException,
    )
    from .http.http11 import HeadLimits
    from .http.trusted_proxies import TrustedProxies
    from .http11 import Request, Response
    from .protocol import Side
    from .session.rate_limit import RateLimit
    from .typing import Data, ExtensionName, ExtensionParameter, LoggerLike, Origin, StatusLike, Subprotocol


__all__ = [
    "CLIENT",
    "SERVER",
    "Acceleration",
    "Backend",
    "ClientConnection",
    "Close",
    "CloseCode",
    "CloseCodeError",
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "Data",
    "DuplicateParameter",
    "Event",
    "ExtensionName",
    "ExtensionParameter",
    "Failure",
    "Fragment",
    "FragmentError",
    "FramewireError",
    "HandshakeError",
    "HeadLimits",
    "HeaderLineTooLong",
    "Headers",
    "HeadersLike",
    "InvalidHandshake",
    "InvalidHeader",
    "InvalidHeaderFormat",
    "InvalidHeaderValue",
    "InvalidMessage",
    "InvalidMethod",
    "InvalidOrigin",
    "InvalidParameterName",
    "InvalidParameterValue",
    "InvalidProtocol",
    "InvalidProxy",
    "InvalidProxyMessage",
    "InvalidProxyStatus",
    "InvalidState",
    "InvalidStatus",
    "InvalidURI",
    "InvalidUpgrade",
    "LocalError",
    "LoggerLike",
    "MaskSourceError",
    "MultipleValuesError",
    "NegotiationError",
    "Opcode",
    "OpeningError",
    "Origin",
    "PayloadTooBig",
    "PayloadTooBigError",
    "PerMessageDeflate",
    "Ping",
    "Pong",
    "ProtocolError",
    "ProxyError",
    "RateLimit",
    "Request",
    "RequestLineTooLong",
    "Response",
    "ResponseError",
    "Role",
    "Router",
    "SecurityError",
    "Server",
    "ServerConnection",
    "SharedMessage",
    "Side",
    "State",
    "StateError",
    "StatusError",
    "StatusLike",
    "StatusLineTooLong",
    "Stream",
    "Subprotocol",
    "Text",
    "TextError",
    "TooManyFragments",
    "TooManyHeaders",
    "TrustedProxies",
    "UriError",
    "WebSocketException",
    "__version__",
    "accelerate",
    "backend",
    "basic_auth",
    "broadcast",
    "connect",
    "route",
    "serve",
    "unix_connect",
    "unix_route",
    "unix_serve",
]


#: The modules of names that are imported when they are used: of what takes long to import, and of
#: names that are here because `websockets` has them.
_LATE = {
    "adapters.accelerate": "Acceleration accelerate",
    "asyncio.client": "ClientConnection connect unix_connect",
    "asyncio.router": "Router route unix_route",
    "asyncio.server": "Server ServerConnection basic_auth broadcast serve unix_serve",
    "datastructures": "Headers HeadersLike MultipleValuesError",
    "exceptions": "DuplicateParameter HeaderLineTooLong InvalidHandshake InvalidHeader InvalidHeaderFormat "
    "InvalidHeaderValue InvalidMessage InvalidMethod InvalidOrigin InvalidParameterName InvalidParameterValue "
    "InvalidProtocol InvalidProxy InvalidProxyMessage InvalidProxyStatus InvalidState InvalidStatus InvalidURI "
    "InvalidUpgrade PayloadTooBig ProtocolError RequestLineTooLong StatusLineTooLong TooManyFragments TooManyHeaders "
    "WebSocketException",
    "http11": "Request Response",
    "http.http11": "HeadLimits",
    "http.trusted_proxies": "TrustedProxies",
    "protocol": "Side",
    "session.rate_limit": "RateLimit",
    "typing": "Data ExtensionName ExtensionParameter LoggerLike Origin StatusLike Subprotocol",
}


def __getattr__(name: str) -> Any:
    for module, names in _LATE.items():
        if name in names.split():
            from importlib import import_module

            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
