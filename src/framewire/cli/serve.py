"""`framewire serve`: serve a chat page at `/` and an echo at `/echo`.

The WebSocket of the chat page is at `/chat`. With -w, serve the handlers of a folder instead.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ..asyncio import Server, ServerConnection, serve
from ..asyncio.metrics import Counters
from ..http.headers import Headers
from ..http.http11 import Request, Response
from ..http.request_target import split_target
from ..pywebsocket.files import serve_file
from ..pywebsocket.options import add_arguments, read_settings
from ..pywebsocket.options import run as run_handlers
from .argument_types import host, non_negative_float, non_negative_int, port
from .chat import Room, page
from .optional_packages import require_package
from .output import ParagraphFormatter
from .reporting import USAGE, CommandError, describe
from .signals import wait_for_signal
from .worker_counters import CounterTable, WorkerCounters
from .workers import notify_ready, reserve_port, supervise

__all__ = ["add_parser", "address", "start"]

#: The Content-Security-Policy lets the page run its inline script only and connect to this server
#: only.
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

#: Seconds between the times at which a worker publishes its counters to the others.
_PUBLISH_INTERVAL: Final = 1.0


def add_parser(commands: Any) -> None:
    """Add this subcommand to the command line."""
    parser = commands.add_parser(
        "serve",
        help="serve a chat page and an echo, or handlers",
        usage="framewire serve [-h] [-H HOST] [-p PORT] [option ...]",
        description=__doc__,
        formatter_class=ParagraphFormatter,
    )
    # Absent unless given, because handlers have other defaults than the chat.
    optional: dict[str, Any] = {"default": argparse.SUPPRESS}
    names = ("-H", "--host", "--server-host", "--server_host")
    parser.add_argument(*names, dest="host", type=host, help="address to listen on (127.0.0.1)", **optional)
    parser.add_argument("-p", "--port", type=port, help="port to listen on, 0 for a free one (9998)", **optional)
    add_arguments(parser)
    parser.add_argument("--cert", dest="certificate", metavar="FILE", help="serve wss and https; as -t -c", **optional)
    parser.add_argument(
        "--key", dest="private_key", metavar="FILE", help="key of --cert, if not in its file", **optional
    )
    parser.add_argument("--echo", action="store_true", help="echo messages on every path, without the chat")
    parser.add_argument(
        "--static", type=_directory, metavar="DIR", help="serve the files in DIR in place of the chat page"
    )
    parser.add_argument("--metrics", action="store_true", help="serve counters at /metrics in the Prometheus format")
    parser.add_argument(
        "--workers", type=non_negative_int, default=1, help="number of processes, 0 for one per core (%(default)s)"
    )
    parser.add_argument(
        "--redis", type=_redis_uri, metavar="URI", help="redis://host:port, to connect the chats of all processes"
    )
    parser.add_argument(
        "--grace",
        type=non_negative_float,
        default=10.0,
        help="seconds for connections to close at the end (%(default)g)",
    )
    parser.set_defaults(run=run)


def _redis_uri(text: str) -> str:
    try:
        uri = urlsplit(text)
        if uri.scheme in ("redis", "rediss", "unix") and uri.port != 0:  # `port` raises ValueError for a non-number
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a URI of redis, rediss or unix")


def _make_context(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    """Return a TLS context; None without a certificate."""
    if certificate is None:
        if key is not None:
            raise CommandError("--key goes with --cert", USAGE)
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        files = certificate if key is None else f"{certificate} with {key}"
        raise CommandError(f"cannot load {files}: {describe(error)}", USAGE) from error
    return context


def _directory(text: str) -> Path:
    if not (path := Path(text)).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a directory")
    return path


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    given = vars(arguments)
    if "websock_handlers" not in given and not given["config_file"]:
        arguments.ssl = _make_context(given.pop("certificate", None), given.pop("private_key", None))
    settings = read_settings(given)
    if settings is not None:
        if arguments.workers != 1 or arguments.redis:
            raise CommandError("--workers and --redis are for the chat, not for handlers", USAGE)
        if arguments.echo or arguments.metrics or arguments.static:
            raise CommandError("--echo, --metrics and --static do not go with handlers", USAGE)
        return run_handlers(settings)
    if arguments.redis:
        require_package("redis", "--redis", "redis")
    host, port = given.get("host", "127.0.0.1"), given.get("port", 9998)
    if arguments.workers != 1:
        return _serve_with_workers(host, port, arguments)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments, {"host": host, "port": port}))
    return 0


def _serve_with_workers(host: str, port: int, arguments: argparse.Namespace) -> int:
    with reserve_port(host, port) as reserved:
        count = arguments.workers or len(os.sched_getaffinity(0))
        table = CounterTable(count)
        location = _format_address(reserved)
        port = reserved.getsockname()[1]

        def work(number: int) -> None:
            asyncio.run(
                _serve(arguments, {"host": host, "port": port, "reuse_port": True}, WorkerCounters(table, number))
            )

        status = supervise(count, work, arguments.grace, lambda: _print_addresses(location, arguments))
    print("Closed.", flush=True)
    return status


async def _serve(
    arguments: argparse.Namespace, listen_on: dict[str, Any], worker_counters: WorkerCounters | None = None
) -> None:
    """Serve until a signal; with `worker_counters`, as one of several worker processes."""

    def counters(server: Server) -> Counters:
        return worker_counters.total(server.counters()) if worker_counters else server.counters()

    async with AsyncExitStack() as stack:
        room = Room()
        if arguments.redis:
            from ..relay import Relay

            relay = await stack.enter_async_context(Relay(arguments.redis, "framewire chat", room.receive))
            stack.callback(asyncio.create_task(room.join(relay)).cancel)
        pages = Pages(arguments.echo, arguments.static, counters if arguments.metrics else None)
        serving = start(**listen_on, room=room, pages=pages, ssl=arguments.ssl)
        server = await stack.enter_async_context(serving)
        if worker_counters:
            stack.callback(asyncio.create_task(_publish_counters(worker_counters, server)).cancel)
            asyncio.get_running_loop().call_soon(notify_ready)  # runs once the next line handles SIGTERM
            await wait_for_signal(signal.SIGTERM)
        else:
            _print_addresses(address(server), arguments)
            await wait_for_signal()
            print("Closing.", flush=True)
        server.close(timeout=arguments.grace)


async def _publish_counters(worker_counters: WorkerCounters, server: Server) -> None:
    while True:
        worker_counters.write(server.counters())
        await asyncio.sleep(_PUBLISH_INTERVAL)


@dataclass(frozen=True, slots=True)
class Pages:
    """The content that is served besides the echo.

    Attributes:
        echo: Whether every path is an echo, and there is no chat.
        static: The directory of files to serve in place of the chat page; None for the page.
        counters: Returns the counters for /metrics; None disables that path.
    """

    echo: bool = False
    static: Path | None = None
    counters: Callable[[Server], Counters] | None = None


def start(host: str, port: int, room: Room | None = None, pages: Pages = Pages(), **kwargs: Any) -> serve:
    """Return the chat and echo server, for `async with`.

    Args:
        host: The address to listen on.
        port: The port to listen on.
        room: The chat room. Default: a new one.
        pages: The other content. Default: the chat page, and no counters.
        **kwargs: Further arguments of `framewire.asyncio.serve`.
    """
    room = room or Room()

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        if _path(connection.request) == "/chat" and not pages.echo:
            await room.serve(connection)
        else:
            async for message in connection:
                await connection.send(message)

    return serve(handler, host, port, process_request=partial(_respond, pages), **kwargs)


def print_addresses(server: Server) -> None:
    """Print the URLs of the chat page and of the echo."""
    _print_addresses(address(server))


def _print_addresses(location: str, arguments: argparse.Namespace | None = None) -> None:
    given = {} if arguments is None else vars(arguments)
    secure = "s" if given.get("ssl") else ""
    if given.get("static") or not given.get("echo"):
        print(f"{'Files' if given.get('static') else 'Chat'}: http{secure}://{location}/")
    print(f"Echo: ws{secure}://{location}/{'' if given.get('echo') else 'echo'}\nCtrl-C ends.", flush=True)


def address(server: Server) -> str:
    """Return the first address of the server in the form of a URI: `host:port`."""
    return _format_address(server.sockets[0])


def _format_address(sock: Any) -> str:
    host, port, *_ = sock.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _respond(pages: Pages, connection: ServerConnection, request: Request) -> Response | None:
    """Return an HTTP response; None if the request is for a WebSocket."""
    path = _path(request)
    if path == "/metrics" and pages.counters is not None:
        return Response(200, "OK", Headers(_METRICS_HEADERS), pages.counters(connection.server).as_text().encode())
    if path in ("/chat", "/echo") or (pages.echo and (pages.static is None or "Upgrade" in request.headers)):
        return None
    if pages.static is not None:
        return serve_file(pages.static, request)
    if path != "/":
        return connection.respond(404, "There is nothing here. The chat is at /.\n")
    if request.method not in ("GET", "HEAD"):
        response = connection.respond(405, "This page supports GET and HEAD only.\n")
        response.headers["Allow"] = "GET, HEAD"
        return response
    return Response(200, "OK", Headers(_PAGE_HEADERS), page())


def _path(request: Request) -> str:
    return split_target(request.target)[1].partition("?")[0]
