"""`ConnectionSettings`: the limits and times of one connection, the same for every driver."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import inf
from operator import index
from typing import Any, Final, get_args

from ..protocol.receiver import TextErrors
from ..protocol.record import assign, check_switch
from .rate_limit import RateLimit

__all__ = [
    "LINGER",
    "MAX_QUEUE",
    "QUEUE_SIZE",
    "REFUSED",
    "REPLIES_LIMIT",
    "ConnectionSettings",
    "check_max_connections",
]

#: Bytes or characters that queued messages may hold; one message alone may exceed it.
QUEUE_SIZE: Final = 1 << 20

#: Messages that may wait with a `max_queue` of None: empty ones have no size, but take memory too.
MAX_QUEUE: Final = 1 << 14

#: Bytes of replies (pongs, and the messages of callbacks that handle received ones) that may be sent
#: to a peer that does not read, after `write_limit`, before we stop reading from it too.
REPLIES_LIMIT: Final = 1 << 16

#: Connections above `max_connections` that are answered 503 at a time (or `max_connections` of
#: them, if that is more); any further ones are closed without an answer.
REFUSED: Final = 16

#: Seconds that a connection above `max_connections` has to read its 503.
LINGER: Final = 1.0

_TIMES: Final = (
    "open_timeout", "ping_interval", "ping_timeout", "close_timeout", "idle_timeout", "total_timeout",
)  # fmt: skip
_SWITCHES: Final = ("text_as_bytes", "send_close_reasons")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """Limits and times of a connection. Times are in seconds, sizes in bytes; None: no limit.

    Raises TypeError for a value of the wrong type and ValueError for one out of range.

    Args:
        open_timeout: Time for the whole opening handshake.
        ping_interval: Time between keepalive pings, above 0; None: no pings.
        ping_timeout: Time that the peer may be silent after a keepalive ping before the connection
            fails with 1011.
        close_timeout: Time for the closing handshake and the end of TCP; then TCP is aborted.
        idle_timeout: Time without messages after which the connection is closed with 1008.
        total_timeout: Age at which the connection is closed with 1008.
        max_size: Largest message to receive, or a pair: largest message, largest frame.
        max_queue: Messages that may wait for `recv` before reading stops, or a pair: that, and the
            number at which reading goes on (by default a quarter). None: 16384, as the memory that
            a peer can fill has a limit in any case. Reading stops too when they have more than
            1 MiB together.
        write_limit: Bytes that may wait for the network before `send` waits, or a pair: that, and
            the number at which it goes on.
        max_unsent: Bytes waiting for the network above which a further message aborts the
            connection.
        fragment_size: Longer messages are sent in fragments of this size, except for those of broadcasts
            and topics.
        piece_size: Largest piece of a message that streaming reception delivers.
        max_send_size: Largest message to send.
        text_errors: What becomes of text that is not UTF-8; see `Stream`.
        text_as_bytes: Whether text is received as `bytes`, validated but not decoded.
        send_close_reasons: Whether the close frame after a violation by the peer (1002, 1007, 1009)
            says what was wrong; False sends the code alone.
        rate_limit: How much the peer may send in a time.

    Attributes:
        sizes: The largest message and the largest frame to receive.
        queue_marks: The queue lengths above which reading stops, and at which it goes on.
        write_marks: The sizes of the write buffer above which `send` waits, and at which it goes on.
    """

    open_timeout: float | None = 10
    ping_interval: float | None = 20
    ping_timeout: float | None = 20
    close_timeout: float | None = 10
    idle_timeout: float | None = None
    total_timeout: float | None = None
    max_size: int | tuple[int | None, int | None] | None = 1 << 20
    max_queue: int | tuple[int, int | None] | None = 16
    write_limit: int | tuple[int, int | None] = 1 << 15
    max_unsent: int | None = 1 << 24
    fragment_size: int | None = None
    piece_size: int | None = None
    max_send_size: int | None = None
    text_errors: TextErrors = "strict"
    text_as_bytes: bool = False
    send_close_reasons: bool = True
    rate_limit: RateLimit | None = None
    sizes: tuple[int | None, int | None] = field(init=False, repr=False)
    queue_marks: tuple[int, int] = field(init=False, repr=False)
    write_marks: tuple[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in _TIMES:
            _check_time(name, getattr(self, name))
        if self.ping_interval == 0:  # pings without a pause
            raise ValueError("ping_interval is above 0 seconds, or None for no pings")
        assign(self, "sizes", _sizes_of(self.max_size))
        for limit in self.sizes:
            _check_size("max_size", limit, 0)
        if self.max_queue is not None:
            _check_marks("max_queue", self.max_queue)
        _check_marks("write_limit", self.write_limit)
        _check_size("max_unsent", self.max_unsent, 0)
        _check_size("fragment_size", self.fragment_size, 1)
        _check_size("piece_size", self.piece_size, 1)
        _check_size("max_send_size", self.max_send_size, 0)
        if self.text_errors not in get_args(TextErrors):
            raise ValueError(f"text_errors is one of {', '.join(get_args(TextErrors))}")
        for name in _SWITCHES:
            check_switch(name, getattr(self, name))
        if self.rate_limit is not None and not isinstance(self.rate_limit, RateLimit):
            raise TypeError(f"rate_limit is a RateLimit or None, not {type(self.rate_limit).__name__}")
        assign(self, "queue_marks", _marks_of(MAX_QUEUE if self.max_queue is None else self.max_queue))
        assign(self, "write_marks", _marks_of(self.write_limit))

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> ConnectionSettings:
        """Return the settings among the arguments of `serve` or `connect`.

        Args:
            arguments: The arguments by name; a setting that the driver lacks has its default.
        """
        return cls(**{field.name: arguments[field.name] for field in fields(cls) if field.name in arguments})

    def keeps_up(self, waiting: int, paused_size: int) -> bool:
        """Return whether a peer whose transport is full reads fast enough for a further message of a
        broadcast.

        It must take as much as is added, except for `write_limit` bytes, however long the message
        was that has filled the transport.

        Args:
            waiting: How many bytes wait for the network.
            paused_size: How many waited when the transport became full.
        """
        return waiting <= paused_size + self.write_marks[0]


def _sizes_of(max_size: int | tuple[int | None, int | None] | None) -> tuple[int | None, int | None]:
    if not isinstance(max_size, tuple):
        return max_size, None
    message, frame = _check_pair("max_size", max_size)
    return message, frame


def _marks_of(limit: int | tuple[int, int | None]) -> tuple[int, int]:
    high, low = limit if isinstance(limit, tuple) else (limit, None)
    return high, high // 4 if low is None else low


def check_max_connections(number: int | None) -> None:
    """Check how many connections a server may have at a time; None: no limit.

    Raises like `ConnectionSettings`.
    """
    _check_size("max_connections", number, 0)


def _check_time(name: str, seconds: float | None) -> None:
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} is a number of seconds or None, not {type(seconds).__name__}")
    if not (0 <= seconds <= sys.float_info.max or seconds == inf):  # an int may be too long for a float
        raise ValueError(f"{name} is 0 seconds or more, or None")


def _check_size(name: str, size: int | None, minimum: int) -> None:
    if size is None:
        return
    if isinstance(size, bool):
        raise TypeError(f"{name} is an integer or None, not bool")
    try:
        number = index(size)
    except TypeError:
        raise TypeError(f"{name} is an integer or None, not {type(size).__name__}") from None
    if not minimum <= number < 1 << 63:
        raise ValueError(f"{name} is {minimum} to 2**63 - 1, or None")


def _check_pair(name: str, pair: tuple[int | None, ...]) -> tuple[int | None, ...]:
    if len(pair) != 2:
        raise ValueError(f"{name} is a number or a pair of numbers")
    return pair


def _check_marks(name: str, marks: int | tuple[int, int | None]) -> None:
    high, low = _check_pair(name, marks) if isinstance(marks, tuple) else (marks, None)
    if high is None:
        raise TypeError(f"{name} is an integer, or a pair of them")
    _check_size(name, high, 0)
    _check_size(name, low, 0)
    if low is not None and low > high:
        raise ValueError(f"{name}: the low mark is above the high mark")
