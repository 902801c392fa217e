"""What the servers of `bench_adapters` run: on /sink messages are counted, anywhere else they come back."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any

from .inputs import TEXT, frame

__all__ = ["ASK", "KEY", "QUESTION", "app"]

#: The text that asks how many messages were received.
QUESTION = "how many?"
KEY = b"\x37\xfa\x21\x3d"
ASK = frame(TEXT, QUESTION.encode(), KEY)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application. On /sink the text `QUESTION` is answered with the number of messages before it."""
    if scope["type"] == "lifespan":
        return
    await receive()
    await send({"type": "websocket.accept"})
    count = 0
    counting = scope["path"] == "/sink"
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if counting and text != QUESTION:
            count += 1
        elif counting:
            await send({"type": "websocket.send", "text": str(count)})
        elif text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def serve_websockets(port: int) -> None:
    """The same on websockets."""
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosedError

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        count = 0
        counting = connection.request.path == "/sink"
        with suppress(ConnectionClosedError):  # the client ends without a close frame
            async for message in connection:
                if counting and message != QUESTION:
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


def serve_flask(port: int) -> None:
    """An echo on Flask-Sock, that is simple-websocket and wsproto, under werkzeug's server."""
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
    """Answers each masked frame with as many bytes as its echo has, or counts frames: what the network alone costs."""

    def __init__(self) -> None:
        self.buffer = bytearray(1 << 16)
        self.filled = 0
        self.counted = -1  # bytes since the request; below 0 before it

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
            if self.filled == size:
                self.filled = 0
                self.transport.write(bytes(size - 4))

    def _count(self, size: int) -> None:
        """The sizes of frames are all the same, except for the question, which nobody looks for but at the end."""
        if self.counted == 0:
            self.size = frame_size(self.buffer)
        self.counted += size
        if memoryview(self.buffer)[max(0, size - len(ASK)) : size] == ASK:
            self.counted -= len(ASK)
            count = str(self.counted // self.size).encode()
            self.transport.write(frame(TEXT, count))


def frame_size(data: bytearray) -> int:
    """The size of the masked frame of up to 64 KiB at the beginning of `data`."""
    length = data[1] & 127
    return 6 + length if length < 126 else 8 + int.from_bytes(data[2:4], "big")


async def serve_floor(port: int) -> None:
    """The floor: no frame is parsed, no message made."""
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", port)
    await server.serve_forever()


async def serve_streams_floor(port: int) -> None:
    """The floor of servers on asyncio's streams, such as hypercorn: their reads, and nothing made of them."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        floor = Floor()
        floor.connection_made(writer)
        while data := await reader.read(1 << 16):
            floor.get_buffer(-1)[: len(data)] = data
            floor.buffer_updated(len(data))

    async with await asyncio.start_server(connected, "127.0.0.1", port) as server:
        await server.serve_forever()


def main(what: str, port: int) -> None:
    """Runs one of the servers that have no command line of their own."""
    if what == "flask":
        serve_flask(port)
    elif what == "gevent":
        serve_gevent(port)
    elif what == "uvloop":
        import uvloop

        uvloop.run(serve_floor(port))
    else:
        served = {
            "websockets": serve_websockets,
            "autobahn": serve_autobahn,
            "asyncio": serve_floor,
            "streams": serve_streams_floor,
        }
        asyncio.run(served[what](port))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
