"""Run many schedules on several processes, or one again."""

from __future__ import annotations

import gc
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterator

from .kinds import KINDS, failure_of, run, shrink_failure

__all__ = ["campaign", "replay"]

#: Schedules that a process runs between two reports.
CHUNK = 200


def run_chunk(work: tuple[str, int, int]) -> tuple[str, int, list[tuple[int, str, str]]]:
    """Run the seeds of a range; return those that fail, each with the property and a text."""
    kind, first, last = work
    gc.freeze()  # each schedule ends with a collection of garbage
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


def campaign(kinds: list[str], schedules: int, first: int, processes: int) -> int:
    """Run so many schedules of each kind, on several processes, and show the progress."""
    work = _chunks(kinds, schedules, first)
    seen: dict[tuple[str, str], tuple[int, int, str]] = {}
    begin = shown = time.monotonic()
    counts = dict.fromkeys(kinds, 0)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for kind, count, failures in pool.imap_unordered(run_chunk, work):
            counts[kind] += count
            for seed, name, text in failures:
                if (kind, name) not in seen:
                    print(f"--kind {kind} --seed {seed}: {name}: {text}", file=sys.stderr, flush=True)
                number, least, least_text = seen.get((kind, name), (0, seed, text))
                seen[kind, name] = (number + 1, *min((least, least_text), (seed, text)))
            now = time.monotonic()
            if now - shown >= 10 or sum(counts.values()) == schedules * len(kinds):
                shown = now
                done = ", ".join(f"{count} {kind}" for kind, count in counts.items())
                rate = sum(counts.values()) / (now - begin)
                print(f"{done}; {rate:.0f} a second; {len(seen)} kinds of failures", file=sys.stderr, flush=True)
    for (kind, name), (number, seed, text) in sorted(seen.items()):
        print(f"{kind}: {number} of {name}; replay with --kind {kind} --seed {seed}\n  {text}")
    print(", ".join(f"{count} {kind}" for kind, count in counts.items()), "schedules,", len(seen), "kinds of failures")
    return bool(seen)


def _chunks(kinds: list[str], schedules: int, first: int) -> Iterator[tuple[str, int, int]]:
    for begin in range(first, first + schedules, CHUNK):
        for kind in kinds:
            yield kind, begin, min(begin + CHUNK, first + schedules)
