"""`framewire serve`: a chat page at `/`, its WebSocket at `/chat`, an echo at `/echo`; with -w handlers instead."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from ..asyncio import Server, ServerConnection, serve
from ..asyncio.metrics import Counters
from ..errors import FramewireError
from ..http.headers import Headers
from ..http.http11 import Request, Response
from ..pywebsocket.options import add_arguments, read_settings
from ..pywebsocket.options import run as run_handlers
from .chat import Room, page
from .extra import need
from .numbers import natural
from .signals import stop_requested
from .tally import Share, Tally
from .workers import announce, hold_port, supervise

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

_METRICS_HEADERS = (("Content-Type", "text/plain; version=0.0.4; charset=utf-8"), ("Cache-Control", "no-store"))

#: How often a worker shows the others what it has counted, in seconds.
_WRITE_EVERY: Final = 1.0


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
    parser.add_argument("--workers", type=natural, default=1, help="processes behind the port, 0: one for each core")
    parser.add_argument(
        "--redis", type=_broker, metavar="URI", help="redis://host:port, which makes one chat of all processes"
    )
    parser.add_argument("--grace", type=float, default=10.0, help="seconds for the connections to close (%(default)g)")
    parser.set_defaults(run=run)


def _broker(text: str) -> str:
    uri = urlsplit(text)
    if uri.scheme not in ("redis", "rediss", "unix") or uri.port == 0:  # `port` is a ValueError if it is no number
        raise ValueError
    return text


def run(arguments: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM."""
    given = vars(arguments)
    settings = read_settings(given)
    if settings is not None:
        if arguments.workers != 1 or arguments.redis:
            raise FramewireError("--workers and --redis are for the chat, not for handlers")
        return run_handlers(settings)
    if arguments.redis:
        need("redis", "--redis", "redis")
    host, port = given.get("host", "127.0.0.1"), given.get("port", 9998)
    if arguments.workers != 1:
        return _serve_by_workers(host, port, arguments)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments, {"host": host, "port": port}))
    return 0


def _serve_by_workers(host: str, port: int, arguments: argparse.Namespace) -> int:
    with hold_port(host, port) as held:
        count = arguments.workers or len(os.sched_getaffinity(0))
        tally = Tally(count)
        where = _place(held)
        port = held.getsockname()[1]

        def work(number: int) -> None:
            asyncio.run(_serve(arguments, {"host": host, "port": port, "reuse_port": True}, Share(tally, number)))

        status = supervise(count, work, arguments.grace, lambda: _print_addresses(where))
    print("Closed.", flush=True)
    return status


async def _serve(arguments: argparse.Namespace, where: dict[str, Any], share: Share | None = None) -> None:
    """Serves until told to stop; with a share, as one of several processes."""

    def counters(server: Server) -> Counters:
        return share.total(server.counters()) if share else server.counters()

    async with AsyncExitStack() as stack:
        room = Room()
        if arguments.redis:
            from ..relay import Relay

            relay = await stack.enter_async_context(Relay(arguments.redis, "framewire chat", room.overhear))
            stack.callback(asyncio.create_task(room.join(relay)).cancel)
        serving = start(**where, room=room, counters=counters if arguments.metrics else None)
        server = await stack.enter_async_context(serving)
        if share:
            stack.callback(asyncio.create_task(_keep_writing(share, server)).cancel)
            asyncio.get_running_loop().call_soon(announce)  # once SIGTERM is waited for
            await stop_requested(signal.SIGTERM)
        else:
            print_addresses(server)
            await stop_requested()
            print("Closing.", flush=True)
        server.close(timeout=arguments.grace)


async def _keep_writing(share: Share, server: Server) -> None:
    while True:
        share.write(server.counters())
        await asyncio.sleep(_WRITE_EVERY)


def start(
    host: str, port: int, room: Room | None = None, counters: Callable[[Server], Counters] | None = None, **kwargs: Any
) -> serve:
    """The server with its chat room; `counters` are what it answers /metrics with. The rest is as for `serve`."""
    room = room or Room()

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        if _path(connection.request) == "/chat":
            await room.talk(connection)
        else:
            async for message in connection:
                await connection.send(message)

    return serve(handler, host, port, process_request=partial(_answer, counters), **kwargs)


def print_addresses(server: Server) -> None:
    """Says where the page and the echo are."""
    _print_addresses(address(server))


def _print_addresses(where: str) -> None:
    print(f"Chat: http://{where}/\nEcho: ws://{where}/echo\nCtrl-C ends.", flush=True)


def address(server: Server) -> str:
    """The first address of the server as it stands in a URI: `host:port`."""
    return _place(server.sockets[0])


def _place(listening: Any) -> str:
    host, port, *_ = listening.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _answer(
    counters: Callable[[Server], Counters] | None, connection: ServerConnection, request: Request
) -> Response | None:
    path = _path(request)
    if path in ("/chat", "/echo"):
        return None
    if path == "/metrics" and counters is not None:
        return Response(200, "OK", Headers(_METRICS_HEADERS), counters(connection.server).as_text().encode())
    if path != "/":
        return connection.respond(404, "There is nothing here. The chat is at /.\n")
    if request.method != "GET":
        return connection.respond(405, "This page can only be read, with GET.\n")
    return Response(200, "OK", Headers(_PAGE_HEADERS), page())


def _path(request: Request) -> str:
    return request.target.partition("?")[0]
