"""Who waits: for a message to receive, or for room to send."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Waiters"]


class Waiters(deque["asyncio.Future[None]"]):
    """The tasks that wait until something has happened."""

    __slots__ = ()

    async def wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Waits for `wake`."""
        waiter: asyncio.Future[None] = loop.create_future()
        self.append(waiter)
        try:
            await waiter
        finally:
            self.remove(waiter)

    def wake(self) -> None:
        """Lets all go on."""
        for waiter in self:
            if not waiter.done():
                waiter.set_result(None)
