"""A server and a client on asyncio, in virtual time: each end is a coroutine API or a listener, or a
scripted peer. End 0 is the client.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import framewire.asyncio
from framewire import ConnectionClosed, State, _backend
from framewire.asyncio.compat import timeout
from framewire.asyncio.transport_writer import write_buffer_size
from framewire.errors import FramewireError, PayloadTooBigError

from .network import Network, SimulatedSocket
from .programs import End, Message, check, check_exception, logger, sender_of
from .schedule import Schedule
from .scripted_peer import ScriptedPeer
from .virtual_loop import VirtualLoop
from .worlds import World

__all__ = ["AsyncioWorld"]

#: With Ed25519, for which every handshake has the same length: how a seed runs depends on lengths.
CERTIFICATE = Path(__file__).parents[1] / "tls" / "ed25519.pem"


@cache
def _tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the TLS contexts of the client and of the server."""
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.load_verify_locations(CERTIFICATE)
    server.load_cert_chain(CERTIFICATE)
    client.check_hostname = False
    server.num_tickets = 0  # their length varies
    return client, server


class AsyncioEnd(End):
    """The program of one end: tasks with the coroutine API, or a listener."""

    world: AsyncioWorld

    def __init__(self, world: AsyncioWorld, number: int, options: dict[str, Any]) -> None:
        super().__init__(world, number, options)
        self.tasks: list[asyncio.Task[Any]] = []
        self.gone: Any = None  # a task that is done once the connection has ended

    @property
    def waiting(self) -> int:
        return write_buffer_size(self.connection.transport)

    @property
    def look_interval(self) -> float:
        limits = self.limits
        times = [limits.ping_interval, limits.idle_timeout, limits.total_timeout]
        if limits.ping_interval is not None:
            times.append(limits.ping_timeout)
        return min([1.0, *(time / 8 + 0.01 for time in times if time is not None)])

    def begin(self, connection: Any) -> None:
        super().begin(connection)
        self.gone = asyncio.ensure_future(connection.wait_closed())

    async def wait(self, when: float) -> bool:
        """Wait until a time; return False if the connection has ended by then."""
        network = self.world.network
        while network.now < when and not self.gone.done():
            await asyncio.wait([self.gone], timeout=when - network.now)
        return not self.gone.done()

    # The coroutine API.

    async def application(self, connection: Any) -> None:
        """Do the steps, receive, and close at the end; like the program of a user."""
        self.begin(connection)
        work = [self._receive(connection), *(self._send_all(connection, sender) for sender in self.senders)]
        self.tasks += [asyncio.ensure_future(each) for each in work]
        try:
            await asyncio.wait(self.tasks, timeout=self.options["leaves"])
        finally:
            self.left_at = self.world.network.now
            self.gave_up |= self.tasks[0].cancelled()  # before its first step
            for task in self.tasks:
                task.cancel()

    async def _receive(self, connection: Any) -> None:
        """Receive until the end; a cancellation is like one of a user who goes on later."""
        how, pause = self.options["receiver"], self.options["pause"]
        if how == "absent":
            self.gave_up = True
            return
        while True:
            try:
                if how == "iterate" and not pause:
                    async for message in connection:
                        self.take(message)
                    return
                if how == "stream":
                    await self._receive_pieces(connection)
                elif how == "poll":
                    async with timeout(0.02):
                        self.take(await connection.recv())
                else:
                    self.take(await connection.recv())
                if pause and connection.state is State.OPEN:
                    await asyncio.sleep(pause)
            except asyncio.CancelledError:
                if self.ended_at is not None or self.world.ended:
                    raise
                if connection._queue.streaming:  # the rest of the message is lost with the iterator
                    self.gave_up = True
                    return
            except (asyncio.TimeoutError, TimeoutError):
                check(how == "poll", "a timeout that nobody set")
            except ConnectionClosed as error:
                check_exception(error)
                return

    async def _receive_pieces(self, connection: Any) -> None:
        pieces: list[Any] = []
        async for piece in connection.recv_streaming():
            pieces.append(piece)
        self.take(type(pieces[0])().join(pieces))

    async def _send_all(self, connection: Any, sender: int) -> None:
        """Do the steps of one task, each at its time or later."""
        for when, _, name, arguments in [step for step in self.all_steps if sender_of(step) == sender]:
            try:
                if not await self.wait(when):
                    return
                await self._do(connection, name, arguments)
            except ConnectionClosed as error:
                check_exception(error)
                return
            except asyncio.CancelledError:
                if self.ended_at is not None or self.world.ended:
                    raise
            except PayloadTooBigError:
                pass
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
            framewire.asyncio.broadcast([connection], message)
            if connection.messages_sent != before:
                self.note_sent(sender, message)
        elif name == "ping":
            self.pings.append(await connection.ping())
            if arguments:
                await self.pings[-1]
        elif name == "pong":
            await connection.pong()
        elif name == "close":
            begin = self.world.network.now
            self.note_close(*arguments)
            await connection.close(*arguments)
            self.world.check_deadline(self, begin)

    async def _parts(self, message: Any, sizes: tuple[int, ...], gap: float) -> AsyncIterator[Any]:
        start = 0
        for size in (*sizes[:-1], len(message)):
            yield message[start : start + size]
            start += size
            await asyncio.sleep(gap)

    # The listener.

    async def listen(self, connection: Any) -> None:
        """Do the steps of a listener: in the callbacks of the loop, without waiting."""
        for when, _, name, arguments in self.all_steps:
            if not await self.wait(when):
                return
            if name in ("send", "parts", "broadcast"):
                sender, size, text = arguments[:3]
                size = size if isinstance(size, int) else sum(size)
                while self.options["patient"] and connection.full and connection.state is State.OPEN:
                    await asyncio.sleep(0.01)
                self.listener_send(connection, sender, size, text)
            elif name == "ping" and connection.state is State.OPEN:
                self.pings.append(connection.ping())
            elif name == "close":
                self.note_close(*arguments)
                connection.close(*arguments)
            if connection.state is State.OPEN:
                self.check_bounds()

    def listener_send(self, connection: Any, sender: int, size: int, text: bool) -> None:
        message, session, waiting = self.make(sender, size, text), self.session, self.waiting
        limit = self.limits.max_unsent
        over = session.write_paused and session.state is State.OPEN and limit is not None and waiting > limit
        try:
            sent = connection.send(message)
        except PayloadTooBigError:
            return
        if over:
            check(not sent and connection.transport.is_closing(), "max_unsent", f"{waiting} bytes waited, not {limit}")
        if sent:
            self.note_sent(sender, message)


class _Listener(framewire.asyncio.Listener):
    """The listener of one end."""

    def __init__(self, end: AsyncioEnd) -> None:
        self.end = end

    def on_open(self, connection: Any) -> None:
        end = self.end
        end.opened += 1
        check(end.opened == 1, "on_open is called once")
        end.begin(connection)
        end.tasks.append(asyncio.ensure_future(end.listen(connection)))

    def on_message(self, connection: Any, message: str | bytes) -> None:
        end = self.end
        check(not end.closed, "on_message after on_close")
        end.take(message)
        if end.options["replies"] and Message.sender(message) != 9:
            end.listener_send(connection, 9, 20, isinstance(message, str))

    def on_close(self, connection: Any, code: int, reason: str) -> None:
        self.end.closed += 1
        check(self.end.opened == self.end.closed == 1, "on_close is called once")


class AsyncioWorld(World):
    """A client and a server on one event loop."""

    watched = ("asyncio",)
    make_end = AsyncioEnd
    network: Network
    ends: list[AsyncioEnd]

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule)
        direct = bool(schedule.options.get("direct")) and _backend.active.name == "pure"
        self.loop = VirtualLoop(self.network, direct)
        self.main: asyncio.Task[Any] | None = None
        self._tls = _tls_contexts() if schedule.options.get("tls") else (None, None)

    def run_programs(self) -> None:
        loop = self.loop
        loop.set_exception_handler(self._note_error)
        try:
            with _descriptors(self.network):
                loop.run_until_complete(self._main())
                self.ended = True
                loop.run_until_complete(loop.shutdown_asyncgens())
            # A TLS transport of asyncio leaves the timer of a handshake that was cut.
            pending = [handle for handle in loop._scheduled if not handle._cancelled]
            left = [handle for handle in pending if getattr(handle._callback, "__module__", "") != "asyncio.sslproto"]
            check(not left, "timers are left", repr(left))
            check(not self.list_running(), "tasks are left", repr(self.list_running()))
        finally:
            self.ended = True
            for _ in range(100):
                tasks = asyncio.all_tasks(loop)
                if not tasks:
                    break
                for task in tasks:
                    task.cancel()
                loop.call_soon(loop.stop)
                loop.run_forever()
            loop._scheduled.clear()
            loop.close()

    def is_known(self, error: BaseException) -> bool:
        # asyncio does not close the transport of a client that it accepts as the server closes. With
        # TLS its warning does not tell which one it is.
        unused = [f"fd={number}>" for number, sock in self.network.sockets.items() if not sock.used]
        accepted = self.ends[1].socket
        if accepted is not None and not accepted.used:
            unused.append("_SSLProtocolTransport object")
        return isinstance(error, ResourceWarning) and any(text in str(error) for text in unused)

    def forget(self) -> None:
        for end in self.ends:
            end.tasks, end.pings, end.gone = [], [], None
        self.main = None

    def _note_error(self, loop: object, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')} {context.get('exception')!r}")

    async def _main(self) -> None:
        client, server = self.ends
        listening = SimulatedSocket(self.network)
        client.socket, accepted = self.network.pair()
        server.socket = accepted
        if server.options["api"] == "scripted":
            ScriptedPeer(self.network, server, accepted)
        else:
            self.network.at(self.network.delay(), listening.come, accepted)
            handler: Any = _Listener(server) if server.options["api"] == "listener" else server.application
            self.server = await framewire.asyncio.serve(
                handler,
                sock=listening,
                logger=logger,
                compression=self.compression,
                ssl=self._tls[1],
                **server.settings,
            )
        self.main = asyncio.ensure_future(self._connect(client))
        await asyncio.wait([self.main])
        if not self.main.cancelled():
            self.main.result()
        if self.server is not None:
            begin = self.network.now
            self.server.close()
            await self.server.wait_closed()
            self.check_deadline(server, begin)
        pending = [task for end in self.ends for task in (*end.tasks, end.gone) if task and not task.done()]
        if pending:
            await asyncio.wait(pending)
        for task in (task for end in self.ends for task in end.tasks):
            if not task.cancelled():
                task.result()
        # A client that was accepted as the server closed is turned away, and shared timers end within a second.
        await asyncio.sleep(1.5)
        # asyncio goes on with TLS handshakes that had begun, until its own timeout.
        names = {task: task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
        if handshakes := [task for task, name in names.items() if name.endswith("._accept_connection2")]:
            await asyncio.wait(handshakes)

    async def _connect(self, end: AsyncioEnd) -> None:
        """The program of the client."""
        begin = self.network.now
        if end.options["api"] == "scripted":
            lost = self.loop.create_future()
            ScriptedPeer(self.network, end, end.socket, lambda: lost.done() or lost.set_result(None))
            await lost
            return
        options = {**end.settings, "logger": logger, "compression": self.compression, "ssl": self._tls[0]}
        if end.options["api"] == "listener":
            options["listener"] = _Listener(end)
        try:
            uri = "ws://simulated/" if self._tls[0] is None else "wss://simulated/"
            connection = await framewire.asyncio.connect(uri, sock=end.socket, proxy=None, **options)
        except (OSError, FramewireError, asyncio.TimeoutError) as error:
            end.socket.close()  # that of the caller, if it was not used yet
            self.check_opening(end, begin, error)
            return
        if end.options["api"] == "listener":
            try:
                await connection.wait_closed()
            finally:
                connection.close()
        else:
            try:
                async with connection:
                    await end.application(connection)
            finally:
                check(
                    connection.state is State.CLOSED or asyncio.current_task() is None or self._cancels,
                    "end of the client",
                )
        end.ended_at = self.network.now

    @property
    def _cancels(self) -> bool:
        return any(name.startswith("cancel") for _, _, name, _ in self.schedule.faults)

    # Faults.

    def _cancel(self, what: tuple[AsyncioEnd, int]) -> None:
        """Cancel a task of the program."""
        end, number = what
        tasks = [task for task in end.tasks if not task.done()]
        if tasks:
            self.loop.call_between(tasks[number % len(tasks)].cancel)

    def _cancel_main(self, what: tuple[AsyncioEnd, Any]) -> None:
        """Cancel the client, or the server's handlers."""
        self.prompt = False
        if what[0].number == 0 and self.main is not None:
            self.loop.call_between(self.main.cancel)
        elif self.server is not None:
            for task in list(self.server._home.tasks):
                self.loop.call_between(task.cancel)

    def _close_server(self, what: tuple[AsyncioEnd, Any]) -> None:
        if self.server is not None:
            self.loop.call_between(self.server.close)

    # What holds in between, and at the end.

    def check_idle(self) -> None:
        for end in self.ends:
            session = end.session
            if session is None or session.state is not State.OPEN or end.connection.transport.is_closing():
                continue
            driver = end.connection._driver
            check(not session.output, "idle", "output is not written")
            check(not (session.has_held_back and session.reading), "idle", "input is held back without a reason")
            check(session.reading is driver._reading, "idle", "reading is not as the session asks for")
            # A sender may also wait for the end of a message that is sent in parts.
            turns = driver.writer.turns
            waiting = turns._line and not (turns.in_parts or session.write_paused)
            check(not waiting, "idle", "a sender waits, though there is room")
            if driver.receiver is not None and driver.receiver.waiting:
                whole = [each for each in session.queue.items if type(each) is str or type(each) is bytes]
                check(not whole, "idle", "a receiver waits, though there is a message")
                check(session.stream.failing is None, "idle", "a receiver waits, though the connection has failed")

    def list_running(self) -> list[str]:
        return [f"{task.get_coro().__qualname__}" for task in asyncio.all_tasks(self.loop)]  # type: ignore[union-attr]

    def start_closing(self, connection: Any) -> None:
        self.loop.call_between(connection.start_closing)

    def is_answered(self, ping: Any) -> bool:
        done: bool = ping.done()
        return done


@contextmanager
def _descriptors(network: Network) -> Iterator[None]:
    """Have the pure `SocketWriter` write to the simulated sockets."""
    from framewire._pure import writer

    def write(descriptor: int, data: bytes) -> int:
        return network.sockets[descriptor].send(data)

    stand_in = SimpleNamespace(get_blocking=lambda descriptor: False, write=write)
    with mock.patch.object(writer, "os", stand_in):
        yield
