"""The memory that event loops read into, and whose turn it is to read."""

from __future__ import annotations

import asyncio
import sys
from typing import Final
from weakref import WeakKeyDictionary

__all__ = ["READ_SIZE", "TakesTurns", "read_buffer"]

#: What one read may bring, in bytes.
READ_SIZE: Final = 1 << 18

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def read_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """The memory, 256 KiB, that all connections of one loop read into.

    A transport calls `get_buffer`, reads, and calls `buffer_updated` without a pause between, and the stream copies
    what it keeps: so an idle connection needs no buffer of its own.
    """
    if sys.platform == "win32" and isinstance(loop, asyncio.ProactorEventLoop):
        return memoryview(bytearray(READ_SIZE))  # its reads are under way while others are taken
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(READ_SIZE))
    return buffer


class TakesTurns:
    """A protocol that calls `_yield_turn` after each read that may have left more to read.

    uvloop would go on reading from the same connection, up to 32 times, and one that floods would hold up all others.
    """

    __slots__ = ()

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    #: Whether reading is paused for want of room.
    _held: bool

    def _yield_turn(self) -> None:
        """Let others read before this connection goes on."""
        if isinstance(self.loop, asyncio.BaseEventLoop) or self._held or self.transport.is_closing():
            return
        self.transport.pause_reading()
        self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._held and not self.transport.is_closing():
            self.transport.resume_reading()
