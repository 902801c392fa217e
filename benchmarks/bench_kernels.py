"""The C kernels without Python: kernels.c, compiled on demand, with every instruction set that this processor runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from .compiled import build_program
from .inputs import size_name
from .recorded import SIMDUTF_ASCII, SIMDUTF_OTHER
from .tables import FAST, Goal, Table
from .timing import Effort

SIMDUTF = "simdutf (recorded)"
#: What the program calls the plain loop, and what it is held to.
XOR = "wideXOR"
TITLES = {
    "mask": f"masking; {XOR} is the copying loop of widest_xor.h",
    "utf8": "UTF-8: finding the valid prefix, counting code points",
    "transcode": "UTF-8 to code points, alone and with all that a masked text takes before it",
}


def tables(effort: Effort) -> Iterator[Table]:
    program = build_program("kernels")
    for group, title in TITLES.items():
        table = Table("kernels", title, "call", ["framewire: the best instruction set of this processor"], rates=True)
        rounds = str(max(1, 3 * effort.turns))
        output = subprocess.run([program, rounds, group], check=True, capture_output=True, text=True).stdout
        for what, size, rates in parsed(output):
            figures = {name: size / rate for name, rate in rates.items()}
            if what.startswith("prefix"):
                recorded = SIMDUTF_ASCII if what.endswith("ascii") else SIMDUTF_OTHER
                figures |= {SIMDUTF: size / recorded[size]} if size in recorded else {}
            goals = [Goal(SIMDUTF, 1 / 0.8)] + ([Goal(XOR, 1 / 0.9)] if what == "mask" else [])
            table.add(f"{what}, {size_name(size)}", figures, goals, size)
        yield table


def parsed(output: str) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Rows of the program's output: what was measured, the size in bytes, and GB/s by contender.

    A heading names the columns: first the rivals, then the instruction sets, best first.
    """
    columns: list[str] = []
    for line in output.splitlines():
        what, cells = line[:22].strip(), line[22:].split()
        if what == "GB/s":
            _, *columns = cells
        elif what:
            size, *rates = cells
            yield (
                what,
                int(size),
                {_renamed(name, columns): float(rate) for name, rate in zip(columns, rates, strict=True)},
            )


def _renamed(name: str, columns: list[str]) -> str:
    """The first column that is no rival is ours."""
    ours = next(column for column in columns if column not in ("memcpy", XOR))
    return FAST if name == ours else name
