"""The events of a stream: a text message is a `str`, a binary message is `bytes`, the others are classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Close", "Event", "Failure", "Fragment", "Ping", "Pong", "Text"]


@dataclass(frozen=True, slots=True)
class Text:
    """A whole text message as the bytes of its UTF-8, already validated (with `text_as_bytes=True`)."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Fragment:
    """The data of one frame of a fragmented message (with `fragments=True`; RFC 6455 5.4).

    Text pieces hold whole code points only: 1 to 3 bytes of an unfinished one wait for the next
    fragment, so a piece may be empty. `first` and `last` mark the ends of the message.
    """

    data: str | bytes | Text
    first: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping (5.5.2) of 0 to 125 bytes; delivered also when it is answered automatically."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """A pong (5.5.3) of 0 to 125 bytes, whether it answers a ping or not."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The peer's close frame (5.5.1). An empty one has code 1005 and no reason. Nothing follows it."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The connection failed (7.1.7): the peer broke a rule, or went without a close (1006). The last event.

    `code` is the close code that says why, `offset` the number of bytes of the stream before the
    offending one.
    """

    code: int
    reason: str
    offset: int


Event: TypeAlias = str | bytes | Text | Fragment | Ping | Pong | Close | Failure
