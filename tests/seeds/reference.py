"""Run the server of pywebsocket3, with handlers that import it as `mod_pywebsocket`, its old name.

The interpreter must have pywebsocket3 installed. The arguments are its flags.
"""

import importlib
import importlib.abc
import importlib.util
import sys

OLD, NEW = "mod_pywebsocket", "pywebsocket3"


class Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import `mod_pywebsocket.x` as the module `pywebsocket3.x`."""

    def find_spec(self, fullname, path=None, target=None):
        """Find the modules with the old name."""
        if fullname.split(".")[0] != OLD:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec):
        """Return the module with the new name."""
        return importlib.import_module(spec.name.replace(OLD, NEW, 1))

    def exec_module(self, module):
        """Do nothing: the module has been executed under its new name."""


if __name__ == "__main__":
    sys.meta_path.insert(0, Alias())
    from pywebsocket3 import standalone

    standalone._main(sys.argv[1:])
