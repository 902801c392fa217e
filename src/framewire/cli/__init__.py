"""The `framewire` command: one module for each subcommand."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ..errors import FramewireError
from . import bench, connect, demo, doctor, inspect, run, serve

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    A `FramewireError` or `OSError`, such as a port in use, is reported as one line on standard
    error.

    Args:
        argv: The arguments without the program name. Default: those of the process.

    Returns:
        The exit status of the subcommand, or 1 after a reported error.
    """
    parser = argparse.ArgumentParser(prog="framewire", description="WebSocket at C speed.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in (serve, connect, inspect, bench, run, demo, doctor):
        command.add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except BrokenPipeError:
        # The reader of standard output has gone. Without the redirection, the flush at exit would
        # raise the same error again and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (FramewireError, OSError) as error:
        print(f"framewire: {error}", file=sys.stderr)
        return 1
    return status
