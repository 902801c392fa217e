"""The memory that event loops read into."""

from __future__ import annotations

import asyncio
import sys
from typing import Final
from weakref import WeakKeyDictionary

__all__ = ["READ_SIZE", "read_buffer"]

#: The most that one read brings, in bytes.
READ_SIZE: Final = 1 << 18

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def read_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """Return the memory, `READ_SIZE` bytes, that all connections of one event loop read into.

    A transport calls `get_buffer`, reads, and calls `buffer_updated` without a pause in between,
    and the stream copies what it keeps: so an idle connection needs no buffer of its own.
    """
    if sys.platform == "win32" and isinstance(loop, asyncio.ProactorEventLoop):
        return memoryview(bytearray(READ_SIZE))  # its reads are under way while others are processed
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(READ_SIZE))
    return buffer
