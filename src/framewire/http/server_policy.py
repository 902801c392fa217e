"""`ServerPolicy`: who may connect to a server, and what it answers, for every server (RFC 6455 4.2, 10.2)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Any, Final, TypeAlias

from ..errors import HandshakeError, NegotiationError
from ..protocol.codecs import Codec, Extension, Terms, accept_offers
from .headers import Headers
from .http11 import Response
from .request_checks import Offer, Origin, choose_subprotocol
from .server_handshake import ServerHandshake, refusal

__all__ = ["SAME_ORIGIN", "SERVER_HEADER", "SelectSubprotocol", "ServerPolicy", "make_response"]

#: Only pages of the server's own host may connect, and clients that are no pages.
SAME_ORIGIN: Final = "same-origin"

#: The Server header.
SERVER_HEADER: Final = f"Python/{sys.version_info[0]}.{sys.version_info[1]} framewire"

_ANY_ORIGIN: Final[Sequence[Origin]] = (re.compile(".*", re.DOTALL), None)

SelectSubprotocol: TypeAlias = Callable[[Any, Sequence[str]], "str | None"]


@dataclass(frozen=True)
class ServerPolicy:
    """The choices of a server for the opening handshakes of all its connections.

    Args:
        origins: Who may connect: a list of origins, as text or patterns (None in it: requests without one),
            `SAME_ORIGIN`, or None for everyone.
        subprotocols: The subprotocols that the server speaks, best first.
        select_subprotocol: Called with the connection and the subprotocols that the client offers; chooses instead.
        extensions: The extensions that clients may use.
        server_header: The Server header of each answer; None: none.

    Raises:
        TypeError: `origins` or `subprotocols` is text where a list is wanted.
    """

    origins: Sequence[Origin] | str | None = SAME_ORIGIN
    subprotocols: Sequence[str] = ()
    select_subprotocol: SelectSubprotocol | None = None
    extensions: Sequence[Extension] = ()
    server_header: str | None = SERVER_HEADER

    def __post_init__(self) -> None:
        if isinstance(self.origins, str) and self.origins != SAME_ORIGIN:
            raise TypeError("origins is a list, SAME_ORIGIN or None, not text")
        if isinstance(self.subprotocols, str):
            raise TypeError("subprotocols is a list, not text")

    def check(self, handshake: ServerHandshake) -> Offer:
        """Return what the client offers. Raises HandshakeError if it may not connect."""
        if self.origins is None:
            return handshake.check(origins=_ANY_ORIGIN)
        return handshake.check(origins=None if isinstance(self.origins, str) else self.origins)

    def choose(
        self, offer: Offer, connection: Any, subprotocols: Sequence[str]
    ) -> tuple[str | None, list[Terms], list[Codec]]:
        """Choose from what a client offers.

        Args:
            offer: The offer.
            connection: The connection, for `select_subprotocol`.
            subprotocols: Those to choose from.

        Returns:
            The subprotocol, the answers to the offers of extensions, and the codecs of these.

        Raises:
            NegotiationError: By `select_subprotocol`, if there is no subprotocol that both speak.
        """
        if self.select_subprotocol is not None:
            subprotocol = self.select_subprotocol(connection, offer.subprotocols)
        else:
            subprotocol = choose_subprotocol(offer.subprotocols, subprotocols)
        answers, codecs = accept_offers(offer.extensions, self.extensions)
        return subprotocol, answers, codecs

    def explain(self, error: Exception) -> Response:
        """Return the response to a request that led to an error: 500 unless the error has a status itself."""
        if isinstance(error, NegotiationError):
            return refusal(400, error.reason)
        if isinstance(error, HandshakeError):
            return refusal(error.status, error.reason, error.headers)
        return refusal(500, "the server met an unexpected error")

    def headers(self) -> list[tuple[str, str]]:
        """Return the header lines that every answer carries."""
        if self.server_header is None:
            return [("Date", _format_date(int(time())))]
        return [("Date", _format_date(int(time()))), ("Server", self.server_header)]

    def complete(self, response: Response) -> Response:
        """Add the header lines that every answer carries, unless the response has them."""
        for name, value in self.headers():
            if name not in response.headers:
                response.headers[name] = value
        return response


def make_response(status: int, text: str) -> Response:
    """Return a response in plain text, for `process_request` to return."""
    lines = [("Content-Type", "text/plain; charset=utf-8")]
    return Response(int(status), HTTPStatus(status).phrase, Headers(lines), text.encode())


@lru_cache(1)
def _format_date(seconds: int) -> str:
    from email.utils import formatdate  # slow to import, and clients need it never

    return formatdate(seconds, usegmt=True)
