"""`WebSocket` and its events."""
# ruff: noqa: N802, N815 - the names are those of the standard

from __future__ import annotations

import asyncio
import inspect
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from ..errors import ConnectionClosed
from .base_connection import BaseConnection
from .opening import (
    InvalidStateError,
    check_close,
    check_protocols,
    is_clean,
    open_connection,
    parse_url,
    to_message,
)

__all__ = ["CloseEvent", "Event", "MessageEvent", "WebSocket"]


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
            `additional_headers`; but not `listener`, `process_exception`, `reconnect_delays`,
            `subprotocols`, `text_as_bytes` and `write_limit`. The default of `max_size` is 64 MiB
            here. In a browser there are none.

    Raises:
        TypeError: If an option has the wrong type or is not available.
        ValueError: If an option is not valid.
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
        uri, self._url = parse_url(url)
        offered = check_protocols(protocols)
        self._origin = f"{'wss' if uri.secure else 'ws'}://{uri.authority}"
        self._state = self.CONNECTING
        self._protocol = self._extensions = ""
        self._binary_type = "blob"
        self._listeners: dict[str, dict[Listener, bool]] = {}
        self._handlers: dict[str, Listener] = {}
        self._connection: BaseConnection | None = None
        self._outgoing: deque[str | bytes] = deque()
        #: Payload bytes in `_outgoing` and of messages dropped after the end of the connection.
        self._buffered = 0
        #: Payload bytes of the last message passed to the connection, which may still hold them.
        self._last_written = 0
        #: Set when there is a message or a close frame to send.
        self._send_requested = asyncio.Event()
        self._close_frame: tuple[int | None, str] = (None, "")
        #: Looks whether anything is written, from `close` until the close frame is sent.
        self._progress_timer: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()
        self._opening: asyncio.Future[BaseConnection] = loop.create_task(
            open_connection(uri, self._url, offered, options)
        )
        self._task = loop.create_task(self._run())

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
        connection = self._connection
        return self._buffered + (0 if connection is None else connection.unwritten(self._last_written))

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
            TypeError: If the message is neither text nor a bytes-like object.
            PayloadTooBigError: If the message exceeds `max_send_size`, while OPEN.
        """
        if self._state == self.CONNECTING:
            raise InvalidStateError("the connection is not open yet")
        message = to_message(data)
        size = _size(message)
        if self._state == self.OPEN:
            assert self._connection is not None
            self._connection.check_size(size)
            self._outgoing.append(message)
            self._send_requested.set()
        self._buffered += size

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close the connection after the messages sent so far. If the network takes nothing of them for
        `close_timeout`, the connection is aborted.

        While CONNECTING, the connection attempt fails; while CLOSING or CLOSED, the call has no
        effect. The arguments are always checked.

        Args:
            code: The close code, 1000 or 3000 to 4999. None sends a close frame without code and
                reason.
            reason: The close reason, at most 123 bytes in UTF-8.

        Raises:
            TypeError: If the code is no integer, or the reason no text.
            InvalidAccessError: If the code is not allowed.
            UrlSyntaxError: If the reason is too long.
        """
        text = check_close(code, reason or "")
        if self._state == self.CONNECTING:
            self._state = self.CLOSING
            self._opening.cancel()
        elif self._state == self.OPEN:
            self._state = self.CLOSING
            self._close_frame = code, "" if code is None else text
            self._send_requested.set()
            self._look_at_progress(None)

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
        self._protocol, self._extensions = connection.protocol, connection.extensions
        sender = asyncio.ensure_future(self._send_all(connection))
        try:
            await self._dispatch(Event("open", self))
            while True:
                message = await connection.recv()
                if self._state == self.OPEN:
                    await self._dispatch(MessageEvent("message", self, self._convert(message), self._origin))
        except ConnectionClosed as closed:
            failed = connection.failed(self._state != self.OPEN)
            self._state = self.CLOSING
            await connection.wait_closed()
            self._outgoing.clear()  # they still count as buffered
            await self._end(CloseEvent("close", self, is_clean(closed), closed.code, closed.reason), failed)
        finally:
            self._stop_looking()
            sender.cancel()
            connection.abort()

    async def _connect(self) -> BaseConnection | None:
        """Open the connection; return None if that fails or `close` was called."""
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
        connection.abort()
        return None

    async def _send_all(self, connection: BaseConnection) -> None:
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
                    await connection.drain()
                self._send_requested.clear()
                if self._state == self.CLOSING:
                    self._stop_looking()  # the connection has a deadline from now on
                    connection.start_closing(*self._close_frame)
                    return
        except ConnectionClosed:
            pass  # `_run` reports it
        except Exception as error:
            _report("a message could not be sent", error)
            connection.abort()  # without a sender, nothing else would end it

    def _look_at_progress(self, before: int | None) -> None:
        """Abort the connection if no more is written than at the last look, or look again later.

        Args:
            before: The bytes that were not written at the last look; None: this is the first look.
        """
        connection, amount = self._connection, self.bufferedAmount
        assert connection is not None
        if amount == before:
            connection.abort()
        elif connection.close_timeout is not None:
            loop = asyncio.get_running_loop()
            self._progress_timer = loop.call_later(connection.close_timeout, self._look_at_progress, amount)

    def _stop_looking(self) -> None:
        if self._progress_timer is not None:
            self._progress_timer.cancel()

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
            except (Exception, asyncio.CancelledError) as error:
                _report(f"a listener for {event.type} failed", error)
                continue
            if inspect.isawaitable(result):
                try:
                    await _finish(result)
                except Exception as error:
                    _report(f"a listener for {event.type} failed", error)


def _report(message: str, error: BaseException) -> None:
    """Pass an exception to the handler of the event loop, which logs it by default."""
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


async def _finish(listening: Awaitable[object]) -> None:
    """Await what an async listener returned.

    Raises:
        asyncio.CancelledError: If the calling task is cancelled.
        RuntimeError: If the listener was cancelled otherwise, as by a cancelled future that it
            awaits.
        Exception: What the listener raises.
    """
    if sys.version_info >= (3, 11):
        try:
            await listening
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise RuntimeError("it was cancelled") from error
        return
    # A task of Python 3.10 does not say whether it is being cancelled: the listener gets one of its own.
    task = asyncio.ensure_future(listening)
    try:
        await asyncio.wait((task,))
    finally:
        task.cancel()  # without effect on a task that is done
    if task.cancelled():
        raise RuntimeError("it was cancelled")
    task.result()


def _size(message: str | bytes) -> int:
    """Return the payload size in bytes."""
    return len(message.encode()) if isinstance(message, str) else len(message)
