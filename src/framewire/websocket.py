"""The WebSocket API of browsers (WHATWG WebSockets, 2025) on asyncio.

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
"""
# ruff: noqa: N802, N803, N806, N815 - the names are those of the standard

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeAlias

from .asyncio import ClientConnection, connect
from .errors import ConnectionClosed, LocalError, NegotiationError, UriError
from .http.headers import is_token
from .http.uri import Uri
from .http.web_url import parse_web_url
from .protocol.constants import MAX_REASON, CloseCode

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

#: Default of `max_size`: the largest message that is received, in bytes.
DEFAULT_MAX_SIZE: Final = 1 << 26


class DOMException(LocalError):  # noqa: N818
    """Base class of the exceptions of the standard.

    Attributes:
        name: The name of the exception in the standard.
    """

    name: ClassVar[str]


class UrlSyntaxError(DOMException):
    """An invalid URL, subprotocol or close reason: the "SyntaxError" of the standard."""

    name = "SyntaxError"


class InvalidAccessError(DOMException):
    """A close code that applications may not use: any except 1000 and 3000 to 4999."""

    name = "InvalidAccessError"


class InvalidStateError(DOMException):
    """A call of `send` before the connection is open."""

    name = "InvalidStateError"


@dataclass(frozen=True)
class Event:
    """An event of a WebSocket.

    Attributes:
        type: "open", "message", "error" or "close".
        target: The WebSocket.
    """

    type: str
    target: WebSocket = field(repr=False)


@dataclass(frozen=True)
class MessageEvent(Event):
    """A received message.

    Attributes:
        data: The message: `str` for text; for binary, the type that `binaryType` selects.
        origin: The origin of the server.
    """

    data: str | bytes | bytearray
    origin: str


@dataclass(frozen=True)
class CloseEvent(Event):
    """The end of the connection.

    Attributes:
        wasClean: Whether both ends sent a close frame.
        code: The close code of the peer; 1005 for a close frame without a code, 1006 without a
            close frame.
        reason: The close reason of the peer.
    """

    wasClean: bool
    code: int
    reason: str


Listener: TypeAlias = Callable[[Any], "Awaitable[object] | object"]


class _Handler:
    """Descriptor of an event handler attribute such as `onopen`.

    The descriptor itself is the registered listener, so that a handler that is replaced keeps its
    position among the listeners, as the standard requires.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self._type = name[2:]

    def __get__(self, socket: WebSocket | None, owner: type) -> Listener | None:
        return None if socket is None else socket._handlers.get(self._name)

    def __set__(self, socket: WebSocket, listener: Listener | None) -> None:
        if not callable(listener):
            socket._handlers.pop(self._name, None)
            socket.removeEventListener(self._type, self)
            return
        socket._handlers[self._name] = listener
        socket.addEventListener(self._type, self)

    def __call__(self, event: Event) -> Awaitable[object] | object:
        listener = event.target._handlers.get(self._name)
        return None if listener is None else listener(event)


class WebSocket:
    """A client connection with the API of browsers.

    It must be created while an event loop runs, and connects in the background. Failures to connect
    and later failures are reported by an "error" event and a "close" event.

    Args:
        url: The URL, with the scheme ws, wss, http (the same as ws) or https (the same as wss).
        protocols: The subprotocols to offer, in order of preference; or a mapping with them as
            "protocols", whose other keys have no effect.
        **options: Further arguments of `framewire.asyncio.connect`, such as `origin`, `ssl` and
            `additional_headers`. The default of `max_size` is 64 MiB here.

    Raises:
        UrlSyntaxError: If the URL has a fragment or another scheme, or is otherwise invalid; or if
            the subprotocols are not tokens, each given once.
    """

    CONNECTING: Final = 0
    OPEN: Final = 1
    CLOSING: Final = 2
    CLOSED: Final = 3

    onopen = _Handler()
    onmessage = _Handler()
    onerror = _Handler()
    onclose = _Handler()

    def __init__(self, url: str, protocols: str | Iterable[str] | Mapping[str, Any] = (), **options: Any) -> None:
        self._uri, self._url = _parse(url)
        offered = _check_protocols(protocols)
        self._origin = f"{'wss' if self._uri.secure else 'ws'}://{self._uri.authority}"
        # With a write limit of 0, `send` waits until its message is written, so the transport never
        # holds more than one message: `bufferedAmount` relies on it.
        self._options = {"max_size": DEFAULT_MAX_SIZE, "write_limit": 0, **options, "subprotocols": offered}
        self._state = self.CONNECTING
        self._protocol = self._extensions = ""
        self._binary_type = "blob"
        self._listeners: dict[str, dict[Listener, bool]] = {}
        self._handlers: dict[str, Listener] = {}
        self._connection: ClientConnection | None = None
        self._outgoing: deque[str | bytes] = deque()
        #: Payload bytes in `_outgoing` and of messages dropped after the end of the connection.
        self._buffered = 0
        #: Payload bytes of the last message passed to the transport, which may still hold them.
        self._last_written = 0
        #: Set when there is a message or a close frame to send.
        self._send_requested = asyncio.Event()
        self._close_frame: tuple[int | None, str] = (None, "")
        self._opening: asyncio.Future[ClientConnection] | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    # Attributes

    @property
    def url(self) -> str:
        """The parsed URL."""
        return self._url

    @property
    def readyState(self) -> int:
        """CONNECTING, OPEN, CLOSING or CLOSED."""
        return self._state

    @property
    def protocol(self) -> str:
        """The subprotocol that the server selected, or ""."""
        return self._protocol

    @property
    def extensions(self) -> str:
        """The negotiated extensions, in the form of the response header, or ""."""
        return self._extensions

    @property
    def bufferedAmount(self) -> int:
        """Payload bytes that were passed to `send` and not yet written to the network.

        Messages sent after the end of the connection are never subtracted, as the standard
        requires.
        """
        unwritten = 0
        if self._last_written and self._connection is not None:
            unwritten = min(self._last_written, self._connection.transport.get_write_buffer_size())
        return self._buffered + unwritten

    @property
    def binaryType(self) -> str:
        """The type of received binary messages: "blob" for `bytes`, "arraybuffer" for `bytearray`.

        Other values are ignored.
        """
        return self._binary_type

    @binaryType.setter
    def binaryType(self, value: str) -> None:
        if value in ("blob", "arraybuffer"):
            self._binary_type = value

    # Methods

    def send(self, data: str | bytes | bytearray | memoryview) -> None:
        """Queue a message to send.

        While CLOSING or CLOSED the message is dropped, but counted in `bufferedAmount`.

        Args:
            data: The message: a `str` is sent as text, with U+FFFD in place of each lone surrogate;
                bytes are sent as binary.

        Raises:
            InvalidStateError: While CONNECTING.
        """
        if self._state == self.CONNECTING:
            raise InvalidStateError("the connection is not open yet")
        message = _to_scalars(data) if isinstance(data, str) else bytes(data)
        self._buffered += _size(message)
        if self._state == self.OPEN:
            self._outgoing.append(message)
            self._send_requested.set()

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close the connection after the messages sent so far.

        While CONNECTING, the connection attempt fails; while CLOSING or CLOSED, the call has no
        effect. The arguments are always checked.

        Args:
            code: The close code, 1000 or 3000 to 4999. None sends a close frame without code and
                reason.
            reason: The close reason, at most 123 bytes in UTF-8.

        Raises:
            InvalidAccessError: If the code is not allowed.
            UrlSyntaxError: If the reason is too long.
        """
        text = _check_close(code, reason or "")
        if self._state == self.CONNECTING:
            self._state = self.CLOSING
            if self._opening is not None:
                self._opening.cancel()
        elif self._state == self.OPEN:
            self._state = self.CLOSING
            self._close_frame = code, "" if code is None else text
            self._send_requested.set()

    def addEventListener(self, type: str, listener: Listener, *, once: bool = False) -> None:  # noqa: A002
        """Register a listener; one that is registered already keeps its position.

        Args:
            type: The event type: "open", "message", "error" or "close".
            listener: Called with the event, after the listeners registered before it.
            once: Whether to remove the listener before its first call.
        """
        self._listeners.setdefault(type, {}).setdefault(listener, once)

    def removeEventListener(self, type: str, listener: Listener) -> None:  # noqa: A002
        """Remove a listener, if it is registered.

        Args:
            type: The event type.
            listener: The listener.
        """
        self._listeners.get(type, {}).pop(listener, None)

    # The connection

    async def _run(self) -> None:
        """Connect, receive and dispatch all events until the connection has ended."""
        connection = await self._connect()
        if connection is None:
            await self._end(CloseEvent("close", self, False, 1006, ""), True)
            return
        self._connection = connection
        self._state = self.OPEN
        self._protocol = connection.subprotocol or ""
        assert connection.response is not None
        self._extensions = connection.response.headers.get_joined("Sec-WebSocket-Extensions")
        sender = asyncio.ensure_future(self._send_all(connection))
        try:
            await self._dispatch(Event("open", self))
            while True:
                message = await connection.recv()
                if self._state == self.OPEN:
                    await self._dispatch(MessageEvent("message", self, self._convert(message), self._origin))
        except ConnectionClosed as closed:
            clean = _is_clean(closed)
            assert connection._session is not None
            failure = connection._session.close_state.failure
            violated = failure is not None and failure.code != CloseCode.ABNORMAL_CLOSURE
            given_up = closed.sent is not None and self._state == self.OPEN
            failed = closed.rcvd is None and (violated or given_up)
            self._state = self.CLOSING
            await connection.wait_closed()
            await self._end(CloseEvent("close", self, clean, closed.code, closed.reason), failed)
        finally:
            sender.cancel()
            connection.transport.abort()

    async def _connect(self) -> ClientConnection | None:
        """Open the connection; return None if that fails or `close` was called."""
        if self._state != self.CONNECTING:
            return None
        self._opening = asyncio.ensure_future(_open(self._uri, self._options))
        try:
            await asyncio.wait((self._opening,))
        except asyncio.CancelledError:
            self._opening.cancel()
            raise
        if self._opening.cancelled() or self._opening.exception() is not None:
            return None
        connection = self._opening.result()
        if self._state == self.CONNECTING:
            return connection
        connection.transport.abort()
        return None

    async def _send_all(self, connection: ClientConnection) -> None:
        """Send the queued messages with backpressure, and then the close frame."""
        try:
            while True:
                await self._send_requested.wait()
                while self._outgoing:
                    message = self._outgoing[0]
                    await connection.send(message)
                    self._outgoing.popleft()
                    self._last_written = _size(message)
                    self._buffered -= self._last_written
                self._send_requested.clear()
                if self._state == self.CLOSING:
                    connection.start_closing(*self._close_frame)
                    return
        except ConnectionClosed:
            pass  # `_run` reports it

    def _convert(self, message: str | bytes) -> str | bytes | bytearray:
        """Return the message in the type that `binaryType` selects."""
        if isinstance(message, bytes) and self._binary_type == "arraybuffer":
            return bytearray(message)
        return message

    async def _end(self, event: CloseEvent, failed: bool) -> None:
        self._state = self.CLOSED
        if failed:
            await self._dispatch(Event("error", self))
        await self._dispatch(event)

    async def _dispatch(self, event: Event) -> None:
        """Call the listeners in turn; report their exceptions to the event loop."""
        listeners = self._listeners.get(event.type, {})
        for listener, once in list(listeners.items()):
            if listener not in listeners:
                continue  # removed by an earlier listener
            if once:
                del listeners[listener]
            try:
                result = listener(event)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:
                message = f"a listener for {event.type} failed"
                asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


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
        InvalidAccessError: If the code is not allowed.
        UrlSyntaxError: If the reason is too long.
    """

    name = "WebSocketError"

    def __init__(self, message: str = "", closeCode: int | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.reason = _check_close(closeCode, reason)
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

    def __init__(self, stream: WebSocketStream, connection: ClientConnection) -> None:
        self._stream = stream
        self._connection = connection

    def __aiter__(self) -> WebSocketReadable:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            if _is_clean(closed):
                raise StopAsyncIteration from None
            raise _lost(closed) from closed

    async def cancel(self, reason: object = None) -> None:
        """Close the connection, with the code and reason of a WebSocketError."""
        await self._stream._close_with(reason)


class WebSocketWritable:
    """Takes the messages to the server."""

    def __init__(self, stream: WebSocketStream, connection: ClientConnection) -> None:
        self._stream = stream
        self._connection = connection

    async def write(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a message; wait until the network has taken it, and those before it.

        Args:
            message: A `str` is sent as text, with U+FFFD in place of each lone surrogate; bytes are
                sent as binary.

        Raises:
            WebSocketError: If the connection is closing or closed.
        """
        try:
            await self._connection.send(_to_scalars(message) if isinstance(message, str) else message)
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def close(self) -> None:
        """Close the connection without a code; returns when it is closed."""
        await self._stream._close_with(None)

    async def abort(self, reason: object = None) -> None:
        """Close the connection, with the code and reason of a WebSocketError."""
        await self._stream._close_with(reason)


class WebSocketStream:
    """A client connection as a readable and a writable stream, with backpressure in both directions.

    It must be created while an event loop runs, and connects in the background.

    Args:
        url: The URL, as for `WebSocket`.
        options: A mapping with the subprotocols to offer as "protocols"; other keys have no effect.
        **connect_options: Further arguments of `framewire.asyncio.connect`. The default of
            `max_size` is 64 MiB here.

    Raises:
        UrlSyntaxError: As for `WebSocket`.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, **connect_options: Any) -> None:
        uri, self._url = _parse(url)
        offered = _check_protocols(options or {})
        self._options = {"max_size": DEFAULT_MAX_SIZE, "write_limit": 0, **connect_options, "subprotocols": offered}
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[WebSocketOpenInfo] = loop.create_future()
        self._closed: asyncio.Future[WebSocketCloseInfo] = loop.create_future()
        for future in (self._opened, self._closed):
            future.add_done_callback(_retrieve)
        self._connection: ClientConnection | None = None
        self._given_up = False
        self._opening = loop.create_task(_open(uri, self._options))
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
            InvalidAccessError: If the code is not allowed.
            UrlSyntaxError: If the reason is too long.
        """
        if isinstance(closeInfo, Mapping):
            closeInfo = WebSocketCloseInfo(closeInfo.get("closeCode"), closeInfo.get("reason") or "")
        info = closeInfo or WebSocketCloseInfo()
        reason = _check_close(info.closeCode, info.reason)
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
        # Messages that wait for a reader would keep the close frame of the server from being read.
        await self._connection.close()

    async def _run(self) -> None:
        """Connect, and wait for the end."""
        try:
            connection = await self._opening
            if self._given_up:  # `close` was called after the connection had opened, before this task ran
                connection.transport.abort()
                raise asyncio.CancelledError  # as if the attempt had been cancelled in time
        except (Exception, asyncio.CancelledError) as cause:
            error = WebSocketError("the connection could not be opened")
            error.__cause__ = cause
            self._opened.set_exception(error)
            self._closed.set_exception(error)
            return
        self._connection = connection
        assert connection.response is not None
        self._opened.set_result(
            WebSocketOpenInfo(
                WebSocketReadable(self, connection),
                WebSocketWritable(self, connection),
                connection.subprotocol or "",
                connection.response.headers.get_joined("Sec-WebSocket-Extensions"),
            )
        )
        try:
            await connection.wait_closed()
        finally:
            connection.transport.abort()
        if connection.clean:
            self._closed.set_result(WebSocketCloseInfo(connection.close_code, connection.close_reason or ""))
        else:
            self._closed.set_exception(WebSocketError("the connection was lost"))


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Take note of an exception that nobody has to await."""
    if not future.cancelled():
        future.exception()


def _is_clean(closed: ConnectionClosed) -> bool:
    return closed.rcvd is not None and closed.sent is not None


def _lost(closed: ConnectionClosed) -> WebSocketError:
    return WebSocketError("the connection is closed" if _is_clean(closed) else "the connection was lost")


class _Connect(connect):
    """`connect` to a parsed URL, without redirects (WHATWG WebSockets, "establish a connection")."""

    _max_redirects = 0

    def __init__(self, uri: Uri, **options: Any) -> None:
        super().__init__(f"{'wss' if uri.secure else 'ws'}://{uri.authority}/", **options)
        self.target = uri


async def _open(uri: Uri, options: dict[str, Any]) -> ClientConnection:
    connection = await _Connect(uri, **options)
    if options["subprotocols"] and connection.subprotocol is None:
        connection.transport.abort()
        raise NegotiationError("the server selects none of the subprotocols")  # fails the connection by the standard
    return connection


def _check_protocols(protocols: str | Iterable[str] | Mapping[str, Any]) -> list[str]:
    """Return the subprotocols to offer.

    Raises:
        UrlSyntaxError: If they are not tokens, each given once.
    """
    if isinstance(protocols, Mapping):
        protocols = protocols.get("protocols", ())
    offered = [protocols] if isinstance(protocols, str) else list(protocols)
    if len(set(offered)) < len(offered) or not all(map(is_token, offered)):
        raise UrlSyntaxError("subprotocols must be tokens, each given once")
    return offered


def _check_close(code: int | None, reason: str) -> str:
    """Return the reason to send with a close code.

    Raises:
        InvalidAccessError: If the code is not allowed.
        UrlSyntaxError: If the reason is too long.
    """
    if code is not None and code != 1000 and not 3000 <= code <= 4999:
        raise InvalidAccessError(f"the close code must be 1000 or 3000 to 4999, not {code}")
    text = _to_scalars(reason)
    if len(text.encode()) > MAX_REASON:
        raise UrlSyntaxError(f"the close reason exceeds {MAX_REASON} bytes")
    return text


def _parse(url: str) -> tuple[Uri, str]:
    """Parse the URL; return it and its normalized text.

    Raises:
        UrlSyntaxError: If it is not valid.
    """
    try:
        return parse_web_url(_to_scalars(url))
    except UriError as error:
        raise UrlSyntaxError(str(error)) from error


def _to_scalars(text: str) -> str:
    """Return the text with U+FFFD in place of each lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _size(message: str | bytes) -> int:
    """Return the payload size in bytes."""
    return len(message.encode()) if isinstance(message, str) else len(message)
