"""The server's end of one connection: its opening handshake (RFC 6455 4.2), for both APIs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property
from typing import Any, Protocol

from ..errors import HandshakeError
from ..http.http11 import Response
from ..http.server_answer import ProcessRequest, ProcessResponse, answer_at_once, answer_request
from ..http.server_handshake import CLOSING, ServerHandshake
from ..http.server_policy import ServerPolicy, make_response
from ..protocol.codecs import Codec
from ..protocol.constants import SERVER
from ..session.logs import Logger, adapt_logger, log_refusal, log_request, log_response
from ..session.session import Session
from ..session.settings import LINGER, ConnectionSettings
from .callbacks import Listener, ListenerConnection
from .connection import Connection
from .driver import Driver, Opening
from .timer import SharedTimer

__all__ = ["AnyServer", "ProcessRequest", "ProcessResponse", "ServerConnection", "ServerListenerConnection"]


class AnyServer(Protocol):
    """The server of a connection, as the connection needs it."""

    policy: ServerPolicy
    process_request: ProcessRequest | None
    process_response: ProcessResponse | None
    settings: ConnectionSettings
    logger: Logger
    closing: bool

    @property
    def timer(self) -> SharedTimer:
        """The timer of the connections in the running event loop."""

    def connected(self, connection: Any) -> bool:
        """A client has connected; return whether it may stay."""

    def opened(self, connection: Any) -> None:
        """A WebSocket is open."""

    def disconnected(self, connection: Any) -> None:
        """A client is gone."""

    def start(self, run: Coroutine[Any, Any, None], connection: Any = None) -> asyncio.Task[None]:
        """Run a task of a connection."""


class ServerOpening(Opening):
    """The server's side of the opening handshake of one connection.

    Args:
        connection: The connection that it is for.
        driver: Its driver.
        server: Its server, whose policy decides.
        opened: Called with the session, and whether messages may be compressed, once the handshake
            is done.
    """

    __slots__ = ("_connection", "_driver", "_handshake", "_opened", "_server", "_task")

    def __init__(
        self, connection: Any, driver: Driver, server: AnyServer, opened: Callable[[Session, bool], None]
    ) -> None:
        self._connection = connection
        self._driver = driver
        self._server = server
        self._opened = opened
        self._handshake: ServerHandshake | None = server.policy.new_handshake()
        self._task: asyncio.Task[None] | None = None

    def connected(self) -> None:
        if not self._server.connected(self._connection):
            self._handshake = None
            return
        # One deadline for all of it, which began with TLS: bytes that trickle in do not postpone it.
        if not self._driver.has_timeout:
            self._driver.set_timeout(self._server.settings.open_timeout, self._driver.transport.abort)

    def abandon(self) -> None:
        if self._handshake is not None:  # else the answer, a refusal, is on its way
            self._task = None  # its callback has closed the connection, and goes on
            self._driver.transport.abort()

    def lost(self, error: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._connection.request is None and self._connection.response is None:
            end = EOFError("connection closed while reading HTTP request line")
            end.__cause__ = error
            self._log_no_request(end)

    def ended(self) -> None:
        if self._connection.response is not None:
            self._log_info("connection closed")
        self._server.disconnected(self._connection)

    def close(self) -> None:
        """Refuse a client whose request has not arrived, because the server closes.

        One whose request is being answered gets its refusal from `answer_request`.
        """
        if self._handshake is None or self._connection.request is not None:
            return
        self._handshake = None
        driver = self._driver
        driver.transport.write(CLOSING)
        driver.set_timeout(LINGER, driver.transport.abort)
        if not driver.transport.is_closing():
            driver.end_output()

    def receive(self, data: bytes) -> None:
        handshake, connection, server = self._handshake, self._connection, self._server
        if handshake is None:
            return  # bytes after a refused request
        malformed = None
        try:
            request = handshake.receive(data)
        except HandshakeError as error:
            malformed = error
            self._log_no_request(error)
            if self._task is not None:  # too many bytes before the answer
                self._task.cancel()
        else:
            if request is None:
                return
            connection.request = request
            if server.logger.isEnabledFor(logging.DEBUG):
                log_request(connection.logger, "<", request)
        if malformed is None and (server.process_request is not None or server.process_response is not None):
            # Bytes after the head belong to the stream, which does not exist before the answer.
            self._driver.transport.pause_reading()
            self._task = server.start(self._answer(handshake), connection)
            return
        try:
            if malformed is None:
                answer = answer_at_once(connection, handshake, server)
            else:
                answer_request(connection, handshake, server, malformed).send(None)
        except StopIteration as done:  # it does not wait, as the callbacks are not asked
            answer = done.value
        except EOFError:
            return  # a callback has closed the connection
        self._conclude(*answer)

    async def _answer(self, handshake: ServerHandshake) -> None:
        """Answer with what the callbacks return."""
        driver = self._driver
        try:
            answer, codecs = await answer_request(self._connection, handshake, self._server)
        except EOFError:
            return  # a callback has closed the connection
        except BaseException:
            # It cannot be answered any more, unless it was, with a refusal, as too many bytes came.
            if self._handshake is not None:
                driver.transport.abort()
            raise
        self._task = None
        driver.transport.resume_reading()
        self._conclude(answer, codecs)

    def _conclude(self, answer: bytes, codecs: list[Codec]) -> None:
        """Send the answer, and if it accepts begin with the frames."""
        handshake, connection, driver = self._handshake, self._connection, self._driver
        assert handshake is not None
        self._handshake = None
        response: Response = connection.response
        if self._server.logger.isEnabledFor(logging.DEBUG):
            log_response(connection.logger, ">", response)
        if connection.request is not None:
            connection.request.headers.pack()
        response.headers.pack()
        driver.transport.write(answer)
        if response.status == 101:
            self._log_info("connection open")
            driver.open(handshake.trailing, codecs, lambda session: self._begin(session, bool(codecs)))
        else:
            if self._server.logger.isEnabledFor(logging.INFO):
                log_refusal(connection.logger, response)
            driver.refuse()

    def _log_no_request(self, error: Exception) -> None:
        if self._server.logger.isEnabledFor(logging.DEBUG):
            self._connection.logger.debug("! no valid HTTP request", exc_info=error)

    def _log_info(self, text: str) -> None:
        if self._server.logger.isEnabledFor(logging.INFO):  # else the logger of the connection is not made
            self._connection.logger.info(text)

    def _begin(self, session: Session, compressed: bool) -> None:
        self._opened(session, compressed)
        del self._opened  # to save memory
        self._server.opened(self._connection)


class ServerConnection(Connection):
    """The server's end of a connection.

    `request` is what the client sent, `response` what it was answered.
    """

    __slots__ = ("server", "subprotocols")

    def __init__(self, server: AnyServer) -> None:
        super().__init__(SERVER, server.settings, server.timer, server.logger)
        #: The `Server`.
        self.server: Any = server
        #: The subprotocols to choose from; `process_request` may replace them.
        self.subprotocols: Sequence[str] = server.policy.subprotocols
        #: The user name, set by `basic_auth`.
        self.username: str
        self._driver.opening = ServerOpening(self, self._driver, server, self.opened)

    @cached_property
    def logger(self) -> Logger:
        """The server's logger; its records have the connection as `websocket`."""
        return adapt_logger(self.server.logger, self)

    def respond(self, status: int, text: str) -> Response:
        """Return a response in plain text, for `process_request` to return.

        Args:
            status: The status code, 400 for example.
            text: The body, sent as UTF-8.
        """
        return make_response(status, text)

    async def __aenter__(self) -> ServerConnection:
        return self


class ServerListenerConnection(ListenerConnection):
    """The server's end of a connection whose events go to the server's `Listener`."""

    __slots__ = ("server", "subprotocols")

    def __init__(self, server: AnyServer, listener: Listener) -> None:
        super().__init__(SERVER, server.settings, server.timer, listener)
        #: The `Server`.
        self.server: Any = server
        #: The subprotocols to choose from; `process_request` may replace them.
        self.subprotocols: Sequence[str] = server.policy.subprotocols
        self._driver.opening = ServerOpening(self, self._driver, server, self.opened)

    @cached_property
    def logger(self) -> Logger:
        """The server's logger; its records have the connection as `websocket`."""
        return adapt_logger(self.server.logger, self)

    def respond(self, status: int, text: str) -> Response:
        """Return a response in plain text, for `process_request` to return.

        Args:
            status: The status code, 400 for example.
            text: The body, sent as UTF-8.
        """
        return make_response(status, text)
