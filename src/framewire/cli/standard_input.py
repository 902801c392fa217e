"""Standard input, as bytes and without a buffer."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from typing import Final

__all__ = ["read_standard_input"]

#: Bytes of one read.
_READ_SIZE: Final = 1 << 16


def read_standard_input() -> Iterator[bytes]:
    """Yield what each read returns until the end; nothing if it was closed at the start of the process.

    It is opened a second time, because at exit the interpreter would wait for the lock of `sys.stdin`
    if a thread reads from that.

    Raises:
        OSError: It cannot be read.
    """
    if sys.stdin is None:
        return
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as source:
        while (data := source.read(_READ_SIZE)) != b"":
            if data is None:  # a program that it is shared with has made it non-blocking
                select.select([source], [], [])
            else:
                yield data
