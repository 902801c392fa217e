"""The kinds of simulated worlds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .asyncio_world import AsyncioWorld
from .driver_schedules import draw_asyncio_schedule, draw_threads_schedule, draw_trio_schedule
from .schedule import Schedule, shrink
from .session_schedules import draw_session_schedule
from .session_world import SessionWorld
from .threads_world import ThreadsWorld
from .trio_world import TrioWorld

__all__ = ["KINDS", "Kind", "failure_of", "name_of", "run", "shrink_failure"]


class Kind(NamedTuple):
    """How schedules of a kind are drawn from a seed, and what runs them."""

    draw: Callable[[int], Schedule]
    world: Callable[[Schedule], Any]


KINDS = {
    "asyncio": Kind(draw_asyncio_schedule, AsyncioWorld),
    "session": Kind(draw_session_schedule, SessionWorld),
    "threads": Kind(draw_threads_schedule, ThreadsWorld),
    "trio": Kind(draw_trio_schedule, TrioWorld),
}


def run(kind: str, schedule: Schedule) -> str:
    """Run a schedule; return a line that tells how it went. Raises if a property does not hold."""
    line: str = KINDS[kind].world(schedule).run()
    return line


def failure_of(kind: str, schedule: Schedule) -> Exception | None:
    """Return the exception with which a schedule fails; None if everything holds."""
    try:
        run(kind, schedule)
    except Exception as error:
        return error
    return None


def name_of(failure: Exception | None) -> str:
    """Return the name of the property that does not hold, or of the exception."""
    return getattr(failure, "name", type(failure).__name__)


def shrink_failure(kind: str, schedule: Schedule) -> Schedule:
    """Return the smallest schedule found that fails as this one does."""
    expected = name_of(failure_of(kind, schedule))
    return shrink(schedule, lambda candidate: name_of(failure_of(kind, candidate)) == expected)
