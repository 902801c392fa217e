"""The client's end of one connection: its opening handshake (RFC 6455 4.1), for both APIs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

from ..errors import ResponseError
from ..http.client_handshake import ClientHandshake
from ..http.http11 import Response
from ..protocol.codecs import Extension, agree_to_answers
from ..protocol.constants import CLIENT
from ..session.logs import Logger, adapt_logger, log_request, log_response
from ..session.session import Session
from ..session.settings import ConnectionSettings
from .callbacks import Listener, ListenerConnection
from .connection import Connection
from .driver import Driver, Opening
from .timer import SharedTimer

__all__ = ["ClientConnection", "ClientListenerConnection", "ClientOpening"]


class ClientOpening(Opening):
    """The client's side of the opening handshake of one connection.

    Args:
        connection: The connection that it is for.
        driver: Its driver.
        handshake: The handshake, with everything that the client offers.
        extensions: The extensions that it knows.
        opened: Called with the session, and whether messages may be compressed, once the handshake
            is done.

    Attributes:
        done: Done when the handshake is; has the error if it failed.
    """

    __slots__ = ("_connection", "_driver", "_extensions", "_handshake", "_opened", "done")

    def __init__(
        self,
        connection: Any,
        driver: Driver,
        handshake: ClientHandshake,
        extensions: Sequence[Extension],
        opened: Callable[[Session, bool], None],
    ) -> None:
        self._connection = connection
        self._driver = driver
        self._handshake: ClientHandshake | None = handshake
        self._extensions = extensions
        self._opened = opened
        self.done: asyncio.Future[None] = driver.loop.create_future()
        connection.request = handshake.sent

    def connected(self) -> None:
        assert self._handshake is not None
        log_request(self._connection.logger, ">", self._handshake.sent)
        self._driver.transport.write(self._handshake.request())

    def receive(self, data: bytes) -> None:
        connection, handshake = self._connection, self._handshake
        if self.done.done() or handshake is None:
            return  # bytes after a refusal
        try:
            connection.response = handshake.receive(data)
            codecs = agree_to_answers(handshake.extensions, self._extensions)
        except ResponseError as error:
            self._fail(error)
            return
        except ValueError as error:
            self._fail(ResponseError(str(error), connection.response))
            return
        if connection.response is not None:
            log_response(connection.logger, "<", connection.response)
            self._handshake = None
            connection.subprotocol = handshake.subprotocol
            self._driver.open(handshake.trailing, codecs, lambda session: self._opened(session, bool(codecs)))
            if not self.done.done():  # `on_open` may have cancelled the task that waits
                self.done.set_result(None)

    def receive_eof(self) -> None:
        if self._handshake is not None and not self.done.done():
            try:
                self._handshake.receive_eof()
            except ResponseError as error:
                self._fail(error)

    def abandon(self) -> None:
        self.receive_eof()

    def lost(self, error: Exception | None) -> None:
        if error is None or isinstance(error, ConnectionError):  # resets end the input on every driver
            self.receive_eof()
        elif self._handshake is not None:
            self._fail(self._handshake.refusal_error() or error)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, ResponseError):
            response = self._connection.response = cast("Response | None", error.response)
            if response is not None:
                log_response(self._connection.logger, "<", response)
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # nobody waits for it if `connect` was cancelled
        # asyncio would report the loss of a closed transport twice. Until TLS is established there is no
        # transport: `connect` will abort it.
        if self._driver.transport is not None and not self._driver.transport_lost:
            self._driver.transport.abort()


class ClientConnection(Connection):
    """The client's end of a connection.

    `request` is what it sent, `response` what the server answered.
    """

    __slots__ = ("_logger",)

    def __init__(
        self,
        settings: ConnectionSettings,
        handshake: ClientHandshake,
        extensions: Sequence[Extension],
        logger: Logger,
    ) -> None:
        super().__init__(CLIENT, settings, SharedTimer(settings), logger)
        self._logger = logger
        self._driver.opening = ClientOpening(self, self._driver, handshake, extensions, self.opened)

    @cached_property
    def logger(self) -> Logger:
        """The logger of `connect`; its records have the connection as `websocket`."""
        return adapt_logger(self._logger, self)

    async def __aenter__(self) -> ClientConnection:
        return self


class ClientListenerConnection(ListenerConnection):
    """The client's end of a connection whose events go to a `Listener`."""

    __slots__ = ("_logger",)

    def __init__(
        self,
        settings: ConnectionSettings,
        handshake: ClientHandshake,
        extensions: Sequence[Extension],
        logger: Logger,
        listener: Listener,
    ) -> None:
        super().__init__(CLIENT, settings, SharedTimer(settings), listener)
        self._logger = logger
        self._driver.opening = ClientOpening(self, self._driver, handshake, extensions, self.opened)

    @cached_property
    def logger(self) -> Logger:
        """The logger of `connect`; its records have the connection as `websocket`."""
        return adapt_logger(self._logger, self)
