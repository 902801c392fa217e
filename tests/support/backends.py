"""The installed backends, and the dependencies of a complete test environment."""

import importlib
import importlib.util
import os
import platform
import sysconfig

import pytest

from framewire import _backend

#: The twins of each backend that can be imported, by name: {"pure": {...}, "fast": {...}}.
LOADED = {"pure": _backend.load("_pure")}
#: Why the compiled backend cannot be imported; "" if it can.
MISSING = ""
#: Instruction sets of the compiled kernels that this processor supports, best first.
INSTRUCTION_SETS = []
try:
    LOADED["fast"] = _backend.load("_fast")
except ImportError as error:
    MISSING = str(error)
    if importlib.util.find_spec("framewire._fast._build"):
        from framewire._fast._build import FAILURES

        MISSING += "".join(f"; {name}: {reason}" for name, reason in FAILURES.items())
else:
    from framewire._fast.dispatch import instruction_sets

    INSTRUCTION_SETS = instruction_sets()

#: Whether a missing dependency fails the tests that need it instead of skipping them.
COMPLETE = (
    platform.system() == "Linux"
    and platform.machine() == "x86_64"
    and (os.environ.get("CI") == "true" or os.environ.get("FRAMEWIRE_EXTENSIONS") == "1")
    and not sysconfig.get_config_var("Py_GIL_DISABLED")  # few packages are built for free-threaded Pythons
)


def skip_unless(missing, subject):
    """Skip the test of `subject` if a dependency is missing.

    Fail it where the environment must be complete.
    """
    if missing:
        message = f"{subject} is not tested: {missing} is missing"
        if COMPLETE:
            pytest.fail(message)
        pytest.skip(message)


def needed(module):
    """Import a module by name; skip or fail the calling test without it, as `skip_unless` does."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the package that it is in
        found = None
    skip_unless("" if found else module, f"a user of {module}")
    return importlib.import_module(module)
