"""How much may be received, by `rate_limit`: a second opinion on what the session does."""

from __future__ import annotations

from math import inf

from framewire.session.rate_limit import RateLimit

from .schedule import check

__all__ = ["OVER_RATE", "Rate"]

#: The close code and reason of an end whose peer has sent more than it may.
OVER_RATE = (1008, "rate limit exceeded")

#: What messages and bytes may differ by: a stream counts a header or control frame when it is whole.
_SLACK = (1e-6, 140)


class Rate:
    """Takes note of what one end receives, and checks that it is neither too much nor held up.

    Args:
        limit: The limit.
        lag: How much later than it might something may be received, in seconds.
    """

    def __init__(self, limit: RateLimit, lag: float) -> None:
        self.limit = limit
        most = [inf if each is None else each for each in (limit.messages, limit.size)]
        self._most, self._left = most, most.copy()
        self._received = [0, 0]
        self._when = self._progress_at = 0.0
        # At once after a sixteenth of the interval, or what one message or byte takes.
        self._pause = limit.seconds * max(1 / 16, *(1 / each for each in most)) + lag

    @property
    def used_up(self) -> bool:
        """Whether another message, or another byte, is too much."""
        return any(left < 1 + slack for left, slack in zip(self._left, _SLACK, strict=True))

    def note(self, now: float, messages: int, size: int, stopped: bool) -> bool:
        """Take note of what has been received; return whether it is more than before.

        Args:
            now: The time.
            messages: Messages so far, in all.
            size: Bytes so far, in all.
            stopped: Whether reading has stopped for the limit alone.
        """
        part, self._when = (now - self._when) / self.limit.seconds, now
        received = [messages, size]
        for which, most in enumerate(self._most):
            if most < inf:
                left = min(most, self._left[which] + part * most) - (received[which] - self._received[which])
                check(left >= -_SLACK[which], "rate_limit", f"{received} at {now}, {left} left of {most}")
                self._left[which] = left
        more, self._received = received != self._received, received
        if more or not stopped:
            self._progress_at = now
        check(now - self._progress_at <= self._pause, "rate_limit", f"nothing since {self._progress_at}")
        return more
