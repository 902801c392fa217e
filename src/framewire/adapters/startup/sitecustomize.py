"""Imported by Python at startup, because `framewire run` puts this folder first on PYTHONPATH.

It accelerates every Python process of the command, including those that it spawns. Another
`sitecustomize`, of the system or of the environment, which this one hides, is imported afterwards.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module

_folder = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _folder]

try:
    from framewire.adapters.accelerate import accelerate, logger
except ImportError as error:
    print(f"framewire run: framewire is not installed for {sys.executable}: {error}", file=sys.stderr)
else:
    if os.environ.get("FRAMEWIRE_RUN") == "verbose":
        import logging

        _handler = logging.StreamHandler()
        _handler.setFormatter(logging.Formatter("framewire: %(message)s"))
        logger.addHandler(_handler)
        logger.setLevel(logging.INFO)
    accelerate()

_own_module = sys.modules.pop("sitecustomize")
with suppress(ImportError):  # usually there is no other one
    import_module("sitecustomize")
# The import system expects the module in `sys.modules` at the end of its import.
sys.modules.setdefault("sitecustomize", _own_module)
