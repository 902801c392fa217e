"""The last stage of sending: messages and frames to the socket of a connection."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, NoReturn

from .frames import FIRST_BINARY, FIRST_TEXT, make_frame
from .stream_core import StreamCore


class SocketWriter:
    """Writes straight to the socket of a connection while nothing waits before it in the transport.

    That saves what an event loop does around a system call. What the socket does not take at once
    goes to `transport`, which also reports errors of the socket. So does everything if
    `sock` is None, after `close()`, and while the transport holds data or is closing. The socket is
    asked for its descriptor before each write, because a loop may close it at any time and the
    number then belongs to another file.

    `bytes_sent` counts what was written, frames with their headers.
    """

    __slots__ = ("_limit", "_sock", "_stream", "_transport", "bytes_sent")

    def __init__(self, stream: StreamCore[Any], transport: Any, sock: Any, limit: int) -> None:
        if not isinstance(stream, StreamCore):
            raise TypeError("SocketWriter() takes a StreamCore")
        self._stream = stream
        self._transport = transport
        self._sock = sock
        self._limit = limit
        self.bytes_sent = 0

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def send(self, message: object) -> bool:
        """Write a whole message of at most `limit` bytes that `stream` may send as it is.

        Return False, without side effects, if the message needs `Stream.send`: compression,
        fragments, or an error to raise. Raises what the transport raises; then the connection is
        cut.
        """
        stream = self._stream
        if (type(message) is not bytes and type(message) is not str) or not stream._fast_send:
            return False
        if len(message) >= stream._max_plain:
            return False
        first = FIRST_TEXT if isinstance(message, str) else FIRST_BINARY
        try:
            payload = message.encode() if isinstance(message, str) else message
        except UnicodeEncodeError:
            return False
        if len(payload) > self._limit:
            return False
        self.write(make_frame(first, payload, stream._next_key()))
        stream._sent += 1
        return True

    def write(self, data: bytes) -> None:
        """Write frames. Raises what the transport raises; then the connection is cut."""
        if type(data) is not bytes:
            raise TypeError("write() takes bytes")
        done = 0
        descriptor = self._descriptor()
        if descriptor >= 0:
            with suppress(OSError):  # full, or broken: the transport finds out which
                # A descriptor that another process made blocking would block this one: there is no
                # MSG_DONTWAIT here.
                if not os.get_blocking(descriptor):
                    done = os.write(descriptor, data)
        if done < len(data):
            try:
                self._transport.write(memoryview(data)[done:] if done else data)
            except BaseException:  # part of a frame may be on the wire
                self._sock = None
                self._transport.abort()
                raise
        self.bytes_sent += len(data)

    def close(self) -> None:
        """Leave everything to the transport from now on."""
        self._sock = None

    def _descriptor(self) -> int:
        """The descriptor to write to at once; negative if the transport must write."""
        if self._sock is None or self._transport.get_write_buffer_size() or self._transport.is_closing():
            return -1
        return int(self._sock.fileno())
