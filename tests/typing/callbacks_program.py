"""A user's program with callbacks, and with the API of browsers, for type checkers; never run."""

import asyncio
from typing import Any

from framewire import TrustedProxies
from framewire.asyncio import ClientConnection, Listener, ListenerConnection, connect, serve
from framewire.asyncio.client import ClientListenerConnection
from framewire.websocket import CloseEvent, MessageEvent, WebSocket, WebSocketCloseInfo, WebSocketStream


class Chat(Listener):
    """Send each message to everybody."""

    def __init__(self) -> None:
        self.connections: set[ListenerConnection] = set()

    def on_open(self, connection: ListenerConnection) -> None:
        """Take the connection in."""
        self.connections.add(connection)
        latency: asyncio.Future[float] = connection.ping()
        latency.add_done_callback(print)

    def on_message(self, connection: ListenerConnection, message: str | bytes) -> None:
        """Send the message on."""
        for each in self.connections:
            sent: bool = each.send(message)
            if not sent or each.full:
                each.close(1013, "try again later")

    def on_close(self, connection: ListenerConnection, code: int, reason: str) -> None:
        """Forget the connection."""
        self.connections.discard(connection)


def show(event: MessageEvent) -> None:
    """Print a message."""
    data: str | bytes | bytearray = event.data
    print(data, event.origin)


def close(event: CloseEvent) -> None:
    """Print how the connection has ended."""
    print(event.code, event.reason, event.wasClean)


async def main(options: dict[str, Any]) -> None:
    """Serve, and connect in three ways."""
    proxies = TrustedProxies(["10.0.0.0/8"], forwarded=True)
    async with serve(Chat(), "localhost", 8000, trusted_proxies=proxies):
        connection: ClientListenerConnection = await connect("ws://localhost:8000/", listener=Chat())
        latency: asyncio.Future[float] = connection.ping()
        print(await latency, connection.send("hello"))
        async with connect("ws://localhost:8000/", listener=Chat()) as within:
            within.ping().add_done_callback(print)
        async for each in connect("ws://localhost:8000/", listener=Chat()):
            each.ping().add_done_callback(print)
        await connection.wait_closed()
        without: ClientConnection = await connect("ws://localhost:8000/", listener=None)
        print(await without.recv())
        socket = WebSocket("ws://localhost:8000/", options)
        socket.onmessage = show
        socket.addEventListener("close", close, once=True)
        socket.send("hello")
        stream = WebSocketStream("ws://localhost:8000/", {"protocols": ["chat"]})
        opened = await stream.opened
        await opened.writable.write("hello")
        async for message in opened.readable:
            print(message.upper())
        ended: WebSocketCloseInfo = await stream.closed
        print(ended.closeCode)
