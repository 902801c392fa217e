"""What the servers of `bench_adapters` run: on /sink messages are counted, anywhere else they come back."""

from __future__ import annotations

import asyncio
import sys
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

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        count = 0
        counting = connection.request.path == "/sink"
        async for message in connection:
            if counting and message != QUESTION:
                count += 1
            else:
                await connection.send(str(count) if counting else message)

    async with serve(handler, "127.0.0.1", port, compression=None, max_size=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve_websockets(int(sys.argv[1])))
