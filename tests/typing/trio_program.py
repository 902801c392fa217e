"""A user's program for trio as type checkers see it; never run."""

import ssl
from collections.abc import AsyncIterator
from functools import partial

import trio

from framewire.handshake import Request, Response
from framewire.trio import ClientConnection, Server, ServerConnection, basic_auth, broadcast, connect, serve


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message.upper() if isinstance(message, str) else [message, b""])


def process_request(ws: ServerConnection, request: Request) -> Response | None:
    return ws.respond(404, "") if request.path == "/" else None


async def talk(context: ssl.SSLContext) -> None:
    async with connect("wss://example.org/", ssl=context, max_size=(1 << 20, None)) as ws:
        await ws.send("x", text=False)
        text: str = await ws.recv(decode=True)
        data: bytes = await ws.recv(decode=False)
        either: str | bytes = await ws.recv()
        pieces: AsyncIterator[bytes] = ws.recv_streaming(decode=False)
        async for piece in pieces:
            print(piece.hex(), text, data, either)
        pong: trio.Event = await ws.ping(b"", ack_on_close=True)
        await pong.wait()
        await ws.aclose(1001, "bye")
    async for again in connect("ws://example.org/"):
        connection: ClientConnection = again
        print(connection.latency, connection.close_code)


async def main(context: ssl.SSLContext) -> None:
    async with trio.open_nursery() as nursery:
        listen = partial(serve, echo, 0, ssl=context, origins=None, process_request=basic_auth(credentials=("a", "b")))
        server: Server = await nursery.start(listen)
        async with server:
            await broadcast(server.connections, "text", raise_exceptions=True)
        nursery.start_soon(partial(serve, echo, 0, process_request=process_request))
