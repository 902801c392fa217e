"""Builds the compiled twins: every cext/X.pyx becomes framewire._fast.X."""

import gzip
import os
import sys
import tarfile
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

# Unset: try; what does not compile is left out, and said. 1: must compile. 0: do not.
SWITCH = os.environ.get("FRAMEWIRE_EXTENSIONS", "")
if SWITCH not in ("", "0", "1"):
    sys.exit(f"FRAMEWIRE_EXTENSIONS is {SWITCH!r}; it takes 1 (must compile), 0 (do not), or nothing")


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
        package = Path("src" if self.inplace else self.build_lib, "framewire", "_fast")
        package.mkdir(parents=True, exist_ok=True)
        package.joinpath("_build.py").write_text(f"FAILURES: dict[str, str] = {self.failures!r}\n")


class ReproducibleSdist(sdist):
    """The stock command, but two archives of the same files have the same bytes, whoever makes them and when."""

    def make_archive(self, base_name, kind, root_dir=None, base_dir=None, owner=None, group=None):
        if kind != "gztar":
            return super().make_archive(base_name, kind, root_dir, base_dir, owner, group)
        moment = int(os.environ.get("SOURCE_DATE_EPOCH", 315532800))  # 1980, where zip's calendar begins

        def without_traces(member):
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = moment
            return member

        path = f"{base_name}.tar.gz"
        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", mtime=moment, fileobj=file) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(base_dir, filter=without_traces)  # in the order of the names
        return path


def extensions():
    if SWITCH == "0" or (SWITCH == "" and sys.implementation.name != "cpython"):
        return []
    from Cython.Build import cythonize

    kernels, headers = sorted(glob("cext/kernels/*.c")), glob("cext/*.*") + glob("cext/kernels/*.h")
    flags = [] if os.name == "nt" else ["-O3"]
    modules = cythonize(
        [
            Extension(f"framewire._fast.{Path(pyx).stem}", [pyx, *kernels], depends=headers, extra_compile_args=flags)
            for pyx in sorted(glob("cext/*.pyx"))
        ],
        include_path=["cext"],
        build_dir="build",
    )
    for module in modules:
        module.include_dirs += ["cext", "cext/kernels"]
        module.optional = SWITCH != "1"  # cythonize() does not hand it on
    return modules


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExtensions, "sdist": ReproducibleSdist})
