"""The browser's `WebSocket` on asyncio, as the living standard (WHATWG WebSockets, 2025) has it.

    socket = WebSocket("ws://localhost:9998/echo")
    socket.onopen = lambda event: socket.send("Hello")
    socket.onmessage = lambda event: print(event.data)

What a page would see holds here: names, constants, errors, the order of events, and that handlers never overlap. A
handler may be a coroutine function; the next event waits for it.
"""
# ruff: noqa: N802, N815 - the names are those of the standard

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeAlias

from .asyncio import ClientConnection, connect
from .errors import ConnectionClosed, LocalError, UriError
from .http.headers import is_token
from .http.uri import Uri, parse_uri
from .protocol.constants import MAX_REASON

__all__ = [
    "CloseEvent",
    "DOMException",
    "Event",
    "InvalidAccessError",
    "InvalidStateError",
    "MessageEvent",
    "UrlSyntaxError",
    "WebSocket",
]

#: The largest message that is received, in bytes, unless `max_size` says otherwise.
MAX_MESSAGE: Final = 1 << 26


class DOMException(LocalError):  # noqa: N818
    """What the standard throws; `name` says which."""

    name: ClassVar[str]


class UrlSyntaxError(DOMException):
    """The "SyntaxError" of the standard: a URL, a protocol or a reason that cannot be."""

    name = "SyntaxError"


class InvalidAccessError(DOMException):
    """A close code that a page may not use: any but 1000 and 3000 to 4999."""

    name = "InvalidAccessError"


class InvalidStateError(DOMException):
    """`send` before the connection is open."""

    name = "InvalidStateError"


@dataclass(frozen=True)
class Event:
    """Something has happened to `target`: "open" or "error"."""

    type: str
    target: WebSocket = field(repr=False)


@dataclass(frozen=True)
class MessageEvent(Event):
    """A message: `data` is a `str`, or what `binaryType` says; `origin` is that of the server."""

    data: str | bytes | bytearray
    origin: str


@dataclass(frozen=True)
class CloseEvent(Event):
    """The end. `wasClean` after a full closing handshake; `code` is 1005 for an empty close, 1006 without one."""

    wasClean: bool
    code: int
    reason: str


Listener: TypeAlias = Callable[[Any], "Awaitable[object] | object"]


class _Handler:
    """An attribute such as `onopen`: a listener whose place among the others is that of its first setting."""

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
    """A WebSocket to `url`: ws, wss, or http and https, which stand for them.

    `protocols` is a subprotocol or several, best first. Further arguments are those of `framewire.asyncio.connect`:
    `origin`, `ssl`, `additional_headers`, ... Make it where an event loop runs; it connects from there.

    Raises UrlSyntaxError for a URL with a fragment, of another scheme or otherwise wrong, and for protocols that are no
    tokens or not unique. All that goes wrong later is an "error" event and a "close" event.
    """

    CONNECTING: Final = 0
    OPEN: Final = 1
    CLOSING: Final = 2
    CLOSED: Final = 3

    onopen = _Handler()
    onmessage = _Handler()
    onerror = _Handler()
    onclose = _Handler()

    def __init__(self, url: str, protocols: str | Iterable[str] = (), **options: Any) -> None:
        uri, self._url = _parse(url)
        offered = [protocols] if isinstance(protocols, str) else list(protocols)
        if len(set(offered)) < len(offered) or not all(map(is_token, offered)):
            raise UrlSyntaxError("protocols are tokens, each once")
        self._origin = f"{'wss' if uri.secure else 'ws'}://{uri.authority}"
        # Without a buffer of the transport's own, what it has not written is one message: see `bufferedAmount`.
        self._options = {"max_size": MAX_MESSAGE, "write_limit": 0, **options, "subprotocols": offered}
        self._state = self.CONNECTING
        self._protocol = self._extensions = ""
        self._binary_type = "blob"
        self._listeners: dict[str, dict[Listener, bool]] = {}
        self._handlers: dict[str, Listener] = {}
        self._connection: ClientConnection | None = None
        self._outgoing: deque[str | bytes] = deque()
        self._buffered = 0  # payload bytes in `_outgoing`, and those that were dropped
        self._written = 0  # payload bytes of the message that the transport may still hold
        self._wake = asyncio.Event()
        self._close_frame: tuple[int | None, str] = (None, "")
        self._opening: asyncio.Future[ClientConnection] | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    # What it is.

    @property
    def url(self) -> str:
        """The URL as it was parsed."""
        return self._url

    @property
    def readyState(self) -> int:
        """CONNECTING, OPEN, CLOSING or CLOSED."""
        return self._state

    @property
    def protocol(self) -> str:
        """The subprotocol that the server chose; empty before, and without one."""
        return self._protocol

    @property
    def extensions(self) -> str:
        """The extensions that the server agreed to, as in its header; empty before, and without any."""
        return self._extensions

    @property
    def bufferedAmount(self) -> int:
        """Payload bytes that `send` was given and the network has not taken.

        What is sent after the end counts for ever: nothing takes it.
        """
        held = 0
        if self._written and self._connection is not None:
            held = min(self._written, self._connection.transport.get_write_buffer_size())
        return self._buffered + held

    @property
    def binaryType(self) -> str:
        """What binary messages come as: "blob" as `bytes`, "arraybuffer" as `bytearray`. Other values are ignored."""
        return self._binary_type

    @binaryType.setter
    def binaryType(self, value: str) -> None:
        if value in ("blob", "arraybuffer"):
            self._binary_type = value

    # What it does.

    def send(self, data: str | bytes | bytearray | memoryview) -> None:
        """Sends a message: text from a `str` (a lone surrogate becomes U+FFFD), binary from bytes.

        Raises InvalidStateError while CONNECTING. After the end it is dropped and counted in `bufferedAmount`.
        """
        if self._state == self.CONNECTING:
            raise InvalidStateError("the connection is not open yet")
        message = _to_scalars(data) if isinstance(data, str) else bytes(data)
        self._buffered += _size(message)
        if self._state == self.OPEN:
            self._outgoing.append(message)
            self._wake.set()

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Closes behind the messages that were sent; without a code the close frame is empty, also with a reason.

        Raises InvalidAccessError for a code other than 1000 and 3000 to 4999, UrlSyntaxError for a reason of over 123
        bytes of UTF-8, at any time. While CONNECTING it fails the connection; CLOSING and CLOSED it does nothing.
        """
        if code is not None and code != 1000 and not 3000 <= code <= 4999:
            raise InvalidAccessError(f"a page may close with 1000 and 3000 to 4999, not with {code}")
        text = _to_scalars(reason or "")
        if len(text.encode()) > MAX_REASON:
            raise UrlSyntaxError(f"a reason has at most {MAX_REASON} bytes")
        if self._state == self.CONNECTING:
            self._state = self.CLOSING
            if self._opening is not None:
                self._opening.cancel()
        elif self._state == self.OPEN:
            self._state = self.CLOSING
            self._close_frame = code, "" if code is None else text
            self._wake.set()

    def addEventListener(self, type: str, listener: Listener, *, once: bool = False) -> None:  # noqa: A002
        """Has `listener(event)` called for events of this type, in the order of adding; adding again does nothing."""
        self._listeners.setdefault(type, {}).setdefault(listener, once)

    def removeEventListener(self, type: str, listener: Listener) -> None:  # noqa: A002
        """Undoes `addEventListener`."""
        self._listeners.get(type, {}).pop(listener, None)

    # The connection.

    async def _run(self) -> None:
        """The life of the connection: all events come from here, one after the other."""
        connection = await self._connect()
        if connection is None:
            await self._end(CloseEvent("close", self, False, 1006, ""), True)
            return
        self._connection = connection
        self._state = self.OPEN
        self._protocol = connection.subprotocol or ""
        assert connection.response is not None
        self._extensions = connection.response.headers.get("Sec-WebSocket-Extensions", "")
        sender = asyncio.ensure_future(self._send_all(connection))
        try:
            await self._dispatch(Event("open", self))
            while True:
                message = await connection.recv()
                if self._state == self.OPEN:
                    await self._dispatch(MessageEvent("message", self, self._receive(message), self._origin))
        except ConnectionClosed as closed:
            clean = closed.rcvd is not None and closed.sent is not None
            failed = closed.rcvd is None and closed.sent is not None and self._state == self.OPEN
            self._state = self.CLOSING
            await connection.wait_closed()
            await self._end(CloseEvent("close", self, clean, closed.code, closed.reason), failed)
        finally:
            sender.cancel()
            connection.transport.abort()

    async def _connect(self) -> ClientConnection | None:
        """Opens the connection; None if that fails, or `close` was called meanwhile."""
        if self._state != self.CONNECTING:
            return None
        self._opening = asyncio.ensure_future(_open(self._url, self._options))
        try:
            await asyncio.wait((self._opening,))
        except asyncio.CancelledError:
            self._opening.cancel()
            raise
        if self._opening.cancelled() or self._opening.exception() is not None:
            return None
        connection = self._opening.result()
        if self._state == self.CONNECTING and bool(self._options["subprotocols"]) == (
            connection.subprotocol is not None
        ):
            return connection
        connection.transport.abort()  # a protocol was asked for and not chosen, or it was closed meanwhile
        return None

    async def _send_all(self, connection: ClientConnection) -> None:
        """Hands messages to the network as it takes them, and at last the close."""
        try:
            while True:
                await self._wake.wait()
                while self._outgoing:
                    message = self._outgoing[0]
                    await connection.send(message)
                    self._outgoing.popleft()
                    self._written = _size(message)
                    self._buffered -= self._written
                self._wake.clear()
                if self._state == self.CLOSING:
                    connection.start_closing(*self._close_frame)
                    return
        except ConnectionClosed:
            pass  # the receiving side says how it ended

    def _receive(self, message: str | bytes) -> str | bytes | bytearray:
        if isinstance(message, bytes) and self._binary_type == "arraybuffer":
            return bytearray(message)
        return message

    async def _end(self, event: CloseEvent, failed: bool) -> None:
        self._state = self.CLOSED
        if failed:
            await self._dispatch(Event("error", self))
        await self._dispatch(event)

    async def _dispatch(self, event: Event) -> None:
        """Calls the listeners; what one raises is reported to the event loop, and the next is called."""
        listeners = self._listeners.get(event.type, {})
        for listener, once in list(listeners.items()):
            if listener not in listeners:
                continue  # removed by an earlier one
            if once:
                del listeners[listener]
            try:
                result = listener(event)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:
                message = f"a listener for {event.type} failed"
                asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


async def _open(url: str, options: dict[str, Any]) -> ClientConnection:
    return await connect(url, **options)


def _parse(url: str) -> tuple[Uri, str]:
    """The URL as a WebSocket's, and its text."""
    scheme, separator, rest = url.strip("\t\n\f\r ").partition(":")
    scheme = {"http": "ws", "https": "wss"}.get(scheme.lower(), scheme.lower())
    if "#" in rest:
        raise UrlSyntaxError("the URL of a WebSocket has no fragment")
    try:
        uri = parse_uri(f"{scheme}{separator}{rest}")
    except UriError as error:
        raise UrlSyntaxError(str(error)) from error
    user, at, _ = rest.removeprefix("//").partition("/")[0].rpartition("@")
    return uri, f"{scheme}://{user}{at}{uri.authority}{uri.target}"


def _to_scalars(text: str) -> str:
    """The text with U+FFFD in place of what is half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _size(message: str | bytes) -> int:
    return len(message.encode()) if isinstance(message, str) else len(message)
