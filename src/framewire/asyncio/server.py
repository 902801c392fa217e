"""The asyncio server: `serve` listens, and runs a handler for each WebSocket that it opens (RFC 6455 4.2)."""

from __future__ import annotations

import asyncio
import inspect
import logging
import ssl as tls
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from socket import socket
from types import TracebackType
from typing import Any, Literal, TypeAlias

from ..codes import SERVER, CloseCode, State
from ..deflate import SERVER_DEFAULT, add_compression
from ..errors import ConnectionClosed, HandshakeError
from ..extensions import Extension, accept_offers
from ..handshake import Origin, ServerHandshake, choose_subprotocol
from ..head import Headers, Request, Response
from .connection import Connection, Limits, Opening

__all__ = ["Server", "ServerConnection", "serve"]

logger = logging.getLogger("framewire.server")


class ServerConnection(Connection):
    """The server's end. `request` is what the client sent, `response` what it was answered."""

    role = SERVER

    __slots__ = ("_handshake", "_task", "server")

    def __init__(self, server: Server) -> None:
        super().__init__(server.limits)
        self.server = server
        self._handshake = ServerHandshake()
        self._task: asyncio.Task[None] | None = None

    def respond(self, status: int, text: str) -> Response:
        """A response in plain text, for `process_request` to return."""
        lines = [("Content-Type", "text/plain; charset=utf-8")]
        return Response(status, HTTPStatus(status).phrase, Headers(lines), text.encode())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        timeout = self._limits.open_timeout
        if timeout is not None:  # one deadline for all of it: bytes that trickle in do not move it
            self._deadline = self.loop.call_later(timeout, self.transport.abort)
        self.server._connected(self)

    def head_received(self, data: bytes) -> None:
        if self.response is not None:
            return  # what follows a refused request
        try:
            self.request = self._handshake.receive(data)
        except HandshakeError as error:
            self._refuse(error)
            return
        if self.request is not None:
            # What follows the head is the stream's, which does not exist before the answer.
            self.transport.pause_reading()
            self._task = self.server._start(self._run(self.request))

    def connection_lost(self, exc: Exception | None) -> None:
        self.server._disconnected(self)
        super().connection_lost(exc)

    def opening_failed(self, error: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self, request: Request) -> None:
        """Answer the request, and if that opens the WebSocket run the handler, and close."""
        try:
            await self._answer(request)
        except HandshakeError as error:
            self._refuse(error)
        except Exception:
            logger.exception("opening handshake failed")
            self._refuse(HandshakeError(500, "the server met an unexpected error"))
        if not self._held:
            self.transport.resume_reading()
        if self.state is State.CONNECTING:
            return
        try:
            await self.server.handler(self)
        except ConnectionClosed:
            pass  # the handler was not done, but the client was
        except Exception:
            logger.exception("connection handler failed")
            self.start_closing(CloseCode.INTERNAL_ERROR)
        finally:
            self.start_closing()
        await self.wait_closed()

    async def _answer(self, request: Request) -> None:
        server, handshake = self.server, self._handshake
        if server.process_request is not None:
            response = server.process_request(self, request)
            if inspect.isawaitable(response):
                response = await response
            if response is not None:
                self._end_http(handshake.respond(response))
                return
        offer = handshake.check(origins=server.origins)
        self.subprotocol = choose_subprotocol(offer.subprotocols, server.subprotocols)
        answers, codecs = accept_offers(offer.extensions, server.extensions)
        answer = handshake.accept(subprotocol=self.subprotocol, extensions=answers)
        self.response = handshake.response
        self.transport.write(answer)
        self._open(handshake.trailing, codecs)
        del self._handshake  # of no more use, and larger than all the rest of an idle connection

    def _refuse(self, error: HandshakeError) -> None:
        self._end_http(self._handshake.reject(error.status, error.reason, error.headers))

    def _end_http(self, answer: bytes) -> None:
        self.response = self._handshake.response
        self.transport.write(answer)
        self._finish()


Handler: TypeAlias = Callable[[ServerConnection], Awaitable[None]]
ProcessRequest: TypeAlias = Callable[[ServerConnection, Request], "Awaitable[Response | None] | Response | None"]


class Server:
    """A listening server, as `serve` gives it. Leaving it as an async context closes it."""

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        process_request: ProcessRequest | None,
        origins: Sequence[Origin] | None,
        subprotocols: Sequence[str],
        extensions: Sequence[Extension],
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.process_request = process_request
        self.origins = origins
        self.subprotocols = subprotocols
        self.extensions = extensions
        self._listener: asyncio.Server
        self._closing = False
        self._everyone: set[ServerConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> set[ServerConnection]:
        """The connections that are open now."""
        return {one for one in self._everyone if one.state is State.OPEN}

    @property
    def sockets(self) -> tuple[socket, ...]:
        """What it listens on; nothing once it is closed."""
        return tuple(self._listener.sockets)

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._listener.is_serving()

    async def start_serving(self) -> None:
        """Begin to accept connections, after `serve(..., start_serving=False)`."""
        await self._listener.start_serving()

    async def serve_forever(self) -> None:
        """Accept connections until this call is cancelled, which closes the listening sockets."""
        await self._listener.serve_forever()

    def close(self, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """Stop listening and close every connection, without waiting: see `wait_closed`.

        Those in the opening handshake are cut. A closed server cannot be used again.
        """
        self._closing = True
        self._listener.close()
        for connection in list(self._everyone):
            if connection.state is State.CONNECTING and connection.response is None:
                connection.transport.abort()
            else:
                connection.start_closing(code, reason)

    async def wait_closed(self) -> None:
        """Wait until the server is closed, its connections have ended and their handlers have returned."""
        await self._listener.wait_closed()
        for connection in list(self._everyone):
            await connection.wait_closed()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        await self.wait_closed()

    def _connected(self, connection: ServerConnection) -> None:
        self._everyone.add(connection)
        if self._closing:  # accepted by the kernel before the listener was closed
            connection.transport.abort()

    def _disconnected(self, connection: ServerConnection) -> None:
        self._everyone.discard(connection)

    def _start(self, run: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(run)
        self._tasks.add(task)  # the event loop itself keeps weak references only
        task.add_done_callback(self._tasks.discard)
        return task


def serve(
    handler: Handler,
    host: str | None = None,
    port: int | None = None,
    *,
    origins: Sequence[Origin] | None = None,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
    compression: Literal["deflate"] | None = "deflate",
    process_request: ProcessRequest | None = None,
    open_timeout: float | None = 10,
    close_timeout: float | None = 10,
    max_size: int | None = 1 << 20,
    max_queue: int | tuple[int, int | None] | None = 16,
    write_limit: int | tuple[int, int | None] = 1 << 15,
    ssl: tls.SSLContext | None = None,
    **kwargs: Any,
) -> Opening[Server]:
    """Start a WebSocket server on `host` and `port`; `await` it or enter it with `async with`.

    `handler(connection)` runs for each connection; when it returns the connection is closed with 1000, when it
    raises with 1011 and the error is logged to `framewire.server`.

    `origins` lists the origins that may connect (None in it: requests without one); without the list, those of
    the server's own host, and requests without one (10.2). `subprotocols` are those the handler speaks, best
    first. `extensions` are those that clients may use besides permessage-deflate, which is on unless
    `compression` is None; one among them with other settings replaces it. `process_request(connection,
    request)`, sync or async, may return a `Response` to answer with instead, so that other HTTP requests can be
    served.

    Times are in seconds, None for no limit: `open_timeout` is for the whole handshake, `close_timeout` for the
    whole end. `max_size` is the largest message in bytes. `max_queue` is how many messages may wait for `recv`
    before reading stops; `write_limit` how many bytes may wait for the network before `send` waits. Both can be
    a pair of marks, (high, low); low is a quarter of high otherwise.

    `ssl` and all further arguments are those of `loop.create_server`, whose errors are raised.
    """
    limits = Limits(open_timeout, close_timeout, max_size, max_queue, write_limit)
    known = add_compression(extensions, compression, SERVER_DEFAULT)
    server = Server(handler, limits, process_request, origins, subprotocols, known)
    if ssl is not None and open_timeout is not None:
        kwargs.setdefault("ssl_handshake_timeout", open_timeout)

    async def start() -> Server:
        server._listener = await asyncio.get_running_loop().create_server(
            lambda: ServerConnection(server), host, port, ssl=ssl, **kwargs
        )
        return server

    return Opening(start)
