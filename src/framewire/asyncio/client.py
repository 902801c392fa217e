"""The asyncio client: `connect` opens one WebSocket (RFC 6455 4.1)."""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from .. import __version__
from ..codes import CLIENT
from ..deflate import CLIENT_DEFAULT, add_compression
from ..extensions import Extension, agree_to_answers, make_offers
from ..handshake import ClientHandshake
from ..head import ResponseError, parse_uri
from .connection import Connection, Limits, Opening

__all__ = ["ClientConnection", "connect"]


class ClientConnection(Connection):
    """The client's end. `request` is what it sent, `response` what the server answered."""

    role = CLIENT

    __slots__ = ("_extensions", "_handshake", "opened")

    def __init__(self, limits: Limits, handshake: ClientHandshake, extensions: Sequence[Extension]) -> None:
        super().__init__(limits)
        self._handshake = handshake
        self._extensions = extensions
        self.request = handshake.sent
        self.opened: asyncio.Future[None] = self.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self._handshake.request())

    def head_received(self, data: bytes) -> None:
        if self.opened.done():
            return  # what follows a refusal
        try:
            self.response = self._handshake.receive(data)
            codecs = agree_to_answers(self._handshake.extensions, self._extensions)
        except ResponseError as error:
            self._fail(error)
            return
        except ValueError as error:
            self._fail(ResponseError(str(error), self.response))
            return
        if self.response is not None:
            self.subprotocol = self._handshake.subprotocol
            self._open(self._handshake.trailing, codecs)
            del self._handshake
            self.opened.set_result(None)

    def eof_received(self) -> None:
        if self._stream is None and not self.opened.done():
            try:
                self._handshake.receive_eof()
            except ResponseError as error:
                self._fail(error)
        super().eof_received()

    def opening_failed(self, error: Exception | None) -> None:
        self._fail(error or ResponseError("the connection was lost before a whole answer"))

    def _fail(self, error: Exception) -> None:
        if isinstance(error, ResponseError):
            self.response = error.response
        if not self.opened.done():
            self.opened.set_exception(error)
        self.transport.abort()


def connect(
    uri: str,
    *,
    origin: str | None = None,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
    compression: Literal["deflate"] | None = "deflate",
    additional_headers: Iterable[tuple[str, str]] = (),
    user_agent_header: str | None = f"framewire/{__version__}",
    open_timeout: float | None = 10,
    close_timeout: float | None = 10,
    max_size: int | None = 1 << 20,
    max_queue: int | tuple[int, int | None] | None = 16,
    write_limit: int | tuple[int, int | None] = 1 << 15,
    ssl: tls.SSLContext | None = None,
    **kwargs: Any,
) -> Opening[ClientConnection]:
    """Open a WebSocket to a ws or wss `uri`; `await` it, or enter it with `async with` to have it closed again.

    `origin`, `additional_headers` and `user_agent_header` (None: none) go into the request, `subprotocols` are
    offered, best first, and `extensions` before permessage-deflate, which is offered unless `compression` is
    None; one among them with other settings replaces it. The other limits are those of `serve`; `open_timeout`
    includes the connection by TCP and TLS. `ssl` is the context for wss, by default one that verifies the
    server; further arguments are those of `loop.create_connection`, such as `sock` or `server_hostname`.

    Raises UriError and ValueError for arguments that cannot be, at once; when awaited OSError if there is no
    connection, ResponseError if the server does not accept, TimeoutError.
    """
    target = parse_uri(uri)
    if ssl is not None and not target.secure:
        raise ValueError("ssl goes with a wss URI")
    headers = list(additional_headers)
    if origin is not None:
        headers.append(("Origin", origin))
    if user_agent_header is not None:
        headers.append(("User-Agent", user_agent_header))
    known = add_compression(extensions, compression, CLIENT_DEFAULT)
    limits = Limits(open_timeout, close_timeout, max_size, max_queue, write_limit)
    if target.secure:
        kwargs.setdefault("server_hostname", target.host)
        kwargs["ssl"] = ssl or True
    if "sock" not in kwargs:
        kwargs.setdefault("host", target.host)
        kwargs.setdefault("port", target.port)

    async def start() -> ClientConnection:
        offers = make_offers(known)
        handshake = ClientHandshake(target, subprotocols=subprotocols, extensions=offers, headers=headers)
        try:
            return await asyncio.wait_for(
                _open(lambda: ClientConnection(limits, handshake, known), kwargs), open_timeout
            )
        except asyncio.TimeoutError:
            raise TimeoutError(f"no WebSocket opened within {open_timeout} seconds") from None

    return Opening(start)


async def _open(make: Callable[[], ClientConnection], kwargs: dict[str, Any]) -> ClientConnection:
    transport, connection = await asyncio.get_running_loop().create_connection(make, **kwargs)
    try:
        await connection.opened
    except BaseException:
        transport.abort()
        raise
    return connection
