"""The server's end of one connection, blocking: its opening handshake (RFC 6455 4.2), handler and
close.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from ..errors import ConnectionClosed, HandshakeError
from ..http.http11 import Request, Response
from ..http.server_answer import answer_request
from ..http.server_handshake import BUSY, ServerHandshake
from ..http.server_policy import ServerPolicy, make_response
from ..protocol.codecs import Codec
from ..protocol.constants import SERVER
from ..session.connection import close_code_after
from ..session.logs import Logger, log_proxy_header, log_refusal, log_request, log_response
from ..session.settings import LINGER, ConnectionSettings
from .complete import complete
from .connection import Connection
from .driver import Driver
from .transport import Transport

__all__ = ["AnyServer", "ServerConnection"]

#: How much of a request is read at a time, in bytes.
_HEAD_READ: Final = 4096


class AnyServer(Protocol):
    """The server of a connection, as the connection needs it."""

    @property
    def policy(self) -> ServerPolicy:
        """Which requests are accepted, and how."""

    @property
    def logger(self) -> Logger:
        """The logger of the server."""


class ServerConnection(Connection):
    """The server's end of a connection.

    `request` is what the client sent, `response` what it was answered.

    Args:
        transport: The connected socket.
        settings: The limits and times of the connection.
        server: Its server.
    """

    def __init__(self, transport: Transport, settings: ConnectionSettings, server: AnyServer) -> None:
        super().__init__(self.make_driver(transport, settings), server.logger)
        #: The `Server`.
        self.server: Any = server
        #: The subprotocols to choose from; `process_request` may replace them.
        self.subprotocols: Sequence[str] = server.policy.subprotocols
        #: The user name, set by `basic_auth`.
        self.username: str

    def make_driver(self, transport: Transport, settings: ConnectionSettings) -> Driver:
        """Return the driver of this connection; for subclasses with other options."""
        return Driver(transport, SERVER, settings)

    def respond(self, status: int, text: str) -> Response:
        """Return a response in plain text, for `process_request` to return."""
        return make_response(status, text)

    def run(self, busy: bool = False) -> None:
        """Serve the connection from its first byte to its last.

        Args:
            busy: Whether to answer 503 instead, as the server has too many connections.
        """
        transport = self._driver.transport
        transport.limit(self._driver.settings.open_timeout)
        failed = False
        try:
            if self._read_proxy_header():
                self._open(busy)
        except OSError as error:
            failed = True
            # The client has left, took too long, or does not speak TLS.
            text = "! no valid HTTP request" if self.request is None else "! opening handshake failed"
            self.logger.debug(text, exc_info=error)
        finally:
            if self._session is None:
                transport.abort()
                transport.close()
        if self._session is not None:
            if self.server.close_arguments is not None:  # the server was shut down meanwhile
                self.stop(*self.server.close_arguments)
            if not failed:
                self._handle()
            self._driver.reader.join()

    def _read_proxy_header(self) -> bool:
        """Read the header of the PROXY protocol, if the connection has to begin with one; return
        whether the connection goes on.
        """
        header = self.server.policy.begin(self.remote_address)
        if header is not None:
            try:
                while not header.receive(self._driver.transport.recv(header.needed)):
                    pass
            except (ValueError, EOFError) as error:
                log_proxy_header(self.logger, error)
                return False
            self.client_address = header.source
        return True

    def _open(self, busy: bool) -> None:
        """Perform TLS and the opening handshake."""
        transport = self._driver.transport
        if self.server.ssl is not None:
            transport.start_tls(self.server.ssl)
        if busy:
            transport.sendall(BUSY)
            self._discard(LINGER)
        else:
            self.shake_hands(self.server.policy.new_handshake())

    def shake_hands(self, handshake: ServerHandshake) -> None:
        """Answer the client, and open the connection if it is accepted; for subclasses."""
        malformed: HandshakeError | None = None
        try:
            log_request(self.logger, "<", self._receive_request(handshake))
        except HandshakeError as error:
            self.logger.debug("! no valid HTTP request", exc_info=error)
            malformed = error
        answer, codecs = complete(answer_request(self, handshake, self.server, malformed))
        assert self.response is not None
        log_response(self.logger, ">", self.response)
        if self.response.status == 101:
            self._begin(handshake.trailing, codecs, answer)
        else:
            log_refusal(self.logger, self.response)
            self._driver.transport.sendall(answer)
            self._discard(self._driver.settings.close_timeout)

    def _receive_request(self, handshake: ServerHandshake) -> Request:
        while self.request is None:
            if not (data := self._driver.transport.recv(_HEAD_READ)):
                raise ConnectionResetError("the client left before a whole request")
            self.request = handshake.receive(data)
        return self.request

    def _begin(self, rest: bytes, codecs: Sequence[Codec], answer: bytes) -> None:
        """Send the answer and begin with the frames; `rest` is what arrived after the handshake."""
        self._driver.open(rest, codecs, self.opened, answer)

    def stop(self, code: int, reason: str) -> None:
        """Close the connection without waiting.

        In the opening handshake a client whose request has not arrived is cut; another one gets the
        answer of a server that is closing.
        """
        if self._session is not None:
            self._driver.start_closing(code, reason, watched=True)
        elif self.request is None:
            self._driver.transport.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        self._driver.transport.abort()

    def _discard(self, seconds: float | None) -> None:
        """Wait for the client to take the answer, so that a reset of TCP does not destroy it."""
        self._driver.transport.deadline = None
        self._driver.transport.limit(seconds)
        self._driver.transport.end_output()
        while self._driver.transport.recv(_HEAD_READ):
            pass

    def _handle(self) -> None:
        """Run the handler, then close."""
        try:
            self.server.handler(self)
        except ConnectionClosed:
            pass  # the handler was not done, but the client was
        except Exception as error:
            self.logger.error("connection handler failed", exc_info=error)
            self.close(close_code_after(error))
        self.close()
