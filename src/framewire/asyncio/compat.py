"""`asyncio.timeout`, which Python 3.10 lacks.

Unlike `wait_for` before 3.12, it loses no cancellation.
"""

from __future__ import annotations

import asyncio
import sys

__all__ = ["timeout"]

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from typing import Any

    class timeout:  # noqa: N801 - the name in asyncio
        """Cancels what is inside after `delay` seconds, and makes of that an
        asyncio.TimeoutError.
        """

        def __init__(self, delay: float | None) -> None:
            self._delay = delay
            self._expired = False
            self._timer: asyncio.TimerHandle | None = None

        def expired(self) -> bool:
            """Return whether the time has passed before the end."""
            return self._expired

        async def __aenter__(self) -> timeout:
            task = asyncio.current_task()
            assert task is not None
            if self._delay is not None:
                self._timer = asyncio.get_running_loop().call_later(self._delay, self._expire, task)
            return self

        def _expire(self, task: asyncio.Task[Any]) -> None:
            self._expired = task.cancel()

        async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
            if self._timer is not None:
                self._timer.cancel()
            if self._expired and isinstance(error, asyncio.CancelledError):
                raise asyncio.TimeoutError from None
