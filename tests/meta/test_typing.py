"""Type checks of user programs, and of the compiled twins against the pure ones."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import framewire
from framewire import _backend

PROGRAMS = sorted((Path(__file__).parents[1] / "typing").glob("*.py"))
#: Allowed differences: private names, and constructors, which have no signature in Cython.
ALLOWED = r"""
.*\._[a-z]\w*
framewire\._fast\.(header\.(Buffer|check_range)|frames\.FIRST_\w+|stream_core\.E)
framewire\._fast\.\w+\.\w+\.__init__
"""


def check(*command, folder, **environment):
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_package_is_marked_as_typed():
    assert Path(framewire.__file__).with_name("py.typed").exists()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_mypy_accepts_a_user_program(program, tmp_path):
    check("mypy", "--strict", "--cache-dir", tmp_path, "--config-file", os.devnull, program, folder=tmp_path)


def test_mypy_reports_a_type_error_in_a_user_program(tmp_path):
    """The types of the package are found and not Any."""
    program = tmp_path / "wrong.py"
    program.write_text("from framewire import SERVER, Stream\nStream(SERVER).receive(b'')[0].no_such_thing\n")
    with pytest.raises(AssertionError, match="no_such_thing"):
        check("mypy", "--strict", "--cache-dir", tmp_path, "--config-file", os.devnull, program, folder=tmp_path)


@pytest.mark.skipif(_backend.active.name != "fast", reason="the compiled twins are missing")
def test_compiled_twins_match_pure_signatures_in_stubtest(tmp_path):
    """The pure twins serve as the stubs of the compiled ones."""
    stubs = tmp_path / "framewire/_fast"
    stubs.mkdir(parents=True)
    stubs.with_name("__init__.pyi").touch()
    pure = Path(framewire.__file__).with_name("_pure")
    for stem in ("__init__", *_backend.TWINS):
        shutil.copy(pure / f"{stem}.py", stubs / f"{stem}.pyi")
    allowed = tmp_path / "allowed"
    allowed.write_text(ALLOWED)
    twins = [f"framewire._fast.{stem}" for stem in _backend.TWINS]
    options = "--ignore-missing-stub", "--ignore-disjoint-bases", "--ignore-unused-allowlist", "--allowlist", allowed
    check("mypy.stubtest", *options, *twins, folder=tmp_path, MYPYPATH=str(tmp_path))
