"""`connect_in_memory`: two asyncio transports, each the other end of the other one.

    write ─▶ write buffer ─ one step for each turn of the event loop ─▶ the other end's protocol

They need no socket and no thread, so they run on every event loop, and in virtual time if the loop
has one.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

__all__ = ["CLIENT_ADDRESS", "SERVER_ADDRESS", "MemoryTransport", "connect_in_memory"]

#: The addresses that the two ends have.
CLIENT_ADDRESS: Final = ("127.0.0.1", 50000)
SERVER_ADDRESS: Final = ("127.0.0.1", 80)

#: The most that one step delivers, in bytes.
_STEP: Final = 1 << 16


def connect_in_memory(client: asyncio.BaseProtocol, server: asyncio.BaseProtocol) -> MemoryTransport:
    """Connect two protocols; return the transport of the client."""
    ours, theirs = (
        MemoryTransport(*ends) for ends in ((CLIENT_ADDRESS, SERVER_ADDRESS), (SERVER_ADDRESS, CLIENT_ADDRESS))
    )
    ours.other, theirs.other = theirs, ours
    for transport, protocol in ((theirs, server), (ours, client)):
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
    return ours


class MemoryTransport(asyncio.Transport):
    """One end of a connection in memory.

    What is written stays in its write buffer while the other end has paused reading.

    Args:
        own: Its address.
        peer: The address of the other end.
    """

    other: MemoryTransport

    def __init__(self, own: tuple[str, int], peer: tuple[str, int]) -> None:
        super().__init__({"sockname": own, "peername": peer})
        self._loop = asyncio.get_running_loop()
        self._protocol: Any = None
        self._buffer = bytearray()  # written, but not delivered
        self._high, self._low = 1 << 16, 1 << 14
        self._write_paused = False
        self._reading = True
        self._output_ended = self._end_delivered = False
        self._closing = self._lost = False
        self._scheduled = False

    # The protocol.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self._protocol)

    # Reading.

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self.other._schedule()

    # Writing.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._output_ended:
            if not self._closing:
                raise RuntimeError("Cannot call write() after write_eof()")
            return
        self._buffer += data
        if len(self._buffer) > self._high and not self._write_paused:
            self._write_paused = True
            self._protocol.pause_writing()
        self._schedule()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._output_ended = True
        self._schedule()

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else 1 << 16 if low is None else 4 * low
        self._low = self._high // 4 if low is None else low

    # The end.

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """End both directions once everything written is delivered."""
        self._closing = self._output_ended = True
        self._schedule()

    def abort(self) -> None:
        """End both directions now; what was not delivered is lost."""
        self._buffer.clear()
        self.close()

    def reset(self) -> None:
        """Abort, as a reset of TCP: the other end is lost with a ConnectionResetError."""
        self._end_delivered = True  # by the error
        self._loop.call_soon(self.other._lose, ConnectionResetError("the connection was reset"))
        self.abort()

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._closing = self._output_ended = self._lost = True
            self._buffer.clear()
            self._protocol.connection_lost(error)

    # Delivery.

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        """Pass some of the write buffer to the other end, and its end after all of it."""
        self._scheduled = False
        other = self.other
        if other._closing:
            self._buffer.clear()  # nobody reads it any more
        elif other._reading and self._buffer:
            self._pass_bytes(other._protocol)
        if self._write_paused and len(self._buffer) <= self._low:
            self._write_paused = False
            self._protocol.resume_writing()
        if self._buffer:
            if other.is_reading():
                self._schedule()
            return
        if self._output_ended and not self._end_delivered and other.is_reading():
            self._end_delivered = True
            if not other._protocol.eof_received():
                other.close()
        if self._closing:
            self._lose(None)

    def _pass_bytes(self, protocol: Any) -> None:
        if isinstance(protocol, asyncio.BufferedProtocol):
            with memoryview(protocol.get_buffer(-1)) as view:
                size = min(len(view), len(self._buffer))
                view[:size] = self._buffer[:size]
            del self._buffer[:size]
            protocol.buffer_updated(size)
        else:
            data = bytes(self._buffer[:_STEP])
            del self._buffer[:_STEP]
            protocol.data_received(data)
