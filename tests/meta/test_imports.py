"""Modules loaded by importing the package: rarely needed ones are loaded on first use."""

import os
import subprocess
import sys

import pytest

#: Modules that are slow to import, by the module that must not load them.
LATE = {
    "framewire": {
        "asyncio", "dataclasses", "email", "h11", "http", "importlib.metadata", "inspect", "ipaddress", "logging",
        "socket", "ssl", "urllib", "uuid",
    },
    "framewire.handshake": {"asyncio", "dataclasses", "email", "h11", "inspect", "ipaddress", "ssl", "urllib", "uuid"},
    "framewire.asyncio": {"email", "h11", "hmac", "ipaddress", "random", "urllib", "uuid"},
    "framewire.trio": {"framewire.asyncio", "h11"},  # trio itself needs most of the others
    "framewire.sync": {"asyncio", "email", "h11", "ipaddress", "random", "urllib", "uuid"},
}  # fmt: skip


def loaded_by(statement):
    """Return the modules that a statement loads in a new process."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", LATE)
def test_import_loads_no_module_that_few_programs_need(module):
    assert (loaded_by(f"import {module}") - loaded_by("pass")) & LATE[module] == set()
