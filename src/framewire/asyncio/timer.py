"""One timer for the keepalive and the timeouts of many open connections.

A timer or a task for each connection would cost more memory than everything else that an idle one
needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

from ..session.settings import ConnectionSettings

__all__ = ["SharedTimer"]

#: So many members are called before other callbacks of the loop have their turn: a fraction of a
#: millisecond.
_MEMBERS_PER_TURN: Final = 256


class Timed(Protocol):
    """A member of a `SharedTimer`."""

    def look_at_clock(self) -> None:
        """Do what is due."""


class SharedTimer:
    """Calls `look_at_clock` of its members again and again; rests while it has none.

    The interval is an eighth of the shortest time in the settings, at most 1 s. Without times it
    never calls.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        times = [settings.ping_interval, settings.idle_timeout, settings.total_timeout]
        if settings.ping_interval is not None:
            times.append(settings.ping_timeout)
        seconds = [time for time in times if time is not None]
        self._interval = min(1.0, max(0.01, min(seconds) / 8)) if seconds else None
        self._members: set[Timed] = set()
        self._handle: asyncio.Handle | None = None
        self._clock: Callable[[], float] | None = None

    def clock(self, loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
        """Return the clock of the members, in seconds; uvloop's own has whole milliseconds."""
        if self._clock is None:
            self._clock = loop.time if isinstance(loop, asyncio.BaseEventLoop) else monotonic
        return self._clock

    def add(self, member: Timed) -> None:
        """Begin to call a member."""
        if self._interval is not None:
            self._members.add(member)
            if self._handle is None:
                self._wait()

    def discard(self, member: Timed) -> None:
        """Stop calling a member, if it is one."""
        self._members.discard(member)
        if not self._members and self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _wait(self) -> None:
        assert self._interval is not None
        self._handle = asyncio.get_running_loop().call_later(self._interval, self._begin)

    def _begin(self) -> None:
        self._call_some(list(self._members))

    def _call_some(self, members: list[Timed]) -> None:
        rest = members[_MEMBERS_PER_TURN:]
        if rest:
            self._handle = asyncio.get_running_loop().call_soon(self._call_some, rest)
        else:
            self._wait()
        for member in members[:_MEMBERS_PER_TURN]:
            member.look_at_clock()
