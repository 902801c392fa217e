"""Waits for any number of seconds, `inf` included: the system takes no more than 24.8 days at a
time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, overload

__all__ = ["LONGEST_WAIT", "limit_wait", "wait_until"]

#: The longest single wait, in seconds: the caller of one looks again after it. `poll` takes less
#: than 2**31 milliseconds.
LONGEST_WAIT: Final = 86400.0


@overload
def limit_wait(seconds: float) -> float: ...
@overload
def limit_wait(seconds: float | None) -> float | None: ...
def limit_wait(seconds: float | None) -> float | None:
    """Return how long to wait at a time, if there are `seconds` left; None: no limit."""
    return None if seconds is None else min(seconds, LONGEST_WAIT)


def wait_until(changed: threading.Condition, is_true: Callable[[], bool], seconds: float | None) -> bool:
    """Wait until `is_true()`; called with the lock of `changed` held.

    Args:
        changed: Notified when the result of `is_true` may have changed.
        is_true: The condition.
        seconds: The time to wait; None: no limit.

    Returns:
        Whether it is true; False after `seconds`.
    """
    while seconds is not None and seconds > LONGEST_WAIT:
        if changed.wait_for(is_true, LONGEST_WAIT):
            return True
        seconds -= LONGEST_WAIT
    return changed.wait_for(is_true, seconds)
