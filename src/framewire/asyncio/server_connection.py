"""The server's end of one connection: its opening handshake (RFC 6455 4.2), for both APIs."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias

from ..errors import HandshakeError
from ..http.http11 import Request, Response
from ..http.server_handshake import ServerHandshake
from ..http.server_policy import ServerPolicy, make_response
from ..protocol.codecs import Codec
from ..protocol.constants import SERVER
from ..session.session import Session
from ..session.settings import ConnectionSettings
from .callbacks import Listener, ListenerConnection
from .connection import Connection
from .driver import Driver, Opening
from .timer import SharedTimer

__all__ = ["AnyServer", "ProcessRequest", "ProcessResponse", "ServerConnection", "ServerListenerConnection"]


ProcessRequest: TypeAlias = Callable[[Any, Request], "Awaitable[Response | None] | Response | None"]
ProcessResponse: TypeAlias = Callable[[Any, Request, Response], "Awaitable[Response | None] | Response | None"]


class AnyServer(Protocol):
    """The server of a connection, as the connection needs it."""

    policy: ServerPolicy
    process_request: ProcessRequest | None
    process_response: ProcessResponse | None
    settings: ConnectionSettings
    timer: SharedTimer
    logger: logging.Logger

    def connected(self, connection: Any) -> bool:
        """A client has connected; return whether it may stay."""

    def opened(self, connection: Any) -> None:
        """A WebSocket is open."""

    def disconnected(self, connection: Any) -> None:
        """A client is gone."""

    def start(self, run: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task of a connection."""


class ServerOpening(Opening):
    """The server's side of the opening handshake of one connection.

    Args:
        connection: The connection that it is for.
        driver: Its driver.
        server: Its server, whose policy decides.
        opened: Called with the session, and whether messages may be compressed, once the handshake is done.
    """

    __slots__ = ("_codecs", "_connection", "_driver", "_handshake", "_opened", "_server", "_task")

    def __init__(
        self, connection: Any, driver: Driver, server: AnyServer, opened: Callable[[Session, bool], None]
    ) -> None:
        self._connection = connection
        self._driver = driver
        self._server = server
        self._opened = opened
        self._handshake: ServerHandshake | None = ServerHandshake()
        self._codecs: Sequence[Codec] = ()
        self._task: asyncio.Task[None] | None = None

    def connected(self) -> None:
        if not self._server.connected(self._connection):
            self._handshake = None
            return
        # One deadline for all of it: bytes that trickle in do not postpone it.
        self._driver.set_timeout(self._server.settings.open_timeout, self._driver.transport.abort)

    def lost(self, error: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def ended(self) -> None:
        self._server.disconnected(self._connection)

    def receive(self, data: bytes) -> None:
        handshake, connection = self._handshake, self._connection
        if handshake is None or connection.response is not None:
            return  # bytes after a refused request
        try:
            request = handshake.receive(data)
        except HandshakeError as error:
            self._conclude(self._decide(self._explain(error)))
            return
        if request is None:
            return
        connection.request = request
        server = self._server
        if server.process_request is None and server.process_response is None:
            self._conclude(self._decide(None))
        else:
            # Bytes after the head belong to the stream, which does not exist before the answer.
            self._driver.transport.pause_reading()
            self._task = server.start(self._answer(request))

    async def _answer(self, request: Request) -> None:
        """Answer with what the callbacks return."""
        server, connection = self._server, self._connection
        response: Response | None = None
        if server.process_request is not None:
            try:
                response = await _result(server.process_request(connection, request))
            except Exception as error:
                response = self._explain(error)
        response = self._decide(response)
        if server.process_response is not None:
            try:
                response = await _result(server.process_response(connection, request, response)) or response
            except Exception as error:
                response = self._explain(error)
        self._task = None
        self._conclude(response)
        if not self._driver.opened or self._driver.session.reading:
            self._driver.transport.resume_reading()

    def _decide(self, response: Response | None) -> Response:
        """Return the response to the request, unless there is one already."""
        policy, handshake, connection = self._server.policy, self._handshake, self._connection
        assert handshake is not None
        if response is None:
            try:
                offer = policy.check(handshake)
                connection.subprotocol, answers, self._codecs = policy.choose(
                    offer, connection, connection.subprotocols
                )
                return handshake.agree(subprotocol=connection.subprotocol, extensions=answers, headers=policy.headers())
            except Exception as error:
                response = self._explain(error)
        return policy.complete(response)

    def _explain(self, error: Exception) -> Response:
        if not isinstance(error, HandshakeError):
            self._server.logger.error("opening handshake failed", exc_info=error)
        return self._server.policy.explain(error)

    def _conclude(self, response: Response) -> None:
        """Send the answer, and if it accepts begin with the frames."""
        handshake, connection, driver = self._handshake, self._connection, self._driver
        assert handshake is not None
        try:
            answer = handshake.answer(response)
        except ValueError as error:
            answer = handshake.answer(self._explain(error))
        self._handshake = None
        assert handshake.response is not None
        connection.response = response = handshake.response
        if connection.request is not None:
            connection.request.headers.pack()
        response.headers.pack()
        driver.transport.write(answer)
        if response.status == 101:
            codecs, self._codecs = self._codecs, ()
            driver.open(handshake.trailing, codecs, lambda session: self._begin(session, bool(codecs)))
        else:
            driver.refuse()

    def _begin(self, session: Session, compressed: bool) -> None:
        self._opened(session, compressed)
        self._server.opened(self._connection)


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


class ServerConnection(Connection):
    """The server's end of a connection.

    `request` is what the client sent, `response` what it was answered.
    """

    __slots__ = ("server", "subprotocols")

    def __init__(self, server: AnyServer) -> None:
        super().__init__(SERVER, server.settings, server.timer)
        #: The `Server`.
        self.server: Any = server
        #: The subprotocols to choose from; `process_request` may replace them.
        self.subprotocols: Sequence[str] = server.policy.subprotocols
        self._driver.opening = ServerOpening(self, self._driver, server, self.opened)

    @property
    def logger(self) -> logging.Logger:
        """The server's logger."""
        logger: logging.Logger = self.server.logger
        return logger

    def respond(self, status: int, text: str) -> Response:
        """Return a response in plain text, for `process_request` to return."""
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

    @property
    def logger(self) -> logging.Logger:
        """The server's logger."""
        logger: logging.Logger = self.server.logger
        return logger

    def respond(self, status: int, text: str) -> Response:
        """Return a response in plain text, for `process_request` to return."""
        return make_response(status, text)
