"""What one connection may take, on asyncio and with threads: times in seconds (None: no limit), sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import Final

from ..protocol.receiver import TextErrors

__all__ = ["LINGER", "QUEUE_SIZE", "REFUSED", "REPLIES_LIMIT", "BaseLimits"]

#: Messages in the queue may hold this many bytes or characters; one message may exceed it alone.
QUEUE_SIZE: Final = 1 << 20

#: Automatic replies in bytes that a peer which does not read them may cause before it is not read either.
REPLIES_LIMIT: Final = 1 << 16

#: As many connections are refused at a time as may be connected, but at least so many; beyond, they are just cut.
REFUSED: Final = 16

#: How long a connection over `max_connections` may take to read its 503 before it is cut, in seconds.
LINGER: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLimits:
    """The limits that all connections of one `serve` or `connect` share; the names are those of its arguments."""

    open_timeout: float | None = 10
    ping_interval: float | None = 20
    ping_timeout: float | None = 20
    close_timeout: float | None = 10
    idle_timeout: float | None = None
    total_timeout: float | None = None
    fragment_size: int | None = None
    piece_size: int | None = None
    max_send_size: int | None = None
    text_errors: TextErrors = "strict"

    def __post_init__(self) -> None:
        for size in (self.fragment_size, self.piece_size):
            if size is not None and index(size) < 1:
                raise ValueError("fragments and pieces have at least 1 byte")

    def overdue(self, age: float, idle: float) -> str | None:
        """Why a connection of that age, whose last message is `idle` seconds ago, has to end; None if it need not."""
        if self.total_timeout is not None and age >= self.total_timeout:
            return "the time for this connection is over"
        if self.idle_timeout is not None and idle >= self.idle_timeout:
            return "no messages for too long"
        return None
