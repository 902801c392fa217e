"""Run the tests of the C kernels on mutants of them; see `make mutants-kernels`.

A mutant changes one comparison, one shift, or one number that is compared, shifted by, masked with
or subtracted, in a file of cext/kernels. Each is built with tests/engine/test_kernels.c, which then
runs; as many at a time as there are processors. The kernels for other processors are left out.

    kernels.py [FILE...]        run the mutants of these files: "utf8.c"

Exit with status 1 if a mutant survives that `equivalent_kernels.txt` does not name, or if one that
it names is killed or does not exist.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KERNELS = ROOT / "cext/kernels"
BUILD = ROOT / "build/mutants/kernels"
PROGRAM = ROOT / "tests/engine/test_kernels.c"
#: The groups of tests that test a file; by default all.
_HANDSHAKE = ["sha1", "accept"]
GROUPS = {"header.h": ["header"], "accept.c": _HANDSHAKE, "accept_shani.c": _HANDSHAKE, "sha1.c": _HANDSHAKE}
#: Files for other processors, and those that choose an instruction set: a wrong choice is tested by
#: tests/engine/test_backend.py.
LEFT_OUT = {"neon.c", "cpu.c", "cpu.h", "available.c", "tables.h", "target.h", "kernels.h", "accept.h", "sha1.h"}
COMPILE = ["gcc", "-std=gnu11", "-O1", "-w", "-I.", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
#: Seconds of processor time that the program may take, so that a mutant is not killed by a busy machine, and those
#: that it may take without a mutant.
PATIENCE, CONTROL = 60, 20

_TOKEN = re.compile(
    r"/\*.*?\*/|#\s*(?:include|if|ifdef|ifndef|endif|elif|else)\b[^\n]*|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)+'"  # kept
    r"|(?P<number>\b0x[0-9A-Fa-f]+|\b[0-9]+)u?\b|(?P<operator><<=?|>>=?|[<>=!]=|->|[<>])",
    re.DOTALL,
)
#: What stands before a number that is mutated.
_BEFORE_NUMBER = re.compile(r"(?:<|<=|>|>=|==|<<|>>|&|-) \Z")
_SWAPS = {
    "<": ["<=", ">"], "<=": ["<"], ">": [">=", "<"], ">=": [">"], "==": ["!="], "!=": ["=="], "<<": [">>"],
    ">>": ["<<"],
}  # fmt: skip


class Mutant(NamedTuple):
    """One fault in one file."""

    #: "file: line of code with [before -> after]", with " #2" for the second of the kind.
    name: str
    file: str
    text: str


def mutants(path: Path) -> Iterator[Mutant]:
    """Yield the mutants of a file."""
    text = path.read_text()
    counts: Counter[str] = Counter()
    for token in _TOKEN.finditer(text):
        if token["number"] and _BEFORE_NUMBER.search(text, 0, token.start()):
            start, stop = token.span("number")
            value = int(token["number"], 0)
            replacements = [hex(value + 1) if token["number"].startswith("0x") else str(value + 1)]
        else:
            start, stop = token.span()
            replacements = _SWAPS.get(token["operator"] or "", [])
        left, right = text.rfind("\n", 0, start) + 1, text.index("\n", stop)
        for new in replacements:
            line = f"{text[left:start].lstrip()}[{text[start:stop]} -> {new}]{text[stop:right].rstrip()}"
            counts[line] += 1
            suffix = f" #{counts[line]}" if counts[line] > 1 else ""
            yield Mutant(f"{path.name}: {line}{suffix}", path.name, text[:start] + new + text[stop:])


def build(file: str, text: str) -> bool:
    """Build the test program with this text of a file; return whether it compiles."""
    folder = own_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for path in [PROGRAM, *KERNELS.glob("*.[ch]")]:
        write(folder / path.name, text if path.name == file else path.read_text())
    missing = [path.name for path in folder.glob("*.c") if not path.with_suffix(".o").exists()]
    if missing and subprocess.run([*COMPILE, "-c", *missing], cwd=folder, capture_output=True, check=False).returncode:
        return False
    objects = [path.name for path in folder.glob("*.o")]
    subprocess.run([*COMPILE, *objects, "-o", "program"], cwd=folder, capture_output=True, check=True)
    return True


def own_folder() -> Path:
    """Return the folder in which this process builds."""
    return BUILD / str(os.getpid())


def write(path: Path, text: str) -> None:
    """Write a file unless it has this text; remove the objects that depend on it."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        including = [path] if path.suffix == ".c" else path.parent.glob("*.c")
        for each in including:
            if each == path or f'"{path.name}"' in each.read_text():
                each.with_suffix(".o").unlink(missing_ok=True)


def passes(file: str, patience: int = PATIENCE) -> bool:
    """Run the tests of a file; return whether they pass within a number of seconds of processor time."""
    command = [str(own_folder() / "program"), *GROUPS.get(file, [])]
    limit = partial(resource.setrlimit, resource.RLIMIT_CPU, (patience, patience))
    return subprocess.run(command, capture_output=True, preexec_fn=limit, check=False).returncode == 0


def run(mutant: Mutant) -> tuple[bool, bool]:
    """Return whether a mutant compiles, and whether it survives."""
    built = build(mutant.file, mutant.text)
    return built, built and passes(mutant.file)


def main() -> int:
    files = sys.argv[1:] or sorted({path.name for path in KERNELS.glob("*.[ch]")} - LEFT_OUT)
    chosen = [mutant for file in files for mutant in mutants(KERNELS / file)]
    shutil.rmtree(BUILD, ignore_errors=True)
    assert build("", "")
    for file in ["", *files]:
        assert passes(file, CONTROL), f"the tests of {file or 'all files'} fail without a mutant, or take long"
    survivors, refused = set(), 0
    with open(BUILD.parent / "kernels.log", "a") as log, ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for number, (mutant, (built, survives)) in enumerate(zip(chosen, pool.map(run, chosen), strict=True), 1):
            refused += not built
            if survives:
                survivors.add(mutant.name)
            print("survived" if survives else "killed", mutant.name, file=log, flush=True)
            if not number % 100:
                print(f"{number} of {len(chosen)}, {len(survivors)} survivors", flush=True)
    listed = (HERE / "equivalent_kernels.txt").read_text().splitlines()
    equivalent = {line for line in listed if line.partition(":")[0] in files}
    print(f"{len(chosen)} mutants, {refused} do not compile, {len(survivors)} survive")
    print("".join(f"survived: {name}\n" for name in sorted(survivors - equivalent)), end="")
    print("".join(f"not a survivor: {name}\n" for name in sorted(equivalent - survivors)), end="")
    return int(survivors != equivalent)


if __name__ == "__main__":
    sys.exit(main())
