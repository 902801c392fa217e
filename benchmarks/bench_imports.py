"""Imports: the processor time that they add to the start of an interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from .contenders import available
from .tables import FAST, FLOOR, PURE, Goal, Table
from .timing import Effort

TARGET, WSPROTO, WEBSOCKETS = "target", "wsproto", "websockets"


class Import(NamedTuple):
    """A row of the table.

    Attributes:
        label: The part of framewire.
        module: Its module.
        floor: Modules of the standard library that it needs.
        peers: Modules of the peers by column.
        target: The largest time on the machine that the target was set for, in milliseconds; 0 for
            no target.
        goals: Goals relative to the peers.
    """

    label: str
    module: str
    floor: str
    peers: Mapping[str, str]
    target: float
    goals: tuple[Goal, ...]


IMPORTS = (
    Import("engine", "framewire", "typing, enum, zlib", {WSPROTO: "wsproto"}, 25, (Goal(WSPROTO, 25 / 32),)),
    Import(
        "asyncio",
        "framewire.asyncio",
        "asyncio",
        {WEBSOCKETS: "websockets.asyncio.server, websockets.asyncio.client"},
        60,
        (Goal(WEBSOCKETS, 60 / 70),),
    ),
    Import(
        "threads",
        "framewire.sync",
        "socket, ssl, threading, logging",
        {WEBSOCKETS: "websockets.sync.server, websockets.sync.client"},
        0,
        (Goal(WEBSOCKETS, 1),),
    ),
)


class Start(NamedTuple):
    """A start of an interpreter that imports modules.

    Attributes:
        modules: The modules, separated by commas.
        environment: The environment of the process.
    """

    modules: str
    environment: Mapping[str, str]

    def run(self) -> int:
        """Run the process and return its processor time in nanoseconds.

        Raises:
            ImportError: A module cannot be imported.
        """
        program = f"import {self.modules}, time; print(time.process_time_ns())"
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ImportError(done.stderr.strip().splitlines()[-1])
        return int(done.stdout)


def _start(modules: str, folder: str, backend: str = "") -> Start:
    """Return a start whose bytecode is cached in `folder`."""
    # Without a cache of its own, a package that was installed with bytecode would have an
    # advantage.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "FRAMEWIRE_BACKEND": backend}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = Start(modules, environment)
    start.run()  # fills the cache
    return start


def _measure(row: Import, folder: str, starts: int) -> dict[str, float]:
    """Return the added time in nanoseconds, by column."""
    makers = {
        FAST: partial(_start, row.module, folder, "fast"),
        PURE: partial(_start, row.module, folder, "pure"),
        **{name: partial(_start, modules, folder) for name, modules in row.peers.items()},
        FLOOR: partial(_start, row.floor, folder),
        "": partial(_start, "sys", folder),
    }
    contenders = available(makers)
    times: dict[str, list[int]] = {name: [] for name in contenders}
    for _ in range(starts):
        for name, start in contenders.items():
            times[name].append(start.run())
    bare = median(times.pop(""))
    return {name: median(samples) - bare for name, samples in times.items()}


def tables(effort: Effort) -> Iterator[Table]:
    notes = [
        f"{TARGET}: the largest time on the machine that it was set for; the goals relative to peers hold on any",
        f"{FLOOR}: modules of the standard library alone: {'; '.join(row.floor for row in IMPORTS)}",
        "median of interleaved starts, less that of a start without imports; bytecode of all modules is cached",
    ]
    table = Table("imports", "imports, added to the start of an interpreter", "start, processor time", notes)
    with TemporaryDirectory() as folder:
        for row in IMPORTS:
            figures = _measure(row, folder, max(1, effort.turns // 2))
            goals = row.goals
            if row.target:
                figures[TARGET] = row.target * 1e6
                goals = (*goals, Goal(TARGET, 1))
            table.add(row.label, figures, goals)
    yield table
