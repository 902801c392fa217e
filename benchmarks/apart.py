"""The same package twice in one process: with and without its compiled half, so that both are measured in turns."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any
from unittest.mock import patch


def import_apart(name: str, hidden: str = "", **environment: str) -> ModuleType:
    """Imports a second copy of the module `name` and its package, as if `hidden` did not exist.

    The copy stays out of `sys.modules`: what was imported before, and what is imported later, does not see it.
    """
    package = name.partition(".")[0]
    modules: dict[str, Any] = sys.modules

    def taken() -> dict[str, Any]:
        mine = [other for other in modules if other == package or other.startswith(package + ".")]
        return {other: modules.pop(other) for other in mine}

    before = taken()
    try:
        if hidden:
            modules[hidden] = None
        with patch.dict(os.environ, environment):
            return import_module(name)
    finally:
        taken()
        modules.update(before)
