"""`framewire connect`: send lines of standard input to a WebSocket and print its messages."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import math
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, cast

from ..asyncio import ClientConnection, connect, unix_connect
from ..asyncio.client import backoff, process_exception
from ..errors import ConnectionClosed, ConnectionClosedOK
from ..http.basic_auth import build_authorization_basic
from .argument_types import header, non_negative_float
from .line_reader import LineReader
from .message_printer import MessagePrinter, make_frame_logger
from .reporting import FAILURE, USAGE, CommandError, connecting_to, describe, describe_connect_error, print_status
from .signals import run as run_until_interrupted

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add this subcommand to the command line."""
    parser = commands.add_parser("connect", help="talk to a WebSocket line by line", description=__doc__)
    parser.add_argument("uri", nargs="?", help="ws://host:port/path or wss://...; optional with --unix")
    _add_request_options(parser.add_argument_group("request"))
    _add_network_options(parser.add_argument_group("network"))
    _add_message_options(parser.add_argument_group("messages"))
    parser.set_defaults(run=run)


def _add_request_options(group: Any) -> None:
    group.add_argument(
        "-H", "--header", action="append", type=header, default=[], metavar="'NAME: VALUE'", help="add a header line"
    )
    group.add_argument("-o", "--origin", help="the value of the Origin header")
    group.add_argument(
        "-s", "--subprotocol", action="append", default=[], metavar="NAME", help="offer a subprotocol; can be repeated"
    )
    group.add_argument(
        "-u", "--user", metavar="NAME[:PASSWORD]", help="basic authentication; asks for a password that is not given"
    )


def _add_network_options(group: Any) -> None:
    group.add_argument("--ca", metavar="FILE", help="trust the certificate authorities in this PEM file only")
    group.add_argument("-k", "--insecure", action="store_true", help="do not verify the server's certificate")
    group.add_argument("--unix", metavar="PATH", help="connect to a Unix socket")
    proxy = group.add_mutually_exclusive_group()
    proxy.add_argument("--proxy", metavar="URL", default=True, help="an HTTP or SOCKS proxy (default: the environment)")
    proxy.add_argument("--no-proxy", dest="proxy", action="store_const", const=None, help="connect without a proxy")
    group.add_argument(
        "--reconnect", action="store_true", help="connect again after a lost connection or a failed attempt"
    )


def _add_message_options(group: Any) -> None:
    kind = group.add_mutually_exclusive_group()
    kind.add_argument(
        "--text", dest="binary", action="store_false", default=False, help="send lines as text messages (the default)"
    )
    kind.add_argument("-b", "--binary", action="store_true", help="send lines as binary messages")
    group.add_argument("--hex", action="store_true", help="print binary messages in rows of hex digits and characters")
    group.add_argument(
        "-1",
        "--one",
        action="store_true",
        help="send all input (at a terminal one line), print one message, and close",
    )
    group.add_argument(
        "--linger",
        type=non_negative_float,
        metavar="SECONDS",
        help="after the end of input, wait until no message has arrived for this long; inf: until the server closes"
        " (default: 0 at a terminal, inf with --one, otherwise 1)",
    )
    group.add_argument(
        "-P", "--show-control", action="store_true", help="show pings, pongs and close frames on standard error"
    )
    group.add_argument(
        "-v", "--verbose", action="store_true", help="show the opening handshake and all frames on standard error"
    )


def run(arguments: argparse.Namespace) -> int:
    """Talk until either side closes; return 0 after a close with code 1000 or 1001, else 1."""
    try:
        connecting = _make_connect(arguments)
    except ValueError as error:
        raise CommandError(describe(error), USAGE) from error
    return run_until_interrupted(_talk(connecting, arguments))


def _make_connect(arguments: argparse.Namespace) -> connect:
    """Return the `connect` for the options. Raises ValueError if they cannot be combined."""
    if arguments.uri is None and arguments.unix is None:
        raise ValueError("connect: a URI is required, except with --unix")
    if arguments.unix == "":
        raise ValueError("connect: --unix needs a path")
    if arguments.ca == "":  # `ssl` would trust the certificate authorities of the system
        raise ValueError("connect: --ca needs a file")
    if arguments.unix is not None and arguments.proxy not in (None, True):
        raise ValueError("connect: --proxy does not go with --unix")
    options: dict[str, Any] = {
        "additional_headers": [*arguments.header, *_authorization(arguments.user)],
        "origin": arguments.origin,
        "subprotocols": arguments.subprotocol,
        "proxy": arguments.proxy,
        "process_exception": _report_and_retry if arguments.reconnect else lambda error: error,
        "reconnect_delays": partial(backoff, initial_delay=1, min_delay=1, max_delay=30),
    }
    if arguments.ca is not None or arguments.insecure:
        if not (arguments.uri or "").lower().startswith("wss:"):
            raise ValueError("connect: --ca and --insecure go with a wss URI")
        options["ssl"] = _make_context(arguments.ca, arguments.insecure)
    if arguments.show_control or arguments.verbose:
        options["logger"] = make_frame_logger(arguments.verbose)
    if arguments.unix is not None:
        return unix_connect(arguments.unix, arguments.uri or "ws://localhost/", **options)
    return connect(arguments.uri, **options)


def _authorization(user: str | None) -> list[tuple[str, str]]:
    if user is None:
        return []
    name, colon, password = user.partition(":")
    if not colon:
        try:
            password = getpass.getpass(f"Password of {name}: ")
        except EOFError:
            raise ValueError("connect: no password is given") from None
    return [("Authorization", build_authorization_basic(name, password))]


def _make_context(ca: str | None, insecure: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise CommandError(f"cannot load the certificates in {ca}: {describe(error)}", USAGE) from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _report_and_retry(error: Exception) -> Exception | None:
    """Decide about another attempt: a certificate that is not valid will not be valid later."""
    final = error if isinstance(error, ssl.SSLCertVerificationError) else process_exception(error)
    if final is None:
        print_status(f"framewire: {describe_connect_error(error)}; connecting again")
    return final


async def _talk(connecting: connect, arguments: argparse.Namespace) -> int:
    reader = LineReader(arguments.binary)
    printer = MessagePrinter(1 if arguments.one else None, arguments.hex)
    place = arguments.unix or arguments.uri
    if arguments.proxy not in (None, True):
        place += f" through {arguments.proxy}"
    iterator = cast("AsyncGenerator[ClientConnection, None]", aiter(connecting))
    async with aclosing(iterator) as connections:
        while True:
            with connecting_to(place):
                connection = await anext(connections)
            if _is_terminal():
                print_status(f"Connected to {place}. Each line is a message; Ctrl-D closes.")
            closed = await _Conversation(connection, reader, printer, arguments).hold()
            print_status(f"Closed: {closed}")
            if reader.ended or not arguments.reconnect:
                break
    if arguments.one:
        return 0 if printer.complete.is_set() else FAILURE
    return 0 if isinstance(closed, ConnectionClosedOK) else FAILURE


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


class _Conversation:
    """Send and receive on one connection."""

    def __init__(
        self, connection: ClientConnection, reader: LineReader, printer: MessagePrinter, arguments: argparse.Namespace
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._printer = printer
        self._one: bool = arguments.one
        linger = arguments.linger
        if linger is None:
            linger = math.inf if self._one else 0 if _is_terminal() else 1
        self._linger: float | None = None if linger == math.inf else linger

    async def hold(self) -> ConnectionClosed:
        """Send all input, print the answers, and close; return how the connection has ended.

        Raises:
            OSError: Standard input or output has failed.
        """
        sending = asyncio.create_task(self._send())
        printing = asyncio.create_task(self._printer.print_from(self._connection))
        try:
            await asyncio.wait((sending, printing), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                await sending
                await self._wait_for_answers(printing)
        finally:
            sending.cancel()
            await asyncio.wait((sending,))
            await self._connection.close()
        return await printing

    async def _send(self) -> None:
        with suppress(ConnectionClosed):
            await self._reader.send_to(self._connection.send, 1 if self._one and _is_terminal() else None)

    async def _wait_for_answers(self, printing: asyncio.Task[ConnectionClosed]) -> None:
        """Wait until the connection ends, `--one` is fulfilled, or nothing arrives for a while."""
        if self._one:
            complete = asyncio.create_task(self._printer.complete.wait())
            await asyncio.wait((printing, complete), timeout=self._linger, return_when=asyncio.FIRST_COMPLETED)
            complete.cancel()
            return
        printed = -1
        while self._linger != 0 and printed < self._printer.printed and not printing.done():
            printed = self._printer.printed
            await asyncio.wait((printing,), timeout=self._linger)
