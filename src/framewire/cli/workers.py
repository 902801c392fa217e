"""Several processes behind one port: their supervisor starts them, replaces what dies, and ends them in order.

Linux only. Each worker listens with SO_REUSEPORT on a socket of its own: the kernel deals out the connections among
those who listen, so none goes to a worker that is down.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

from ..errors import FramewireError

__all__ = ["announce", "hold_port", "supervise"]

#: Seconds until a worker that died is replaced; doubles, up to the longest, while it does not live for long.
FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 10.0
LONG: Final = 10.0

#: Seconds that a worker has to end, besides the `grace` that it gives to its connections.
_MARGIN: Final = 2.0

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_FORK = multiprocessing.get_context("fork") if sys.platform == "linux" else None


class _Place:
    """One of the workers: the process that it is now, or when there will be another."""

    def __init__(self, number: int, work: Callable[[int], None]) -> None:
        self._target = (os.getpid(), number, work)
        self._delay = FIRST_DELAY
        self.process: multiprocessing.process.BaseProcess | None = None
        self.due = time.monotonic()

    def start(self) -> None:
        assert _FORK is not None
        self._started = time.monotonic()
        self.process = _FORK.Process(target=_run, args=self._target)
        self.process.start()

    def look(self) -> None:
        """If the process has ended, say so and plan the next."""
        if self.process is None or self.process.is_alive():
            return
        now = time.monotonic()
        if now - self._started >= LONG:
            self._delay = FIRST_DELAY
        self.due = now + self._delay
        print(
            f"framewire: worker {self.process.pid} ended with {self.process.exitcode}; another in {self._delay:g} s",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        self.process = None
        self._delay = min(2 * self._delay, LONGEST_DELAY)


def hold_port(host: str | None, port: int) -> socket.socket:
    """A socket that keeps an address for the workers and does not listen; OSError if another program does there.

    SO_REUSEPORT alone would share the port with that program.
    """
    if _FORK is None:
        raise FramewireError("several workers need Linux; elsewhere, start processes on ports of their own")
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(address)
        address = alone.getsockname()
    held = socket.socket(family, kind, protocol)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(address)
    return held


def supervise(count: int, work: Callable[[int], None], grace: float, listening: Callable[[], None]) -> int:
    """Runs `work(number)` in `count` processes until SIGINT or SIGTERM; 0 if then all of them end well.

    `listening` is called when the first of them has called `announce`. They get SIGTERM, once, and have `grace` seconds
    and a little more to return; at a second signal to this process, what is left is killed. To be called in the
    only thread of a process.
    """
    # Blocked signals wait until they are asked for, here, and in a worker until it can handle them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _watched())
    places = [_Place(number, work) for number in range(count)]
    announced = False
    while True:
        for place in places:
            if place.process is None and place.due <= time.monotonic():
                place.start()
        due = [place.due for place in places if place.process is None]
        match _wait(min(due) if due else None):
            case signal.SIGINT | signal.SIGTERM:
                break
            case signal.SIGUSR1 if not announced:
                announced = True
                listening()
        for place in places:
            place.look()
    return _end([place.process for place in places if place.process], grace + _MARGIN)


def _end(processes: list[multiprocessing.process.BaseProcess], patience: float) -> int:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + patience
    while any(process.is_alive() for process in processes):
        if _wait(deadline) in (None, signal.SIGINT, signal.SIGTERM):
            for process in processes:
                process.kill()
    return int(any(process.exitcode for process in processes))


def _watched() -> set[signal.Signals]:
    return {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1}


def _wait(deadline: float | None) -> int | None:
    """The next signal; None at the deadline."""
    if deadline is None:
        return signal.sigwaitinfo(_watched()).si_signo
    got = signal.sigtimedwait(_watched(), max(deadline - time.monotonic(), 0))
    return got and got.si_signo


def _run(parent: int, number: int, work: Callable[[int], None]) -> None:
    """In a worker: it ends with its supervisor, at the latest; Ctrl-C at the terminal is the supervisor's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:
        work(number)


def announce() -> None:
    """In a worker: it listens, and handles SIGTERM."""
    if (parent := multiprocessing.parent_process()) is not None and os.getppid() == parent.pid:
        os.kill(os.getppid(), signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _watched())
