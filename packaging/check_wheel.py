"""Check the contents of wheels: python packaging/check_wheel.py [--count N] dist/*.whl

A wheel for a platform must have every compiled twin, one for each cext/*.pyx and the deflate of
_pure; the pure wheel must have none. Each has its bill of materials. No wheel may have C or Cython
sources, tests, or files outside the package. With --count there must be N wheels. Prints each error
and exits with status 1.
"""

import argparse
import re
import sys
from pathlib import Path
from zipfile import ZipFile

TWINS = {path.stem for path in Path(__file__).parent.parent.glob("cext/*.pyx")} | {"deflate"}
DATA = {"framewire/py.typed", "framewire/cli/chat.html", "framewire/_fast/stream_core.pxd"}
EXTENSION = re.compile(r"framewire/_fast/(\w+)\.[\w.-]*(?:so|pyd)")
CONTENT = re.compile(
    r"framewire/[\w/]+\.(?:py|html|pxd)|framewire/_pyinstaller/hook-[\w.]+\.py|framewire/py\.typed"
    r"|framewire-[\w.]+\.dist-info/.+"
)


def faults(wheel):
    """Yield a line for each problem of the wheel at this path."""
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    matches = {name: match[1] for name in names if (match := EXTENSION.fullmatch(name))}
    expected = set() if wheel.name.endswith("-none-any.whl") else TWINS
    compiled = set(matches.values())
    for twin in sorted(expected - compiled):
        yield f"the compiled twin {twin} is missing"
    for twin in sorted(compiled - expected):
        yield f"the compiled twin {twin} does not belong here"
    if not any(name.endswith(".dist-info/sboms/framewire.cdx.json") for name in names):
        yield "the bill of materials is missing"
    for name in sorted(DATA - names):
        yield f"{name} is missing"
    for name in sorted(names - set(matches)):
        if not name.endswith("/") and not CONTENT.fullmatch(name):
            yield f"{name} does not belong here"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--count", type=int)
    arguments = parser.parse_args()
    found = [f"{wheel}: {fault}" for wheel in arguments.wheels for fault in faults(wheel)]
    if arguments.count not in (None, len(arguments.wheels)):
        found.append(f"there are {len(arguments.wheels)} wheels, not {arguments.count}")
    print(*(found or [f"{len(arguments.wheels)} checked, all good"]), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
