"""The server's side of the opening handshake (RFC 6455 4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final

import h11

from .._backend import accept_key
from ..errors import HandshakeError, StateError
from ..protocol.codecs import Terms
from .fields import FRAMING, check_added, decode_fields, explain
from .headers import Headers, check_field, format_extensions
from .http11 import MAX_HEAD, HeadScanner, Request, Response
from .request_checks import Offer, Origin, check_request

__all__ = ["BUSY", "MAX_TRAILING", "ServerHandshake", "refusal"]

#: The whole answer to whoever is one too many, for which no request need be read.
BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n"
)

#: The most bytes that a client may send after its request before it has the answer: 4.1 allows
#: none.
MAX_TRAILING: Final = 65536


class ServerHandshake:
    """The server's side of one handshake: `receive` until there is a request, then one answer."""

    __slots__ = ("_offer", "_scanner", "_trailing", "request", "response")

    def __init__(self) -> None:
        #: The client's request, None until it has arrived whole.
        self.request: Request | None = None
        #: What was sent, None before.
        self.response: Response | None = None
        self._trailing = b""
        self._offer: Offer | None = None
        self._scanner = HeadScanner()

    @property
    def trailing(self) -> bytes:
        """What has arrived after the head: frames, once the client is accepted."""
        return self._trailing

    def receive(self, data: bytes) -> Request | None:
        """Takes the next bytes; returns the request when its head is whole, before and after None.

        Raises HandshakeError if this is not HTTP as of RFC 9112, exceeds a limit of `head`, or
        comes with more than 64 KiB behind the head.
        """
        request = None
        if self.request is None:
            found = self._scanner.receive(data)
            if found is None:
                return None
            head, data = found
            request = self.request = _parse_request(head)
        self._trailing += data
        if len(self._trailing) > MAX_TRAILING:
            raise HandshakeError(400, "the client sends frames before the handshake is over")
        return request

    def check(self, *, origins: Sequence[Origin] | None = None) -> Offer:
        """`check_request` of the request. StateError before there is one."""
        if self.request is None:
            raise StateError("there is no request to answer")
        self._offer = None  # a check that fails undoes one that passed
        self._offer = check_request(self.request, origins=origins)
        return self._offer

    def accept(
        self,
        *,
        subprotocol: str | None = None,
        extensions: Sequence[Terms] = (),
        headers: Iterable[tuple[str, str]] = (),
    ) -> bytes:
        """The bytes of the 101 that opens the connection (4.2.2). `headers` are added to it.

        Runs `check` with the default origins if it has not passed yet, so it may raise
        HandshakeError. Raises ValueError, before anything has changed, for a subprotocol or an
        extension that was not offered, or a header that the handshake itself writes or that
        `head.check_field` refuses; StateError without a request or after an answer.
        """
        return self.answer(self.agree(subprotocol=subprotocol, extensions=extensions, headers=headers))

    def agree(
        self,
        *,
        subprotocol: str | None = None,
        extensions: Sequence[Terms] = (),
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        """The 101 that `accept` writes, to be given to `answer`. Raises as `accept` does."""
        offer = self._offer or self.check()
        assert self.request is not None
        key = self.request.headers["Sec-WebSocket-Key"].encode("latin-1")
        lines = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept_key(key).decode("ascii")),
        ]
        if subprotocol is not None:
            if subprotocol not in offer.subprotocols:
                raise ValueError(f"the client did not offer the subprotocol {subprotocol!r}")
            lines.append(("Sec-WebSocket-Protocol", subprotocol))
        if extensions:
            if not {name for name, _ in extensions} <= {name for name, _ in offer.extensions}:
                raise ValueError("the client did not offer all of these extensions")
            lines.append(("Sec-WebSocket-Extensions", format_extensions(extensions)))
        lines += check_added(headers)
        return Response(101, "Switching Protocols", Headers(lines))

    def reject(self, status: int, reason: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
        """The bytes of a refusal with `reason` as its body; then close. Raises as `respond` does.

        `status`, `reason` and `headers` are what a HandshakeError holds.
        """
        return self.respond(refusal(status, reason, headers))

    def respond(self, response: Response) -> bytes:
        """The bytes of any response but a 101, with "Connection: close"; then close.

        It may answer a request that is no handshake, or one that `receive` refused; to HEAD goes no
        body. Raises ValueError for a status outside 200 to 599, a body with 204 or 304, or a header
        that frames the message or that `head.check_field` refuses; StateError after an answer.
        """
        status = response.status
        if not 200 <= status <= 599 or (response.body and status in (204, 304)):
            raise ValueError(f"not the status of a response with such a body: {status}")
        for name in response.headers:
            if name in FRAMING:
                raise ValueError(f"{name} is written by the handshake itself")
        options = "Upgrade, close" if "Upgrade" in response.headers else "close"
        length = ("Content-Length", str(len(response.body)))
        to_head = self.request is not None and self.request.method == "HEAD"
        data = self._encode(response, [*response.headers.lines, length, ("Connection", options)])
        self.response = response
        return data if to_head else data + response.body

    def answer(self, response: Response) -> bytes:
        """The bytes of a response that `agree` has made, or else of any that `respond` takes.

        Between the two, headers may be added to the 101.
        """
        if response.status != 101:
            return self.respond(response)
        if self._offer is None:
            raise StateError("there is no offer to accept")
        data = self._encode(response, response.headers.lines)
        self.response = response
        return data

    def _encode(self, response: Response, lines: Iterable[tuple[str, str]]) -> bytes:
        if self.response is not None:
            raise StateError("the request has been answered")
        _, phrase = check_field("reason", response.reason)
        return b"HTTP/1.1 %d %b\r\n%b\r\n" % (
            response.status,
            phrase,
            b"".join([b"%b: %b\r\n" % check_field(*line) for line in lines]),
        )


def _parse_request(head: bytes) -> Request:
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    http.receive_data(head)
    try:
        event = http.next_event()
    except h11.RemoteProtocolError as error:
        raise HandshakeError(400, explain(error)) from error
    assert isinstance(event, h11.Request)
    return Request(
        event.method.decode("ascii"),
        event.target.decode("ascii"),
        decode_fields(event.headers.raw_items()),
        "HTTP/" + event.http_version.decode("ascii"),
    )


def refusal(status: int, reason: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """The response that says what a HandshakeError holds, with `reason` as its body."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [("Content-Type", "text/plain; charset=utf-8"), *headers]
    return Response(status, phrase, Headers(lines), f"{reason}\n".encode())
