"""Received messages and frames on standard output and standard error."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from typing import Final

from ..asyncio import ClientConnection
from ..errors import ConnectionClosed
from .reporting import count, print_status

__all__ = ["MessagePrinter", "make_frame_logger"]

#: Bytes in a row of the hex view.
_ROW: Final = 16

#: The beginnings of records of control frames.
_CONTROL: Final = tuple(f"{arrow} {name} " for arrow in "<>" for name in ("PING", "PONG", "CLOSE"))


class MessagePrinter:
    """Print messages on standard output, one in a line.

    At a terminal, control characters become "?": a server must not send commands to the terminal.

    Args:
        limit: The number of messages to print; further ones are discarded. None for no limit.
        hex_view: Whether binary messages are printed in rows of hex digits and characters.

    Attributes:
        printed: The number of messages printed.
        complete: Set when `limit` messages have been printed.
    """

    def __init__(self, limit: int | None = None, hex_view: bool = False) -> None:
        self.printed = 0
        self.complete = asyncio.Event()
        self._limit = limit
        self._hex_view = hex_view
        self._terminal = sys.stdout is not None and sys.stdout.isatty()

    async def print_from(self, connection: ClientConnection) -> ConnectionClosed:
        """Print messages until the connection ends; return the exception that ended it.

        The output is flushed when no message waits.
        """
        output = sys.stdout
        try:
            while True:
                message = await connection.recv()
                if output is None or self.printed == self._limit:
                    continue
                output.write(self._format(message))
                self.printed += 1
                if self.printed == self._limit:
                    self.complete.set()
                if connection.next_size is None:
                    output.flush()
        except ConnectionClosed as closed:
            return closed

    def _format(self, message: str | bytes) -> str:
        if isinstance(message, bytes):
            return self._format_bytes(message)
        if not self._terminal:
            return f"{message}\n"
        return f"< {_printable(message)}\n"

    def _format_bytes(self, message: bytes) -> str:
        size = f"[{count(len(message), 'byte')}]"
        if self._hex_view:
            return "\n".join([size, *_hex_rows(message), ""])
        return f"{size} {message.hex(' ')}\n"


def _hex_rows(data: bytes) -> Iterator[str]:
    """Yield rows of offset, hex digits and ASCII characters, like `hexdump -C`."""
    for start in range(0, len(data), _ROW):
        row = data[start : start + _ROW]
        characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<{3 * _ROW}} |{characters}|"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


class _StatusHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print_status(record.getMessage())


def make_frame_logger(everything: bool) -> logging.Logger:
    """Return a logger for a connection, which prints its frames on standard error.

    Args:
        everything: Whether data frames and the opening handshake are printed, besides control
            frames.
    """
    logger = logging.Logger("framewire.connect", logging.DEBUG)
    logger.addHandler(_StatusHandler())
    if not everything:
        logger.addFilter(lambda record: record.getMessage().startswith(_CONTROL))
    return logger
