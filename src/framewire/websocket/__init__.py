"""The WebSocket API of browsers (WHATWG WebSockets, 2025) on asyncio, and in Pyodide.

    socket = WebSocket("ws://localhost:9998/echo")
    socket.onopen = lambda event: socket.send("Hello")
    socket.onmessage = lambda event: print(event.data)

Names, constants, errors and the order of events are those of the standard. Listeners never run
concurrently: a listener may be a coroutine function, and the next event waits for it.

`WebSocketStream` is the API of Chromium with streams in place of events:

    stream = WebSocketStream("ws://localhost:9998/echo")
    connection = await stream.opened
    await connection.writable.write("Hello")
    async for message in connection.readable: ...

In Pyodide (Python in a browser or in node) both use the WebSocket of the browser, with the same states,
events and exceptions. Three things are different there: the constructors take no options of `connect`,
`WebSocketStream` cannot make the server wait, so that messages which nobody reads fill the memory, and
`WebSocketWritable.write` waits until the browser holds at most 1 MiB.
"""

from __future__ import annotations

from .opening import DOMException, InvalidAccessError, InvalidStateError, UrlSyntaxError
from .socket import CloseEvent, Event, MessageEvent, WebSocket
from .stream import (
    WebSocketCloseInfo,
    WebSocketError,
    WebSocketOpenInfo,
    WebSocketReadable,
    WebSocketStream,
    WebSocketWritable,
)

__all__ = [
    "CloseEvent",
    "DOMException",
    "Event",
    "InvalidAccessError",
    "InvalidStateError",
    "MessageEvent",
    "UrlSyntaxError",
    "WebSocket",
    "WebSocketCloseInfo",
    "WebSocketError",
    "WebSocketOpenInfo",
    "WebSocketReadable",
    "WebSocketStream",
    "WebSocketWritable",
]
