"""`framewire connect`: lines from standard input to a WebSocket, its messages to standard output."""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from ..asyncio import ClientConnection, connect
from ..errors import ConnectionClosed, ConnectionClosedOK

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = commands.add_parser("connect", help="talk to a WebSocket line by line", description=__doc__)
    parser.add_argument("uri", help="ws://host:port/path or wss://...")
    parser.add_argument(
        "--linger",
        type=float,
        metavar="SECONDS",
        help="after the end of input, wait until no message has come for this long"
        " (default: 0 at a terminal, otherwise 1)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Talks until either side ends; 0 if that was an orderly close."""
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
            _say(f"Connected to {uri}. Each line is a message; Ctrl-D closes.")
        lines = Lines()
        output = Output()
        sending = asyncio.create_task(lines.send_to(connection))
        printing = asyncio.create_task(output.print_from(connection))
        try:
            await asyncio.wait((sending, printing), return_when=asyncio.FIRST_COMPLETED)
            printed = -1
            while linger and printed < output.printed and not printing.done():
                printed = output.printed
                await asyncio.wait((printing,), timeout=linger)
            await connection.close()
            ending = await printing
        finally:
            sending.cancel()
            printing.cancel()
    _say(f"Closed: {ending}")
    return 0 if isinstance(ending, ConnectionClosedOK) else 1


class Lines:
    """The lines of standard input, read in a thread: a terminal, a pipe and a file all work the same way.

    The thread is a daemon, since nothing can interrupt its read, and it has a file object of its own: the
    interpreter could not take `sys.stdin` from it at exit.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[str | None] = asyncio.Queue(64)
        threading.Thread(target=self._read, name="framewire stdin", daemon=True).start()

    def _read(self) -> None:
        encoding = sys.stdin.encoding
        with (
            suppress(RuntimeError, CancelledError),  # the loop is closed: nobody waits for more
            open(sys.stdin.fileno(), encoding=encoding, errors="replace", closefd=False) as source,
        ):
            for line in source:
                self._put(line.rstrip("\r\n"))
            self._put(None)

    def _put(self, line: str | None) -> None:
        asyncio.run_coroutine_threadsafe(self._queue.put(line), self._loop).result()

    async def send_to(self, connection: ClientConnection) -> None:
        """Sends each line as a text message until the end of the input or of the connection."""
        with suppress(ConnectionClosed):
            while (line := await self._queue.get()) is not None:
                await connection.send(line)


class Output:
    """Standard output. `printed` counts the messages."""

    def __init__(self) -> None:
        self.printed = 0
        self._terminal = sys.stdout.isatty()

    async def print_from(self, connection: ClientConnection) -> ConnectionClosed:
        """Prints messages to the end of the connection; returns how it ended."""
        try:
            while True:
                message = await connection.recv()
                print(self._show(message), flush=True)
                self.printed += 1
        except ConnectionClosed as ending:
            return ending

    def _show(self, message: str | bytes) -> str:
        """A message as a line. A server must not command the terminal: there, control characters show as "?"."""
        if isinstance(message, bytes):
            return f"[{len(message)} bytes] {message.hex(' ')}"
        if not self._terminal:
            return message
        return "< " + "".join(c if c.isprintable() or c in "\n\t" else "?" for c in message)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
