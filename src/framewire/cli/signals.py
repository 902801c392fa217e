"""Waiting for SIGINT (Ctrl-C) and SIGTERM in an event loop."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

__all__ = ["wait_for_signal"]


async def wait_for_signal(*numbers: signal.Signals) -> None:
    """Wait for one of the given signals.

    The default handlers are restored on return, so a later signal has its usual effect. On
    Windows the event loop cannot handle signals: there Ctrl-C cancels the main task of
    `asyncio.run`, and so this call.

    Args:
        *numbers: The signals. Default: SIGINT and SIGTERM.
    """
    loop = asyncio.get_running_loop()
    received = asyncio.Event()
    handled = []
    with suppress(NotImplementedError):  # Windows
        for number in numbers or (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, received.set)
            handled.append(number)
    try:
        await received.wait()
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
