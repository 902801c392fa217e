"""The `framewire` command: one module for each subcommand."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from .. import __version__
from ..errors import FramewireError
from . import bench, completion, connect, demo, doctor, inspect, run, serve
from .reporting import INTERRUPTED, IO_ERROR, USAGE, describe, exit_status, print_status

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    A `FramewireError` or `OSError`, such as a port in use, is reported as one line on standard
    error.

    Args:
        argv: The arguments without the program name. Default: those of the process.

    Returns:
        The exit status of the subcommand; after an error that of `reporting.exit_status`; 130 after
        Ctrl-C.
    """
    arguments = _make_parser().parse_args(argv)
    _escape_unencodable_characters()
    try:
        status: int = arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of standard output has ended
        _discard_output()
        return IO_ERROR
    except (FramewireError, OSError) as error:
        print_status(f"framewire: {describe(error)}")
        _discard_output()
        return exit_status(error)
    return status


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="framewire",
        description="WebSocket at C speed.",
        epilog="Exit status: 0 success, 1 a negative result, 2 wrong usage, 69 no connection, 74 input or output error,"
        " 130 Ctrl-C.",
    )
    parser.add_argument("--version", action="version", version=f"framewire {__version__}")
    parser.set_defaults(run=partial(_print_help, parser))
    commands = parser.add_subparsers(metavar="command")
    for command in (serve, connect, inspect, bench, run, demo, doctor):
        command.add_parser(commands)
    completion.add_parser(commands, parser)
    return parser


def _print_help(parser: argparse.ArgumentParser, _: argparse.Namespace) -> int:
    """Print the commands on standard error: there was none."""
    parser.print_help(sys.stderr)
    return USAGE


def _escape_unencodable_characters() -> None:
    """Print characters that the encoding of the output does not have as escapes, such as "\\xe9"."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Discard output that cannot be written, so that the interpreter's flush at exit does not raise
    the error again.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with suppress(OSError):  # a stream without a file descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
