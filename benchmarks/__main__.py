"""`python -m benchmarks [--quick] [AREA ...]`: runs the areas, prints their tables."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from .timing import FULL, QUICK

AREAS = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    for area in options.areas or AREAS:
        for table in import_module(f"benchmarks.bench_{area}").tables(QUICK if options.quick else FULL):
            print("\n".join(table.lines()), flush=True)


main()
