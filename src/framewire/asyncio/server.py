"""The asyncio server: `serve` listens, and runs a handler for each connection that it opens."""

from __future__ import annotations

import asyncio
import inspect
import logging
import ssl as tls
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, TypeAlias

from ..codes import SERVER, CloseCode, State
from ..errors import ConnectionClosed, HandshakeError
from ..handshake import Request, Response, ServerHandshake
from .connection import Connection, Limits, Opening

__all__ = ["Server", "ServerConnection", "serve"]

logger = logging.getLogger("framewire.server")


class ServerConnection(Connection):
    """The server's end of a WebSocket. `request` is the client's, `response` the answer to it."""

    role = SERVER

    def __init__(self, server: Server) -> None:
        super().__init__(server.limits)
        self.server = server
        self._handshake = ServerHandshake()
        self._task: asyncio.Task[None] | None = None

    def respond(self, status: int, text: str) -> Response:
        """A plain answer for `process_request` to return instead of opening the WebSocket."""
        return Response(
            status,
            HTTPStatus(status).phrase,
            [("Content-Type", "text/plain; charset=utf-8")],
            text.encode(),
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.server.connected(self)
        if self._limits.open_timeout is not None:
            self._deadline = self.loop.call_later(self._limits.open_timeout, self._opened_too_late)

    def head_received(self, data: bytes) -> None:
        if self._task is not None or self.response is not None:
            return  # the rest of what was refused
        try:
            self.request = self._handshake.receive(data)
        except HandshakeError as error:
            self.refuse(error)
            return
        if self.request is not None:
            # What follows the head is for the stream, which begins with the answer.
            self.transport.pause_reading()
            self._task = self.loop.create_task(self._run(self.request))

    def opening_failed(self, error: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def _opened_too_late(self) -> None:
        self.transport.abort()

    async def _run(self, request: Request) -> None:
        """Answer the request, then run the handler to its end and close."""
        try:
            await self._answer(request)
        ...
