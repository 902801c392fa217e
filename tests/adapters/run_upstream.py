"""Run the test suites of accelerated libraries with and without framewire.

    python run_upstream.py [NAME | NAME=FOLDER ...]

The suites are taken from the source distributions of the installed versions, which are unpacked
into a temporary folder; that of tornado is part of the installed package. A library whose source
distribution has no tests needs a checkout of its repository: `websockets=FOLDER`. Tests with
different outcomes are printed, and the exit status is then 1. This script is not part of the test
suite, because it takes minutes and a package index.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from framewire.cli.run import environment


class Suite(NamedTuple):
    """A test suite: its path in the source distribution, required packages, pytest options."""

    tests: str
    needs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


SUITES = {
    "wsproto": Suite("tests"),
    "simple-websocket": Suite("tests"),
    "trio-websocket": Suite("tests", ("pytest-trio", "trustme"), ("-o", "trio_mode=true", "-p", "no:asyncio")),
    "hypercorn": Suite("tests", ("pytest-asyncio", "pytest-trio", "httpx")),
    "websocket-client": Suite("websocket/tests"),
    "gunicorn": Suite("tests", ("pytest-asyncio",), ("-k", "websocket")),
    "autobahn": Suite("autobahn.websocket.test", ("twisted",), ("-p", "no:asyncio", "--pyargs")),
    "uvicorn": Suite(
        "tests/protocols/test_websocket.py", ("anyio", "httpx2", "a2wsgi", "trustme"), ("-p", "no:asyncio")
    ),
}
#: Suites that are not part of the source distribution.
CHECKED_OUT = {"websockets": Suite("tests", ("trio", "python-socks"))}

#: Modules of tests in the installed package, which its own module `runtests` runs.
INSTALLED = {"tornado": "tornado.test.websocket_test"}

#: Tests whose outcome differs, because they inject a fault into a function that only the original
#: calls.
EXPECTED = {
    f"tests.test_protocol.ErrorTests::test_{side}_hits_internal_error_reading_frame" for side in ("client", "server")
}

#: The class that uvicorn's suite tests in place of uvicorn's own.
CLASS = "uvicorn_observed:ObservedProtocol"


def unpack(name: str, folder: Path) -> Path:
    """Download and unpack the source distribution of the installed version; return its folder."""
    pin = f"{name}=={version(name)}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", folder, pin]
    subprocess.run(command, check=True)
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder)
    return next(path for path in folder.iterdir() if path.is_dir())


def run(suite: Suite, root: Path, variables: dict[str, str]) -> dict[str, str]:
    """Run a suite; return the outcome of each test: passed, failure, error or skipped."""
    report = root / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-W", "default", "-o", "addopts="]
    command += [f"--junitxml={report}", *suite.options, suite.tests]
    subprocess.run(command, cwd=root, env=variables, stdout=subprocess.DEVNULL, check=False)
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = kinds.pop() if kinds else "passed"
    return outcomes


def run_installed(module: str, variables: dict[str, str]) -> dict[str, str]:
    """Run tests of an installed package; return the outcome of each, as unittest names it."""
    command = [sys.executable, "-m", f"{module.rpartition('.')[0]}.runtests", module, "--verbose"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    outcomes = dict(re.findall(r"^(\w+ \(\S+\))(?:\n.*)?? \.\.\. (\w+)", done.stderr, re.MULTILINE))
    return {test: "passed" if outcome == "ok" else outcome for test, outcome in outcomes.items()}


def compare(name: str, before: dict[str, str], after: dict[str, str]) -> bool:
    """Print the numbers of tests and the differences; return whether all outcomes are the same."""
    passed = sum(outcome == "passed" for outcome in before.values())
    different = [test for test in (before.keys() | after.keys()) - EXPECTED if before.get(test) != after.get(test)]
    print(f"{name} {version(name.split(',')[0])}: {len(before)} tests, {passed} pass without framewire, ", end="")
    print(f"{len(different)} differ with it" if different else "the same with it", flush=True)
    for test in sorted(different):
        print(f"  {test}: {before.get(test)} -> {after.get(test)}")
    return passed > 0 and not different


def replace_class(root: Path) -> None:
    """Replace the second of the classes that uvicorn's suite is parametrized with by ours."""
    shutil.copy(Path(__file__).with_name("uvicorn_observed.py"), root)
    conftest, tests = root / "tests/conftest.py", root / "tests/protocols/test_websocket.py"
    theirs = "uvicorn.protocols.websockets.websockets_sansio_impl"
    conftest.write_text(conftest.read_text().replace(f"{theirs}:WebSocketsSansIOProtocol", CLASS))
    module, name = CLASS.split(":")
    imported = f"from {theirs} import WebSocketsSansIOProtocol"
    text = tests.read_text()
    if imported not in text:
        raise SystemExit("uvicorn's suite has changed: its class is imported in another way")
    tests.write_text(text.replace(imported, f"from {module} import {name} as WebSocketsSansIOProtocol"))


def main(names: list[str]) -> int:
    same = True
    for argument in names or [*SUITES, *INSTALLED]:
        name, _, checkout = argument.partition("=")
        if name in INSTALLED:
            before = run_installed(INSTALLED[name], dict(os.environ))
            same &= compare(name, before, run_installed(INSTALLED[name], environment()))
            continue
        suite = (CHECKED_OUT if checkout else SUITES)[name]
        if suite.needs:
            subprocess.run([sys.executable, "-m", "pip", "install", "-q", *suite.needs], check=True)
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder, "checkout")
            if checkout:
                shutil.copytree(Path(checkout, suite.tests), root / suite.tests)
            else:
                root = unpack(name, Path(folder))
            before = run(suite, root, dict(os.environ))
            same &= compare(name, before, run(suite, root, environment()))
            if name == "uvicorn":
                replace_class(root)
                same &= compare("uvicorn, our class", before, run(suite, root, dict(os.environ)))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
