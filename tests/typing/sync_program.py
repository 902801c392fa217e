"""A user's program with threads, for type checkers; never run."""

import ssl
from collections.abc import Iterator

from framewire import ConnectionClosed, HeadLimits
from framewire.http11 import Request, Response
from framewire.routes import Routes
from framewire.sync import ClientConnection, Server, ServerConnection, connect, reconnect, serve
from framewire.sync.router import route


def answer(connection: ServerConnection, request: Request) -> Response | None:
    """Refuse all but one path."""
    return None if request.path == "/" else connection.respond(404, "no such path\n")


def handler(connection: ServerConnection) -> None:
    """Echo in every way to receive and to send."""
    text: str = connection.recv(timeout=1, decode=True)
    binary: bytes = connection.recv(decode=False)
    message: str | bytes = connection.recv()
    connection.send(text)
    connection.send(binary, text=True)
    connection.send([message])
    pieces: Iterator[str] = connection.recv_streaming(decode=True)
    connection.send(pieces)
    for each in connection:
        connection.send(each.upper())
    if connection.ping().wait(1):
        latency: float = connection.latency
        print(latency, connection.remote_address, connection.subprotocol or "")


def run_server(context: ssl.SSLContext) -> None:
    """Serve over TLS, and by path."""
    server: Server
    with serve(
        handler, "localhost", 8000, ssl=context, process_request=answer, head_limits=HeadLimits(16384)
    ) as server:
        server.serve_forever()
    routes = Routes()
    routes.add("/chat")(handler)
    with route(routes, "localhost", 8001) as server:
        server.shutdown()


def run_client() -> int:
    """Connect once, then again and again."""
    connection: ClientConnection
    with connect("ws://localhost:8000/", additional_headers={"X": "1"}, max_size=None) as connection:
        connection.send("hello")
        try:
            print(connection.recv(timeout=5))
        except (TimeoutError, ConnectionClosed) as error:
            print(error)
    for connection in reconnect("ws://localhost:8000/", open_timeout=3):
        connection.close(1000, "done")
    return 0
