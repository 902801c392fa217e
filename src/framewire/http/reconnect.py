"""Reconnecting: which errors of an attempt are temporary, and how long to wait (RFC 6455 7.2.3)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from ..errors import ResponseError, StatusError

__all__ = ["MIN_DURATION", "Reconnection", "backoff", "process_exception"]

#: A connection that the peer ends earlier than this, in seconds, counts as a failed attempt.
MIN_DURATION: Final = 1.0

#: The longest delay that a server can ask for with Retry-After, in seconds.
MAX_RETRY_AFTER: Final = 3600.0


def _number(name: str, default: float) -> float:
    """Return a default of `backoff`; the environment can set it, with the variables of
    websockets.

    Raises:
        ValueError: The variable is not a number, or negative.
    """
    text = os.environ.get(f"WEBSOCKETS_BACKOFF_{name}", str(default))
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= 0:
        raise ValueError(f"WEBSOCKETS_BACKOFF_{name} is a number of 0 or more, not {text!r}")
    return number


_INITIAL_DELAY: Final = _number("INITIAL_DELAY", 5)
_MIN_DELAY: Final = _number("MIN_DELAY", 3.1)
_MAX_DELAY: Final = _number("MAX_DELAY", 90.0)
_FACTOR: Final = _number("FACTOR", 1.618)


def process_exception(error: Exception) -> Exception | None:
    """Decide whether another attempt to connect may succeed.

    Returns:
        None if it may: after an error of the network, a timeout, an incomplete response, and status
        500, 502, 503 or 504. Otherwise the error.
    """
    temporary = (
        isinstance(error, OSError)
        or (isinstance(error, ResponseError) and isinstance(error.__cause__, EOFError))
        or (isinstance(error, StatusError) and error.status in (500, 502, 503, 504))
    )
    return None if temporary else error


def backoff(
    initial_delay: float = _INITIAL_DELAY,
    min_delay: float = _MIN_DELAY,
    max_delay: float = _MAX_DELAY,
    factor: float = _FACTOR,
) -> Generator[float, None, None]:
    """Yield the delays between attempts, in seconds, without end.

    The variables `WEBSOCKETS_BACKOFF_INITIAL_DELAY`, `_MIN_DELAY`, `_MAX_DELAY` and `_FACTOR` of
    the environment set the defaults, as for websockets.

    Args:
        initial_delay: The first delay is a random one of up to so many seconds (7.2.3).
        min_delay: The second delay.
        max_delay: The longest delay.
        factor: By how much a delay is longer than the one before.
    """
    from random import random  # slow to import, and only clients that reconnect need it

    yield random() * initial_delay
    delay = min_delay
    while True:
        yield min(delay, max_delay)
        delay = min(delay * factor, max_delay)


class Reconnection:
    """The delays between the attempts and connections of one client.

    Args:
        process_exception: Decides about the exceptions of attempts; see the function of that name.
        delays: Returns the delays between attempts, in seconds; called again after each success.
            When they are used up, there is no further attempt.
        logger: Where delays are logged at INFO.
        once: Whether there is only one attempt, as a socket or stream of the caller serves for it.
    """

    def __init__(
        self,
        process_exception: Callable[[Exception], Exception | None],
        delays: Callable[[], Iterator[float]],
        logger: logging.Logger | logging.LoggerAdapter[Any],
        once: bool = False,
    ) -> None:
        self._once = once
        self._process_exception = process_exception
        self._make_delays = delays
        self._logger = logger
        self._delays: Iterator[float] | None = None

    def failed(self, error: Exception) -> float:
        """Return the delay after an attempt that failed, in seconds.

        A Retry-After of the server (RFC 9110 10.2.3) makes it longer, up to an hour.

        Raises:
            Exception: Another attempt is of no use, or the delays are used up.
        """
        verdict = error if self._once else self._process_exception(error)
        if verdict is error:
            raise error
        if verdict is not None:
            raise verdict from error
        own = self._next()
        if own is None:
            raise error
        delay = max(own, _retry_after(error))
        self._logger.info("connect failed; reconnecting in %.1f seconds: %r", delay, error)
        return delay

    def ended(self, seconds: float, by_peer: bool) -> float | None:
        """Return the delay after a connection, in seconds; None if there is no further attempt.

        Args:
            seconds: How long the connection was open.
            by_peer: Whether the peer has ended it. A server that accepts each connection and ends
                it at once must not be asked again without a delay.
        """
        if self._once:
            return None
        if not by_peer or seconds >= MIN_DURATION:
            self._delays = None
            return 0.0
        delay = self._next()
        if delay is not None:
            self._logger.info("connection closed at once; reconnecting in %.1f seconds", delay)
        return delay

    def _next(self) -> float | None:
        if self._delays is None:
            self._delays = self._make_delays()
        return next(self._delays, None)


def _retry_after(error: Exception) -> float:
    """Return the delay that a response asks for, in seconds; 0 for none."""
    response: Any = error.response if isinstance(error, StatusError) else None
    value = "" if response is None else response.headers.get_joined("Retry-After").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:10]), MAX_RETRY_AFTER)
    if not value:
        return 0.0
    from datetime import datetime, timezone
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return min(max(0.0, (date - datetime.now(timezone.utc)).total_seconds()), MAX_RETRY_AFTER)
