"""What goes wrong, and whose fault it is.

A violation by the peer never raises out of `Stream.receive`: it is the last event, a `Failure`. What raises is
misuse by the caller (`LocalError`), always before anything has changed, and a handshake that cannot succeed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from .protocol.events import Close

__all__ = [
    "CloseCodeError",
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "FragmentError",
    "FramewireError",
    "HandshakeError",
    "LocalError",
    "MaskSourceError",
    "NegotiationError",
    "OpeningError",
    "PayloadTooBigError",
    "ProxyError",
    "ResponseError",
    "SecurityError",
    "StateError",
    "StatusError",
    "TextError",
    "UriError",
    "Violation",
]


class FramewireError(Exception):
    """The root of all errors that framewire raises."""


class LocalError(FramewireError):
    """The caller asked for what RFC 6455 forbids; nothing was sent and nothing changed."""


class StateError(LocalError):
    """The connection is past the state in which this may be sent: after a close, or after a failure."""


class FragmentError(LocalError):
    """The fragments of one message must be of one type, and a message must end before the next begins (5.4)."""


class TextError(LocalError):
    """Text to send is not valid UTF-8 (8.1): a lone surrogate, bad bytes, or an end inside a code point."""


class PayloadTooBigError(LocalError):
    """A control payload of over 125 bytes or a close reason of over 123 (5.5), or a message over `max_send_size`."""


class CloseCodeError(LocalError):
    """A close code that may not travel (7.4), or a reason without a code."""


class MaskSourceError(LocalError):
    """The caller's `mask_source` did not return 4 bytes."""


class ConcurrencyError(LocalError):
    """Two tasks receive from one connection, or two pings with one payload are on their way."""


class ConnectionClosed(FramewireError):  # noqa: N818 - the name that users of websockets know
    """The connection has ended; nothing more can be sent, and all that arrived has been received.

    `rcvd` and `sent` are the close frames of both directions, None where there was none, and
    `rcvd_then_sent` tells their order (None unless there were both).
    """

    def __init__(self, rcvd: Close | None, sent: Close | None, rcvd_then_sent: bool | None = None) -> None:
        super().__init__(rcvd, sent, rcvd_then_sent)
        self.rcvd = rcvd
        self.sent = sent
        self.rcvd_then_sent = rcvd_then_sent

    @property
    def code(self) -> int:
        """The peer's close code: 1005 if its close was empty, 1006 if there was none (7.1.5)."""
        return 1006 if self.rcvd is None else self.rcvd.code

    @property
    def reason(self) -> str:
        """The peer's close reason, empty if it gave none (7.1.6)."""
        return "" if self.rcvd is None else self.rcvd.reason

    def __str__(self) -> str:
        received = "received " + _describe(self.rcvd)
        sent = "sent " + _describe(self.sent)
        return f"{sent}, {received}" if self.rcvd_then_sent is False else f"{received}, {sent}"


class ConnectionClosedOK(ConnectionClosed):
    """Both ends said goodbye, with code 1000 or 1001 or with none."""


class ConnectionClosedError(ConnectionClosed):
    """The connection broke, or one end closed it because of an error."""


def _describe(close: Close | None) -> str:
    if close is None:
        return "no close"
    return f"close {close.code} ({close.reason})" if close.reason else f"close {close.code}"


class UriError(LocalError, ValueError):
    """The text is not a ws or wss URI (3), or holds what may not stand in a request."""


class OpeningError(FramewireError):
    """The opening handshake does not open a WebSocket, whoever is to blame."""


class SecurityError(OpeningError):
    """To go on would be unsafe: redirects without end, or one that leaves TLS."""


class ProxyError(OpeningError):
    """The proxy does not give a way to the server."""


class HandshakeError(OpeningError):
    """The server cannot accept the client's request (4.2).

    Answer with `status`, `headers` (pairs of name and value) and `reason` as the body, then close the
    connection.
    """

    def __init__(self, status: int, reason: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = tuple(headers)

    def __str__(self) -> str:
        return f"{self.reason} (HTTP {self.status})"


class NegotiationError(HandshakeError):
    """There is no subprotocol that both speak: raised by `select_subprotocol`, answered with status 400."""

    def __init__(self, reason: str = "no subprotocol that both sides speak") -> None:
        super().__init__(400, reason)


class Violation(Exception):  # noqa: N818 - never raised to the caller: the stream turns it into a Failure
    """The peer broke a rule. Internal: `Stream` turns it into a `Failure` event.

    `offset` counts the bytes of the stream before the offending one. `sent_reason` goes to the peer instead of a
    `reason` that may quote the peer's bytes.
    """

    def __init__(self, code: int, reason: str, offset: int, sent_reason: str | None = None) -> None:
        super().__init__(code, reason, offset)
        self.code = int(code)  # a plain number, also from CloseCode
        self.reason = reason
        self.offset = offset
        self.sent_reason = reason if sent_reason is None else sent_reason


class HttpResponse(Protocol):
    """The part of an HTTP response that errors refer to; `handshake.Response` has it."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def reason(self) -> str:
        """The reason phrase."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields; names match in any case."""

    @property
    def body(self) -> bytes:
        """The body, up to 1 MiB of it."""


class ResponseError(OpeningError):
    """The server's answer does not open a WebSocket connection (4.1): close it.

    `reason` says why; `response` is the answer, or None if there was not a whole HTTP head.
    """

    def __init__(self, reason: str, response: HttpResponse | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.response = response


class StatusError(ResponseError):
    """The server answered another status than 101."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__(f"the server answered {response.status}", response)
        self.status = response.status
