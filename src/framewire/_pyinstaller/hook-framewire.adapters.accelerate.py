"""The adapters, which `accelerate` imports by name."""

from framewire.adapters.accelerate import LIBRARIES

hiddenimports = [f"framewire.adapters.{library.adapter}" for library in LIBRARIES.values()]
