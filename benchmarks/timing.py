"""Timing on machines that are never quiet: contenders take turns, and each keeps its best turn.

The load of other processes comes and goes, so what is compared is measured interleaved (A B A B), in turns shorter than
a slice of the scheduler, by the processor time of this thread; and the minimum counts: nothing makes code faster than
it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import thread_time
from timeit import Timer
from typing import Any, NamedTuple


class Call(NamedTuple):
    """What is timed: `function(*arguments)`. Its answer is not kept."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    def timer(self) -> Timer:
        """A timer whose own cost is one step of a `for` loop, about 10 ns."""
        names = {f"a{index}": argument for index, argument in enumerate(self.arguments)}
        return Timer(f"f({', '.join(names)})", timer=thread_time, globals={"f": self.function, **names})


class Effort(NamedTuple):
    """How long to measure: up to `turns` of about `seconds` for each contender; sizes up to `largest` bytes.

    A contender whose single call is longer than a turn gets fewer of them, but at least 3.
    """

    turns: int
    seconds: float
    largest: int

    def sizes(self, *wanted: int) -> list[int]:
        """Those of the wanted sizes that are not too large, at least the smallest."""
        return [size for size in wanted if size <= max(self.largest, min(wanted))]


FULL = Effort(turns=60, seconds=0.002, largest=16 << 20)
QUICK = Effort(turns=8, seconds=0.0005, largest=1 << 20)
#: Runs every line of code once and checks every answer; its figures mean nothing.
TRIAL = Effort(turns=1, seconds=0, largest=16 << 10)


def measure(calls: Mapping[str, Call], effort: Effort, per: int = 1) -> dict[str, float]:
    """Times all calls in turns; returns the nanoseconds of the best turn of each, divided by `per`."""
    timers = {name: call.timer() for name, call in calls.items()}
    best = {name: _first(timer) for name, timer in timers.items()}
    counts = {name: max(1, int(effort.seconds / once)) for name, once in best.items()}
    spent = dict.fromkeys(timers, 0.0)
    for turn in range(effort.turns):
        for name, timer in timers.items():
            if turn < 3 or spent[name] < effort.turns * effort.seconds:
                seconds = timer.timeit(counts[name])
                spent[name] += seconds
                best[name] = min(best[name], seconds / counts[name])
    return {name: seconds * 1e9 / per for name, seconds in best.items()}


def _first(timer: Timer) -> float:
    """About how many seconds one call takes."""
    once = timer.timeit(1)
    return once if once > 1e-5 else timer.timeit(50) / 50
