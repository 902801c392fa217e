"""`RateLimit`, how much a peer may send in a time, and `Budget`, what is left of it for one
connection.
"""

from __future__ import annotations

import sys
from typing import Final

from ..protocol.record import Record, assign, check_switch

__all__ = ["Budget", "RateLimit"]

#: The part of the interval for which reading stops at least: a limit of bytes would otherwise be used
#: up byte by byte.
_MIN_PART: Final = 1 / 16


class RateLimit(Record):
    """How much each client of a server may send.

    A client may send `messages` and `size` at once, and as much again in every `seconds`, evenly.
    If it sends more, the server stops reading from it until that is allowed; so nothing is lost, and
    TCP makes the client wait. Its pings are not answered meanwhile: `seconds` divided by `messages`
    should be well below the time after which clients take a silent server for dead.

    Args:
        messages: Messages in `seconds`; None for no limit.
        size: Bytes of frames with their headers in `seconds`; None for no limit.
        seconds: The interval.
        close: Whether a client that sends more is disconnected with 1008 instead.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: `messages` or `size` is not 1 to `2**63 - 1`, `seconds` is not above 0, and finite,
            or there is neither `messages` nor `size`.
    """

    __slots__ = __match_args__ = ("messages", "size", "seconds", "close")

    messages: int | None
    size: int | None
    seconds: float
    close: bool

    def __init__(
        self, messages: int | None = None, size: int | None = None, seconds: float = 1.0, close: bool = False
    ) -> None:
        for name, value in (("messages", messages), ("size", size)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise TypeError(f"{name} is an integer or None, not {type(value).__name__}")
            if value is not None and not 1 <= value < 1 << 63:
                raise ValueError(f"{name} is 1 to 2**63 - 1, or None")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise TypeError(f"seconds is a number, not {type(seconds).__name__}")
        if not 0 < seconds <= sys.float_info.max:
            raise ValueError("seconds is above 0, and finite")
        check_switch("close", close)
        if messages is None and size is None:
            raise ValueError("a rate limit has messages or size, or both")
        assign(self, "messages", messages)
        assign(self, "size", size)
        assign(self, "seconds", seconds)
        assign(self, "close", close)


class Budget:
    """What a peer may still send: full at first, and filled again evenly.

    Args:
        limit: The limit.
        now: The time.
    """

    __slots__ = ("_limit", "_messages", "_promised", "_size", "_when")

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self._messages = float("inf") if limit.messages is None else float(limit.messages)
        self._size = float("inf") if limit.size is None else float(limit.size)
        self._when = now  # of both values
        self._promised = float("inf")  # the last result of `next_time`

    def fill(self, now: float) -> None:
        """Add what the peer may send since the last call."""
        limit, part = self._limit, max(0.0, now - self._when) / self._limit.seconds
        self._when = now
        if limit.messages is not None:
            self._messages = min(limit.messages, self._messages + part * limit.messages)
        if limit.size is not None:
            self._size = min(limit.size, self._size + part * limit.size)
        if now >= self._promised:  # rounding may have left less than one message or byte
            self._messages, self._size = max(1.0, self._messages), max(1.0, self._size)
        self._promised = float("inf")

    def allowed(self, most: int) -> int:
        """Return how many bytes may be received now, of `most`; 0 if no message may."""
        return 0 if self._messages < 1 else int(min(most, self._size))

    def spend(self, messages: int, size: int) -> None:
        """Take what was received."""
        self._messages -= messages
        self._size -= size

    def next_time(self) -> float:
        """Return when something may be received again, after `allowed` has returned 0."""
        limit = self._limit
        parts = [_MIN_PART]
        if limit.messages is not None:
            parts.append((1 - self._messages) / limit.messages)
        if limit.size is not None:
            parts.append((1 - self._size) / limit.size)
        self._promised = self._when + max(parts) * limit.seconds
        return self._promised
