"""Regression tests: run the fuzz targets on the committed seeds, without a fuzzer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from compilers import KERNELS, ROOT, run

SEEDS = ROOT / "fuzz/seeds"


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "fuzz/kernels").glob("*.c")))
def test_kernel_fuzz_targets_pass_on_their_seeds(name, compiler, tmp_path):
    sources = map(str, (ROOT / f"fuzz/kernels/{name}.c", ROOT / "fuzz/replay.c", *sorted(KERNELS.glob("*.c"))))
    program = str(tmp_path / name)
    built = run(*compiler, "-std=gnu11", "-g", "-O1", f"-I{KERNELS}", *sources, "-o", program)
    assert built.returncode == 0, built.stderr
    seeds = sorted(map(str, (SEEDS / name).iterdir()))
    replayed = run(program, *seeds)
    assert (replayed.returncode, replayed.stdout) == (0, f"{len(seeds)}\n"), replayed.stderr


def test_twin_fuzz_targets_pass_on_their_seeds():
    pytest.importorskip("framewire._fast.dispatch", reason="the compiled twins are missing")
    done = subprocess.run(
        [sys.executable, str(ROOT / "fuzz/replay.py")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(sys.modules["framewire"].__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    for name in ("stream", "deflate", "utf8", "handshake"):
        assert f"{name}: {len(list((SEEDS / name).iterdir()))} seeds" in done.stdout
