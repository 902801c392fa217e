"""RFC 6455 and RFC 7692 without I/O: bytes to events, messages to bytes.

The names here are those that `websockets.protocol` has of them; the public names of framewire are in `framewire`.
"""

from .constants import CLIENT, SERVER, State
from .constants import Role as Side

__all__ = ["CLIENT", "CLOSED", "CLOSING", "CONNECTING", "OPEN", "SERVER", "Side", "State"]

CONNECTING, OPEN, CLOSING, CLOSED = State
