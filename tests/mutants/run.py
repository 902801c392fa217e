"""Run the tests of the code without I/O on mutants of it, on the pure backend; see `make mutants`.

The tests are collected once. For each mutant a child process is forked, which replaces the code of
one function and runs the tests that execute the mutated lines, the shortest first, until one fails.
A mutant of code that runs at import gets a new process instead.

    run.py [PREFIX...]      run the mutants whose names begin so: "session/", "http/uri.py::Uri"

Exit with status 1 if a mutant survives that `equivalent.txt` does not name, or if one that it names
is killed or does not exist.
"""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
import json
import math
import os
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
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
TESTS = [
    "-q",
    "-p",
    "no:cacheprovider",
    "-m",
    "(engine or both_backends) and not exhaustive",
    "--capture=no",
    "--tb=no",
]
FOLDERS = ["tests/engine", "tests/http", "tests/session", "--ignore=tests/engine/test_bounds.py"]
#: Seconds that a test may take with a mutant, besides ten times what it takes without one.
PATIENCE = 4
#: The status of a child process that cannot run the tests.
ERROR = 2 << 8


def find(prefixes: list[str]) -> list[Mutant]:
    """Return the mutants whose names begin with one of the prefixes; all without prefixes."""
    every = [mutant for path in PATHS for mutant in mutants(path, str(path.relative_to(PACKAGE)))]
    return [mutant for mutant in every if mutant.name.startswith(tuple(prefixes or [""]))]


def list_functions() -> dict[tuple[str, int, str], list[FunctionType]]:
    """Return the functions of all modules under test by file, first line and name."""
    for path in PATHS:
        importlib.import_module("framewire." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    gc.unfreeze()  # frozen objects are not listed
    found = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename.startswith(str(PACKAGE)):
            found[_place(each.__code__)].append(each)
    gc.freeze()  # a collection in a child process would copy all pages
    return found


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
    """A plugin of pytest that runs the collected tests once for each mutant."""

    def __init__(self, chosen: list[Mutant]) -> None:
        self.chosen = sorted(chosen, key=lambda mutant: not mutant.function)
        self.survivors: list[str] = []
        self.seconds: dict[str, float] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.functions = list_functions()
        self.items = {item.nodeid: item for item in session.items}
        if not COVERED_LINES.exists():
            assert fork(lambda: self.trace(session)) == 0
        self.tests = json.loads(COVERED_LINES.read_text())
        self.seconds = dict(zip(self.tests["names"], self.tests["seconds"], strict=True))
        began = time.time()
        with open(RESULTS / "log.txt", "a") as log:
            for number, mutant in enumerate(self.chosen, 1):
                survived = self.survives(mutant, session)
                if survived:
                    self.survivors.append(mutant.name)
                print("survived" if survived else "killed", mutant.name, file=log, flush=True)
                if not number % 100:
                    print(
                        f"{number} of {len(self.chosen)}, {len(self.survivors)} survivors, {time.time() - began:.0f} s"
                    )
        return True

    def survives(self, mutant: Mutant, session: pytest.Session) -> bool:
        names, seconds = self.tests["names"], self.tests["seconds"]
        lines = self.tests["lines"].get(str(mutant.path.relative_to(PACKAGE)), {})
        # Code that runs at import is not traced: every test that uses the module may depend on it.
        mutated = range(mutant.lines[0], mutant.lines[1] + 1) if mutant.function else map(int, lines)
        hit = {test for line in mutated for test in lines.get(str(line), ()) if seconds[test] < math.inf}
        tests = [names[test] for test in sorted(hit, key=seconds.__getitem__)]
        status = ERROR
        if mutant.function:
            code = mutant.compile()
            status = fork(lambda: self.run(tests, session), lambda: replace_functions(code, self.functions))
        if status == ERROR:
            files = list(dict.fromkeys(name.partition("::")[0] for name in tests))
            status = fork(
                lambda: os.execl(sys.executable, sys.executable, __file__, "--one", mutant.name, *files), limit=120
            )
        return status == 0

    def run(self, names: list[str], session: pytest.Session) -> bool:
        items = [self.items[name] for name in names]
        for item, following in zip(items, [*items[1:], None], strict=True):
            if self.seconds:
                signal.setitimer(signal.ITIMER_REAL, PATIENCE + 10 * self.seconds[item.nodeid])
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                return False
        return True

    def trace(self, session: pytest.Session) -> bool:
        """Write which tests execute each line, and how long each takes."""
        seconds = []
        tracer = coverage.Coverage(data_file=None, source=[str(PACKAGE / area) for area in AREAS], config_file=False)
        for name in list(self.items):
            tracer.start()  # again for each test, because some set a trace function
            tracer.switch_context(name)
            began = time.perf_counter()
            passed = self.run([name], session)
            # A test that measures memory may fail while it is traced; it takes no part.
            seconds.append(time.perf_counter() - began if passed else math.inf)
            session.testsfailed = 0
            tracer.stop()
        data = tracer.get_data()
        number = {name: index for index, name in enumerate(self.items)}
        lines = {
            str(Path(path).relative_to(PACKAGE)): {
                line: [number[name] for name in names if name] for line, names in data.contexts_by_lineno(path).items()
            }
            for path in data.measured_files()
        }
        COVERED_LINES.write_text(json.dumps({"names": list(self.items), "seconds": seconds, "lines": lines}))
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


def run_one(name: str, files: list[str]) -> int:
    """Import the package with a mutant and run test files."""
    (mutant,) = [each for each in find([name.partition("::")[0]]) if each.name == name]
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(self, fullname):
        return mutant.compile() if Path(self.path) == mutant.path else original(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code
    status = pytest.main([*TESTS, "-x", *files])
    return 0 if status == pytest.ExitCode.NO_TESTS_COLLECTED else status


def main() -> int:
    os.chdir(ROOT)
    sys.path.insert(0, str(PACKAGE.parent))
    os.environ.update(FRAMEWIRE_BACKEND="pure", HYPOTHESIS_PROFILE="mutants")
    RESULTS.mkdir(parents=True, exist_ok=True)
    if sys.argv[1:2] == ["--one"]:
        return run_one(sys.argv[2], sys.argv[3:])
    prefixes = [each for each in sys.argv[1:] if not each.startswith("--")]
    runner = Runner(find(prefixes))
    status = pytest.main([*TESTS, *FOLDERS], plugins=[runner])
    if status:
        return status
    listed = (HERE / "equivalent.txt").read_text().splitlines()
    equivalent = {line for line in listed if "::" in line and line.startswith(tuple(prefixes or [""]))}
    gaps = sorted(set(runner.survivors) - equivalent)
    outdated = sorted(equivalent - set(runner.survivors))
    print(f"{len(runner.chosen)} mutants, {len(runner.survivors)} survive, {len(equivalent)} are listed as equivalent")
    print("".join(f"survived: {name}\n" for name in gaps) + "".join(f"not a survivor: {name}\n" for name in outdated))
    return bool(gaps or outdated)


if __name__ == "__main__":
    sys.exit(main())
