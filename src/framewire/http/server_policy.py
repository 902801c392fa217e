"""`ServerPolicy`: the decision of every server about an opening handshake (RFC 6455 4.2, 10.2).

    policy.check(handshake) ─▶ Offer ─ policy.choose ─▶ handshake.agree ─▶ 101
    exception ─ policy.explain ─▶ refusal

Origins, subprotocols, extensions and the default headers are decided here; nothing is sent.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from time import gmtime, time
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..errors import HandshakeError
from ..protocol.codecs import Codec, Extension, Terms, accept_offers
from ..protocol.record import Record, assign
from .headers import Headers, check_field
from .http11 import HeadLimits, Response, check_head_limits
from .request_checks import Offer, Origin, check_subprotocols, choose_subprotocol
from .server_handshake import WITHOUT_CONTENT, ServerHandshake, refusal
from .trusted_proxies import TrustedProxies

if TYPE_CHECKING:
    from .proxy_protocol import ProxyHeader

__all__ = ["SAME_ORIGIN", "SERVER_HEADER", "SelectSubprotocol", "ServerPolicy", "check_functions", "make_response"]

#: The `origins` of a server that accepts pages of its own host, and requests without Origin.
SAME_ORIGIN: Final = "same-origin"

#: The default value of the Server header.
SERVER_HEADER: Final = f"Python/{sys.version_info[0]}.{sys.version_info[1]} framewire"

_ANY_ORIGIN: Final[Sequence[Origin]] = (re.compile(".*", re.DOTALL), None)

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

#: Chooses a subprotocol, given the connection and those that the client offers.
SelectSubprotocol: TypeAlias = Callable[[Any, Sequence[str]], "str | None"]


class ServerPolicy(Record):
    """The settings of a server for the opening handshakes of all its connections.

    Args:
        origins: The origins that may connect, as text or patterns that match a whole origin, with
            None for requests without Origin; or `SAME_ORIGIN`, or None for everyone.
        subprotocols: The subprotocols that the server speaks, best first.
        select_subprotocol: Chooses the subprotocol instead: called with the connection and the
            subprotocols that the client offers, it returns one of these, or None for none, or
            raises NegotiationError to refuse the connection with status 400.
        extensions: The extensions that clients may use, best first.
        server_header: The value of the Server header, None for no such header.
        trusted_proxies: The proxies that tell the addresses of clients, None for none.
        head_limits: The limits of requests, None for those of the environment.

    Raises:
        TypeError: `origins` or `subprotocols` is text or something else that is not a list of what
            it should hold, `select_subprotocol` cannot be called, or `trusted_proxies` or
            `head_limits` is something else.
        ValueError: A subprotocol is not a token, or `server_header` cannot be sent.
    """

    __slots__ = __match_args__ = (
        "origins", "subprotocols", "select_subprotocol", "extensions", "server_header", "trusted_proxies",
        "head_limits",
    )  # fmt: skip

    origins: Sequence[Origin] | str | None
    subprotocols: Sequence[str]
    select_subprotocol: SelectSubprotocol | None
    extensions: Sequence[Extension]
    server_header: str | None
    trusted_proxies: TrustedProxies | None
    head_limits: HeadLimits

    def __init__(
        self,
        origins: Sequence[Origin] | str | None = SAME_ORIGIN,
        subprotocols: Sequence[str] = (),
        select_subprotocol: SelectSubprotocol | None = None,
        extensions: Sequence[Extension] = (),
        server_header: str | None = SERVER_HEADER,
        trusted_proxies: TrustedProxies | None = None,
        head_limits: HeadLimits | None = None,
    ) -> None:
        if select_subprotocol is not None:
            check_functions(select_subprotocol=select_subprotocol)
        if server_header is not None:
            check_field("Server", server_header)
        if trusted_proxies is not None and not isinstance(trusted_proxies, TrustedProxies):
            raise TypeError(f"trusted_proxies is TrustedProxies or None, not {type(trusted_proxies).__name__}")
        # Tuples, so that the first connection does not exhaust an iterator.
        assign(self, "origins", _check_origins(origins))
        assign(self, "subprotocols", check_subprotocols(subprotocols))
        assign(self, "select_subprotocol", select_subprotocol)
        assign(self, "extensions", tuple(extensions))
        assign(self, "server_header", server_header)
        assign(self, "trusted_proxies", trusted_proxies)
        assign(self, "head_limits", check_head_limits(head_limits))

    def new_handshake(self) -> ServerHandshake:
        """Return the handshake for a new connection."""
        return ServerHandshake(self.head_limits)

    def begin(self, address: Any) -> ProxyHeader | None:
        """Return the header of the PROXY protocol with which a connection has to begin.

        Args:
            address: The address of the peer.

        Returns:
            None for a connection that begins with TLS or with the request.
        """
        proxies = self.trusted_proxies
        if proxies is None or not proxies.proxy_protocol or not proxies.trusts(address):
            return None
        from .proxy_protocol import ProxyHeader  # few servers need it

        return ProxyHeader()

    def check(self, handshake: ServerHandshake, *, version: str | None = None) -> Offer:
        """Check the request of a handshake.

        Args:
            handshake: The handshake; its request has arrived.
            version: The HTTP version, as in "HTTP/1.0", if another parser read the request and
                passed it on under a version of its own.

        Returns:
            What the client offers.

        Raises:
            HandshakeError: The client may not connect.
        """
        if self.origins is None:
            return handshake.check(origins=_ANY_ORIGIN, version=version)
        return handshake.check(origins=None if isinstance(self.origins, str) else self.origins, version=version)

    def choose(
        self, offer: Offer, connection: Any, subprotocols: Sequence[str]
    ) -> tuple[str | None, list[Terms], list[Codec]]:
        """Choose from what a client offers.

        Args:
            offer: The offer.
            connection: The connection, for `select_subprotocol`.
            subprotocols: The subprotocols to choose from: those of the policy, or of one
                connection.

        Returns:
            The subprotocol, the answers to the offers of extensions, and the codecs of these.

        Raises:
            NegotiationError: `select_subprotocol` refuses the connection. Its other exceptions pass
                too.
        """
        if self.select_subprotocol is not None:
            subprotocol = self.select_subprotocol(connection, offer.subprotocols)
        else:
            subprotocol = choose_subprotocol(offer.subprotocols, subprotocols)
        answers, codecs = accept_offers(offer.extensions, self.extensions)
        return subprotocol, answers, codecs

    def explain(self, error: Exception) -> Response:
        """Return the response to a request whose handshake ended with an exception.

        Args:
            error: A HandshakeError gives its status, reason and headers. The response to any other
                exception is 500 without details; the caller logs it.
        """
        if isinstance(error, HandshakeError):
            return refusal(error.status, error.reason, error.headers)
        return refusal(500, "the server met an unexpected error")

    def headers(self) -> list[tuple[str, str]]:
        """Return the header lines of every response: Date and Server."""
        date = ("Date", _format_date(int(time())))
        return [date] if self.server_header is None else [date, ("Server", self.server_header)]

    def complete(self, response: Response) -> Response:
        """Return a response with the header lines of every response, unless it has them.

        The response itself does not change: a callback may return the same one each time, and its
        Date would remain that of the first.
        """
        lines = [line for line in self.headers() if line[0] not in response.headers]
        headers = Headers([*response.headers.lines, *lines])
        return Response(response.status, response.reason, headers, response.body, response.version)


def check_functions(**functions: Any) -> None:
    """Check the functions of the user's that a server calls for each connection, by the names of
    the arguments.

    Raises:
        TypeError: One of them cannot be called.
    """
    for name, function in functions.items():
        if not callable(function):
            raise TypeError(f"{name} is a function, not {type(function).__name__}")


def make_response(status: int, text: str) -> Response:
    """Return a response in plain text, for `process_request` to return.

    Args:
        status: The status code.
        text: The body; not sent with a status that has none. Lone surrogates become "?".

    Raises:
        ValueError: The status code is unknown.
    """
    phrase = HTTPStatus(status).phrase
    if status in WITHOUT_CONTENT:
        return Response(int(status), phrase)
    body = text.encode(errors="replace")
    lines = [("Content-Length", str(len(body))), ("Content-Type", "text/plain; charset=utf-8")]
    return Response(int(status), phrase, Headers(lines), body)


def _check_origins(origins: Any) -> tuple[Origin, ...] | str | None:
    if origins is None or (isinstance(origins, str) and origins == SAME_ORIGIN):
        return origins
    if isinstance(origins, (str, bytes)) or not isinstance(origins, Iterable):
        raise TypeError(f"origins is a list, SAME_ORIGIN or None, not {type(origins).__name__}")
    checked = tuple(origins)
    for origin in checked:
        text = origin.pattern if isinstance(origin, re.Pattern) else origin
        if text is not None and not isinstance(text, str):
            raise TypeError("origins is a list of text, patterns for text, and None")
    return checked


@lru_cache(1)
def _format_date(seconds: int) -> str:
    """Format a time, in seconds since 1970, for the Date header (RFC 9110 5.6.7)."""
    # `strftime` follows the locale; `email.utils` takes longer to import than all of this package.
    year, month, day, hour, minute, second, weekday, *_ = gmtime(seconds)
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"
