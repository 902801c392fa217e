"""`StreamOpening`: how a client opens a connection over a stream of bytes, on trio or in a thread."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Any

from ..errors import OpeningError
from ..http.client_handshake import ClientHandshake
from ..http.proxy import Tunnel, parse_proxy, socks_errors
from ..http.uri import Uri
from .base_client import BaseConnect
from .opening import open_client

__all__ = ["StreamOpening"]


class StreamOpening(ABC):
    """The opening of one connection: TCP or a Unix socket, a proxy, TLS, the handshake, redirects.

    The abstract methods are for a driver. They are coroutines that block a thread on a driver of
    threads, which then runs `run` without an event loop. All may raise OSError.

    Args:
        client: The arguments of `connect`.

    Attributes:
        lost: The exceptions of `send` and `receive` if the connection is lost.
    """

    lost: tuple[type[Exception], ...]

    def __init__(self, client: BaseConnect) -> None:
        self.client = client
        self._waiting: Tunnel | ClientHandshake | None = None  # for an answer

    async def run(self) -> Any:
        """Open the connection, and return it.

        Raises:
            ProxyError: The proxy does not connect to the server.
            ResponseError: The server does not accept.
            SecurityError: There are too many redirects, or one leads from wss to ws.
            ValueError: A redirect cannot be followed with a stream, host or port of the caller, or
                the arguments do not go with the proxy.
        """
        return await self.client.open_at_redirects(self._attempt)

    def refusal_error(self) -> OpeningError | None:
        """Return the error of a refusal whose body does not end: it says more than a TimeoutError."""
        return None if self._waiting is None else self._waiting.refusal_error()

    async def _attempt(self, target: Uri, headers: list[tuple[str, str]]) -> Any:
        client = self.client
        handshake = client.make_handshake(target, headers)
        stream = await self._open_stream(target) if client.given is None else await self.use(client.given)
        self._waiting = handshake
        connection: Any = None
        try:
            if target.secure:
                stream = await self.start_tls(stream, client.ssl, client.server_hostname or target.server_name)
            connection = self.make_connection(stream)
            send, receive = partial(self.send, stream), partial(self.receive, stream)
            try:
                codecs = await open_client(connection, handshake, client.extensions, send, receive)
            except self.lost:
                handshake.receive_eof()
            connection.begin(handshake.trailing, codecs)
        except BaseException:
            try:
                await self.abort(stream)
            finally:
                if connection is not None:  # its maker may have kept it
                    connection._driver.end_unopened()
            raise
        return connection

    async def _open_stream(self, target: Uri) -> Any:
        """Connect to the server of a URI, if need be through a proxy."""
        if self.client.unix:
            return await self.open_unix(self.client.kwargs["path"])
        url = self.client.choose_proxy(target)
        if url is None:
            return await self.open_tcp(target.host, target.port)
        proxy = parse_proxy(url)
        proxy.check_ssl(self.client.proxy_ssl)
        if proxy.socks:
            arguments = proxy.socks_arguments()
            with socks_errors():
                return await self.open_socks(arguments, target.host, target.port)
        tunnel = self.client.make_tunnel(proxy, target)
        stream = await self.open_tcp(proxy.host, proxy.port)
        self._waiting = tunnel
        try:
            if proxy.scheme == "https":
                hostname = self.client.proxy_server_hostname or proxy.host
                stream = await self.start_tls(stream, self.client.proxy_ssl, hostname)
            try:
                await self.send(stream, tunnel.request)
                while not tunnel.receive(bytes(await self.receive(stream))):
                    pass
            except self.lost:
                tunnel.receive(b"")
        except BaseException:
            await self.abort(stream)
            raise
        return stream

    async def use(self, given: Any) -> Any:
        """Return the stream for the connected socket or stream of the caller."""
        return given

    @abstractmethod
    async def open_tcp(self, host: str, port: int) -> Any:
        """Connect to a host, which the caller may have replaced."""

    @abstractmethod
    async def open_unix(self, path: Any) -> Any:
        """Connect to a Unix socket."""

    @abstractmethod
    async def open_socks(self, arguments: tuple[Any, ...], host: str, port: int) -> Any:
        """Connect to a host through a `Proxy` of python-socks with these arguments."""

    @abstractmethod
    async def start_tls(self, stream: Any, context: Any, hostname: str) -> Any:
        """Start TLS as a client; without a context with one that verifies the server."""

    @abstractmethod
    async def send(self, stream: Any, data: bytes) -> None:
        """Send bytes."""

    @abstractmethod
    async def receive(self, stream: Any) -> bytes | bytearray:
        """Receive bytes, none at the end of input."""

    @abstractmethod
    async def abort(self, stream: Any) -> None:
        """Close a stream at once."""

    @abstractmethod
    def make_connection(self, stream: Any) -> Any:
        """Make the connection on a stream, with `client.create_connection`."""
