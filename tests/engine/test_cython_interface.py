"""The Cython interface for other packages: `cimport` from `framewire._fast`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import framewire
from framewire import _backend

pytestmark = pytest.mark.skipif(_backend.active.name == "pure", reason="the compiled twins are missing")

PROGRAM = """
# cython: language_level=3
import framewire
from framewire._fast.stream_core cimport StreamCore

cdef class Echo:
    cdef StreamCore stream
    def __init__(self):
        self.stream = framewire.Stream(framewire.SERVER)
    def answer(self, bytes data):
        cdef list events = self.stream.receive_octets(data, len(data))
        return [self.stream.send_message(event) for event in events]
"""

SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup
setup(ext_modules=cythonize([Extension("echo", ["echo.pyx"])]))
"""

RUN = """
from echo import Echo
from framewire import CLIENT, Stream
client, echo = Stream(CLIENT), Echo()
frames = echo.answer(client.send("text") + client.send(bytes(300)) + client.send("é", last=False) + client.send("!"))
print(client.receive(b"".join(frames)) == ["text", bytes(300), "é!"])
"""


def run(folder, *command):
    source = Path(framewire.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{folder}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_another_extension_receives_and_sends_without_python_calls(tmp_path, compiler):
    pytest.importorskip("Cython", reason="Cython is not installed")
    (tmp_path / "echo.pyx").write_text(PROGRAM)
    (tmp_path / "setup.py").write_text(SETUP)
    run(tmp_path, "setup.py", "--quiet", "build_ext", "--inplace")
    assert run(tmp_path, "-c", RUN) == "True\n"
