"""A server and a client on asyncio, in virtual time: each end is a coroutine API or a listener, or a
scripted peer. End 0 is the client.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from math import inf
from types import SimpleNamespace
from typing import Any
from unittest import mock

import framewire.asyncio
from framewire import ConnectionClosed, ConnectionClosedOK, State, _backend
from framewire.asyncio.compat import timeout
from framewire.errors import FramewireError, PayloadTooBigError
from framewire.session.settings import LINGER, QUEUE_SIZE, REPLIES_LIMIT, ConnectionSettings

from . import schedule as schedules
from .schedule import FILLER, CheckError, Entry, Schedule
from .scripted_peer import ScriptedPeer
from .virtual_loop import Network, SimulatedSocket, VirtualLoop

__all__ = ["AsyncioWorld"]

#: When the simulated time ends, in seconds: long after every deadline of a schedule.
HORIZON = 300.0

#: When every program closes, if none has closed by then.
LAST_STEP = 25.0

#: Largest read of the driver, in bytes.
READ_SIZE = 1 << 18

#: Options of an end that are no settings of its connection, with their defaults.
END_OPTIONS = {
    "api": "coroutines",  # or "listener", or "scripted"
    "receiver": "iterate",  # or "recv", "poll", "stream", "absent"
    "pause": 0.0,  # seconds between two receptions
    "leaves": None,  # seconds after which the program is done with the connection
    "patient": True,  # a listener that looks at `full`
    "replies": False,  # a listener that answers every message
    "peer": {},  # the manners of a scripted peer
}  # fmt: skip

NETWORK_OPTIONS = {"delay": 0.001, "window": 1 << 16, "cut": 1 << 18, "lag": 0.0, "keeps_unread": False}

logger = logging.getLogger("framewire.simulation")
logger.propagate = False
logger.setLevel(logging.ERROR)


#: The first property that did not hold in this run: what is raised in a callback is logged by others.
_broken: list[CheckError] = []


def check(condition: object, name: str, text: str = "") -> None:
    """Raise CheckError unless the condition holds, and keep it."""
    try:
        schedules.check(condition, name, text)
    except CheckError as error:
        _broken.append(error)
        raise


class _Records(logging.Handler):
    """Collects records of the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.texts.append(f"{record.levelname} {record.getMessage()} {error!r}")


class Message:
    """Makes messages that tell sender and number, and checks them."""

    @staticmethod
    def make(sender: int, number: int, size: int, text: bool) -> str | bytes:
        head = f"{sender}.{number}:"
        content = head + FILLER[: max(0, size - len(head))]
        return content if text else content.encode()[: max(size, len(head))]

    @staticmethod
    def sender(message: str | bytes) -> int:
        head = message[:12] if isinstance(message, str) else message[:12].decode(errors="replace")
        return int(head.partition(".")[0])


class End:
    """What the program of one end has sent and received."""

    def __init__(self, world: AsyncioWorld, number: int, options: dict[str, Any]) -> None:
        self.world = world
        self.number = number
        self.options = {**END_OPTIONS, **{name: options[name] for name in END_OPTIONS.keys() & options.keys()}}
        self.settings = {name: value for name, value in options.items() if name not in END_OPTIONS}
        self.limits = ConnectionSettings(**self.settings)
        self.steps: list[Entry] = [each for each in world.schedule.steps if each[1] == number]
        self.peer: End
        self.connection: Any = None
        self.socket: SimulatedSocket | None = None
        self.sent: dict[int, list[str | bytes]] = {}  # by sender
        self.received: dict[int, int] = {}  # how many from each sender
        self.uncertain = False  # a message was begun and not finished, or its fate is unknown
        self.misbehaves = False
        self.gave_up = False  # the receiver
        self.tasks: list[asyncio.Task[Any]] = []
        self.pings: list[asyncio.Future[float]] = []
        self.opened = self.closed = 0  # calls of the listener
        self.ended_at: float | None = None
        self.failure: BaseException | None = None  # of opening
        self.left_at: float | None = None  # when the program was done with it
        self.gone: Any = None  # a task that is done once the connection has ended

    @property
    def session(self) -> Any:
        return None if self.connection is None else self.connection._session

    def begin(self, connection: Any) -> None:
        """Take the connection when it is open."""
        self.connection = connection
        self.socket = connection.transport.get_extra_info("socket")._sock
        self.gone = asyncio.ensure_future(connection.wait_closed())

    async def wait(self, when: float) -> bool:
        """Wait until a time; return False if the connection has ended by then."""
        network = self.world.network
        while network.now < when and not self.gone.done():
            await asyncio.wait([self.gone], timeout=when - network.now)
        return not self.gone.done()

    # Messages.

    def make(self, sender: int, size: int, text: bool) -> str | bytes:
        message = Message.make(sender, len(self.sent.setdefault(sender, [])), size, text)
        limit = self.peer.limits.sizes[0]
        if limit is not None and len(message.encode() if isinstance(message, str) else message) > limit:
            self.misbehaves = True
        return message

    def note_sent(self, sender: int, message: str | bytes) -> None:
        if not self.misbehaves:
            self.sent[sender].append(message)

    def take(self, message: str | bytes) -> None:
        check(self.ended_at is None, "received after the end")
        peer, sender = self.peer, Message.sender(message)
        number = self.received.get(sender, 0)
        expected = peer.sent.get(sender, ())
        if number == len(expected) and peer.misbehaves:
            return
        check(number < len(expected), "doubled or made up", f"{message[:40]!r} after {number} of sender {sender}")
        check(message == expected[number], "mixed", f"{message[:40]!r} in place of {expected[number][:40]!r}")
        self.received[sender] = number + 1
        if self.connection is not None:
            self.check_bounds()

    def check_bounds(self) -> None:
        session, transport = self.session, self.connection.transport
        if session.queue is not None:
            size = sum(len(getattr(item, "data", item)) for item in session.queue.items)
            check(session.queue.size == size, "queue", f"{session.queue.size} is not {size}")
        if session.queue is not None and session.queue.size > QUEUE_SIZE and self.limits.sizes[0] is not None:
            bound = QUEUE_SIZE + self.limits.sizes[0] + READ_SIZE
            check(session.queue.size <= bound, "queue", f"{session.queue.size} is over {bound}")
        waiting = transport.get_write_buffer_size()
        if waiting > REPLIES_LIMIT + self.limits.write_marks[0] and self.options["patient"] and not self.misbehaves:
            biggest = max((len(each) * 4 for sent in self.sent.values() for each in sent), default=0)
            bound = self.limits.write_marks[0] + REPLIES_LIMIT + 4 * max(biggest, 400_000) + READ_SIZE
            check(waiting <= bound, "write buffer", f"{waiting} is over {bound}")

    # The coroutine API.

    async def application(self, connection: Any) -> None:
        """Do the steps, receive, and close at the end; like the program of a user."""
        self.begin(connection)
        senders = sorted({args[0] for _, _, name, args in self.steps if name in ("send", "parts", "broadcast")} | {0})
        work = [self._receive(connection), *(self._send_all(connection, sender) for sender in senders)]
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
                check(isinstance(error, ConnectionClosedOK) is _is_orderly(error), "exception", repr(error))
                return

    async def _receive_pieces(self, connection: Any) -> None:
        pieces: list[Any] = []
        async for piece in connection.recv_streaming():
            pieces.append(piece)
        self.take(type(pieces[0])().join(pieces))

    async def _send_all(self, connection: Any, sender: int) -> None:
        """Do the steps of one task, each at its time or later."""
        for when, _, name, arguments in [*self.steps, (LAST_STEP, 0, "close", ())]:
            if (arguments[0] if name in ("send", "parts", "broadcast") else 0) != sender:
                continue
            try:
                if not await self.wait(when):
                    return
                await self._do(connection, name, arguments)
            except ConnectionClosed as error:
                check(isinstance(error, ConnectionClosedOK) is _is_orderly(error), "exception", repr(error))
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
        for when, _, name, arguments in [*self.steps, (LAST_STEP, 0, "close", ())]:
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
                connection.close(*arguments)
            if connection.state is State.OPEN:
                self.check_bounds()

    def listener_send(self, connection: Any, sender: int, size: int, text: bool) -> None:
        message = self.make(sender, size, text)
        try:
            sent = connection.send(message)
        except PayloadTooBigError:
            return
        if sent:
            self.note_sent(sender, message)


class _Listener(framewire.asyncio.Listener):
    """The listener of one end."""

    def __init__(self, end: End) -> None:
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


def _is_orderly(error: ConnectionClosed) -> bool:
    return all(close is not None and close.code in (1000, 1001, 1005) for close in (error.rcvd, error.sent))


class AsyncioWorld:
    """Runs one schedule and checks what has to hold in between and at the end."""

    def __init__(self, schedule: Schedule) -> None:
        options = schedule.options
        self.schedule = schedule
        chosen = {**NETWORK_OPTIONS, **{name: options[name] for name in NETWORK_OPTIONS.keys() & options.keys()}}
        self.network = Network(schedule.random(), **chosen)
        direct = bool(options.get("direct")) and _backend.active.name == "pure"
        self.loop = VirtualLoop(self.network, direct)
        self.prompt = bool(options.get("good"))
        self.ended = False
        self.server: Any = None
        self.ends = [
            End(self, number, {name[2:]: value for name, value in options.items() if name.startswith(f"{number}.")})
            for number in (0, 1)
        ]
        self.ends[0].peer, self.ends[1].peer = self.ends[1], self.ends[0]
        for end in self.ends:
            end.misbehaves = end.options["api"] == "scripted"
        self.main: asyncio.Task[Any] | None = None
        self.errors: list[str] = []
        self.network.idle = self._check_idle

    # Running.

    def run(self) -> str:
        """Run the schedule; return a line that tells how it went."""
        records = _Records()
        watched = logger, logging.getLogger("asyncio")
        for each in watched:
            each.addHandler(records)
        loop, hook = self.loop, sys.unraisablehook
        sys.unraisablehook = lambda unraisable: self.errors.append(f"unraisable {unraisable.exc_value!r}")
        loop.set_exception_handler(self._note_error)
        for when, number, name, arguments in self.schedule.faults:
            self.network.at(when, getattr(self, f"_{name}"), (self.ends[number], arguments))
        self.network.at(LAST_STEP + 5, self._close_all)
        self.network.at(HORIZON, self._hang)
        _broken.clear()
        try:
            with _descriptors(self.network):
                self._run()
            for end in self.ends:
                end.tasks, end.pings, end.gone = [], [], None
            self.main = None
            gc.collect()  # futures whose exception nobody has retrieved tell so when they are collected
        finally:
            for each in watched:
                each.removeHandler(records)
            sys.unraisablehook = hook
        check(not self.errors, "error", "; ".join(self.errors))
        check(not records.texts, "log", "; ".join(records.texts))
        return " ".join(
            f"{self.network._count} {end.received} {end.ended_at} {end.connection is not None}" for end in self.ends
        )

    def _note_error(self, loop: object, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')} {context.get('exception')!r}")

    def _run(self) -> None:
        loop = self.loop
        try:
            loop.run_until_complete(self._main())
            self.ended = True
            loop.run_until_complete(loop.shutdown_asyncgens())
            if not _broken:
                self._check()
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
            if _broken:
                raise _broken[0]

    async def _main(self) -> None:
        client, server = self.ends
        listening = SimulatedSocket(self.network)
        client.socket, accepted = self.network.pair()
        self.network.at(self.network.delay(), listening.come, accepted)
        accepted_by = asyncio.ensure_future(self._serve(server, listening))
        server.socket = accepted
        self.main = asyncio.ensure_future(self._connect(client))
        await asyncio.wait([self.main])
        await accepted_by
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

    async def _connect(self, end: End) -> None:
        """The program of the client."""
        begin = self.network.now
        if end.options["api"] == "scripted":
            await ScriptedPeer.connect(self, end)
            return
        options = {**end.settings, "logger": logger, "compression": self._compression}
        if end.options["api"] == "listener":
            options["listener"] = _Listener(end)
        try:
            connection = await framewire.asyncio.connect("ws://simulated/", sock=end.socket, proxy=None, **options)
        except (OSError, FramewireError, asyncio.TimeoutError) as error:
            end.failure = error
            end.socket.close()  # that of the caller, if it was not used yet
            check(not self.prompt, "opening", repr(error))
            limit = end.limits.open_timeout
            check(limit is None or self.network.now - begin <= limit + self._lag(), "open_timeout")
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

    @property
    def _compression(self) -> Any:
        return "deflate" if self.schedule.options.get("compression") else None

    async def _serve(self, end: End, listening: SimulatedSocket) -> None:
        if end.options["api"] == "scripted":
            await ScriptedPeer.serve(self, end, listening.accepting, self.network)
            return
        handler: Any = _Listener(end) if end.options["api"] == "listener" else end.application
        self.server = await framewire.asyncio.serve(
            handler, sock=listening, logger=logger, compression=self._compression, **end.settings
        )

    def check_deadline(self, end: End, begin: float) -> None:
        """Check that closing did not take longer than it may."""
        limit = end.limits.close_timeout
        if limit is not None:
            took = self.network.now - begin
            if end.session is None:
                limit = max(limit, LINGER)
            check(took <= limit + self._lag(), "close_timeout", f"closing took {took} s, the limit is {limit}")

    def _lag(self) -> float:
        lag: float = self.schedule.options.get("lag", 0.0)
        return 0.1 + 60 * lag

    # Faults.

    def _close_all(self, _: object) -> None:
        """Close what is open because a task that was to close it was cancelled."""
        for end in self.ends:
            if end.connection is not None:
                self.loop.call_between(end.connection.start_closing)

    def _hang(self, _: object) -> None:
        tasks = [f"{task.get_coro().__qualname__}" for task in asyncio.all_tasks(self.loop)]  # type: ignore[union-attr]
        raise_in = f"at {self.network.now} still there: {sorted(tasks)}"
        check(self.ended, "hang", raise_in)

    def _stall(self, what: tuple[End, float]) -> None:
        """Deliver nothing of what an end sends, for a time."""
        end, seconds = what
        receiver = end.peer.socket
        if receiver is not None:
            receiver.stalled_until = self.network.now + seconds
            if seconds == inf:
                receiver.deaf = True

    def _reset(self, what: tuple[End, Any]) -> None:
        if what[0].socket is not None and not what[0].socket.closed:
            what[0].socket.break_connection()

    def _fin(self, what: tuple[End, Any]) -> None:
        """End what an end sends, as if its process had been killed."""
        if what[0].peer.socket is not None:
            what[0].peer.socket.end_input()

    def _cancel(self, what: tuple[End, int]) -> None:
        """Cancel a task of the program."""
        end, number = what
        tasks = [task for task in end.tasks if not task.done()]
        if tasks:
            end.uncertain = True
            self.loop.call_between(tasks[number % len(tasks)].cancel)

    def _cancel_main(self, what: tuple[End, Any]) -> None:
        """Cancel the client, or the server's handlers."""
        self.prompt = False
        if what[0].number == 0 and self.main is not None:
            self.loop.call_between(self.main.cancel)
        elif self.server is not None:
            for task in list(self.server._tasks):
                self.loop.call_between(task.cancel)

    def _close_server(self, what: tuple[End, Any]) -> None:
        if self.server is not None:
            self.loop.call_between(self.server.close)

    # What holds in between, and at the end.

    def _check_idle(self) -> None:
        """Check that nothing waits that could go on."""
        for end in self.ends:
            session = end.session
            if session is None or session.state is not State.OPEN or end.connection.transport.is_closing():
                continue
            driver = end.connection._driver
            check(not session.output, "idle", "output is not written")
            check(not (session.has_held_back and session.reading), "idle", "input is held back without a reason")
            check(session.reading is driver._reading, "idle", "reading is not as the session asks for")
            # A sender may also wait for the end of a message that is sent in parts.
            sendable = not (session.write_paused or driver.writer._in_parts)
            waiting = sendable and any(not each.done() for each in driver.writer._waiters or ())
            check(not waiting, "idle", "a sender waits, though there is room")
            if driver.receiver is not None and not driver.receiver.done():
                whole = [each for each in session.queue.items if type(each) is str or type(each) is bytes]
                check(not whole, "idle", "a receiver waits, though there is a message")
                check(session.stream.failing is None, "idle", "a receiver waits, though the connection has failed")

    def _check(self) -> None:
        for socket in self.network.sockets.values():
            check(socket.closed or not socket.used, "a socket is left open")
        left = [handle for handle in self.loop._scheduled if not handle._cancelled]
        check(not left, "timers are left", repr(left))
        tasks = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
        check(not tasks, "tasks are left", repr(tasks))
        for end in self.ends:
            if end.session is not None:
                self._check_end(end)
        client, server = self.ends
        if client.options["api"] == "scripted" and not client.options["peer"].get("opens", True):
            limit = (server.limits.open_timeout or 0.0) + self._lag() + 1
            assert server.socket is not None
            check(server.socket.closed_at <= limit, "open_timeout", f"{server.socket.closed_at}")

    def _check_end(self, end: End) -> None:
        session, peer = end.session, end.peer
        state = session.close_state
        check(session.state is State.CLOSED, "state", str(session.state))
        check(all(ping.done() for ping in end.pings), "a ping that nobody ends")
        if end.left_at is not None and end.limits.close_timeout is not None:
            assert end.socket is not None
            limit = end.left_at + end.limits.close_timeout + self._lag()
            check(end.socket.closed_at <= limit, "close_timeout", f"closed at {end.socket.closed_at}, after {limit}")
        if end.options["api"] == "listener":
            check(end.opened == end.closed == 1, "on_close", f"{end.opened} {end.closed}")
        if state.rcvd is not None and peer.session is not None:
            sent = peer.session.close_state.sent
            check(sent is not None and sent.code == state.rcvd.code, "close", f"received {state.rcvd}, sent {sent}")
            dropping = session.queue is not None and session.queue.dropping
            if not (dropping or end.gave_up or peer.misbehaves or self._stops_receiving(end)):
                for sender, sent_messages in peer.sent.items():
                    got = end.received.get(sender, 0)
                    check(got == len(sent_messages), "lost", f"{got} of {len(sent_messages)} from sender {sender}")
        if self.prompt and not end.gave_up and not peer.gave_up:
            check(not isinstance(state.cause, TimeoutError), "close", "one end had to wait for the other one")
            codes = [None if each is None else each.code for each in (state.rcvd, state.sent)]
            check(None not in codes and not {1002, 1006, 1007, 1008, 1009} & set(codes), "close", f"{codes}")

    def _stops_receiving(self, end: End) -> bool:
        return end.options["leaves"] is not None or any(
            name == "cancel_main" and number == end.number for _, number, name, _ in self.schedule.faults
        )


@contextmanager
def _descriptors(network: Network) -> Iterator[None]:
    """Have the pure `SocketWriter` write to the simulated sockets."""
    from framewire._pure import writer

    def write(descriptor: int, data: bytes) -> int:
        return network.sockets[descriptor].send(data)

    stand_in = SimpleNamespace(get_blocking=lambda descriptor: False, write=write)
    with mock.patch.object(writer, "os", stand_in):
        yield
