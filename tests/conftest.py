"""Runs every test on both twins in one process.

The fixture `backend` puts the names of `_backend.TWINS`, in every framewire module and class, to one of the twins.
Tests marked `each_twin` or `compiled` run for each instruction set; those marked `once` do not depend on the backend.

`make test` runs most tests in several processes, then those marked `alone` or `last` in one.
"""

import gc
import importlib.util
import inspect
import os
import platform
import sys
import sysconfig
from collections import defaultdict
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, settings

from framewire import _backend

if importlib.util.find_spec("_tracemalloc") is None:  # PyPy
    # What measures memory says so, instead of failing at its first line.
    sys.modules["tracemalloc"] = SimpleNamespace(start=lambda: pytest.skip("this Python does not trace memory"))

settings.register_profile("framewire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("framewire")

INSTALLED = _backend.active
LOADED = {"pure": _backend.load("_pure")}
MISSING = ""
try:
    LOADED["fast"] = _backend.load("_fast")
except ImportError as error:
    MISSING = str(error)
    if importlib.util.find_spec("framewire._fast._build"):
        from framewire._fast._build import FAILURES

        MISSING += "".join(f"; {name}: {reason}" for name, reason in FAILURES.items())

INSTRUCTION_SETS = []
if "fast" in LOADED:
    from framewire._fast.mask import instruction_sets

    INSTRUCTION_SETS = instruction_sets()

COMPILED = [f"fast-{name}" for name in INSTRUCTION_SETS]
#: Whether whatever a test needs must be there: what is missing is a failure then, else the test is skipped.
COMPLETE = (
    platform.system() == "Linux"
    and platform.machine() == "x86_64"
    and (os.environ.get("CI") == "true" or os.environ.get("FRAMEWIRE_EXTENSIONS") == "1")
    and not sysconfig.get_config_var("Py_GIL_DISABLED")  # few packages are made for such a Python
)
#: What came of each test function that ran, by `file::function`: for test_features.py.
OUTCOMES = defaultdict(set)

BACKENDS = {"each_twin": ["pure", *COMPILED], "compiled": COMPILED, "": list(LOADED)}


def skip_unless(missing, what):
    """Skips the test of `what`, with one line, if something is missing; but fails where all must be tested."""
    if missing:
        message = f"{what} is not tested: {missing} is missing"
        if COMPLETE:
            pytest.fail(message)
        pytest.skip(message)


def needed(module):
    """The module of that name; without it, what asks for it is skipped or fails as by `skip_unless`."""
    skip_unless("" if importlib.util.find_spec(module) else module, f"what needs {module}")
    return importlib.import_module(module)


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "each_twin: runs on the pure twin and on the compiled one with each instruction set"
    )
    config.addinivalue_line("markers", "compiled: runs on the compiled twin with each instruction set")
    config.addinivalue_line("markers", "once: does not depend on the backend")
    config.addinivalue_line("markers", "alone: runs by itself: it measures time, or takes away what others need")
    config.addinivalue_line("markers", "last: runs after all others, for it looks at what came of them")
    if MISSING and os.environ.get("FRAMEWIRE_EXTENSIONS") == "1":
        raise pytest.UsageError(f"FRAMEWIRE_EXTENSIONS is 1, but the compiled twins are missing: {MISSING}")


def pytest_report_header():
    compiled = f"fast ({', '.join(INSTRUCTION_SETS)})" if INSTRUCTION_SETS else f"fast is missing: {MISSING}"
    return f"framewire: pure, {compiled}"


def pytest_generate_tests(metafunc):
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if "once" not in marks:
        backends = next(each for name, each in BACKENDS.items() if name in {*marks, ""})
        metafunc.parametrize("backend", backends, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_addoption(parser):
    parser.addoption("--before", metavar="FILE", help="what came of tests that have run before: what --junit-xml wrote")


def pytest_collection_finish():
    """Sets aside what there is now, 15,000 tests, for many of them collect garbage."""
    if hasattr(gc, "freeze"):  # not on PyPy
        gc.collect()
        gc.freeze()


def pytest_runtest_logreport(report):
    if (report.when == "call" or not report.passed) and report.outcome != "rerun":
        OUTCOMES[report.nodeid.partition("[")[0].rpartition("/")[2]].add(report.outcome)


@pytest.fixture(scope="session")
def outcomes(request):
    """What came of the tests so far: {"file::function": {"passed", "failed", "skipped"}}."""
    before = request.config.getoption("before")
    for case in ElementTree.parse(before).iter("testcase") if before else ():
        name = f"{case.get('classname').rpartition('.')[2]}.py::{case.get('name').partition('[')[0]}"
        results = {"skipped": "skipped", "failure": "failed", "error": "failed"}
        OUTCOMES[name].add(next((results[each.tag] for each in case if each.tag in results), "passed"))
    return OUTCOMES


@pytest.fixture(scope="session", autouse=True)
def backend(request):
    """The twins under test, as attributes; the whole package uses them meanwhile."""
    if not hasattr(request, "param"):
        return None
    name, _, instruction_set = request.param.partition("-")
    return use(name, instruction_set or None)


def use(name, instruction_set=None):
    """Puts every framewire module to the twins called `name`."""
    twins = LOADED[name]
    if name == "fast":
        instruction_set = _backend.use_instruction_set(instruction_set or INSTRUCTION_SETS[0])
    _backend.active = _backend.Backend(name, instruction_set)
    for path, module in list(sys.modules.items()):
        if path.startswith("framewire.") and not path.startswith(("framewire._pure", "framewire._fast")):
            for owner in (module, *filter(inspect.isclass, vars(module).values())):
                for key, twin in twins.items():
                    if any(vars(owner).get(key) is each[key] for each in LOADED.values()):
                        setattr(owner, key, twin)
    return SimpleNamespace(**twins)
