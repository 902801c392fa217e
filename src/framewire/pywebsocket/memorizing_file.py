"""The module `memorizingfile`."""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

__all__ = ["MemorizingFile"]


class MemorizingFile:
    """A file that remembers the lines that are read from it; all else is done by the file itself.

    Args:
        file_: The file.
        max_memorized_lines: The most lines to remember.
    """

    def __init__(self, file_: BinaryIO, max_memorized_lines: int = sys.maxsize) -> None:
        self._file = file_
        self._most = max_memorized_lines
        self._lines: list[bytes] = []
        self._rest = b""  # of a line that was remembered whole, but not returned whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def readline(self, size: int = -1) -> bytes:
        """Read the next line, or `size` bytes of it at most.

        The whole line is remembered: it is read as such from the file.
        """
        if not self._rest:
            if len(self._lines) >= self._most:
                return self._file.readline(size)
            self._rest = self._file.readline()
            if self._rest:
                self._lines.append(self._rest)
        end = len(self._rest) if size < 0 else size
        line, self._rest = self._rest[:end], self._rest[end:]
        return line

    def get_memorized_lines(self) -> list[bytes]:
        """Return the lines remembered so far."""
        return self._lines
