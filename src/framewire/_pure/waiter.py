"""`ReceiveWaiter`: what a task of asyncio awaits while it waits for a message."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, NoReturn


class ReceiveWaiter:
    """Awaited by the one task that waits for a message of a connection.

    It stands in for an `asyncio.Future` without a result, whose private interface for tasks it has.
    One object serves all waits of a connection, one after another, and `wake_now` runs the task
    inside the callback that has received the message, instead of in the next turn of the event
    loop: a turn costs as much as the rest of the way of a short message.

    `waiting` is true from `await` until the task is woken or cancelled.

    Args:
        loop: The event loop of the task.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop", "waiting")

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._callback: Callable[[Any], object] | None = None
        self._context: Context | None = None
        self._cancelled: tuple[Any, ...] | None = None  # the arguments of the CancelledError
        self.waiting = False

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def __await__(self) -> Generator[Any, None, None]:
        self.waiting = True
        self._cancelled = None
        return self  # type: ignore[return-value]  # an iterator is enough

    def __iter__(self) -> ReceiveWaiter:
        return self

    def __next__(self) -> ReceiveWaiter:
        if not self.waiting:
            raise StopIteration
        self._asyncio_future_blocking = True
        return self

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Take the callback of the task that waits."""
        self._callback = callback
        self._context = context

    def result(self) -> None:
        """Return None, or raise the CancelledError of the task that waits."""
        if self._cancelled is not None:
            from asyncio import CancelledError  # not at import: the engine is used without asyncio too

            raise CancelledError(*self._cancelled)

    def cancel(self, msg: object = None) -> bool:
        """Cancel the wait; return False if it is over."""
        if not self.waiting:
            return False
        self._cancelled = () if msg is None else (msg,)
        self.wake()
        return True

    def wake(self) -> None:
        """Run the task that waits in the next turn of the event loop."""
        if self.waiting:
            self.waiting = False
            callback, self._callback = self._callback, None
            self._loop.call_soon(callback, self, context=self._context)

    def wake_now(self) -> None:
        """Run the task that waits, until it waits again. No task may be running."""
        if self.waiting:
            self.waiting = False
            callback, self._callback = self._callback, None
            self._context.run(callback, self)  # type: ignore[union-attr, arg-type]
