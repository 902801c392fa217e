"""How a connection ended, seen from one end: which close frames went which way, and what that makes of it (7.1)."""

from __future__ import annotations

from typing import Final

from ..errors import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK
from ..protocol.constants import CloseCode
from ..protocol.events import Close, Event, Failure

__all__ = ["Closing"]

#: An end with these codes on both sides is no error; 1005 stands for an empty close.
_ORDERLY: Final = frozenset({CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD})


class Closing:
    """The close frames of both directions, None where there is none, their order, and what the peer did wrong.

    `answered` tells whether the stream answers a close, and a failure, by itself (its `auto_close`).
    """

    __slots__ = ("_answered", "failure", "rcvd", "rcvd_then_sent", "sent")

    def __init__(self, answered: bool = True) -> None:
        self.rcvd: Close | None = None
        self.sent: Close | None = None
        self.rcvd_then_sent: bool | None = None
        self.failure: Failure | None = None
        self._answered = answered

    def note_sent(self, code: int | None, reason: str) -> None:
        """Our close frame was sent; `code` is None if it is empty."""
        self.sent = self.sent or Close(int(CloseCode.NO_STATUS_RCVD) if code is None else int(code), reason)

    def note_event(self, event: Event) -> None:
        """Something has arrived."""
        if isinstance(event, Close):
            self.rcvd, self.rcvd_then_sent = event, self.sent is None
            if self._answered:
                self.note_sent(event.code, "")
        elif isinstance(event, Failure):
            self.failure = event
            if self._answered and event.code != CloseCode.ABNORMAL_CLOSURE:
                self.note_sent(event.code, event.reason)

    def error(self) -> ConnectionClosed:
        """The exception that says how the connection ended."""
        orderly = all(close is not None and close.code in _ORDERLY for close in (self.rcvd, self.sent))
        kind = ConnectionClosedOK if orderly else ConnectionClosedError
        return kind(self.rcvd, self.sent, self.rcvd_then_sent)
