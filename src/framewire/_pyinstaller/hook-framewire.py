"""The modules that framewire imports by computed names: those of its backends, and late ones."""

from PyInstaller.utils.hooks import collect_submodules

from framewire import _LATE
from framewire._backend import TWINS

hiddenimports = collect_submodules("framewire._fast")
hiddenimports += [f"framewire._pure.{name}" for name in TWINS]
hiddenimports += [f"framewire.{name}" for name in _LATE]
