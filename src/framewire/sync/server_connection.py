"""The server's end of one connection, blocking: its opening handshake (RFC 6455 4.2), handler and
close.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Final

from ..http.http11 import Response
from ..http.server_handshake import BUSY, ServerHandshake
from ..http.server_policy import make_response
from ..protocol.constants import SERVER, CloseCode
from ..session.base_server import BaseServer, handler_failed
from ..session.opening import answer_client, read_proxy_header
from ..session.settings import LINGER, ConnectionSettings
from .complete import complete
from .connection import Connection
from .driver import Driver
from .transport import HEAD_READ, Transport

__all__ = ["ASYNC_HANDLER", "ServerConnection"]

#: The text of the TypeError for a handler that needs an event loop.
ASYNC_HANDLER: Final = "the handler is a coroutine function: define it with def, or use framewire.asyncio"


class ServerConnection(Connection):
    """The server's end of a connection.

    `request` is what the client sent, `response` what it was answered.

    Args:
        transport: The connected socket.
        settings: The limits and times of the connection.
        server: Its server.
    """

    def __init__(self, transport: Transport, settings: ConnectionSettings, server: BaseServer) -> None:
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
        """Return a response in plain text, for `process_request` to return.

        Args:
            status: The status code, 400 for example.
            text: The body, sent as UTF-8.
        """
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
            self._open(busy)
        except EOFError:
            pass  # there is no valid header of the PROXY protocol, or no request; that is logged
        except OSError as error:
            failed = True
            # The client has left, took too long, or does not speak TLS.
            text = "! no valid HTTP request" if self.request is None else "! opening handshake failed"
            self.logger.debug(text, exc_info=error)
        except Exception:
            failed = True
            self.logger.exception("connection failed")
        finally:
            if self._session is None:
                transport.abort()
                transport.close()
                self._driver.end_unopened()
        if self._session is not None:
            if self.server.close_arguments is not None:  # the server was shut down meanwhile
                self.stop(*self.server.close_arguments)
            if not failed:
                self._handle()
            self._driver.wait_ended()

    def _open(self, busy: bool) -> None:
        """Perform TLS and the opening handshake, after the header of the PROXY protocol, if any."""
        transport, policy = self._driver.transport, self.server.policy
        if policy.trusted_proxies is not None:
            header = read_proxy_header(policy, self.remote_address, self._receive, self.logger)
            self.client_address = complete(header)
        if self.server.ssl is not None:
            transport.start_tls(self.server.ssl)
        if busy:
            transport.sendall(BUSY)
            self._discard(LINGER)
        else:
            self.shake_hands(policy.new_handshake())

    def shake_hands(self, handshake: ServerHandshake) -> None:
        """Answer the client, and open the connection if it is accepted; for subclasses."""
        answer, codecs = complete(answer_client(self, handshake, self.server, self._receive))
        assert self.response is not None
        if self.response.status == 101:
            self.begin(handshake.trailing, codecs, answer)
        else:
            self._driver.transport.sendall(answer)
            self._discard(self._driver.settings.close_timeout)

    async def _receive(self, size: int = HEAD_READ) -> bytes:
        return self._driver.transport.recv(size)

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
        """End TCP at once."""
        self._driver.abort()

    def _discard(self, seconds: float | None) -> None:
        """Wait for the client to take the answer, so that a reset of TCP does not destroy it."""
        self._driver.transport.deadline = None
        self._driver.transport.limit(seconds)
        self._driver.transport.end_output()
        while self._driver.transport.recv(HEAD_READ):
            pass

    def _handle(self) -> None:
        """Run the handler, then close."""
        code = CloseCode.INTERNAL_ERROR
        try:
            running = self.server.handler(self)
            if isinstance(running, Coroutine):
                running.close()
                raise TypeError(ASYNC_HANDLER)
            code = CloseCode.NORMAL_CLOSURE
        except Exception as error:
            code = handler_failed(self, error)
        except SystemExit:
            pass  # `sys.exit` ends the handler, and no other thread
        finally:
            self.close(code)
