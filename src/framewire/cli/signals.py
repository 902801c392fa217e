"""SIGINT (Ctrl-C) and SIGTERM in an event loop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["run", "wait_for_signal"]

Result = TypeVar("Result")

if sys.version_info >= (3, 11):
    run = asyncio.run
else:

    def run(main: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine as `asyncio.run`; Ctrl-C cancels it and is raised at its end, as since Python
        3.11.
        """
        return asyncio.run(_cancel_at_interrupt(main))

    async def _cancel_at_interrupt(main: Coroutine[Any, Any, Result]) -> Result:
        task, interrupted = asyncio.ensure_future(main), asyncio.Event()

        def interrupt() -> None:
            interrupted.set()
            task.cancel()

        with suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
        try:
            return await task
        except asyncio.CancelledError:
            if interrupted.is_set():
                raise KeyboardInterrupt from None
            raise


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
