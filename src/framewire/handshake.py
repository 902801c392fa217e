"""The opening handshake, both sides, without I/O (RFC 6455 3 and 4).

    server: bytes ─ receive ─▶ Request ─ check ─▶ Offer ─ accept | reject ─▶ bytes
    client: Uri ─ request ─▶ bytes … bytes ─ receive ─▶ Response

What follows the head in the same read is `trailing`: the first bytes for the `Stream`.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple, NoReturn

import h11

from ._backend import accept_key
from .errors import HandshakeError, StateError
from .head import (
    MAX_HEAD,
    Headers,
    HeadScanner,
    Request,
    Response,
    ResponseError,
    StatusError,
    Terms,
    Uri,
    check_field,
    format_extensions,
    is_token,
    parse_extensions,
    parse_tokens,
    split_list,
)

__all__ = [
    "BUSY",
    "MAX_BODY",
    "MAX_INTERIM",
    "MAX_TRAILING",
    "ClientHandshake",
    "Offer",
    "Origin",
    "ServerHandshake",
    "accept_key",
    "check_connection_header",
    "check_http_version",
    "check_request",
    "check_upgrade_header",
    "check_version_header",
    "choose_subprotocol",
    "refusal",
]

#: The whole answer to whoever is one too many, for which no request need be read.
BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n"
)

#: The most bytes that a client may send after its request before it has the answer: 4.1 allows
#: none.
MAX_TRAILING: Final = 65536

#: How much of the body of an answer that refuses the client keeps, in bytes.
MAX_BODY: Final = 1 << 20

#: The most 1xx responses that may precede the answer.
MAX_INTERIM: Final = 16

#: An origin that may connect: text, a pattern for all of it, or None for a request without one.
Origin = str | re.Pattern[str] | None

_VERSION: Final = re.compile(r"HTTP/([0-9]+)\.([0-9]+)")
_TARGET: Final = re.compile(r"/|(?:https?|wss?)://", re.IGNORECASE)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_FRAMING: Final = frozenset({"connection", "content-length", "transfer-encoding"})
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_WANTED: Final = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))


def check_http_version(version: str | None) -> bool:
    """Whether `version`, as in "HTTP/1.1", is at least 1.1 (4.2.1)."""
    match = _VERSION.fullmatch(version or "")
    if not match:
        return False
    # Compared as text: the numbers may be longer than int() takes.
    major, minor = (number.lstrip("0") for number in match.groups())
    return minor != "" if major == "1" else major != ""


def check_connection_header(values: Iterable[str]) -> bool:
    """Whether the lines of Connection name the token "upgrade", in any case (4.2.1)."""
    return "upgrade" in map(str.lower, split_list(values))


def check_upgrade_header(values: Iterable[str]) -> bool:
    """Whether the lines of Upgrade name the protocol "websocket", in any case (4.2.1)."""
    return "websocket" in map(str.lower, split_list(values))


def check_version_header(value: str | None) -> bool:
    """Whether Sec-WebSocket-Version is exactly "13" (4.2.1)."""
    return value == "13"


class Offer(NamedTuple):
    """What a client's request offers, each in the client's order of preference."""

    subprotocols: list[str]
    extensions: list[Terms]


def check_request(request: Request, *, origins: Sequence[Origin] | None = None) -> Offer:
    """Checks all that 4.2.1 demands of a client's request; returns what it offers.

    `origins` lists who may connect: only they may. Without it a request from a page must come from
    the host that it asks for, and one without Origin, so not from a page, passes (10.2).

    Raises HandshakeError: 405 for another method than GET, 426 for a request without upgrade or of
    another version, 403 for an origin, 400 for all else; also for a body, which could pass for
    frames.
    """
    headers = request.headers
    if request.method != "GET":
        raise HandshakeError(405, "the method is not GET", [("Allow", "GET")])
    if not check_http_version(request.version):
        raise HandshakeError(400, "the HTTP version is not 1.1 or higher")
    if not _TARGET.match(request.target):
        raise HandshakeError(400, "the request target is neither a path nor an absolute URI")
    host = _only(headers, "Host")
    if not _HOST.fullmatch(host):
        raise HandshakeError(400, "the Host header is not a host")
    if "Transfer-Encoding" in headers or any(length != "0" for length in headers.get_all("Content-Length")):
        raise HandshakeError(400, "a request to upgrade has no body")
    if not check_upgrade_header(headers.get_all("Upgrade")):
        raise HandshakeError(426, "the Upgrade header does not name websocket", _WANTED)
    if not check_connection_header(headers.get_all("Connection")):
        raise HandshakeError(426, "the Connection header does not name Upgrade", _WANTED)
    version = _only(headers, "Sec-WebSocket-Version")
    if not check_version_header(version):
        status = 426 if re.fullmatch("[0-9]{1,3}", version) else 400
        raise HandshakeError(status, "the Sec-WebSocket-Version header is not 13", _WANTED)
    try:
        accept_key(_only(headers, "Sec-WebSocket-Key").encode("latin-1"))
    except ValueError:
        reason = "the Sec-WebSocket-Key header is not the base64 of 16 bytes"
        raise HandshakeError(400, reason) from None
    _check_origin(headers.get_all("Origin"), host, origins)
    try:
        return Offer(
            parse_tokens(headers.get_all("Sec-WebSocket-Protocol")),
            parse_extensions(headers.get_all("Sec-WebSocket-Extensions")),
        )
    except ValueError as error:
        raise HandshakeError(400, f"malformed subprotocols or extensions: {error}") from None


def _only(headers: Headers, name: str) -> str:
    values = headers.get_all(name)
    if len(values) != 1:
        problem = "repeated" if values else "missing"
        raise HandshakeError(400, f"the {name} header is {problem}")
    return values[0]


def _check_origin(values: list[str], host: str, origins: Sequence[Origin] | None) -> None:
    if len(values) > 1:
        raise HandshakeError(400, "the Origin header is repeated")
    origin = values[0] if values else None
    if origins is None:
        allowed = origin is None or _is_same_host(origin, host)
    else:
        allowed = any(_matches(origin, wanted) for wanted in origins)
    if not allowed:
        raise HandshakeError(403, "the origin may not connect")


def _is_same_host(origin: str, host: str) -> bool:
    # Host does not tell the scheme, and a proxy may have changed it: the origin's decides the
    # default port.
    scheme, _, authority = origin.lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    return port is not None and authority.removesuffix(port) == host.lower().removesuffix(port)


def _matches(origin: str | None, wanted: Origin) -> bool:
    if origin is None or wanted is None:
        return origin is wanted
    if isinstance(wanted, re.Pattern):
        return wanted.fullmatch(origin) is not None
    return origin.lower() == wanted.lower()


def choose_subprotocol(offered: Iterable[str], supported: Iterable[str]) -> str | None:
    """The first of `supported`, in the server's order, that the client offers (4.2.2). Case counts.

    None if there is none: the connection then has no subprotocol, and browsers close it.
    """
    names = set(offered)
    return next((name for name in supported if name in names), None)


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
        lines += _check_added(headers)
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
            if name in _FRAMING:
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
            b"".join([b"%b: %b\r\n" % field for field in _encode(lines)]),
        )


def _parse_request(head: bytes) -> Request:
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    http.receive_data(head)
    try:
        event = http.next_event()
    except h11.RemoteProtocolError as error:
        raise HandshakeError(400, _explain(error)) from error
    assert isinstance(event, h11.Request)
    return Request(
        event.method.decode("ascii"),
        event.target.decode("ascii"),
        _decode(event.headers.raw_items()),
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
        added = _check_added(headers, "host")
        if uri.username is not None and "Authorization" not in Headers(added):
            credentials = b64encode(f"{uri.username}:{uri.password}".encode()).decode("ascii")
            lines.append(("Authorization", f"Basic {credentials}"))
        if not re.fullmatch(r"[\x21-\x7e]+", uri.target):
            raise ValueError("a control character, a space or non-ASCII in the target")
        lines += added
        self._encoded = _encode(lines)
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
        request = h11.Request(method="GET", target=self.sent.target, headers=self._encoded)
        return _send(self._http, request, h11.EndOfMessage())

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
            raise ResponseError(_explain(error)) from error
        assert isinstance(event, (h11.InformationalResponse, h11.Response))
        return Response(
            event.status_code,
            event.reason.decode("latin-1"),
            _decode(event.headers.raw_items()),
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


def _check_added(headers: Iterable[tuple[str, str]], *own: str) -> list[tuple[str, str]]:
    """The headers that a caller adds to a handshake, unless one is the handshake's own."""
    lines = list(headers)
    for name, value in lines:
        check_field(name, value)
        lower = name.lower()
        if lower in _FRAMING or lower in ("upgrade", *own) or lower.startswith("sec-websocket-"):
            raise ValueError(f"{name} is written by the handshake itself")
    return lines


def _encode(lines: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [check_field(name, value) for name, value in lines]


def _decode(lines: Iterable[tuple[bytes, bytes]]) -> Headers:
    return Headers((name.decode("ascii"), value.decode("latin-1")) for name, value in lines)


def _send(http: h11.Connection, *events: h11.Event) -> bytes:
    if http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        raise StateError("the handshake is past the state in which this may be sent")
    return b"".join([http.send(event) or b"" for event in events])


def _explain(error: h11.RemoteProtocolError) -> str:
    """What h11 says, without the bytes of the peer that it quotes behind a colon."""
    return str(error).partition(": b")[0]
