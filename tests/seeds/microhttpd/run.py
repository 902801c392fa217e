"""Run libmicrohttpd's `test_websocket.c` against framewire, and compare with expected.json.

usage: run.py FOLDER [--backends fast,pure]

FOLDER is a checkout of the repository Karlson2k/libmicrohttpd. Its test program is compiled
unchanged with `shim.c` in place of its library. A case is a comment of the program that begins with
"Regular test", "Edge test" or "Fail test". Every case must pass, except for those of expected.json,
which expect a known bug of libmicrohttpd_ws. The exit status is 1 after any other result.
"""

import argparse
import bisect
import json
import os
import re
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import framewire

HERE = Path(__file__).parent
#: The folder that framewire is imported from.
SOURCES = Path(framewire.__file__).resolve().parents[1]
BUILD = Path("build/microhttpd")

FUNCTION = re.compile(r"(test_\w+) \(\)")
CASE = re.compile(r"\s*/\* ((?:Regular|Edge|Fail|Failure) test.*?)\s*(?:\*/)?")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backends", default="fast,pure")
    options = parser.parse_args()
    source = options.folder / "src/microhttpd_ws/test_websocket.c"
    cases = read_cases(source)
    program = build(options.folder / "src/include", source)
    expected = json.loads((HERE / "expected.json").read_text())
    good = True
    for backend in options.backends.split(","):
        good &= report(backend, cases, run(program, backend), expected)
    return 0 if good else 1


def read_cases(source):
    """Return (line, function, name) for each case of the program, in order."""
    cases, function, seen = [], "", Counter()
    for line, text in enumerate(source.read_text().splitlines(), 1):
        if match := FUNCTION.fullmatch(text):
            function = match[1]
        elif match := CASE.fullmatch(text):
            seen[function, match[1]] += 1
            count = seen[function, match[1]]
            cases.append((line, function, match[1] if count == 1 else f"{match[1]} #{count}"))
    return cases


def build(headers, source):
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / "test_websocket"
    python, libraries = sysconfig.get_config_vars("INCLUDEPY", "LIBDIR")
    command = [
        *(os.environ.get("CC", "cc"), "-g", "-O1", f'-DPYTHON="{sys.executable}"'),
        *(f"-I{headers}", f"-I{python}", str(HERE / "shim.c"), str(source), "-o", str(program)),
        *(f"-L{libraries}", f"-Wl,-rpath,{libraries}", f"-lpython{sysconfig.get_config_var('LDVERSION')}"),
        *sysconfig.get_config_var("LIBS").split(),
        *sysconfig.get_config_var("LINKFORSHARED").split(),
    ]
    subprocess.run(command, check=True)
    return program


def run(program, backend):
    """Return the lines whose check failed; exit if the program did not reach its end."""
    environment = {
        **os.environ,
        "FRAMEWIRE_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([str(SOURCES), str(HERE)]),
    }
    done = subprocess.run([program.resolve()], stderr=subprocess.PIPE, text=True, env=environment, timeout=300)
    if done.returncode not in (0, 1):
        sys.exit(f"{done.stderr}\nthe test program ended with {done.returncode}")
    lines = [int(number) for number in re.findall(r"in line (\d+)", done.stderr)]
    if bool(lines) != bool(done.returncode):
        sys.exit(f"{done.stderr}\nthe test program ended with {done.returncode}, with {len(lines)} failures")
    return lines


def report(backend, cases, lines, expected):
    """Print the results of one backend; return whether they are as expected."""
    starts = [line for line, _, _ in cases]
    failed = {cases[bisect.bisect(starts, line) - 1][1:] for line in lines}
    totals = Counter(function for _, function, _ in cases)
    known = {(function, name): bug for function, names in expected["known"].items() for name, bug in names.items()}
    print(f"{backend}\n  {'test function':30} cases passed failed known bugs")
    for function, total in totals.items():
        own = [case for case in failed if case[0] == function]
        bugs = [case for case in own if case in known]
        print(f"  {function:30} {total:5} {total - len(own):6} {len(own):6} {len(bugs):10}")
    print(f"  {'total':30} {len(cases):5} {len(cases) - len(failed):6} {len(failed):6} {len(failed & {*known}):10}")
    for case in sorted(failed):
        print(f"  {case[0]}: {case[1]}: {known.get(case, 'UNEXPECTED')}")
    passed = sorted({*known} - failed)
    for function, name in passed:
        print(f"  {function}: {name}: expected to fail, but passed")
    if totals != expected["cases"]:
        print(f"  the program has other cases: expected {expected['cases']}")
    return not passed and failed <= {*known} and totals == expected["cases"]


if __name__ == "__main__":
    sys.exit(main())
