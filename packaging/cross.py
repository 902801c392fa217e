"""Compile all C of the package for other systems with Zig: python packaging/cross.py [CPYTHON]

The kernels are compiled for each target, with every warning as an error. The C of the extensions
needs the headers of Python. For macOS, those of this interpreter are used, because the types have
the same sizes. For Windows, CPYTHON must be a folder with the source of CPython 3.12 or earlier
(later, `PC/pyconfig.h` is a template). Needs the packages `Cython`, `setuptools` and `ziglang`.
"""

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension

ROOT = Path(__file__).parent.parent
WINDOWS = ("x86_64-windows-gnu", "x86-windows-gnu", "aarch64-windows-gnu")
MACOS = ("x86_64-macos", "aarch64-macos")
OTHERS = ("x86_64-linux-musl", "aarch64-linux-musl", "arm-linux-musleabihf", "s390x-linux-musl", "wasm32-wasi-musl")
STRICT = ("-Wall", "-Wextra", "-Werror")
QUIET = ("-w",)  # for the C that Cython generates


def write_extensions(folder):
    """Run Cython on every twin; return the paths of the C files."""
    sources = [*sorted((ROOT / "cext").glob("*.pyx")), ROOT / "src/framewire/_pure/deflate.py"]
    twins = [Extension(f"framewire._fast.{path.stem}", [str(path)]) for path in sources]
    made = cythonize(twins, include_path=[str(ROOT / "cext"), str(ROOT / "src")], build_dir=folder, quiet=True)
    return [Path(twin.sources[0]) for twin in made]


def compiles(source, target, folder, *flags):
    """Return whether `source` compiles for `target`; Zig prints the errors."""
    includes = [f"-I{ROOT / 'cext'}", f"-I{ROOT / 'cext/kernels'}"]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-O2", "-c", "-o", f"{folder}/object"]
    return subprocess.run([*command, *includes, *flags, str(source)], check=False).returncode == 0


def headers(target, cpython):
    """Return the compiler flags for Python.h of `target`; None if there are no headers."""
    if target in MACOS:
        return [*QUIET, f"-I{sysconfig.get_path('include')}"]
    if target in WINDOWS and cpython is not None:
        win64 = [] if target.startswith("x86-") else ["-DMS_WIN64"]  # pyconfig.h sets it for MSVC only
        return [*QUIET, *win64, f"-I{cpython / 'PC'}", f"-I{cpython / 'Include'}"]
    return None


def main():
    cpython = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    kernels = sorted((ROOT / "cext/kernels").glob("*.c"))
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        extensions = write_extensions(folder)
        for target in (*WINDOWS, *MACOS, *OTHERS):
            jobs = [(kernel, STRICT) for kernel in kernels]
            flags = headers(target, cpython)
            if flags is not None:
                jobs += [(extension, flags) for extension in extensions]
            failures = [source.name for source, extra in jobs if not compiles(source, target, folder, *extra)]
            compiled = "kernels" if flags is None else "kernels and extensions"
            print(f"{target:<24}{compiled:<26}{'FAILED: ' + ' '.join(failures) if failures else 'ok'}", flush=True)
            failed += len(failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
