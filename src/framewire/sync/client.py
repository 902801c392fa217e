"""The blocking client: `connect` opens one WebSocket (RFC 6455 4.1)."""

from __future__ import annotations

import socket
import ssl as tls
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Literal

from ..errors import ResponseError
from ..http.client_handshake import USER_AGENT, ClientHandshake, request_headers
from ..http.proxy import find_proxy
from ..http.uri import Uri, parse_uri
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
    user_agent_header: str | None = USER_AGENT,
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
    send_close_reasons: bool = True,
    create_connection: type[ClientConnection] = ClientConnection,
) -> ClientConnection:
    """Open a WebSocket; `with connect(...) as connection` closes it at the end.

    Redirects are not followed.

    Args:
        uri: The ws or wss URI. Its user name and password become basic authentication.
        sock: A connected socket to use; there is no proxy then.
        ssl: The TLS context for wss, by default one that verifies the server.
        server_hostname: The name of the server to verify, by default that of the URI.
        origin: The value of the Origin header.
        subprotocols: Subprotocols to offer, best first.
        extensions: Extensions to offer before permessage-deflate, best first.
        compression: "deflate" to offer permessage-deflate with default settings, unless `extensions`
            has it with others; None not to.
        additional_headers: Headers to add to the request, as a mapping or as pairs of name and
            value. They replace Origin and User-Agent.
        user_agent_header: The value of the User-Agent header, None for no such header.
        proxy: The URL of an HTTP or SOCKS proxy (SOCKS needs the extra `socks`), None for no proxy,
            True to read the environment: `wss_proxy`, `socks_proxy`, `https_proxy`, `no_proxy`; for
            ws `ws_proxy` first and `http_proxy` last.
        proxy_ssl: The TLS context for a proxy of the scheme https, through which only servers of ws
            can be reached.
        open_timeout: Time for the connection, TLS and the opening handshake together, in seconds;
            None for no limit.
        ping_interval: As for `serve`, like the arguments after it.
        create_connection: Makes the connection in place of `ClientConnection`.

    Raises:
        UriError: `uri` is not a ws or wss URI.
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value.
        OSError: There is no connection.
        TimeoutError: `open_timeout` has passed.
        ResponseError: The server does not accept.
        ProxyError: The proxy does not connect to the server.
    """
    target = parse_uri(uri)
    if ssl is not None and not target.secure:
        raise ValueError("ssl goes with a wss URI")
    headers = request_headers(additional_headers, origin, user_agent_header)
    known = add_compression(extensions, compression, CLIENT_DEFAULT)
    handshake = ClientHandshake(target, subprotocols=subprotocols, extensions=make_offers(known), headers=headers)
    settings = ConnectionSettings(
        open_timeout=open_timeout, ping_interval=ping_interval, ping_timeout=ping_timeout, close_timeout=close_timeout,
        idle_timeout=idle_timeout, total_timeout=total_timeout, max_size=max_size, max_queue=max_queue,
        fragment_size=fragment_size, piece_size=piece_size, max_send_size=max_send_size, text_errors=text_errors,
        send_close_reasons=send_close_reasons,
    )  # fmt: skip
    deadline = None if open_timeout is None else monotonic() + open_timeout
    if sock is None:
        transport = _open_transport(target, proxy, user_agent_header, proxy_ssl, open_timeout)
    else:
        transport = Transport(sock)
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


def _open_transport(
    target: Uri,
    proxy: str | Literal[True] | None,
    user_agent: str | None,
    proxy_ssl: tls.SSLContext | None,
    timeout: float | None,
) -> Transport:
    """Connect to the server of a URI by TCP, if need be through a proxy."""
    if proxy is True:
        proxy = find_proxy(target)
    if proxy is None:
        transport = Transport(socket.create_connection((target.host, target.port), timeout))
    else:
        transport = open_through_proxy(proxy, target, user_agent, proxy_ssl, timeout)
    transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return transport
