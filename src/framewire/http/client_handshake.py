"""The client's side of the opening handshake (RFC 6455 4.1)."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NoReturn

import h11

from .._backend import accept_key
from ..errors import HandshakeError, ResponseError, StateError, StatusError
from ..protocol.codecs import Terms
from .fields import check_added, decode_fields, explain
from .headers import Headers, check_field, format_extensions, is_token, parse_extensions, split_list
from .http11 import MAX_HEAD, HeadScanner, Request, Response
from .request_checks import Offer, check_connection_header, check_http_version
from .uri import Uri

__all__ = ["MAX_BODY", "MAX_INTERIM", "ClientHandshake", "request_headers"]

#: How much of the body of an answer that refuses the client keeps, in bytes.
MAX_BODY: Final = 1 << 20

#: The most 1xx responses that may precede the answer.
MAX_INTERIM: Final = 16


def request_headers(
    additional: Mapping[str, str] | Iterable[tuple[str, str]] | None, origin: str | None, user_agent: str | None
) -> list[tuple[str, str]]:
    """Return the header lines that a client adds to its request.

    Args:
        additional: The caller's, as a mapping or as pairs; they replace the following ones.
        origin: The Origin header, None for none.
        user_agent: The User-Agent header, None for none.

    Raises:
        TypeError: `additional` is neither.
    """
    pairs = additional.items() if isinstance(additional, Mapping) else additional
    lines = []
    for pair in pairs or ():
        if isinstance(pair, str) or len(pair) != 2:
            raise TypeError("additional_headers is a mapping, or pairs of name and value")
        lines.append((pair[0], pair[1]))
    given = {name.lower() for name, _ in lines}
    for name, value in (("Origin", origin), ("User-Agent", user_agent)):
        if value is not None and name.lower() not in given:
            lines.append((name, value))
    return lines


class ClientHandshake:
    """The client's side of one handshake: `request` once, then `receive` until there is a response.

    `subprotocols` and `extensions` are what it offers, best first; `headers` are added to the
    request. `key` is the nonce, 16 bytes, by default random (4.1). The user and password of the URI
    become basic authentication, unless `headers` has an Authorization.

    Raises ValueError for subprotocols that are not tokens or not unique, malformed extensions, a
    key of another length, or a header that the handshake itself writes or that `head.check_field`
    refuses.
    """

    def __init__(
        self,
        uri: Uri,
        *,
        subprotocols: Sequence[str] = (),
        extensions: Sequence[Terms] = (),
        headers: Iterable[tuple[str, str]] = (),
        key: bytes | None = None,
    ) -> None:
        if not all(map(is_token, subprotocols)) or len(set(subprotocols)) != len(subprotocols):
            raise ValueError("subprotocols are tokens, each once")
        nonce = b64encode(os.urandom(16) if key is None else key)
        self._accept = accept_key(nonce).decode("ascii")
        lines = [
            ("Host", uri.authority),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", nonce.decode("ascii")),
            ("Sec-WebSocket-Version", "13"),
        ]
        if subprotocols:
            lines.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
        if extensions:
            lines.append(("Sec-WebSocket-Extensions", format_extensions(extensions)))
        added = check_added(headers, "host")
        if uri.username is not None and "Authorization" not in Headers(added):
            credentials = b64encode(f"{uri.username}:{uri.password}".encode()).decode("ascii")
            lines.append(("Authorization", f"Basic {credentials}"))
        if not re.fullmatch(r"[\x21-\x7e]+", uri.target):
            raise ValueError("a control character, a space or non-ASCII in the target")
        lines += added
        self._encoded = [check_field(*line) for line in lines]
        self._offer = Offer(list(subprotocols), list(extensions))
        self._scanner = HeadScanner()
        self._interim = 0
        self._refusal: Response | None = None
        self._body = bytearray()
        self._over = False
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        #: The request that `request` writes.
        self.sent = Request("GET", uri.target, Headers(lines))
        #: The server's answer once it has accepted, None before.
        self.response: Response | None = None
        #: What the server chose, None for none; valid once there is a response.
        self.subprotocol: str | None = None
        #: The extensions that the server agreed to, all of them offered; their parameters are
        #: unchecked.
        self.extensions: list[Terms] = []
        #: What has arrived after the head: frames.
        self.trailing = b""

    def request(self) -> bytes:
        """The bytes of the request. StateError the second time."""
        if self._http.our_state is not h11.IDLE:
            raise StateError("the handshake is past the state in which this may be sent")
        request = h11.Request(method="GET", target=self.sent.target, headers=self._encoded)
        return b"".join([self._http.send(event) or b"" for event in (request, h11.EndOfMessage())])

    def receive(self, data: bytes) -> Response | None:
        """Takes the next bytes; returns the 101 that opens the connection, None until it is whole.

        Raises ResponseError for any other answer, with up to 1 MiB of its body, and for a 101 that
        does not satisfy 4.1 or names what was not offered; StateError before `request` and after
        either end.
        """
        if self._over or self._http.our_state is h11.IDLE:
            raise StateError("no answer is expected")
        self._over = True
        response = self._read(data)
        self._over = response is not None
        return response

    def _read(self, data: bytes) -> Response | None:
        while self._refusal is None:
            try:
                found = self._scanner.receive(data)
            except HandshakeError as error:
                raise ResponseError(error.reason) from None
            if found is None:
                return None
            head, data = found
            response = self._parse(head)
            if response.status == 101:
                self._check(response)
                self.response, self.trailing = response, data
                return response
            if response.status >= 200:
                self._refusal = response
            else:
                self._interim += 1
                if self._interim > MAX_INTERIM:
                    raise ResponseError(f"more than {MAX_INTERIM} interim responses", response)
                self._scanner = HeadScanner()
        if data:
            self._http.receive_data(data)
        self._read_body()
        return None

    def receive_eof(self) -> NoReturn:
        """The server closed the connection: raises ResponseError, with what came of an answer."""
        if self._refusal is not None and not self._over:
            self._http.receive_data(b"")
            self._read_body()
        raise ResponseError("the connection was closed before a whole answer") from EOFError()

    def _parse(self, head: bytes) -> Response:
        self._http.receive_data(head)
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise ResponseError(explain(error)) from error
        assert isinstance(event, (h11.InformationalResponse, h11.Response))
        return Response(
            event.status_code,
            event.reason.decode("latin-1"),
            decode_fields(event.headers.raw_items()),
            version="HTTP/" + event.http_version.decode("ascii"),
        )

    def _check(self, response: Response) -> None:
        headers = response.headers
        if not check_http_version(response.version):
            raise ResponseError("the HTTP version is not 1.1 or higher", response)
        # Here Upgrade is one value, where a request may list several (4.1).
        if list(map(str.lower, split_list(headers.get_all("Upgrade")))) != ["websocket"]:
            raise ResponseError("the Upgrade header is not websocket", response)
        if not check_connection_header(headers.get_all("Connection")):
            raise ResponseError("the Connection header does not name Upgrade", response)
        if headers.get_all("Sec-WebSocket-Accept") != [self._accept]:
            raise ResponseError("the Sec-WebSocket-Accept header does not fit the key", response)
        try:
            extensions = parse_extensions(headers.get_all("Sec-WebSocket-Extensions"))
        except ValueError as error:
            raise ResponseError(f"malformed extensions: {error}", response) from None
        if not {name for name, _ in extensions} <= {name for name, _ in self._offer.extensions}:
            raise ResponseError("the server chose an extension that was not offered", response)
        chosen = headers.get_all("Sec-WebSocket-Protocol")
        if len(chosen) > 1 or not set(chosen) <= set(self._offer.subprotocols):
            raise ResponseError("the server chose a subprotocol that was not offered", response)
        self.extensions = extensions
        self.subprotocol = chosen[0] if chosen else None

    def _read_body(self) -> None:
        """Collects the body of a refusal; raises ResponseError at its end or at the limit."""
        refusal = self._refusal
        assert refusal is not None
        try:
            while len(self._body) <= MAX_BODY:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    return
                if not isinstance(event, h11.Data):
                    break
                self._body += event.data
        except h11.RemoteProtocolError:
            pass  # a body that breaks off: the status is what counts
        body = bytes(self._body[:MAX_BODY])
        response = Response(refusal.status, refusal.reason, refusal.headers, body, refusal.version)
        raise StatusError(response)
