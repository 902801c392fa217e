"""Reconnecting: which errors of an attempt are temporary, and how long to wait (RFC 6455 7.2.3)."""

from __future__ import annotations

from collections.abc import Generator

from ..errors import ResponseError, StatusError

__all__ = ["backoff", "process_exception"]


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
    initial_delay: float = 5, min_delay: float = 3, max_delay: float = 60, factor: float = 1.618
) -> Generator[float, None, None]:
    """Yield the delays between attempts, in seconds, without end.

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
