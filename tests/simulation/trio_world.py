"""A server and a client on trio, in virtual time; an end may be a scripted peer. End 0 is the client.

trio runs the tasks that are ready in an order that it draws at random, here from the seed. A
cancellation comes at a time, or at a step of some task: between any two awaits.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any
from unittest import mock

import trio

import framewire.trio
from framewire import ConnectionClosed, State
from framewire.errors import FramewireError, PayloadTooBigError

from .network import SimulatedSocket
from .programs import End, check, check_exception, logger, sender_of
from .schedule import CheckError, Schedule
from .scripted_peer import ScriptedPeer
from .trio_network import SimulatedListener, SimulatedStream, TrioNetwork
from .worlds import World

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

__all__ = ["TrioWorld"]

#: Steps of all tasks in one run at most: more are a loop that waits for nothing.
MAX_STEPS = 400_000


class TrioEnd(End):
    """The program of one end: one task that receives, and tasks that send."""

    world: TrioWorld

    def __init__(self, world: TrioWorld, number: int, options: dict[str, Any]) -> None:
        super().__init__(world, number, options)
        #: Cancels the whole program.
        self.scope = trio.CancelScope()
        #: Cancel what each task does now; it goes on with something else.
        self.operations: dict[int, trio.CancelScope] = {}

    def cancel(self, number: int) -> None:
        """Cancel what one of the tasks does now."""
        if self.operations:
            sorted(self.operations.items())[number % len(self.operations)][1].cancel()

    async def application(self, connection: Any) -> None:
        """Do the steps, receive, and close at the end; like the program of a user."""
        self.begin(connection)
        leaves = self.options["leaves"]
        with trio.move_on_after(inf if leaves is None else leaves):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive, connection)
                for sender in self.senders:
                    nursery.start_soon(self._send_all, connection, sender)
        self.left_at = self.world.network.now
        self.operations.clear()

    async def _receive(self, connection: Any) -> None:
        """Receive until the end."""
        if self.options["receiver"] == "absent":
            self.gave_up = True
            return
        going_on = True
        try:
            while going_on:
                with trio.CancelScope() as self.operations[-1]:
                    going_on = await self._receive_some(connection)
                if going_on and self.operations[-1].cancelled_caught and self.session.queue.streaming:
                    self.gave_up = True  # the rest of the message is lost with the iterator
                    return
        except ConnectionClosed as error:
            check_exception(error)

    async def _receive_some(self, connection: Any) -> bool:
        """Receive in the way of this end; return whether there may be more."""
        how, pause = self.options["receiver"], self.options["pause"]
        if how == "iterate" and not pause:
            async for message in connection:
                self.take(message)
            return False
        if how == "stream":
            pieces = [piece async for piece in connection.recv_streaming()]
            self.take(type(pieces[0])().join(pieces))
        elif how == "poll":
            with trio.move_on_after(0.02):
                self.take(await connection.recv())
        else:
            self.take(await connection.recv())
        if pause and connection.state is State.OPEN:
            await trio.sleep(pause)
        return True

    async def _send_all(self, connection: Any, sender: int) -> None:
        """Do the steps of one task, each at its time or later."""
        for when, _, name, arguments in [step for step in self.all_steps if sender_of(step) == sender]:
            with trio.move_on_at(when):
                await connection.wait_closed()
                return
            try:
                with trio.CancelScope() as self.operations[sender]:
                    await self._do(connection, name, arguments)
            except ConnectionClosed as error:
                check_exception(error)
                return
            except PayloadTooBigError:
                pass
            finally:
                self.operations.pop(sender, None)
            self.check_bounds()

    async def _do(self, connection: Any, name: str, arguments: Any) -> None:
        if name == "send":
            sender, size, text, compress = arguments
            message = self.make(sender, size, text)
            await connection.send(message, compress=compress)
            self.note_sent(sender, message)
        elif name == "parts":
            sender, sizes, text, gap = arguments
            message = self.make(sender, sum(sizes), text)
            await connection.send(self._parts(message, sizes, gap))
            self.note_sent(sender, message)
        elif name == "broadcast":
            sender, size, text = arguments
            message, before = self.make(sender, size, text), connection.messages_sent
            # Other tasks send meanwhile, so that the count alone does not tell that it was left out.
            with suppress(ExceptionGroup):
                await framewire.trio.broadcast([connection], message, raise_exceptions=True)
                if connection.messages_sent != before:
                    self.note_sent(sender, message)
        elif name == "ping":
            self.pings.append(await connection.ping(ack_on_close=True))
            if arguments:
                await self.pings[-1].wait()
        elif name == "pong":
            await connection.pong()
        elif name == "close":
            await self._close(connection, arguments)

    async def _close(self, connection: Any, arguments: Any) -> None:
        begin = self.world.network.now
        self.note_close(*arguments)
        try:
            await connection.aclose(*arguments)
        except trio.Cancelled:
            self.world.prompt = False  # it has aborted the connection
            raise
        self.world.check_deadline(self, begin)

    async def _parts(self, message: Any, sizes: tuple[int, ...], gap: float) -> AsyncIterator[Any]:
        start = 0
        for size in (*sizes[:-1], len(message)):
            yield message[start : start + size]
            start += size
            await trio.sleep(gap)


class _Steps(trio.abc.Instrument):
    """Counts the steps of all tasks, and cancels at some."""

    def __init__(self, give_up: Callable[[], object]) -> None:
        self.give_up = give_up
        self.count = 0
        self.armed: list[tuple[int, TrioEnd, int]] = []  # at which step what is cancelled
        self.ends: list[TrioEnd] = []

    def before_io_wait(self, timeout: float) -> None:
        with suppress(CheckError):  # `look` keeps it
            for end in self.ends:
                end.look()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1
        if self.count == MAX_STEPS:
            self.give_up()
        for each in [each for each in self.armed if each[0] <= self.count]:
            self.armed.remove(each)
            each[1].cancel(each[2])


class TrioWorld(World):
    """A client and a server in one `trio.run`."""

    make_network = TrioNetwork
    make_end = TrioEnd
    network: TrioNetwork
    ends: list[TrioEnd]

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule)
        self.steps = _Steps(self._give_up)
        self.steps.ends = self.ends
        self.programs: trio.Nursery

    def run_programs(self) -> None:
        scheduler = trio._core._run  # type: ignore[attr-defined]
        scheduler._r.seed(self.schedule.seed)
        with mock.patch.object(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True):
            try:
                trio.run(self._main, clock=self.network.clock, instruments=[self.steps])
            except BaseExceptionGroup as group:
                error: BaseException = group
                while isinstance(error, BaseExceptionGroup):
                    error = error.exceptions[0]
                raise error from group

    async def _main(self) -> None:
        client, server = self.ends
        client.socket, server.socket = self.network.pair()
        listening = SimulatedSocket(self.network)
        async with trio.open_nursery() as world:
            world.start_soon(self.network.run)
            async with trio.open_nursery() as self.programs:
                if server.options["api"] == "scripted":
                    ScriptedPeer(self.network, server, server.socket)
                else:
                    self.network.at(self.network.delay(), listening.come, server.socket)
                    options = {"logger": logger, "compression": self.compression, **server.settings}
                    serve = partial(framewire.trio.serve, self._handle, listeners=[SimulatedListener(listening)])
                    self.server = await self.programs.start(partial(serve, **options))
                await self._connect(client)
                if self.server is not None:
                    begin = self.network.now
                    await self.server.aclose()
                    self.check_deadline(server, begin)
            world.cancel_scope.cancel()

    async def _connect(self, end: TrioEnd) -> None:
        """The program of the client."""
        begin = self.network.now
        assert end.socket is not None
        if end.options["api"] == "scripted":
            lost = trio.Event()
            ScriptedPeer(self.network, end, end.socket, lost.set)
            await lost.wait()
            return
        options = {"logger": logger, "compression": self.compression, "proxy": None, **end.settings}
        stream = SimulatedStream(end.socket)
        opened = False
        with end.scope:
            try:
                async with framewire.trio.connect("ws://simulated/", stream=stream, **options) as connection:
                    opened = True
                    await end.application(connection)
            except (OSError, FramewireError) as error:
                check(not opened, "end of the client", repr(error))
                self.check_opening(end, begin, error)
                return
            check(connection.state is State.CLOSED, "end of the client")
        end.ended_at = self.network.now

    async def _handle(self, connection: Any) -> None:
        """The program of the server."""
        with self.ends[1].scope:
            await self.ends[1].application(connection)

    def _give_up(self) -> None:
        with suppress(CheckError):  # it is kept
            check(False, "hang", f"tasks go round in circles: {self.list_running()}")
        self.programs.cancel_scope.cancel()

    # Faults.

    def start_closing(self, connection: Any) -> None:
        connection.start_closing()

    def _cancel(self, what: tuple[TrioEnd, int]) -> None:
        """Cancel what a task does now."""
        what[0].cancel(what[1])

    def _cancel_step(self, what: tuple[TrioEnd, tuple[int, int]]) -> None:
        """Cancel what a task does after so many steps of all tasks."""
        end, (steps, number) = what
        self.steps.armed.append((self.steps.count + steps, end, number))

    def _cancel_main(self, what: tuple[TrioEnd, Any]) -> None:
        """Cancel the client, or the server's handler."""
        self.prompt = False
        what[0].scope.cancel()

    def _close_server(self, what: tuple[TrioEnd, Any]) -> None:
        if self.server is not None:
            self.programs.start_soon(self.server.aclose)

    # What holds in between, and at the end.

    def check_idle(self) -> None:
        for end in self.ends:
            session = end.session
            if session is None or session.state is not State.OPEN or end.connection.stream.socket.closed:
                continue
            driver = end.connection._driver
            if session.close_state.cause is None:  # else the connection is broken
                check(not (driver._writer and session.output), "idle", "output is not written")
            check(not (driver._reader and session.reading), "idle", "reading is not as the session asks for")
            turns = driver.turns
            waiting = turns._line and not (turns.in_parts or session.write_paused)
            check(not waiting, "idle", "a sender waits, though there is room")
            if driver.arrivals:
                whole = [each for each in session.queue.items if type(each) is str or type(each) is bytes]
                check(not whole, "idle", "a receiver waits, though there is a message")
                check(session.stream.failing is None, "idle", "a receiver waits, though the connection has failed")

    def list_running(self) -> list[str]:
        return [task.name for task in self.programs.child_tasks]

    def is_answered(self, ping: Any) -> bool:
        done: bool = ping.is_set()
        return done
