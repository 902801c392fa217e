"""Compile the C and Cython of the benchmarks on demand, into build/benchmarks."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from functools import cache
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
CACHE = HERE.parent / "build" / "benchmarks"
KERNELS = HERE.parent / "cext" / "kernels"


@cache
def load_extension(name: str) -> ModuleType:
    """Compile benchmarks/NAME.pyx, if it is outdated, like the twins, and import it."""
    target = CACHE / (name + sysconfig.get_config_var("EXT_SUFFIX"))
    source = HERE / f"{name}.pyx"
    if _is_outdated(target, [source, *HERE.glob("*.h")]):
        _compile(name, source)
    loader = ExtensionFileLoader(name, str(target))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def build_program(name: str) -> Path:
    """Compile benchmarks/NAME.c with all kernels, if it is outdated; return its path."""
    target = CACHE / name
    kernels = sorted(KERNELS.glob("*.c"))
    if _is_outdated(target, [HERE / f"{name}.c", *HERE.glob("*.h"), *kernels, *KERNELS.glob("*.h")]):
        print(f"compiling {name}.c", file=sys.stderr)
        CACHE.mkdir(parents=True, exist_ok=True)
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        sources = [str(path) for path in (HERE / f"{name}.c", *kernels)]
        subprocess.run([*compiler, "-O3", f"-I{KERNELS}", *sources, "-o", str(target)], check=True)
    return target


def _is_outdated(target: Path, sources: list[Path]) -> bool:
    return not target.exists() or target.stat().st_mtime < max(source.stat().st_mtime for source in sources)


def _compile(name: str, source: Path) -> None:
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension

    extension = Extension(name, [str(source)], include_dirs=[str(HERE)], extra_compile_args=["-O3"])
    modules = cythonize([extension], build_dir=str(CACHE / "c"), quiet=True, force=True)
    command = Distribution({"ext_modules": modules}).get_command_obj("build_ext")
    command.build_lib, command.build_temp, command.force = str(CACHE), str(CACHE / "o"), True
    command.ensure_finalized()
    print(f"compiling {source.name}", file=sys.stderr)
    command.run()
