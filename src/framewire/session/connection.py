"""`BaseConnection`: what a connection of every API tells about itself."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from ..http.http11 import Request, Response
from ..protocol.constants import CLOSED, OPEN, CloseCode, State
from ..protocol.sender import encode_text
from .session import Data, Session

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["BaseConnection", "ConnectionDriver", "as_payload", "close_code_after"]


class ConnectionDriver(Protocol):
    """What moves the bytes of a connection, as far as the connection tells of it."""

    @property
    def state(self) -> State:
        """CONNECTING during the opening handshake, then the session's state.

        CLOSED if it never opened.
        """

    @property
    def local_address(self) -> Any:
        """The socket's own address."""

    @property
    def remote_address(self) -> Any:
        """The peer's address."""

    @property
    def messages_sent(self) -> int:
        """Messages sent so far."""

    @property
    def bytes_sent(self) -> int:
        """Bytes of frames written so far."""

    def start_closing(self, code: int | None, reason: str) -> None:
        """Have the session begin to close; before the opening handshake is done, cut the connection."""


class BaseConnection:
    """The session of one connection, its driver, and what the opening handshake agreed on.

    A connection is CONNECTING until `_session` is set, at the end of the opening handshake. The
    counters (`messages_received` and so on) are for reading; bytes are those of frames with their
    headers, without the opening handshake.
    """

    __slots__ = ("__dict__", "__weakref__", "_driver", "_session", "request", "response", "subprotocol")

    def __init__(self, driver: ConnectionDriver) -> None:
        self._driver = driver
        #: The request of the opening handshake.
        self.request: Request | None = None
        #: The response of the opening handshake.
        self.response: Response | None = None
        #: The subprotocol that was agreed on.
        self.subprotocol: str | None = None
        self._session: Session | None = None

    #: The address that `trusted_proxies` have told, None if that of the driver counts.
    client_address: Any = None
    #: The scheme with which the client has connected to the nearest of `trusted_proxies`, "ws" or
    #: "wss"; None if it does not tell.
    client_scheme: str | None = None

    @cached_property
    def id(self) -> UUID:
        """A random name for logs."""
        from uuid import UUID  # slow to import, and only logs need it

        return UUID(bytes=os.urandom(16), version=4)

    @property
    def local_address(self) -> Any:
        """The socket's own address: (host, port, ...) for TCP."""
        return self._driver.local_address

    @property
    def remote_address(self) -> Any:
        """The peer's address: (host, port, ...) for TCP.

        With `trusted_proxies`, the address that they tell; a port that they do not tell is 0.
        """
        return self._driver.remote_address if self.client_address is None else self.client_address

    @property
    def state(self) -> State:
        """CONNECTING during the opening handshake, then the state of the closing handshake."""
        return self._driver.state

    @property
    def close_code(self) -> int | None:
        """The peer's close code, 1005 if empty, 1006 if it sent none (7.1.5).

        None before the end.
        """
        return self._session.stream.close_code if self._session and self.state is CLOSED else None

    @property
    def close_reason(self) -> str | None:
        """The peer's close reason (7.1.6); None before the end."""
        return self._session.stream.close_reason if self._session and self.state is CLOSED else None

    @property
    def ended_by_peer(self) -> bool:
        """Whether the peer has begun the end: by a close frame, a violation, or the end of TCP."""
        return self._session is not None and self.state is not OPEN and self._session.close_state.ended_by_peer

    @property
    def clean(self) -> bool:
        """Whether the closing handshake is complete: a close frame went each way (7.1.4)."""
        return self._session is not None and self._session.stream.clean

    @property
    def latency(self) -> float:
        """Seconds between the last answered ping and its pong; 0 before the first."""
        return 0.0 if self._session is None else self._session.keepalive.latency

    @property
    def messages_received(self) -> int:
        """Messages received so far."""
        return 0 if self._session is None else self._session.stream.messages_received

    @property
    def messages_sent(self) -> int:
        """Messages sent so far."""
        return self._driver.messages_sent

    @property
    def bytes_received(self) -> int:
        """Bytes received so far."""
        return 0 if self._session is None else self._session.stream.bytes_received

    @property
    def bytes_sent(self) -> int:
        """Bytes sent so far."""
        return self._driver.bytes_sent

    @property
    def pings_received(self) -> int:
        """Pings received so far."""
        return 0 if self._session is None else self._session.pings_received

    @property
    def pings_sent(self) -> int:
        """Pings sent so far, those of the keepalive included."""
        return 0 if self._session is None else self._session.pings_sent

    def start_closing(self, code: int | None = 1000, reason: str = "") -> None:
        """Begin to close, without waiting for the end.

        In a callback of the opening handshake, such as `process_request`, cut the connection.

        Args:
            code: The close code; None: an empty close frame.
            reason: At most 123 bytes of UTF-8.
        """
        self._driver.start_closing(code, reason)


def close_code_after(error: BaseException | None) -> CloseCode:
    """Return the close code at the end of a block, a handler or a callback (7.4.1): 1011 if it raised
    `error`, else 1000. A block in a generator that is closed has not failed.
    """
    done = error is None or isinstance(error, GeneratorExit)
    return CloseCode.NORMAL_CLOSURE if done else CloseCode.INTERNAL_ERROR


def as_payload(data: Data) -> bytes | bytearray | memoryview:
    """Return the payload of a ping or pong: text as UTF-8. TextError if it cannot be encoded."""
    return encode_text(data) if isinstance(data, str) else data
