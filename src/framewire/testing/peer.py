"""`BasePeer`: the frames of a scripted peer, right and wrong, without I/O.

    script ─ send, violate, ... ─▶ bytes ─▶ application
    script ◀─ receive ─ events ◀─ bytes ◀─ application

The peers of asyncio, threads and trio add how bytes are written and read.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from .._backend import make_frame
from ..http.http11 import Response
from ..protocol.constants import CLIENT, CloseCode, Opcode, Role
from ..protocol.events import Event
from ..protocol.stream import Stream

__all__ = ["URI", "VIOLATIONS", "BasePeer", "complete_uri"]

#: The host of URIs that are given as a path.
URI: Final = "ws://testserver"

#: The violations of RFC 6455 that `violate` knows, with the close codes that they are answered with
#: (7.4.1).
VIOLATIONS: Final[Mapping[str, CloseCode]] = MappingProxyType({
    "reserved bit": CloseCode.PROTOCOL_ERROR,
    "reserved opcode": CloseCode.PROTOCOL_ERROR,
    "wrong masking": CloseCode.PROTOCOL_ERROR,
    "fragmented ping": CloseCode.PROTOCOL_ERROR,
    "continuation without a message": CloseCode.PROTOCOL_ERROR,
    "close code of one byte": CloseCode.PROTOCOL_ERROR,
    "close code 1006": CloseCode.PROTOCOL_ERROR,
    "text that is not UTF-8": CloseCode.INVALID_DATA,
})  # fmt: skip

#: The first byte and the payload of each of them but "wrong masking".
_FRAMES: Final = {
    "reserved bit": (0xC1, b"x"),
    "reserved opcode": (0x83, b"x"),
    "fragmented ping": (0x09, b"x"),
    "continuation without a message": (0x80, b"x"),
    "close code of one byte": (0x88, b"\x03"),
    "close code 1006": (0x88, b"\x03\xee"),
    "text that is not UTF-8": (0x81, b"\xff"),
}

Result = TypeVar("Result")


def complete_uri(uri: str) -> str:
    """Return a URI that may be given as its path and query only."""
    return uri if "://" in uri else URI + uri


class BasePeer(ABC, Generic[Result]):
    """One end of a connection whose every byte is the test's: it answers nothing by itself, and
    reads only in `receive`.

    Messages are not compressed.

    Args:
        role: Which end this is.
    """

    def __init__(self, role: Role) -> None:
        #: Which end this is.
        self.role = role
        #: The response of the opening handshake.
        self.response: Response | None = None
        self._stream = Stream(role, max_message_size=None, auto_close=False, auto_pong=False)
        self._events: list[Event] = []

    @abstractmethod
    def send_bytes(self, data: bytes) -> Result:
        """Send any bytes."""

    @abstractmethod
    def cut(self) -> None:
        """Cut the connection without a close frame, as a network does that fails."""

    def send(self, message: str | bytes) -> Result:
        """Send a message: text as `str`, binary as `bytes`."""
        opcode, payload = (Opcode.TEXT, message.encode()) if isinstance(message, str) else (Opcode.BINARY, message)
        return self.send_frame(0x80 | opcode, payload)

    def send_frame(self, first_byte: int, payload: bytes = b"") -> Result:
        """Send a frame, masked if this is the client's end.

        Args:
            first_byte: FIN, the reserved bits and the opcode (RFC 6455 5.2), valid or not.
            payload: The payload.
        """
        return self.send_bytes(_encode(first_byte, payload, self.role is CLIENT))

    def send_close(self, code: int | None = 1000, reason: str = "") -> Result:
        """Send a close frame with any code, None for an empty frame, and wait for nothing."""
        payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
        return self.send_frame(0x80 | Opcode.CLOSE, payload)

    def violate(self, violation: str) -> Result:
        """Send one of `VIOLATIONS`.

        Raises:
            KeyError: There is no such violation.
        """
        if violation == "wrong masking":
            return self.send_bytes(_encode(0x81, b"x", self.role is not CLIENT))
        return self.send_frame(*_FRAMES[violation])

    # For the peers of each I/O layer.

    def _take_event(self) -> Event | None:
        """Return the next event; None if there is none yet."""
        return self._events.pop(0) if self._events else None

    def _feed(self, data: bytes) -> None:
        """Process received bytes. Raises EOFError if there are none: the connection has ended."""
        if not data:
            raise EOFError("the application has ended the connection")
        self._events += self._stream.receive(data)

    def _begin(self, response: Response | None, rest: bytes) -> None:
        """Begin with the frames after the opening handshake; `rest` are the first of them."""
        self.response = response
        self._events += self._stream.receive(rest)


def _encode(first_byte: int, payload: bytes, masked: bool) -> bytes:
    return make_frame(first_byte, payload, os.urandom(4) if masked else b"")
