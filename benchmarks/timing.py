"""Timing on machines with other load: contenders take turns, and the best turn of each counts.

The load of other processes varies, so contenders are measured interleaved (A B A B), in turns
shorter than a time slice of the scheduler, by the processor time of this thread. The minimum
counts, because disturbances only add time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import thread_time
from timeit import Timer
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A call to time: `function(*arguments)`. Its result is dropped at once."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    def timer(self) -> Timer:
        """Return a timer whose overhead is one step of a `for` loop, about 10 ns."""
        names = {f"a{index}": argument for index, argument in enumerate(self.arguments)}
        return Timer(f"f({', '.join(names)})", timer=thread_time, globals={"f": self.function, **names})


class Effort(NamedTuple):
    """How long to measure.

    A contender whose single call takes longer than a turn gets fewer turns, but at least 3.

    Attributes:
        turns: Largest number of turns of each contender.
        seconds: Approximate duration of a turn.
        largest: Largest size to measure, in bytes.
    """

    turns: int
    seconds: float
    largest: int

    def sizes(self, *wanted: int) -> list[int]:
        """Return the sizes up to `largest`, and at least the smallest."""
        return [size for size in wanted if size <= max(self.largest, min(wanted))]


FULL = Effort(turns=60, seconds=0.002, largest=16 << 20)
QUICK = Effort(turns=8, seconds=0.0005, largest=1 << 20)
#: Runs all code once and checks all results, for tests; the figures are meaningless.
TRIAL = Effort(turns=1, seconds=0, largest=16 << 10)


def measure(calls: Mapping[str, Call], effort: Effort, per: int = 1) -> dict[str, float]:
    """Time calls in turns.

    Args:
        calls: The calls by column.
        effort: How long to measure.
        per: The number of messages that a call processes.

    Returns:
        Nanoseconds per message in the best turn of each call, by column.
    """
    timers = {name: call.timer() for name, call in calls.items()}
    best = {name: _estimate(timer) for name, timer in timers.items()}
    counts = {name: max(1, int(effort.seconds / once)) for name, once in best.items()}
    elapsed = dict.fromkeys(timers, 0.0)
    for turn in range(effort.turns):
        for name, timer in timers.items():
            if turn < 3 or elapsed[name] < effort.turns * effort.seconds:
                seconds = timer.timeit(counts[name])
                elapsed[name] += seconds
                best[name] = min(best[name], seconds / counts[name])
    return {name: seconds * 1e9 / per for name, seconds in best.items()}


def _estimate(timer: Timer) -> float:
    """Return the approximate duration of one call in seconds."""
    once = timer.timeit(1)
    return once if once > 1e-5 else timer.timeit(50) / 50
