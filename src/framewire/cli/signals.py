"""Ctrl-C and SIGTERM, as something to wait for."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

__all__ = ["stop_requested"]


async def stop_requested(*numbers: signal.Signals) -> None:
    """Waits for one of the signals; of SIGINT and SIGTERM if none are named. Another one, later, has its usual effect.

    Where the event loop does not handle signals (Windows), Ctrl-C cancels the task of `asyncio.run` instead,
    and so this call.
    """
    loop = asyncio.get_running_loop()
    requested = asyncio.Event()
    handled = []
    with suppress(NotImplementedError):  # on Windows: see above
        for number in numbers or (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, requested.set)
            handled.append(number)
    try:
        await requested.wait()
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
