"""Build the distributions of a release without a container, for each PYTHON, and test them as installed.

    python packaging/wheels.py [--output DIR] [--no-test] PYTHON...

The steps: build the source distribution from the files in git; from it, build the pure wheel and a
manylinux wheel for each PYTHON, compiled with Zig for glibc 2.17; run `auditwheel repair`; install
only the wheel in a new virtual environment, where `framewire doctor` must report its backend; install
the test dependencies and run the test suite on the installed package, or for the pure wheel what CI
runs on each wheel. Then check the metadata of all distributions. Needs git, and the dependency group
`release` in the Python that runs this script.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

from check_wheel import faults

ROOT = Path(__file__).parent.parent
TARGET = f"{os.uname().machine}-linux-gnu.2.17"
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
COMPILER = f'#!/bin/sh\nexec "{sys.executable}" -m ziglang cc -target {TARGET} "$@"\n'


def run(*command, **options):
    print("+", *command, flush=True)
    return subprocess.run([str(word) for word in command], check=True, **options)


def build_sdist(work):
    """Build the source distribution of HEAD; return the folder with its contents, and its path."""
    clean = work / "clean"
    clean.mkdir()
    archive = run("git", "-C", ROOT, "archive", "HEAD", stdout=subprocess.PIPE).stdout
    run("tar", "x", "-C", clean, input=archive)
    run(sys.executable, "-m", "build", "--sdist", "--outdir", work, clean, stdout=subprocess.DEVNULL)
    (sdist,) = work.glob("*.tar.gz")
    with tarfile.open(sdist) as unpacked:
        unpacked.extractall(work / "unpacked", filter="data")
    (tree,) = (work / "unpacked").iterdir()
    return tree, sdist


def build_pure_wheel(tree, work):
    """Build `tree` without a compiler; return the path of the wheel."""
    environment = {**os.environ, "FRAMEWIRE_EXTENSIONS": "0"}
    run(sys.executable, "-m", "build", "--wheel", "--outdir", work, tree, env=environment, stdout=subprocess.DEVNULL)
    return checked(*work.glob("*.whl"))


def checked(wheel):
    """Return the wheel if its contents are right; exit if not."""
    if problems := list(faults(wheel)):
        sys.exit("\n".join(problems))
    return wheel


def build_wheel(python, tree, work):
    """Compile `tree` for the interpreter `python`; return the path of the repaired wheel."""
    compiler = work / "cc"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    raw, repaired = work / "raw", work / "repaired"
    environment = {
        **os.environ,
        "CC": str(compiler),
        "LDSHARED": f"{compiler} -shared",
        "CFLAGS": "-g0",
        "FRAMEWIRE_EXTENSIONS": "1",
    }
    run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", raw, tree, env=environment)
    tools = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
    (wheel,) = raw.glob("*.whl")
    run(sys.executable, "-m", "auditwheel", "repair", "--strip", "--wheel-dir", repaired, wheel, env=tools)
    return checked(*repaired.glob("*.whl"))


def install_wheel(python, wheel, work, backend):
    """Install `wheel` in a new environment, and check its backend; return the Python there."""
    venv_python = work / "venv/bin/python"
    run(python, "-m", "venv", work / "venv")
    run(venv_python, "-m", "pip", "install", "--quiet", wheel)
    report = run(venv_python, "-m", "framewire", "doctor", cwd=work, stdout=subprocess.PIPE, text=True).stdout
    print(report, end="")
    if backend not in report:
        sys.exit(f"the backend is not {backend}")
    return venv_python


def test_pure_wheel(python, wheel, tree, work):
    """Install the pure `wheel`, and run those tests of `tree` on it that need few packages."""
    venv_python = install_wheel(python, wheel, work, "pure (plain Python)")
    run(venv_python, "-m", "pip", "install", "--quiet", "pip>=25.1")
    run(venv_python, "-m", "pip", "install", "--quiet", "--group", "wheel-test", cwd=tree)
    run(venv_python, *PYTEST, "-m", "engine", "tests/engine", "tests/http", cwd=tree)


def test_wheel(python, wheel, tree, work):
    """Install `wheel`, check its backend, and run the test suite of `tree` on it."""
    venv_python = install_wheel(python, wheel, work, "fast (compiled)")
    run(venv_python, "-m", "pip", "install", "--quiet", f"{wheel}[test,adapters-test]")
    code = "import framewire; print(framewire.__file__)"
    location = run(venv_python, "-c", code, cwd=tree, stdout=subprocess.PIPE, text=True).stdout
    if not location.startswith(f"{work}/venv/"):
        sys.exit(f"the tests would run on {location}")
    suite = (venv_python, *PYTEST, "--ignore=tests/meta")  # as in `make test`
    parallel = (*suite, "-n", "2", "--dist", "worksteal", "-m")
    run(*parallel, "not alone", cwd=tree)
    run(*parallel, "both_backends", cwd=tree, env={**os.environ, "FRAMEWIRE_BACKEND": "pure"})
    run(*suite, "-m", "alone", "tests/hostile", cwd=tree)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the distributions (%(default)s)")
    parser.add_argument("--no-test", action="store_true", help="build only")
    arguments = parser.parse_args()
    arguments.output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        tree, sdist = build_sdist(Path(temporary))
        pure = Path(temporary, "pure")
        made = [sdist, build_pure_wheel(tree, pure)]
        if not arguments.no_test:
            test_pure_wheel(arguments.pythons[0], made[1], tree, pure)
        for number, python in enumerate(arguments.pythons):
            work = Path(temporary, str(number))
            work.mkdir()
            made.append(build_wheel(python, tree, work))
            if not arguments.no_test:
                test_wheel(python, made[-1], tree, work)
        run(sys.executable, "-m", "twine", "check", "--strict", *made)
        for path in made:
            shutil.copy(path, arguments.output)
    print(*sorted(path.name for path in arguments.output.iterdir()), sep="\n")


if __name__ == "__main__":
    main()
