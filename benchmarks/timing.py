"""Timing on machines that are never quiet: contenders take turns, and each keeps its best turn.

The load of other processes comes and goes within seconds, so what is compared is measured interleaved (A B A B), and
the minimum counts: nothing makes code faster than it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from timeit import Timer
from typing import Any, NamedTuple


class Call(NamedTuple):
    """What is timed: `function(*arguments)`. Its answer is not kept."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    def timer(self) -> Timer:
        """A timer whose own cost is one step of a `for` loop, about 10 ns."""
        names = {f"a{index}": argument for index, argument in enumerate(self.arguments)}
        return Timer(f"f({', '.join(names)})", globals={"f": self.function, **names})


class Effort(NamedTuple):
    """How long to measure: `turns` for each contender, each about `seconds` long; sizes up to `largest` bytes."""

    turns: int
    seconds: float
    largest: int

    def sizes(self, *wanted: int) -> list[int]:
        """Those of the wanted sizes that are not too large, at least the smallest."""
        return [size for size in wanted if size <= max(self.largest, min(wanted))]


FULL = Effort(turns=7, seconds=0.02, largest=16 << 20)
QUICK = Effort(turns=3, seconds=0.002, largest=1 << 20)
#: Runs every line of code once and checks every answer; its figures mean nothing.
TRIAL = Effort(turns=1, seconds=0, largest=16 << 10)


def measure(calls: Mapping[str, Call], effort: Effort, per: int = 1) -> dict[str, float]:
    """Times all calls in turns; returns the nanoseconds of the best turn of each, divided by `per`."""
    timers = {name: call.timer() for name, call in calls.items()}
    once = {name: timer.timeit(1) for name, timer in timers.items()}
    rounds = {name: max(1, int(effort.seconds / max(seconds, 1e-7))) for name, seconds in once.items()}
    best = dict.fromkeys(timers, float("inf"))
    for _ in range(effort.turns):
        for name, timer in timers.items():
            best[name] = min(best[name], timer.timeit(rounds[name]) / rounds[name])
    return {name: seconds * 1e9 / per for name, seconds in best.items()}
