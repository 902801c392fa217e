"""Run the tests of the code without I/O on mutants of it, on the pure backend; see `make mutants`.

The tests are collected once, and which lines each of them executes is noted. For each mutant a
child process is forked, which replaces the code of one function and runs the tests that execute the
mutated lines until one fails: first the one that failed in an earlier run, then those that find most
mutants of the function, then the shortest. For a mutant of code that runs at import, each file of
tests that use the module runs in a new process instead: first the one that failed in an earlier run,
then those that find most mutants of the module. Before that, all these tests must pass without a
mutant, in half of the time that they get.

    run.py [PREFIX...]      run the mutants whose names begin so: "session/", "http/uri.py::Uri"

Exit with status 1 if a mutant survives that `equivalent.txt` does not name, or if it names one that
does not exist. With `--equivalent` those that it names run, and no others; all of them must survive.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.machinery
import importlib.util
import json
import mmap
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import _lru_cache_wrapper, partial
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import pytest
from mutations import Mutant, mutants

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = ROOT / "src/framewire"
AREAS = ("protocol", "session", "http", "_pure")
PATHS = [path for area in AREAS for path in sorted((PACKAGE / area).glob("*.py"))]
RESULTS = ROOT / "build/mutants"
COVERED_LINES = RESULTS / "lines.json"
#: A line for each mutant that ran: "survived" or "killed", its name, the test that failed.
LOG = RESULTS / "log.txt"
TESTS = [
    "-q",
    "-p",
    "no:cacheprovider",
    "-m",
    "(engine or both_backends) and not exhaustive",
    "--capture=no",
    "--tb=no",
]
FOLDERS = ["tests/engine", "tests/http", "tests/session"]
#: Tests of memory, and those over real sockets: each mutant that survives would run them for minutes.
LEFT_OUT = [
    "tests/engine/test_bounds.py",
    "tests/session/test_behind_proxies.py",
    "tests/session/test_every_driver.py",
    "tests/session/test_situations.py",
]
#: Seconds that a test may take with a mutant, besides ten times what it takes without one.
PATIENCE = 4
#: Seconds that a file of tests may take in a new process; it takes less than 10 without a mutant.
LIMIT = 120
#: By what those times are divided in the run without a mutant.
CONTROL = 2
#: The status of a child process that cannot run the tests.
ERROR = 2 << 8


def find(prefixes: list[str]) -> list[Mutant]:
    """Return the mutants whose names begin with one of the prefixes; all without prefixes."""
    every = [mutant for path in PATHS for mutant in mutants(path, str(path.relative_to(PACKAGE)))]
    return [mutant for mutant in every if mutant.name.startswith(tuple(prefixes or [""]))]


def changed_lines(revision: str) -> dict[Path, set[int]]:
    """Return the lines of each file of the package that have changed since a revision."""
    command = ["git", "diff", "--unified=0", "--relative", revision, "--", str(PACKAGE)]
    changed: dict[Path, set[int]] = defaultdict(set)
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        if line.startswith("+++ b/"):
            path = ROOT / line.removeprefix("+++ b/")
        elif hunk := re.match(r"@@ -\S+ \+(\d+),?(\d*) @@", line):
            start = int(hunk[1])
            changed[path].update(range(start, start + int(hunk[2] or 1)))
    return changed


def list_equivalent() -> set[str]:
    """Return the names of the mutants that change no behaviour."""
    return {line for line in (HERE / "equivalent.txt").read_text().splitlines() if "::" in line}


def read_log() -> dict[str, tuple[str, str]]:
    """Return the outcome of the last run of each mutant, and the test that failed."""
    # Another process may be writing the last line.
    lines = LOG.read_text().rpartition("\n")[0].splitlines() if LOG.exists() else []
    return {name: (outcome, test) for outcome, name, test in (line.split("\t") for line in lines)}


def count_kills(prefix: str) -> Counter[str]:
    """Return how many mutants whose names begin so each test killed in their last runs."""
    return Counter(test for name, (_, test) in read_log().items() if test and name.startswith(prefix))


def list_functions() -> tuple[dict[tuple[str, int, str], list[FunctionType]], list[_lru_cache_wrapper]]:
    """Return the functions of all modules under test by file, first line and name, and those with a cache."""
    for path in PATHS:
        importlib.import_module(_module_name(path))
    gc.unfreeze()  # frozen objects are not listed
    objects = gc.get_objects()
    gc.freeze()  # a collection in a child process would copy all pages
    found = defaultdict(list)
    for each in objects:
        if isinstance(each, FunctionType) and each.__code__.co_filename.startswith(str(PACKAGE)):
            found[_place(each.__code__)].append(each)
    caches = [each for each in objects if isinstance(each, _lru_cache_wrapper)]
    return found, [each for each in caches if str(each.__module__).startswith("framewire.")]


def _module_name(path: Path) -> str:
    return "framewire." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _place(code: CodeType) -> tuple[str, int, str]:
    return code.co_filename, code.co_firstlineno, code.co_name


def replace_functions(code: CodeType, functions: dict[tuple[str, int, str], list[FunctionType]]) -> None:
    """Give functions their code in the module's code `code`."""
    for each in code.co_consts:
        if isinstance(each, CodeType):
            for function in functions.get(_place(each), ()):
                function.__code__ = each
            replace_functions(each, functions)


class Runner:
    """A plugin of pytest that runs the collected tests once for each mutant, in several processes."""

    def __init__(self, chosen: list[Mutant], jobs: int) -> None:
        self.chosen = sorted(chosen, key=lambda mutant: not mutant.function)
        self.jobs = jobs
        self.seconds: dict[str, float] = {}
        #: The tests that execute a line, by module and line.
        self.tests: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        #: The lines that run when a module is imported.
        self.imported: dict[str, set[int]] = {}
        self.earlier = read_log()
        #: The number of the test that a child process has begun.
        self.begun = mmap.mmap(-1, 4)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.functions, self.caches = list_functions()
        self.items = {item.nodeid: item for item in session.items}
        self.read_lines(session)
        self.control(session)
        began = time.time()
        workers = []
        for first in range(self.jobs):
            workers.append(os.fork())
            if not workers[-1]:
                self.begun = mmap.mmap(-1, 4)
                self.work(self.chosen[first :: self.jobs], session, began)
                os._exit(0)
        assert not any(os.waitpid(worker, 0)[1] for worker in workers)
        return True

    def work(self, chosen: list[Mutant], session: pytest.Session, began: float) -> None:
        """Run mutants and log how each ends."""
        with open(LOG, "a", buffering=1) as log:
            for number, mutant in enumerate(chosen, 1):
                survived, test = self.run_mutant(mutant, session)
                print("survived" if survived else "killed", mutant.name, test, sep="\t", file=log)
                if not number % 100:
                    print(f"{number} of {len(chosen)}, {time.time() - began:.0f} s", flush=True)

    def run_mutant(self, mutant: Mutant, session: pytest.Session) -> tuple[bool, str]:
        """Return whether the tests that depend on mutated lines pass, and the one that failed."""
        module = str(mutant.path.relative_to(PACKAGE))
        killer = self.earlier.get(mutant.name, ("", ""))[1]
        tests, status = self.tests_of(mutant), 0
        if mutant.function and tests:
            code, kills = mutant.compile(), count_kills(mutant.name.partition(": ")[0] + ": ")
            order = sorted(tests, key=lambda test: (test != killer, -kills[test], self.seconds[test]))
            status, test = self.find_failing(order, session, lambda: self.put_in(code))
            if test:
                return False, test
        if self.at_import(mutant) or status == ERROR:
            kills = Counter(test.partition("::")[0] for test in count_kills(f"{module}::").elements())
            for file in sorted(self.files_of(mutant), key=lambda file: (file != killer, -kills[file], file)):
                if run_file(mutant.name, file):
                    return False, file
        return True, ""

    def tests_of(self, mutant: Mutant) -> set[str]:
        """Return the tests that execute mutated lines."""
        tests = self.tests[str(mutant.path.relative_to(PACKAGE))]
        return {test for line in mutant.mutated for test in tests[line]}

    def at_import(self, mutant: Mutant) -> bool:
        """Return whether mutated lines run when the module is imported."""
        imported = self.imported[str(mutant.path.relative_to(PACKAGE))]
        return not mutant.function or not imported.isdisjoint(mutant.mutated)

    def files_of(self, mutant: Mutant) -> set[str]:
        """Return the files with tests for a mutant that runs in new processes."""
        tests = self.tests_of(mutant)
        if self.at_import(mutant):  # all that use the module may depend on it, or all if none has a line in it
            lines = self.tests[str(mutant.path.relative_to(PACKAGE))].values()
            tests = {test for each in lines for test in each} or set(self.items)
        return {test.partition("::")[0] for test in tests}

    def control(self, session: pytest.Session) -> None:
        """Run the tests of the chosen mutants without a mutant; end the run if one fails, or takes long."""
        names = sorted({test for mutant in self.chosen for test in self.tests_of(mutant)}, key=self.seconds.__getitem__)
        if failing := self.find_failing(names, session, divisor=CONTROL)[1]:
            pytest.exit(f"fails without a mutant, or takes long: {failing}", 1)
        files = {file for mutant in self.chosen if self.at_import(mutant) for file in self.files_of(mutant)}
        for file in sorted(files):
            if run_file("", file, LIMIT / CONTROL):
                pytest.exit(f"fails without a mutant, or takes long: {file}", 1)
        print(f"{len(names)} tests and {len(files)} files pass without a mutant", flush=True)

    def find_failing(
        self,
        names: list[str],
        session: pytest.Session,
        prepare: Callable[[], None] = lambda: None,
        divisor: float = 1,
    ) -> tuple[int, str]:
        """Run tests in child processes; return the last status, as `fork` does, and a test that fails or takes long.

        It must do so again, alone, because a busy machine disturbs tests, above all those that measure time.
        """
        while names:
            self.begun[:] = bytes(4)
            status = fork(partial(self.run, names, session, divisor), prepare)
            if status in (0, ERROR):
                return status, ""
            names = names[int.from_bytes(self.begun[:], "little") :]
            if fork(partial(self.run, names[:1], session, divisor), prepare):
                return status, names[0]
            names = names[1:]
        return 0, ""

    def put_in(self, code: CodeType) -> None:
        """Give the functions of a module the code in `code`."""
        replace_functions(code, self.functions)
        self.clear_caches()

    def clear_caches(self) -> None:
        for function in self.caches:
            function.cache_clear()

    def run(self, names: list[str], session: pytest.Session, divisor: float = 1) -> bool:
        """Run tests until one fails, or takes longer than it may, divided by `divisor`."""
        items = [self.items[name] for name in names]
        for number, (item, following) in enumerate(zip(items, [*items[1:], None], strict=True)):
            self.begun[:] = number.to_bytes(4, "little")
            if self.seconds:
                signal.setitimer(signal.ITIMER_REAL, (PATIENCE + 10 * self.seconds[item.nodeid]) / divisor)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                return False
        return True

    def read_lines(self, session: pytest.Session) -> None:
        """Find out which lines each test executes; again only for what has changed."""
        made = COVERED_LINES.stat().st_mtime if COVERED_LINES.exists() else 0.0
        traced = json.loads(COVERED_LINES.read_text()) if made > max(path.stat().st_mtime for path in PATHS) else {}
        missing = [name for name, item in self.items.items() if name not in traced or item.path.stat().st_mtime > made]
        if missing:
            assert fork(lambda: self.trace(missing, traced, session)) == 0
            traced = json.loads(COVERED_LINES.read_text())
        self.imported = defaultdict(set, {module: set(lines) for module, lines in traced[""][1].items()})
        for test, (seconds, modules) in traced.items():
            # A test that measures memory may fail while it is traced; it takes no part.
            if seconds is not None and test in self.items:
                self.seconds[test] = seconds
                for module, lines in modules.items():
                    for line in lines:
                        self.tests[module][line].append(test)

    def trace(self, names: list[str], traced: dict[str, tuple[float | None, dict]], session: pytest.Session) -> bool:
        """Write how long each test takes (None if it fails), and the lines that it executes by module."""
        tracer = coverage.Coverage(data_file=None, source=[str(PACKAGE / area) for area in AREAS], config_file=False)
        tracer.start()
        for path in PATHS:
            spec = importlib.util.spec_from_file_location(_module_name(path), path)
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        tracer.stop()
        traced[""] = None, defaultdict(list)  # the name of no context is ""
        for name in names:
            self.clear_caches()  # all lines of a function run for each test that needs it
            tracer.start()  # again for each test, because some set a trace function
            tracer.switch_context(name)
            began = time.perf_counter()
            passed = self.run([name], session)
            traced[name] = time.perf_counter() - began if passed else None, defaultdict(list)
            session.testsfailed = 0
            tracer.stop()
        data = tracer.get_data()
        for path in data.measured_files():
            module = str(Path(path).relative_to(PACKAGE))
            for line, tests in data.contexts_by_lineno(path).items():
                for test in tests:
                    traced[test][1][module].append(line)
        COVERED_LINES.write_text(json.dumps(traced))
        return True


def fork(function: Callable[[], bool], prepare: Callable[[], None] = lambda: None, limit: float = 0) -> int:
    """Run a function in a child process.

    Returns:
        0 if it returns True, ERROR if `prepare` raises before it, another number if it returns
        False, raises, or is ended by the timer, which `limit` sets in seconds.
    """
    child = os.fork()
    if not child:
        status = 2
        try:
            prepare()
            status = 1
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
            signal.setitimer(signal.ITIMER_REAL, limit)
            with open(os.devnull, "w") as null:
                os.dup2(null.fileno(), 1)
                os.dup2(null.fileno(), 2)
            status = 0 if function() else 1
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def run_file(name: str, file: str, limit: float = LIMIT) -> int:
    """Run `run_one` in a new process, which ends after `limit` seconds, and once again if a test fails or takes long.

    Returns 0 if all tests pass.
    """
    command = [sys.executable, __file__, "--one", name, file]
    run = partial(fork, lambda: bool(os.execv(sys.executable, command)), limit=limit)
    return run() and run()


def run_one(name: str, file: str) -> int:
    """Import the package with a mutant, or with none if the name is empty, and run the tests of a file."""
    if not name:
        return pytest.main([*TESTS, "-x", file])
    (mutant,) = [each for each in find([name.partition("::")[0]]) if each.name == name]
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(self, fullname):
        return mutant.compile() if Path(self.path) == mutant.path else original(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code
    status = pytest.main([*TESTS, "-x", file])
    return 0 if status == pytest.ExitCode.NO_TESTS_COLLECTED else status


def main() -> int:
    os.chdir(ROOT)
    sys.path.insert(0, str(PACKAGE.parent))
    os.environ.update(FRAMEWIRE_BACKEND="pure", HYPOTHESIS_PROFILE="mutants")
    RESULTS.mkdir(parents=True, exist_ok=True)
    if sys.argv[1:2] == ["--one"]:
        return run_one(sys.argv[2], sys.argv[3])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefixes", nargs="*", metavar="PREFIX")
    parser.add_argument("--since", metavar="REVISION", help="only the mutants of lines that have changed since then")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--equivalent", action="store_true", help="run the mutants of equivalent.txt only")
    options = parser.parse_args()
    found, equivalent = find(options.prefixes), list_equivalent()
    names = {mutant.name for mutant in found}
    gone = sorted(name for name in equivalent - names if name.startswith(tuple(options.prefixes or [""])))
    if options.since:
        changed = changed_lines(options.since)
        found = [each for each in found if not changed[each.path].isdisjoint(each.mutated)]
    if options.equivalent:
        found = [mutant for mutant in found if mutant.name in equivalent]
    chosen = [mutant for mutant in found if options.equivalent or mutant.name not in equivalent]
    runner = Runner(chosen, options.jobs)
    status = pytest.main([*TESTS, *FOLDERS, *(f"--ignore={path}" for path in LEFT_OUT)], plugins=[runner])
    return status or report([mutant.name for mutant in found], [mutant.name for mutant in chosen], equivalent, gone)


def report(found: list[str], ran: list[str], equivalent: set[str], gone: list[str]) -> int:
    """Print the number of mutants that were killed in each area, and the problems; return the exit status."""
    log = read_log()
    survivors = {name for name in ran if log[name][0] == "survived"}
    for area, number in Counter(name.partition("/")[0] for name in found).items():
        own = [name for name in found if name.startswith(f"{area}/")]
        killed = sum(name in ran and name not in survivors for name in own)
        listed = sum(name in equivalent for name in own)
        survive = sum(name in survivors - equivalent for name in own)
        print(f"{area}: {number} mutants, {killed} killed, {listed} equivalent, {survive} survive")
    outdated = [f"not a survivor: {name}" for name in ran if name in equivalent - survivors]
    wrong = [f"survived: {name}" for name in sorted(survivors - equivalent)] + outdated
    wrong += [f"no such mutant: {name}" for name in gone]
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
