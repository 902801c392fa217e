"""`framewire run`: run a Python command with its WebSocket library accelerated."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from .reporting import NOT_EXECUTABLE, NOT_FOUND, USAGE, CommandError, print_status

__all__ = ["add_parser", "environment", "find_obstacle"]


def add_parser(commands: Any) -> None:
    """Add this subcommand to the command line."""
    parser = commands.add_parser(
        "run",
        help="run a Python command with its WebSocket library accelerated",
        description=__doc__,
        usage="framewire run [-h] [-v] [--] COMMAND ... | framewire run [-v] -m MODULE ...",
        epilog="COMMAND is a program on PATH, such as hypercorn, or a file whose name ends in .py.",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="list each process and each accelerated library on standard error"
    )
    parser.add_argument(
        "-m", dest="module", nargs=argparse.REMAINDER, help="a module and its arguments, as for python -m"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command in place of this process."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if arguments.module:
        command = [sys.executable, "-m", *arguments.module]
    elif not command or not command[0]:
        raise CommandError("run: no command is given", USAGE)
    elif command[0].endswith(".py"):
        command = [sys.executable, *command]
    obstacle = find_obstacle(command)
    if obstacle is not None:
        print_status(f"framewire run: {obstacle}; call framewire.accelerate() in the program")
    return _execute(command, environment(arguments.verbose))


def _execute(command: list[str], variables: dict[str, str]) -> int:
    """Replace this process; on Windows, run the command and return its exit status.

    Raises:
        CommandError: It cannot be executed; the status is that of the shell, 126 or 127.
    """
    try:
        if os.name != "nt":
            os.execvpe(command[0], command, variables)
        return subprocess.call(command, env=variables)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CommandError(f"{command[0]}: not found", NOT_FOUND) from error
    except OSError as error:
        raise CommandError(f"{command[0]}: {error.strerror}", NOT_EXECUTABLE) from error


def find_obstacle(command: Sequence[str]) -> str | None:
    """Return why a command runs without acceleration, as far as its arguments tell; None if they do
    not.
    """
    name, options = os.path.basename(command[0]), list(command[1:])
    if name == "env":
        while options and (options[0].startswith("-") or "=" in options[0]):
            option = options.pop(0)
            if option in ("-", "-i", "--ignore-environment") or option.startswith("PYTHONPATH="):
                return f"{name} {option} removes the variables that accelerate the command"
        return find_obstacle(options) if options else None
    if not re.fullmatch(r"(python|pypy)[\d.]*(\.exe)?", name):
        return None
    for option in options:
        letters = re.match(r"-([A-Za-z?]+)", option)
        if letters is None:
            return None  # the script, or what follows "-c" and "-m"
        flags = re.split("[cmWX]", letters[1])[0]
        if ignoring := set("IES") & set(flags):
            return f"{name} -{min(ignoring)} ignores what accelerates the command"
        if flags != letters[1]:
            return None
    return None


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
