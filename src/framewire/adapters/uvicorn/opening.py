"""The opening handshake between uvicorn and ASGI: what the HTTP protocol leaves, a request's scope, the answers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from traceback import walk_tb
from typing import Any, Final
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from ..._backend import accept_key
from ...errors import HandshakeError
from ...http.headers import check_field, format_extensions
from ...http.http11 import Request
from ...http.request_checks import Offer, check_http_version
from ...protocol.codecs import Codec, accept_offers
from ...protocol.permessage_deflate import PerMessageDeflate

__all__ = ["Header", "check_version", "format_acceptance", "format_response", "make_scope", "read_by_http"]

Header = tuple[bytes, bytes]

#: The window and memory of uvicorn's own classes.
_DEFLATE: Final = PerMessageDeflate(server_max_window_bits=12, client_max_window_bits=12, memory_level=5)


def read_by_http(transport: asyncio.Transport) -> bytes:
    """The bytes behind the request that uvicorn's HTTP protocol has read and does not hand over.

    h11 keeps them. httptools says where they begin, in the exception that uvicorn is just handling; what they are a
    part of is the argument of the `data_received` that raised it.
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


def check_version(transport: asyncio.Transport) -> None:
    """Refuse a request of HTTP/1.0 (4.2.1): uvicorn hands every request over as one of HTTP/1.1.

    Raises:
        HandshakeError: The version that uvicorn's HTTP protocol has read is lower than 1.1.
    """
    http = transport.get_protocol() if hasattr(transport, "get_protocol") else None
    version = (getattr(http, "scope", None) or {}).get("http_version")
    if version is not None and not check_http_version(f"HTTP/{version}"):
        raise HandshakeError(400, "the HTTP version is not 1.1 or higher")


def make_scope(
    config: Config, transport: asyncio.Transport, request: Request, offer: Offer, state: dict[str, Any]
) -> dict[str, Any]:
    """The scope of the application for one request."""
    path, _, query = request.target.partition("?")
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


def format_acceptance(
    request: Request, subprotocol: str | None, offer: Offer, compress: bool, headers: Iterable[Header]
) -> tuple[bytes, list[Codec]]:
    """The 101 (4.2.2), with permessage-deflate if it is to `compress`; and the codecs agreed on."""
    key = request.headers["Sec-WebSocket-Key"].encode("latin-1")
    lines = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"sec-websocket-accept", accept_key(key))]
    terms, codecs = accept_offers(offer.extensions, [_DEFLATE] if compress else [])
    if terms:
        lines.append((b"sec-websocket-extensions", format_extensions(terms).encode()))
    if subprotocol:
        lines.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
    return _format_head(101, [*lines, *headers]), codecs


def format_response(status: int, headers: Sequence[Header], body: bytes, defaults: Sequence[Header]) -> bytes:
    """Another answer, after which the connection ends; `defaults` are for what `headers` does not give."""
    given = {name.lower() for name, _ in headers}
    defaults = [
        *defaults,
        (b"connection", b"close"),
        (b"content-length", str(len(body)).encode()),
        (b"content-type", b"text/plain; charset=utf-8"),
    ]
    return _format_head(status, [*headers, *(header for header in defaults if header[0] not in given)]) + body


def _format_head(status: int, headers: Iterable[Header]) -> bytes:
    """The head of a response; ValueError for a header that could be read as anything but one."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}".encode()]
    for name, value in headers:
        lines.append(b": ".join(check_field(name.decode("latin-1"), value.decode("latin-1").strip(" \t"))))
    return b"\r\n".join(lines) + b"\r\n\r\n"
