"""framewire itself, twice: compiled and pure, each in its own copy of the package."""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType

from .apart import import_apart
from .tables import FAST, PURE


@cache
def backends() -> dict[str, ModuleType]:
    """The package by column: FAST if its compiled half is there, PURE always."""
    packages = {}
    try:
        packages[FAST] = import_apart("framewire", FRAMEWIRE_BACKEND="fast")
    except ImportError as error:
        print(f"the compiled half is left out: {error}", file=sys.stderr)
    packages[PURE] = import_apart("framewire", FRAMEWIRE_BACKEND="pure")
    return packages


@cache
def left_out(name: str, error: ImportError) -> None:
    """Says once that a contender is not there."""
    print(f"{name} is left out: {error}", file=sys.stderr)
