"""A user's topics and rooms as type checkers see them. Never run."""

from typing import Literal, assert_type

from fastapi import FastAPI, WebSocket

from framewire.asyncio import Connection, ListenerConnection, ServerConnection, Topics, broadcast
from framewire.rooms import Rooms

app = FastAPI()
rooms = Rooms(policy="drop", patterns="mqtt", compression=None)


def on_slow(
    connection: Connection | ListenerConnection, topic: str, outcome: Literal["closed", "dropped", "replaced"]
) -> None:
    """Be told of slow receivers."""


topics = Topics(policy="latest", on_slow=on_slow)


async def handler(ws: ServerConnection) -> None:
    """A handler of the server."""
    assert_type(topics.subscribe(ws, "news"), bool)
    assert_type(topics.publish("news", b"all", exclude=ws), int)
    topics.publish("news", "all", exclude=[ws], text=False)
    assert_type(topics.subscribers("news"), list[Connection | ListenerConnection])
    assert_type(topics.counters.sent, int)
    broadcast(ws.server.connections, "all", compression="own")


@app.websocket("/")
async def member(websocket: WebSocket) -> None:
    """A handler of an ASGI application."""
    await websocket.accept()
    assert_type(await rooms.join(websocket, "news"), bool)
    assert_type(rooms.publish("news", "all", exclude=websocket), int)
    rooms.publish_threadsafe("news", "all", exclude=[websocket])
    await rooms.leave(websocket, "news")
