"""Run the tests of the twins on other processors, in emulation.

    python packaging/foreign.py [MACHINE... [-- PYTEST-ARGUMENT...]]

For each machine, Debian's Python is unpacked, the extensions are cross-compiled, and qemu runs
pytest on both backends; as many machines as there are processors side by side, each with a log. All
files are in build/foreign, and unpacked systems are used again. Needs `Cython`, and the Debian
packages mmdebstrap, qemu-user-static and the cross gcc of each machine.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from shutil import copytree, ignore_patterns, rmtree

from cross import ROOT, write_extensions

WORK = ROOT / "build/foreign"
#: By the name in qemu: the name in Debian, that of the compiler, and the Debian release of the
#: Python.
MACHINES = {
    "aarch64": ("arm64", "aarch64-linux-gnu", "bookworm"),  # NEON
    "s390x": ("s390x", "s390x-linux-gnu", "bookworm"),  # big endian
    "arm": ("armhf", "arm-linux-gnueabihf", "bookworm"),  # 32 bits
    "i386": ("i386", "i686-linux-gnu", "bookworm"),
    "riscv64": ("riscv64", "riscv64-linux-gnu", "trixie"),  # CPython 3.13
}
#: The runs of pytest: the backend and the marks of its tests.
RUNS = {"fast": "engine", "pure": "engine and both_backends"}


def run(*command, **options):
    return subprocess.run([str(word) for word in command], cwd=ROOT, check=True, **options)


def unpack(machine):
    """Unpack Debian's Python for `machine` without running its programs; return the folder."""
    debian, _, release = MACHINES[machine]
    root = WORK / machine / "root"
    if not root.exists():
        incomplete = root.with_name("unpacking")
        rmtree(incomplete, ignore_errors=True)
        incomplete.mkdir(parents=True)
        options = [f"--architectures={debian}", "--include=python3,libpython3-dev", release]
        run("mmdebstrap", "--quiet", "--variant=extract", *options, incomplete)
        if not (incomplete / "lib").exists():  # in trixie, the link is part of base-files
            (incomplete / "lib").symlink_to("usr/lib")
        incomplete.rename(root)
    return root


def compile_extensions(machine, root, sources):
    """Create the package as installed on `machine`; return the folder that contains it."""
    library = WORK / machine / "lib"
    package = library / "framewire"
    copytree(ROOT / "src/framewire", package, ignore=ignore_patterns("*.so", "__pycache__"), dirs_exist_ok=True)
    (headers,) = root.glob("usr/include/python3.*")
    flags = ["-O3", "-w", "-shared", "-fPIC", f"-I{ROOT}/cext", f"-I{ROOT}/cext/kernels", f"-I{headers}"]
    flags += ["-idirafter", root / "usr/include"]  # for pyconfig.h; other headers are those of the cross compiler
    kernels = sorted((ROOT / "cext/kernels").glob("*.c"))
    for source in sources:
        target = package / f"_fast/{source.stem}.so"
        run(f"{MACHINES[machine][1]}-gcc", *flags, source, *kernels, "-o", target)
    return library


def install_test_packages():
    """Install the pure-Python packages that the tests need; return the folder."""
    site = WORK / "site"
    if not site.exists():
        pure = ["--only-binary=:all:", "--platform=any", "--implementation=py", "--python-version=3.11"]
        run(sys.executable, "-m", "pip", "install", "--quiet", *pure, "--target", site, "h11", "hypothesis", "pytest")
    return site


def run_tests(machine, root, python_path, arguments, log):
    """Run pytest on both backends in emulation, with its output in a log; raises CalledProcessError if it fails."""
    variables = {
        "PYTHONHOME": root / "usr",
        "PYTHONPATH": python_path,
        "PYTHONDONTWRITEBYTECODE": "1",
        "FRAMEWIRE_EXTENSIONS": "1",  # a missing extension is a failure
    }
    for backend, marks in RUNS.items():
        settings = {**variables, "FRAMEWIRE_BACKEND": backend}
        options = [word for name, value in settings.items() for word in ("-E", f"{name}={value}")]
        python = [f"qemu-{machine}-static", "-L", root, *options, root / "usr/bin/python3"]
        run(*python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks, *arguments, stdout=log, stderr=log)


def test(machine, site, sources, arguments):
    """Run the tests on one machine and print the result; return whether they pass."""
    path, start, passed = WORK / f"{machine}.log", time.monotonic(), False
    print(f"{machine}: the log is {path.relative_to(ROOT)}", flush=True)
    with open(path, "w") as log:
        try:
            root = unpack(machine)
            library = compile_extensions(machine, root, sources)
            run_tests(machine, root, f"{library}:{site}", arguments, log)
            passed = True
        except subprocess.CalledProcessError as error:
            print(f"{error.cmd[0]} failed", file=log)
    text = path.read_text()
    lines = [line for line in text.splitlines() if " passed" in line] if passed else [text]
    print(*lines, f"{machine}: {time.monotonic() - start:.0f} s", sep="\n", flush=True)
    return passed


def main():
    words = sys.argv[1:]
    separator = words.index("--") if "--" in words else len(words)
    machines = words[:separator] or list(MACHINES)
    arguments = words[separator + 1 :] or ["tests/engine"]
    site = install_test_packages()
    sources = write_extensions(WORK / "c")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        passed = list(pool.map(partial(test, site=site, sources=sources, arguments=arguments), machines))
    failed = [machine for machine, good in zip(machines, passed, strict=True) if not good]
    return f"failed: {' '.join(failed)}" if failed else None


if __name__ == "__main__":
    sys.exit(main())
