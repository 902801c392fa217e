"""WebSocket (RFC 6455) at C speed: a sans-I/O stream whose hot paths are compiled, with an identical pure twin."""

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
    PayloadTooBigError,
    ResponseError,
    StateError,
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
    "Opcode",
    "PayloadTooBigError",
    "PerMessageDeflate",
    "Ping",
    "Pong",
    "ResponseError",
    "Role",
    "State",
    "StateError",
    "Stream",
    "Text",
    "TextError",
    "UriError",
    "__version__",
    "accelerate",
    "backend",
]


def __getattr__(name: str) -> Any:
    # Few need it, and what it imports takes longer to load than all the rest.
    if name in ("Acceleration", "accelerate"):
        from .adapters import accelerate as module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
