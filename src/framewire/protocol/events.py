"""The events of a stream, except messages, which are `str` (text) or `bytes` (binary)."""

from __future__ import annotations

from typing import TypeAlias

from .constants import close_code_name
from .record import Record, assign

__all__ = ["Close", "Event", "Failure", "Fragment", "Ping", "Pong", "Text"]


class Text(Record):
    """A whole text message as valid UTF-8 (with `text_as_bytes=True`).

    Attributes:
        payload: The UTF-8.
    """

    __slots__ = __match_args__ = ("payload",)

    payload: bytes

    def __init__(self, payload: bytes) -> None:
        assign(self, "payload", payload)


class Fragment(Record):
    """The data of one frame of a fragmented message (with `fragments=True`; RFC 6455 5.4).

    Text fragments contain whole code points: 1 to 3 bytes of an incomplete one are delivered with
    the next fragment, so that `data` may be empty.

    Attributes:
        data: The data.
        first: Whether the message begins with this fragment.
        last: Whether the message ends with this fragment.
    """

    __slots__ = __match_args__ = ("data", "first", "last")

    data: str | bytes | Text
    first: bool
    last: bool

    def __init__(self, data: str | bytes | Text, first: bool, last: bool) -> None:
        assign(self, "data", data)
        assign(self, "first", first)
        assign(self, "last", last)


class Ping(Record):
    """A ping (RFC 6455 5.5.2). It is delivered even if it is answered automatically.

    Attributes:
        payload: 0 to 125 bytes.
    """

    __slots__ = __match_args__ = ("payload",)

    payload: bytes

    def __init__(self, payload: bytes) -> None:
        assign(self, "payload", payload)


class Pong(Record):
    """A pong (RFC 6455 5.5.3), whether or not it answers a ping.

    Attributes:
        payload: 0 to 125 bytes.
    """

    __slots__ = __match_args__ = ("payload",)

    payload: bytes

    def __init__(self, payload: bytes) -> None:
        assign(self, "payload", payload)


class Close(Record):
    """The peer's close frame (RFC 6455 5.5.1); the last event.

    Attributes:
        code: The close code; 1005 for an empty close frame.
        reason: The close reason.
    """

    __slots__ = __match_args__ = ("code", "reason")

    code: int
    reason: str

    def __init__(self, code: int, reason: str) -> None:
        assign(self, "code", code)
        assign(self, "reason", reason)

    def __str__(self) -> str:
        """Return the code, its name and the reason: "1001 (going away) bye"."""
        return f"{int(self.code)} ({close_code_name(self.code)}) {self.reason}".rstrip()


class Failure(Record):
    """The connection failed (RFC 6455 7.1.7); the last event.

    Attributes:
        code: The close code for the violation, or 1006 if the connection ended without a close
            frame.
        reason: A description of the violation.
        offset: The number of bytes of the stream before the offending one.
    """

    __slots__ = __match_args__ = ("code", "reason", "offset")

    code: int
    reason: str
    offset: int

    def __init__(self, code: int, reason: str, offset: int) -> None:
        assign(self, "code", code)
        assign(self, "reason", reason)
        assign(self, "offset", offset)


Event: TypeAlias = str | bytes | Text | Fragment | Ping | Pong | Close | Failure
