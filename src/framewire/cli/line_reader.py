"""Lines of standard input for an event loop."""

from __future__ import annotations

import asyncio
import codecs
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Final

from .standard_input import read_standard_input

__all__ = ["LineReader"]

#: Reads that may wait for the event loop.
_MAX_QUEUED_READS: Final = 4


class LineReader:
    """Read standard input in a thread, which works for terminals, pipes and files.

    The thread hands over the lines of one read together, because a switch between threads costs
    more than many short messages. It is a daemon, because nothing can interrupt its read.

    Args:
        binary: Whether lines are bytes instead of text.

    Attributes:
        ended: Whether all lines have been sent.
    """

    def __init__(self, binary: bool = False) -> None:
        self.ended = False
        self._binary = binary
        self._encoding = "utf-8"  # also if the locale is C
        self._loop = asyncio.get_running_loop()
        self._reads: asyncio.Queue[list[Any] | OSError | None] = asyncio.Queue()
        self._room = threading.Semaphore(_MAX_QUEUED_READS)
        self._lines = deque[Any]()  # that have not been sent
        threading.Thread(target=self._read, name="framewire stdin", daemon=True).start()

    async def send_to(self, send: Callable[[Any], Coroutine[Any, Any, None]], limit: int | None = None) -> None:
        """Send lines until the end of the input.

        A line whose sending raises or is cancelled is the first of the next call.

        Args:
            send: Sends one line as a message.
            limit: The number of lines after which the input ends; None for no limit.

        Raises:
            OSError: Standard input cannot be read.
        """
        lines, sent = self._lines, 0
        while sent != limit:
            if not lines:
                read = await self._reads.get()
                if read is None:
                    break
                if isinstance(read, OSError):
                    raise read
                self._room.release()
                lines += read
            while lines and sent != limit:
                await send(lines[0])
                lines.popleft()
                sent += 1
        self.ended = True

    def _read(self) -> None:
        result = None
        with suppress(RuntimeError):  # the event loop was closed: no more lines are needed
            try:
                for lines in self._read_lines():
                    self._room.acquire()
                    self._loop.call_soon_threadsafe(self._reads.put_nowait, lines)
            except OSError as error:
                result = error
            self._loop.call_soon_threadsafe(self._reads.put_nowait, result)

    def _read_lines(self) -> Iterator[list[Any]]:
        """Yield the lines that each read completes, without their ends."""
        if sys.stdin is None:  # it was closed at the start of the process
            return
        if codecs.lookup(sys.stdin.encoding).name != "ascii":
            self._encoding = sys.stdin.encoding
        incomplete: list[bytes] = []
        for data in read_standard_input():
            complete, newline, rest = data.rpartition(b"\n")
            if newline:
                yield self._split(b"".join([*incomplete, complete]))
                incomplete.clear()
            incomplete.append(rest)
        if last := b"".join(incomplete):
            yield [self._decode(last)]

    def _split(self, data: bytes) -> list[Any]:
        """Split lines that end with LF or CR LF; the LF of the last one is left out of `data`."""
        lines = self._decode(data)
        end, carriage_return = (b"\n", b"\r") if self._binary else ("\n", "\r")
        split: list[Any] = lines.split(end)
        return [line.removesuffix(carriage_return) for line in split] if carriage_return in lines else split

    def _decode(self, data: bytes) -> Any:
        return data if self._binary else data.decode(self._encoding, "replace")
