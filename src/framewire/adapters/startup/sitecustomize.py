"""Python imports this when it starts, as `framewire run` puts this folder first on PYTHONPATH.

So every Python process of the command is accelerated, also those that it spawns. What PYTHONPATH hides, a
`sitecustomize` of the system or of the environment, is imported behind it.
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
    print(f"framewire run: {sys.executable} runs without framewire: {error}", file=sys.stderr)
else:
    if os.environ.get("FRAMEWIRE_RUN") == "verbose":
        import logging

        _handler = logging.StreamHandler()
        _handler.setFormatter(logging.Formatter("framewire: %(message)s"))
        logger.addHandler(_handler)
        logger.setLevel(logging.INFO)
    accelerate()

_this = sys.modules.pop("sitecustomize")
with suppress(ImportError):  # there need not be another one
    import_module("sitecustomize")
sys.modules.setdefault("sitecustomize", _this)  # the import system looks for one when this file is done
