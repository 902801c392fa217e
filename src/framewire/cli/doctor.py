"""`framewire doctor`: report the active backend, test it, and say how to get a faster one."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from .. import CLIENT, SERVER, Failure, Stream, __version__, backend
from .._backend import accept_key, instruction_sets, load
from .demo import time_message

__all__ = ["add_parser", "examine"]


def add_parser(commands: Any) -> None:
    """Add this subcommand to the command line."""
    parser = commands.add_parser("doctor", help="check whether the compiled backend is active", description=__doc__)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; return 1 if the self-test fails, else 0."""
    faults = list(find_faults())
    findings = [*examine(), ("self-test", "; ".join(faults) or "passed"), ("speed", "; ".join(measure_speed()))]
    for name, finding in findings:
        print(f"{name:<18}{finding}")
    print()
    if faults:
        print("framewire gives wrong results here: please report this. Until it is fixed, try FRAMEWIRE_BACKEND=pure.")
        return 1
    for line in advise():
        print(line)
    return 0


def examine() -> Iterator[tuple[str, str]]:
    """Yield the findings, as pairs of name and value."""
    active = backend()
    yield "framewire", __version__
    yield "backend", "fast (compiled)" if active.name == "fast" else "pure (plain Python)"
    name = active.instruction_set
    yield "instructions", f"{name} of {', '.join(instruction_sets())}" if name else "none: plain Python"
    for variable in ("FRAMEWIRE_BACKEND", "FRAMEWIRE_SIMD"):
        if variable in os.environ:
            yield variable, os.environ[variable] or "(empty)"
    yield "Python", f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})"
    yield "threads", "free" if sysconfig.get_config_var("Py_GIL_DISABLED") else "one at a time (GIL)"
    yield "platform", f"{platform.platform()}, {platform.machine()}"
    for package in ("h11", "uvloop"):
        yield package, _version(package)


def find_faults() -> Iterator[str]:
    """Test the active backend on examples of RFC 6455 and on messages of every short length.

    Yields:
        The name of each test that fails.
    """
    if accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") != b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=":
        yield "the accept key of RFC 6455 1.3"
    if Stream(SERVER).receive(bytes.fromhex("818537fa213d7f9f4d5158")) != ["Hello"]:
        yield "the masked text of RFC 6455 5.7"
    if [type(event) for event in Stream(SERVER).receive(bytes.fromhex("818100000000ff"))] != [Failure]:
        yield "text that is not UTF-8"
    text = "Grüße, 世界 🎉 "
    messages = [(text * 40)[:size] for size in range(400)]
    client, server = Stream(CLIENT), Stream(SERVER)
    if server.receive(b"".join(map(client.send, messages))) != messages:
        yield "messages from a client to a server"


def measure_speed() -> Iterator[str]:
    """Measure how long the active backend takes to receive a message, for two kinds of messages."""
    for name, message in (("text of 16 bytes", "x" * 16), ("binary of 16 KiB", bytes(1 << 14))):
        yield f"{time_message(message) * 1e9:,.0f} ns for {name}"


def advise() -> Iterator[str]:
    """Yield lines of advice."""
    if backend().name == "fast":
        yield "The compiled backend is active. Nothing to do."
    elif os.environ.get("FRAMEWIRE_BACKEND") == "pure":
        yield "FRAMEWIRE_BACKEND=pure asks for plain Python. Unset it to use the compiled backend."
    else:
        yield "framewire works, but in plain Python, which is slower."
        yield from explain_pure()
        yield "Install a wheel for this platform:   pip install --force-reinstall --only-binary framewire framewire"
        yield "or, if you have a C compiler:        FRAMEWIRE_EXTENSIONS=1 pip install --force-reinstall"
        yield "                                       --no-binary framewire framewire"


def explain_pure() -> Iterator[str]:
    """Yield the reasons for which the compiled backend was not loaded."""
    modules = defaultdict(list)
    for module, error in _build_failures().items():
        modules[error].append(module)
    for error, names in modules.items():
        yield f"When it was built, {', '.join(names)} did not compile: {error}"
    if modules:
        return
    try:
        load("_fast")
    except ImportError as error:
        yield f"The compiled backend cannot be imported: {error}"
    names = [entry.name for entry in files("framewire._fast").iterdir() if entry.name.endswith((".so", ".pyd"))]
    if names and not any(name.endswith(suffix) for name in names for suffix in _tagged_suffixes()):
        built_for = ", ".join(sorted({name.split(".", 1)[1] for name in names}))
        yield f"It was built for another Python: {built_for}; this one imports {_tagged_suffixes()[0][1:]}."
    elif names and not Path(str(files("framewire._fast"))).is_dir():
        yield "It is in a zip file, from which Python cannot import compiled modules."


def _tagged_suffixes() -> list[str]:
    """Return the suffixes of modules that this Python imports, without those for any Python."""
    return [suffix for suffix in EXTENSION_SUFFIXES if suffix.count(".") > 1]


def _build_failures() -> dict[str, str]:
    """Return the error message that the build recorded for each module that did not compile."""
    try:
        failures: dict[str, str] = import_module("framewire._fast._build").FAILURES
    except ImportError:  # a source tree that was never built
        return {}
    return failures


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
