"""`SocketWriter`: write frames to the socket of a connection."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, NoReturn

from .frames import FIRST_BINARY, FIRST_TEXT, make_frame
from .stream_core import StreamCore


class SocketWriter:
    """Writes frames directly to the socket while the transport of the connection holds no data.

    This avoids the overhead of the event loop around a system call. Bytes that the socket does not
    accept at once go to `transport`, which also reports errors of the socket. Everything goes to
    the transport if `sock` is None, after `close()`, and from the first bytes that the transport
    was given until it holds none and is not closing. Nobody else may write to the transport. Each
    write asks the socket for its descriptor, because the event loop may close it at any time, and
    the number may then belong to another file.

    `bytes_sent` is the number of bytes written, including headers.

    Args:
        stream: The stream that takes masking keys and counts messages.
        transport: The asyncio transport of the connection.
        sock: The socket of the transport; None writes to the transport only.
        limit: Largest payload that `send` accepts, in bytes.
    """

    __slots__ = ("_handed_over", "_limit", "_sock", "_stream", "_transport", "bytes_sent")

    def __init__(self, stream: StreamCore[Any], transport: Any, sock: Any, limit: int) -> None:
        if not isinstance(stream, StreamCore):
            raise TypeError("SocketWriter() takes a StreamCore")
        self._stream = stream
        self._transport = transport
        self._sock = sock
        self._limit = limit
        self._handed_over = True  # the transport may hold the end of the opening handshake
        self.bytes_sent = 0

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def send(self, message: object) -> bool:
        """Write a whole, unencoded message of at most `limit` bytes.

        If the transport raises, the connection is aborted and the exception is passed on.

        Returns:
            False, without side effects, if the message needs `Stream.send`: compression, fragments,
            or an error to raise.
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

    def send_shared(self, frames: dict[object, bytes]) -> bool:
        """Write the frame of a shared message, if it was made already.

        If the transport raises, the connection is aborted and the exception is passed on.

        Args:
            frames: `SharedMessage.frames`.

        Returns:
            False, without side effects, if the message needs `Stream.send_shared`.
        """
        frame = self._stream.take_shared(frames)
        if frame is None:
            return False
        self.write(frame)
        return True

    def write(self, data: bytes) -> None:
        """Write frames. If the transport raises, abort the connection and pass the exception on."""
        if type(data) is not bytes:
            raise TypeError("write() takes bytes")
        done = 0
        descriptor = self._descriptor()
        if descriptor >= 0:
            with suppress(OSError):  # full or broken: the transport writes, and reports errors
                # os.write has no MSG_DONTWAIT: if another process has made the descriptor blocking,
                # it would block this one.
                if not os.get_blocking(descriptor):
                    done = os.write(descriptor, data)
        if done < len(data):
            self._handed_over = True
            try:
                self._transport.write(memoryview(data)[done:] if done else data)
            except BaseException:  # part of a frame may be on the wire
                self._sock = None
                self._transport.abort()
                raise
        self.bytes_sent += len(data)

    def close(self) -> None:
        """Write to the transport only from now on."""
        self._sock = None

    def _descriptor(self) -> int:
        """Return the descriptor to write to; a negative number if the transport must write."""
        if self._sock is None:
            return -1
        if self._handed_over:
            if self._transport.get_write_buffer_size() or self._transport.is_closing():
                return -1
            self._handed_over = False
        return int(self._sock.fileno())
