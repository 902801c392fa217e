"""The connection of `framewire.asyncio`, for both APIs."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Final

from ..asyncio import ClientConnection, connect
from ..asyncio.transport_writer import write_buffer_size
from ..errors import ConnectionClosed, NegotiationError
from ..http.uri import Uri
from ..protocol.constants import CloseCode
from ..session.session import Session
from .base_connection import BaseConnection

__all__ = ["NativeConnection", "open_connection"]

#: Default of `max_size`: the largest message that is received, in bytes.
DEFAULT_MAX_SIZE: Final = 1 << 26

#: Arguments of `connect` that the standard has in another form, or none of.
_RESERVED: Final = frozenset({
    "listener", "process_exception", "reconnect_delays", "subprotocols", "text_as_bytes", "uri", "write_limit",
})  # fmt: skip


class _Connect(connect):
    """`connect` to a parsed URL, without redirects (WHATWG WebSockets, "establish a connection")."""

    _max_redirects = 0

    def __init__(self, uri: Uri, **options: Any) -> None:
        super().__init__(f"{'wss' if uri.secure else 'ws'}://{uri.authority}/", **options)
        self.target = uri


class NativeConnection(BaseConnection):
    """A connection of `framewire.asyncio`."""

    def __init__(self, connection: ClientConnection) -> None:
        assert connection.response is not None
        assert connection._session is not None
        self.protocol = connection.subprotocol or ""
        self.extensions = connection.response.headers.get_joined("Sec-WebSocket-Extensions")
        self._connection = connection
        self._session: Session = connection._session
        self.close_timeout = self._session.settings.close_timeout
        #: Whether `drain` waits, or has waited until the connection was lost.
        self._draining = False

    async def recv(self) -> str | bytes:
        return await self._connection.recv()

    def check_size(self, size: int) -> None:
        self._session.check_size(size)

    async def send(self, message: str | bytes) -> None:
        await self._connection.send(message)

    async def drain(self) -> None:
        connection = self._connection
        if connection._writer is not None and connection._writer.blocked:
            self._draining = True
            await connection._writer.drain()
            self._draining = connection._driver.transport_lost

    def unwritten(self, size: int) -> int:
        transport = self._connection.transport
        waiting = min(size, write_buffer_size(transport))
        # A transport that is lost forgets how much it has not written: all of the message counts then.
        return size if not waiting and self._draining and transport.is_closing() else waiting

    def start_closing(self, code: int | None, reason: str) -> None:
        self._connection.start_closing(code, reason)

    async def wait_closed(self) -> ConnectionClosed:
        await self._connection.wait_closed()
        return self._session.close_state.error()

    def failed(self, closing: bool) -> bool:
        state = self._session.close_state
        violated = state.failure is not None and state.failure.code != CloseCode.ABNORMAL_CLOSURE
        given_up = state.sent is not None and not closing
        return state.rcvd is None and (violated or given_up)

    def abort(self) -> None:
        self._connection.transport.abort()


def open_connection(
    uri: Uri, url: str, subprotocols: list[str], options: Mapping[str, Any]
) -> Coroutine[Any, Any, NativeConnection]:
    """Connect to a URL, given parsed and as text, with the options of `connect`; fail if the server
    selects none of the subprotocols.

    Raises:
        TypeError: At once, if an option has the wrong type or is not available.
        ValueError: At once, if an option is not valid.
    """
    if refused := sorted(_RESERVED & options.keys()):
        raise TypeError(f"not available in a WebSocket of the standard: {', '.join(refused)}")
    # With a write limit of 0, `drain` waits until the message is written, so the transport never
    # holds more than one message: `unwritten` relies on it.
    defaults = {"max_size": DEFAULT_MAX_SIZE, "write_limit": 0}
    return _open(_Connect(uri, **{**defaults, **options, "subprotocols": subprotocols}))


async def _open(opening: _Connect) -> NativeConnection:
    connection = await opening
    if opening.subprotocols and connection.subprotocol is None:
        connection.transport.abort()
        raise NegotiationError("the server selects none of the subprotocols")  # fails the connection by the standard
    return NativeConnection(connection)
