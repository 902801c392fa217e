"""`BaseDriver`: what the drivers of streams of bytes have in common, on threads and on trio."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from ..errors import StateError
from ..protocol.constants import Role, State
from .logs import FrameLog, Logger
from .session import Session
from .settings import ConnectionSettings

__all__ = ["BaseDriver", "peer_address"]

Result = TypeVar("Result")


class BaseDriver(ABC):
    """The session of one connection, once the opening handshake is done, and what moves its bytes.

    Args:
        role: Which end this is.
        settings: The limits and times of the connection.
    """

    #: To be held while the session is used, where several threads use it.
    lock: AbstractContextManager[Any]
    #: The addresses of both ends; None for a stream without a socket.
    local_address: Any
    remote_address: Any

    def __init__(self, role: Role, settings: ConnectionSettings) -> None:
        self.role = role
        self.settings = settings
        #: The session, None before the opening handshake is done.
        self.session: Session | None = None
        #: Whether the connection has ended without an opening handshake.
        self.never_opened = False
        #: Bytes of frames that the network has taken so far.
        self.bytes_sent = 0
        #: The logger of the connection, which sets it.
        self.logger: Logger | None = None
        #: The logs of the frames in each direction, None if they are not logged.
        self.received_log: FrameLog | None = None
        self.sent_log: FrameLog | None = None

    def log_open(self) -> None:
        """Log that the connection is open; log the frames from now on, at DEBUG."""
        if self.logger is not None:
            self.logger.info("connection open")
            if self.logger.isEnabledFor(logging.DEBUG):
                self.received_log, self.sent_log = FrameLog(self.logger, "<"), FrameLog(self.logger, ">")

    def log_closed(self) -> None:
        """Log that the connection has ended."""
        if self.logger is not None:
            self.logger.info("connection closed")

    @property
    def state(self) -> State:
        """CONNECTING during the opening handshake, then the session's state.

        CLOSED if it never opened.
        """
        if self.session is not None:
            return self.session.state
        return State.CLOSED if self.never_opened else State.CONNECTING

    @property
    def messages_sent(self) -> int:
        """Messages sent so far."""
        return 0 if self.session is None else self.session.messages_sent

    @property
    def waiting(self) -> int:
        """Bytes of frames that wait for the network."""
        return self.opened_session().bytes_queued - self.bytes_sent

    def opened_session(self) -> Session:
        """Return the session. Raises StateError before the opening handshake is done."""
        if self.session is None:
            raise StateError("the opening handshake is not done")
        return self.session

    # For the API.

    @abstractmethod
    def now(self) -> float:
        """The time of the clock that the session is given."""

    @abstractmethod
    def start_closing(self, code: int | None, reason: str) -> None:
        """Have the session begin to close; before the opening handshake is done, do nothing."""

    @abstractmethod
    def update(self) -> None:
        """After a change of the session: write what it has queued, without waiting, and wake those
        whom the change concerns.
        """

    @abstractmethod
    async def perform(self, action: Callable[[Session], Result]) -> Result:
        """Wait until something can be sent, call `action` to queue it, and have it written.

        Raises:
            ConnectionClosed: The connection has ended.
        """


def peer_address(sock: Any) -> Any:
    """Return the address of a socket's peer; None without a socket, or if the peer is gone."""
    try:
        return None if sock is None else sock.getpeername()
    except OSError:
        return None
