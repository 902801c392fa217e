"""The browser's WebSocket in Pyodide, where Python has no sockets."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from js import WebSocket
from pyodide.ffi import create_proxy, to_js

from ..errors import ConnectionClosed
from ..http.uri import Uri
from ..protocol.constants import CloseCode
from ..protocol.events import Close
from ..session.close_state import CloseState
from .base_connection import BaseConnection

__all__ = ["BrowserConnection", "open_connection"]

#: `drain` waits while the browser holds more bytes.
MAX_UNWRITTEN: Final = 1 << 20
#: Seconds between two looks at `bufferedAmount`: browsers have no event for its changes.
POLL_INTERVAL: Final = 0.004


class BrowserConnection(BaseConnection):
    """A WebSocket of the browser, which connects from the beginning.

    Args:
        url: The URL.
        subprotocols: The subprotocols to offer.
    """

    def __init__(self, url: str, subprotocols: list[str]) -> None:
        self.close_timeout = None  # that is for the browser to decide
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received: deque[str | bytes] = deque()
        #: Set when there is a message to receive, and at the end.
        self._readable = asyncio.Event()
        self._closed = asyncio.Event()
        self._close_state = CloseState(auto_close=True)
        self._error_event = False
        self._socket = WebSocket.new(url, to_js(subprotocols))
        self._socket.binaryType = "arraybuffer"
        self._listener = create_proxy(self._on_event)
        for name in ("open", "message", "error", "close"):
            self._socket.addEventListener(name, self._listener)

    def _on_event(self, event: Any) -> None:
        if event.type == "message":
            self._received.append(event.data if isinstance(event.data, str) else event.data.to_bytes())
            self._readable.set()
        elif event.type == "open":
            self.protocol, self.extensions = self._socket.protocol, self._socket.extensions
            if not self._opened.done():
                self._opened.set_result(None)
        elif event.type == "error":
            self._error_event = True
        else:
            self._end(event)

    def _end(self, event: Any) -> None:
        self._close_state = CloseState(auto_close=event.wasClean)
        if event.code != CloseCode.ABNORMAL_CLOSURE:
            self._close_state.note_received(Close(event.code, event.reason))
        if not self._opened.done():
            self._opened.set_exception(self._close_state.error())
        self._closed.set()
        self._readable.set()
        # The listener and the socket refer to each other across both heaps, which no garbage
        # collector sees. It runs now, so it is destroyed later.
        asyncio.get_running_loop().call_soon(self._listener.destroy)

    async def wait_opened(self) -> None:
        """Wait for the end of the opening handshake.

        Raises:
            ConnectionClosed: If it failed.
        """
        await self._opened

    async def recv(self) -> str | bytes:
        while not self._received:
            if self._closed.is_set():
                raise self._close_state.error()
            self._readable.clear()
            await self._readable.wait()
        return self._received.popleft()

    def check_size(self, size: int) -> None:
        pass  # the browser has no limit

    async def send(self, message: str | bytes) -> None:
        if self._socket.readyState != WebSocket.OPEN:
            raise await self.wait_closed()
        self._socket.send(message if isinstance(message, str) else to_js(message))

    async def drain(self) -> None:
        while self._socket.bufferedAmount > MAX_UNWRITTEN and not self._closed.is_set():  # noqa: ASYNC110
            await asyncio.sleep(POLL_INTERVAL)

    def unwritten(self, size: int) -> int:
        return int(self._socket.bufferedAmount)

    def start_closing(self, code: int | None, reason: str) -> None:
        if code is None:
            self._socket.close()
        else:
            self._socket.close(code, reason)

    async def wait_closed(self) -> ConnectionClosed:
        await self._closed.wait()
        return self._close_state.error()

    def failed(self, closing: bool) -> bool:
        return self._error_event

    def abort(self) -> None:
        self._socket.close()  # the browser has nothing harder


def open_connection(
    uri: Uri, url: str, subprotocols: list[str], options: Mapping[str, Any]
) -> Coroutine[Any, Any, BrowserConnection]:
    """Connect to a URL, given parsed and as text.

    Raises:
        TypeError: At once, if there are options: the browser has none.
    """
    if options:
        raise TypeError(f"not available in a browser: {', '.join(options)}")
    return _open(url, subprotocols)


async def _open(url: str, subprotocols: list[str]) -> BrowserConnection:
    connection = BrowserConnection(url, subprotocols)
    try:
        await connection.wait_opened()
    except BaseException:
        connection.abort()
        raise
    return connection
