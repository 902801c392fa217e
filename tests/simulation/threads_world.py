"""A server and a client on threads, in virtual time; an end may be a scripted peer. End 0 is the client."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import framewire.sync
from framewire import ConcurrencyError, ConnectionClosed, State
from framewire.errors import FramewireError, PayloadTooBigError
from framewire.sync import client, connection, driver, server, transport

from .baton import Scheduler, ThreadNetwork, ThreadSocket
from .programs import End, check, check_exception, logger, sender_of
from .schedule import Schedule
from .scripted_peer import ScriptedPeer
from .worlds import World

__all__ = ["ThreadsWorld"]

#: The code of which any line may be the last for a while.
TRACED = tuple(f"{Path(framewire.sync.__file__).parents[1] / folder}/" for folder in ("sync", "session"))


class ThreadEnd(End):
    """The program of one end: one thread that receives, and threads that send."""

    world: ThreadsWorld

    def __init__(self, world: ThreadsWorld, number: int, options: dict[str, Any]) -> None:
        super().__init__(world, number, options)
        self.threads: list[Any] = []

    @property
    def now(self) -> float:
        return self.world.network.now

    def application(self, connection: Any) -> None:
        """Do the steps, receive, and close at the end; like the program of a user."""
        self.begin(connection)
        self._start(self._receive, connection)
        for sender in self.senders:
            self._start(self._send_all, connection, sender)
        if self.options["leaves"] is None:
            self.join()
        else:
            connection.wait_closed(self.options["leaves"])
        self.left_at = self.now

    def _start(self, target: Callable[..., object], *arguments: Any) -> None:
        name = f"{target.__name__} {self.number}"
        self.threads.append(self.world.scheduler.threading.Thread(target=target, name=name, args=arguments))
        self.threads[-1].start()

    def join(self) -> None:
        """Wait until its threads have ended."""
        for thread in self.threads:
            thread.join()

    def check_bounds(self) -> None:
        with self.connection._driver.lock:
            super().check_bounds()

    def _receive(self, connection: Any) -> None:
        """Receive until the end."""
        how, pause = self.options["receiver"], self.options["pause"]
        if how == "absent":
            self.gave_up = True
            return
        try:
            if how == "iterate" and not pause:
                for message in connection:
                    self.take(message)
                return
            while True:
                try:
                    if how == "stream":
                        pieces = list(connection.recv_streaming())
                        self.take(type(pieces[0])().join(pieces))
                    else:
                        self.take(connection.recv(0.02 if how == "poll" else None))
                except TimeoutError:
                    check(how == "poll", "a timeout that nobody set")
                if pause and connection.state is State.OPEN:
                    self.world.scheduler.sleep(pause)
        except ConnectionClosed as error:
            check_exception(error)

    def _send_all(self, connection: Any, sender: int) -> None:
        """Do the steps of one thread, each at its time or later."""
        for when, _, name, arguments in [step for step in self.all_steps if sender_of(step) == sender]:
            if connection.wait_closed(max(0.0, when - self.now)):
                return
            try:
                self._do(connection, name, arguments)
            except ConnectionClosed as error:
                check_exception(error)
                return
            except PayloadTooBigError:
                pass
            self.check_bounds()

    def _do(self, connection: Any, name: str, arguments: Any) -> None:
        if name == "send":
            sender, size, text, _ = arguments
            self._send(sender, self.make(sender, size, text), connection.send)
        elif name == "parts":
            sender, sizes, text, gap = arguments
            message = self.make(sender, sum(sizes), text)
            self._send(sender, message, lambda message: connection.send(self._parts(message, sizes, gap)))
        elif name == "broadcast":
            sender, size, text = arguments
            if connection.state is State.OPEN:
                self._broadcast(connection, sender, self.make(sender, size, text))
        elif name == "ping":
            self.pings.append(connection.ping(ack_on_close=True))
            if arguments:
                self.pings[-1].wait()
        elif name == "pong":
            connection.pong()
        elif name == "close":
            begin = self.now
            self.note_close(*arguments)
            connection.close(*arguments)
            self.world.check_deadline(self, begin)

    def _send(self, sender: int, message: Any, send: Callable[[Any], object]) -> None:
        """Send a message, which may arrive before the call returns."""
        if self.misbehaves:
            return
        self.sent[sender].append(message)
        while True:
            try:
                send(message)
            except ConcurrencyError:  # another thread sends in parts
                self.world.scheduler.sleep(0.01)
            else:
                self.completed[sender] = len(self.sent[sender])
                return

    def _broadcast(self, connection: Any, sender: int, message: Any) -> None:
        """Broadcast a message; whether it was queued cannot be told if another thread sends too."""
        if not self.misbehaves:
            before, self.misbehaves = connection.messages_sent, len(self.senders) > 1
            self.sent[sender].append(message)
            framewire.sync.broadcast([connection], message)
            if connection.messages_sent == before:
                self.misbehaves = True  # it was left out
            elif not self.misbehaves:
                self.completed[sender] = len(self.sent[sender])

    def _parts(self, message: Any, sizes: tuple[int, ...], gap: float) -> Iterator[Any]:
        start = 0
        for size in (*sizes[:-1], len(message)):
            yield message[start : start + size]
            start += size
            self.world.scheduler.sleep(gap)


class _Selector:
    """A `selectors.DefaultSelector` for reading."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._sockets: list[ThreadSocket] = []

    def register(self, sock: ThreadSocket, events: int) -> None:
        self._sockets.append(sock)

    def select(self) -> None:
        self._scheduler.pause(lambda: any(sock.is_ready(selectors.EVENT_READ) for sock in self._sockets))

    def __enter__(self) -> _Selector:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class ThreadsWorld(World):
    """A client, a server and all their threads."""

    make_network = ThreadNetwork
    make_end = ThreadEnd
    network: ThreadNetwork
    ends: list[ThreadEnd]

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule)
        lines = schedule.options.get("lines", 0.0)
        self.scheduler = self.network.scheduler = Scheduler(self.network, lines, TRACED)

    @property
    def lag(self) -> float:
        return super().lag + 0.1  # a thread that pauses between two parts of a message does not see the end

    def run_programs(self) -> None:
        with ExitStack() as patches:
            for target, replacements in self._replacements():
                for name, replacement in replacements.items():
                    patches.enter_context(mock.patch.object(target, name, replacement))
            self.scheduler.run(self._main)

    def _replacements(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """What the modules under test see in place of threads, the clock and the system."""
        threading, monotonic = self.scheduler.threading, lambda: self.network.now
        time = SimpleNamespace(monotonic=monotonic, sleep=self.scheduler.sleep)
        yield driver, {"threading": threading, "monotonic": monotonic}
        yield connection, {"threading": threading, "monotonic": monotonic}
        yield client, {"monotonic": monotonic, "time": time}
        yield server, {
            "threading": threading,
            "time": time,
            "selectors": SimpleNamespace(
                DefaultSelector=lambda: _Selector(self.scheduler), EVENT_READ=selectors.EVENT_READ
            ),
            "socket": SimpleNamespace(
                socketpair=self.network.pair, AF_INET=socket.AF_INET, AF_INET6=socket.AF_INET6
            ),
        }  # fmt: skip
        yield transport, {
            "threading": threading,
            "monotonic": monotonic,
            "wait_for": lambda sock, writing, seconds: sock.wait(1 + writing, seconds),
            "socket": SimpleNamespace(
                socket=SimpleNamespace(shutdown=lambda sock, how: sock.shutdown(how)),
                SHUT_WR=socket.SHUT_WR, SHUT_RDWR=socket.SHUT_RDWR,
            ),
        }  # fmt: skip

    def _main(self) -> None:
        client_end, server_end = self.ends
        for end, sock in zip(self.ends, self.network.pair(), strict=True):
            end.socket = sock
            sock.by_threads = end.options["api"] != "scripted"
        listening = self.network.make_socket()
        acceptor = None
        if server_end.options["api"] == "scripted":
            ScriptedPeer(self.network, server_end, server_end.socket)
        else:
            self.network.at(self.network.delay(), listening.come, server_end.socket)
            options: dict[str, Any] = {"logger": logger, "compression": self.compression, **server_end.settings}
            self.server = framewire.sync.serve(server_end.application, sock=listening, **options)  # type: ignore[arg-type]
            acceptor = self.scheduler.threading.Thread(target=self.server.serve_forever, name="acceptor")
            acceptor.start()
        self._connect(client_end)
        if self.server is not None:
            begin = self.network.now
            self.server.__exit__(None, None, None)
            self.check_deadline(server_end, begin)
            acceptor.join()

    def _connect(self, end: ThreadEnd) -> None:
        """The program of the client."""
        begin = self.network.now
        assert end.socket is not None
        if end.options["api"] == "scripted":
            ScriptedPeer(self.network, end, end.socket)
            self.scheduler.pause(lambda: end.socket.closed)  # type: ignore[union-attr]
            return
        options: dict[str, Any] = {"logger": logger, "compression": self.compression, "proxy": None, **end.settings}
        end.socket.used = True
        try:
            opened = framewire.sync.connect("ws://simulated/", sock=end.socket, **options)  # type: ignore[arg-type]
        except (OSError, FramewireError) as error:
            self.check_opening(end, begin, error)
            return
        with opened:
            end.application(opened)
        check(opened.state is State.CLOSED, "end of the client")
        end.join()
        end.ended_at = self.network.now

    # Faults.

    def start_closing(self, connection: Any) -> None:
        self._start("closer", connection.start_closing)

    def _close_server(self, what: tuple[ThreadEnd, Any]) -> None:
        if self.server is not None:
            self._start("shutdown", self.server.shutdown)

    def _start(self, name: str, target: Callable[[], object]) -> None:
        self.scheduler.threading.Thread(target=target, name=name).start(pause=False)  # in the middle of a switch

    # What holds in between, and at the end.

    def check_idle(self) -> None:
        for end in self.ends:
            session = end.session
            if session is None or session.state is not State.OPEN or end.connection.socket.closed:
                continue
            ours = end.connection._driver
            if session.close_state.cause is None:  # else the connection is broken
                pending = session.output or ours._unsent
                check(not pending or ours._writing.locked(), "idle", "output is not written")
            whole = [each for each in session.queue.items if type(each) is str or type(each) is bytes]
            check(not (ours.receiving and whole), "idle", "a receiver waits, though there is a message")

    def list_running(self) -> list[str]:
        return self.scheduler.list_running()

    def is_answered(self, ping: Any) -> bool:
        done: bool = ping.is_set()
        return done
