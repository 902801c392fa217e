"""Run the benchmarks: print a table for each area, and whether each goal is met."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from .charts import draw
from .environment import describe
from .results import put
from .tables import Table
from .timing import FULL, QUICK, Effort

#: The areas, from `Stream` to its parts; the module of each is bench_AREA.py.
AREAS = (
    "twins",
    "decode",
    "large",
    "fragments",
    "send",
    "mask",
    "utf8",
    "accept",
    "deflate",
    "kernels",
    "imports",
    "adapters",
)


def run(areas: list[str], effort: Effort) -> list[Table]:
    """Measure the areas, and print each table as soon as it is complete."""
    tables = []
    for area in areas:
        for table in import_module(f".bench_{area}", __package__).tables(effort):
            print("", *table.lines(), sep="\n", flush=True)
            tables.append(table)
    return tables


def summary(tables: list[Table]) -> Iterator[str]:
    """Yield lines: the number of goals met, then the goals missed."""
    rows = [(f"  {table.area}, {table.title}; {row.label}: ", row) for table in tables for row in table.rows]
    verdicts = [(label, verdict) for label, row in rows for verdict in row.verdicts()]
    missed = [f"{label}{verdict}" for label, verdict in verdicts if not verdict.met]
    yield f"{len(verdicts) - len(missed)} of {len(verdicts)} goals met"
    yield from missed


def as_json(tables: list[Table]) -> list[dict[str, Any]]:
    """Return all tables for a JSON file, with times in nanoseconds."""
    return [
        {
            "area": table.area,
            "title": table.title,
            "per": table.per,
            "notes": table.notes,
            "rows": [
                {
                    "label": row.label,
                    "size": row.size,
                    "nanoseconds": {name: float(f"{time:.4g}") for name, time in row.nanoseconds.items()},
                    "verdicts": [str(verdict) for verdict in row.verdicts()],
                }
                for row in table.rows
            ],
        }
        for table in tables
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"{', '.join(AREAS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="take less than a minute, with rough figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help="draw the charts into FOLDER")
    options = parser.parse_args()
    if unknown := set(options.areas) - set(AREAS):
        parser.error(f"unknown area {', '.join(sorted(unknown))}; the areas are {', '.join(AREAS)}")
    environment = describe()
    for name, value in environment.items():
        print(f"{name}: {value}")
    tables = run(options.areas or list(AREAS), QUICK if options.quick else FULL)
    print("", *summary(tables), sep="\n")
    if options.json:
        put(options.json, environment=environment, tables=as_json(tables))
    if options.charts:
        draw(tables, environment, options.charts)


if __name__ == "__main__":
    main()
