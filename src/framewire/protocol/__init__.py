"""RFC 6455 and RFC 7692 without I/O: bytes to events, messages to bytes.

This module exports the names of `websockets.protocol`; `framewire` exports the public names of
framewire.
"""

from .constants import CLIENT, SERVER, State
from .constants import Role as Side

__all__ = ["CLIENT", "CLOSED", "CLOSING", "CONNECTING", "OPEN", "SERVER", "Side", "State"]

CONNECTING, OPEN, CLOSING, CLOSED = State
