"""One connection between uvicorn's transport and an ASGI application.

    transport ─▶ Driver ─▶ Session ─▶ queue ─▶ receive() ─▶ application
    transport ◀─ TransportWriter ◀─ Session ◀─ send() ◀──── application

The application sees ASGI's WebSocket, spec version 2.4, with `websocket.http.response`; uvicorn
sees the interface of its own classes. Neither websockets nor wsproto has to be installed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState

from ...asyncio.driver import Driver
from ...asyncio.timer import SharedTimer
from ...asyncio.transport_writer import MAX_CORKED, MIN_UNCORKED
from ...http.server_handshake import MAX_TRAILING
from ...protocol.constants import SERVER, CloseCode, State
from ...protocol.events import Event
from ...protocol.permessage_deflate import PerMessageDeflate
from ...session.message_queue import Message, MessageQueue
from ...session.settings import ConnectionSettings
from .configuration import read_settings
from .opening import AsgiOpening

__all__ = ["WebSocketProtocol"]

#: `receive` lets other tasks run after this many messages that it did not have to wait for.
MESSAGES_PER_TURN: Final = 256

#: A state that is compared once or twice a message: before Python 3.12, the lookup of an enum member
#: is slower than a function call.
_OPEN: Final = State.OPEN

#: For each server the settings of its connections, and their timer.
_shared: Final[WeakKeyDictionary[ServerState, tuple[ConnectionSettings, SharedTimer]]] = WeakKeyDictionary()

if TYPE_CHECKING:
    # The parameter `ws` of uvicorn is typed as a subclass of asyncio.Protocol. At run time it must
    # not be one: uvloop would not read into the buffer of such a protocol.
    class _Driver(Driver, asyncio.Protocol):
        pass
else:
    _Driver = Driver


class WebSocketProtocol(_Driver):
    """One WebSocket connection of uvicorn, from the request that its HTTP protocol hands over to
    the end of TCP.

    Pass it as `ws`. It follows `ws_max_size` (bytes of one message), `ws_max_queue` (messages that
    may wait for the application before reading stops), `ws_ping_interval` (seconds, 0 or None: no
    pings), `ws_ping_timeout` (seconds, None: never) and `ws_per_message_deflate`. A server whose
    settings are out of range does not start.
    """

    # Class attributes, because uvicorn has no settings for them.

    #: Seconds that the peer has for the closing handshake and the end of TCP; then the connection
    #: is aborted.
    close_timeout: float | None = 10.0
    #: Whether the close frame after a violation by the peer (1002, 1007, 1009) says what was wrong;
    #: False sends the code alone.
    send_close_reasons: bool = True
    #: The window bits, memory level and threshold of compression, if `ws_per_message_deflate` is
    #: set; None for no compression. By default the window and memory level of uvicorn's own classes.
    permessage_deflate: PerMessageDeflate | None = PerMessageDeflate()

    opening: AsgiOpening

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        super().__init__(SERVER, *self._share(config, server_state), True, self)
        self.opening = AsgiOpening(self, config, self._choose_deflate(config), server_state, app_state, self._start)
        self.logger = logging.getLogger("uvicorn.error")
        self._app = config.loaded_app
        self._connections = server_state.connections
        self._tasks = server_state.tasks
        #: The state as the application knows it. CONNECTING: it has not answered the request;
        #: CLOSING: it has ended the connection; CLOSED: the peer, a violation, the network or the
        #: server has.
        self._app_view = State.CONNECTING
        self._connected = False  # the application has received `websocket.connect`
        self._taken = 0  # messages received without waiting
        self._turns: list[asyncio.Future[None]] = []  # of further tasks that wait for an event
        self._disconnect: dict[str, Any] | None = None  # the event that tells the application of the end

    @classmethod
    def read_settings(cls, config: Config) -> ConnectionSettings:
        """Return the settings of all connections of a server.

        Raises:
            TypeError: A setting has the wrong type.
            ValueError: A setting is out of range. `ws_ping_timeout` has to be more than 0 seconds.
        """
        cls._choose_deflate(config)
        return read_settings(config, cls.close_timeout, cls.send_close_reasons)

    @classmethod
    def _choose_deflate(cls, config: Config) -> PerMessageDeflate | None:
        """Return the compression to agree to. Raises TypeError for a bad one."""
        deflate = cls.permessage_deflate
        if deflate is not None and not isinstance(deflate, PerMessageDeflate):
            raise TypeError(f"permessage_deflate is PerMessageDeflate or None, not {type(deflate).__name__}")
        return deflate if config.ws_per_message_deflate else None

    @classmethod
    def _share(cls, config: Config, server_state: ServerState) -> tuple[ConnectionSettings, SharedTimer]:
        """Return the settings of the connections of one server, and their timer."""
        shared = _shared.get(server_state)
        if shared is None:
            settings = cls.read_settings(config)
            shared = _shared[server_state] = settings, SharedTimer(settings)
        return shared

    # What uvicorn calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport from uvicorn's HTTP protocol, with the limits that its write
        buffer has.
        """
        self.transport = cast(asyncio.Transport, transport)
        self._connections.add(cast(Any, self))
        self.opening.connected()

    def data_received(self, data: bytes) -> None:
        """Process the head of the request, which uvicorn hands over like this; or frames, without a
        buffer.
        """
        if self.opened:
            self.process(self.session.receive_quickly(data))
        else:
            self.opening.receive(data)

    def shutdown(self) -> None:
        """End the connection because the server stops: with 1012, or with status 500 before the
        answer.
        """
        if self._app_view is State.OPEN:
            self._note_disconnect(CloseCode.SERVICE_RESTART)
            self._close(CloseCode.SERVICE_RESTART, "", State.CLOSED)
        elif self._app_view is State.CONNECTING and not self.opening.answered:
            self._end_opening()
        self.close_transport()

    # The application.

    def _start(self, scope: dict[str, Any]) -> None:
        task = self.loop.create_task(self._run(scope))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, scope: dict[str, Any]) -> None:
        """Run the application, and end the connection when it is done."""
        try:
            result: Any = await self._app(cast(Any, scope), self.receive, self.send)
        except ClientDisconnected:
            pass
        except BaseException:
            self.logger.exception("Exception in ASGI application\n")
        else:
            if self._app_view is State.CONNECTING:
                self.logger.error("ASGI callable returned without completing handshake.")
            elif result is not None:
                self.logger.error("ASGI callable should return None, but returned '%s'.", result)
        if self._app_view is State.CONNECTING:
            self._end_opening()
        elif self.opened:
            self.session.settle(self.now())  # nobody will take the messages before a violation
            self.update()
            if self.session.state is State.OPEN:
                self.close_transport()

    def _end_opening(self) -> None:
        """Answer the request in place of the application."""
        self.opening.end()
        self._refused()

    def _refused(self) -> None:
        self._app_view = State.CLOSING
        self._note_disconnect(CloseCode.ABNORMAL_CLOSURE)

    async def receive(self) -> dict[str, Any]:
        """Return the next event for the application; at the end `websocket.disconnect`, however
        often it is called.
        """
        # Like `_receive_event`, without its calls, for a whole message of an open connection.
        if self._app_view is _OPEN and self._connected:
            session = self.session
            queue: Any = session.queue
            if not queue.items and session.quiet and self.receiver is None:
                if session.output:
                    self.writer.flush()
                self.receiver = self.waiter
                try:
                    await self.waiter
                finally:
                    self.receiver = None
                    if self._turns:
                        self._wake_turns()
                self._taken = 0
            items = queue.items
            if items and self._taken < MESSAGES_PER_TURN:
                message = items.pop()
                self._taken += 1
                queue.size -= len(message)  # no fragment: the stream joins them
                if not session.reading and session.has_room_again:
                    self.make_room()
                return {"type": "websocket.receive", "text" if type(message) is str else "bytes": message}
        return await self._receive_event()

    async def _receive_event(self) -> dict[str, Any]:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        if self._taken >= MESSAGES_PER_TURN:
            self._taken = 0
            await asyncio.sleep(0)
        while (message := self._take_message()) is None:
            if self._disconnect is not None:
                await asyncio.sleep(0)  # an application that ignores it would let no other task run
                return self._disconnect.copy()
            self._taken = 0
            await self._wait_for_event()
        self._taken += 1
        return {"type": "websocket.receive", "text" if type(message) is str else "bytes": message}

    def _take_message(self) -> Message | None:
        if not self.opened:
            return None
        session = self.session
        message = cast(MessageQueue, session.queue).take_message()
        if message is None and session.stream.failing is not None:
            session.settle(self.now())
            self.update()
        elif session.has_room_again:
            self.make_room()
        return message

    async def _wait_for_event(self) -> None:
        """Wait until there may be something to receive.

        Several tasks may wait; a message wakes them in turn.
        """
        if self.receiver is not None:
            turn = self.loop.create_future()
            self._turns.append(turn)
            try:
                await turn
            finally:
                self._turns.remove(turn)
            return
        if self.opened and self.session.output:
            self.writer.flush()  # everything that was read is answered
        self.receiver = self.waiter
        try:
            await self.waiter
        finally:
            self.receiver = None
            self._wake_turns()

    def _wake_turns(self) -> None:
        """Let the other tasks that wait look for an event."""
        for turn in self._turns:
            if not turn.done():
                turn.set_result(None)

    async def send(self, message: Any) -> None:
        """Process an event of the application, as soon as the transport has room.

        Raises:
            ClientDisconnected: The peer is gone; an OSError.
            RuntimeError: The event is out of turn.
        """
        kind = message["type"]
        if (self._app_view is _OPEN or self.opened) and self.writer.blocked:
            await self.writer.drain(whole=True)
        if self._app_view is _OPEN:
            if kind == "websocket.send":
                data = message.get("bytes")
                if data is None:
                    data = message.get("text")
                if data is not None:
                    self._send(data)
            elif kind == "websocket.close":
                self._close(message.get("code", 1000), message.get("reason") or "", State.CLOSING)
                self.session.stop_queueing()
            else:
                raise RuntimeError(f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'.")
        elif self._app_view is State.CLOSED:
            if kind != "websocket.close":  # an application that closes in any case is not at fault
                raise ClientDisconnected
        elif self._app_view is State.CLOSING:
            raise RuntimeError(f"Unexpected ASGI message '{kind}', after sending 'websocket.close'.")
        elif kind == "websocket.accept" and not self.opening.responding:
            self._accept(message)
        else:
            self.opening.refuse(kind, message)
            if self.opening.answered:
                self._refused()

    def _accept(self, message: Any) -> None:
        early, codecs = self.opening.accept(message)
        self._app_view = State.OPEN
        self.open(early, codecs, lambda session: None)
        if len(early) > MAX_TRAILING and self.session.reading:
            self.transport.resume_reading()

    def _send(self, data: str | bytes) -> None:
        writer, session = self.writer, self.session
        if writer.uncorked and writer.send_whole(data):
            writer.uncorked = False
        elif len(data) < MIN_UNCORKED or not writer.send_large(data):
            session.send_whole(data)
            if writer.uncorked or not session.handling or session.output_size > MAX_CORKED:
                writer.cork()

    def start_closing(self, code: int | None, reason: str) -> None:
        """Close in place of the application, such as for a receiver that is too slow."""
        if self._app_view is State.OPEN:
            self._close(code, reason, State.CLOSED)

    def _close(self, code: int | None, reason: str, app_view: State) -> None:
        super().start_closing(code, reason)
        self._app_view = app_view
        self._note_end()
        self.wake_receiver()

    # What the driver calls.

    def deliver(self, events: list[Event]) -> None:
        """Have the session process the events of a read, and wake the application once."""
        self.update()
        self.wake_receiver()

    def update(self) -> None:
        """Follow the session, and tell the application of the end."""
        super().update()
        if self.session.over:
            self._note_end()

    def end_output(self) -> None:
        """End our direction of TCP; both, as uvicorn does, after a closing handshake."""
        if self.opened and self.session.stream.clean:
            self.close_transport()
        else:
            super().end_output()

    def lost(self) -> None:
        """Process the loss of the transport."""
        self._connections.discard(cast(Any, self))
        self._app_view = State.CLOSED
        self._note_disconnect(CloseCode.ABNORMAL_CLOSURE)

    def _note_end(self) -> None:
        """Note how the session has ended."""
        if self._app_view is State.OPEN:
            self._app_view = State.CLOSED
        state = self.session.close_state
        end = state.rcvd or state.failure or state.sent
        if end is None or end.code == CloseCode.ABNORMAL_CLOSURE:
            self._note_disconnect(CloseCode.ABNORMAL_CLOSURE)
        else:
            self._note_disconnect(end.code, end.reason)

    def _note_disconnect(self, code: int, reason: str | None = None) -> None:
        """Note the event that tells the application of the end; the first one counts."""
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": int(code)}
            if reason is not None:
                self._disconnect["reason"] = reason
            if self.receiver is not None:
                self.receiver.wake()
