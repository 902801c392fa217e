"""`answer_request`: the answer of a server to one opening handshake, from its callbacks and its
policy.

    request ─ process_request ─ policy ─ process_response ─▶ bytes, codecs

It waits for nothing but what the callbacks return, so it runs on every event loop.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from ..errors import HandshakeError
from ..protocol.codecs import Codec, Terms
from ..protocol.constants import CLOSED
from .headers import parse_extensions, parse_tokens
from .http11 import Request, Response
from .server_handshake import ServerHandshake, refusal
from .server_policy import ServerPolicy

__all__ = [
    "AnsweringServer", "ProcessRequest", "ProcessResponse", "answer_at_once", "answer_request", "encode", "explain",
]  # fmt: skip

ProcessRequest: TypeAlias = Callable[[Any, Request], "Awaitable[Response | None] | Response | None"]
ProcessResponse: TypeAlias = Callable[[Any, Request, Response], "Awaitable[Response | None] | Response | None"]


class AnsweringServer(Protocol):
    """A server, as far as its answers depend on it."""

    policy: ServerPolicy
    process_request: ProcessRequest | None
    process_response: ProcessResponse | None
    logger: logging.Logger | logging.LoggerAdapter[Any]
    closing: bool


async def answer_request(
    connection: Any, handshake: ServerHandshake, server: AnsweringServer, malformed: HandshakeError | None = None
) -> tuple[bytes, list[Codec]]:
    """Answer the request of a handshake; sets `response` and `subprotocol` of the connection.

    Args:
        connection: The connection, for the callbacks; its `subprotocols` are chosen from.
        handshake: The handshake; its request has arrived.
        server: The server. While it is closing it accepts nobody: the answer is 503.
        malformed: The error of a request that cannot be read; the callbacks are not asked then.

    Returns:
        The bytes of the answer, and the codecs of the extensions that were agreed on.

    Raises:
        EOFError: A callback has closed the connection.
    """
    request = handshake.request
    _note_client(connection, handshake, server)
    response: Response | None = None
    codecs: list[Codec] = []
    if malformed is not None:
        response = explain(server, malformed, "")
    elif server.process_request is not None:
        assert request is not None
        try:
            response = await _result(server.process_request(connection, request), "process_request")
            if response is not None:
                response = server.policy.complete(response)
        except Exception as error:
            response = explain(server, error, "process_request failed")
        _check_open(connection)
    if response is None:
        response, codecs = _decide(connection, handshake, server)
    if malformed is None and server.process_response is not None:
        assert request is not None
        try:
            agreed = _list_terms(response)
            changed = await _result(server.process_response(connection, request, response), "process_response")
            response = changed or response
            if response.status == 101:
                connection.subprotocol = _find_subprotocol(request, response)
                codecs = _select_codecs(agreed, codecs, _list_terms(response))
        except Exception as error:
            response = explain(server, error, "process_response failed")
    return encode(connection, handshake, server, response), codecs


def answer_at_once(connection: Any, handshake: ServerHandshake, server: AnsweringServer) -> tuple[bytes, list[Codec]]:
    """Like `answer_request`, for a server without these callbacks."""
    _note_client(connection, handshake, server)
    response, codecs = _decide(connection, handshake, server)
    return encode(connection, handshake, server, response), codecs


def _note_client(connection: Any, handshake: ServerHandshake, server: AnsweringServer) -> None:
    """Set what trusted proxies tell of the client."""
    proxies, request = server.policy.trusted_proxies, handshake.request
    if proxies is not None and request is not None:
        peer = connection.remote_address
        connection.client_address = proxies.find_client(peer, request.headers)
        connection.client_scheme = proxies.find_scheme(peer, request.headers)


def _decide(connection: Any, handshake: ServerHandshake, server: AnsweringServer) -> tuple[Response, list[Codec]]:
    """Return the response of the policy, and the codecs if it is a 101."""
    policy = server.policy
    try:
        offer = policy.check(handshake)
        connection.subprotocol, answers, codecs = policy.choose(offer, connection, connection.subprotocols)
        return (
            handshake.agree(subprotocol=connection.subprotocol, extensions=answers, headers=policy.headers()),
            codecs,
        )
    except Exception as error:
        return explain(server, error, "opening handshake failed"), []


def _list_terms(response: Response) -> list[Terms]:
    """Return the extensions that a 101 response names, none of another response."""
    return parse_extensions(response.headers.get_all("Sec-WebSocket-Extensions")) if response.status == 101 else []


def _select_codecs(agreed: list[Terms], codecs: list[Codec], named: list[Terms]) -> list[Codec]:
    """Return the codecs of the extensions that a callback has left in the response.

    Args:
        agreed: The extensions that were agreed on.
        codecs: Their codecs.
        named: The extensions of the response after the callback.

    Raises:
        ValueError: It names one that was not agreed on, or one twice.
    """
    agreed, codecs, selected = agreed.copy(), codecs.copy(), []
    for terms in named:
        if terms not in agreed:
            raise ValueError(f"the response names the extension {terms[0]} otherwise than it was agreed on")
        index = agreed.index(terms)
        del agreed[index]
        selected.append(codecs.pop(index))
    return selected


def _find_subprotocol(request: Request, response: Response) -> str | None:
    """Return the subprotocol that a 101 response names.

    Raises:
        ValueError: The client did not offer it, or there are several.
    """
    named = response.headers.get_all("Sec-WebSocket-Protocol")
    if not named:
        return None
    if len(named) > 1 or named[0] not in parse_tokens(request.headers.get_all("Sec-WebSocket-Protocol")):
        raise ValueError(f"the response names subprotocols that the client did not offer: {', '.join(named)}")
    return named[0]


def explain(server: AnsweringServer, error: Exception, text: str) -> Response:
    """Return the response to an exception; log one that is no HandshakeError, with a text."""
    if isinstance(error, HandshakeError):
        try:
            return server.policy.complete(server.policy.explain(error))
        except Exception as unfit:  # the reason or the headers of a callback cannot be sent
            error = unfit
    server.logger.error(text, exc_info=error)
    return server.policy.complete(server.policy.explain(error))


def encode(connection: Any, handshake: ServerHandshake, server: AnsweringServer, response: Response) -> bytes:
    """Return the bytes of a response; sets `response` of the connection.

    Raises:
        EOFError: A callback has closed the connection.
    """
    _check_open(connection)
    if server.closing and response.status == 101:
        response = server.policy.complete(refusal(503, "the server is shutting down"))
    try:
        answer = handshake.answer(response)
    except Exception as error:  # the response is one of a callback, for example with text as its body
        answer = handshake.answer(explain(server, error, "opening handshake failed"))
    connection.response = handshake.response
    return answer


def _check_open(connection: Any) -> None:
    """Raise EOFError if a callback has closed the connection."""
    if connection.state is CLOSED:
        raise EOFError("the connection was closed in the opening handshake")


async def _result(value: Any, callback: str) -> Response | None:
    """Return what a callback returns, or what that awaits."""
    if inspect.isawaitable(value):
        value = await value
    if value is not None and not isinstance(value, Response):
        raise TypeError(f"{callback} returns a Response or None, not {type(value).__name__}")
    return value
