"""What one end of a WebSocket is and tells, whatever moves its bytes: the base of asyncio's and of the threads'."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TypeVar

from ..http.http11 import Request, Response
from ..protocol.constants import State
from ..protocol.stream import Stream

__all__ = ["BaseEndpoint", "as_payload", "take_answered"]

Waiting = TypeVar("Waiting")


class BaseEndpoint(ABC):
    """The stream of one connection, what the opening handshake agreed on, and how the connection ended."""

    __slots__ = ("_stream", "latency", "request", "response", "subprotocol")

    def __init__(self) -> None:
        self.request: Request | None = None
        self.response: Response | None = None
        self.subprotocol: str | None = None
        #: Seconds between the last answered ping and its pong; 0 before the first.
        self.latency = 0.0
        self._stream: Stream | None = None

    @cached_property
    def id(self) -> uuid.UUID:
        """A random name for logs."""
        return uuid.uuid4()

    @property
    @abstractmethod
    def state(self) -> State:
        """CONNECTING before the handshake is done, then the state of the closing handshake."""

    @property
    def close_code(self) -> int | None:
        """The peer's close code, 1005 if empty, 1006 if it sent none (7.1.5); None before the end."""
        return self._stream.close_code if self._stream and self.state is State.CLOSED else None

    @property
    def close_reason(self) -> str | None:
        """The peer's close reason (7.1.6); None before the end."""
        return self._stream.close_reason if self._stream and self.state is State.CLOSED else None

    @property
    def clean(self) -> bool:
        """Whether the closing handshake is complete: a close frame went each way (7.1.4)."""
        return self._stream is not None and self._stream.clean


def take_answered(pings: dict[bytes, Waiting], payload: bytes) -> list[Waiting]:
    """Take out of `pings`, oldest first, those that a pong with `payload` answers: its own and all before (5.5.3)."""
    answered = []
    if payload in pings:
        for each in pings:
            answered.append(each)
            if each == payload:
                break
    return [pings.pop(each) for each in answered]


def as_payload(data: str | bytes) -> bytes:
    """The payload of a ping or a pong: text as UTF-8."""
    return data.encode() if isinstance(data, str) else data
