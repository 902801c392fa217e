"""A supervisor for several worker processes that listen on the same port (Linux only).

Each worker listens on its own socket with SO_REUSEPORT. The kernel distributes new connections
over the listening sockets, so none is sent to a worker that has died.
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
from threading import TIMEOUT_MAX
from typing import Final

from ..errors import FramewireError

__all__ = ["notify_ready", "reserve_port", "supervise"]

#: Seconds before a dead worker is replaced. The delay doubles up to the maximum for each worker
#: that dies again within `STABLE_AFTER` seconds of its start.
MIN_RESTART_DELAY: Final = 0.1
MAX_RESTART_DELAY: Final = 10.0
STABLE_AFTER: Final = 10.0

#: Seconds that a worker has for its exit, in addition to the grace period of its connections.
_EXIT_TIMEOUT: Final = 2.0

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_FORK = multiprocessing.get_context("fork") if sys.platform == "linux" else None


class _Worker:
    """One of the numbered workers: its current process, or the time at which to start the next."""

    def __init__(self, number: int, work: Callable[[int], None]) -> None:
        self._target = (os.getpid(), number, work)
        self._delay = MIN_RESTART_DELAY
        self.process: multiprocessing.process.BaseProcess | None = None
        self.start_at = time.monotonic()

    def start(self) -> None:
        assert _FORK is not None
        self._started = time.monotonic()
        process = _FORK.Process(target=_run_worker, args=self._target)
        process.start()
        self.process = process

    def schedule_restart(self) -> None:
        """If the process has died, report it and schedule its replacement."""
        if self.process is None or self.process.is_alive():
            return
        now = time.monotonic()
        if now - self._started >= STABLE_AFTER:
            self._delay = MIN_RESTART_DELAY
        self.start_at = now + self._delay
        print(
            f"framewire: worker {self.process.pid} exited with status {self.process.exitcode};"
            f" restarting in {self._delay:g} s",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        self.process = None
        self._delay = min(2 * self._delay, MAX_RESTART_DELAY)


def reserve_port(host: str | None, port: int) -> socket.socket:
    """Bind a socket, without listening, to reserve an address for the workers.

    The address is first bound without SO_REUSEPORT. With that option alone, another program that
    listens there with the same option would share the port.

    Args:
        host: The address; None for all.
        port: The port; 0 for a free one.

    Returns:
        The socket, which must stay open while workers run.

    Raises:
        OSError: If another program uses the address.
        FramewireError: On systems other than Linux.
    """
    if _FORK is None:
        raise FramewireError("several workers need Linux; on other systems, start one process for each port")
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as exclusive:
        exclusive.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        exclusive.bind(address)
        address = exclusive.getsockname()
    reserved = socket.socket(family, kind, protocol)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(address)
    return reserved


def supervise(count: int, work: Callable[[int], None], grace: float, on_ready: Callable[[], None]) -> int:
    """Run workers until SIGINT or SIGTERM, and replace those that die.

    At the first signal, each worker gets SIGTERM. At a second signal, or when the grace period
    ends, the remaining workers are killed. Must be called in the only thread of the process,
    because it forks and blocks signals.

    Args:
        count: Number of workers.
        work: Called in each worker process with its number, 0 to `count - 1`.
        grace: Seconds that workers have to close their connections after SIGTERM.
        on_ready: Called when the first worker has called `notify_ready`.

    Returns:
        0 if all workers exited with status 0 after the signal, else 1.

    Raises:
        OSError: A worker cannot be started, or `on_ready` or standard error has failed; the workers
            have ended as after a signal.
    """
    # Blocked signals stay pending until `_wait_for_signal` takes them; in a worker, until
    # `notify_ready` unblocks them, when it has handlers.
    signal.pthread_sigmask(signal.SIG_BLOCK, _supervised_signals())
    workers = [_Worker(number, work) for number in range(count)]
    try:
        _restart_until_signal(workers, on_ready)
    finally:  # also after an error, because `multiprocessing` waits at exit for running workers
        status = _stop([worker.process for worker in workers if worker.process], grace + _EXIT_TIMEOUT)
    return status


def _restart_until_signal(workers: list[_Worker], on_ready: Callable[[], None]) -> None:
    """Start the workers, and replace those that die, until SIGINT or SIGTERM."""
    ready = False
    while True:
        for worker in workers:
            if worker.process is None and worker.start_at <= time.monotonic():
                worker.start()
        start_times = [worker.start_at for worker in workers if worker.process is None]
        match _wait_for_signal(min(start_times) if start_times else None):
            case signal.SIGINT | signal.SIGTERM:
                return
            case signal.SIGUSR1 if not ready:
                ready = True
                on_ready()
        for worker in workers:
            worker.schedule_restart()


def _stop(processes: list[multiprocessing.process.BaseProcess], timeout: float) -> int:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + timeout
    while any(process.is_alive() for process in processes):
        if _wait_for_signal(deadline) in (None, signal.SIGINT, signal.SIGTERM):
            for process in processes:
                process.kill()
    return int(any(process.exitcode for process in processes))


def _supervised_signals() -> set[signal.Signals]:
    return {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1}


def _wait_for_signal(deadline: float | None) -> int | None:
    """Return the next signal; None if the deadline passes first."""
    if deadline is None or deadline - time.monotonic() > TIMEOUT_MAX:
        return signal.sigwaitinfo(_supervised_signals()).si_signo
    received = signal.sigtimedwait(_supervised_signals(), max(deadline - time.monotonic(), 0))
    return received and received.si_signo


def _run_worker(parent: int, number: int, work: Callable[[int], None]) -> None:
    """Run in a worker process.

    Ctrl-C at the terminal reaches the supervisor, which then stops the workers. The kernel sends
    SIGTERM when the supervisor dies; the comparison of process ids covers a death before `prctl`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:
        work(number)


def notify_ready() -> None:
    """Tell the supervisor that this worker listens and handles SIGTERM."""
    if (parent := multiprocessing.parent_process()) is not None and os.getppid() == parent.pid:
        os.kill(os.getppid(), signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _supervised_signals())
