"""The server's side of the opening handshake (RFC 6455 4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final

from .._backend import accept_key
from ..errors import HandshakeError, StateError
from ..protocol.codecs import Terms
from .headers import FRAMING, Headers, check_field, format_additional, format_extensions, split_list
from .http11 import HeadLimits, HeadScanner, Request, Response, check_head_limits
from .ordinary_heads import take_request
from .request_checks import Offer, Origin, check_request

__all__ = [
    "BUSY", "CLOSING", "CONTINUE", "MAX_TRAILING", "WITHOUT_CONTENT", "ServerHandshake", "expects_continue", "refusal",
]  # fmt: skip

#: 503 response for connections above `max_connections`; sent without reading the request.
BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n"
)

#: 503 response for clients whose request has not arrived when the server closes.
CLOSING: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 28\r\n\r\nthe server is shutting down\n"
)

#: The interim response to a request with "Expect: 100-continue"; it comes before the body, or a 101
#: (RFC 9110 7.8, 10.1.1).
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

#: The final statuses whose response has neither content nor Content-Length (RFC 9110 8.6, 15.3.5,
#: 15.3.6, 15.4.5).
WITHOUT_CONTENT: Final = frozenset({204, 205, 304})

#: The maximum number of bytes that a client may send after its request before it has the response;
#: 4.1 allows none.
MAX_TRAILING: Final = 65536


class ServerHandshake:
    """The server's side of one opening handshake.

    Pass the bytes that arrive to `receive` until it returns the request; then answer once, with
    `accept`, `reject` or `respond`. `check` tells which.

    Args:
        limits: The limits of the request, None for those of the environment.

    Raises:
        TypeError: `limits` is something else.
    """

    __slots__ = ("_agreed", "_limits", "_offer", "_scanner", "_trailing", "request", "response")

    def __init__(self, limits: HeadLimits | None = None) -> None:
        #: The request of the client, None until it is complete.
        self.request: Request | None = None
        #: The response that was sent, None before.
        self.response: Response | None = None
        self._trailing = b""
        self._offer: Offer | None = None
        self._agreed: tuple[Response, str] | None = None  # the 101 response of `agree`, and its header lines
        self._limits = check_head_limits(limits)
        self._scanner: HeadScanner | None = None  # of a head that is not ordinary

    @property
    def trailing(self) -> bytes:
        """The bytes that have arrived after the head: frames, if the client is accepted."""
        return self._trailing

    def receive(self, data: bytes) -> Request | None:
        """Receive the next bytes.

        Args:
            data: Any bytes-like object; chunk boundaries do not matter.

        Returns:
            The request once, when its head is complete; None before and after.

        Raises:
            HandshakeError: The bytes are not HTTP as of RFC 9112 or exceed a limit of
                `HeadScanner`, or more than 64 KiB follow the head.
        """
        request = None
        if self.request is None:
            found = self._take_request(data)
            if found is None:
                return None
            request, data = found
            self.request = request
        self._trailing += data
        if len(self._trailing) > MAX_TRAILING:
            raise HandshakeError(400, "the client sends frames before the handshake is over")
        return request

    def _take_request(self, data: bytes) -> tuple[Request, bytes] | None:
        if self._scanner is None:
            found = take_request(data, self._limits)
            if found is not None:
                return found
            self._scanner = HeadScanner(self._limits, empty_lines=1)
        scanned = self._scanner.receive(data)
        if scanned is None:
            return None
        head, rest = scanned
        found = take_request(head, self._limits)
        if found is not None:
            return found[0], rest
        # Imported here because h11 takes long to import.
        from .message_parser import parse_request

        return parse_request(head), rest

    def check(self, *, origins: Sequence[Origin] | None = None, version: str | None = None) -> Offer:
        """Check the request with `check_request`, whose arguments these are.

        Args:
            origins: As for `check_request`.
            version: As for `check_request`.

        Returns:
            What the client offers.

        Raises:
            HandshakeError: The server cannot accept the request.
            StateError: There is no request yet.
        """
        if self.request is None:
            raise StateError("there is no request to answer")
        self._offer = None  # a check that fails undoes one that passed
        self._offer = check_request(self.request, origins=origins, version=version)
        return self._offer

    def accept(
        self,
        *,
        subprotocol: str | None = None,
        extensions: Sequence[Terms] = (),
        headers: Iterable[tuple[str, str]] = (),
    ) -> bytes:
        """Accept the client.

        Args:
            subprotocol: The subprotocol of the connection, one that the client offers.
            extensions: The answers to the client's offers of extensions.
            headers: Header lines to add to the response: pairs of name and value.

        Returns:
            The bytes of the 101 response that opens the connection (4.2.2).

        Raises:
            HandshakeError: `check` has not been called, and its default origins refuse the request.
            ValueError: The client did not offer the subprotocol or an extension, or a header is
                malformed or written by the handshake itself. Nothing has changed.
            StateError: There is no request yet, or it has been answered.
        """
        return self.answer(self.agree(subprotocol=subprotocol, extensions=extensions, headers=headers))

    def agree(
        self,
        *,
        subprotocol: str | None = None,
        extensions: Sequence[Terms] = (),
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        """Return the 101 response that `accept` encodes, to be passed to `answer`.

        The arguments and exceptions are those of `accept`.

        Args:
            subprotocol: As for `accept`.
            extensions: As for `accept`.
            headers: As for `accept`.
        """
        offer = self._offer or self.check()
        assert self.request is not None
        key = self.request.headers["Sec-WebSocket-Key"].encode("latin-1")
        text = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept_key(key).decode("ascii")
        if subprotocol is not None:
            if subprotocol not in offer.subprotocols:
                raise ValueError(f"the client did not offer the subprotocol {subprotocol!r}")
            text += f"\r\nSec-WebSocket-Protocol: {subprotocol}"
        if extensions:
            if not {name for name, _ in extensions} <= {name for name, _ in offer.extensions}:
                raise ValueError("the client did not offer all of these extensions")
            text += f"\r\nSec-WebSocket-Extensions: {format_extensions(extensions)}"
        text += format_additional(tuple(map(tuple, headers)))
        response = Response(101, "Switching Protocols", Headers.from_text(text))
        self._agreed = response, text
        return response

    def reject(self, status: int, reason: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
        """Return the bytes of a refusal; send them, then close the connection.

        Args:
            status: The status code, as of a HandshakeError.
            reason: The body of the response, as of a HandshakeError.
            headers: Header lines to add, as of a HandshakeError.

        Raises:
            ValueError: As `respond`.
            StateError: The request has been answered.
        """
        return self.respond(refusal(status, reason, headers))

    def respond(self, response: Response) -> bytes:
        """Return the bytes of a response other than 101; send them, then close the connection.

        The request may be one that is no handshake, or one that `receive` refused. The response to
        HEAD has no body. Content-Length and "Connection: close" are added, unless the response has
        them; one with status 204, 205 or 304 has no Content-Length.

        Args:
            response: The response.

        Raises:
            ValueError: The status is outside 200 to 599, or 204, 205 or 304 with a body, or a header is
                malformed or frames the message otherwise than this method does.
            TypeError: The body is not bytes, or another part has the wrong type.
            StateError: The request has been answered.
        """
        status = response.status
        if not 200 <= status <= 599 or (response.body and status in WITHOUT_CONTENT):
            raise ValueError(f"not the status of a response with such a body: {status}")
        length = str(len(response.body))
        own = {"content-length": length, "connection": "close"}
        for name in FRAMING.intersection(response.headers):
            if response.headers.get_joined(name).lower() != own.get(name):
                raise ValueError(f"{name} is written by the handshake itself")
        lines = [line for line in response.headers.lines if line[0].lower() not in FRAMING]
        options = "Upgrade, close" if "Upgrade" in response.headers else "close"
        to_head = self.request is not None and self.request.method == "HEAD"
        framing = [("Content-Length", length), ("Connection", options)][status in WITHOUT_CONTENT :]
        data = self._encode(response, [*lines, *framing]) + (b"" if to_head else response.body)
        self.response = response
        return data

    def answer(self, response: Response) -> bytes:
        """Return the bytes of a response that `agree` has made, or of another one, as `respond`.

        Headers may have been added to the 101 since. A 100 response precedes it if the client
        expects one (RFC 9110 7.8).

        Args:
            response: The response.

        Raises:
            ValueError: A header is malformed, the response is a 101 although `check` has not
                accepted the request, or `respond` refuses the response.
            StateError: The request has been answered.
        """
        if response.status != 101:
            return self.respond(response)
        if self._offer is None:
            raise ValueError("a 101 response comes from `agree`")
        agreed, text = self._agreed or (None, "")
        if response is agreed and response.headers.are_of(text):  # known to be well-formed
            self._check_unanswered()
            data = f"HTTP/1.1 101 {response.reason}\r\n{text}\r\n\r\n".encode("latin-1")
        else:
            data = self._encode(response, response.headers.lines)
        self.response = response
        assert self.request is not None
        return CONTINUE + data if expects_continue(self.request) else data

    def _check_unanswered(self) -> None:
        if self.response is not None:
            raise StateError("the request has been answered")

    def _encode(self, response: Response, lines: Iterable[tuple[str, str]]) -> bytes:
        self._check_unanswered()
        _, phrase = check_field("reason", response.reason)
        return b"HTTP/1.1 %d %b\r\n%b\r\n" % (
            response.status,
            phrase,
            b"".join([b"%b: %b\r\n" % check_field(*line) for line in lines]),
        )


def expects_continue(request: Request) -> bool:
    """Return whether a client waits for a 100 response before it sends more (RFC 9110 10.1.1)."""
    expected = request.headers.by_name().get("expect")
    return (
        expected is not None
        and request.version != "HTTP/1.0"
        and "100-continue" in map(str.lower, split_list(expected))
    )


def refusal(status: int, reason: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Return the response for the status, reason and headers of a HandshakeError.

    Args:
        status: The status code.
        reason: The body, without its newline; not sent with a status that has none. Lone surrogates
            become "?".
        headers: Header lines to add.

    Raises:
        ValueError: The status is outside 200 to 599.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"not the status of a refusal: {status}")
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    if status in WITHOUT_CONTENT:
        return Response(status, phrase, Headers(headers))
    lines = [("Content-Type", "text/plain; charset=utf-8"), *headers]
    return Response(status, phrase, Headers(lines), f"{reason}\n".encode(errors="replace"))
