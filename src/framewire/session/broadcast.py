"""One message to many connections: what becomes of each."""

from __future__ import annotations

from ..protocol.constants import CloseCode, State
from .session import Data, Session

__all__ = ["broadcast_to"]


def broadcast_to(
    session: Session, message: Data, now: float, compress: bool | None = None, text: bool | None = None
) -> None:
    """Queue a message on one of many connections, without waiting.

    A connection is left out if it is not open, or in the middle of a fragmented message. One whose
    peer does not keep up, with more than `write_limit` unread, is closed with 1013 (try again
    later).

    Args:
        session: The session of the connection.
        message: The message.
        now: The time.
        compress: Whether the message is compressed; by default its size decides.
        text: Whether the message is sent as text; by default the type decides.
    """
    if session.state is not State.OPEN or session.stream.message_open:
        return
    if session.write_paused:
        session.close(CloseCode.TRY_AGAIN_LATER, "reading too slowly", now)
    else:
        session.send(message, text, compress=compress)
