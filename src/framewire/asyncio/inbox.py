"""Calls to event loops of other threads: `post`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

__all__ = ["post"]


class Inbox:
    """The calls that one event loop has to make for other threads, in their order.

    However many come before its next turn, it is woken once. A signal handler, which interrupts any of
    these lines, may call `put` too.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._calls: list[Callable[[], object]] = []

    def put(self, loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
        """Add a call, and wake the event loop for the first one."""
        with self._lock:
            first = not self._calls
            self._calls.append(call)
        if first:
            with suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(self._make_calls)

    def _make_calls(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, []
        for call in calls:
            try:
                call()
            except Exception as error:
                context = {"message": "a call from another thread has failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)


_inboxes: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Inbox]] = WeakKeyDictionary()
_lock: Final = threading.RLock()


def post(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: Any) -> None:
    """Call a function in the event loop of another thread, soon.

    Calls of one thread keep their order. If the loop is closed, nothing is called.
    """
    if loop.is_closed():
        return
    inbox = _inboxes.get(loop)
    if inbox is None:
        with _lock:
            inbox = _inboxes.setdefault(loop, Inbox())
    inbox.put(loop, partial(function, *arguments))
