"""WebSocket (RFC 6455) at C speed: a stream without I/O whose hot paths are compiled, and its pure Python twin.

Servers and clients are in `framewire.asyncio` and `framewire.sync`, the opening handshake without I/O in
`framewire.handshake`.
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
from .protocol.stream import Stream

if TYPE_CHECKING:
    from .adapters.accelerate import Acceleration, accelerate

__version__ = "0.1.0"

__all__ = [
    "CLIENT",
    "SERVER",
    "Acceleration",
    "Backend",
    "Close",
    "CloseCode",
    "CloseCodeError",
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "Event",
    "Failure",
    "Fragment",
    "FragmentError",
    "FramewireError",
    "HandshakeError",
    "LocalError",
    "MaskSourceError",
    "NegotiationError",
    "Opcode",
    "OpeningError",
    "PayloadTooBigError",
    "PerMessageDeflate",
    "Ping",
    "Pong",
    "ProxyError",
    "ResponseError",
    "Role",
    "SecurityError",
    "State",
    "StateError",
    "StatusError",
    "Stream",
    "Text",
    "TextError",
    "UriError",
    "__version__",
    "accelerate",
    "backend",
]


def __getattr__(name: str) -> Any:
    # Few programs need it, and its imports take longer than all others.
    if name in ("Acceleration", "accelerate"):
        from .adapters import accelerate as module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
