"""An asyncio event loop in virtual time, on a simulated network.

The loop and its transports are asyncio's own, so that they behave as each version of Python does.
Simulated are what they stand on: the clock, the selector and the sockets. asyncio calls ready
callbacks in the order in which they were scheduled, and the simulation keeps that. It varies what
no one guarantees: when bytes arrive and how much a read or a write takes, which sockets are ready
first, how late the process is, and the moment of a cancellation.
"""

from __future__ import annotations

import asyncio
import errno
import selectors
import socket
from asyncio import selector_events
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Any

__all__ = ["Network", "SimulatedSocket", "VirtualLoop"]


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
        #: Called when the event loop has nothing more to do at this time.
        self.idle: Callable[[], object] = lambda: None
        self._delay = delay
        self._cut = cut
        self._cuts = 0
        self._lag = lag
        self._events: list[tuple[float, int, Callable[[Any], object], Any]] = []
        self._count = 0

    def at(self, when: float, callback: Callable[[Any], object], argument: Any = None) -> None:
        """Call back at a time, between two turns of the event loop."""
        self._count += 1
        heappush(self._events, (when, self._count, callback, argument))

    def delay(self) -> float:
        """Return how long bytes take, in seconds."""
        return self._delay * self.random()

    def cut_size(self) -> int:
        """Return how many bytes go at once."""
        self._cuts += 1
        return 1 + int((self._cut if self._cuts < self.MAX_CUTS else 1 << 18) * self.random())

    def advance(self, timeout: float | None) -> None:
        """Let time pass until something happens, for `timeout` seconds at most, and process it."""
        if timeout is None and not self._events:
            raise RuntimeError("deadlock: nothing will ever happen")
        if timeout != 0:
            self.idle()
            times = [] if timeout is None else [self.now + timeout]
            if self._events:
                times.append(self._events[0][0])
            self.now = max(self.now, min(times))
        if self._lag and self.random() < 0.2:
            self.now += self._lag * self.random()
        else:
            self.now += 1e-6
        while self._events and self._events[0][0] <= self.now:
            _, _, callback, argument = heappop(self._events)
            callback(argument)

    def pair(self) -> tuple[SimulatedSocket, SimulatedSocket]:
        """Return two connected sockets."""
        one, other = SimulatedSocket(self), SimulatedSocket(self)
        one.peer, other.peer = other, one
        return one, other


class SimulatedSocket:
    """A non-blocking stream socket, as far as asyncio uses it."""

    family = socket.AF_UNIX  # for which asyncio sets no options of TCP
    type = socket.SOCK_STREAM
    proto = 0

    def __init__(self, network: Network) -> None:
        self._network = network
        self._number = 1_000_000 + len(network.sockets)
        network.sockets[self._number] = self
        self.peer: SimulatedSocket | None = None
        self.closed, self.closed_at = False, inf
        self.accepting: list[SimulatedSocket] = []
        self.unread = bytearray()
        self.in_flight = 0  # sent by the peer
        self.last_arrival = 0.0
        self.stalled_until = 0.0  # for what arrives here
        self.input_ended = self.output_ended = self.was_reset = self.deaf = False
        self.used = False  # by a transport

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

    def come(self, peer: SimulatedSocket) -> None:
        """Have a client come to a listening socket."""
        if self.closed:
            peer.break_connection()
            peer.close()
        else:
            self.accepting.append(peer)

    def end_input(self, _: object = None) -> None:
        """Process the end of TCP."""
        self.input_ended = True

    def reset(self, _: object = None) -> None:
        """Process a reset."""
        if not self.closed and not self.was_reset:
            self.was_reset = True
            if not self._network.keeps_unread:
                self.unread.clear()

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
        if mask & selectors.EVENT_WRITE and (self.was_reset or self._space() > 0):
            ready |= selectors.EVENT_WRITE
        return ready

    def _space(self) -> int:
        peer = self.peer
        assert peer is not None
        return self._network.window - peer.in_flight - len(peer.unread)

    # What asyncio calls.

    def fileno(self) -> int:
        return -1 if self.closed else self._number

    def recv_into(self, buffer: Any) -> int:
        if self.unread:
            size = min(len(buffer), len(self.unread), self._network.cut_size())
            buffer[:size] = self.unread[:size]
            del self.unread[:size]
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
        self._send_event(peer._arrive, bytes(data[:size]))
        return size

    def sendmsg(self, buffers: Any) -> int:
        return self.send(b"".join(buffers))

    def shutdown(self, how: int) -> None:
        if self.was_reset:
            raise OSError(errno.ENOTCONN, "simulated: not connected")
        if not self.output_ended:
            self.output_ended = True
            self._send_event(self.peer.end_input)  # type: ignore[union-attr]

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
        elif not self.output_ended:
            self.output_ended = True
            self._send_event(self.peer.end_input)

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


class _Selector(selectors._BaseSelectorImpl):  # type: ignore[name-defined,misc]
    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        network = self._network
        network.advance(0 if timeout == 0 or self._ready() else timeout)
        ready = self._ready()
        if len(ready) > 1:
            if network.random() < 0.5:
                ready.reverse()
            if network.random() < 0.2:
                ready.pop()  # it became ready a moment later
        return ready

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        sockets, found = self._network.sockets, []
        for number, key in self._fd_to_key.items():
            mask = sockets[number].is_ready(key.events)
            if mask:
                found.append((key, mask))
        return found


class _Transport(selector_events._SelectorSocketTransport):  # type: ignore[name-defined,misc]
    """asyncio's transport by another name, so that nobody writes past it to a descriptor."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's selector loop in the time of a network.

    Args:
        network: The network.
        direct: Whether transports have the name of asyncio's, so that frames may be written to the
            socket directly.
    """

    def __init__(self, network: Network, direct: bool) -> None:
        self.network = network
        self._direct = direct
        super().__init__(_Selector(network))

    def time(self) -> float:
        return self.network.now

    def call_between(self, callback: Callable[..., object]) -> None:
        """Call back before any one of the callbacks that are ready, as another task could."""
        handle = asyncio.Handle(callback, (), self, None)
        self._ready.insert(self.network.randrange(len(self._ready) + 1), handle)  # type: ignore[attr-defined]

    def _make_socket_transport(  # type: ignore[no-untyped-def]
        self, sock, protocol, waiter=None, *, extra=None, server=None
    ):
        make = super()._make_socket_transport if self._direct else partial(_Transport, self)  # type: ignore[misc]
        transport = make(sock, protocol, waiter, extra=extra, server=server)
        sock.used = True  # not by one for which a server that closes at this moment has no more use
        return transport

    # The loop needs no pipe to wake itself, as it has no other threads.

    def _make_self_pipe(self) -> None:
        pass

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        pass
