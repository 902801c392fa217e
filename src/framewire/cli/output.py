"""The console of rich, and the help of argparse, in the width and encoding of the terminal."""

from __future__ import annotations

from argparse import HelpFormatter
from typing import Any

__all__ = ["ParagraphFormatter", "make_console"]


class ParagraphFormatter(HelpFormatter):
    """Wraps each paragraph of a description on its own."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(paragraph, width, indent) for paragraph in text.split("\n\n"))


def make_console() -> Any:
    """Return a console of rich for standard output.

    If the reader of the output has ended, printing raises BrokenPipeError, as `print` does.
    """
    from rich.console import Console

    class StandardOutput(Console):
        def on_broken_pipe(self) -> None:  # by default this ends the process with status 1
            raise BrokenPipeError

    return StandardOutput(highlight=False)
