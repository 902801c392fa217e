"""`framewire connect`: send lines of standard input to a WebSocket and print its messages."""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, Final

from ..asyncio import ClientConnection, connect
from ..errors import ConnectionClosed, ConnectionClosedOK

__all__ = ["add_parser"]

#: Lines that are read ahead of the connection.
_MAX_QUEUED_LINES: Final = 64


def add_parser(commands: Any) -> None:
    """Add this subcommand to the command line."""
    parser = commands.add_parser("connect", help="talk to a WebSocket line by line", description=__doc__)
    parser.add_argument("uri", help="ws://host:port/path or wss://...")
    parser.add_argument(
        "--linger",
        type=float,
        metavar="SECONDS",
        help="after the end of input, wait until no message has arrived for this long"
        " (default: 0 at a terminal, otherwise 1)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Talk until either side closes; return 0 after a close with code 1000 or 1001, else 1."""
    linger = arguments.linger
    if linger is None:
        linger = 0 if sys.stdin.isatty() else 1
    try:
        return asyncio.run(_talk(arguments.uri, linger))
    except KeyboardInterrupt:
        return 130


async def _talk(uri: str, linger: float) -> int:
    async with connect(uri) as connection:
        if sys.stdin.isatty():
            _print_status(f"Connected to {uri}. Each line is a message; Ctrl-D closes.")
        reader = LineReader()
        printer = MessagePrinter()
        sending = asyncio.create_task(reader.send_to(connection))
        printing = asyncio.create_task(printer.print_from(connection))
        try:
            await asyncio.wait((sending, printing), return_when=asyncio.FIRST_COMPLETED)
            printed = -1
            while linger and printed < printer.printed and not printing.done():
                printed = printer.printed
                await asyncio.wait((printing,), timeout=linger)
            await connection.close()
            closed = await printing
        finally:
            sending.cancel()
            printing.cancel()
    _print_status(f"Closed: {closed}")
    return 0 if isinstance(closed, ConnectionClosedOK) else 1


class LineReader:
    """The lines of standard input, read in a thread, which works for terminals, pipes and files.

    The thread is a daemon, because nothing can interrupt its read. It opens standard input a second
    time, because at exit the interpreter would wait for the lock of `sys.stdin`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[str | None] = asyncio.Queue(_MAX_QUEUED_LINES)
        threading.Thread(target=self._read, name="framewire stdin", daemon=True).start()

    def _read(self) -> None:
        encoding = sys.stdin.encoding
        with (
            suppress(RuntimeError, CancelledError),  # the event loop was closed: no more lines are needed
            open(sys.stdin.fileno(), encoding=encoding, errors="replace", closefd=False) as source,
        ):
            for line in source:
                self._put(line.rstrip("\r\n"))
            self._put(None)

    def _put(self, line: str | None) -> None:
        asyncio.run_coroutine_threadsafe(self._queue.put(line), self._loop).result()

    async def send_to(self, connection: ClientConnection) -> None:
        """Send each line as a text message until the end of the input or of the connection."""
        with suppress(ConnectionClosed):
            while (line := await self._queue.get()) is not None:
                await connection.send(line)


class MessagePrinter:
    """Prints messages to standard output; `printed` is their number."""

    def __init__(self) -> None:
        self.printed = 0
        self._terminal = sys.stdout.isatty()

    async def print_from(self, connection: ClientConnection) -> ConnectionClosed:
        """Print messages until the connection ends; return the exception that ended it."""
        try:
            while True:
                message = await connection.recv()
                print(self._format(message), flush=True)
                self.printed += 1
        except ConnectionClosed as closed:
            return closed

    def _format(self, message: str | bytes) -> str:
        """Format a message as a line.

        At a terminal, control characters become "?": a server must not send commands to the
        terminal.
        """
        if isinstance(message, bytes):
            return f"[{len(message)} bytes] {message.hex(' ')}"
        if not self._terminal:
            return message
        return "< " + "".join(c if c.isprintable() or c in "\n\t" else "?" for c in message)


def _print_status(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
