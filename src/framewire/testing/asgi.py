"""A client for an ASGI application in tests, without a server and without a socket.

    test ─ ClientConnection ─ memory ─ ServerConnection ─ scope, receive, send ─ application

The client is that of `framewire.asyncio`, so the opening handshake, subprotocols, refusals, close
codes and limits are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import unquote

from ..asyncio.client import ClientConnection
from ..asyncio.server import ServerConnection
from ..errors import ConnectionClosed
from ..http.headers import Headers, check_additional, check_field, parse_tokens
from ..http.http11 import Request, Response
from ..http.server_handshake import WITHOUT_CONTENT, refusal
from ..http.uri import parse_uri
from ..protocol.constants import CloseCode
from ..session.connection import close_code_after
from .application import Failures
from .asyncio import Peer, connect_memory, connect_memory_peer
from .memory import CLIENT_ADDRESS, SERVER_ADDRESS
from .peer import complete_uri

__all__ = ["connect", "connect_peer"]

Application: TypeAlias = Callable[[Any, Any, Any], Any]


@asynccontextmanager
async def connect(
    app: Application, uri: str = "/", *, timeout: float | None = 10, **options: Any
) -> AsyncIterator[ClientConnection]:
    """Connect a client to an ASGI application in `async with`, which closes the connection.

    The application runs in a task of its own. If it raises, the client is answered 500 or gets the
    close code 1011, and the exception is raised at the end of the block, or in place of the
    ConnectionClosed or ResponseError with which the block ends because of it. There is no lifespan.

    Args:
        app: The application, as of ASGI 3.
        uri: The URI of the request, or its path and query.
        timeout: Time for the block with everything in it, in seconds; None for no limit. The
            application is cancelled then.
        **options: Arguments of `framewire.asyncio.connect`, such as `subprotocols`,
            `additional_headers` or `origin`.

    Raises:
        TimeoutError: The block, or the application after it, goes on after `timeout`
            (asyncio.TimeoutError in Python 3.10).
        StatusError: The application has denied the connection: 403 for "websocket.close", or its
            own response.
    """
    adapter = _Adapter(app, uri)
    async with connect_memory(adapter.handle, uri, adapter.failures, timeout, adapter.options(), options) as client:
        yield client


@asynccontextmanager
async def connect_peer(
    app: Application, uri: str = "/", *, timeout: float | None = 10, headers: Iterable[tuple[str, str]] = ()
) -> AsyncIterator[Peer]:
    """Connect a scripted client to an ASGI application in `async with`, which cuts the connection.

    Args:
        app: See `connect`, also for `uri` and `timeout`, and for the exceptions.
        headers: Headers to add to the request.
    """
    adapter = _Adapter(app, uri)
    async with connect_memory_peer(adapter.handle, uri, adapter.failures, timeout, adapter.options(), headers) as peer:
        yield peer


class ClientGoneError(OSError):
    """An application has sent to a client that is gone."""


class _Adapter:
    """An application as the handler and the callbacks of `framewire.asyncio.serve`."""

    def __init__(self, app: Application, uri: str) -> None:
        self.failures = Failures(asyncio.CancelledError, ClientGoneError)
        self._scheme = "wss" if parse_uri(complete_uri(uri)).secure else "ws"
        self._app = app

    def options(self) -> dict[str, Any]:
        """Return the arguments of `serve`."""
        return {
            "origins": None,
            "process_request": self._process_request,
            "process_response": self._process_response,
            "select_subprotocol": lambda connection, offered: connection.run.subprotocol,
        }

    async def _process_request(self, connection: Any, request: Request) -> Response | None:
        """Run the application until it has answered."""
        run = connection.run = _Run(connection, _make_scope(request, self._scheme))
        run.task = connection.server.start(self._run(run))
        return await run.answer

    def _process_response(self, connection: Any, request: Request, response: Response) -> None:
        if response.status == 101:
            for name, value in connection.run.headers:
                response.headers[name] = value
        else:
            connection.run.settle(False)

    async def _run(self, run: _Run) -> None:
        try:
            with self.failures.noted():
                await self._app(run.scope, run.receive, run.send)
                if not run.answer.done():
                    raise RuntimeError("the application returned before it accepted or denied the connection")
        except ClientGoneError:
            pass
        except Exception as error:
            run.error = error
        finally:
            if not run.answer.done():
                run.answer.set_result(refusal(500, "the application failed"))

    async def handle(self, connection: Any) -> None:
        """Wait for the end of the application."""
        run: _Run = connection.run
        run.settle(True)
        await asyncio.wait([run.task])
        connection.start_closing(close_code_after(run.error))


class _Run:
    """One run of an application, for one connection."""

    task: asyncio.Task[None]

    def __init__(self, connection: ServerConnection, scope: dict[str, Any]) -> None:
        self._connection = connection
        self.scope = scope
        #: None if the application accepts, else the response that denies the connection.
        self.answer: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        #: What it accepts with.
        self.subprotocol: str | None = None
        self.headers: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self._open: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._connected = self._closed = False
        self._denial: Response | None = None

    def settle(self, opened: bool) -> None:
        """Take note of whether the connection is open, or will never be."""
        if not self._open.done():
            self._open.set_result(opened)

    async def receive(self) -> dict[str, Any]:
        """Return the next event for the application."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        if not await asyncio.shield(self._open):
            return {"type": "websocket.disconnect", "code": int(CloseCode.ABNORMAL_CLOSURE)}
        try:
            message = await self._connection.recv()
        except ConnectionClosed:
            connection = self._connection
            return {"type": "websocket.disconnect", "code": connection.close_code, "reason": connection.close_reason}
        return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}

    async def send(self, event: Any) -> None:
        """Process an event of the application.

        Raises:
            ClientGoneError: The client is gone; an OSError.
            RuntimeError: The event is out of turn, or the status of a denial is not 200 to 599.
            ValueError: The subprotocol was not offered, or a header is malformed.
        """
        kind = event["type"]
        if not self.answer.done():
            await self._answer(kind, event)
        elif not await asyncio.shield(self._open):
            if kind != "websocket.close":
                raise ClientGoneError("the client is gone")
        elif self._closed:
            raise RuntimeError(f"{kind!r} after 'websocket.close'")
        elif kind == "websocket.send":
            try:
                await self._connection.send(_message_of(event))
            except ConnectionClosed as error:
                raise ClientGoneError("the client is gone") from error
        elif kind == "websocket.close":
            self._closed = True
            self._connection.start_closing(event.get("code", 1000), event.get("reason") or "")
        else:
            raise RuntimeError(f"{kind!r} after 'websocket.accept'")

    async def _answer(self, kind: str, event: Any) -> None:
        """Process an event before the answer to the opening handshake."""
        if kind == "websocket.http.response.start" and self._denial is None:
            status = event["status"]
            if not 200 <= status <= 599:
                raise RuntimeError(f"the status of a denial is 200 to 599, not {status!r}")
            lines = _decode_headers(event.get("headers", ()))
            for line in lines:
                check_field(*line)
            if status in WITHOUT_CONTENT:
                lines = [line for line in lines if line[0].lower() != "content-length"]
            self._denial = Response(status, "", Headers(lines))
        elif kind == "websocket.http.response.body" and self._denial is not None:
            start = self._denial
            body = b"" if start.status in WITHOUT_CONTENT else start.body + event.get("body", b"")
            self._denial = Response(start.status, "", start.headers, body)
            if not event.get("more_body", False):
                self.answer.set_result(self._denial)
        elif kind == "websocket.close" and self._denial is None:
            self.answer.set_result(refusal(403, "the application denies the connection"))
        elif kind == "websocket.accept" and self._denial is None:
            self.subprotocol = event.get("subprotocol") or None
            if self.subprotocol is not None and self.subprotocol not in self.scope["subprotocols"]:
                raise ValueError(f"the client does not offer the subprotocol {self.subprotocol!r}")
            self.headers = check_additional(_decode_headers(event.get("headers", ())))
            self.answer.set_result(None)
            if not await asyncio.shield(self._open):
                raise ClientGoneError("the client is gone")
        else:
            raise RuntimeError(f"{kind!r} before the connection is accepted or denied")


def _message_of(event: Any) -> str | bytes:
    message: str | bytes | None = event.get("bytes")
    if message is None:
        message = event.get("text")
    if message is None:
        raise ValueError("'websocket.send' has neither bytes nor text")
    return message


def _decode_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _make_scope(request: Request, scheme: str) -> dict[str, Any]:
    path, _, query = request.target.partition("?")
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": scheme,
        "server": SERVER_ADDRESS,
        "client": CLIENT_ADDRESS,
        "root_path": "",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "headers": [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in request.headers.lines],
        "subprotocols": parse_tokens(request.headers.get_all("Sec-WebSocket-Protocol")),
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }
