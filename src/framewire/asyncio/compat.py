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
    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def timeout(delay: float | None) -> AsyncIterator[None]:
        """Cancels what is inside after `delay` seconds, and makes of that an
        asyncio.TimeoutError.
        """
        task, expired = asyncio.current_task(), False
        assert task is not None

        def expire() -> None:
            nonlocal expired
            expired = task.cancel()

        timer = None if delay is None else asyncio.get_running_loop().call_later(delay, expire)
        try:
            yield
        except asyncio.CancelledError:
            if expired:
                raise asyncio.TimeoutError from None
            raise
        finally:
            if timer is not None:
                timer.cancel()
