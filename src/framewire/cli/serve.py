"""`framewire serve`: a chat page at `/`, its WebSocket at `/chat`, an echo at `/echo`; with -w handlers instead."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress
from typing import Any

from ..asyncio import Server, ServerConnection, serve
from ..head import Headers, Request, Response
from ..pywebsocket.options import add_arguments, read_settings
from ..pywebsocket.options import run as run_handlers
from .chat import Room, page
from .signals import stop_requested

__all__ = ["add_parser", "address", "start"]

#: The page runs only what it brings along, and talks only to this server.
_PAGE_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
)


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = commands.add_parser("serve", help="serve a chat page and an echo, or handlers", description=__doc__)
    given: dict[str, Any] = {"default": argparse.SUPPRESS}
    host = ("-H", "--host", "--server-host", "--server_host")
    parser.add_argument(*host, dest="host", help="address to listen on (127.0.0.1)", **given)
    parser.add_argument("-p", "--port", type=int, help="port to listen on, 0 for a free one (9998)", **given)
    add_arguments(parser)
    parser.add_argument(
        "--metrics", action="store_true", help="answer /metrics with counters in the format of Prometheus"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM."""
    given = vars(arguments)
    settings = read_settings(given)
    if settings is not None:
        return run_handlers(settings)
    with suppress(KeyboardInterrupt):
        host, port = given.get("host", "127.0.0.1"), given.get("port", 9998)
        asyncio.run(_serve(host, port, arguments.metrics))
    return 0


async def _serve(host: str, port: int, metrics: bool) -> None:
    async with start(host, port, metrics) as server:
        print_addresses(server)
        await stop_requested()
        print("Closing.", flush=True)


def start(host: str, port: int, metrics: bool = False) -> serve:
    """The server with a chat room of its own."""
    room = Room()

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        if _path(connection.request) == "/chat":
            await room.talk(connection)
        else:
            async for message in connection:
                await connection.send(message)

    return serve(handler, host, port, process_request=_answer_with_metrics if metrics else _answer)


def print_addresses(server: Server) -> None:
    """Says where the page and the echo are."""
    where = address(server)
    print(f"Chat: http://{where}/\nEcho: ws://{where}/echo\nCtrl-C ends.", flush=True)


def address(server: Server) -> str:
    """The first address of the server as it stands in a URI: `host:port`."""
    host, port, *_ = server.sockets[0].getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _answer(connection: ServerConnection, request: Request) -> Response | None:
    path = _path(request)
    if path in ("/chat", "/echo"):
        return None
    if path != "/":
        return connection.respond(404, "There is nothing here. The chat is at /.\n")
    if request.method != "GET":
        return connection.respond(405, "This page can only be read, with GET.\n")
    return Response(200, "OK", Headers(_PAGE_HEADERS), page())


def _answer_with_metrics(connection: ServerConnection, request: Request) -> Response | None:
    if _path(request) != "/metrics":
        return _answer(connection, request)
    lines = [("Content-Type", "text/plain; version=0.0.4; charset=utf-8"), ("Cache-Control", "no-store")]
    return Response(200, "OK", Headers(lines), connection.server.counters().as_text().encode())


def _path(request: Request) -> str:
    return request.target.partition("?")[0]
