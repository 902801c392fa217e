"""How a connection ended, seen from one end: the close frames of both directions (RFC 6455 7.1)."""

from __future__ import annotations

from typing import Final

from ..errors import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK
from ..protocol.constants import CloseCode
from ..protocol.events import Close, Failure

__all__ = ["CloseState"]

#: An end with these codes in both directions is orderly; 1005 stands for an empty close frame.
_ORDERLY: Final = frozenset({CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD})


class CloseState:
    """The close frames received and sent (None: none), their order, the peer's violation, and the
    error below.

    Args:
        auto_close: Whether the stream answers a close frame and a failure by itself.
    """

    __slots__ = ("_auto_close", "cause", "failure", "rcvd", "rcvd_then_sent", "sent")

    def __init__(self, auto_close: bool) -> None:
        self.rcvd: Close | None = None
        self.sent: Close | None = None
        self.rcvd_then_sent: bool | None = None
        self.failure: Failure | None = None
        self.cause: BaseException | None = None
        self._auto_close = auto_close

    def note_sent(self, code: int | None, reason: str) -> None:
        """Record our close frame; the first one counts. `code` is None for an empty frame."""
        if self.sent is None:
            self.sent = Close(int(CloseCode.NO_STATUS_RCVD) if code is None else int(code), reason)

    def note_received(self, event: Close | Failure) -> None:
        """Record the peer's close frame, or a failure, with the stream's answer to it."""
        if isinstance(event, Close):
            self.rcvd, self.rcvd_then_sent = event, self.sent is None
        else:
            self.failure = event
            if event.code == CloseCode.ABNORMAL_CLOSURE:
                return
        if self._auto_close:
            self.note_sent(event.code, event.reason)

    def note_cause(self, cause: BaseException) -> None:
        """Record the error that ended the transport; the first one counts."""
        if self.cause is None:
            self.cause = cause

    @property
    def ended_by_peer(self) -> bool:
        """Whether the peer has begun the end: by a close frame, a violation, or the end of TCP."""
        return self.sent is None or self.failure is not None or self.rcvd_then_sent is True

    @property
    def orderly(self) -> bool:
        """Whether the close frames of both directions have the code of an orderly end."""
        return (
            self.rcvd is not None and self.sent is not None
            and self.rcvd.code in _ORDERLY and self.sent.code in _ORDERLY
        )  # fmt: skip

    def error(self) -> ConnectionClosed:
        """Return the exception that says how the connection ended; its `__cause__` is the error of
        the transport.
        """
        kind = ConnectionClosedOK if self.orderly else ConnectionClosedError
        error = kind(self.rcvd, self.sent, self.rcvd_then_sent)
        error.__cause__ = self.cause
        return error
