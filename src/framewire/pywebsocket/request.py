"""`HandlerRequest`: the request object of handlers, with the attributes of mod_python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..http.headers import Headers
from ..http.http11 import Request
from ..http.request_checks import Offer
from ..protocol.codecs import Terms
from .exceptions import BadOperationException
from .link import Link

__all__ = ["ExtensionParameter", "HandlerRequest", "RequestConnection", "wrap_terms"]


class ExtensionParameter:
    """An offered or agreed extension, with its parameters."""

    def __init__(self, name: str, parameters: Sequence[tuple[str, str | None]] = ()) -> None:
        self._name = name
        self._parameters = list(parameters)

    def name(self) -> str:
        """Return the registered name of the extension."""
        return self._name

    def add_parameter(self, name: str, value: str | None) -> None:
        """Append a parameter."""
        self._parameters.append((name, value))

    def get_parameters(self) -> list[tuple[str, str | None]]:
        """Return all parameters, as pairs of name and value."""
        return self._parameters

    def get_parameter_names(self) -> list[str]:
        """Return the names of the parameters."""
        return [name for name, _ in self._parameters]

    def has_parameter(self, name: str) -> bool:
        """Return whether there is a parameter with this name."""
        return name in self.get_parameter_names()

    def get_parameter_value(self, name: str) -> str | None:
        """Return the value of the first parameter with this name, or None."""
        return dict(reversed(self._parameters)).get(name)


class RequestConnection:
    """`request.connection`: raw bytes of the connection, and the addresses of both ends."""

    def __init__(self, connection: Link) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        """Send raw bytes: instead of a response to the handshake, or between frames."""
        self._connection.write_raw(data)

    def read(self, length: int) -> bytes:
        """Receive raw bytes before the response to the handshake.

        Args:
            length: Number of bytes; fewer are returned at the end of input only.

        Raises:
            BadOperationException: After the response, when all input consists of frames.
        """
        if self._connection.response is not None:
            raise BadOperationException("what comes after the handshake is for ws_stream to receive")
        return self._connection.read_raw(length)

    @property
    def remote_addr(self) -> Any:
        """The client's (host, port)."""
        return self._connection.remote_address

    @property
    def local_addr(self) -> Any:
        """The server's (host, port)."""
        return self._connection.local_address


class HandlerRequest:
    """The request of a client, and the WebSocket that it opens.

    Until `web_socket_do_extra_handshake` returns, the handler may set `ws_protocol`, add pairs to
    `extra_headers`, and remove unwanted extensions from `ws_extension_processors`. If it is set,
    `on_ping_handler(request, payload)` is called instead of sending a pong, and
    `on_pong_handler(request, payload)` is called for each pong, both in the thread that receives.
    """

    def __init__(self, connection: Link, request: Request, offer: Offer) -> None:
        self.connection = RequestConnection(connection)
        self.headers_in: Headers = request.headers
        self.method = request.method
        self.protocol = request.version
        self.uri = self.unparsed_uri = self.ws_resource = request.target
        self.ws_origin: str | None = request.headers.get("Origin")
        self.ws_version = 13
        self.ws_requested_protocols: list[str] | None = offer.subprotocols or None
        self.ws_protocol: str | None = None
        self.ws_requested_extensions: list[ExtensionParameter] | None = wrap_terms(offer.extensions)
        #: The processors of the offers; the handler may configure them, and remove some.
        self.ws_extension_processors: list[Any] = []
        self.ws_extensions: list[ExtensionParameter] | None = None
        self.ws_deflate = False
        self.extra_headers: list[tuple[str, str]] = []
        self.ws_close_code: int | None = None
        self.ws_close_reason: str | None = None
        self.client_terminated = False
        self.server_terminated = False
        self.on_ping_handler: Callable[[HandlerRequest, bytes], object] | None = None
        self.on_pong_handler: Callable[[HandlerRequest, bytes], object] | None = None
        #: The `stream.MessageStream` of the connection.
        self.ws_stream: Any = None
        self._secure = connection.secure

    def is_https(self) -> bool:
        """Return whether the connection uses TLS."""
        return self._secure


def wrap_terms(extensions: Sequence[Terms]) -> list[ExtensionParameter] | None:
    """Return extensions as `ExtensionParameter` objects; None if there are none."""
    return [ExtensionParameter(*extension) for extension in extensions] or None
