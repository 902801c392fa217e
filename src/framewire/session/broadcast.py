"""One message to many connections: how it is encoded, and which connections get it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..protocol.constants import CloseCode, State
from ..protocol.shared_message import SharedMessage
from .session import Data, Session

__all__ = ["Broadcast", "Compression", "check_compression"]

#: How a message to many connections is compressed: once for all, by each connection, or not.
Compression: TypeAlias = Literal["shared", "own"] | None


class Broadcast:
    """One message to many connections.

    Args:
        message: Text as `str`, binary as a bytes-like object.
        text: Whether it is sent as text; by default the type decides.
        compression: "shared" compresses it once for all connections with the same settings, "own"
            with the context of each connection, None not at all.

    Raises:
        TypeError: `message` is neither text nor binary.
        ValueError: `compression` is none of these.
        TextError: The text is not UTF-8.
    """

    __slots__ = ("_compress", "_message", "_shared", "_text")

    def __init__(self, message: Data, text: bool | None = None, compression: Compression = "shared") -> None:
        if not isinstance(message, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        check_compression(compression)
        self._message = message
        self._text = text
        self._compress = False if compression is None else None
        self._shared = None if compression == "own" else SharedMessage(message, text)

    def queue(self, session: Session, now: float, waiting: int, encoding: bool = False) -> bool:
        """Queue the message on one connection, without waiting.

        A connection is left out if it is not open, or in the middle of a fragmented message. One
        whose peer does not keep up (see `Session.keeps_up`) is closed with 1013 (try again later).

        Args:
            session: The session of the connection.
            now: The time.
            waiting: How many bytes wait for the network.
            encoding: Whether another message is being compressed in steps, so that this one cannot
                be compressed.

        Returns:
            Whether the message is queued.
        """
        if session.state is not State.OPEN or session.stream.message_open:
            return False
        if not session.keeps_up(waiting):
            session.close(CloseCode.TRY_AGAIN_LATER, "reading too slowly", now)
            return False
        compress = False if encoding else self._compress
        if self._shared is None:
            session.send(self._message, self._text, compress=compress)
        else:
            session.send_shared(self._shared, compress)
        return True


def check_compression(compression: Compression) -> None:
    """Raise ValueError unless `compression` is "shared", "own" or None."""
    if compression is not None and compression not in ("shared", "own"):
        raise ValueError(f'compression is "shared", "own" or None, not {compression!r}')
