"""Write the charts, and the figures of the documentation, from results.json and proof.json.

    python -m benchmarks.pages

In a page, the text between `<!-- figures: NAME -->` and `<!-- end of figures -->` is replaced. NAME is
the name of a chart without its suffix, `environment`, `memory`, `proof`, or of the table of servers:
`servers-uvloop`, `servers-asyncio`, `servers-environment`, `servers-goals`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import proof
from .bench_asyncio import GOALS, bare_protocol
from .charts import UNITS, draw, find, label, rates, shown
from .tables import FAST, FLOOR_SERVER, Row, Table, times

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results.json"
CHART_FOLDER = ROOT / "benchmarks/charts"
PAGES = (ROOT / "docs/performance.md", ROOT / "docs/how-to/memory.md", ROOT / "docs/proof.md")

_FIGURES = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)


def read_tables(results: dict[str, Any]) -> list[Table]:
    """Return the tables of the JSON file that `python -m benchmarks --json` writes."""
    tables = []
    for written in results["tables"]:
        rows = [Row(row["label"], row["nanoseconds"], size=row["size"]) for row in written["rows"]]
        tables.append(Table(written["area"], written["title"], written["per"], written["notes"], rows=rows))
    return tables


def server_tables(servers: dict[str, Any]) -> list[Table]:
    """Return a table for each event loop, with the times in the part "servers" of the JSON file."""
    tables = {row["loop"]: Table("servers", f"servers, {row['loop']}", "message", []) for row in servers["rows"]}
    for row in servers["rows"]:
        if row["unit"] == "us":
            nanoseconds = {name: 1000 * value for name, value in row["figures"].items() if value is not None}
            tables[row["loop"]].rows.append(Row(row["load"], nanoseconds))
    return list(tables.values())


def draw_all(results: dict[str, Any], folder: Path) -> None:
    """Write all charts to a folder."""
    draw(read_tables(results), results["environment"], folder)
    if "servers" in results:
        draw(server_tables(results["servers"]), results["servers"]["environment"], folder)


def sections(results: dict[str, Any], campaigns: dict[str, Any]) -> dict[str, str]:
    """Return the Markdown of all figures, by NAME."""
    texts = {
        "environment": "\n".join(environment(results["environment"])),
        "proof": "\n".join(proof.lines(campaigns)),
    }
    for chart, row in find(read_tables(results)):
        texts[chart.file.removesuffix(".svg")] = "\n".join(figures(chart.per_byte, row, results["environment"]))
    if "memory" in results:
        texts["memory"] = "\n".join(memory(results["memory"]))
    if "servers" in results:
        texts["servers-environment"] = "\n".join(environment(results["servers"]["environment"]))
        for loop in {row["loop"] for row in results["servers"]["rows"]}:
            texts[f"servers-{loop}"] = "\n".join(servers(results["servers"], loop))
        texts["servers-goals"] = "\n".join(goals(results["servers"]))
    return texts


def environment(about: dict[str, str]) -> Iterator[str]:
    """Yield the lines of the table of the environment."""
    yield from ("| | |", "|---|---|")
    for name, value in about.items():
        yield f"| {name} | {value} |"


def figures(per_byte: bool, row: Row, about: dict[str, str]) -> Iterator[str]:
    """Yield the lines of the table next to a chart: rates, and the ratio of framewire's to each."""
    yield from (f"| | {UNITS[per_byte]} | framewire is |", "|---|---|---|")
    amounts = rates(row, per_byte)
    for name, rate in sorted(amounts.items(), key=lambda item: -item[1]):
        ratio = "" if name == FAST else f"{times(amounts[FAST] / rate)} as fast"
        yield f"| {label(name, about)} | {shown(rate)} | {ratio} |"


def memory(measured: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table that `python -m benchmarks.memory` prints."""
    connections, size, date = measured["connections"], measured["bytes"], measured["date"]
    yield f"KiB of resident memory per connection of the server, averaged over {connections} connections, {date}:"
    yield ""
    yield f"| window bits / memory level | idle | after {size // 1000} KB each way | zlib alone |"
    yield "|---|---|---|---|"
    for row in measured["rows"]:
        alone = "" if row["floor"] is None else f"{row['floor']}"
        yield f"| {row['label']} | {row['idle']} | {row['after']} | {alone} |"


def servers(measured: dict[str, Any], loop: str) -> Iterator[str]:
    """Yield the lines of the table that `python -m benchmarks.bench_asyncio` prints for an event loop,
    with a line for each server.
    """
    rows = [row for row in measured["rows"] if row["loop"] == loop and row["unit"] != "ratio"]
    yield "".join(["| |", *(f" {row['load']}, {row['unit']} |" for row in rows)])
    yield "|---" * (len(rows) + 1) + "|"
    for name in dict.fromkeys(name for row in rows for name in row["figures"]):
        cells = (f" {_figure(row['figures'][name])} |" if name in row["figures"] else " |" for row in rows)
        yield "".join([f"| {label(name, measured['environment'])} |", *cells])


def _figure(value: float | None) -> str:
    """Format a figure of a server; None if it failed."""
    return "failed" if value is None else shown(value)


def goals(measured: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of the goals. On each event loop: the ratio of two costs, and that
    of the floor and of a bare protocol to the second.
    """
    loops = list(dict.fromkeys(row["loop"] for row in measured["rows"]))
    figures = {(row["loop"], row["load"]): row["figures"] for row in measured["rows"]}
    yield "".join(["| load | ratio | goal |", *(f" {loop} | floor | bare |" for loop in loops)])
    yield "|---" * (3 + 3 * len(loops)) + "|"
    for load, ours, reference, goal in GOALS:
        cells, divisor = [], FLOOR_SERVER if reference == "floor" else reference
        for loop in loops:
            costs = figures.get((loop, load), {})
            base = 1.0 if divisor is None else costs.get(divisor)
            if base is None or ours not in costs:
                break
            ratio = math.inf if costs[ours] is None else costs[ours] / base
            cells.append(f" {ratio:.2f}{'' if ratio <= goal else ', missed'} |")
            for other in (FLOOR_SERVER, bare_protocol(load, ours)):
                known = costs.get(other) is not None and other != divisor
                cells.append(f" {costs[other] / base:.2f} |" if known else " |")
        else:
            names = (label(name, measured["environment"]) for name in (ours, divisor) if name is not None)
            yield "".join([f"| {load} | {' / '.join(names)} | {goal:.2f} |", *cells])


def fill(page: str, texts: dict[str, str]) -> str:
    """Return a page with its figures replaced; KeyError if it names figures that were not measured."""
    return _FIGURES.sub(lambda match: f"{match[1]}\n{texts[match[2]]}\n\n", page)


def main() -> None:
    results = json.loads(RESULTS.read_text())
    draw_all(results, CHART_FOLDER)
    texts = sections(results, json.loads(proof.RESULTS.read_text()))
    for page in PAGES:
        page.write_text(fill(page.read_text(), texts))


if __name__ == "__main__":
    main()
