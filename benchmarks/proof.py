"""Run a campaign of proof.mk, and keep its counts in proof.json, for docs/proof.md.

    python -m benchmarks.proof NAME [VARIABLE=VALUE...]

This runs `make NAME VARIABLE=VALUE...` and shows its output. If it succeeds, the row of NAME (of NAME
and KINDS, if those are chosen) becomes the date, the tree, the command and the counts that the
output tells; then run `python -m benchmarks.pages`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from .results import put

__all__ = ["CAMPAIGNS", "RESULTS", "count", "key", "lines", "row"]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/proof.json"

_PYTEST = {"tests passed": r"(\d+) passed"}
_EXECUTIONS = {"executions": r"number_of_executed_units: +(\d+)"}
#: What each campaign counts: the numbers in all matches of a pattern are added up; a pattern without
#: a group counts its matches; ranges of numbers are listed.
CAMPAIGNS: dict[str, dict[str, str]] = {
    "autobahn": {
        f"cases {verdict}": rf"^(?:server|client) .*\.\*:.*?(\d+) {verdict}\b"
        for verdict in ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED")
    },
    "microhttpd": {
        "cases": r"^  total +(\d+)", "passed": r"^  total +\d+ +(\d+)",
        "known bugs of libmicrohttpd_ws": r"^  total(?: +\d+){3} +(\d+)$",
    },
    "handlers": {
        "handlers": r"^(\d+) handlers, ", "scenarios": r"^\d+ handlers, .*?(\d+) scenarios",
        "the same": r"^\d+ handlers, .*?(\d+) same",
    },
    "wpt": {
        "pages": r"^all +(\d+) pages", "subtests passed": r"^all .* (\d+) passed", "others": r"^all .* (\d+) others",
    },
    "upstream": {
        "tests": r": (\d+) tests, \d+ pass without", "passed without framewire": r"(\d+) pass without",
        "with another result": r"(\d+) differ with it",
    },
    "parity": {"tests": r"^\| \w[^|]* \| (\d+) \|", "passed": r"^\| \w[^|]* \| \d+ \| (\d+) \|"},
    "interop": {"exchanges": r"'[^']+': (\d+)(?=.* exchanges, )"},
    "simulate": {
        **{
            f"schedules on {kind}": rf"(\d+) {kind}(?=.* schedules, )"
            for kind in ("session", "asyncio", "threads", "trio")
        },
        "seeds": r"^\d.* schedules, seeds (\d+ to \d+)",
    },
    "symbolic": {"lemmas confirmed": r"Confirmed over all paths"},
    "fuzz-kernels": _EXECUTIONS,
    "fuzz-twins": _EXECUTIONS,
    "mutants": {
        "mutants": r"^\w+: (\d+) mutants, ", "killed": r"^\w+: .* (\d+) killed, ",
        "equivalent": r"^\w+: .* (\d+) equivalent, ",
    },
    "mutants-kernels": {
        "mutants": r"^(\d+) mutants, ", "refused by the compiler": r"^\d+ mutants, (\d+) do not compile",
        "equivalent": r"^\d+ mutants, .* (\d+) survive$",
    },
    "asan": _PYTEST,
    "valgrind": {"seeds": r": (\d+) seeds$"},
    "leaks": {
        "connections": r"^(\d+) connections: ", "objects left": r": (\d+) objects, ",
        "bytes left for each": r"([\d.]+) bytes for each",
    },
    "free-threaded": _PYTEST,
    "tsan": _PYTEST,
    "qemu": {"processors": r"^\w+: \w[\w ]*$"},
    "qemu-twins": {"machines": r"^\w+: \d+ s$", **_PYTEST},
    "wasm": _PYTEST,
    "pypy": _PYTEST,
    "soak": {"connections": r"^(\d+) connections, ", "messages checked": r"(\d+) messages checked"},
}  # fmt: skip


def count(campaign: str, output: str) -> dict[str, float | str]:
    """Return the counts in the output of a campaign, by name; those that it does not have are left out."""
    counts: dict[str, float | str] = {}
    for what, text in CAMPAIGNS[campaign].items():
        pattern = re.compile(text, re.MULTILINE)
        found = pattern.findall(output)
        if any(" to " in each for each in found):
            counts[what] = ", ".join(dict.fromkeys(found))
        elif found:
            counts[what] = sum(map(_number, found)) if pattern.groups else len(found)
    return counts


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)


def key(campaign: str, variables: list[str]) -> str:
    """Return the name of the row of a campaign: the kinds of one have rows of their own."""
    return " ".join([campaign, *(variable for variable in variables if variable.startswith("KINDS="))])


def row(campaign: str, variables: list[str], output: str) -> dict[str, Any]:
    """Return the row of a campaign that has just ended; the paths of this machine are left out."""
    counts = count(campaign, output)
    if not counts:
        raise ValueError(f"the output of {campaign} counts nothing")
    shown = [re.sub(r"=[/~.]\S*", "=PATH", variable) for variable in variables]
    tree = _git("rev-parse", "--short", "HEAD")
    if _git("status", "--porcelain", "--", "src", "cext", "tests"):
        tree += " and changes"
    command = " ".join(["make", campaign, *shown])
    return {"date": date.today().isoformat(), "tree": tree, "command": command, "counts": counts}


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def lines(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table of docs/proof.md."""
    yield from ("| command | counts | date | tree |", "|---|---|---|---|")
    for campaign in CAMPAIGNS:
        for name in sorted(name for name in rows if name.partition(" ")[0] == campaign):
            kept = rows[name]
            counts = ", ".join(
                f"{what} {number}" if isinstance(number, str) else f"{number:,} {what}"
                for what, number in kept["counts"].items()
            )
            yield f"| `{kept['command']}` | {counts} | {kept['date']} | {kept['tree']} |"


def main() -> int:
    campaign, *variables = sys.argv[1:]
    if campaign not in CAMPAIGNS:
        sys.exit(f"no such campaign: {campaign}; there are {', '.join(CAMPAIGNS)}")
    output = []
    with subprocess.Popen(
        ["make", campaign, *variables], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            output.append(line)
    if not process.returncode:
        put(RESULTS, **{key(campaign, variables): row(campaign, variables, "".join(output))})
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
