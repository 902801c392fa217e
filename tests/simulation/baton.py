"""Threads of which one runs at a time, in virtual time: who goes on is drawn from the seed.

They are threads of the system, with a baton that one hands to the next. It can change hands at
every call of a lock, a condition, an event or a socket, and, if `lines` is above 0, at any line of
the code under test. What one line does is never interrupted: the scheduler shows what goes wrong
between lines, not what goes wrong within C.
"""

from __future__ import annotations

import _thread
import errno
import sys
from collections.abc import Callable
from math import inf
from types import FrameType, SimpleNamespace
from typing import Any

from .network import Network, SimulatedSocket
from .programs import check

__all__ = ["Scheduler", "ThreadNetwork"]

#: Switches in one run at most: more are a loop that waits for nothing.
MAX_SWITCHES = 400_000


#: At how many of the switches at lines the process may be late. There are so many of them that each
#: end would otherwise be too slow for the timeouts of the other one, without any fault.
LATE_LINES = 0.02


class Killed(BaseException):
    """Ends a thread of a run that has failed."""


class Scheduler:
    """The threads of one run.

    Args:
        network: The clock, the events and the choices.
        lines: The probability of a switch at a line.
        traced: Folders of the code in which lines are switched at.
    """

    def __init__(self, network: Network, lines: float, traced: tuple[str, ...]) -> None:
        self.network = network
        self.lines = lines
        self.traced = traced
        self.current = Thread(self, name="main")
        self.threads = [self.current]
        self.failure: BaseException | None = None
        self.switches = 0
        self._choosing = False
        #: What stands in for the module `threading`.
        self.threading = SimpleNamespace(
            Thread=lambda **arguments: Thread(self, **arguments),
            Timer=lambda seconds, function: Timer(self, seconds, function),
            Lock=lambda: Lock(self),
            RLock=lambda: Condition(self),
            Condition=lambda lock: lock,  # which is one already
            Event=lambda: Event(self),
            current_thread=lambda: self.current,
        )

    def pause(self, ready: Callable[[], object] | None = None, until: float = inf, *, late: bool = True) -> bool:
        """Let other threads run; return once `ready()` is true, or at the time `until`.

        Args:
            ready: What is waited for; None: nothing.
            until: When waiting ends.
            late: Whether the process may be late.

        Returns:
            Whether it is ready.
        """
        if self.failure is not None:
            raise Killed
        thread = self.current
        thread.ready, thread.until = ready, until
        following = self._choose(late)
        if following is not thread:
            self.current = following
            following.baton.release()
            thread.baton.acquire()
        if self.failure is not None:
            raise Killed
        return ready is None or bool(ready())

    def sleep(self, seconds: float) -> None:
        """Sleep in virtual time."""
        self.pause(lambda: False, self.network.now + seconds)

    def fail(self, error: BaseException) -> None:
        """End the run: every thread is killed at its next call of this class."""
        self.failure = self.failure or error

    def _choose(self, late: bool = True) -> Thread:
        """Return the thread that goes on; let time pass until there is one."""
        network = self.network
        assert not self._choosing
        self._choosing = True  # the checks call code under test: no switch there
        try:
            self.switches += 1
            check(self.switches <= MAX_SWITCHES, "hang", f"threads go round in circles: {self.list_running()}")
            network.now += (late and network.lateness()) or 1e-6
            network.process()
            while not (ready := [thread for thread in self.threads if thread.is_ready()]):
                network.idle()
                when = min(network.next_time, *(thread.until for thread in self.threads), inf)
                check(when < inf, "hang", f"nothing will ever happen: {self.list_running()}")
                network.now = max(network.now, when)
                network.process()
        except BaseException as error:
            self.fail(error)
            return self.current
        finally:
            self._choosing = False
        if self.current in ready and network.random() < 0.5:
            return self.current
        return ready[network.randrange(len(ready))]

    def run(self, program: Callable[[], object]) -> None:
        """Run a program in this thread, with the threads that it starts, until all have ended."""
        try:
            self._trace()
            program()
            self.pause(lambda: len(self.threads) == 1)
        except BaseException as error:
            if not isinstance(error, Killed):
                self.fail(error)
        finally:
            sys.settrace(self._earlier)
            main = self.threads[0]
            for thread in self.threads[1:]:
                self.current = thread
                thread.baton.release()
                main.baton.acquire()
        if self.failure is not None:
            raise self.failure

    def end(self, thread: Thread) -> None:
        """Hand the baton over at the end of a thread."""
        thread.alive = False
        self.threads.remove(thread)
        following = self._choose() if self.failure is None else thread
        self.current = self.threads[0] if self.failure is not None else following
        self.current.baton.release()

    def list_running(self) -> list[str]:
        """Return the names of the threads that have not ended."""
        return [thread.name for thread in self.threads]

    # Switches at lines.

    def _trace(self) -> None:
        self._earlier = sys.gettrace()
        if self.lines:
            sys.settrace(self.trace_call)

    def trace_call(self, frame: FrameType, event: str, argument: object) -> Any:
        """Trace the lines of the code under test."""
        return self._trace_line if frame.f_code.co_filename.startswith(self.traced) else None

    def _trace_line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line" and not self._choosing and self.network.random() < self.lines:
            self.pause(late=self.network.random() < LATE_LINES)
        return self._trace_line


class Thread:
    """A `threading.Thread`."""

    def __init__(
        self,
        scheduler: Scheduler,
        target: Callable[..., object] | None = None,
        name: str = "",
        args: tuple[Any, ...] = (),
        daemon: bool = False,
    ) -> None:
        self.scheduler = scheduler
        self.name = name
        self.daemon = daemon
        self.alive = False
        self.ready: Callable[[], object] | None = None
        self.until = inf
        self.baton = _thread.allocate_lock()
        self.baton.acquire()
        self._work = target, args

    def is_ready(self) -> bool:
        """Return whether the thread can go on."""
        return self.ready is None or self.until <= self.scheduler.network.now or bool(self.ready())

    def start(self, pause: bool = True) -> None:
        scheduler = self.scheduler
        if scheduler.failure is not None:
            raise Killed
        self.alive = True
        scheduler.threads.append(self)
        _thread.start_new_thread(self._run, ())
        if pause:
            scheduler.pause()

    def _run(self) -> None:
        scheduler = self.scheduler
        self.baton.acquire()
        try:
            if scheduler.failure is None:
                if scheduler.lines:
                    sys.settrace(scheduler.trace_call)
                self.run()
        except Killed:
            pass
        except BaseException as error:
            scheduler.fail(error)
        finally:
            sys.settrace(None)
            scheduler.end(self)

    def run(self) -> None:
        target, args = self._work
        assert target is not None
        target(*args)

    def is_alive(self) -> bool:
        return self.alive

    def join(self, timeout: float | None = None) -> None:
        self.scheduler.pause(lambda: not self.alive, _until(self.scheduler, timeout))


class Timer(Thread):
    """A `threading.Timer`."""

    def __init__(self, scheduler: Scheduler, seconds: float, function: Callable[[], object]) -> None:
        super().__init__(scheduler, function, "timer")
        self._seconds = seconds
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def run(self) -> None:
        if not self.scheduler.pause(lambda: self._cancelled, _until(self.scheduler, self._seconds)):
            super().run()


class Lock:
    """A `threading.Lock`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.owner: Thread | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        until = inf if timeout < 0 else self._scheduler.network.now + timeout
        self._scheduler.pause()
        if self.owner is not None and not (blocking and self._scheduler.pause(self.is_free, until)):
            return False
        self.owner = self._scheduler.current
        return True

    def release(self) -> None:
        self._check_owned(self.owner is not None, "a lock is released that nobody holds")
        self.owner = None
        self._scheduler.pause()

    def _check_owned(self, owned: bool, text: str) -> None:
        if self._scheduler.failure is not None:  # a killed thread may have been waiting for it
            raise Killed
        check(owned, "lock", text)

    def is_free(self) -> bool:
        return self.owner is None

    def locked(self) -> bool:
        return self.owner is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class RLock(Lock):
    """A `threading.RLock`."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self.owner is not self._scheduler.current and not super().acquire(blocking, timeout):
            return False
        self._depth += 1
        return True

    def release(self) -> None:
        self._check_owned(self.owner is self._scheduler.current, "a lock is released that another thread holds")
        self._depth -= 1
        if not self._depth:
            super().release()


class Condition(RLock):
    """A `threading.RLock` and the `threading.Condition` on it."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self._waiting: list[list[bool]] = []

    def wait(self, timeout: float | None = None) -> bool:
        self._check_owned(self.owner is self._scheduler.current, "a thread waits for a condition that it does not hold")
        notified = [False]
        self._waiting.append(notified)
        depth, self._depth, self.owner = self._depth, 0, None
        self._scheduler.pause(lambda: notified[0], _until(self._scheduler, timeout))
        self._waiting = [each for each in self._waiting if each is not notified]
        self._scheduler.pause(self.is_free)
        self.owner, self._depth = self._scheduler.current, depth
        return notified[0]

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        until = _until(self._scheduler, timeout)
        while not (result := predicate()) and self._scheduler.network.now < until:
            self.wait(None if until == inf else until - self._scheduler.network.now)
        return result

    def notify_all(self) -> None:
        self._check_owned(self.owner is self._scheduler.current, "a thread notifies a condition that it does not hold")
        for each in self._waiting:
            each[0] = True
        self._waiting.clear()


class Event:
    """A `threading.Event`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        return self._scheduler.pause(self.is_set, _until(self._scheduler, timeout))


def _until(scheduler: Scheduler, timeout: float | None) -> float:
    return inf if timeout is None else scheduler.network.now + timeout


class ThreadNetwork(Network):
    """A network whose sockets are used by threads; `scheduler` is set before the first one."""

    scheduler: Scheduler

    def make_socket(self) -> SimulatedSocket:
        return ThreadSocket(self, self.scheduler)


class ThreadSocket(SimulatedSocket):
    """A socket at each call of which another thread may go on."""

    def __init__(self, network: Network, scheduler: Scheduler) -> None:
        super().__init__(network)
        #: Whether threads call it; otherwise the network's events do.
        self.by_threads = True
        self._scheduler = scheduler
        self._waiters = 0

    def recv_into(self, buffer: Any) -> int:
        self._begin_call()
        return super().recv_into(buffer)

    def send(self, data: Any) -> int:
        self._begin_call()
        return super().send(data)

    def shutdown(self, how: int) -> None:
        self._begin_call()
        super().shutdown(how)

    def wait(self, mask: int, seconds: float | None) -> bool:
        """Wait until it is ready for reading or writing."""
        check(not self.closed, "closed", "a thread waits for a socket that is closed")
        self._waiters += 1
        try:
            return self._scheduler.pause(lambda: self.is_ready(mask), _until(self._scheduler, seconds))
        finally:
            self._waiters -= 1

    def close(self) -> None:
        # Its descriptor may be that of another file at once.
        check(not self._waiters, "closed", "a socket is closed while another thread waits for it")
        super().close()

    def _begin_call(self) -> None:
        if self.by_threads:
            self._scheduler.pause()
            if self.closed:
                raise OSError(errno.EBADF, "simulated: bad file descriptor")
