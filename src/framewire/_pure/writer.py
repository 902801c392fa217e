"""The end of the way back: messages and frames to the socket of a connection."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from .send import make_frame, take_key


class SocketWriter:
    """Writes straight to the socket of a connection while nothing waits before it in the transport.

    That spares what an event loop does around a system call. What the socket does not take at once goes to
    `transport`, which also finds out what is wrong with the socket. So does everything if `sock` is None. The socket
    is asked for its descriptor before each write, as a loop may close it at any time, and the number then be
    another's.

    `messages_sent` and `bytes_sent`, frames with their headers, count what was written.
    """

    __slots__ = ("_idle", "_limit", "_sock", "_stream", "_transport", "bytes_sent", "messages_sent")

    def __init__(self, stream: Any, transport: Any, sock: Any, limit: int) -> None:
        self._stream = stream
        self._transport = transport
        self._sock = sock
        self._limit = limit
        self._idle = False  # nothing waits in the transport
        self.messages_sent = self.bytes_sent = 0

    def send(self, message: object) -> bool:
        """Writes a whole message, if `stream` may send it as it is and its payload has at most `limit` bytes.

        False, and nothing is done, for all else: what that is, and why it cannot be sent, `Stream.send` knows.
        """
        if (type(message) is not bytes and type(message) is not str) or len(message) >= self._stream._plain:
            return False
        try:
            first, payload = (0x81, message.encode()) if isinstance(message, str) else (0x82, message)
        except UnicodeEncodeError:
            return False
        if len(payload) > self._limit:
            return False
        self.write(make_frame(first, payload, take_key(self._stream._keys)))
        self.messages_sent += 1
        return True

    def write(self, data: bytes) -> None:
        """Writes frames. If what the socket did not take cannot be left to the transport, the connection is cut."""
        if type(data) is not bytes:
            raise TypeError("write() takes bytes")
        done = 0
        descriptor = self._descriptor()
        if descriptor >= 0:
            with suppress(OSError):  # it is full, or what is wrong with it the transport finds out
                done = os.write(descriptor, data)
        if done < len(data):
            self._idle = False
            try:
                self._transport.write(memoryview(data)[done:] if done else data)
            except BaseException:
                if done:  # a frame was left half done
                    self._sock = None
                    self._transport.abort()
                raise
        self.bytes_sent += len(data)

    def close(self) -> None:
        """Leaves everything to the transport from now on."""
        self._sock = None

    def _descriptor(self) -> int:
        """Where to write at once; -1 if that cannot be."""
        if self._sock is None:
            return -1
        if not self._idle:  # one that was cut has dropped what it held, and nothing may follow
            self._idle = not (self._transport.get_write_buffer_size() or self._transport.is_closing())
        return int(self._sock.fileno()) if self._idle else -1
