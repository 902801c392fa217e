"""Run many schedules on several processes, or one again."""

from __future__ import annotations

import gc
import json
import multiprocessing
import sys
import time
import traceback
from pathlib import Path

from .kinds import KINDS, failure_of, run, shrink_failure

__all__ = ["campaign", "replay"]

#: Schedules that a process runs between two reports.
CHUNK = 200


def prepare() -> None:
    """Prepare a process for chunks."""
    gc.freeze()  # each schedule ends with a collection of garbage


def run_chunk(work: tuple[str, int, int]) -> tuple[str, int, list[tuple[int, str, str]]]:
    """Run the seeds of a range; return those that fail, each with the property and a text."""
    kind, first, last = work
    failures = []
    for seed in range(first, last):
        try:
            run(kind, KINDS[kind].draw(seed))
        except Exception as error:
            failures.append((seed, getattr(error, "name", type(error).__name__), str(error)))
    return kind, last - first, failures


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
        state: Keeps the progress: a campaign that was stopped goes on from here.
    """
    chunks = _chunks(kinds, schedules, first)
    progress = _Progress(kinds, first)
    if state is not None and state.exists():
        progress.load(state)
    before = progress.chunks
    begin = shown = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(processes, prepare) as pool:
        for chunk in pool.imap(run_chunk, chunks[before:]):
            progress.add(*chunk)
            now = time.monotonic()
            if now - shown >= 10 or progress.chunks == len(chunks):
                shown = now
                if state is not None:
                    progress.save(state)
                rate = (progress.chunks - before) * CHUNK / (now - begin)
                failures = f"{len(progress.failures)} kinds of failures"
                print(f"{progress}; {rate:.0f} a second; {failures}", file=sys.stderr, flush=True)
    for (kind, name), (number, seed, text) in sorted(progress.failures.items()):
        print(f"{kind}: {number} of {name}; replay with --kind {kind} --seed {seed}\n  {text}")
    print(progress, "schedules,", len(progress.failures), "kinds of failures")
    return bool(progress.failures)


class _Progress:
    """The schedules that a campaign has run, in the order of their seeds.

    Args:
        kinds: The kinds of schedules.
        first: The first seed.
    """

    def __init__(self, kinds: list[str], first: int) -> None:
        self._campaign = {"kinds": kinds, "first": first}
        #: Calls of `run_chunk`.
        self.chunks = 0
        #: Schedules of each kind.
        self.counts = dict.fromkeys(kinds, 0)
        #: Of each kind and property: how many failed, the least seed, its text.
        self.failures: dict[tuple[str, str], tuple[int, int, str]] = {}

    def add(self, kind: str, count: int, failures: list[tuple[int, str, str]]) -> None:
        self.chunks += 1
        self.counts[kind] += count
        for seed, name, text in failures:
            if (kind, name) not in self.failures:
                print(f"--kind {kind} --seed {seed}: {name}: {text}", file=sys.stderr, flush=True)
            number, least, least_text = self.failures.get((kind, name), (0, seed, text))
            self.failures[kind, name] = (number + 1, *min((least, least_text), (seed, text)))

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in self.counts.items())

    def load(self, state: Path) -> None:
        kept = json.loads(state.read_text())
        if kept["campaign"] != self._campaign:
            sys.exit(f"{state} is of another campaign: {kept['campaign']}")
        self.chunks, self.counts = kept["chunks"], kept["counts"]
        self.failures = {(kind, name): tuple(rest) for kind, name, *rest in kept["failures"]}

    def save(self, state: Path) -> None:
        failures = [(*key, *value) for key, value in self.failures.items()]
        kept = {"campaign": self._campaign, "chunks": self.chunks, "counts": self.counts, "failures": failures}
        new = state.with_suffix(".new")
        new.write_text(json.dumps(kept))
        new.replace(state)


def _chunks(kinds: list[str], schedules: int, first: int) -> list[tuple[str, int, int]]:
    starts = range(first, first + schedules, CHUNK)
    return [(kind, start, min(start + CHUNK, first + schedules)) for start in starts for kind in kinds]
