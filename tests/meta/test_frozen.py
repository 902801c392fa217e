"""Programs that are frozen, zipped, or run in a sub-interpreter; see docs/how-to/frozen.md."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

import framewire

PROGRAM = """
import asyncio
import framewire
from framewire.asyncio import connect, serve

async def echo(ws):
    async for message in ws:
        await ws.send(message)

async def main():
    async with serve(echo, "127.0.0.1", 0) as server:
        async with connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as ws:
            await ws.send("hello")
            print(framewire.backend().name, framewire.HeadLimits.__name__, await ws.recv())

if __name__ == "__main__":
    asyncio.run(main())
"""
ACCELERATED = """
import websockets.protocol
print(*(f"{each.library} {each.state}" for each in framewire.accelerate("websockets")))
"""

needs_extensions = pytest.mark.skipif(framewire.backend().name == "pure", reason="there is no compiled backend")


def output(*command, **options):
    """Return what a program prints, run without the environment of the tests."""
    environment = {"PATH": os.defpath, **options.pop("env", {})}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_extensions
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="one version of Python is enough for a test of 20 seconds")
def test_program_frozen_by_pyinstaller_is_compiled_and_accelerates(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM + ACCELERATED)
    source = str(Path(framewire.__file__).parents[1])
    output(
        sys.executable, "-m", "PyInstaller", "--log-level", "WARN", "--onedir", "--paths", source, "program.py",
        cwd=tmp_path, env={"HOME": str(tmp_path), "PYTHONPATH": source},
    )  # fmt: skip
    assert output(tmp_path / "dist/program/program") == "fast HeadLimits hello\nwebsockets active\n"


def test_zipped_program_uses_the_pure_backend(tmp_path):
    for name in ("framewire", "h11"):
        folder = Path(importlib.util.find_spec(name).origin).parent
        shutil.copytree(folder, tmp_path / "app" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "app/__main__.py").write_text(PROGRAM)
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
    assert output(sys.executable, "-I", tmp_path / "app.pyz") == "pure HeadLimits hello\n"


@needs_extensions
def test_sub_interpreter_uses_the_pure_backend():
    interpreters = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    program = f"""
import sys
import {interpreters} as interpreters
import framewire
inner = f"import sys; sys.path[:0] = {{sys.path}}; import framewire; print(framewire.backend().name, flush=True)"
print(framewire.backend().name, flush=True)
interpreters.run_string(interpreters.create(), inner)
"""
    source = str(Path(framewire.__file__).parents[1])
    assert output(sys.executable, "-c", program, env={"PYTHONPATH": source}) == "fast\npure\n"
