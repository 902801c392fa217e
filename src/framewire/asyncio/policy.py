"""What an asyncio server answers to requests, and whom it lets in (RFC 6455 4.2, 10.2)."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from time import time
from typing import Any, Final, TypeAlias

from ..http.http11 import Request, Response
from ..http.request_checks import Offer, Origin
from ..http.server_handshake import ServerHandshake
from ..protocol.codecs import Extension

__all__ = ["SAME_ORIGIN", "SERVER_HEADER", "Policy", "ProcessRequest", "ProcessResponse", "SelectSubprotocol"]

#: Only pages of the server's own host may connect, and clients that are no pages.
SAME_ORIGIN: Final = "same-origin"

#: The Server header.
SERVER_HEADER: Final = f"Python/{sys.version_info[0]}.{sys.version_info[1]} framewire"

_ANY_ORIGIN: Final[Sequence[Origin]] = (re.compile(".*", re.DOTALL), None)

ProcessRequest: TypeAlias = Callable[[Any, Request], "Awaitable[Response | None] | Response | None"]
ProcessResponse: TypeAlias = Callable[[Any, Request, Response], "Awaitable[Response | None] | Response | None"]
SelectSubprotocol: TypeAlias = Callable[[Any, Sequence[str]], "str | None"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a server answers, and what it allows; see `serve`."""

    origins: Sequence[Origin] | str | None = SAME_ORIGIN
    subprotocols: Sequence[str] = ()
    select_subprotocol: SelectSubprotocol | None = None
    process_request: ProcessRequest | None = None
    process_response: ProcessResponse | None = None
    server_header: str | None = SERVER_HEADER
    extensions: Sequence[Extension] = ()

    def __post_init__(self) -> None:
        if isinstance(self.origins, str) and self.origins != SAME_ORIGIN:
            raise TypeError("origins is a list, SAME_ORIGIN or None")
        if isinstance(self.subprotocols, str):
            raise TypeError("subprotocols is a list")

    def check(self, handshake: ServerHandshake) -> Offer:
        """What the client offers; HandshakeError if it may not connect."""
        if self.origins is None:
            return handshake.check(origins=_ANY_ORIGIN)
        return handshake.check(origins=None if isinstance(self.origins, str) else self.origins)

    def headers(self) -> list[tuple[str, str]]:
        """What every answer carries besides."""
        lines = [("Date", _format_date(int(time())))]
        if self.server_header is not None:
            lines.append(("Server", self.server_header))
        return lines


@lru_cache(1)
def _format_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)
