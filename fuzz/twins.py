"""Both backends in one process: two copies of the package that differ in their twins."""

import contextlib
import importlib
import os
import sys

with contextlib.suppress(ImportError):  # replay.py does not need it
    import atheris


#: The modules of each copy.
_copies = {}


def load(backend, *modules):
    """Import a new copy of framewire on `backend`, with the submodules `modules`; return it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "framewire"]:
        del sys.modules[name]
    os.environ["FRAMEWIRE_BACKEND"] = backend
    instrumented = "atheris" in globals()
    with atheris.instrument_imports(include=["framewire"]) if instrumented else contextlib.nullcontext():
        for name in modules:
            importlib.import_module(f"framewire.{name}")
        package = importlib.import_module("framewire")
    assert package.backend().name == backend
    _copies[package] = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "framewire"}
    return package


def use(package):
    """Let imports within functions of a copy find the modules of the same copy."""
    sys.modules.update(_copies[package])


def cut(data, size):
    """Cut `data` into pieces of 1, 2, ... `size`, 1, 2, ... bytes; one piece if `size` is 0."""
    if not size:
        return [data]
    pieces, start, length = [], 0, 1
    while start < len(data):
        pieces.append(data[start : start + length])
        start += length
        length = length % size + 1
    return pieces


def main(test):
    """Fuzz `test`; if the arguments are files, run it on them."""
    atheris.Setup(sys.argv, test)
    atheris.Fuzz()
