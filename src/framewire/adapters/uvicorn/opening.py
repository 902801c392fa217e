"""The opening handshake between uvicorn's HTTP protocol and an ASGI application.

HTTP protocol ─ head ─▶ AsgiOpening ─ scope ─▶ application ─ event ─▶ AsgiOpening ─ response ─▶ transport
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from traceback import walk_tb
from typing import Any, Final, cast
from urllib.parse import unquote
from weakref import ref

from uvicorn.config import Config
from uvicorn.protocols.utils import (
    get_client_addr,
    get_local_addr,
    get_path_with_query_string,
    get_remote_addr,
    is_ssl,
)
from uvicorn.server import ServerState

from ..._backend import accept_key
from ...asyncio.driver import Driver, Opening
from ...errors import HandshakeError
from ...http.headers import check_field, format_extensions
from ...http.http11 import Request
from ...http.request_checks import Offer
from ...http.request_target import split_target
from ...http.server_handshake import MAX_TRAILING, WITHOUT_CONTENT, ServerHandshake
from ...http.server_policy import ServerPolicy
from ...protocol.codecs import Codec, accept_offers
from ...protocol.permessage_deflate import PerMessageDeflate

__all__ = ["AsgiOpening"]

Header = tuple[bytes, bytes]

#: The application decides who may connect: uvicorn does not look at Origin.
_POLICY: Final = ServerPolicy(origins=None)

_logger: Final = logging.getLogger("uvicorn.error")


class AsgiOpening(Opening):
    """The opening handshake of one connection: uvicorn hands over the request, the application
    answers it.

    Bytes that arrive before the answer are kept; above 64 KiB of them reading pauses until the
    answer.

    Args:
        driver: The driver of the connection.
        config: uvicorn's configuration.
        deflate: The compression to agree to, None for none; the application can turn it off.
        server_state: uvicorn's state of the server, with the headers of every response.
        app_state: The state that the lifespan of the application has set up.
        start: Called with the scope when the application is to run for the request.
    """

    __slots__ = (
        "_app_state", "_body", "_compression", "_config", "_default_headers", "_deflate", "_driver", "_early",
        "_handshake", "_offer", "_response", "_scope", "_start", "answered",
    )  # fmt: skip

    def __init__(
        self,
        driver: Driver,
        config: Config,
        deflate: PerMessageDeflate | None,
        server_state: ServerState,
        app_state: dict[str, Any],
        start: Callable[[dict[str, Any]], None],
    ) -> None:
        self._driver = driver
        self._config = config
        self._deflate = deflate
        self._compression = {"enabled": deflate is not None}  # in the scope
        self._default_headers = server_state.default_headers
        self._app_state = app_state
        self._start = start
        self._scope: dict[str, Any] = {}
        #: Whether the request has been answered.
        self.answered = False
        self._handshake = ServerHandshake()
        self._offer = Offer([], [])
        self._early = bytearray()  # bytes after the request
        self._response: tuple[int, list[Header]] | None = None  # the head of a refusal whose body is not complete
        self._body = bytearray()

    # The request.

    def connected(self) -> None:
        self._early += _read_by_http(self._driver.transport)

    def receive(self, data: bytes) -> None:
        if self._handshake.request is None:
            self._receive_request(data)
        elif not self.answered:
            self._early += data
            if len(self._early) > MAX_TRAILING:
                self._driver.transport.pause_reading()

    def _receive_request(self, data: bytes) -> None:
        """Check the request (4.2.1) and start the application, or refuse it."""
        handshake, transport = self._handshake, self._driver.transport
        try:
            request = handshake.receive(data)
            if request is None:
                return
            self._offer = _POLICY.check(handshake, version=_version_read_by_http(transport))
        except HandshakeError as error:
            headers = [(name.encode(), value.encode()) for name, value in error.headers]
            self._respond(error.status, headers, error.reason.encode())
            return
        self._early[:0] = handshake.trailing
        self._scope = _make_scope(self._config, transport, request, self._offer, self._app_state)
        self._scope["extensions"]["framewire.compression"] = self._compression
        # For framewire.rooms; an application that keeps its scope does not keep the connection.
        self._scope["extensions"]["framewire.topics"] = {"driver": ref(self._driver)}
        self._start(self._scope)

    # The answer.

    @property
    def responding(self) -> bool:
        """Whether the application has begun a refusal of its own."""
        return self._response is not None

    def accept(self, message: Any) -> tuple[bytes, list[Codec]]:
        """Answer with 101, as `websocket.accept` says.

        Returns:
            The bytes that have arrived after the request, and the codecs that were agreed on.

        Raises:
            ValueError: A header of the application is none.
        """
        request, deflate = self._handshake.request, self._deflate if self._compression["enabled"] else None
        assert request is not None
        headers = [*self._default_headers, *message.get("headers", ())]
        head, codecs = _format_acceptance(request, message.get("subprotocol"), self._offer, deflate, headers)
        self._log("[accepted]")
        self.answered = True
        self._driver.transport.write(head)
        early, self._early = bytes(self._early), bytearray()
        return early, codecs

    def refuse(self, kind: str, message: Any) -> None:
        """Do what an event says that begins, goes on with or completes a refusal.

        Raises:
            RuntimeError: The event is out of turn.
            ValueError: A header of the application is none.
        """
        if self._response is not None:
            if kind != "websocket.http.response.body":
                raise RuntimeError(f"Expected ASGI message 'websocket.http.response.body' but got '{kind}'.")
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                self.end()
        elif kind == "websocket.close":
            self._log("403")
            self._respond(403, [], b"")
        elif kind == "websocket.http.response.start":
            status = message["status"]
            if not 200 <= status < 600:
                raise RuntimeError(f"Invalid HTTP status code '{status}' in response.")
            self._log(str(status))
            self._response = status, list(message.get("headers", ()))
        else:
            raise RuntimeError(
                "Expected ASGI message 'websocket.accept', 'websocket.close' or 'websocket.http.response.start' "
                f"but got '{kind}'."
            )

    def end(self) -> None:
        """Answer with the refusal that the application has begun, with 500 if it has begun none."""
        if self._response is None:
            self._respond(500, [], b"Internal Server Error")
        else:
            self._respond(*self._response, bytes(self._body))

    def _respond(self, status: int, headers: list[Header], body: bytes) -> None:
        response = _format_response(status, headers, body, self._default_headers)
        self.answered = True
        self._driver.transport.write(response)
        self._driver.refuse()

    def _log(self, outcome: str) -> None:
        scope = cast(Any, self._scope)
        _logger.info('%s - "WebSocket %s" %s', get_client_addr(scope), get_path_with_query_string(scope), outcome)


def _read_by_http(transport: asyncio.Transport) -> bytes:
    """Return the bytes after the request that uvicorn's HTTP protocol has read and does not hand
    over.

    h11 keeps them. httptools says where they begin, in the exception that uvicorn is handling at
    this moment; the data is the argument of the `data_received` that raised it, and only the
    traceback still refers to that.
    """
    http = transport.get_protocol() if hasattr(transport, "get_protocol") else None
    trailing: tuple[bytes, bool] | None = getattr(getattr(http, "conn", None), "trailing_data", None)
    if trailing is not None:
        return trailing[0]
    error = sys.exc_info()[1]
    if type(error).__name__ == "HttpParserUpgrade" and error is not None:
        for frame, _ in walk_tb(error.__traceback__):
            if frame.f_locals.get("self") is http and "data" in frame.f_locals:
                return bytes(frame.f_locals["data"][error.args[0] :])
    return b""


def _version_read_by_http(transport: asyncio.Transport) -> str | None:
    """Return the HTTP version of the request: uvicorn hands every request over as one of
    HTTP/1.1.
    """
    http = transport.get_protocol() if hasattr(transport, "get_protocol") else None
    version = (getattr(http, "scope", None) or {}).get("http_version")
    return None if version is None else f"HTTP/{version}"


def _make_scope(
    config: Config, transport: asyncio.Transport, request: Request, offer: Offer, state: dict[str, Any]
) -> dict[str, Any]:
    """Return the scope of the application for one request."""
    path, _, query = split_target(request.target)[1].partition("?")
    return {
        "type": "websocket",
        "asgi": {"version": config.asgi_version, "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "wss" if is_ssl(transport) else "ws",
        "server": get_local_addr(transport),
        "client": get_remote_addr(transport),
        "root_path": config.root_path,
        "path": config.root_path + unquote(path),
        "raw_path": (config.root_path + path).encode("ascii"),
        "query_string": query.encode("ascii"),
        "headers": [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.lines],
        "subprotocols": offer.subprotocols,
        "state": state.copy(),
        "extensions": {"websocket.http.response": {}},
    }


def _format_acceptance(
    request: Request,
    subprotocol: str | None,
    offer: Offer,
    deflate: PerMessageDeflate | None,
    headers: Iterable[Header],
) -> tuple[bytes, list[Codec]]:
    """Return the 101 (4.2.2), with permessage-deflate if there is `deflate`, and the codecs agreed
    on.
    """
    key = request.headers["Sec-WebSocket-Key"].encode("latin-1")
    lines = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"sec-websocket-accept", accept_key(key))]
    terms, codecs = accept_offers(offer.extensions, [] if deflate is None else [deflate])
    if terms:
        lines.append((b"sec-websocket-extensions", format_extensions(terms).encode()))
    if subprotocol:
        lines.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
    return _format_head(101, [*lines, *headers]), codecs


def _format_response(status: int, headers: Sequence[Header], body: bytes, defaults: Sequence[Header]) -> bytes:
    """Return a response that ends the connection.

    `defaults` are headers that `headers` replaces.
    """
    given = {name.lower() for name, _ in headers}
    defaults = [*defaults, (b"connection", b"close")]
    if status in WITHOUT_CONTENT:
        body, headers = b"", [header for header in headers if header[0].lower() != b"content-length"]
    else:
        defaults += [
            (b"content-length", str(len(body)).encode()),
            (b"content-type", b"text/plain; charset=utf-8"),
        ]
    return _format_head(status, [*headers, *(header for header in defaults if header[0] not in given)]) + body


def _format_head(status: int, headers: Iterable[Header]) -> bytes:
    """Return the head of a response.

    ValueError for a header that could be read as anything but one.
    """
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}".encode()]
    for name, value in headers:
        lines.append(b": ".join(check_field(name.decode("latin-1"), value.decode("latin-1").strip(" \t"))))
    return b"\r\n".join(lines) + b"\r\n\r\n"
