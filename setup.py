"""Builds the compiled twins: every cext/X.pyx becomes framewire._fast.X.

FRAMEWIRE_EXTENSIONS = unset (try; without a compiler install pure and say so), 1 (must compile), 0 (do not).
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SWITCH = os.environ.get("FRAMEWIRE_EXTENSIONS", "")
RECORD = Path(__file__).parent / "src/framewire/_fast/_build.py"


class BuildExtensions(build_ext):
    """The stock command, which also leaves a record of what became of the build for `framewire doctor`."""

    def run(self) -> None:
        self.failures: list[str] = []
        super().run()
        note = "; ".join(self.failures)
        if note:
            print(f"framewire: installed without compiled extensions ({note})", file=sys.stderr)
        self.record(note)

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            if SWITCH == "1":
                raise
            self.failures.append(f"{ext.name}: {error}")
