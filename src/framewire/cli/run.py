"""`framewire run`: run a Python command with its WebSocket library accelerated."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib.resources import files
from typing import Any

__all__ = ["add_parser", "environment"]


def add_parser(commands: Any) -> None:
    """Add this subcommand to the command line."""
    parser = commands.add_parser(
        "run",
        help="run a Python command with its WebSocket library accelerated",
        description=__doc__,
        usage="framewire run [-h] [-v] [--] COMMAND ... | framewire run [-v] -m MODULE ...",
        epilog="COMMAND is a program on PATH, such as hypercorn, or a file whose name ends in .py.",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log to standard error what is accelerated")
    parser.add_argument(
        "-m", dest="module", nargs=argparse.REMAINDER, help="a module and its arguments, as for python -m"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Replace this process with the command; on Windows, run it and return its exit status."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if arguments.module:
        command = [sys.executable, "-m", *arguments.module]
    elif not command:
        print("framewire run: no command given", file=sys.stderr)
        return 2
    elif command[0].endswith(".py"):
        command = [sys.executable, *command]
    variables = environment(arguments.verbose)
    if os.name != "nt":
        os.execvpe(command[0], command, variables)
    return subprocess.call(command, env=variables)


def environment(verbose: bool = False) -> dict[str, str]:
    """Return environment variables that accelerate every Python process started with them.

    Args:
        verbose: Whether these processes log what is accelerated.

    Returns:
        The variables of this process, with `adapters/startup` first on PYTHONPATH.
    """
    paths = [str(files("framewire.adapters") / "startup"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "FRAMEWIRE_RUN": "verbose" if verbose else "quiet",
    }
