"""WebSocket (RFC 6455) at C speed: a sans-I/O stream whose hot paths are compiled, with an identical pure twin."""

from ._backend import Backend, backend
from .codes import CLIENT, SERVER, CloseCode, Opcode, Role, State
from .errors import (
    CloseCodeError,
    FragmentError,
    FramewireError,
    LocalError,
    MaskSourceError,
    PayloadTooBigError,
    StateError,
    TextError,
)
from .events import Close, Event, Failure, Fragment, Ping, Pong, Text
from .stream import Stream

__version__ = "0.1.0"

__all__ = [
    "CLIENT",
    "SERVER",
    "Backend",
    "Close",
    "CloseCode",
    "CloseCodeError",
    "Event",
    "Failure",
    "Fragment",
    "FragmentError",
    "FramewireError",
    "LocalError",
    "MaskSourceError",
    "Opcode",
    "PayloadTooBigError",
    "Ping",
    "Pong",
    "Role",
    "State",
    "StateError",
    "Stream",
    "Text",
    "TextError",
    "__version__",
    "backend",
]
