"""`framewire completion SHELL`: print a script that completes the commands and options of
framewire.

bash: eval "$(framewire completion bash)"

zsh: framewire completion zsh > FOLDER/_framewire, with a folder of fpath

fish: framewire completion fish | source
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, Final

from .optional_packages import require_package
from .output import ParagraphFormatter

__all__ = ["add_parser"]

#: The shells, of those that shtab knows, with which this was tried.
SHELLS: Final = ("bash", "zsh", "fish")

#: Arguments that are completed with files, and with folders.
_FILES: Final = ("FILE", "PATH", "input", "config_file")
_FOLDERS: Final = ("DIR",)


def add_parser(commands: Any, program: argparse.ArgumentParser) -> None:
    """Add this subcommand to the command line.

    Args:
        commands: The subcommands.
        program: The parser of the whole command line.
    """
    parser = commands.add_parser(
        "completion",
        help="print a script for the completion of a shell",
        description=__doc__,
        formatter_class=ParagraphFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.set_defaults(run=partial(run, program))


def run(program: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Print the script."""
    require_package("shtab", "completion")
    import shtab

    _mark_files(program, shtab)
    print(shtab.complete(program, arguments.shell))
    return 0


def _mark_files(parser: argparse.ArgumentParser, shtab: Any) -> None:
    """Have the names of files and folders completed, in a parser and those of its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                _mark_files(subparser, shtab)
        elif action.metavar in _FILES or action.dest in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
