"""`ServerLoop`: the part of a `Server` in one event loop, and `LoopThread`, which runs such a loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar
from socket import socket
from typing import Any, NoReturn, TypeAlias, TypeVar

from ..session.settings import ConnectionSettings
from .beginning import BeginningProtocol
from .timer import SharedTimer

__all__ = ["LoopThread", "ServerLoop"]

Result = TypeVar("Result")
Running: TypeAlias = Coroutine[Any, Any, None]

#: The coroutine of a connection; the tasks that it creates inherit it. Not its task: the context of
#: a task would refer to the task then, in a circle.
_current: ContextVar[Running | None] = ContextVar("_current", default=None)


class LoopThread:
    """An event loop of the same kind as the running one, in a thread of its own.

    KeyboardInterrupt and SystemExit in it are raised in the loop that was running.

    Args:
        name: The name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._home = asyncio.get_running_loop()
        self.loop = type(self._home)()
        self.loop.set_debug(self._home.get_debug())
        self.loop.set_task_factory(self._home.get_task_factory())
        self.loop.set_exception_handler(self._home.get_exception_handler())
        self._stopping = False
        self._ended: Future[None] = Future()
        self._ended.set_running_or_notify_cancel()  # `wait_ended` does not cancel it
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cancel what runs in the event loop, and close it; called in its thread."""
        self._stopping = True
        self.loop.stop()

    async def wait_ended(self) -> None:
        """Wait until the event loop is closed, and the thread has ended."""
        await asyncio.wrap_future(self._ended)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._stopping:
            try:
                self.loop.run_forever()
            except (KeyboardInterrupt, SystemExit) as error:
                self._home.call_soon_threadsafe(_raise, error)
        try:
            self.loop.run_until_complete(_cancel_others())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
        finally:
            self.loop.close()
            self._ended.set_result(None)


def _raise(error: BaseException) -> NoReturn:
    raise error


async def _cancel_others() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class ServerLoop:
    """The state of a `Server` in one event loop, which only the thread of that loop changes.

    Args:
        loop: The event loop.
        settings: The settings of the connections.
        thread: The thread that the server has started for the event loop.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, settings: ConnectionSettings, thread: LoopThread | None = None
    ) -> None:
        self.loop = loop
        self.thread = thread
        self.timer = SharedTimer(settings)
        #: One for each listening address.
        self.listeners: list[asyncio.Server] = []
        #: Connections that have not come to their opening handshake.
        self.beginning: set[BeginningProtocol] = set()
        #: Transports whose clients are answered 503.
        self.refused: set[asyncio.BaseTransport] = set()
        #: The coroutines of connections that have not ended, with their connection.
        self.running: dict[Running, Any] = {}
        #: The tasks of these coroutines, with the coroutine.
        self.tasks: dict[asyncio.Task[None], Running] = {}
        #: Those of the coroutines that wait in `Server.wait_closed`, once for each call.
        self.stopping: list[Running] = []
        #: The task that waits for the end of everything, after `Server.close`.
        self.finishing: asyncio.Task[None] | None = None
        #: Done when everything has ended except for the coroutines in `stopping` and their connections.
        self.others_ended: Future[None] = Future()
        self.others_ended.set_running_or_notify_cancel()  # those who wait do not cancel it
        self._changed = asyncio.Event()

    @property
    def sockets(self) -> list[socket]:
        """The listening sockets."""
        return [sock for listener in self.listeners for sock in listener.sockets]

    def call(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call a function in the event loop: now if it is the running one, otherwise soon.

        If the loop is closed, do nothing.
        """
        if self.loop is asyncio._get_running_loop():
            callback(*arguments)
        else:
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(callback, *arguments)

    def start(self, run: Running, connection: Any) -> asyncio.Task[None]:
        """Run a task of a connection.

        Args:
            run: The coroutine.
            connection: The connection, None before its opening handshake.
        """
        # All this comes before the task, as an eager one takes its first step while it is created.
        self.running[run] = connection
        token = _current.set(run)
        try:
            task: asyncio.Task[None] = self.loop.create_task(run)
        finally:
            _current.reset(token)
        self.tasks[task] = run  # the event loop itself keeps weak references only
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self.running[self.tasks.pop(task)]
        self.note_change()

    def find_own(self) -> Running | None:
        """Return the coroutine of a connection that the running task runs or descends from, if any."""
        run = _current.get()
        return run if run in self.running else None

    def note_change(self) -> None:
        """Have `wait_for_others` look again: a connection or a coroutine has ended, or is in `stopping`."""
        if self.finishing is not None:
            self._changed.set()

    async def wait_for_others(self, connections: Collection[Any]) -> None:
        """Wait for the end of all coroutines that are not in `stopping`, and of `connections` except
        for theirs.
        """
        for connection in connections:
            while not (connection._driver.transport_lost or connection in map(self.running.get, self.stopping)):
                await self._change()
        for run in list(self.running):
            while run in self.running and run not in self.stopping:
                await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the event loop, and wait for it in the running one."""
        if self.loop is asyncio.get_running_loop():
            return await coroutine
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))
