"""Tables of measured figures, with goals, and their output as text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

#: Columns: framewire on the compiled and on the pure backend, and the lower bound.
FAST, PURE, FLOOR = "framewire", "pure", "floor"
#: Column: the echo in C, for servers.
FLOOR_SERVER = "floor: a server in C"
#: Column: a compiled function with the same arguments that does nothing.
EMPTY = "empty call"

#: Smallest time, in nanoseconds: a single call may end before the clock advances.
_MIN_TIME = 1e-3


@dataclass(frozen=True)
class Goal:
    """A limit on the time of one column relative to another.

    Attributes:
        than: The column to compare with.
        max_ratio: The largest allowed ratio of the times: 1.25 allows 25 % more time, 1/8 requires
            a factor of 8.
        subject: The column that has the goal.
        limit: The column with the part of the work that is unavoidable; shown if the goal is
            missed.
    """

    than: str
    max_ratio: float
    subject: str = FAST
    limit: str = FLOOR

    @classmethod
    def faster(cls, than: str, times: float, subject: str = FAST, limit: str = FLOOR) -> Goal:
        """Return the goal that `subject` is at least `times` times as fast as `than`."""
        return cls(than, 1 / times, subject, limit)


@dataclass(frozen=True)
class Verdict:
    """The result of one goal in one row.

    Attributes:
        goal: The goal.
        ratio: The measured ratio of the times.
        limit: The ratio that the unavoidable part of the work has, if it was measured.
    """

    goal: Goal
    ratio: float
    limit: float | None = None

    @property
    def met(self) -> bool:
        return self.ratio <= self.goal.max_ratio

    def __str__(self) -> str:
        max_ratio = self.goal.max_ratio
        if max_ratio < 1:
            figures = f"{times(1 / self.ratio)} as fast as {self.goal.than}, goal {1 / max_ratio:.3g}x"
        else:
            figures = f"{self.ratio:.2f}x the time of {self.goal.than}, goal at most {max_ratio:.3g}x"
        if self.limit is not None and not self.met and (self.limit > max_ratio or self.goal.limit != FLOOR):
            limit = times(1 / self.limit) + " as fast" if max_ratio < 1 else f"{self.limit:.2f}x the time"
            reach = "out of reach, " if self.limit > max_ratio else ""
            figures += f"; {reach}the {self.goal.limit} is {limit}"
        return f"{'met   ' if self.met else 'MISSED'} {self.goal.subject}: {figures}"


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        label: The first cell.
        nanoseconds: The times by column.
        goals: The goals.
        size: Bytes per operation, for figures per byte; 0 if they make no sense.
    """

    label: str
    nanoseconds: Mapping[str, float]
    goals: tuple[Goal, ...] = ()
    size: int = 0

    def verdicts(self) -> Iterator[Verdict]:
        """Yield the results of the goals for which both columns were measured."""
        for goal in self.goals:
            if {goal.than, goal.subject} <= self.nanoseconds.keys():
                than, limit = self.nanoseconds[goal.than], self.nanoseconds.get(goal.limit)
                yield Verdict(goal, self.nanoseconds[goal.subject] / than, None if limit is None else limit / than)


@dataclass
class Table:
    """The figures of one area.

    Attributes:
        area: The area.
        title: The title.
        per: The unit of work of a time, such as "message".
        notes: The settings of the contenders.
        rates: Whether to show GB/s instead of times.
        rows: The rows.
    """

    area: str
    title: str
    per: str
    notes: list[str]
    rates: bool = False
    rows: list[Row] = field(default_factory=list)

    def add(self, label: str, figures: Mapping[str, float], goals: Iterable[Goal] = (), size: int = 0) -> None:
        """Append a row; show its label as progress if standard error is a terminal."""
        figures = {name: max(time, _MIN_TIME) for name, time in figures.items()}
        self.rows.append(Row(label, figures, tuple(goals), size))
        if sys.stderr.isatty():
            print(f"\r\033[K{self.area}: {label}\r", end="", file=sys.stderr, flush=True)

    def columns(self) -> list[str]:
        """Return all columns, in the order of their first appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row.nanoseconds))

    def lines(self) -> Iterator[str]:
        """Yield the lines of the table: each time, with its ratio to that of framewire."""
        columns = self.columns()
        yield f"{self.area}: {self.title} (time per {self.per})"
        cells = [["", *columns]]
        for row in self.rows:
            cells.append([row.label] + [self._cell(row, name) for name in columns])
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            first, *others = (text.rjust(width) for text, width in zip(line, widths, strict=True))
            yield "  " + "  ".join([line[0].ljust(len(first)), *others])
        for note in self.notes:
            yield f"  {note}"
        verdicts = [(row.label, verdict) for row in self.rows for verdict in row.verdicts()]
        if verdicts:
            yield f"  goals: {sum(verdict.met for _, verdict in verdicts)} of {len(verdicts)} met"
        for label, verdict in verdicts:
            yield f"    {label.ljust(widths[0])} {verdict}"

    def _cell(self, row: Row, column: str) -> str:
        """Return a time or a rate, with the ratio of the time to that of framewire."""
        nanoseconds, own = row.nanoseconds.get(column), row.nanoseconds.get(FAST)
        if nanoseconds is None:
            return "-"
        shown = f"{row.size / nanoseconds:.3g} GB/s" if self.rates else duration(nanoseconds)
        return shown if own is None or column == FAST else f"{shown} ({times(nanoseconds / own)})"


def times(ratio: float) -> str:
    """Format a ratio, as in 0.62x, 4.1x, 120x."""
    return f"{ratio:.{0 if ratio >= 9.95 else 1 if ratio >= 0.995 else 2}f}x"


def duration(nanoseconds: float) -> str:
    """Format a duration with three digits and a unit."""
    for limit, unit in ((1e3, "ns"), (1e6, "us"), (1e9, "ms")):
        if nanoseconds < limit:
            value = nanoseconds * 1e3 / limit
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
    return f"{nanoseconds / 1e9:.2f} s"
