"""Runs the tests of the twins on other processors, emulated.

    python packaging/foreign.py [MACHINE... [-- PYTEST-ARGUMENT...]]

For each machine Debian's Python is unpacked, not installed; the extensions are compiled for it here, and qemu runs
pytest on both twins. All that is made stays in build/foreign; what is unpacked is not fetched again. Needs `Cython`,
and the Debian packages mmdebstrap, qemu-user-static and the gcc of each machine.
"""

import subprocess
import sys
import time
from shutil import copytree, ignore_patterns, rmtree

from cross import ROOT, write_extensions

WORK = ROOT / "build/foreign"
MIRROR = "http://deb.debian.org/debian"  # without those of updates, each of which can fail
#: As qemu calls it: Debian's name, the compiler's, and the release whose Python is taken.
MACHINES = {
    "aarch64": ("arm64", "aarch64-linux-gnu", "bookworm"),  # NEON
    "s390x": ("s390x", "s390x-linux-gnu", "bookworm"),  # big endian
    "arm": ("armhf", "arm-linux-gnueabihf", "bookworm"),  # 32 bits
    "i386": ("i386", "i686-linux-gnu", "bookworm"),
    "riscv64": ("riscv64", "riscv64-linux-gnu", "trixie"),  # CPython 3.13
}
#: The runs of pytest: backend, and which tests.
RUNS = {"fast": "engine", "pure": "engine and both_backends"}


def run(*command, **options):
    return subprocess.run([str(word) for word in command], cwd=ROOT, check=True, **options)


def unpack(machine):
    """Debian's Python of `machine`, as a folder with nothing configured; no program of it is run."""
    debian, _, release = MACHINES[machine]
    root = WORK / machine / "root"
    if not root.exists():
        begun = root.with_name("unpacking")
        rmtree(begun, ignore_errors=True)
        begun.mkdir(parents=True)
        wanted = [f"--architectures={debian}", "--include=python3,libpython3-dev", release]
        run("mmdebstrap", "--quiet", "--variant=extract", *wanted, begun, MIRROR)
        if not (begun / "lib").exists():  # trixie has it in base-files
            (begun / "lib").symlink_to("usr/lib")
        begun.rename(root)
    return root


def compile_extensions(machine, root, sources):
    """Makes the package as it would be installed on `machine`; returns the folder that it is in."""
    library = WORK / machine / "lib"
    package = library / "framewire"
    copytree(ROOT / "src/framewire", package, ignore=ignore_patterns("*.so", "__pycache__"), dirs_exist_ok=True)
    (headers,) = root.glob("usr/include/python3.*")
    flags = ["-O3", "-w", "-shared", "-fPIC", f"-I{ROOT}/cext", f"-I{ROOT}/cext/kernels", f"-I{headers}"]
    flags += ["-idirafter", root / "usr/include"]  # pyconfig.h; all else is the cross compiler's own
    kernels = sorted((ROOT / "cext/kernels").glob("*.c"))
    for source in sources:
        target = package / f"_fast/{source.stem}.so"
        run(f"{MACHINES[machine][1]}-gcc", *flags, source, *kernels, "-o", target)
    return library


def main():
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    machines, arguments = words[:cut] or list(MACHINES), words[cut + 1 :]
    arguments = arguments or ["tests/engine"]
    site = WORK / "site"
    if not site.exists():
        only = ["--only-binary=:all:", "--platform=any", "--implementation=py", "--python-version=3.11"]
        run(sys.executable, "-m", "pip", "install", "--quiet", *only, "--target", site, "h11", "hypothesis", "pytest")
    sources = write_extensions(WORK / "c")
    failed = []
    for machine in machines:
        root = unpack(machine)
        library = compile_extensions(machine, root, sources)
        variables = {
            "PYTHONHOME": root / "usr",
            "PYTHONPATH": f"{library}:{site}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "FRAMEWIRE_EXTENSIONS": "1",  # a missing extension is a failure
        }
        print(f"{machine}:", flush=True)
        begun = time.monotonic()
        try:
            for backend, marks in RUNS.items():
                settings = {**variables, "FRAMEWIRE_BACKEND": backend}
                words = [word for name, value in settings.items() for word in ("-E", f"{name}={value}")]
                python = [f"qemu-{machine}-static", "-L", root, *words, root / "usr/bin/python3"]
                run(*python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks, *arguments)
        except subprocess.CalledProcessError:
            failed.append(machine)
        print(f"{machine}: {time.monotonic() - begun:.0f} s", flush=True)
    return f"failed: {' '.join(failed)}" if failed else None


if __name__ == "__main__":
    sys.exit(main())
