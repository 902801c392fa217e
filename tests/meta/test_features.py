"""Every row of the tables of features, attacks, requirements and libmicrohttpd_ws names a passed test."""

import ast
import os
import re
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from backends import COMPLETE

TESTS = Path(__file__).parents[1]
#: Test files by name, which is unique.
FILES = {path.name: path for path in TESTS.rglob("test_*.py")}
DOCS = TESTS.parent / "docs"
#: Outcomes of earlier runs of pytest, on either backend, as `make test` and `make meta` write them
#: with --junit-xml.
RESULTS = TESTS.parent / "build" / "tests"
#: How the headers of other tables begin.
UNTESTED = ("| command", "| platform", "| not ours", "| suite")


@pytest.fixture(scope="module")
def outcomes():
    """Return the set of outcomes ("passed", "failed", "skipped") by "file::function"."""
    found, tags = defaultdict(set), {"skipped": "skipped", "failure": "failed", "error": "failed"}
    for path in RESULTS.glob("*.xml"):
        for case in ElementTree.parse(path).iter("testcase"):
            name = f"{case.get('classname').rpartition('.')[2]}.py::{case.get('name').partition('[')[0]}"
            found[name].add(next((tags[each.tag] for each in case if each.tag in tags), "passed"))
    return found


def rows(page):
    """Yield (line number, [named tests]) for each table row of a page that must name one."""
    lines, header = (DOCS / page).read_text().splitlines(), ""
    for number, (line, after) in enumerate(zip(lines, [*lines[1:], ""], strict=True), 1):
        if line.startswith("|") and after.startswith("|-"):
            header = line
        elif line.startswith("|") and not line.startswith("|-") and not header.startswith(UNTESTED):
            yield number, re.findall(r"`((?:(?:\w+/)?test_\w+\.py::)?test_\w+)`", line)


def named(page, default):
    """Return all tests that a page names, as `file::test`."""
    return [name if "::" in name else f"{default}::{name}" for _, names in rows(page) for name in names]


PAGES = {
    "features.md": "",
    "security.md": "",
    "conformance.md": "",
    "coming-from-libmicrohttpd.md": "test_libmicrohttpd_rows.py",
}
NAMED = sorted({name for page, default in PAGES.items() for name in named(page, default)})


@pytest.mark.parametrize("page", PAGES)
def test_every_table_row_names_a_test(page):
    without = [number for number, names in rows(page) if not names]
    assert without == []


@pytest.mark.parametrize("name", NAMED)
def test_every_documented_test_has_passed(name, outcomes):
    """A test that was not run fails only in CI, a skipped one only if `COMPLETE`."""
    file, _, function = name.partition("::")
    tree = ast.parse(FILES[file.rpartition("/")[2]].read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    outcome = outcomes.get(name.rpartition("/")[2], set())
    if not outcome and os.environ.get("CI") != "true":
        pytest.skip("it was not run")
    if outcome == {"skipped"} and not COMPLETE:
        pytest.skip("it was skipped")
    assert outcome == {"passed"}


def test_every_table_of_features_names_known_suites():
    """The first table of the page lists the suites; the last cell of a row of the others names some."""
    tables = re.findall(r"(?:^\|.*\n)+", (DOCS / "features.md").read_text(), re.MULTILINE)
    suites, *others = [[re.split(r" *\| *", row)[1:-1] for row in table.splitlines()] for table in tables]
    runs = {name: run.strip("`") for name, _, run in suites[2:]}
    assert {header[-1] for header, *_ in others} == {"suite"}
    assert {name for _, _, *rows in others for row in rows for name in row[-1].split(", ") if name} == runs.keys()
    targets = re.findall(r"^([\w-]+):", (TESTS.parent / "proof.mk").read_text(), re.MULTILINE)
    for run in runs.values():
        assert run.removeprefix("make ") in targets or (TESTS.parent / run).is_file(), run


def test_every_hostile_test_is_listed_in_security_page():
    """The names of tests in tests/hostile begin with rows of the table, as in test_a1_and_a2_..."""
    page = (DOCS / "security.md").read_text()
    files = sorted((TESTS / "hostile").glob("test_*.py"))
    written = {name for file in files for name in re.findall(r"def (test_[a-g]\d+_\w+)", file.read_text())}
    assert written
    assert {name for name in written if f"::{name}`" not in page} == set()


def test_every_libmicrohttpd_test_is_listed_in_its_page():
    tree = ast.parse(FILES["test_libmicrohttpd_rows.py"].read_text())
    written = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    assert written == {name.partition("::")[2] for name in named("coming-from-libmicrohttpd.md", "x")}
