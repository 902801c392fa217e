"""`WebSocketStream`, its ends and its exceptions."""
# ruff: noqa: N803, N806, N815 - the names are those of the standard

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConnectionClosed
from .base_connection import BaseConnection
from .opening import (
    DOMException,
    check_close,
    check_protocols,
    is_clean,
    open_connection,
    parse_url,
    to_message,
)

__all__ = [
    "WebSocketCloseInfo", "WebSocketError", "WebSocketOpenInfo", "WebSocketReadable", "WebSocketStream",
    "WebSocketWritable",
]  # fmt: skip


@dataclass(frozen=True)
class WebSocketCloseInfo:
    """A close code and reason: those to send, or those of the server.

    Attributes:
        closeCode: The close code. None sends a close frame without one; a received close frame
            without one is 1005.
        reason: The close reason.
    """

    closeCode: int | None = None
    reason: str = ""


class WebSocketError(DOMException):
    """A `WebSocketStream` failed to open, or ended without a closing handshake.

    Passed to `WebSocketReadable.cancel` and `WebSocketWritable.abort`, it sets the close code and
    the reason to send.

    Args:
        message: The text of the exception.
        closeCode: The close code: 1000 or 3000 to 4999.
        reason: The close reason, at most 123 bytes in UTF-8.

    Raises:
        TypeError: If the code is no integer, or the reason no text.
        InvalidAccessError: If the code is not allowed.
        UrlSyntaxError: If the reason is too long.
    """

    name = "WebSocketError"

    def __init__(self, message: str = "", closeCode: int | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.reason = check_close(closeCode, reason)
        self.closeCode = 1000 if reason and closeCode is None else closeCode


@dataclass(frozen=True)
class WebSocketOpenInfo:
    """What `WebSocketStream.opened` returns.

    Attributes:
        readable: The messages of the server.
        writable: Takes the messages to the server.
        protocol: The subprotocol that the server selected, or "".
        extensions: The negotiated extensions, in the form of the response header, or "".
    """

    readable: WebSocketReadable
    writable: WebSocketWritable
    protocol: str
    extensions: str


class WebSocketReadable:
    """The messages of the server, as an async iterator: `str` for text, `bytes` for binary.

    While nobody reads, at most `max_queue` messages wait, and the server has to wait too. The
    iteration ends after a closing handshake, and otherwise raises WebSocketError.
    """

    def __init__(self, stream: WebSocketStream, connection: BaseConnection) -> None:
        self._stream = stream
        self._connection = connection

    def __aiter__(self) -> WebSocketReadable:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            if is_clean(closed):
                raise StopAsyncIteration from None
            raise _lost(closed) from closed

    async def cancel(self, reason: object = None) -> None:
        """Close the connection, with the code and reason of a WebSocketError.

        Args:
            reason: The WebSocketError; anything else closes without a code.
        """
        await self._stream._close_with(reason)


class WebSocketWritable:
    """Takes the messages to the server."""

    def __init__(self, stream: WebSocketStream, connection: BaseConnection) -> None:
        self._stream = stream
        self._connection = connection

    async def write(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a message; wait until the network has taken it, and those before it.

        Args:
            message: A `str` is sent as text, with U+FFFD in place of each lone surrogate; bytes are
                sent as binary.

        Raises:
            WebSocketError: If the connection is closing or closed.
            TypeError: If the message is neither text nor a bytes-like object.
            PayloadTooBigError: If the message exceeds `max_send_size`.
        """
        try:
            await self._connection.send(to_message(message))
            await self._connection.drain()
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def close(self) -> None:
        """Close the connection without a code; returns when it is closed."""
        await self._stream._close_with(None)

    async def abort(self, reason: object = None) -> None:
        """Close the connection, with the code and reason of a WebSocketError.

        Args:
            reason: The WebSocketError; anything else closes without a code.
        """
        await self._stream._close_with(reason)


class WebSocketStream:
    """A client connection as a readable and a writable stream, with backpressure in both directions.

    It must be created while an event loop runs, and connects in the background.

    Args:
        url: The URL, as for `WebSocket`.
        options: A mapping with the subprotocols to offer as "protocols"; other keys have no effect.
        **connect_options: Further arguments of `framewire.asyncio.connect`, as for `WebSocket`.

    Raises:
        UrlSyntaxError: As for `WebSocket`, like TypeError and ValueError.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, **connect_options: Any) -> None:
        uri, self._url = parse_url(url)
        offered = check_protocols(options or {})
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[WebSocketOpenInfo] = loop.create_future()
        self._closed: asyncio.Future[WebSocketCloseInfo] = loop.create_future()
        for future in (self._opened, self._closed):
            future.add_done_callback(_retrieve)
        self._connection: BaseConnection | None = None
        self._given_up = False
        self._opening = loop.create_task(open_connection(uri, self._url, offered, connect_options))
        self._task = loop.create_task(self._run())

    @property
    def url(self) -> str:
        """The parsed URL."""
        return self._url

    @property
    def opened(self) -> Awaitable[WebSocketOpenInfo]:
        """Await it for the streams; raises WebSocketError if the connection cannot be opened."""
        return asyncio.shield(self._opened)

    @property
    def closed(self) -> Awaitable[WebSocketCloseInfo]:
        """Await it for the close code and reason of the server; raises WebSocketError if there was
        no closing handshake.
        """
        return asyncio.shield(self._closed)

    def close(self, closeInfo: WebSocketCloseInfo | Mapping[str, Any] | None = None) -> None:
        """Begin to close the connection; `closed` tells when it is done.

        While the connection opens, the attempt fails. Later calls have no effect.

        Args:
            closeInfo: The `closeCode`, 1000 or 3000 to 4999, and the `reason`, at most 123 bytes in
                UTF-8. By default the close frame is empty; a reason without a code is sent with
                1000.

        Raises:
            TypeError: If the code is no integer, or the reason no text.
            InvalidAccessError: If the code is not allowed.
            UrlSyntaxError: If the reason is too long.
        """
        if isinstance(closeInfo, Mapping):
            closeInfo = WebSocketCloseInfo(closeInfo.get("closeCode"), closeInfo.get("reason") or "")
        info = closeInfo or WebSocketCloseInfo()
        reason = check_close(info.closeCode, info.reason)
        code = 1000 if reason and info.closeCode is None else info.closeCode
        if self._connection is None:
            self._given_up = True
            self._opening.cancel()
        else:
            self._connection.start_closing(code, reason)

    async def _close_with(self, reason: object) -> None:
        """Close with the code and reason of a WebSocketError, and wait for the end."""
        error = reason if isinstance(reason, WebSocketError) else WebSocketError()
        self.close(WebSocketCloseInfo(error.closeCode, error.reason))
        assert self._connection is not None  # there are streams
        await self._connection.wait_closed()

    async def _run(self) -> None:
        """Connect, and wait for the end."""
        try:
            connection = await self._opening
            if self._given_up:  # `close` was called after the connection had opened, before this task ran
                connection.abort()
                raise asyncio.CancelledError  # as if the attempt had been cancelled in time
        except (Exception, asyncio.CancelledError) as cause:
            error = WebSocketError("the connection could not be opened")
            error.__cause__ = cause
            self._opened.set_exception(error)
            self._closed.set_exception(error)
            return
        self._connection = connection
        self._opened.set_result(
            WebSocketOpenInfo(
                WebSocketReadable(self, connection),
                WebSocketWritable(self, connection),
                connection.protocol,
                connection.extensions,
            )
        )
        try:
            closed = await connection.wait_closed()
        finally:
            connection.abort()
        if is_clean(closed):
            self._closed.set_result(WebSocketCloseInfo(closed.code, closed.reason))
        else:
            self._closed.set_exception(WebSocketError("the connection was lost"))


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Take note of an exception that nobody has to await."""
    if not future.cancelled():
        future.exception()


def _lost(closed: ConnectionClosed) -> WebSocketError:
    return WebSocketError("the connection is closed" if is_clean(closed) else "the connection was lost")
