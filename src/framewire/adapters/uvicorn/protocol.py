"""One connection between uvicorn's transport and an ASGI application.

    transport ─ buffer_updated ─▶ Stream ─ events ─▶ queue ─▶ receive() ─▶ application
    transport ◀──────── write ─── Stream ◀─────────────────── send() ◀──── application

The application sees ASGI's WebSocket, spec version 2.4, with `websocket.http.response`; uvicorn sees the interface of
its own classes. Neither websockets nor wsproto has to be installed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections import deque
from contextlib import suppress
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected, get_client_addr, get_path_with_query_string
from uvicorn.server import ServerState

from ...asyncio.read_buffer import TakesTurns, read_buffer
from ...errors import HandshakeError
from ...http.request_checks import Offer
from ...http.server_handshake import MAX_TRAILING, ServerHandshake
from ...protocol.constants import SERVER, CloseCode, State
from ...protocol.events import Close, Event, Failure, Pong
from ...protocol.stream import Stream
from ...session.settings import QUEUE_SIZE, REPLIES_LIMIT
from .opening import Header, format_acceptance, format_response, make_scope, read_by_http
from .waiters import Waiters

__all__ = ["WebSocketProtocol"]

#: What one read may bring, in bytes: what the queue may hold above its limits.
_READ_SIZE: Final = 1 << 16

#: `receive` lets other tasks run after this many messages that it did not have to wait for.
MESSAGES_PER_TURN: Final = 256

#: Who may connect is for the application to say: uvicorn does not look at Origin.
_ANY_ORIGIN: Final = (None, re.compile(".*"))


class WebSocketProtocol(TakesTurns, asyncio.BufferedProtocol):
    """One WebSocket connection of uvicorn, from the request that its HTTP parser hands over to the end.

    Obeys `ws_max_size` (bytes of one message), `ws_max_queue` (messages that wait for the application before reading
    stops), `ws_ping_interval`, `ws_ping_timeout` (seconds, None for never) and `ws_per_message_deflate`.
    """

    #: Seconds that the peer has to answer a close frame, and to end TCP; then the connection is cut.
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
        self.config = config
        self.loop = _loop or asyncio.get_event_loop()
        self.logger = logging.getLogger("uvicorn.error")
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.scope: dict[str, Any] = {}
        self._app_state = app_state
        self._connections = server_state.connections
        self._tasks = server_state.tasks
        self._default_headers = server_state.default_headers
        self._stream = Stream(SERVER, max_message_size=config.ws_max_size)
        #: CLOSING: the application has ended the connection; CLOSED: the peer, a failure or the network has.
        self._state = State.CONNECTING
        # The opening handshake.
        self._handshake = ServerHandshake()
        self._offer = Offer([], [])
        self._early = bytearray()
        self._response: tuple[int, list[Header]] | None = None
        self._body = bytearray()
        # Receiving.
        self._buffer = read_buffer(self.loop)[:_READ_SIZE]
        self._connected = False
        self._messages: deque[str | bytes] = deque()
        self._queued = 0
        self._taken = 0
        self._held = False
        self._high = config.ws_max_queue
        self._disconnect: dict[str, Any] | None = None
        self._receivers = Waiters()
        # Sending.
        self._full = False
        self._senders = Waiters()
        self._unread_replies = 0
        # Timers, all in seconds.
        self.close_timer: asyncio.TimerHandle | None = None
        self.ping_timer: asyncio.TimerHandle | None = None
        self.ping_sent_at = 0.0
        self._round_trip = 0.0
        self._pong_timer: asyncio.TimerHandle | None = None
        self._ping: bytes | None = None

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._connections.add(cast(Any, self))
        self._early += read_by_http(self.transport)

    def data_received(self, data: bytes) -> None:
        """Takes the head of the request, which uvicorn hands over like this, and whatever follows."""
        if self._handshake.request is None:
            self._take_request(data)
        elif self._state is State.CONNECTING:
            self._early += data
            self._regulate()
        else:
            self._take_events(self._stream.receive(data))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._state is State.CONNECTING:
            self.data_received(bytes(self._buffer[:nbytes]))
        else:
            self._take_events(self._stream.receive(self._buffer[:nbytes]))
            if nbytes == _READ_SIZE:
                self._yield_turn()

    def eof_received(self) -> None:
        """Lets the transport close itself once its buffer is flushed."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport.close()  # what Python 3.10 does not do for TLS when the peer ended it
        self._connections.discard(cast(Any, self))
        self._stop_timers()
        self._ended(CloseCode.ABNORMAL_CLOSURE)
        self._state = State.CLOSED
        self.resume_writing()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._unread_replies = 0
        self._senders.wake()
        if self._held:
            self._regulate()

    def shutdown(self) -> None:
        """Ends the connection because the server stops (1012, or status 500 instead of an answer)."""
        self._stop_timers()
        if self._state is State.OPEN:
            self.transport.write(self._stream.close(CloseCode.SERVICE_RESTART))
            self._state = State.CLOSED
            self._ended(CloseCode.SERVICE_RESTART)
        elif self._state is State.CONNECTING:
            self._end_response()
        self.transport.close()

    # The opening handshake.

    def _take_request(self, data: bytes) -> None:
        """Checks the request (4.2.1) and starts the application."""
        handshake = self._handshake
        try:
            request = handshake.receive(data)
            if request is None:
                return
            self._offer = handshake.check(origins=_ANY_ORIGIN)
        except HandshakeError as error:
            self._state = State.CLOSED
            headers = [(name.encode(), value.encode()) for name, value in error.headers]
            self._write_response(error.status, headers, error.reason.encode())
            return
        self._early[:0] = handshake.trailing
        self.scope = make_scope(self.config, self.transport, request, self._offer, self._app_state)
        task = self.loop.create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _accept(self, message: Any) -> None:
        """Answers with 101 and begins with the frames."""
        request = self._handshake.request
        assert request is not None
        self._log("[accepted]")
        config = self.config
        headers = [*self._default_headers, *message.get("headers", ())]
        head, codecs = format_acceptance(
            request, message.get("subprotocol"), self._offer, config.ws_per_message_deflate, headers
        )
        if codecs:
            self._stream = Stream(SERVER, max_message_size=config.ws_max_size, extensions=codecs)
        self._state = State.OPEN
        self.transport.write(head)
        if config.ws_ping_interval is not None and config.ws_ping_interval > 0:
            self._schedule_ping()
        early, self._early = self._early, bytearray()
        self._take_events(self._stream.receive(early))

    def _refuse(self, status: int, headers: list[Header], body: bytes) -> None:
        """Answers with something else than 101, and closes."""
        self._state = State.CLOSING
        self._ended(CloseCode.ABNORMAL_CLOSURE)
        self._write_response(status, headers, body)

    def _end_response(self) -> None:
        """Answers with the response that the application began, or that it failed if it began none."""
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
        """Runs the application, and closes the transport when it is done."""
        try:
            result: Any = await self.config.loaded_app(cast(Any, self.scope), self.receive, self.send)
        except ClientDisconnected:
            pass
        except BaseException:
            self.logger.exception("Exception in ASGI application\n")
        else:
            if self._state is State.CONNECTING:
                self.logger.error("ASGI callable returned without completing handshake.")
            elif result is not None:
                self.logger.error("ASGI callable should return None, but returned '%s'.", result)
        if self._state is State.CONNECTING:
            self._end_response()
        if self.close_timer is None:
            self.transport.close()

    async def receive(self) -> dict[str, Any]:
        """The next event for the application; `websocket.disconnect` again and again at the end."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        if self._taken >= MESSAGES_PER_TURN:
            self._taken = 0
            await asyncio.sleep(0)
        while not self._messages:
            if self._disconnect is not None:
                return self._disconnect.copy()
            self._taken = 0
            await self._receivers.wait(self.loop)
        self._taken += 1
        message = self._messages.popleft()
        self._queued -= len(message)
        if self._held:
            self._regulate()
        return {"type": "websocket.receive", "text" if type(message) is str else "bytes": message}

    async def send(self, message: Any) -> None:
        """Does what an event of the application says, as soon as the transport has room.

        Raises ClientDisconnected, an OSError, if the peer is gone, RuntimeError for an event out of turn.
        """
        while self._full:
            await self._senders.wait(self.loop)
        kind = message["type"]
        if self._state is State.OPEN:
            if kind == "websocket.send":
                data = message.get("bytes")
                if data is None:
                    data = message.get("text")
                if data is not None:
                    self.transport.write(self._stream.send(data))
            elif kind == "websocket.close":
                self._close(message.get("code", 1000), message.get("reason") or "")
            else:
                raise RuntimeError(f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'.")
        elif self._state is State.CLOSED:
            raise ClientDisconnected
        elif self._state is State.CLOSING:
            raise RuntimeError(f"Unexpected ASGI message '{kind}', after sending 'websocket.close'.")
        else:
            self._answer(kind, message)

    def _answer(self, kind: str, message: Any) -> None:
        """Does what an event says that answers the request."""
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

    # Frames.

    def _take_events(self, events: list[Event]) -> None:
        """Queues the messages of one read, writes what the stream replies, and wakes the application once."""
        if self._state is State.CLOSING:  # the application wants no more messages
            events = [event for event in events if not isinstance(event, (str, bytes))]
        for event in events:
            kind = type(event)
            if kind is str or kind is bytes:
                self._messages.append(event)  # type: ignore[arg-type]
                self._queued += len(event)  # type: ignore[arg-type]
            elif isinstance(event, Pong):
                self._pong_received(event.payload)
            elif isinstance(event, (Close, Failure)):
                self._ended(event.code, event.reason)
        stream = self._stream
        replies = stream.pending()
        if replies:
            self.transport.write(replies)
            if self._full:
                self._unread_replies += len(replies)
        if stream.state is State.OPEN:
            self._receivers.wake()
        else:
            self._take_end()
        self._regulate()

    def _take_end(self) -> None:
        """After the peer's close frame, or a failure."""
        if self._stream.close_code is None or self.transport.is_closing():
            return
        if self._state is State.OPEN:
            self._state = State.CLOSED
        if self._stream.clean:
            self._stop_timers()
            self.transport.close()
        else:
            self._finish()

    def _finish(self) -> None:
        """Ends TCP after the last frame (7.1.1).

        To close a socket with unread input resets the connection, and the peer may lose the close frame. So input is
        discarded until the peer ends its direction, for at most `close_timeout` seconds.
        """
        timer, self.close_timer = self.close_timer, None  # the first deadline holds
        self._stop_timers()
        self.close_timer = timer or self.loop.call_later(self.close_timeout, self._cut)
        if self.transport.can_write_eof():
            with suppress(OSError):  # the peer has ended both directions already
                self.transport.write_eof()
        else:
            self.transport.close()

    def _close(self, code: int, reason: str) -> None:
        """Sends a close frame and gives the peer `close_timeout` seconds to answer."""
        self.transport.write(self._stream.close(code, reason))
        self._state = State.CLOSING
        self._stop_timers()
        self._ended(code, reason)
        self._regulate()
        self.close_timer = self.loop.call_later(self.close_timeout, self._cut)

    def _cut(self) -> None:
        self.transport.abort()

    def _ended(self, code: int, reason: str | None = None) -> None:
        """Notes how the connection ended, for the application; the first to say so is right."""
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": int(code)}
            if reason is not None:
                self._disconnect["reason"] = reason
        self._receivers.wake()

    def _regulate(self) -> None:
        """Reads from the transport while there is room, and always on the way to the end."""
        if self._state is State.OPEN:
            share = 4 if self._held else 1  # once held, until three quarters are taken
            hold = (
                len(self._messages) > self._high // share
                or (self._queued > QUEUE_SIZE // share and len(self._messages) > 0)
                or self._unread_replies > REPLIES_LIMIT
            )
        else:
            hold = self._state is State.CONNECTING and len(self._early) > MAX_TRAILING
        if hold != self._held and not self.transport.is_closing():
            self._held = hold
            (self.transport.pause_reading if hold else self.transport.resume_reading)()

    # Keepalive.

    def _schedule_ping(self) -> None:
        """The round trip counts as a part of the interval."""
        assert self.config.ws_ping_interval is not None
        delay = max(0.0, self.config.ws_ping_interval - self._round_trip)
        self.ping_timer = self.loop.call_later(delay, self._send_ping)

    def _send_ping(self) -> None:
        self._ping = os.urandom(4)
        self.ping_sent_at = self.loop.time()
        self.transport.write(self._stream.ping(self._ping))
        if self.config.ws_ping_timeout is None:
            self._schedule_ping()
        else:
            self._pong_timer = self.loop.call_later(self.config.ws_ping_timeout, self._give_up)

    def _pong_received(self, payload: bytes) -> None:
        if payload != self._ping:
            return
        self._ping = None
        self._round_trip = self.loop.time() - self.ping_sent_at
        if self._pong_timer is not None:
            self._pong_timer.cancel()
            self._pong_timer = None
            self._schedule_ping()

    def _give_up(self) -> None:
        reason = "keepalive ping timeout"
        self.transport.write(self._stream.fail(CloseCode.INTERNAL_ERROR, reason))
        self._state = State.CLOSED
        self._ended(CloseCode.INTERNAL_ERROR, reason)
        self._regulate()
        self._finish()

    def _stop_timers(self) -> None:
        for timer in (self.close_timer, self.ping_timer, self._pong_timer):
            if timer is not None:
                timer.cancel()
        self.close_timer = self.ping_timer = self._pong_timer = None
        self._ping = None
