"""The C kernels without Python, with every instruction set that this processor supports.

Runs kernels.c, which is compiled on demand.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from .compiled import build_program
from .inputs import size_name
from .recorded import SIMDUTF_ASCII, SIMDUTF_OTHER
from .tables import FAST, Goal, Table
from .timing import Effort

SIMDUTF = "simdutf (recorded)"
#: The column of the program's output for the XOR loop of widest_xor.h.
XOR = "wideXOR"
TITLES = {
    "mask": f"masking; {XOR} is the copying loop of widest_xor.h",
    "utf8": "UTF-8: finding the valid prefix, counting code points",
    "transcode": "UTF-8 to code points, alone and after unmasking, validating and counting",
}


def tables(effort: Effort) -> Iterator[Table]:
    program = build_program("kernels")
    for group, title in TITLES.items():
        table = Table("kernels", title, "call", ["framewire: the best instruction set of this processor"], rates=True)
        rounds = str(max(1, 3 * effort.turns))
        output = subprocess.run([program, rounds, group], check=True, capture_output=True, text=True).stdout
        for label, size, rates in parse_rows(output):
            figures = {name: size / rate for name, rate in rates.items()}
            if label.startswith("prefix"):
                recorded = SIMDUTF_ASCII if label.endswith("ascii") else SIMDUTF_OTHER
                figures |= {SIMDUTF: size / recorded[size]} if size in recorded else {}
            goals = [Goal(SIMDUTF, 1 / 0.8)] + ([Goal(XOR, 1 / 0.9)] if label == "mask" else [])
            table.add(f"{label}, {size_name(size)}", figures, goals, size)
        yield table


def parse_rows(output: str) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Parse the output of the program.

    A heading line names the columns: first the references, then the instruction sets, best first.

    Yields:
        The label of a row, the size in bytes, and GB/s by column.
    """
    columns: list[str] = []
    for line in output.splitlines():
        label, cells = line[:22].strip(), line[22:].split()
        if label == "GB/s":
            _, *columns = cells
        elif label:
            size, *rates = cells
            yield (
                label,
                int(size),
                {_rename(name, columns): float(rate) for name, rate in zip(columns, rates, strict=True)},
            )


def _rename(name: str, columns: list[str]) -> str:
    """Return the name of a column; the best instruction set becomes `FAST`."""
    best = next(column for column in columns if column not in ("memcpy", XOR))
    return FAST if name == best else name
