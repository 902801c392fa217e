"""Marks and fixtures of the whole suite.

A process has one backend, chosen when framewire is imported. The suite therefore runs twice: once
with the default (compiled) backend, and once with `FRAMEWIRE_BACKEND=pure` for the tests marked
`both_backends`; see `make test`.
"""

import gc
import importlib.util
import os
import signal
import sys
from types import SimpleNamespace

import pytest
from backends import INSTRUCTION_SETS, LOADED, MISSING, needed
from hypothesis import HealthCheck, settings

from framewire import _backend

if importlib.util.find_spec("_tracemalloc") is None:  # PyPy
    # Tests that measure memory are skipped instead of failing at their first line.
    sys.modules["tracemalloc"] = SimpleNamespace(start=lambda: pytest.skip("this Python does not trace memory"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts a background job like this, and programs that the tests start would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("framewire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("framewire")

MARKS = {
    "both_backends": "runs on the pure backend too, in a run of its own with FRAMEWIRE_BACKEND=pure",
    "engine": "tests the engine without a socket, thread, child process or compiler: runs on every platform",
    "exhaustive": "is left out of the run that traces lines for coverage: it has too many cases, or measures memory",
    "alone": "runs in a process without other tests: it makes allocations fail for every thread",
}


def pytest_configure(config):
    for name, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    if MISSING and os.environ.get("FRAMEWIRE_EXTENSIONS") == "1":
        raise pytest.UsageError(f"FRAMEWIRE_EXTENSIONS is 1, but the compiled twins are missing: {MISSING}")


def pytest_report_header():
    compiled = f"compiled for {', '.join(INSTRUCTION_SETS)}" if INSTRUCTION_SETS else f"compiled is missing: {MISSING}"
    return f"framewire: {_backend.active.name} backend; {compiled}"


def pytest_runtest_setup(item):
    """Skip the cases on uvloop or aiofastnet without it, before any of their threads waits for another."""
    for package in ("uvloop", "aiofastnet"):
        if package in getattr(getattr(item, "callspec", None), "id", ""):
            needed(package)


def freeze():
    """Exclude all objects from garbage collection: the thousands of the tests and of their reports would
    make each `gc.collect` of a test slow.
    """
    if hasattr(gc, "freeze"):  # not on PyPy
        gc.collect()
        gc.freeze()


def pytest_collection_finish():
    freeze()


@pytest.fixture(scope="module", autouse=True)
def frozen():
    freeze()


@pytest.fixture(scope="module", params=INSTRUCTION_SETS if _backend.active.name == "fast" else ["pure"])
def instruction_set(request):
    """Run the test with each instruction set of the kernels; once on the pure backend."""
    if request.param == "pure":
        yield None
        return
    yield _backend.use_instruction_set(request.param)
    _backend.use_instruction_set(_backend.active.instruction_set)


@pytest.fixture(scope="module")
def backend(instruction_set):
    """The twins of the active backend as attributes, with each instruction set in turn."""
    return SimpleNamespace(**LOADED[_backend.active.name])
