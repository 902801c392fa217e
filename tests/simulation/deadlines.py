"""When the connection of one end has to end, by the settings: a second opinion on what the session does."""

from __future__ import annotations

from math import inf
from typing import Any

from framewire import State
from framewire.session.settings import ConnectionSettings

from .schedule import check

__all__ = ["Deadlines"]

# Members of enums are slow to look up before Python 3.12.
OPEN = State.OPEN


class Deadlines:
    """Takes note of what happens at one end, and checks that nothing is late.

    Args:
        settings: The settings of the connection.
        lag: How much later than its deadline something may happen, in seconds.
        now: The time at which the connection has opened.
        interval: Seconds between two looks at the clock, besides for the end of the connection; 0 if a
            timer is set for each time.
    """

    def __init__(self, settings: ConnectionSettings, lag: float, now: float = 0.0, interval: float = 0.0) -> None:
        self.settings = settings
        self.lag = lag
        #: When the closing handshake, or the end of TCP, began.
        self.ending_at: float | None = None
        #: When the failure arrived that is held back.
        self.failing_at: float | None = None
        #: When the peer was heard or has taken something that waited for it last, or the end did not read.
        self.active_at = now
        self._processed = 0  # bytes of the peer, at the last look
        self.message_at, self.messages = now, 0
        self._opened_at = now
        self._excused = False
        every, timeout, idle = settings.ping_interval, settings.ping_timeout, settings.idle_timeout
        # Activity is looked at in eighths of a timeout, and counts from then on.
        self._silence = inf if every is None or timeout is None else every + 1.125 * timeout + lag + 3 * interval
        self._idleness = inf if idle is None else 1.125 * idle + lag + 2 * interval
        self._age = inf if settings.total_timeout is None else settings.total_timeout + lag + interval
        #: Whether the time of messages matters.
        self.may_be_idle = idle is not None

    def note_activity(self, now: float) -> None:
        """Take note that the peer is heard, or takes something that has waited or for which we do not read."""
        if now - self.active_at > self._silence and not self._excused:
            check(self._is_over, "keepalive", f"still open after a silence of {now - self.active_at} s")
        self.active_at = now

    def note_processed(self, now: float, size: int) -> None:
        """Take note of how many bytes of the peer have been processed so far: a pong may be in what was held back."""
        if size != self._processed:
            self._processed = size
            self.note_activity(now)

    def note_reading(self, now: float, excused: bool) -> None:
        """Take note of whether the silence of the peer is our own doing: we do not read, and nothing waits for it."""
        if excused or self._excused:
            self.note_activity(now)
            self._excused = excused

    def note_messages(self, now: float, messages: int) -> None:
        """Take note of how many messages have been sent and received so far."""
        if messages != self.messages:
            self._check_idle(now)
            self.messages, self.message_at = messages, now

    def note_state(self, now: float, session: Any) -> None:
        """Take note of the state of the session."""
        limit, failing_at = self.settings.close_timeout, self.failing_at
        if failing_at is not None and limit is not None:
            took = now - failing_at
            check(took <= limit + self.lag, "deadline", f"a failure was held back for {took} s")
        if session.stream.failing is None:
            self.failing_at = None
        elif failing_at is None:
            self.failing_at = now
        if session.state is not OPEN and self.ending_at is None:
            if failing_at is None:
                self._check_open(now)
            self.ending_at = now

    def check_end(self, now: float) -> None:
        """Check that no deadline of the connection has passed.

        Args:
            now: When the connection has ended, or the simulation, if that is earlier.
        """
        limit = self.settings.close_timeout
        if self.failing_at is not None and limit is not None:
            took = now - self.failing_at
            check(took <= limit + self.lag, "deadline", f"a failure was held back for {took} s")
        if not self._is_over:
            self._check_open(now)
        if self.ending_at is not None and limit is not None:
            last = self.ending_at + limit + self.lag
            check(now <= last, "deadline", f"still there at {now}, after {last}")

    @property
    def _is_over(self) -> bool:
        return self.ending_at is not None or self.failing_at is not None

    def _check_open(self, now: float) -> None:
        """Check that the connection may have been open until now."""
        check(now - self._opened_at <= self._age, "total_timeout", f"still open at {now}")
        self._check_idle(now)
        self.note_activity(now)

    def _check_idle(self, now: float) -> None:
        idle = now - self.message_at
        check(idle <= self._idleness or self._is_over, "idle_timeout", f"still open after {idle} s without messages")
