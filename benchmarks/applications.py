"""What the servers of `bench_adapters` run: on /sink messages are counted, anywhere else they come back."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any

__all__ = ["QUESTION", "app"]

#: The text that asks how many messages were received.
QUESTION = "how many?"


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


class Floor(asyncio.BufferedProtocol):
    """Answers each masked frame with as many bytes as its echo has: what the network alone costs."""

    def __init__(self) -> None:
        self.buffer = bytearray(1 << 18)
        self.filled = 0
        self.open = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)[self.filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self.filled += nbytes
        if not self.open:
            self.filled = 0
            self.open = True
            self.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            return
        length = self.buffer[1] & 127
        size = 6 + length if length < 126 else 8 + int.from_bytes(self.buffer[2:4], "big")
        if self.filled == size:
            self.filled = 0
            self.transport.write(bytes(size - 4))


async def serve_floor(port: int) -> None:
    """The floor: no frame is parsed, no message made."""
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    what, number = sys.argv[1:]
    if what == "websockets":
        asyncio.run(serve_websockets(int(number)))
    elif what == "uvloop":
        import uvloop

        uvloop.run(serve_floor(int(number)))
    else:
        asyncio.run(serve_floor(int(number)))
