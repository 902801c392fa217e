"""A simulated network: a clock, what happens at which time, and non-blocking sockets.

What no one guarantees is drawn from the seed: when bytes arrive and how much a read or a write
takes, which sockets are ready first, and how late the process is.
"""

from __future__ import annotations

import errno
import selectors
import socket
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Any

__all__ = ["Network", "SimulatedSocket"]


class Network:
    """The clock, and what happens at which time; the sockets and their links.

    Args:
        random: The source of all choices.
        delay: The longest time that bytes take, in seconds.
        window: How many bytes of one direction the kernels hold.
        cut: The largest read and write, in bytes, for the first `MAX_CUTS` of them.
        lag: The longest time that the process is late, in seconds.
        keeps_unread: Whether bytes that arrived before a reset can be read after it.
    """

    #: Cuts after which those that follow are long.
    MAX_CUTS = 200

    def __init__(self, random: Random, delay: float, window: int, cut: int, lag: float, keeps_unread: bool) -> None:
        self.random = random.random
        self.randrange = random.randrange
        self.now = 0.0
        self.window = window
        self.keeps_unread = keeps_unread
        self.sockets: dict[int, SimulatedSocket] = {}
        #: Called when no task and no thread has anything more to do at this time.
        self.idle: Callable[[], object] = lambda: None
        self._delay = delay
        self._cut = cut
        self._cuts = 0
        self._lag = lag
        self._events: list[tuple[float, int, Callable[[Any], object], Any]] = []
        self._count = 0

    def at(self, when: float, callback: Callable[[Any], object], argument: Any = None) -> None:
        """Call back at a time, in between the steps of tasks and threads."""
        self._count += 1
        heappush(self._events, (when, self._count, callback, argument))

    def delay(self) -> float:
        """Return how long bytes take, in seconds."""
        return self._delay * self.random()

    def cut_size(self) -> int:
        """Return how many bytes go at once."""
        self._cuts += 1
        return 1 + int((self._cut if self._cuts < self.MAX_CUTS else 1 << 18) * self.random())

    def lateness(self) -> float:
        """Return how late the process is, in seconds; mostly 0."""
        return self._lag * self.random() if self._lag and self.random() < 0.2 else 0.0

    def advance(self, timeout: float | None) -> None:
        """Let time pass until something happens, for `timeout` seconds at most, and process it."""
        if timeout is None and not self._events:
            raise RuntimeError("deadlock: nothing will ever happen")
        if timeout != 0:
            self.idle()
            self.now = max(self.now, min(self.next_time, inf if timeout is None else self.now + timeout))
        self.now += self.lateness() or 1e-6
        self.process()

    @property
    def next_time(self) -> float:
        """The time at which something happens next; infinite if nothing will."""
        return self._events[0][0] if self._events else inf

    def process(self) -> None:
        """Do everything that is due."""
        while self.next_time <= self.now:
            _, _, callback, argument = heappop(self._events)
            callback(argument)

    def make_socket(self) -> SimulatedSocket:
        """Return a socket that is not connected."""
        return SimulatedSocket(self)

    def pair(self) -> tuple[SimulatedSocket, SimulatedSocket]:
        """Return two connected sockets."""
        one, other = self.make_socket(), self.make_socket()
        one.peer, other.peer = other, one
        return one, other


class SimulatedSocket:
    """A non-blocking stream socket, as far as the drivers use it."""

    family = socket.AF_UNIX  # for which asyncio sets no options of TCP
    type = socket.SOCK_STREAM
    proto = 0

    def __init__(self, network: Network) -> None:
        self._network = network
        self._number = 1_000_000 + len(network.sockets)
        network.sockets[self._number] = self
        self.peer: SimulatedSocket | None = None
        self.closed, self.closed_at = False, inf
        self.output_ended_at = self.input_ended_at = inf
        self.accepting: list[SimulatedSocket] = []
        self.unread = bytearray()
        self.in_flight = 0  # sent by the peer
        self.last_arrival = 0.0
        self.stalled_until = 0.0  # for what arrives here
        self.input_ended = self.output_ended = self.was_reset = self.deaf = False
        self.used = False  # by a transport
        self.written = bytearray()  # everything that was sent
        self.read_at = self.sent_at = 0.0  # when something was, last
        #: Called when it may be possible to read, to write or to accept.
        self.changed: Callable[[], object] = lambda: None

    # The network.

    def _send_event(self, callback: Callable[[Any], object], argument: Any = None) -> None:
        """Have the peer see something after all that was sent before."""
        network, peer = self._network, self.peer
        assert peer is not None
        peer.last_arrival = max(network.now + network.delay(), peer.last_arrival, peer.stalled_until)
        if peer.last_arrival < 1e9:
            network.at(peer.last_arrival, callback, argument)

    def _arrive(self, data: bytes) -> None:
        self.in_flight -= len(data)
        if self.deaf:
            return
        if self.closed:
            self._send_event(self.peer.reset)  # type: ignore[union-attr]
        elif not self.was_reset:
            self.unread += data
            self.changed()

    def come(self, peer: SimulatedSocket) -> None:
        """Have a client come to a listening socket."""
        if self.closed:
            peer.break_connection()
            peer.close()
        else:
            self.accepting.append(peer)
            self.changed()

    def end_input(self, _: object = None) -> None:
        """Process the end of TCP."""
        self.input_ended = True
        self.input_ended_at = min(self.input_ended_at, self._network.now)
        self.changed()

    def reset(self, _: object = None) -> None:
        """Process a reset."""
        if not self.closed and not self.was_reset:
            self.was_reset = True
            if not self._network.keeps_unread:
                self.unread.clear()
            self.changed()

    def break_connection(self) -> None:
        """Have both ends see a reset, as if the network had lost the connection."""
        self._send_event(self.peer.reset)  # type: ignore[union-attr]
        self.reset()

    # What the selector asks.

    def is_ready(self, mask: int) -> int:
        """Return which of the events of `mask` are there."""
        ready = 0
        if mask & selectors.EVENT_READ and (self.unread or self.input_ended or self.was_reset or self.accepting):
            ready |= selectors.EVENT_READ
        if mask & selectors.EVENT_WRITE and (self.was_reset or self.output_ended or self._space() > 0):
            ready |= selectors.EVENT_WRITE
        return ready

    def _space(self) -> int:
        peer = self.peer
        assert peer is not None
        return self._network.window - peer.in_flight - len(peer.unread)

    # What drivers call.

    def fileno(self) -> int:
        return -1 if self.closed else self._number

    def recv_into(self, buffer: Any) -> int:
        if self.unread:
            size = min(len(buffer), len(self.unread), self._network.cut_size())
            buffer[:size] = self.unread[:size]
            del self.unread[:size]
            self.read_at = self._network.now
            if self.peer is not None:
                self.peer.changed()  # there is room again
            return size
        if self.was_reset:
            raise ConnectionResetError(errno.ECONNRESET, "simulated reset")
        if self.input_ended:
            return 0
        raise BlockingIOError

    def recv(self, limit: int) -> bytes:
        buffer = bytearray(limit)
        return bytes(buffer[: self.recv_into(memoryview(buffer))])

    def send(self, data: Any) -> int:
        if self.was_reset or self.output_ended:
            raise BrokenPipeError(errno.EPIPE, "simulated broken pipe")
        size = min(self._space(), len(data), self._network.cut_size())
        if size <= 0:
            raise BlockingIOError
        peer = self.peer
        assert peer is not None
        peer.in_flight += size
        taken = bytes(data[:size])
        self.written += taken
        self.sent_at = self._network.now
        self._send_event(peer._arrive, taken)
        return size

    def sendmsg(self, buffers: Any) -> int:
        return self.send(b"".join(buffers))

    def shutdown(self, how: int) -> None:
        if self.was_reset:
            raise OSError(errno.ENOTCONN, "simulated: not connected")
        self._end_output()
        if how == socket.SHUT_RDWR:
            self.end_input()  # for the threads that wait here

    def close(self) -> None:
        if self.closed:
            return
        self.closed, self.closed_at = True, self._network.now
        for each in self.accepting:
            each.break_connection()
            each.close()
        if self.peer is None or self.was_reset:
            return
        if self.unread:
            self._send_event(self.peer.reset)
        else:
            self._end_output()

    def _end_output(self) -> None:
        if not self.output_ended:
            self.output_ended, self.output_ended_at = True, self._network.now
            self._send_event(self.peer.end_input)  # type: ignore[union-attr]

    def accept(self) -> tuple[SimulatedSocket, str]:
        if not self.accepting:
            raise BlockingIOError
        return self.accepting.pop(0), ""

    def listen(self, backlog: int) -> None:
        pass

    def setblocking(self, flag: bool) -> None:
        pass

    def setsockopt(self, *_: object) -> None:
        pass

    def getsockopt(self, *_: object) -> int:
        return 0

    def gettimeout(self) -> float:
        return 0.0

    def getsockname(self) -> str:
        return "simulated"

    getpeername = getsockname
