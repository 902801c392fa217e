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


def backoff() -> Generator[float, None, None]:
    """Yield the delays between attempts, in seconds: a random one of up to 5 (7.2.3), then 3, increasing to 60."""
    from random import random  # slow to import, and only clients that reconnect need it

    yield random() * 5
    delay = 3.0
    while True:
        yield delay
        delay = min(delay * 1.618, 60.0)
