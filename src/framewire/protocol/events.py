"""The events of a stream: a text message is a `str`, a binary message is `bytes`, the others are classes."""

from __future__ import annotations

from typing import TypeAlias

from .record import Record, assign

__all__ = ["Close", "Event", "Failure", "Fragment", "Ping", "Pong", "Text"]


class Text(Record):
    """A whole text message as the bytes of its UTF-8, already validated (with `text_as_bytes=True`)."""

    __slots__ = __match_args__ = ("payload",)

    payload: bytes

    def __init__(self, payload: bytes) -> None:
        assign(self, "payload", payload)


class Fragment(Record):
    """The data of one frame of a fragmented message (with `fragments=True`; RFC 6455 5.4).

    Text pieces hold whole code points only: 1 to 3 bytes of an unfinished one wait for the next
    fragment, so a piece may be empty. `first` and `last` mark the ends of the message.
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
    """A ping (5.5.2) of 0 to 125 bytes; delivered also when it is answered automatically."""

    __slots__ = __match_args__ = ("payload",)

    payload: bytes

    def __init__(self, payload: bytes) -> None:
        assign(self, "payload", payload)


class Pong(Record):
    """A pong (5.5.3) of 0 to 125 bytes, whether it answers a ping or not."""

    __slots__ = __match_args__ = ("payload",)

    payload: bytes

    def __init__(self, payload: bytes) -> None:
        assign(self, "payload", payload)


class Close(Record):
    """The peer's close frame (5.5.1). An empty one has code 1005 and no reason. Nothing follows it."""

    __slots__ = __match_args__ = ("code", "reason")

    code: int
    reason: str

    def __init__(self, code: int, reason: str) -> None:
        assign(self, "code", code)
        assign(self, "reason", reason)


class Failure(Record):
    """The connection failed (7.1.7): the peer broke a rule, or went without a close (1006). The last event.

    `code` is the close code that says why, `offset` the number of bytes of the stream before the
    offending one.
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
