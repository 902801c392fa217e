"""A user program for type checkers, never run: `assert_type` checks the inferred types."""

import asyncio
import ssl
import sys
from typing import Literal

from framewire import (
    CLIENT,
    SERVER,
    Backend,
    Close,
    ConnectionClosed,
    Event,
    Failure,
    Fragment,
    Ping,
    Pong,
    State,
    Stream,
    Text,
    backend,
)
from framewire.asyncio import ClientConnection, Server, ServerConnection, broadcast, connect, serve
from framewire.http.http11 import Request, Response

if sys.version_info >= (3, 11):
    from typing import assert_never, assert_type
else:
    from typing_extensions import assert_never, assert_type


def explain(event: Event) -> str:
    """Every kind of event, and none is left over."""
    match event:
        case str():
            return event.upper()
        case bytes():
            return event.hex()
        case Text(payload) | Ping(payload) | Pong(payload):
            return assert_type(payload, bytes).hex()
        case Fragment(data, first, last):
            assert_type(data, str | bytes | Text)
            assert_type(first and last, bool)
            return repr(data)
        case Close(code, reason):
            return assert_type(reason, str) + str(assert_type(code, int))
        case Failure(code, reason, offset):
            return f"{code} {reason} {offset + 1}"
        case _:
            assert_never(event)


def talk(data: bytearray) -> list[str]:
    """The stream."""
    stream = Stream(SERVER, max_message_size=None, mask_source=None)
    assert_type(stream.send("Hello", last=False), bytes)
    assert_type(stream.send(memoryview(data), text=True), bytes)
    assert_type(stream.ping() + stream.pong(b"") + stream.close() + stream.pending(), bytes)
    assert_type(stream.receive(data), list[Event])
    assert_type(stream.state, State)
    assert_type(stream.close_code, int | None)
    assert_type(backend(), Backend)
    return [explain(event) for event in Stream(CLIENT).receive(data)]


def answer(connection: ServerConnection, request: Request) -> Response | None:
    """A `process_request` that is not async."""
    return connection.respond(404, "no") if assert_type(request.headers["Host"], str) == "x" else None


async def handler(ws: ServerConnection) -> None:
    """A handler of the server."""
    async for message in ws:
        assert_type(message, str | bytes)
        await ws.send(message)
    broadcast(ws.server.connections, "bye")


async def main() -> Literal[0]:
    """Server and client."""
    context = ssl.create_default_context()
    async with serve(handler, "127.0.0.1", 0, process_request=answer, origins=[None, "https://x"]) as server:
        assert_type(server, Server)
        async with connect("wss://127.0.0.1/", ssl=context) as ws:
            assert_type(ws, ClientConnection)
            assert_type(await ws.recv(), str | bytes)
            latency = await ws.ping()
            assert_type(await latency, float)
    try:
        one = await connect("ws://127.0.0.1/", max_size=None)
        await one.close(1000, "bye")
    except ConnectionClosed as end:
        assert_type(end.code, int)
        assert_type(end.rcvd, Close | None)
    return 0


asyncio.run(main())
