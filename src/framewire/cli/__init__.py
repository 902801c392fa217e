"""The command `framewire`: one module for each of its subcommands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ..errors import FramewireError
from . import bench, connect, demo, doctor, inspect, run, serve

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line, `argv` without the program's name or the process's own; returns the exit status.

    What goes wrong outside of framewire, such as a port that is taken, is one line on standard error and status 1.
    """
    parser = argparse.ArgumentParser(prog="framewire", description="WebSocket at C speed.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in (serve, connect, inspect, bench, run, demo, doctor):
        command.add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except BrokenPipeError:  # nobody reads the output on; nor shall the interpreter flush it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (FramewireError, OSError) as error:
        print(f"framewire: {error}", file=sys.stderr)
        return 1
    return status
