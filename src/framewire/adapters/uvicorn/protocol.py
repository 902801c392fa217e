"""One connection between uvicorn's transport and an ASGI application.

    transport ─▶ Driver ─▶ Session ─▶ queue ─▶ receive() ─▶ application
    transport ◀─ TransportWriter ◀─ Session ◀─ send() ◀──── application

The application sees ASGI's WebSocket, spec version 2.4, with `websocket.http.response`; uvicorn sees the interface of
its own classes. Neither websockets nor wsproto has to be installed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected, get_client_addr, get_path_with_query_string
from uvicorn.server import ServerState

from ...asyncio.driver import Driver, Opening
from ...asyncio.timer import SharedTimer
from ...errors import HandshakeError
from ...http.request_checks import Offer
from ...http.server_handshake import MAX_TRAILING, ServerHandshake
from ...http.server_policy import ServerPolicy
from ...protocol.constants import SERVER, CloseCode, State
from ...protocol.events import Event
from ...session.session import Session
from ...session.settings import ConnectionSettings
from .opening import Header, check_version, format_acceptance, format_response, make_scope, read_by_http
from .waiters import Waiters

__all__ = ["WebSocketProtocol"]

#: `receive` lets other tasks run after this many messages that it did not have to wait for.
MESSAGES_PER_TURN: Final = 256

#: The application decides who may connect: uvicorn does not look at Origin.
_POLICY: Final = ServerPolicy(origins=None)

#: The timer of all connections of one server.
_timers: WeakKeyDictionary[Config, SharedTimer] = WeakKeyDictionary()


class WebSocketProtocol(Driver):
    """One WebSocket connection of uvicorn, from the request that its HTTP parser hands over to the end.

    Obeys `ws_max_size` (bytes of one message), `ws_max_queue` (messages that wait for the application before reading
    stops), `ws_ping_interval`, `ws_ping_timeout` (seconds, None for never) and `ws_per_message_deflate`.
    """

    #: Seconds that the peer has to answer a close frame, and to end TCP; then the connection is aborted.
    close_timeout = 10.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        interval = config.ws_ping_interval
        settings = ConnectionSettings(
            max_size=config.ws_max_size,
            max_queue=config.ws_max_queue,
            ping_interval=interval if interval is not None and interval > 0 else None,
            ping_timeout=config.ws_ping_timeout,
            close_timeout=self.close_timeout,
            write_limit=1 << 16,
            max_unsent=None,  # `send` waits for room
        )
        timer = _timers.get(config)
        if timer is None:
            timer = _timers[config] = SharedTimer(settings)
        super().__init__(SERVER, settings, timer, True, self)
        self.opening = _UvicornOpening(self)
        self.config = config
        self.logger = logging.getLogger("uvicorn.error")
        self.scope: dict[str, Any] = {}
        self._app_state = app_state
        self._connections = server_state.connections
        self._tasks = server_state.tasks
        self._default_headers = server_state.default_headers
        #: CLOSING: the application has ended the connection; CLOSED: the peer, a failure or the network has.
        self._app_view = State.CONNECTING
        # The opening handshake.
        self._handshake = ServerHandshake()
        self._offer = Offer([], [])
        self._early = bytearray()  # bytes after the request
        self._response: tuple[int, list[Header]] | None = None
        self._body = bytearray()
        # Receiving.
        self._connected = False
        self._taken = 0
        self._disconnect: dict[str, Any] | None = None
        self._receivers = Waiters()

    # uvicorn's side.

    def data_received(self, data: bytes) -> None:
        """Process the head of the request, which uvicorn hands over like this."""
        self.opening.receive(data)

    def shutdown(self) -> None:
        """End the connection because the server stops (1012, or status 500 instead of an answer)."""
        if self._app_view is State.OPEN:
            self._app_view = State.CLOSED
            self._note_disconnect(CloseCode.SERVICE_RESTART)
            self._close(CloseCode.SERVICE_RESTART, "")
        elif self._app_view is State.CONNECTING:
            self._end_response()
        self.transport.close()

    # The opening handshake.

    def begin(self) -> None:
        """Process the hand-over of the transport by uvicorn's HTTP protocol."""
        self._connections.add(cast(Any, self))
        self._early += read_by_http(self.transport)

    def receive_head(self, data: bytes) -> None:
        """Process bytes before the answer to the request."""
        if self._handshake.request is None:
            self._take_request(data)
        elif self._app_view is State.CONNECTING:
            self._early += data
            if len(self._early) > MAX_TRAILING:
                self.transport.pause_reading()

    def _take_request(self, data: bytes) -> None:
        """Check the request (4.2.1) and start the application."""
        handshake = self._handshake
        try:
            request = handshake.receive(data)
            if request is None:
                return
            check_version(self.transport)
            self._offer = _POLICY.check(handshake)
        except HandshakeError as error:
            self._app_view = State.CLOSED
            headers = [(name.encode(), value.encode()) for name, value in error.headers]
            self._write_response(error.status, headers, error.reason.encode())
            return
        self._early[:0] = handshake.trailing
        self.scope = make_scope(self.config, self.transport, request, self._offer, self._app_state)
        task = self.loop.create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _accept(self, message: Any) -> None:
        """Answer with 101 and begin with the frames."""
        request = self._handshake.request
        assert request is not None
        self._log("[accepted]")
        headers = [*self._default_headers, *message.get("headers", ())]
        compress = self.config.ws_per_message_deflate
        head, codecs = format_acceptance(request, message.get("subprotocol"), self._offer, compress, headers)
        self._app_view = State.OPEN
        self.transport.write(head)
        early, self._early = bytes(self._early), bytearray()
        self.open(early, codecs, lambda session: None)
        if len(early) > MAX_TRAILING and self.session.reading:
            self.transport.resume_reading()

    def _refuse(self, status: int, headers: list[Header], body: bytes) -> None:
        """Answer with something else than 101, and close."""
        self._app_view = State.CLOSING
        self._note_disconnect(CloseCode.ABNORMAL_CLOSURE)
        self._write_response(status, headers, body)

    def _end_response(self) -> None:
        """Answer with the response that the application began; that it failed, if it began none."""
        if self._response is None:
            self._refuse(500, [], b"Internal Server Error")
        else:
            self._refuse(*self._response, bytes(self._body))

    def _write_response(self, status: int, headers: list[Header], body: bytes) -> None:
        self.transport.write(format_response(status, headers, body, self._default_headers))
        self.transport.close()

    def _log(self, outcome: str) -> None:
        scope = cast(Any, self.scope)
        self.logger.info('%s - "WebSocket %s" %s', get_client_addr(scope), get_path_with_query_string(scope), outcome)

    # The application's side.

    async def _run(self) -> None:
        """Run the application, and close the transport when it is done."""
        try:
            result: Any = await self.config.loaded_app(cast(Any, self.scope), self.receive, self.send)
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
            self._end_response()
        if not self.opened or self.session.deadline is None:
            self.transport.close()

    async def receive(self) -> dict[str, Any]:
        """Return the next event for the application; `websocket.disconnect` again and again at the end."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        if self._taken >= MESSAGES_PER_TURN:
            self._taken = 0
            await asyncio.sleep(0)
        while (message := self._take_message()) is None:
            if self._disconnect is not None:
                return self._disconnect.copy()
            self._taken = 0
            await self._receivers.wait(self.loop)
        self._taken += 1
        return {"type": "websocket.receive", "text" if type(message) is str else "bytes": message}

    def _take_message(self) -> str | bytes | None:
        if not self.opened:
            return None
        session = self.session
        message = session.queue.take_message()  # type: ignore[union-attr]
        if message is None and session.stream.failing is not None:
            session.settle(self.now())
            self.deliver([])
        elif not session.reading:
            self.make_room()
        return message

    async def send(self, message: Any) -> None:
        """Do what an event of the application says, as soon as the transport has room.

        Raises:
            ClientDisconnected: The peer is gone; an OSError.
            RuntimeError: The event is out of turn.
        """
        kind = message["type"]
        if self.opened and self.session.write_paused:
            await self.writer.drain()
        if self._app_view is State.OPEN:
            if kind == "websocket.send":
                data = message.get("bytes")
                if data is None:
                    data = message.get("text")
                if data is not None:
                    self._send(data)
            elif kind == "websocket.close":
                code, reason = message.get("code", 1000), message.get("reason") or ""
                self._close(code, reason)
                self._app_view = State.CLOSING
                self._note_disconnect(code, reason)
                self.session.discard_messages()
            else:
                raise RuntimeError(f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'.")
        elif self._app_view is State.CLOSED:
            if kind != "websocket.close":  # the peer was first, which is no fault of the application
                raise ClientDisconnected
        elif self._app_view is State.CLOSING:
            raise RuntimeError(f"Unexpected ASGI message '{kind}', after sending 'websocket.close'.")
        else:
            self._answer(kind, message)

    def _send(self, data: str | bytes) -> None:
        writer = self.writer
        if writer.uncorked and writer.send_whole(data):
            writer.uncorked = False
        else:
            self.session.send(data)
            writer.cork()

    def _close(self, code: int, reason: str) -> None:
        self.session.close(code, reason, self.now())
        self.update()

    def _answer(self, kind: str, message: Any) -> None:
        """Do what an event says that answers the request."""
        if self._response is not None:
            if kind != "websocket.http.response.body":
                raise RuntimeError(f"Expected ASGI message 'websocket.http.response.body' but got '{kind}'.")
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                self._end_response()
        elif kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._log("403")
            self._refuse(403, [], b"")
        elif kind == "websocket.http.response.start":
            status = message["status"]
            if not 200 <= status < 600:
                raise RuntimeError(f"Invalid HTTP status code '{status}' in response.")
            self._log(str(status))
            self._response = status, list(message.get("headers", ()))
        else:
            raise RuntimeError(
                "Expected ASGI message 'websocket.accept', 'websocket.close' or 'websocket.http.response.start' "
                f"but got '{kind}'."
            )

    # What the session has received.

    def deliver(self, events: list[Event]) -> None:
        """Have the session process the events of a read, and wake the application once."""
        session = self.session
        session.process(events, self.now())
        self.update()
        if session.over:
            self._note_end(session)
        self.wake_receiver()

    def wake_receiver(self) -> None:
        super().wake_receiver()
        self._receivers.wake()

    def _note_end(self, session: Session) -> None:
        """Take note, for the application, of how the connection ended."""
        if self._app_view is State.OPEN:
            self._app_view = State.CLOSED
        state = session.close_state
        end = state.rcvd or state.failure or state.sent
        if end is None or end.code == CloseCode.ABNORMAL_CLOSURE:
            self._note_disconnect(CloseCode.ABNORMAL_CLOSURE)
        else:
            self._note_disconnect(end.code, end.reason)

    def _note_disconnect(self, code: int, reason: str | None = None) -> None:
        """Take note of the event that ends the connection for the application; the first one counts."""
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": int(code)}
            if reason is not None:
                self._disconnect["reason"] = reason
        self._receivers.wake()

    def lost(self) -> None:
        """Process the loss of the transport."""
        self._connections.discard(cast(Any, self))
        self._note_disconnect(CloseCode.ABNORMAL_CLOSURE)
        self._app_view = State.CLOSED


class _UvicornOpening(Opening):
    """The opening handshake between uvicorn's HTTP protocol and the application."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: WebSocketProtocol) -> None:
        self._protocol = protocol

    def connected(self) -> None:
        self._protocol.begin()

    def receive(self, data: bytes) -> None:
        self._protocol.receive_head(data)
