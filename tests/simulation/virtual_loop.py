"""An asyncio event loop in virtual time, on a simulated network.

The loop and its transports are asyncio's own, so that they behave as each version of Python does.
Simulated are what they stand on: the clock, the selector and the sockets. asyncio calls ready
callbacks in the order in which they were scheduled, and the simulation keeps that.
"""

from __future__ import annotations

import asyncio
import selectors
from asyncio import selector_events
from collections.abc import Callable
from functools import partial

from .network import Network

__all__ = ["VirtualLoop"]


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
