"""The client's side of the opening handshake (RFC 6455 4.1)."""

from __future__ import annotations

import os
import re
import sys
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

from .._backend import accept_key
from ..errors import HandshakeError, ResponseError, StateError, StatusError
from ..exceptions import (
    InvalidHeader,
    InvalidHeaderFormat,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidUpgrade,
)
from ..protocol.codecs import Terms
from ..version import version
from .basic_auth import build_authorization_basic
from .headers import (
    Headers,
    HeadersLike,
    check_additional,
    check_field,
    format_extensions,
    list_lines,
    parse_extensions,
    split_list,
)
from .http11 import HeadLimits, Request, Response
from .request_checks import Offer, check_connection_header, check_host, check_http_version, check_subprotocols
from .response_reader import ResponseReader
from .uri import Uri

__all__ = ["USER_AGENT", "ClientHandshake", "request_headers"]

#: The default value of the User-Agent header.
USER_AGENT: Final = f"Python/{sys.version_info[0]}.{sys.version_info[1]} framewire/{version}"


def request_headers(
    additional: HeadersLike | None, origin: str | None, user_agent: str | None
) -> list[tuple[str, str]]:
    """Return the header lines that a client adds to its request.

    Args:
        additional: The headers of the caller, in any form that `Headers` takes. They replace those
            of the same name that follow.
        origin: The value of Origin, None for no such header.
        user_agent: The value of User-Agent, None for no such header.

    Raises:
        TypeError: `additional` is neither a mapping nor pairs of text, or a value is not text.
    """
    lines = []
    for pair in () if additional is None else list_lines(additional):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise TypeError("additional_headers is a mapping, or pairs of name and value")
        lines.append((pair[0], pair[1]))
    given = {name.lower() for name, _ in lines}
    for name, value in (("Origin", origin), ("User-Agent", user_agent)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} is text or None, not {type(value).__name__}")
        if value is not None and name.lower() not in given:
            lines.append((name, value))
    return lines


def _choose_host(added: list[tuple[str, str]], uri: Uri) -> str:
    """Return the value of Host: that of the caller's header lines, else that of the URI."""
    if all(name.lower() != "host" for name, _ in added):
        return uri.authority
    try:
        return check_host(Headers(added))
    except HandshakeError as error:
        raise ValueError(error.reason) from None


class ClientHandshake:
    """The client's side of one opening handshake.

    Call `request` once and send what it returns, then pass the bytes that arrive to `receive` until
    it returns the response that opens the connection, or raises.

    Args:
        uri: The URI to connect to. Its user name and password become basic authentication, unless
            `headers` has an Authorization.
        subprotocols: The subprotocols to offer, best first.
        extensions: The extensions to offer, best first.
        headers: Header lines to add to the request: pairs of name and value. A Host replaces that
            of the URI.
        key: The nonce of the request (4.1), 16 bytes; random by default.
        limits: The limits of the response, None for those of the environment.

    Raises:
        TypeError: `subprotocols` is not a list of text, or `limits` is something else.
        ValueError: A subprotocol is not a token or occurs twice, an extension is malformed, the key
            has another length, or a header is malformed or written by the handshake itself.
    """

    def __init__(
        self,
        uri: Uri,
        *,
        subprotocols: Sequence[str] = (),
        extensions: Sequence[Terms] = (),
        headers: Iterable[tuple[str, str]] = (),
        key: bytes | None = None,
        limits: HeadLimits | None = None,
    ) -> None:
        subprotocols = check_subprotocols(subprotocols)
        if len(set(subprotocols)) != len(subprotocols):
            raise ValueError("subprotocols are tokens, each once")
        nonce = b64encode(os.urandom(16) if key is None else key)
        self._accept = accept_key(nonce).decode("ascii")
        added = check_additional(headers)
        lines = [
            ("Host", _choose_host(added, uri)),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", nonce.decode("ascii")),
            ("Sec-WebSocket-Version", "13"),
        ]
        if subprotocols:
            lines.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
        if extensions:
            lines.append(("Sec-WebSocket-Extensions", format_extensions(extensions)))
        if uri.username is not None and "Authorization" not in Headers(added):
            lines.append(("Authorization", build_authorization_basic(uri.username, uri.password)))
        if not re.fullmatch(r"[\x21-\x7e]+", uri.target):
            raise ValueError("a control character, a space or non-ASCII in the target")
        lines += [line for line in added if line[0].lower() != "host"]
        fields = b"".join([b"%b: %b\r\n" % check_field(*line) for line in lines])
        self._head = b"GET %b HTTP/1.1\r\n%b\r\n" % (uri.target.encode("ascii"), fields)
        self._offer = Offer(list(subprotocols), list(extensions))
        self._reader = ResponseReader(range(101, 102), limits)
        self._requested = False
        self._ended = False
        #: The request that `request` encodes.
        self.sent = Request("GET", uri.target, Headers(lines))
        #: The response of the server once it has accepted, None before.
        self.response: Response | None = None
        #: The subprotocol that the server chose, None for none; valid once there is a response.
        self.subprotocol: str | None = None
        #: The extensions that the server agreed to, all of them offered. Their parameters are not
        #: validated.
        self.extensions: list[Terms] = []
        #: The bytes that have arrived after the head: frames.
        self.trailing = b""

    def request(self) -> bytes:
        """Return the bytes of the request.

        Raises:
            StateError: The request has been returned before.
        """
        if self._requested:
            raise StateError("the handshake is past the state in which this may be sent")
        self._requested = True
        return self._head

    def receive(self, data: bytes) -> Response | None:
        """Receive the next bytes.

        Args:
            data: Any bytes-like object; chunk boundaries do not matter.

        Returns:
            The 101 response that opens the connection, None until it is complete.

        Raises:
            StatusError: The server answers with another status; the error has up to 1 MiB of the
                body.
            ResponseError: The response is not HTTP, or a 101 that does not satisfy 4.1 or names
                something that was not offered.
            StateError: `request` has not been called, or the handshake has ended.
        """
        if self._ended or not self._requested:
            raise StateError("no response is expected")
        self._ended = True
        found = self._reader.receive(data)
        if found is None:
            self._ended = False
            return None
        response, rest = found
        if response.status != 101:
            raise StatusError(response)
        self._check(response)
        self.response, self.trailing = response, rest
        return response

    def receive_eof(self) -> NoReturn:
        """Receive the end of input.

        Raises:
            ResponseError: Always, with the part of the response that has arrived.
        """
        error = self.refusal_error()
        if error is not None:
            raise error
        raise InvalidMessage("the connection was closed before a whole answer") from EOFError()

    def refusal_error(self) -> StatusError | None:
        """Return the error of a refusal whose body is incomplete; None if the head of none has
        arrived.

        For a driver whose time is up, or whose connection is lost: the server's answer says more
        than a TimeoutError.
        """
        response = None if self._ended else self._reader.partial_refusal()
        return None if response is None else StatusError(response)

    def _check(self, response: Response) -> None:
        headers = response.headers
        if not check_http_version(response.version):
            raise InvalidMessage("the HTTP version is not 1.1 or higher", response)
        # In a response Upgrade has one value, where a request may list several (4.1).
        if list(map(str.lower, split_list(headers.get_all("Upgrade")))) != ["websocket"]:
            raise _refuse(InvalidUpgrade, "Upgrade", "the Upgrade header is not websocket", response)
        if not check_connection_header(headers.get_all("Connection")):
            raise _refuse(InvalidUpgrade, "Connection", "the Connection header does not name Upgrade", response)
        accept = headers.get_all("Sec-WebSocket-Accept")
        if accept != [self._accept]:
            kind = InvalidHeaderValue if len(accept) == 1 else InvalidHeader
            reason = "the Sec-WebSocket-Accept header does not fit the key"
            raise _refuse(kind, "Sec-WebSocket-Accept", reason, response)
        try:
            extensions = parse_extensions(headers.get_all("Sec-WebSocket-Extensions"))
        except ValueError as error:
            value = headers.get_joined("Sec-WebSocket-Extensions")
            raise InvalidHeaderFormat("Sec-WebSocket-Extensions", str(error), value, response=response) from None
        if not {name for name, _ in extensions} <= {name for name, _ in self._offer.extensions}:
            raise ResponseError("the server chose an extension that was not offered", response)
        chosen = headers.get_all("Sec-WebSocket-Protocol")
        if len(chosen) > 1 or not set(chosen) <= set(self._offer.subprotocols):
            raise ResponseError("the server chose a subprotocol that was not offered", response)
        self.extensions = extensions
        self.subprotocol = chosen[0] if chosen else None


def _refuse(kind: type[InvalidHeader], name: str, reason: str, response: Response) -> InvalidHeader:
    headers = response.headers
    return kind(name, headers.get_joined(name) if name in headers else None, reason=reason, response=response)
