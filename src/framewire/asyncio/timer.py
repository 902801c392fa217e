"""One timer for all connections of a server: keepalive (RFC 6455 5.5.2), idle time and total time.

A timer or a task for each connection would cost more memory than all else that an idle one needs.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

__all__ = ["Pulse"]

#: So many members are called before other callbacks of the loop have their turn: a fraction of a millisecond.
_AT_ONCE: Final = 256


class Pulsed(Protocol):
    """What has times to look after."""

    def beat(self, now: float) -> None:
        """Look at the clock."""


class Pulse:
    """Calls `beat(now)` of its members every `interval` seconds; never with None. It rests while it has none."""

    def __init__(self, interval: float | None) -> None:
        self._interval = interval
        self._members: set[Pulsed] = set()
        self._timer: asyncio.Handle | None = None

    def add(self, member: Pulsed) -> None:
        """Begin with a member."""
        if self._interval is not None:
            self._members.add(member)
            if self._timer is None:
                self._wait()

    def discard(self, member: Pulsed) -> None:
        """Be done with a member, if it is one."""
        self._members.discard(member)
        if not self._members and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        assert self._interval is not None
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._beat)

    def _beat(self) -> None:
        self._beat_some(list(self._members))

    def _beat_some(self, members: list[Pulsed]) -> None:
        loop = asyncio.get_running_loop()
        rest = members[_AT_ONCE:]
        if rest:
            self._timer = loop.call_soon(self._beat_some, rest)
        else:
            self._wait()
        now = loop.time()
        for member in members[:_AT_ONCE]:
            member.beat(now)
