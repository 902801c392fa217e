"""What one connection may take, on asyncio."""

from __future__ import annotations

from dataclasses import dataclass

from ..session.settings import BaseLimits

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(BaseLimits):
    """Those of every API, sizes in bytes, the length of the queue in messages, and what may wait for the network."""

    max_size: int | tuple[int | None, int | None] | None = 1 << 20
    max_queue: int | tuple[int, int | None] | None = 16
    write_limit: int | tuple[int, int | None] = 1 << 15
    max_unsent: int | None = 1 << 24

    def sizes(self) -> tuple[int | None, int | None]:
        """The largest message and the largest frame."""
        return self.max_size if isinstance(self.max_size, tuple) else (self.max_size, None)

    def queue_marks(self) -> tuple[float, float]:
        """The lengths of the queue above which reading stops and down to which it goes on."""
        high, low = self.max_queue if isinstance(self.max_queue, tuple) else (self.max_queue, None)
        if high is None:
            return float("inf"), float("inf")
        return high, high // 4 if low is None else low

    def write_marks(self) -> tuple[int, int | None]:
        """The sizes of the transport's buffer above which `send` waits and down to which it waits."""
        return self.write_limit if isinstance(self.write_limit, tuple) else (self.write_limit, None)

    def beat(self) -> float | None:
        """How often the times of an open connection are looked at: an eighth of the shortest, at most each second."""
        times = [time for time in (self.ping_interval, self.idle_timeout, self.total_timeout) if time is not None]
        if self.ping_interval is not None and self.ping_timeout is not None:
            times.append(self.ping_timeout)
        return min(1.0, max(0.01, min(times) / 8)) if times else None
