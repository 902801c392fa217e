"""`LoggedDriver`: a `Driver` that logs the frames of both directions at DEBUG.

Whether frames are logged is decided once per connection, so that other connections do no work for
it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ..protocol.codecs import Codec
from ..session.logs import FrameLog, Logger
from ..session.session import Session
from .driver import Driver

__all__ = ["LoggedDriver", "choose_driver"]


class LoggedDriver(Driver):
    """A driver that logs frames, with the logger of its connection."""

    __slots__ = ("_log", "_received")

    def set_logger(self, logger: Logger) -> None:
        """Log with this logger; to be called before the handshake is done."""
        self._log = logger

    def open(self, rest: bytes, codecs: Sequence[Codec], opened: Callable[[Session], None]) -> None:
        self._received = FrameLog(self._log, "<")

        def begin(session: Session) -> None:
            self.writer.log_frames(FrameLog(self._log, ">"))
            opened(session)

        if rest:
            self._received.feed(rest)
        super().open(rest, codecs, begin)

    def buffer_updated(self, nbytes: int) -> None:
        if self.opened:
            self._received.feed(self._buffer[:nbytes])
        super().buffer_updated(nbytes)


def choose_driver(logger: Logger) -> type[Driver]:
    """Return the class of drivers for connections with this logger."""
    return LoggedDriver if logger.isEnabledFor(logging.DEBUG) else Driver
