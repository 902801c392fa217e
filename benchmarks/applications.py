"""The applications of the servers in `bench_adapters`.

The path /sink counts messages, other paths echo them. A server whose name ends in "floor" is the
lower bound: it does only work that no acceleration can avoid.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any

from .inputs import TEXT, frame

__all__ = ["COUNT_QUERY", "COUNT_QUERY_FRAME", "KEY", "app"]

#: The text to which /sink replies with the number of messages received before it.
COUNT_QUERY = "how many?"
KEY = b"\x37\xfa\x21\x3d"
COUNT_QUERY_FRAME = frame(TEXT, COUNT_QUERY.encode(), KEY)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application."""
    if scope["type"] == "lifespan":
        return
    await receive()
    await send({"type": "websocket.accept"})
    count = 0
    counting = scope["path"] == "/sink"
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if counting and text != COUNT_QUERY:
            count += 1
        elif counting:
            await send({"type": "websocket.send", "text": str(count)})
        elif text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def serve_websockets(port: int) -> None:
    """The same application on websockets."""
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosedError

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        count = 0
        counting = connection.request.path == "/sink"
        with suppress(ConnectionClosedError):  # the client closes TCP without a close frame
            async for message in connection:
                if counting and message != COUNT_QUERY:
                    count += 1
                else:
                    await connection.send(str(count) if counting else message)

    async with serve(handler, "127.0.0.1", port, compression=None, max_size=None, ping_interval=None) as server:
        await server.serve_forever()


async def serve_autobahn(port: int) -> None:
    """An echo on autobahn."""
    from autobahn.asyncio.websocket import WebSocketServerFactory, WebSocketServerProtocol

    class Echo(WebSocketServerProtocol):  # type: ignore[misc]
        def onMessage(self, payload: bytes, is_binary: bool) -> None:  # noqa: N802 - autobahn's name
            self.sendMessage(payload, is_binary)

    factory = WebSocketServerFactory()
    factory.protocol = Echo
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", port)
    await server.serve_forever()


async def serve_tornado(port: int) -> None:
    """An echo on tornado."""
    from tornado.web import Application
    from tornado.websocket import WebSocketHandler

    class Echo(WebSocketHandler):
        def on_message(self, message: str | bytes) -> None:
            self.write_message(message, binary=isinstance(message, bytes))

    Application([("/echo", Echo)]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


def serve_flask(port: int) -> None:
    """An echo on Flask-Sock, which uses simple-websocket and wsproto, in the server of werkzeug."""
    from flask import Flask
    from flask_sock import Sock
    from werkzeug.serving import make_server

    flask = Flask(__name__)

    @Sock(flask).route("/echo")  # type: ignore[untyped-decorator]
    def echo(connection: Any) -> None:
        while True:
            connection.send(connection.receive())

    make_server("127.0.0.1", port, flask, threaded=True).serve_forever()


def serve_gevent(port: int) -> None:
    """An echo on gevent-websocket."""
    from gevent.pywsgi import WSGIServer
    from geventwebsocket.handler import WebSocketHandler

    def echo(environ: Any, start_response: Any) -> list[bytes]:
        connection = environ["wsgi.websocket"]
        while (message := connection.receive()) is not None:
            connection.send(message, binary=True)
        return []

    WSGIServer(("127.0.0.1", port), echo, handler_class=WebSocketHandler, log=None).serve_forever()


class Floor(asyncio.BufferedProtocol):
    """The cost of the event loop and the network alone.

    It replies to masked frames with as many bytes as their echoes have, or counts frames. All frames
    except `COUNT_QUERY_FRAME` must have the size of the first.
    """

    def __init__(self) -> None:
        self.buffer = bytearray(1 << 17)
        self.filled = 0
        self.counted = -1  # bytes of frames received on /sink; -1 before the request

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)[self.filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self.filled += nbytes
        if self.counted < 0:
            self.counting = self.buffer.startswith(b"GET /sink ")
            self.counted = self.filled = 0
            self.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        elif self.counting:
            self._count(self.filled)
            self.filled = 0
        else:
            size = frame_size(self.buffer)
            count, incomplete = divmod(self.filled, size)
            if not incomplete:
                self.filled = 0
                self.transport.write(bytes(count * (size - 4)))

    def _count(self, size: int) -> None:
        """Count the bytes of a read and reply to a query, which must be its last frame."""
        if self.counted == 0:
            self.size = frame_size(self.buffer)
        self.counted += size
        if memoryview(self.buffer)[max(0, size - len(COUNT_QUERY_FRAME)) : size] == COUNT_QUERY_FRAME:
            self.counted -= len(COUNT_QUERY_FRAME)
            count = str(self.counted // self.size).encode()
            self.transport.write(frame(TEXT, count))


def frame_size(data: bytes | bytearray) -> int:
    """Return the size of the masked frame at the beginning of `data`."""
    length = data[1] & 127
    end = 2 if length < 126 else 4 if length == 126 else 10
    return end + 4 + (length if length < 126 else int.from_bytes(data[2:end], "big"))


async def serve_floor(port: int) -> None:
    """The floor: no frame is parsed and no message created."""
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", port)
    await server.serve_forever()


def serve_hypercorn_floor(port: int) -> None:
    """The floor of hypercorn: its own work, with a wsproto that returns prepared frames."""
    import hypercorn.asyncio
    import hypercorn.config
    import wsproto.connection
    from wsproto.frame_protocol import Frame, FrameProtocol, Opcode

    class PreparedFrames(FrameProtocol):
        """Returns a copy of the first frame for each frame, but `COUNT_QUERY` as it is."""

        def __init__(self, client: bool, extensions: Any) -> None:
            super().__init__(client, extensions)
            self.size = self.unread = 0
            self.query_received = False

        def receive_bytes(self, data: bytes) -> None:
            self.query_received = data.endswith(COUNT_QUERY_FRAME)
            if not self.size and data not in (b"", COUNT_QUERY_FRAME):
                self.size = frame_size(data)
                self.frame = Frame(Opcode.BINARY, bytes(self.size), True, True)
            self.unread += len(data) - len(COUNT_QUERY_FRAME) * self.query_received

        def received_frames(self) -> Any:
            while self.size and self.unread >= self.size:
                self.unread -= self.size
                yield self.frame
            if self.query_received:
                self.query_received = False
                yield Frame(Opcode.TEXT, COUNT_QUERY, True, True)

    wsproto.connection.FrameProtocol = PreparedFrames  # type: ignore[misc]
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "error"
    asyncio.run(hypercorn.asyncio.serve(app, config))


def serve_gunicorn_floor(port: int) -> None:
    """The floor of gunicorn's ASGI worker: its own work, with payloads left masked."""
    from gunicorn.app.wsgiapp import WSGIApplication
    from gunicorn.asgi.websocket import WebSocketProtocol

    WebSocketProtocol._unmask = lambda self, payload, masking_key: payload
    sys.argv = [
        sys.argv[0],
        "benchmarks.applications:app",
        "-k",
        "asgi",
        "-b",
        f"127.0.0.1:{port}",
        "--log-level",
        "error",
    ]
    WSGIApplication().run()


def main(name: str, port: int) -> None:
    """Run one of the servers that have no command line of their own."""
    functions = {
        "flask": serve_flask,
        "gevent": serve_gevent,
        "hypercorn-floor": serve_hypercorn_floor,
        "gunicorn-floor": serve_gunicorn_floor,
    }
    if name in functions:
        functions[name](port)
    elif name == "uvloop":
        import uvloop

        uvloop.run(serve_floor(port))
    else:
        coroutines = {
            "websockets": serve_websockets,
            "autobahn": serve_autobahn,
            "tornado": serve_tornado,
            "asyncio": serve_floor,
        }
        asyncio.run(coroutines[name](port))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
