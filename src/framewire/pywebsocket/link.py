"""`Link`: the interface of a connection that the request and the stream of a handler use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..http.http11 import Response
from ..protocol.events import Close, Failure

__all__ = ["Link"]


class Link(Protocol):
    """A connection whose handler answers the client's close frame."""

    response: Response | None

    @property
    def secure(self) -> bool:
        """Whether the connection uses TLS."""

    @property
    def local_address(self) -> Any:
        """The server's address."""

    @property
    def remote_address(self) -> Any:
        """The client's address."""

    @property
    def close_timeout(self) -> float | None:
        """The time that the client has to answer a close frame, in seconds."""

    @property
    def failure(self) -> Failure | None:
        """The client's violation of the protocol, or None."""

    @property
    def client_close(self) -> Close | None:
        """The client's close frame, or None."""

    @property
    def max_size(self) -> int | None:
        """The largest frame that may be received, in bytes."""

    def call_at_end(self, function: Callable[[], object]) -> None:
        """Call a function when the handler has returned and the connection has ended."""

    def receive(self, timeout: float | None) -> str | bytes:
        """Receive a message; `timeout` is in seconds."""

    def read_input(self, length: int) -> bytes:
        """Receive `length` bytes of frames, which are not processed; fewer at the end of input."""

    def receive_close(self, payload: bytes) -> None:
        """Process a close frame that `read_input` has returned."""

    def ping_received(self, payload: bytes) -> None:
        """Process a ping."""

    def pong_received(self, payload: bytes) -> None:
        """Process a pong."""

    def send_piece(self, piece: str | bytes, text: bool | None, last: bool) -> None:
        """Send a message, or a piece of one."""

    def send_ping(self, payload: bytes) -> None:
        """Send a ping."""

    def pong(self, data: bytes) -> None:
        """Send a pong."""

    def start_closing(self, code: int | None, reason: str) -> None:
        """Send a close frame."""

    def choose_answer(self) -> tuple[int | None, str | None]:
        """Return the code and reason with which the handler answers the client's close frame."""

    def read_raw(self, length: int) -> bytes:
        """Receive `length` bytes that are not frames; fewer at the end of input."""

    def write_raw(self, data: bytes) -> None:
        """Send bytes that are not frames."""
