"""The blocking client: `connect` opens one WebSocket (RFC 6455 4.1)."""

from __future__ import annotations

import socket
import ssl as tls
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Literal

from .. import __version__
from ..errors import ResponseError
from ..http.client_handshake import ClientHandshake, request_headers
from ..http.proxy import find_proxy
from ..http.uri import parse_uri
from ..protocol.codecs import Extension, agree_to_answers, make_offers
from ..protocol.constants import CLIENT
from ..protocol.permessage_deflate import CLIENT_DEFAULT, add_compression
from ..protocol.receiver import TextErrors
from ..session.settings import ConnectionSettings
from .connection import Connection
from .driver import Driver
from .proxy import open_through_proxy
from .transport import Transport

__all__ = ["ClientConnection", "connect"]

#: How much of an answer is read at a time, in bytes.
_HEAD_READ = 4096


class ClientConnection(Connection):
    """The client's end. `request` is what it sent, `response` what the server answered."""

    def __init__(self, transport: Transport, settings: ConnectionSettings) -> None:
        super().__init__(Driver(transport, CLIENT, settings))

    def handshake(self, handshake: ClientHandshake, extensions: Sequence[Extension]) -> None:
        """Shakes hands, of which `extensions` are known; ResponseError if the server does not accept."""
        self.request = handshake.sent
        self._driver.transport.sendall(handshake.request())
        while self.response is None:
            data = self._driver.transport.recv(_HEAD_READ)
            self.response = handshake.receive(data) if data else handshake.receive_eof()
        self.subprotocol = handshake.subprotocol
        try:
            codecs = agree_to_answers(handshake.extensions, extensions)
        except ValueError as error:
            raise ResponseError(str(error), self.response) from None
        self._driver.open(handshake.trailing, codecs, self.opened)


def connect(
    uri: str,
    *,
    sock: socket.socket | None = None,
    ssl: tls.SSLContext | None = None,
    server_hostname: str | None = None,
    origin: str | None = None,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
    compression: Literal["deflate"] | None = "deflate",
    additional_headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    user_agent_header: str | None = f"framewire/{__version__}",
    proxy: str | Literal[True] | None = True,
    proxy_ssl: tls.SSLContext | None = None,
    open_timeout: float | None = 10,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    close_timeout: float | None = 10,
    idle_timeout: float | None = None,
    total_timeout: float | None = None,
    max_size: int | None = 1 << 20,
    max_queue: int | None = 16,
    fragment_size: int | None = None,
    piece_size: int | None = None,
    max_send_size: int | None = None,
    text_errors: TextErrors = "strict",
    create_connection: type[ClientConnection] = ClientConnection,
) -> ClientConnection:
    """Open a WebSocket to a ws or wss `uri` and return it; `with connect(...) as ws` closes it in the end.

    `origin`, `additional_headers` and `user_agent_header` (None: none) go into the request, `subprotocols` are
    offered, best first, and `extensions` before permessage-deflate, which is offered unless `compression` is None. The
    limits are those of `serve`; `open_timeout` includes the connection by TCP and TLS.
    `sock` is a connected socket to use. `ssl` is the context for wss, by default one that verifies the server;
    `server_hostname` the name to verify, if it is not that of the URI. `proxy` is the URL of an HTTP or SOCKS proxy
    (the latter needs the extra `socks`), None for none; by default what the environment says. With `sock` there is
    none. `proxy_ssl` is the context for one of the scheme https, which leads to servers of ws only.

    Raises UriError and ValueError for arguments that cannot be, OSError if there is no connection, ResponseError if
    the server does not accept, ProxyError, TimeoutError.
    """
    target = parse_uri(uri)
    if ssl is not None and not target.secure:
        raise ValueError("ssl goes with a wss URI")
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols is a list, not text")
    headers = request_headers(additional_headers, origin, user_agent_header)
    known = add_compression(extensions, compression, CLIENT_DEFAULT)
    handshake = ClientHandshake(target, subprotocols=subprotocols, extensions=make_offers(known), headers=headers)
    settings = ConnectionSettings(
        open_timeout=open_timeout, ping_interval=ping_interval, ping_timeout=ping_timeout, close_timeout=close_timeout,
        idle_timeout=idle_timeout, total_timeout=total_timeout, max_size=max_size, max_queue=max_queue,
        fragment_size=fragment_size, piece_size=piece_size, max_send_size=max_send_size, text_errors=text_errors,
    )  # fmt: skip
    deadline = None if open_timeout is None else monotonic() + open_timeout
    if proxy is True:
        proxy = find_proxy(target)
    if sock is None and proxy is not None:
        transport = open_through_proxy(proxy, target, user_agent_header, proxy_ssl, open_timeout)
    else:
        transport = Transport(sock or socket.create_connection((target.host, target.port), open_timeout))
    if sock is None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport.deadline = deadline
    try:
        if target.secure:
            transport.start_tls(ssl or tls.create_default_context(), server_hostname or target.host)
        connection = create_connection(transport, settings)
        connection.handshake(handshake, known)
    except BaseException:
        transport.close()
        raise
    return connection
