"""A C compiler for the tests of the kernels."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "cext/kernels"


def give_up(reason):
    """Skip the test; fail it if `FRAMEWIRE_EXTENSIONS=1` requires a compiler."""
    if os.environ.get("FRAMEWIRE_EXTENSIONS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def run(*command, timeout=120):
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
