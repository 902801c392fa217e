"""`Rooms`: send messages to many connections from an ASGI application.

    application ─ join, publish ─▶ Rooms ─▶ DriverTopics ─▶ framewire's driver under uvicorn
                                                        └─▶ PlainDriver ─▶ `send` of another server

framewire's class for uvicorn offers the driver of a connection as the extension
`framewire.topics` of its scope. Under any other server, a `PlainDriver` takes its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, Protocol, TypeAlias

from .asyncio.topics import DriverTopics, OnSlow, TopicDriver
from .errors import ConnectionClosedError
from .protocol.constants import State
from .protocol.shared_message import SharedMessage
from .session.broadcast import Broadcast, Compression
from .session.session import Data
from .session.settings import ConnectionSettings
from .session.topics import Patterns, SlowPolicy, TopicCounters

__all__ = ["Rooms"]

logger = logging.getLogger("framewire.rooms")

#: The extension of the scope with which a server of framewire offers a weak reference to the driver
#: of a connection.
EXTENSION: Final = "framewire.topics"

#: The limits of connections whose server is not framewire's.
_SETTINGS: Final = ConnectionSettings()

#: The least that the frame of a message has besides its content, in bytes.
_HEADER: Final = 2

#: An event of ASGI, and the callable that takes one.
Event: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Any], Awaitable[None]]


class AsgiWebSocket(Protocol):
    """A connection of an ASGI framework: the WebSocket of Starlette, FastAPI or Litestar, or a
    consumer of Django Channels.
    """

    @property
    def scope(self) -> Any:
        """The scope of the connection."""


class Rooms:
    """Rooms of an ASGI application, which its connections join.

    With `framewire.adapters.uvicorn:WebSocketProtocol`, messages are encoded and compressed once,
    and those of one turn of the event loop leave as one write for each member. Under any other
    server each message is sent by an event of ASGI for each member, with the same policies for slow
    members; the log says so once.

    A connection leaves all rooms when it ends. Under other servers that is when a `send` fails, or
    when the task that has joined a room first ends.

    Args:
        patterns: See `framewire.asyncio.Topics`.
        policy: See `framewire.asyncio.Topics`. `write_limit` is 32 KiB.
        compression: How messages are compressed; see `framewire.asyncio.broadcast`. Other servers
            decide that themselves.
        on_slow: Called with the connection, as it was passed to `join`, the name of the room, and
            what became of a message; see `framewire.asyncio.Topics`.

    Raises:
        ValueError: `patterns`, `policy` or `compression` is none of these.
    """

    def __init__(
        self,
        *,
        patterns: Patterns = None,
        policy: SlowPolicy = "close",
        compression: Compression = "shared",
        on_slow: OnSlow[AsgiWebSocket] | None = None,
    ) -> None:
        Broadcast(b"", None, compression)  # an invalid setting raises here, not in `publish`
        self._compression = compression
        self._topics: DriverTopics[AsgiWebSocket] = DriverTopics(patterns, policy, on_slow)
        self._plain: dict[int, PlainDriver] = {}  # by id of the scope, which the driver keeps alive
        self._fallback_logged = False

    @property
    def counters(self) -> TopicCounters:
        """Numbers of messages so far; see `framewire.asyncio.Topics`."""
        return self._topics.counters

    async def join(self, websocket: AsgiWebSocket, room: str, *, send: Send | None = None) -> bool:
        """Let a connection join a room, after it has been accepted.

        Args:
            websocket: The connection.
            room: The name of the room, or a pattern.
            send: The `send` of ASGI, for a connection that has none (other servers only). By
                default `websocket.base_send` (Django Channels) or `websocket.send` (Starlette,
                FastAPI, Litestar).

        Returns:
            False if it is a member already.

        Raises:
            StateError: The connection has not been accepted.
            ConnectionClosed: The connection has ended.
            TypeError: `room` is not a str.
            ValueError: `room` is empty or not a valid pattern, or the connection belongs to another
                event loop than the running one.
        """
        driver = self._find_driver(websocket)
        if driver is None:
            if _has_extension(websocket):
                raise ConnectionClosedError(None, None)
            driver = self._make_driver(websocket, send)
        return self._topics.subscribe(driver, websocket, room)

    async def leave(self, websocket: AsgiWebSocket, room: str) -> bool:
        """Let a connection leave a room.

        Args:
            websocket: The connection.
            room: The room, as it was passed to `join`.

        Returns:
            False if it is no member.
        """
        driver = self._find_driver(websocket)
        return driver is not None and self._topics.unsubscribe(driver, room)

    def members(self, room: str) -> list[AsgiWebSocket]:
        """Return the connections that get the messages of a room.

        Args:
            room: The name of a room, not a pattern.
        """
        return self._topics.subscribers(room)

    def publish(
        self,
        room: str,
        message: Data,
        *,
        exclude: AsgiWebSocket | Iterable[AsgiWebSocket] = (),
        text: bool | None = None,
    ) -> int:
        """Send a message to the members of a room, without waiting.

        Args:
            room: The room.
            message: Text as `str`, binary as a bytes-like object.
            exclude: A connection that does not get it, or several.
            text: Whether it is sent as text; by default the type decides.

        Returns:
            The number of members that get the message, now or when there is room.

        Raises:
            TypeError: `message` is neither text nor binary, or `room` is not a str.
            ValueError: `room` is empty, a pattern, or has too many levels.
            TextError: The text is not UTF-8.
        """
        return self._topics.publish(room, Broadcast(message, text, self._compression), self._drivers_of(exclude))

    def publish_threadsafe(
        self,
        room: str,
        message: Data,
        *,
        exclude: AsgiWebSocket | Iterable[AsgiWebSocket] = (),
        text: bool | None = None,
    ) -> None:
        """As `publish`, which may be called from any thread, without the number of members.

        Args:
            room: See `publish`.
            message: See `publish`.
            exclude: See `publish`.
            text: See `publish`.
        """
        self.publish(room, message, exclude=exclude, text=text)

    def _find_driver(self, websocket: AsgiWebSocket) -> TopicDriver | None:
        if _has_extension(websocket):
            driver: TopicDriver | None = websocket.scope["extensions"][EXTENSION]["driver"]()
            return driver  # None after the end
        return self._plain.get(id(websocket.scope))

    def _drivers_of(self, websockets: AsgiWebSocket | Iterable[AsgiWebSocket]) -> set[TopicDriver]:
        # Starlette's WebSocket is iterable too.
        several: Any = (websockets,) if hasattr(websockets, "scope") else websockets
        drivers = {self._find_driver(websocket) for websocket in several}
        return {driver for driver in drivers if driver is not None}

    def _make_driver(self, websocket: AsgiWebSocket, send: Send | None) -> PlainDriver:
        """Return the driver of a connection whose server is not framewire's."""
        if not self._fallback_logged:
            self._fallback_logged = True
            logger.info(
                "messages to rooms are sent one by one: the server is not uvicorn with "
                "--ws framewire.adapters.uvicorn:WebSocketProtocol"
            )
        send = send or getattr(websocket, "base_send", None) or websocket.send  # type: ignore[attr-defined]
        driver = self._plain[id(websocket.scope)] = PlainDriver(send, websocket.scope)

        def forget(_: object) -> None:
            del self._plain[id(driver.scope)]

        if driver.owner is None:
            driver.call_when_lost(forget)
        else:  # not before, so that a connection whose `send` has failed cannot join again
            driver.owner.add_done_callback(forget)
        return driver


def _has_extension(websocket: AsgiWebSocket) -> bool:
    return EXTENSION in (websocket.scope.get("extensions") or {})


class PlainDriver:
    """Sends messages by the `send` of an ASGI server, in a task that runs while there are any.

    It stands for the driver, the session and the writer of a connection. As the write buffer of a
    transport, its queue is full above `write_limit` bytes.

    Args:
        send: The `send` of the connection.
        scope: The scope of the connection.
    """

    opened = True
    message_open = encoding = False
    settings = _SETTINGS

    def __init__(self, send: Send, scope: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.scope = scope
        self.session = self.writer = self
        self.state = State.OPEN
        self.transport_lost = False
        self.write_paused = False
        self.unsent = 0  # bytes of the messages in the queue, in frames
        self._send = send
        self._queue: deque[tuple[Event, int]] = deque()
        self._paused_size = 0
        self._when_room: list[Callable[[], object]] = []  # called once the queue has room
        self._task: asyncio.Task[None] | None = None
        self._when_lost: list[Callable[[PlainDriver], object]] = []
        #: The task that has joined a room first.
        self.owner = asyncio.current_task()
        if self.owner is not None:
            self.owner.add_done_callback(self._lose)

    @property
    def blocked(self) -> bool:
        """Whether the queue is full."""
        return self.write_paused

    # As a session.

    def error(self) -> ConnectionClosedError:
        """Return the exception for a connection that has ended."""
        return ConnectionClosedError(None, None)

    def keeps_up(self, waiting: int) -> bool:
        """See `Session.keeps_up`."""
        return not self.write_paused or self.settings.keeps_up(waiting, self._paused_size)

    def check_size(self, size: int) -> None:
        """Accept every size: limits are those of the server."""

    def send_frame_of(self, frames: dict[object, bytes]) -> bool:
        """Leave the message to `send_shared`."""
        return False

    def send_shared(self, message: SharedMessage) -> None:
        """Queue a message."""
        content = message.content
        # With its header, so that empty messages fill the queue too.
        self._queue_message(content.decode() if message.is_text else content, len(content) + _HEADER)

    def send(self, message: Data, text: bool | None = None, *, compress: bool | None = None) -> None:
        """Queue a message."""
        self.send_shared(SharedMessage(message, text))

    def _queue_message(self, data: str | bytes, size: int) -> None:
        self._queue.append(({"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data}, size))
        self.unsent += size
        if self.unsent > self.settings.write_marks[0] and not self.write_paused:
            self.write_paused, self._paused_size = True, self.unsent

    # As a writer.

    def defer(self) -> None:
        """Wait for `flush`."""

    def flush(self) -> None:
        """Start a task that sends the queued messages."""
        if self._task is None and self._queue:
            self._task = self.loop.create_task(self._send_queue())

    async def _send_queue(self) -> None:
        try:
            while self._queue:
                event, size = self._queue[0]
                await self._send(event)
                self._queue.popleft()
                self.unsent -= size
                if self.write_paused and self.unsent <= self.settings.write_marks[1]:
                    self.write_paused = False
                    self._call_when_room()
        except Exception as error:  # each server and framework has exceptions of its own for lost connections
            logger.debug("a message to a room was not sent: %r", error)
            self._lose()
        finally:
            self._task = None

    def call_in_turn(self, function: Callable[[], object]) -> None:
        """Call a function once the queue has room, or the connection is lost."""
        self._when_room.append(function)
        if not self.write_paused:
            self._call_when_room()

    def _call_when_room(self) -> None:
        while self._when_room and not self.write_paused:
            self._when_room.pop(0)()

    # As a driver.

    def start_closing(self, code: int | None, reason: str) -> None:
        """Close after the message that is being sent; those that wait are discarded."""
        self.state = State.CLOSING
        while len(self._queue) > (self._task is not None):
            self.unsent -= self._queue.pop()[1]
        self._queue.append(({"type": "websocket.close", "code": int(code or 1000), "reason": reason}, 0))
        self.flush()

    def call_when_lost(self, callback: Callable[[PlainDriver], object]) -> None:
        """Call `callback` with this object when the connection has ended."""
        self._when_lost.append(callback)

    def _lose(self, owner: object = None) -> None:
        """Note that the connection has ended: its task is done, or nothing can be sent."""
        if self.transport_lost:
            return
        self.transport_lost = True
        self.state = State.CLOSED
        self.write_paused = False
        self._queue.clear()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._call_when_room()
        for callback in self._when_lost:
            callback(self)
