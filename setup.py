"""Build the compiled twins: cext/X.pyx becomes framewire._fast.X, and _pure/deflate.py framewire._fast.deflate."""

import os
import sys
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).parent / "packaging"))
from reproducible import ReproducibleSdist
from sbom import WheelWithBill

DISPATCH = os.path.join("cext", "dispatch.pyx")
DEFLATE = os.path.join("src", "framewire", "_pure", "deflate.py")  # one source for both twins
SWITCH = os.environ.get("FRAMEWIRE_EXTENSIONS", "")
if SWITCH not in ("", "0", "1"):
    sys.exit(f"FRAMEWIRE_EXTENSIONS is {SWITCH!r}; it takes 1 (must compile), 0 (do not), or nothing (try)")


class BuildExtensions(build_ext):
    """The stock command that also records why an extension is missing, for `framewire doctor`."""

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except Exception as error:
            if SWITCH == "1":
                raise
            self.failures[ext.name] = str(error)

    def run(self):
        self.failures = {}
        super().run()
        for name, error in self.failures.items():
            print(f"framewire: {name} is left out, the pure twin will serve: {error}", file=sys.stderr)
        record = Path("src" if self.inplace else self.build_lib, "framewire", "_fast", "_build.py")
        record.write_text(f"FAILURES: dict[str, str] = {self.failures!r}\n")


def interface_changed():
    """Whether a .pxd is newer than the C of its module: cythonize() knows of one beside the source only."""
    pairs = [
        (c, pxd) for pxd in Path("src/framewire/_fast").glob("*.pxd") for c in Path("build").rglob(f"{pxd.stem}.c")
    ]
    return any(c.stat().st_mtime < pxd.stat().st_mtime for c, pxd in pairs)


def extensions():
    if SWITCH == "0" or (SWITCH == "" and sys.implementation.name != "cpython"):
        return []
    from Cython.Build import cythonize

    kernels = sorted(glob("cext/kernels/*.c"))
    headers = [*glob("cext/*.*"), *glob("cext/kernels/*.h"), *glob("src/framewire/_fast/*.pxd")]
    flags = [] if os.name == "nt" else ["-O3"]
    modules = cythonize(
        [
            Extension(
                f"framewire._fast.{Path(pyx).stem}",
                [pyx, *kernels] if pyx == DISPATCH else [pyx],  # the others call the kernels through it
                depends=headers,
                extra_compile_args=flags,
            )
            for pyx in [*sorted(glob("cext/*.pyx")), DEFLATE]
        ],
        include_path=["cext", "src"],
        force=interface_changed() or None,
        build_dir="build",
    )
    for module in modules:
        module.include_dirs += ["cext", "cext/kernels"]
        module.optional = SWITCH != "1"  # cythonize() drops it
    return modules


COMMANDS = {"build_ext": BuildExtensions, "sdist": ReproducibleSdist, "bdist_wheel": WheelWithBill}
setup(ext_modules=extensions(), cmdclass=COMMANDS)
