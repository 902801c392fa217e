"""Schedules: everything that happens in one simulated world, drawn from a seed.

A schedule is data: the options of both ends, their steps and the faults of the network. The same
schedule always runs the same way. One that fails is made smaller by leaving out its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeAlias

__all__ = ["FILLER", "CheckError", "Entry", "Schedule", "check", "make_message", "shrink"]

#: A step of an end or a fault: (time in seconds, end, name, arguments).
Entry: TypeAlias = "tuple[float, int, str, Any]"

#: The content of messages after their number. Text of 1 to 4 bytes a character.
FILLER = "abc é€😀 " * 40_000
_ENCODED = FILLER.encode()


class CheckError(AssertionError):
    """A property does not hold.

    Args:
        name: The property; a schedule is made smaller as long as the same one fails.
        text: What was seen.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


def check(condition: object, name: str, text: str = "") -> None:
    """Raise CheckError unless the condition holds."""
    if not condition:
        raise CheckError(name, text)


@dataclass
class Schedule:
    """One run.

    Args:
        seed: The seed of the run's own choices: cuts, delays and orders.
        options: What differs from the defaults of the world, by name.
        steps: What the ends do.
        faults: What the network and the processes do to them.
    """

    seed: int
    options: dict[str, Any] = field(default_factory=dict)
    steps: list[Entry] = field(default_factory=list)
    faults: list[Entry] = field(default_factory=list)

    def random(self) -> Random:
        """Return a source of the run's own choices."""
        return Random(self.seed ^ 0x5EED)

    def describe(self) -> str:
        """Return the schedule as lines of text."""
        lines = [f"  option {name} = {value!r}" for name, value in self.options.items()]
        for kind in ("steps", "faults"):
            lines += [
                f"  {kind[:-1]} {at:.3f} s, end {end}: {name} {args!r}" for at, end, name, args in getattr(self, kind)
            ]
        return "\n".join(lines)


def make_message(number: int, size: int, text: bool) -> str | bytes:
    """Return a message that no other message of its sender equals, of at least `size` bytes or
    characters.
    """
    head = f"{number}:"
    length = max(0, size - len(head))
    return head + FILLER[:length] if text else head.encode() + _ENCODED[:length]


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Return the smallest schedule that still fails and is reached by leaving out parts of one.

    Args:
        schedule: A schedule that fails.
        fails: Runs a schedule and tells whether it fails in the same way.
    """
    smaller = True
    while smaller:
        smaller = False
        for candidate in _candidates(schedule):
            if fails(candidate):
                schedule, smaller = candidate, True
                break
    return schedule


def _candidates(schedule: Schedule) -> Iterator[Schedule]:
    for name in ("faults", "steps"):
        entries = getattr(schedule, name)
        size = len(entries)
        while size:
            for start in range(0, len(entries), size):
                yield replace(schedule, **{name: entries[:start] + entries[start + size :]})
            size //= 2
    for option in schedule.options:
        yield replace(schedule, options={name: value for name, value in schedule.options.items() if name != option})
