"""The command `framewire`: one module for each of its subcommands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from . import connect, demo, doctor, serve

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (without the program's name; None: the process's); returns the exit status."""
    parser = argparse.ArgumentParser(prog="framewire", description="WebSocket at C speed.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in (serve, connect, demo, doctor):
        command.add_parser(commands)
    arguments = parser.parse_args(argv)
    status: int = arguments.run(arguments)
    return status
