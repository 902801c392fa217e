"""Import further copies of a package, for example without its compiled modules, into one process.

Both copies can then be measured in the same process, in turns.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any
from unittest.mock import patch


def import_isolated(name: str, hidden: str = "", **environment: str) -> ModuleType:
    """Import a new copy of a module and of its package.

    The copy is not in `sys.modules` afterwards, so other imports of the package do not see it.

    Args:
        name: The name of the module.
        hidden: A module whose import fails during this import, or "".
        **environment: Environment variables that are set during this import.

    Returns:
        The copy.
    """
    package = name.partition(".")[0]
    modules: dict[str, Any] = sys.modules

    def remove_package() -> dict[str, Any]:
        names = [other for other in modules if other == package or other.startswith(package + ".")]
        return {other: modules.pop(other) for other in names}

    originals = remove_package()
    try:
        if hidden:
            modules[hidden] = None
        with patch.dict(os.environ, environment):
            return import_module(name)
    finally:
        remove_package()
        modules.update(originals)
