"""Run a campaign of proof.mk, and keep its counts in proof.json, for docs/proof.md.

    python -m benchmarks.proof NAME [VARIABLE=VALUE...]
    python -m benchmarks.proof --check

The first runs `make NAME VARIABLE=VALUE...` and shows its output. If it succeeds, the row of NAME (of
NAME, KINDS and FIRST, if those are chosen) becomes the date, the tree, the command and the counts that
the output tells; then run `python -m benchmarks.pages`. The tree is a commit: there must be no changes
before, and none afterwards. The second lists the rows that are older than the last change of the C
code, which run again, or are removed; the exit status is 1 if there are any.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from .results import put

__all__ = ["CAMPAIGNS", "RESULTS", "changes", "count", "key", "lines", "outdated", "row", "run"]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/proof.json"
#: Files that no campaign reads: figures, and pages.
APART = (":!benchmarks/*.json", ":!benchmarks/charts", ":!docs", ":!*.md")

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
    "symbolic": {"lemmas confirmed": r": info: Confirmed over all paths"},
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
    """Return the name of the row of a campaign: its kinds and ranges of seeds have rows of their own."""
    return " ".join([campaign, *(variable for variable in variables if variable.startswith(("KINDS=", "FIRST=")))])


def row(campaign: str, variables: list[str], output: str, tree: str) -> dict[str, Any]:
    """Return the row of a campaign that has just ended; the paths of this machine are left out."""
    counts = count(campaign, output)
    if not counts:
        raise ValueError(f"the output of {campaign} counts nothing")
    shown = [re.sub(r"=[/~.]\S*", "=PATH", variable) for variable in variables]
    command = " ".join(["make", campaign, *shown])
    return {"date": date.today().isoformat(), "tree": tree, "command": command, "counts": counts}


def changes(tree: str) -> list[str]:
    """Return the files of the working tree that differ from a commit, besides `APART`."""
    changed = _git("diff", "--name-only", tree, "--", ".", *APART).splitlines()
    return changed + _git("ls-files", "--others", "--exclude-standard", "--", ".", *APART).splitlines()


def outdated(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return the campaigns whose rows are of a tree without the last change of the C code."""
    contains = ["git", "merge-base", "--is-ancestor", _git("log", "-1", "--format=%H", "--", "cext")]
    return [name for name in rows if subprocess.run([*contains, rows[name]["tree"]], cwd=ROOT, check=False).returncode]


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


def run(campaign: str, variables: list[str]) -> dict[str, Any] | None:
    """Run a campaign and return its row, None if it fails.

    Raises ValueError if the working tree is no commit, before or afterwards.
    """
    tree = _git("rev-parse", "--short", "HEAD")
    if changed := changes(tree):
        raise ValueError(f"not the tree {tree}: {', '.join(changed)} have changes")
    output = []
    with subprocess.Popen(
        ["make", campaign, *variables], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            output.append(line)
    if process.returncode:
        return None
    if changed := changes(tree):
        raise ValueError(f"no longer the tree {tree}: {', '.join(changed)} have changed meanwhile")
    return row(campaign, variables, "".join(output), tree)


def main() -> int:
    campaign, *variables = sys.argv[1:]
    if campaign == "--check":
        old = outdated(json.loads(RESULTS.read_text()))
        print(*(f"older than the last change of the C code: {name}" for name in old), sep="\n")
        return bool(old)
    if campaign not in CAMPAIGNS:
        sys.exit(f"no such campaign: {campaign}; there are {', '.join(CAMPAIGNS)}")
    try:
        kept = run(campaign, variables)
    except ValueError as error:
        sys.exit(f"no row is written: {error}")
    if kept is None:
        sys.exit(f"no row is written: make {campaign} has failed")
    put(RESULTS, **{key(campaign, variables): kept})
    return 0


if __name__ == "__main__":
    sys.exit(main())
