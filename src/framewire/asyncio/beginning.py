"""The beginning of a connection to a server that has TLS, or proxies that speak the PROXY protocol.

transport ─ header, if the peer is such a proxy ─ TLS, if the server has it ─▶ the driver of a new connection
"""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Coroutine, Generator
from contextlib import suppress
from typing import Any, Final, Protocol, cast
from weakref import ref

from ..http.proxy_protocol import ProxyHeader
from ..session.logs import log_proxy_header
from .driver import HEAD_READ_SIZE, Driver
from .server_connection import AnyServer

__all__ = ["BeginningProtocol", "has_tls_of_sockets", "make_driver", "make_limited_driver"]

#: Seconds until the next try to cut a connection that had no transport at the end of `open_timeout`.
_RETRY: Final = 0.1


class ConnectingServer(AnyServer, Protocol):
    """A server, as the beginnings of its connections need it."""

    @property
    def beginning(self) -> set[BeginningProtocol]:
        """The connections in the running event loop that have not come to their opening handshake."""

    def began(self, early: BeginningProtocol) -> bool:
        """A client has come; whether it may go on. Adds it to `beginning` then."""

    def make_connection(self, server: Any) -> Any:
        """Return a new connection."""


def has_tls_of_sockets(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether the listeners of an event loop are those of aiofastnet, whose TLS works on sockets.

    Such a listener is better than `start_tls` of aiofastnet, which loses the end of the output to a
    peer that reads slowly. It alone knows its transports until TLS is established.
    """
    return hasattr(loop, "_aiofastnet_patched_methods")


def make_driver(server: ConnectingServer) -> Driver | CutProtocol:
    """Return the driver of a new connection, for a listener."""
    made = _make_connection(server)
    return CutProtocol() if made is None else made[1]


def make_limited_driver(server: ConnectingServer) -> Driver | CutProtocol:
    """Like `make_driver`, for a listener with TLS; `open_timeout` begins."""
    driver = make_driver(server)
    if isinstance(driver, Driver) and (seconds := server.settings.open_timeout) is not None:
        _abort_after(seconds, ref(driver))  # TLS that fails tells no one: the timer must not keep the driver
    return driver


def _make_connection(server: ConnectingServer) -> tuple[Any, Driver] | None:
    """Return a new connection and its driver; log why there is none, since event loops do not tell."""
    try:
        connection = server.make_connection(server)
        return connection, connection._driver
    except Exception:
        server.logger.exception("connection failed")
        return None


def _abort_after(seconds: float, reference: ref[Driver]) -> None:
    if (driver := reference()) is not None:
        driver.take_timeout(driver.loop.call_later(seconds, _abort, reference))


def _abort(reference: ref[Driver]) -> None:
    driver = reference()
    if driver is None or driver.transport is None:
        _abort_after(_RETRY, reference)  # TLS may still be established
    else:
        driver.transport.abort()


class CutProtocol(asyncio.Protocol):
    """Cuts its connection, in place of the driver of one that could not be made."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


class BeginningProtocol(asyncio.BufferedProtocol):
    """Reads the header, then starts TLS, then passes the transport on to a new connection.

    Only a peer that is a trusted proxy sends the header. The transports in these steps are in
    `beginning` of the server, which can so end them. `open_timeout` begins here, and goes on in the
    opening handshake.

    Args:
        server: The server.
        context: The TLS context, None for no TLS.
        tls_options: The arguments of `loop.start_tls` that begin with "ssl_".
    """

    def __init__(self, server: ConnectingServer, context: tls.SSLContext | None, tls_options: dict[str, Any]) -> None:
        self._server = server
        self._context = context
        self._tls_options = tls_options
        self._transport = cast(asyncio.Transport, None)
        self._header: ProxyHeader | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._buffer = bytearray()
        self._early = b""  # decrypted before the connection was made
        self._ended = self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.began(self):
            self.abort()
            return
        if (seconds := self._server.settings.open_timeout) is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)
        self._header = self._server.policy.begin(transport.get_extra_info("peername"))
        if self._header is None:
            self._go_on()

    def get_buffer(self, sizehint: int) -> memoryview:
        # Not a byte more than the header has: the next belongs to TLS.
        self._buffer = bytearray(HEAD_READ_SIZE if self._header is None else self._header.needed)
        return memoryview(self._buffer)

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[:nbytes])
        if self._header is None:
            self._early += data
            return
        try:
            done = self._header.receive(data)
        except ValueError as error:
            self._refuse(error)
            return
        if done:
            self._go_on()

    def eof_received(self) -> None:
        self._ended = True
        if self._header is not None:
            self._refuse(EOFError("the connection ended within the header"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._leave()

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()

    def _refuse(self, error: Exception) -> None:
        log_proxy_header(self._server.logger, error)
        self.abort()

    def _leave(self) -> None:
        self._server.beginning.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _go_on(self) -> None:
        """Go on after the header."""
        address = None if self._header is None else self._header.source
        self._header = None
        if self._context is None:
            self._connect(self._transport, address)
        else:
            self._transport.pause_reading()  # until TLS reads
            starting = self._start_tls(self._context, address)
            # Its first step is taken now, not by a task in the next turn: uvloop begins to read after
            # `connection_made` whatever that has paused, and what arrives belongs to TLS.
            with suppress(StopIteration):
                self._server.start(_continue(starting, starting.send(None)))

    async def _start_tls(self, context: tls.SSLContext, address: Any) -> None:
        loop, transport = asyncio.get_running_loop(), None
        try:
            transport = await loop.start_tls(self._transport, self, context, server_side=True, **self._tls_options)
        except OSError as error:
            self._server.logger.debug("! TLS handshake failed", exc_info=error)
        finally:
            # TLS tells no one of a transport that was lost during its handshake.
            if transport is None or self._lost or self._transport.is_closing():
                self.abort()
                self._leave()
            else:
                self._connect(transport, address)

    def _connect(self, transport: asyncio.Transport, address: Any) -> None:
        """Pass the transport on to a new connection."""
        self._server.beginning.discard(self)
        made = _make_connection(self._server)
        if made is None:
            self.abort()
            return
        connection, driver = made
        connection.client_address = address
        if self._timer is not None:
            driver.take_timeout(self._timer)
        transport.set_protocol(driver)
        driver.connection_made(transport)
        for start in range(0, len(self._early), HEAD_READ_SIZE):
            data = self._early[start : start + HEAD_READ_SIZE]
            driver.get_buffer(-1)[: len(data)] = data
            driver.buffer_updated(len(data))
        if self._ended:
            driver.eof_received()


async def _continue(coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
    """Resume a coroutine after its first step, which has returned the future `waits_for`."""
    await _Rest(coroutine, waits_for)


class _Rest:
    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        with suppress(StopIteration):
            while True:
                try:
                    result = yield waits_for
                except BaseException as error:
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(result)
