"""Both sides of the opening handshake over a stream of bytes, with its log records (RFC 6455 4).

They wait for nothing but the stream and the callbacks of the server, so they run on every event
loop, and in a thread with functions that block.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, cast

from ..errors import HandshakeError, ResponseError
from ..http.client_handshake import ClientHandshake
from ..http.http11 import Request, Response
from ..http.server_answer import AnsweringServer, answer_request
from ..http.server_handshake import ServerHandshake
from ..http.server_policy import ServerPolicy
from ..protocol.codecs import Codec, Extension, agree_to_answers
from .logs import Logger, log_proxy_header, log_refusal, log_request, log_response

__all__ = ["Receive", "answer_client", "open_client", "read_proxy_header", "receive_request"]

#: Receives the next bytes of the peer, none at the end of input.
Receive: TypeAlias = "Callable[[], Awaitable[bytes | bytearray]]"


async def open_client(
    connection: Any,
    handshake: ClientHandshake,
    extensions: Sequence[Extension],
    send: Callable[[bytes], Awaitable[object]],
    receive: Receive,
) -> list[Codec]:
    """Perform the client's side; sets `request`, `response` and `subprotocol` of the connection.

    Args:
        connection: The connection.
        handshake: The handshake, with everything that the client offers.
        extensions: The extensions that it knows.
        send: Sends bytes to the server.
        receive: Receives bytes.

    Returns:
        The codecs of the extensions that were agreed on.

    Raises:
        ResponseError: The server does not accept.
    """
    connection.request = handshake.sent
    await send(handshake.request())
    log_request(connection.logger, ">", handshake.sent)
    try:
        while connection.response is None:
            data = await receive()
            connection.response = handshake.receive(bytes(data)) if data else handshake.receive_eof()
    except ResponseError as error:
        connection.response = cast("Response | None", error.response)
        if connection.response is not None:
            log_response(connection.logger, "<", connection.response)
        raise
    log_response(connection.logger, "<", connection.response)
    connection.subprotocol = handshake.subprotocol
    try:
        return agree_to_answers(handshake.extensions, extensions)
    except ValueError as error:
        raise ResponseError(str(error), connection.response) from None


async def read_proxy_header(
    policy: ServerPolicy, address: Any, receive: Callable[[int], Awaitable[bytes | bytearray]], logger: Logger
) -> Any:
    """Read the header of the PROXY protocol, if a connection has to begin with one.

    Args:
        policy: The policy of the server.
        address: The address of the peer.
        receive: Receives up to so many bytes.
        logger: Where an invalid header is logged.

    Returns:
        The address of the client, None if there is none.

    Raises:
        EOFError: The header is invalid; close the connection.
    """
    header = policy.begin(address)
    if header is None:
        return None
    try:
        while not header.receive(bytes(await receive(header.needed))):
            pass
    except (ValueError, EOFError) as error:
        log_proxy_header(logger, error)
        raise EOFError("no valid header of the PROXY protocol") from error
    return header.source


async def receive_request(connection: Any, handshake: ServerHandshake, receive: Receive) -> Request:
    """Receive the request of a client, and set `request` of the connection.

    Raises:
        HandshakeError: It is malformed.
        EOFError: The client left before it was complete.
    """
    try:
        request: Request | None = None
        while request is None:
            if not (data := await receive()):
                raise EOFError("connection closed while reading HTTP request line")
            request = connection.request = handshake.receive(bytes(data))
    except (HandshakeError, EOFError) as error:
        connection.logger.debug("! no valid HTTP request", exc_info=error)
        raise
    log_request(connection.logger, "<", request)
    return request


async def answer_client(
    connection: Any, handshake: ServerHandshake, server: AnsweringServer, receive: Receive
) -> tuple[bytes, list[Codec]]:
    """Receive the request of a client and decide about it; sets `request`, `response` and
    `subprotocol` of the connection.

    Args:
        connection: The connection.
        handshake: Its handshake.
        server: The server.
        receive: Receives bytes.

    Returns:
        The answer, which is for the caller to send, and the codecs of the extensions that were
        agreed on. The status of `response` tells whether the client is accepted.

    Raises:
        EOFError: The client left before its request was complete, or a callback has closed the
            connection.
    """
    malformed: HandshakeError | None = None
    try:
        await receive_request(connection, handshake, receive)
    except HandshakeError as error:
        malformed = error
    answer, codecs = await answer_request(connection, handshake, server, malformed)
    log_response(connection.logger, ">", connection.response)
    if connection.response.status != 101:
        log_refusal(connection.logger, connection.response)
    return answer, codecs
