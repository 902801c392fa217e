"""Imported by Python at startup, because `framewire run` puts this folder first on PYTHONPATH.

It accelerates every Python process of the command, including those that it spawns. Another
`sitecustomize`, of the system or of the environment, which this one hides, is imported afterwards.

`usercustomize` executes this file too, under its own name.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module

_folder = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _folder]

try:
    from framewire.adapters.accelerate import accelerate_process
except ImportError as error:
    print(f"framewire run: framewire is not installed for {sys.executable}: {error}", file=sys.stderr)
else:
    accelerate_process()

_own_module = sys.modules.pop(__name__)
with suppress(ImportError):  # usually there is no other one
    import_module(__name__)
# The import system expects the module in `sys.modules` at the end of its import.
sys.modules.setdefault(__name__, _own_module)
