"""The counters of several worker processes, in memory that they share."""

from __future__ import annotations

from mmap import mmap
from typing import Any, Final

from ..asyncio.metrics import Counters

__all__ = ["CounterTable", "WorkerCounters"]

_NAMES: Final = tuple(name for name in Counters().as_dict() if name != "closes")
#: One column for each close code below this number (RFC 6455 7.4.2 ends the registry at 4999).
_CLOSE_CODES: Final = 5000
_COLUMNS: Final = len(_NAMES) + _CLOSE_CODES


class CounterTable:
    """A row of 64-bit counters for each worker, in shared memory; to be created before the fork.

    Each worker writes its own row only, one aligned 64-bit number at a time, so readers need no
    lock. A lock could stay held by a worker that dies.

    Args:
        rows: Number of workers. A row takes 40 KB.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._cells = memoryview(mmap(-1, 8 * _COLUMNS * rows)).cast("Q")

    def write(self, row: int, counters: Counters) -> None:
        """Store the counters of a worker in its row."""
        numbers = counters.as_dict()
        closes: dict[int, int] = numbers.pop("closes")
        start = row * _COLUMNS
        for index, name in enumerate(_NAMES):
            self._cells[start + index] = numbers[name]
        for code, count in closes.items():
            self._cells[start + len(_NAMES) + code] = count

    def read(self, row: int) -> dict[str, Any]:
        """Return the counters in a row, in the form of `Counters.as_dict`."""
        start = row * _COLUMNS
        closes_start = start + len(_NAMES)
        closes = self._cells[closes_start : start + _COLUMNS].tolist()
        return {
            **dict(zip(_NAMES, self._cells[start:closes_start], strict=True)),
            "closes": {code: count for code, count in enumerate(closes) if count},
        }

    def total(self) -> Counters:
        """Return the sums over all rows."""
        total = Counters()
        for row in range(self._rows):
            total.merge(self.read(row))
        return total


class WorkerCounters:
    """The row of one worker process.

    A worker that replaces a dead one adds to the counters that its predecessor left in the row, so
    that the totals never decrease; only the number of open connections starts at 0 again.
    """

    def __init__(self, table: CounterTable, row: int) -> None:
        self._table, self._row = table, row
        self._previous = {**table.read(row), "connections_open": 0}

    def write(self, counters: Counters) -> None:
        """Publish the counters of this process to the other workers."""
        counters.merge(self._previous)
        self._table.write(self._row, counters)

    def total(self, counters: Counters) -> Counters:
        """Publish the counters of this process and return the sums over all workers."""
        self.write(counters)
        return self._table.total()
