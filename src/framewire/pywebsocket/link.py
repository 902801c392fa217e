"""What a handler's request and its stream need of the connection below them."""

from __future__ import annotations

from typing import Any, Protocol

from ..http.http11 import Response
from ..protocol.events import Close, Failure

__all__ = ["Link"]


class Link(Protocol):
    """A connection that leaves the answer to a close to the handler."""

    response: Response | None

    @property
    def secure(self) -> bool:
        """Whether it is encrypted."""

    @property
    def local_address(self) -> Any:
        """The server's address."""

    @property
    def remote_address(self) -> Any:
        """The client's address."""

    @property
    def close_timeout(self) -> float | None:
        """How long the client has to answer a close, in seconds."""

    @property
    def failure(self) -> Failure | None:
        """What the client did wrong."""

    @property
    def client_close(self) -> Close | None:
        """The client's close frame."""

    def recv(self, timeout: float | None) -> str | bytes:
        """Receives a message."""

    def send_piece(self, piece: str | bytes, text: bool | None, last: bool) -> None:
        """Sends a message, or a piece of one."""

    def send_ping(self, payload: bytes) -> None:
        """Sends a ping."""

    def start_closing(self, code: int | None, reason: str) -> None:
        """Sends a close."""

    def choose_answer(self) -> tuple[int | None, str | None]:
        """What the handler answers the client's close with."""

    def read_raw(self, length: int) -> bytes:
        """Receives bytes that are no frames."""

    def write_raw(self, data: bytes) -> None:
        """Sends bytes as they are."""
