"""New copies of modules that have been imported."""

import importlib.util


def import_again(name):
    """Return a new copy of a module, which reads the environment again. `sys.modules` keeps the first."""
    spec = importlib.util.find_spec(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
