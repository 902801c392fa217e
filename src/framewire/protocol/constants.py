"""The constants of RFC 6455: opcodes (5.2), close codes (7.4), limits (5.2, 5.5), roles."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final

__all__ = [
    "CLIENT",
    "CLOSED",
    "CLOSING",
    "CONNECTING",
    "MAX_CONTROL_PAYLOAD",
    "MAX_LENGTH",
    "MAX_REASON",
    "OPEN",
    "SERVER",
    "CloseCode",
    "Opcode",
    "Role",
    "State",
    "close_code_name",
    "may_be_received",
    "may_be_sent",
]

#: The largest payload of a control frame, in bytes (5.5).
MAX_CONTROL_PAYLOAD: Final = 125

#: The largest close reason, in bytes of UTF-8: a control payload without the code (5.5.1).
MAX_REASON: Final = 123

#: The largest payload length of a frame: the most significant of 64 bits must be 0 (5.2).
MAX_LENGTH: Final = (1 << 63) - 1


class Role(Enum):
    """One end of a connection: clients mask their frames, servers do not (RFC 6455 5.1)."""

    SERVER = "server"
    CLIENT = "client"


SERVER: Final = Role.SERVER
CLIENT: Final = Role.CLIENT


class State(IntEnum):
    """The state of a connection (RFC 6455 4.1, 7.1). A `Stream` begins OPEN."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


# For code that runs often: to look a member up in its class is slow before Python 3.12.
CONNECTING: Final = State.CONNECTING
OPEN: Final = State.OPEN
CLOSING: Final = State.CLOSING
CLOSED: Final = State.CLOSED


class Opcode(IntEnum):
    """The types of frames (RFC 6455 5.2). 3 to 7 and 11 to 15 are reserved."""

    CONTINUATION = CONT = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(IntEnum):
    """Close codes (RFC 6455 7.4.1 and IANA's registry).

    3000 to 3999 are for libraries, 4000 to 4999 for applications.
    """

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


#: Codes that an endpoint reports locally, and that no close frame may contain (7.4.1).
_NEVER_SENT: Final = frozenset({CloseCode.NO_STATUS_RCVD, CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE})
_REGISTERED: Final = frozenset(code.value for code in CloseCode if code not in _NEVER_SENT)


#: The names of close codes in messages.
_CODE_NAMES: Final = {
    **{code.value: code.name.lower().replace("_", " ") for code in CloseCode},
    1000: "OK",
    1005: "no status received [internal]",
    1006: "abnormal closure [internal]",
    1007: "invalid frame payload data",
    1015: "TLS handshake failure [internal]",
}


def close_code_name(code: int) -> str:
    """Return the name of a close code in messages, such as "going away"."""
    if 3000 <= code <= 4999:
        return "registered" if code < 4000 else "private use"
    return _CODE_NAMES.get(code, "unknown")


def may_be_sent(code: int) -> bool:
    """Return whether a close frame may contain `code` (7.4): registered, or 3000 to 4999."""
    return code in _REGISTERED or 3000 <= code <= 4999


#: The same rule applies to both directions (7.4).
may_be_received = may_be_sent
