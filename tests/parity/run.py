"""Run the test suite of `websockets` against framewire: how much of a program works after changing
its imports.

    python run.py FOLDER [PART ...] [--list] [--factor N]

FOLDER is a checkout of the repository python-websockets/websockets, of a version near the installed
one. Its tests are copied to a temporary folder, their imports are changed, and they run with
framewire at one end of each connection and the installed `websockets` at the other. Texts of
exceptions are compared, but fail no test. `known.py` says of each known failure whether it is a
documented difference, internal to websockets, or fails with `websockets` itself. What fails besides
is a name or parameter that framewire lacks, or an undocumented difference; these are listed, and
the exit status is then 1.

This script is not part of the test suite, because it needs that checkout and takes minutes.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from known import KNOWN
from rewrite import rewrite_folder, rewrite_module

import framewire

HERE = Path(__file__).parent
#: The folder that framewire is imported from.
SOURCES = Path(framewire.__file__).resolve().parents[1]

#: The parts, and the modules of each.
PARTS = {
    "asyncio": ["asyncio/test_server.py", "asyncio/test_client.py", "asyncio/test_connection.py"],
    "sync": ["sync/test_server.py", "sync/test_client.py", "sync/test_connection.py"],
    "trio": ["trio/test_server.py", "trio/test_client.py", "trio/test_connection.py"],
    "routers": ["asyncio/test_router.py", "sync/test_router.py", "trio/test_router.py"],
    "datastructures": ["test_datastructures.py"],
    "uri": ["test_uri.py"],
    "headers": ["test_headers.py"],
}

#: The columns of the table, by the kinds of failures.
COLUMNS = {
    "passed": "passed",
    "documented": "documented difference",
    "internals": "internals",
    "peer": "fails with websockets too",
    "undocumented": "undocumented difference",
    "lacking": "lacking name or parameter",
    "skipped": "skipped",
}

#: Kinds of failures that make the exit status 1.
UNEXPECTED = {"undocumented", "lacking"}

_LACKING = re.compile(
    r"cannot import name|NameError|ModuleNotFoundError|AttributeError: .*has no attribute"
    r"|TypeError: .*(?:unexpected keyword argument|positional argument|missing \d+ required)"
)


def prepare(suite, folder):
    """Copy the tests of a checkout to a folder and change them."""
    tests = folder / "tests"
    shutil.copytree(suite / "tests", tests, ignore=shutil.ignore_patterns("legacy", "__pycache__"))
    for name in ("asyncio", "sync", "trio"):
        rewrite_folder(tests / name)
    for name in ("datastructures", "uri", "headers"):
        rewrite_module(tests / f"test_{name}.py")


def run_module(module, folder, factor, seconds):
    """Run the tests of a module; return the worst outcome, the error and the different texts of
    each.
    """
    record = folder / "record"
    record.write_text("")
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), str(SOURCES)]),
        "RECORD": str(record),
        "TEST_SECONDS": "20",
        "WEBSOCKETS_TESTS_TIMEOUT_FACTOR": str(factor),
    }
    options = ["-q", "-p", "recorder", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "ignore", "-o", "addopts="]
    # Threads that a test has left running do not hold up the end.
    program = "import os, sys, pytest; os._exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, *options, f"tests/{module}"]
    results = {}
    try:
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=seconds)
        if done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            last = "".join(done.stdout.splitlines(keepends=True)[-1:])
            error = f"not all of it ran, it ended with status {done.returncode}: {last}{done.stderr[-500:]}"
            results[module] = {"outcome": "failed", "error": error, "texts": []}
    except subprocess.TimeoutExpired:
        results[module] = {"outcome": "failed", "error": f"not all of it ran within {seconds} seconds", "texts": []}
    for line in map(json.loads, record.read_text().splitlines()):
        name = line["test"].removeprefix("tests/")
        if line["outcome"] == "error":  # the module cannot be imported
            tests = re.findall(r"^ +(?:async )?def test_\w+", (folder / "tests" / module).read_text(), re.MULTILINE)
            return {f"{name}::{test.rpartition(' ')[2]}": line for test in tests}
        if name not in results or line["outcome"] != "passed":
            results[name] = line
    return results


def shorten(name):
    """Return a name as `known.py` has it, without the class."""
    module, _, test = name.partition("::")
    return f"{module}::{test.rpartition('::')[2]}"


def print_stale(results):
    """Print the tests of `known.py` that pass in every class that has them."""
    passed = {shorten(name) for name, line in results.items() if line["outcome"] == "passed"}
    passed -= {shorten(name) for name, line in results.items() if line["outcome"] == "failed"}
    for kind, groups in KNOWN.items():
        for cause, tests in groups.items():
            for test in sorted(tests & passed):
                print(f"passes       {test}, which known.py has as {kind}: {cause}", file=sys.stderr)


def classify(name, line):
    """Return the kind of an outcome, a key of COLUMNS."""
    if line["outcome"] in ("passed", "skipped"):
        return line["outcome"]
    for kind, groups in KNOWN.items():
        if any(shorten(name) in tests for tests in groups.values()):
            return kind
    return "lacking" if _LACKING.search(line["error"]) else "undocumented"


def run_part(part, folder, arguments):
    """Run a part; return the kind of each outcome, and print the unexpected ones.

    None if framewire lacks the part.
    """
    modules = [
        module for module in PARTS[part] if "/" not in module or find_spec(f"framewire.{module.partition('/')[0]}")
    ]
    if not modules:
        return None
    kinds, texts = Counter(), 0
    for module in modules:
        results = run_module(module, folder, arguments.factor, arguments.seconds)
        print_stale(results)
        for name, line in results.items():
            kind = classify(name, line)
            kinds[kind] += 1
            texts += len(line["texts"])
            if kind in UNEXPECTED or (arguments.list and kind not in ("passed", "skipped")):
                print(f"{kind:12} {name}: {line['error'].splitlines()[0] if line['error'] else ''}", file=sys.stderr)
    kinds["texts"] = texts
    return kinds


def main():
    """Parse the arguments, run the parts, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("suite", type=Path, help="a checkout of the repository of websockets")
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"some of {', '.join(PARTS)}; all by default")
    parser.add_argument("--list", action="store_true", help="list the known failures too")
    parser.add_argument("--factor", type=float, default=20, help="the unit of times, in milliseconds")
    parser.add_argument("--seconds", type=float, default=900, help="the time that a module may take")
    arguments = parser.parse_args()
    unexpected = 0
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(arguments.suite, folder)
        for part in arguments.parts:
            kinds = run_part(part, folder, arguments)
            if kinds is None:
                rows.append(f"| {part} | not there |" + " |" * len(COLUMNS) + " |")
                continue
            texts = kinds.pop("texts")
            unexpected += sum(kinds[kind] for kind in UNEXPECTED)
            rows.append(f"| {part} | {kinds.total()} | {' | '.join(str(kinds[kind]) for kind in COLUMNS)} | {texts} |")
    print(f"| part | run | {' | '.join(COLUMNS.values())} | other texts |")
    print("|---" * (len(COLUMNS) + 3) + "|")
    print("\n".join(rows))
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
