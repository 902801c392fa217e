"""The counters of several processes, in memory that they share."""

from __future__ import annotations

from mmap import mmap
from typing import Any, Final

from ..asyncio.metrics import Counters

__all__ = ["Share", "Tally"]

_NAMES: Final = tuple(name for name in Counters().as_dict() if name != "closes")
_CODES: Final = 5000  # close codes end below (RFC 6455 7.4.2)
_WIDTH: Final = len(_NAMES) + _CODES


class Tally:
    """A row of 64-bit numbers for each of `rows` processes, 40 KB each; to be made before they are forked.

    A process writes its row only, and whole numbers at a time; so there is no lock that one who dies could keep.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._cells = memoryview(mmap(-1, 8 * _WIDTH * rows)).cast("Q")

    def write(self, row: int, counters: Counters) -> None:
        """Puts the numbers of a process into its row."""
        numbers = counters.as_dict()
        closes: dict[int, int] = numbers.pop("closes")
        begin = row * _WIDTH
        for index, name in enumerate(_NAMES):
            self._cells[begin + index] = numbers[name]
        for code, times in closes.items():
            self._cells[begin + len(_NAMES) + code] = times

    def read(self, row: int) -> dict[str, Any]:
        """The numbers in a row, as `Counters.as_dict` gives them."""
        begin = row * _WIDTH
        first_close = begin + len(_NAMES)
        closes = self._cells[first_close : begin + _WIDTH].tolist()
        return {
            **dict(zip(_NAMES, self._cells[begin:first_close], strict=True)),
            "closes": {code: times for code, times in enumerate(closes) if times},
        }

    def total(self) -> Counters:
        """The sums over all rows."""
        total = Counters()
        for row in range(self._rows):
            total.merge(self.read(row))
        return total


class Share:
    """One process and its row, which goes on from what the process had counted whose place it takes."""

    def __init__(self, tally: Tally, row: int) -> None:
        self._tally, self._row = tally, row
        self._past = {**tally.read(row), "connections_open": 0}

    def write(self, counters: Counters) -> None:
        """Puts what this process has counted into the row, for the others to see."""
        counters.merge(self._past)
        self._tally.write(self._row, counters)

    def total(self, counters: Counters) -> Counters:
        """That, and then the sums over all processes."""
        self.write(counters)
        return self._tally.total()
