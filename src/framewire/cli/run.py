"""`framewire run`: a Python command, with the WebSocket libraries that it uses sped up."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib.resources import files
from typing import Any

__all__ = ["add_parser", "environment"]


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = commands.add_parser(
        "run",
        help="run a Python command with its WebSocket library sped up",
        description=__doc__,
        usage="framewire run [-h] [-v] [--] COMMAND ... | framewire run [-v] -m MODULE ...",
        epilog="COMMAND is what a shell would find, such as hypercorn, or a file that ends in .py.",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say on standard error what is sped up")
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="a module and its arguments, as python -m")
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Becomes the command; where a process cannot, on Windows, runs it and returns its exit status."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if arguments.module:
        command = [sys.executable, "-m", *arguments.module]
    elif not command:
        print("framewire run: which command?", file=sys.stderr)
        return 2
    elif command[0].endswith(".py"):
        command = [sys.executable, *command]
    variables = environment(arguments.verbose)
    if os.name != "nt":
        os.execvpe(command[0], command, variables)
    return subprocess.call(command, env=variables)


def environment(verbose: bool = False) -> dict[str, str]:
    """This process's environment variables, and what accelerates each Python that is started with them."""
    paths = [str(files("framewire.adapters") / "startup"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "FRAMEWIRE_RUN": "verbose" if verbose else "quiet",
    }
