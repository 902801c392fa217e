"""Rows of measured figures, the goals they are held to, and how both are printed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

FAST, PURE, FLOOR = "framewire", "pure", "floor"
#: In nanoseconds. A single call may end before the clock has moved.
_LEAST = 1e-3

#: A call of as many arguments that does nothing.
EMPTY = "empty call"


@dataclass(frozen=True)
class Goal:
    """`subject` takes at most `most` times as long as `than`: 1.25 allows a quarter more, 1/8 asks for eightfold.

    `limit` is the column with the part of the work that cannot be left out: a goal that is missed stands beside it.
    """

    than: str
    most: float
    subject: str = FAST
    limit: str = FLOOR

    @classmethod
    def faster(cls, than: str, times: float, subject: str = FAST, limit: str = FLOOR) -> Goal:
        """`subject` is at least so many times as fast as `than`."""
        return cls(than, 1 / times, subject, limit)


@dataclass(frozen=True)
class Verdict:
    """One goal in one row, as it came out, and what it would be if the limit were reached."""

    goal: Goal
    ratio: float
    limit: float | None = None

    @property
    def met(self) -> bool:
        return self.ratio <= self.goal.most

    def __str__(self) -> str:
        if self.goal.most < 1:
            figures = f"{times(1 / self.ratio)} as fast as {self.goal.than}, goal {1 / self.goal.most:.3g}x"
        else:
            figures = f"{self.ratio:.2f}x the time of {self.goal.than}, goal at most {self.goal.most:.3g}x"
        if self.limit is not None and not self.met and (self.limit > self.goal.most or self.goal.limit != FLOOR):
            limit = times(1 / self.limit) + " as fast" if self.goal.most < 1 else f"{self.limit:.2f}x the time"
            reach = "out of reach, " if self.limit > self.goal.most else ""
            figures += f"; {reach}the {self.goal.limit} is {limit}"
        return f"{'met   ' if self.met else 'MISSED'} {self.goal.subject}: {figures}"


@dataclass(frozen=True)
class Row:
    """One line: nanoseconds by column, and what is asked of them. `size` in bytes, if it makes a figure per byte."""

    label: str
    nanoseconds: Mapping[str, float]
    goals: tuple[Goal, ...] = ()
    size: int = 0

    def verdicts(self) -> Iterator[Verdict]:
        """Of the goals for which both columns are there."""
        for goal in self.goals:
            if {goal.than, goal.subject} <= self.nanoseconds.keys():
                than, limit = self.nanoseconds[goal.than], self.nanoseconds.get(goal.limit)
                yield Verdict(goal, self.nanoseconds[goal.subject] / than, None if limit is None else limit / than)


@dataclass
class Table:
    """What one area measured: times per `per`; `notes` are the settings of each contender. `rates` shows GB/s."""

    area: str
    title: str
    per: str
    notes: list[str]
    rates: bool = False
    rows: list[Row] = field(default_factory=list)

    def add(self, label: str, figures: Mapping[str, float], goals: Iterable[Goal] = (), size: int = 0) -> None:
        """Appends a row, and shows on a terminal that it is there."""
        figures = {name: max(time, _LEAST) for name, time in figures.items()}
        self.rows.append(Row(label, figures, tuple(goals), size))
        if sys.stderr.isatty():
            print(f"\r\033[K{self.area}: {label}\r", end="", file=sys.stderr, flush=True)

    def columns(self) -> list[str]:
        """All columns, in the order in which they first appear."""
        return list(dict.fromkeys(name for row in self.rows for name in row.nanoseconds))

    def lines(self) -> Iterator[str]:
        """The table as text: each time, and in parentheses how many times as long as framewire's it is."""
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
        """A time or a rate, and how many times as long as framewire takes."""
        nanoseconds, own = row.nanoseconds.get(column), row.nanoseconds.get(FAST)
        if nanoseconds is None:
            return "-"
        shown = f"{row.size / nanoseconds:.3g} GB/s" if self.rates else duration(nanoseconds)
        return shown if own is None or column == FAST else f"{shown} ({times(nanoseconds / own)})"


def times(ratio: float) -> str:
    """As in 0.62x, 4.1x, 120x."""
    return f"{ratio:.{0 if ratio >= 9.95 else 1 if ratio >= 0.995 else 2}f}x"


def duration(nanoseconds: float) -> str:
    """Three digits and a unit."""
    for limit, unit in ((1e3, "ns"), (1e6, "us"), (1e9, "ms")):
        if nanoseconds < limit:
            value = nanoseconds * 1e3 / limit
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
    return f"{nanoseconds / 1e9:.2f} s"
