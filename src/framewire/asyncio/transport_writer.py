"""What leaves one connection.

    _write ─▶ cork ─▶ SocketWriter ─▶ socket, or the transport for what the socket does not take at once

Writes are corked: what is sent while one read is handled, or in one turn of the event loop, leaves in one
system call. The first answer to a single message does not wait for more.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any, Final, cast

from .._backend import SocketWriter
from ..protocol.constants import CloseCode
from ..protocol.stream import Stream
from ..session.close_state import Closing
from ..session.endpoint import BaseEndpoint
from .limits import Limits

__all__ = ["LARGE", "Output", "end_output"]

#: So many corked bytes leave at once, to be sent while the rest is made.
CORK_SIZE: Final = 1 << 16

#: Plain messages of so many bytes or characters do not wait in the cork, nor are they joined with what does.
LARGE: Final = 1 << 15

#: The transports that write to their socket just what they are given, and whose socket says when it is closed.
_PLAIN: Final = {
    "asyncio.selector_events._SelectorSocketTransport",
    "uvloop.loop.TCPTransport",
    "uvloop.loop.UnixTransport",
}


class Output(BaseEndpoint, asyncio.BufferedProtocol):
    """The sending half of an `Endpoint`."""

    __slots__ = (
        "_closing", "_cork", "_corked", "_full", "_handling", "_limits", "_uncorked", "_unread_replies", "_writer",
        "loop", "transport",
    )  # fmt: skip

    _writer: SocketWriter

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.transport = cast(asyncio.Transport, None)
        self._limits = limits
        self._closing = Closing()
        self._cork: list[bytes] = []
        self._corked = 0
        self._uncorked = False  # the next write need not wait for others
        self._handling = False
        self._full = False
        self._unread_replies = 0

    @property
    def messages_sent(self) -> int:
        return self._writer.messages_sent if self._stream is not None else 0

    @property
    def bytes_sent(self) -> int:
        return self._writer.bytes_sent if self._stream is not None else 0

    def _begin_output(self, stream: Stream) -> None:
        limit = min(self._limits.fragment_size or sys.maxsize, sys.maxsize)
        self._writer = SocketWriter(stream, self.transport, _socket_of(self.transport), limit)
        self._uncorked = True

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._unread_replies = 0

    def _write(self, data: bytes) -> None:
        if self._uncorked:
            self._uncorked = False
            self._push(data)
            return
        cork = self._cork
        if not cork and not self._handling:
            self.loop.call_soon(self._flush)
        cork.append(data)
        self._corked += len(data)
        if self._corked > CORK_SIZE:
            self._push(b"".join(cork))
            cork.clear()
            self._corked = 0

    def _flush(self) -> None:
        """Write what is corked, together."""
        cork = self._cork
        if cork:
            self._push(cork[0] if len(cork) == 1 else b"".join(cork))
            cork.clear()
            self._corked = 0
        self._uncorked = not self._handling

    def _push(self, data: bytes) -> None:
        self._writer.write(data)
        if self._full:
            self._limit_unsent()

    def _send_large(self, message: object) -> bool:
        """Send a plain message behind what is corked; False if it is none, see `SocketWriter.send`."""
        self._flush()
        self._uncorked = False
        sent = self._writer.send(message)
        if self._full:
            self._limit_unsent()
        return sent

    def _limit_unsent(self) -> None:
        """Cut a peer that does not read what it is sent, whoever sends without waiting."""
        limit = self._limits.max_unsent
        if limit is not None and self.transport.get_write_buffer_size() > limit:
            self._closing.note_sent(CloseCode.POLICY_VIOLATION, "too much is unread")
            self.transport.abort()


def _socket_of(transport: asyncio.BaseTransport) -> Any:
    """The socket to write to beside the transport; None where only the transport may write, as with TLS."""
    kind = type(transport)
    if sys.platform == "win32" or f"{kind.__module__}.{kind.__qualname__}" not in _PLAIN:
        return None
    return transport.get_extra_info("socket")


def end_output(transport: asyncio.Transport) -> None:
    """End our direction of TCP once all is written; with TLS, which cannot be half-closed, both."""
    if transport.can_write_eof():
        with suppress(OSError):  # the peer has ended both directions already
            transport.write_eof()
    else:
        transport.close()
