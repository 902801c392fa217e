"""Parsing of HTTP/1.1 heads and bodies by h11 (RFC 9112), after `HeadScanner` has passed the head.

Functions import this module when the first head arrives, because h11 takes as long to import as all
of `import framewire`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

import h11

from ..errors import HandshakeError
from ..exceptions import InvalidMessage
from .headers import Headers
from .http11 import MAX_HEAD, Request, Response

__all__ = ["ResponseParser", "parse_request"]

#: The headers of a request that decide how h11 reads the response.
_REQUEST: Final = [("Host", ""), ("Upgrade", "websocket")]


def parse_request(head: bytes) -> Request:
    """Parse the head of a request.

    Raises:
        HandshakeError: 400: the head is not that of an HTTP request.
    """
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    http.receive_data(head)
    try:
        event = http.next_event()
    except h11.RemoteProtocolError as error:
        raise HandshakeError(400, _explain(error)) from error
    assert isinstance(event, h11.Request)
    return Request(
        sys.intern(event.method.decode("ascii")),  # not a copy for each connection
        event.target.decode("ascii"),
        _decode_fields(event.headers.raw_items()),
        "HTTP/" + event.http_version.decode("ascii"),
    )


class ResponseParser:
    """Parses the responses to one handshake: any number of heads, then the body of the last."""

    __slots__ = ("_http",)

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._http.send(h11.Request(method="GET", target="/", headers=_REQUEST))
        self._http.send(h11.EndOfMessage())

    def parse_head(self, head: bytes) -> Response:
        """Parse the next head.

        Raises:
            InvalidMessage: It is not the head of an HTTP response.
        """
        self._http.receive_data(head)
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise InvalidMessage(_explain(error)) from error
        assert isinstance(event, (h11.InformationalResponse, h11.Response))
        return Response(
            event.status_code,
            event.reason.decode("latin-1"),
            _decode_fields(event.headers.raw_items()),
            version="HTTP/" + event.http_version.decode("ascii"),
        )

    def parse_body(self, data: bytes) -> tuple[bytes, bool]:
        """Parse the next bytes of the body.

        Returns:
            The content, and whether the body is over, be it because it is malformed.
        """
        if data:  # no bytes would be the end of input to h11
            self._http.receive_data(data)
        content: list[bytes] = []
        try:
            while (event := self._http.next_event()) is not h11.NEED_DATA:
                if not isinstance(event, h11.Data):
                    return b"".join(content), True
                content.append(event.data)
        except h11.RemoteProtocolError:
            return b"".join(content), True
        return b"".join(content), False


def _decode_fields(lines: Iterable[tuple[bytes, bytes]]) -> Headers:
    return Headers([(name.decode("ascii"), value.decode("latin-1")) for name, value in lines])


def _explain(error: h11.RemoteProtocolError) -> str:
    """Return the message of h11, without the bytes of the peer that it quotes after a colon."""
    return str(error).partition(": b")[0]
