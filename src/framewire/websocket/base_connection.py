"""`BaseConnection`: an open connection as `WebSocket` and `WebSocketStream` use it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..errors import ConnectionClosed

__all__ = ["BaseConnection"]


class BaseConnection(ABC):
    """An open connection: that of `framewire.asyncio`, or in Pyodide that of the browser.

    Attributes:
        protocol: The subprotocol that the server selected, or "".
        extensions: The negotiated extensions, in the form of the response header, or "".
        close_timeout: Seconds for which `WebSocket.close` waits while nothing is written; None: no
            limit.
    """

    protocol: str
    extensions: str
    close_timeout: float | None

    @abstractmethod
    async def recv(self) -> str | bytes:
        """Receive the next message.

        Raises:
            ConnectionClosed: If the connection has ended, and all messages have been received.
        """

    @abstractmethod
    def check_size(self, size: int) -> None:
        """Raise PayloadTooBigError if a message of `size` bytes must not be sent."""

    @abstractmethod
    async def send(self, message: str | bytes) -> None:
        """Send a message, to be followed by `drain`.

        Raises:
            ConnectionClosed: If the connection is closing or closed.
        """

    @abstractmethod
    async def drain(self) -> None:
        """Wait until the network has room for the next message, or the connection has ended."""

    @abstractmethod
    def unwritten(self, size: int) -> int:
        """Return how many payload bytes were sent and not yet written to the network; at the end, how
        many were never written.

        Args:
            size: The payload size of the last message.
        """

    @abstractmethod
    def start_closing(self, code: int | None, reason: str) -> None:
        """Begin to close; later calls have no effect."""

    @abstractmethod
    async def wait_closed(self) -> ConnectionClosed:
        """Wait until the connection has ended; return how."""

    @abstractmethod
    def failed(self, closing: bool) -> bool:
        """Return whether the connection, which has ended, has failed: an "error" event comes first.

        Args:
            closing: Whether the application has called `close`.
        """

    @abstractmethod
    def abort(self) -> None:
        """End the connection at once, if it has not ended."""
