"""The server's end of one connection: its opening handshake (RFC 6455 4.2), for both APIs."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..errors import HandshakeError
from ..http.headers import Headers
from ..http.http11 import Request, Response
from ..http.request_checks import Offer, Origin, choose_subprotocol
from ..http.server_handshake import ServerHandshake, refusal
from ..protocol.codecs import Codec, Extension, accept_offers
from ..protocol.constants import SERVER
from .callbacks import Listener, ListenerConnection
from .connection import Connection
from .endpoint import Endpoint
from .limits import Limits

if TYPE_CHECKING:
    from .server import Server

__all__ = [
    "SAME_ORIGIN", "SERVER_HEADER", "Policy", "ProcessRequest", "ProcessResponse", "SelectSubprotocol",
    "ServerConnection", "ServerListenerConnection", "Serving",
]  # fmt: skip

#: Only pages of the server's own host may connect; and what is not a page.
SAME_ORIGIN: Final = "same-origin"

#: The Server header.
SERVER_HEADER: Final = f"Python/{sys.version_info[0]}.{sys.version_info[1]} framewire"

_ANY_ORIGIN: Final[Sequence[Origin]] = (re.compile(".*", re.DOTALL), None)

ProcessRequest: TypeAlias = Callable[[Any, Request], "Awaitable[Response | None] | Response | None"]
ProcessResponse: TypeAlias = Callable[[Any, Request, Response], "Awaitable[Response | None] | Response | None"]
SelectSubprotocol: TypeAlias = Callable[[Any, Sequence[str]], "str | None"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a server answers, and what it allows; see `serve`."""

    limits: Limits
    origins: Sequence[Origin] | str | None = SAME_ORIGIN
    subprotocols: Sequence[str] = ()
    select_subprotocol: SelectSubprotocol | None = None
    process_request: ProcessRequest | None = None
    process_response: ProcessResponse | None = None
    server_header: str | None = SERVER_HEADER
    extensions: Sequence[Extension] = ()

    def __post_init__(self) -> None:
        if isinstance(self.origins, str) and self.origins != SAME_ORIGIN:
            raise TypeError("origins is a list, SAME_ORIGIN or None")
        if isinstance(self.subprotocols, str):
            raise TypeError("subprotocols is a list")

    def check(self, handshake: ServerHandshake) -> Offer:
        """What the client offers; HandshakeError if it may not connect."""
        if self.origins is None:
            return handshake.check(origins=_ANY_ORIGIN)
        return handshake.check(origins=None if isinstance(self.origins, str) else self.origins)

    def headers(self) -> list[tuple[str, str]]:
        """What every answer carries besides."""
        lines = [("Date", _format_date(int(time())))]
        if self.server_header is not None:
            lines.append(("Server", self.server_header))
        return lines


@lru_cache(1)
def _format_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


class Serving(Endpoint):
    """The handshake of a `ServerConnection` or a `ServerListenerConnection`."""

    __slots__ = ()

    role = SERVER
    server: Server
    _handshake: ServerHandshake | None
    #: What to choose from; `process_request` may replace it.
    subprotocols: Sequence[str]
    _codecs: Sequence[Codec]
    _task: asyncio.Task[None] | None

    def __init__(self, server: Server) -> None:
        super().__init__(server.policy.limits, server.pulse)
        self.server = server
        self.subprotocols = server.policy.subprotocols
        self._handshake = ServerHandshake()
        self._codecs = ()
        self._task = None

    @property
    def logger(self) -> logging.Logger:
        """The server's logger."""
        return self.server.logger

    def respond(self, status: int, text: str) -> Response:
        """A response in plain text, for `process_request` to return."""
        lines = [("Content-Type", "text/plain; charset=utf-8")]
        return Response(int(status), HTTPStatus(status).phrase, Headers(lines), text.encode())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self.server.connected(self):
            self._handshake = None
            return
        timeout = self._limits.open_timeout
        if timeout is not None:  # one deadline for all of it: bytes that trickle in do not move it
            self._deadline = self.loop.call_later(timeout, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.server.disconnected(self)

    def opening_failed(self, error: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def head_received(self, data: bytes) -> None:
        handshake = self._handshake
        if handshake is None or self.response is not None:
            return  # what follows a refused request
        try:
            request = handshake.receive(data)
        except HandshakeError as error:
            self._refuse(error)
            return
        if request is None:
            return
        self.request = request
        policy = self.server.policy
        if policy.process_request is None and policy.process_response is None:
            self._conclude(self._decide(None))
        else:
            # What follows the head is the stream's, which does not exist before the answer.
            self.transport.pause_reading()
            self._task = self.server.start(self._answer(request))

    async def _answer(self, request: Request) -> None:
        """Answer with what the callbacks say."""
        policy = self.server.policy
        response: Response | None = None
        if policy.process_request is not None:
            try:
                response = await _result(policy.process_request(self, request))
            except Exception as error:
                response = self._explain(error)
        response = self._decide(response)
        if policy.process_response is not None:
            try:
                response = await _result(policy.process_response(self, request, response)) or response
            except Exception as error:
                response = self._explain(error)
        self._task = None
        self._conclude(response)
        if not self._held:
            self.transport.resume_reading()

    def _decide(self, response: Response | None) -> Response:
        """The response to the request, unless there is one already."""
        policy, handshake = self.server.policy, self._handshake
        assert handshake is not None
        if response is None:
            try:
                offer = policy.check(handshake)
                if policy.select_subprotocol is not None:
                    self.subprotocol = policy.select_subprotocol(self, offer.subprotocols)
                else:
                    self.subprotocol = choose_subprotocol(offer.subprotocols, self.subprotocols)
                answers, self._codecs = accept_offers(offer.extensions, policy.extensions)
                return handshake.agree(subprotocol=self.subprotocol, extensions=answers, headers=policy.headers())
            except Exception as error:
                response = self._explain(error)
        for name, value in policy.headers():
            if name not in response.headers:
                response.headers[name] = value
        return response

    def _explain(self, error: Exception) -> Response:
        if not isinstance(error, HandshakeError):
            self.logger.error("opening handshake failed", exc_info=error)
            error = HandshakeError(500, "the server met an unexpected error")
        return refusal(error.status, error.reason, error.headers)

    def _refuse(self, error: HandshakeError) -> None:
        """Answer a request that cannot be understood."""
        self._conclude(self._decide(refusal(error.status, error.reason, error.headers)))

    def _conclude(self, response: Response) -> None:
        """Send the answer, and if it accepts begin with the frames."""
        handshake = self._handshake
        assert handshake is not None
        try:
            answer = handshake.answer(response)
        except ValueError as error:
            answer = handshake.answer(self._explain(error))
        self._handshake = None
        assert handshake.response is not None
        self.response = response = handshake.response
        if self.request is not None:
            self.request.headers.pack()
        response.headers.pack()
        self.transport.write(answer)
        if response.status == 101:
            codecs, self._codecs = self._codecs, ()
            self._open(handshake.trailing, codecs)
            self.server.opened(self)
        else:
            self._finish()


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


class ServerConnection(Serving, Connection):
    """The server's end. `request` is what the client sent, `response` what it was answered."""

    __slots__ = ("_codecs", "_handshake", "_task", "server", "subprotocols")

    async def __aenter__(self) -> ServerConnection:
        return self


class ServerListenerConnection(Serving, ListenerConnection):
    """The server's end, whose events go to the server's `Listener`."""

    __slots__ = ("_codecs", "_handshake", "_task", "listener", "server", "subprotocols")

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        assert isinstance(server.handler, Listener)
        self.listener = server.handler
