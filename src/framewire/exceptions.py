"""The exceptions of `websockets.exceptions` by their names: aliases of `framewire.errors`, and
finer classes of these.

The classes that are defined here are raised where their docstrings say. What catches
`InvalidHandshake`, `InvalidStatus` or `ConnectionClosed` needs none of them; code written for
framewire catches the classes of `framewire.errors`, of which each of them is one.
"""

# ruff: noqa: N818 - the names that users of websockets know

from __future__ import annotations

from typing import Any

from .errors import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    HttpResponse,
    NegotiationError,
    ProxyError,
    ResponseError,
    SecurityError,
)
from .errors import FramewireError as WebSocketException
from .errors import LocalError as ProtocolError
from .errors import OpeningError as InvalidHandshake
from .errors import PayloadTooBigError as PayloadTooBig
from .errors import PayloadTooBigError as TooManyFragments
from .errors import StateError as InvalidState
from .errors import StatusError as InvalidStatus
from .errors import UriError as InvalidURI

__all__ = [
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "DuplicateParameter",
    "HeaderLineTooLong",
    "InvalidHandshake",
    "InvalidHeader",
    "InvalidHeaderFormat",
    "InvalidHeaderValue",
    "InvalidMessage",
    "InvalidMethod",
    "InvalidOrigin",
    "InvalidParameterName",
    "InvalidParameterValue",
    "InvalidProtocol",
    "InvalidProxy",
    "InvalidProxyMessage",
    "InvalidProxyStatus",
    "InvalidState",
    "InvalidStatus",
    "InvalidURI",
    "InvalidUpgrade",
    "NegotiationError",
    "PayloadTooBig",
    "ProtocolError",
    "ProxyError",
    "RequestLineTooLong",
    "SecurityError",
    "StatusLineTooLong",
    "TooManyFragments",
    "TooManyHeaders",
    "WebSocketException",
]


class InvalidMessage(ResponseError):
    """A client has received no HTTP response; its `__cause__` is EOFError if the connection ended
    before one.
    """


class InvalidHeader(ResponseError):
    """A header of a response is missing, repeated or wrong.

    Args:
        name: The name of the header.
        value: Its value, None if it is missing.
        reason: The text of the exception; by default it is made from the name and the value.
        response: The response, None if the header is not that of a response.
    """

    def __init__(
        self, name: str, value: str | None = None, *, reason: str | None = None, response: HttpResponse | None = None
    ) -> None:
        super().__init__(reason or f"{_describe(value)} {name} header", response)
        self.args = (name, value)  # those of the constructor, for pickle
        self.name = name
        self.value = value


class InvalidHeaderFormat(InvalidHeader, ValueError):
    """A header does not follow its grammar: raised by the functions of `framewire.headers`, and by
    a client.

    Args:
        name: The name of the header.
        error: What is wrong.
        header: The value of the header.
        pos: The position in `header`, in characters; None if it is unknown.
        response: The response, None if the header is not that of a response.
    """

    def __init__(
        self, name: str, error: str, header: str, pos: int | None = None, *, response: HttpResponse | None = None
    ) -> None:
        reason = f"malformed {name} header: {error}" + ("" if pos is None else f" at position {pos}")
        super().__init__(name, header, reason=reason, response=response)
        self.args = (name, error, header, pos)


class InvalidHeaderValue(InvalidHeader, ValueError):
    """A header has a value that it may not have: raised by `Headers`, and by a client for
    Sec-WebSocket-Accept.
    """


class InvalidUpgrade(InvalidHeader):
    """The Upgrade or Connection header of a response does not switch to WebSocket."""


class StatusLineTooLong(ResponseError, SecurityError):
    """The first line of a response exceeds the limit."""


class RequestLineTooLong(HandshakeError, SecurityError):
    """The first line of a request exceeds the limit: a server answers 414."""

    def __init__(self, reason: str) -> None:
        super().__init__(414, reason)
        self.args = (reason,)


class HeaderLineTooLong(HandshakeError, SecurityError):
    """A header line, or a head, exceeds the limit: a server answers 431, a client raises
    InvalidMessage from it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(431, reason)
        self.args = (reason,)


class TooManyHeaders(HandshakeError, SecurityError):
    """A head has too many lines: a server answers 431, a client raises InvalidMessage from it."""

    def __init__(self, reason: str) -> None:
        super().__init__(431, reason)
        self.args = (reason,)


class InvalidMethod(HandshakeError):
    """The method of a request to upgrade is not GET: a server answers 405."""

    def __init__(self, method: str) -> None:
        super().__init__(405, "the method is not GET", [("Allow", "GET")])
        self.args = (method,)
        self.method = method


class InvalidProtocol(HandshakeError):
    """The HTTP version of a request to upgrade is below 1.1: a server answers 400."""

    def __init__(self, protocol: str) -> None:
        super().__init__(400, "the HTTP version is not 1.1 or higher")
        self.args = (protocol,)
        self.protocol = protocol


class InvalidOrigin(HandshakeError):
    """The origin of a request may not connect: a server answers 403.

    Args:
        origin: The value of the Origin header, None if there is none.
    """

    def __init__(self, origin: str | None) -> None:
        super().__init__(403, "the origin may not connect")
        self.args = (origin,)
        self.name = "Origin"
        self.value = origin


class DuplicateParameter(NegotiationError, ValueError):
    """An extension has a parameter twice: for the `agree` of extensions; framewire itself raises
    ValueError.

    Args:
        name: The name of the parameter.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"duplicate parameter {name}")
        self.args = (name,)
        self.name = name


class InvalidParameterName(NegotiationError, ValueError):
    """An extension has an unknown parameter: for the `agree` of extensions; framewire itself raises
    ValueError.

    Args:
        name: The name of the parameter.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"invalid parameter name {name}")
        self.args = (name,)
        self.name = name


class InvalidParameterValue(NegotiationError, ValueError):
    """A parameter of an extension has a wrong value: for the `agree` of extensions; framewire
    itself raises ValueError.

    Args:
        name: The name of the parameter.
        value: Its value, None if there is none.
    """

    def __init__(self, name: str, value: str | None) -> None:
        super().__init__(f"{_describe(value)} value for parameter {name}")
        self.args = (name, value)
        self.name = name
        self.value = value


class InvalidProxy(ProtocolError, ValueError):
    """A text is not the URL of a proxy, or its scheme is unknown.

    The message does not repeat the URL, which may hold a password.

    Args:
        proxy: The text.
        msg: What is wrong with it.
    """

    def __init__(self, proxy: str, msg: str) -> None:
        super().__init__(msg)
        self.proxy = proxy
        self.msg = msg

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.proxy, self.msg)


class InvalidProxyMessage(ProxyError):
    """The answer of a proxy is not HTTP, or ends too early."""


class InvalidProxyStatus(ProxyError):
    """A proxy refuses the connection.

    Args:
        response: The response of the proxy, with up to 1 MiB of its body.
    """

    def __init__(self, response: HttpResponse) -> None:
        super().__init__(response)
        self.response = response

    def __str__(self) -> str:
        return f"the proxy answered {self.response.status}"


def _describe(value: str | None) -> str:
    return "missing" if value is None else "invalid" if value else "empty"
