"""Opcodes, close codes and the content of a close frame, under the module name that they have in
websockets.
"""

from .protocol.constants import CloseCode, Opcode
from .protocol.events import Close

__all__ = ["BINARY", "CLOSE", "CONT", "PING", "PONG", "TEXT", "Close", "CloseCode", "Opcode"]

CONT = Opcode.CONT
TEXT = Opcode.TEXT
BINARY = Opcode.BINARY
CLOSE = Opcode.CLOSE
PING = Opcode.PING
PONG = Opcode.PONG
