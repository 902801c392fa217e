"""Selection of the backend and the instruction set by environment variables."""

import os
import subprocess
import sys
import sysconfig

import pytest

SHOW = "import framewire; print(*framewire.backend())"
#: Make every import of a compiled twin fail, as in an installation without them.
HIDE = """
import sys
class Hide:
    def find_spec(self, name, path, target=None):
        if name.startswith("framewire._fast."):
            raise ImportError(f"{name} is missing")
sys.meta_path.insert(0, Hide())
"""


def run(code, **variables):
    """Run code in a new process; return its output and the last line of its standard error."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FRAMEWIRE_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**environment, **variables}, check=False
    )
    return done.stdout.strip(), done.stderr.strip().rpartition("\n")[2]


@pytest.fixture(scope="module")
def instruction_sets():
    dispatch = pytest.importorskip("framewire._fast.dispatch", reason="the compiled twins are missing")
    return dispatch.instruction_sets()


def test_default_backend_is_fast(instruction_sets):
    assert run(SHOW) == (f"fast {instruction_sets[0]}", "")
    assert run(SHOW, FRAMEWIRE_BACKEND="", FRAMEWIRE_SIMD="") == (f"fast {instruction_sets[0]}", "")


def test_fast_backend_is_used_when_requested(instruction_sets):
    assert run(SHOW, FRAMEWIRE_BACKEND="fast") == (f"fast {instruction_sets[0]}", "")


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python always has a GIL")
def test_compiled_twins_keep_the_gil_disabled(instruction_sets):
    """The interpreter enables the GIL when it loads an extension without Py_MOD_GIL_NOT_USED."""
    assert run("import sys, framewire; print(framewire.backend().name, sys._is_gil_enabled())") == ("fast False", "")


def test_each_instruction_set_can_be_selected(instruction_sets):
    assert instruction_sets[-1] == "plain"
    for name in instruction_sets:
        assert run(SHOW, FRAMEWIRE_SIMD=name) == (f"fast {name}", "")


def test_stream_works_with_each_instruction_set(instruction_sets):
    code = "from framewire import Stream, CLIENT; print(Stream(CLIENT).receive(b'\\x81\\x03\\xe2\\x82\\xac'))"
    for name in instruction_sets:
        assert run(code, FRAMEWIRE_SIMD=name) == ("['€']", "")


@pytest.mark.parametrize("name", ["avx9000", "AVX2", " plain", "none"])
def test_unknown_instruction_set_raises_import_error(instruction_sets, name):
    printed, complaint = run(SHOW, FRAMEWIRE_SIMD=name)
    assert printed == ""
    known = ", ".join(instruction_sets)
    assert complaint == f"ImportError: FRAMEWIRE_SIMD: this processor has no {name!r}, but {known}"


def test_pure_backend_loads_no_compiled_module():
    assert run(SHOW, FRAMEWIRE_BACKEND="pure") == ("pure None", "")
    code = "import sys, framewire; print(*(name for name in sys.modules if name.startswith('framewire._fast')))"
    assert run(code, FRAMEWIRE_BACKEND="pure") == ("", "")


@pytest.mark.parametrize("name", ["FAST", "c", "0", "pure "])
def test_unknown_backend_raises_import_error(name):
    printed, complaint = run(SHOW, FRAMEWIRE_BACKEND=name)
    assert printed == ""
    assert complaint == f"ImportError: FRAMEWIRE_BACKEND is {name!r}; it takes fast, pure, or nothing"


def test_pure_backend_is_used_without_compiled_twins():
    assert run(HIDE + SHOW) == ("pure None", "")
    assert run(HIDE + SHOW, FRAMEWIRE_BACKEND="pure") == ("pure None", "")
    printed, complaint = run(HIDE + SHOW, FRAMEWIRE_BACKEND="fast")
    assert printed == ""
    assert complaint.startswith("ImportError: FRAMEWIRE_BACKEND is fast, but the compiled twins are not there")
    assert "FRAMEWIRE_EXTENSIONS=1" in complaint


def test_pure_backend_is_used_if_one_compiled_twin_is_missing():
    """The twins of one process all belong to the same backend."""
    hide_one = HIDE.replace('"framewire._fast."', '"framewire._fast.utf8"')
    code = (
        "from framewire import _backend; print(sorted({t.__module__.split('.')[1] for t in _backend._twins.values()}))"
    )
    assert run(hide_one + code) == ("['_pure']", "")
    assert run(hide_one + SHOW) == ("pure None", "")
