"""All exceptions.

    FramewireError
    ├─ LocalError           misuse by the caller; nothing was sent and nothing has changed
    ├─ ConnectionClosed     the connection has ended
    └─ OpeningError         the opening handshake does not open a WebSocket
       ├─ HandshakeError    a server refuses the request of a client
       ├─ ResponseError     a server does not accept; StatusError if it says so by another status
       ├─ ProxyError        a proxy does not connect to the server
       └─ SecurityError     going on would be unsafe

A violation by the peer is not an exception of `Stream.receive`: the last event is a `Failure`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

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
    """The base class of all exceptions of framewire."""


class LocalError(FramewireError):
    """The caller asked for something that RFC 6455 forbids; nothing was sent and nothing has
    changed.
    """


class StateError(LocalError):
    """The call is not allowed in the present state, such as a send after a close or a failure."""


class FragmentError(LocalError, TypeError):
    """A fragment is of another type than its message, or a message begins before the last one has
    ended (5.4).

    It is a TypeError because `websockets` raises that for fragments of both types.
    """


class TextError(LocalError):
    """Text to send is not valid UTF-8 (8.1): a lone surrogate, invalid bytes, or an incomplete code
    point.
    """


class PayloadTooBigError(LocalError):
    """A control payload has more than 125 bytes, a close reason more than 123 (5.5), or a message
    more than `max_send_size`.
    """


class CloseCodeError(LocalError):
    """A close code may not be sent (7.4), or a close reason has no code."""


class MaskSourceError(LocalError):
    """The `mask_source` of the caller did not return 4 bytes."""


class ConcurrencyError(LocalError, RuntimeError):
    """Two tasks receive from one connection, or two unanswered pings have the same payload."""


class ConnectionClosed(FramewireError):  # noqa: N818 - the name that users of websockets know
    """The connection has ended: nothing can be sent, and all messages that arrived have been
    received.

    Args:
        rcvd: The close frame of the peer, None if there was none.
        sent: The close frame that was sent, None if there was none.
        rcvd_then_sent: Whether the peer's came first; None unless there were both.
    """

    def __init__(self, rcvd: Close | None, sent: Close | None, rcvd_then_sent: bool | None = None) -> None:
        super().__init__(rcvd, sent, rcvd_then_sent)
        self.rcvd = rcvd
        self.sent = sent
        self.rcvd_then_sent = rcvd_then_sent

    @property
    def code(self) -> int:
        """The close code of the peer: 1005 if its close frame was empty, 1006 if there was none
        (7.1.5).
        """
        return 1006 if self.rcvd is None else self.rcvd.code

    @property
    def reason(self) -> str:
        """The close reason of the peer, empty if there was none (7.1.6)."""
        return "" if self.rcvd is None else self.rcvd.reason

    def __str__(self) -> str:
        received = None if self.rcvd is None else f"received {self.rcvd}"
        sent = None if self.sent is None else f"sent {self.sent}"
        if received and sent:
            return f"{sent}; then {received}" if self.rcvd_then_sent is False else f"{received}; then {sent}"
        if received:
            return f"{received}; no close frame sent"
        return f"{sent}; no close frame received" if sent else "no close frame received or sent"


class ConnectionClosedOK(ConnectionClosed):
    """Both ends have sent a close frame, with code 1000 or 1001 or without a code."""


class ConnectionClosedError(ConnectionClosed):
    """The connection was lost, or one end has closed it because of an error."""


class UriError(LocalError, ValueError):
    """A text is not a ws or wss URI (3), or has characters that cannot be sent in a request.

    The message does not repeat the URI, which may hold a password.

    Args:
        uri: The text.
        msg: What is wrong with it.
    """

    def __init__(self, uri: str, msg: str) -> None:
        super().__init__(msg)
        self.uri = uri
        self.msg = msg

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.uri, self.msg)


class OpeningError(FramewireError):
    """The opening handshake does not open a WebSocket."""


class SecurityError(OpeningError):
    """There are too many redirects, or one leads from wss to ws."""


class ProxyError(OpeningError):
    """The proxy does not connect to the server."""


class HandshakeError(OpeningError):
    """A server cannot accept the request of a client (4.2).

    Answer with `ServerHandshake.reject` and these attributes, then close the connection.

    Args:
        status: The status code of the response.
        reason: The body of the response, without a newline at its end.
        headers: The header lines of the response: pairs of name and value.
    """

    def __init__(self, status: int, reason: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = tuple(headers)

    def __str__(self) -> str:
        return f"{self.reason} (HTTP {self.status})"


class NegotiationError(HandshakeError):
    """There is no subprotocol that both sides speak: `select_subprotocol` raises it to answer with
    status 400.

    Args:
        reason: The body of the response.
    """

    def __init__(self, reason: str = "no subprotocol that both sides speak") -> None:
        super().__init__(400, reason)
        self.args = (reason,)  # those of the constructor, for pickle


class Violation(Exception):  # noqa: N818 - never raised to the caller: the stream turns it into a Failure
    """The peer broke a rule. Internal: `Stream` turns it into a `Failure` event.

    `offset` counts the bytes of the stream before the offending one. `sent_reason` goes to the peer
    instead of a `reason` that may quote the peer's bytes.
    """

    def __init__(self, code: int, reason: str, offset: int, sent_reason: str | None = None) -> None:
        super().__init__(code, reason, offset)
        self.code = int(code)  # a plain number, also from CloseCode
        self.reason = reason
        self.offset = offset
        self.sent_reason = reason if sent_reason is None else sent_reason


class HttpResponse(Protocol):
    """An HTTP response as far as exceptions refer to it; `handshake.Response` is one."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def status_code(self) -> int:
        """The same as `status`."""

    @property
    def reason(self) -> str:
        """The reason phrase."""

    @property
    def reason_phrase(self) -> str:
        """The same as `reason`."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The header lines; names match in any case."""

    @property
    def body(self) -> bytes:
        """The first MiB of the body."""


class ResponseError(OpeningError):
    """The response of a server does not open a WebSocket (4.1). Close the connection.

    Args:
        reason: What is wrong.
        response: The response, None if no complete HTTP head has arrived.
    """

    def __init__(self, reason: str, response: HttpResponse | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.response = response

    def __str__(self) -> str:
        return self.reason


class StatusError(ResponseError):
    """The server has answered with a status other than 101.

    Args:
        response: The response.
    """

    response: HttpResponse

    def __init__(self, response: HttpResponse) -> None:
        super().__init__(f"the server answered {response.status}", response)
        self.args = (response,)  # those of the constructor, for pickle
        self.status = response.status
