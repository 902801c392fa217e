"""Run many schedules on several processes, or one again."""

from __future__ import annotations

import faulthandler
import gc
import hashlib
import json
import multiprocessing
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import framewire

from .kinds import KINDS, failure_of, run, shrink_failure

__all__ = ["campaign", "replay"]

#: Schedules that a process runs between two reports.
CHUNK = 200

#: How long a process may take for them, in seconds.
CHUNK_TIME = 900

#: Chunks that wait for each process.
WAITING = 4

#: A kind, the first seed and the one after the last.
Chunk: TypeAlias = "tuple[str, int, int]"


def prepare() -> None:
    """Prepare a process for chunks."""
    gc.freeze()  # each schedule ends with a collection of garbage


def run_chunk(chunk: Chunk) -> list[tuple[int, str, str]]:
    """Run the seeds of a range; return those that fail, each with the property and a text."""
    kind, first, end = chunk
    failures = []
    faulthandler.dump_traceback_later(CHUNK_TIME, exit=True)
    for seed in range(first, end):
        try:
            run(kind, KINDS[kind].draw(seed))
        except Exception as error:
            failures.append((seed, getattr(error, "name", type(error).__name__), str(error)))
    faulthandler.cancel_dump_traceback_later()
    return failures


def replay(kind: str, seed: int, smaller: bool) -> int:
    """Run one seed; show the schedule, made smaller if it fails."""
    schedule = KINDS[kind].draw(seed)
    failure = failure_of(kind, schedule)
    if failure is None:
        print(run(kind, schedule))
        return 0
    if smaller:
        schedule = shrink_failure(kind, schedule)
        failure = failure_of(kind, schedule)
    print(f"{kind}, seed {seed}\n{schedule.describe()}")
    traceback.print_exception(failure)
    return 1


def campaign(kinds: list[str], schedules: int, first: int, processes: int, state: Path | None = None) -> int:
    """Run so many schedules of each kind, on several processes, and show the progress.

    Args:
        kinds: The kinds.
        schedules: How many of each.
        first: The first seed.
        processes: How many processes run them.
        state: Keeps the progress: a campaign that was stopped, or is to have more schedules, goes on
            from here.

    Returns:
        0 if every schedule held every property.

    Raises:
        SystemExit: The state is not of this campaign, or a process has died.
    """
    progress = _Progress(kinds, first)
    if state is not None and state.exists():
        progress.load(state)
    begin = shown = time.monotonic()
    before = sum(progress.counts.values())
    for chunk, failures in _results(progress.remaining(schedules), processes):
        progress.add(chunk, failures)
        now = time.monotonic()
        if now - shown >= 10:
            shown = now
            if state is not None:
                progress.save(state)
            rate = (sum(progress.counts.values()) - before) / (now - begin)
            print(f"{progress}; {rate:.0f} a second", file=sys.stderr, flush=True)
    if state is not None:
        progress.save(state)
    for (kind, name), (number, seed, text) in sorted(progress.failures.items()):
        print(f"{kind}: {number} of {name}; replay with --kind {kind} --seed {seed}\n  {text}")
    print(progress.summary())
    return bool(progress.failures)


def _results(chunks: Iterator[Chunk], processes: int) -> Iterator[tuple[Chunk, list[tuple[int, str, str]]]]:
    """Yield the chunks, each with its failures, in their order."""
    waiting: deque[tuple[Chunk, Future[list[tuple[int, str, str]]]]] = deque()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, prepare) as pool:
        try:
            while True:
                for chunk in islice(chunks, WAITING * processes - len(waiting)):
                    waiting.append((chunk, pool.submit(run_chunk, chunk)))
                if not waiting:
                    return
                failures = waiting[0][1].result()
                yield waiting.popleft()[0], failures
        except BrokenProcessPool:
            broken = [chunk for chunk, future in waiting if future.exception() is not None]
            ranges = ", ".join(f"{kind} {start} to {end - 1}" for kind, start, end in broken)
            sys.exit(f"a process has died, or took over {CHUNK_TIME} s, in one of these seeds: {ranges}")


class _Progress:
    """The schedules that a campaign has run, in the order of their seeds.

    Args:
        kinds: The kinds of schedules.
        first: The first seed.
    """

    def __init__(self, kinds: list[str], first: int) -> None:
        self._campaign = {"kinds": kinds, "first": first, "backend": framewire.backend().name, "version": _version()}
        self._first = first
        #: Schedules of each kind.
        self.counts = dict.fromkeys(kinds, 0)
        #: Of each kind and property: how many failed, the least seed, its text.
        self.failures: dict[tuple[str, str], tuple[int, int, str]] = {}

    def remaining(self, schedules: int) -> Iterator[Chunk]:
        """Yield the chunks that are left of so many schedules of each kind."""
        end, counts = self._first + schedules, self.counts
        starts = {kind: range(self._first + count, end, CHUNK) for kind, count in counts.items()}
        for number in range(max(map(len, starts.values()))):
            for kind in counts:
                if number < len(starts[kind]):
                    start = starts[kind][number]
                    yield kind, start, min(start + CHUNK, end)

    def add(self, chunk: Chunk, failures: list[tuple[int, str, str]]) -> None:
        """Take note of the result of the next chunk of its kind."""
        kind, first, end = chunk
        assert first == self._first + self.counts[kind]
        self.counts[kind] += end - first
        for seed, name, text in failures:
            if (kind, name) not in self.failures:
                print(f"--kind {kind} --seed {seed}: {name}: {text}", file=sys.stderr, flush=True)
            number, least, least_text = self.failures.get((kind, name), (0, seed, text))
            self.failures[kind, name] = (number + 1, *min((least, least_text), (seed, text)))

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in self.counts.items())

    def summary(self) -> str:
        """Return the line that `benchmarks.proof` reads."""
        seeds = f"seeds {self._first} to {self._first + max(self.counts.values()) - 1}"
        failures = f"{len(self.failures)} kinds of failures"
        return f"{self} schedules, {seeds}, on {framewire.backend().name}, {failures}"

    def load(self, state: Path) -> None:
        """Go on from a file. Raises SystemExit if it is of another campaign."""
        kept = json.loads(state.read_text())
        for name, value in self._campaign.items():
            if kept["campaign"].get(name) != value:
                sys.exit(f"{state} is of a campaign with {name} {kept['campaign'].get(name)}, not {value}")
        self.counts = kept["counts"]
        self.failures = {(kind, name): tuple(rest) for kind, name, *rest in kept["failures"]}

    def save(self, state: Path) -> None:
        """Keep the progress in a file."""
        failures = [(*key, *value) for key, value in self.failures.items()]
        new = Path(f"{state}.new")
        new.write_text(json.dumps({"campaign": self._campaign, "counts": self.counts, "failures": failures}))
        new.replace(state)


def _version() -> str:
    """Return the version and a digest of the code that is run, the compiled one included."""
    digest = hashlib.sha256()
    for folder in (Path(framewire.__file__).parent, Path(__file__).parent):
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".py", ".so", ".pyd"):
                digest.update(file.read_bytes())
    return f"{framewire.__version__}-{digest.hexdigest()[:12]}"
