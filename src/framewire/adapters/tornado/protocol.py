"""The frame loop and the writer of `WebSocketProtocol13`.

Whole data frames are parsed in batches and delivered one by one as before. The original handles
control frames, fragments and every failure, from the same read buffer. The answers to a batch are
written together, before anything else is written and before any other task can run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import monotonic
from typing import Any, Final

from tornado.concurrent import Future, future_set_result_unless_cancelled
from tornado.iostream import IOStream, StreamClosedError
from tornado.log import gen_log
from tornado.websocket import WebSocketClosedError, WebSocketProtocol, WebSocketProtocol13

from ..._backend import make_frame, read_header, take_frames, take_key, take_payload
from ...protocol.constants import MAX_LENGTH
from ...protocol.masking_keys import pool

__all__ = [
    "RSV1", "AcceleratedProtocol", "abort", "make_message_frame", "original_write_frame", "receive_frame",
    "write_frame", "write_message",
]  # fmt: skip

#: Messages that are delivered before other tasks run, like 256 KiB of small frames in tornado.
MAX_BATCH: Final = 256

#: The longest time, in seconds, and the most bytes for which answers wait to be written together.
MAX_HELD_TIME: Final = 0.001
MAX_HELD_BYTES: Final = 1 << 16

_TEXT: Final = 0x81
_BINARY: Final = 0x82
RSV1: Final = 0x40

_original_receive_frame = WebSocketProtocol13._receive_frame
_original_write_message = WebSocketProtocol13.write_message
original_write_frame = WebSocketProtocol13._write_frame
_original_abort = WebSocketProtocol._abort


# Receiving


async def receive_frame(self: WebSocketProtocol13) -> None:
    """Receive the next frame, or all whole data frames that have arrived."""
    limit = self.params.max_message_size
    if not _is_plain(self) or self._fragmented_message_buffer is not None or type(limit) is not int or limit < 0:
        await _original_receive_frame(self)
        return
    masked = not self.mask_outgoing
    reader = _FrameReader(self.stream, masked, min(limit, MAX_LENGTH), self._decompressor is not None)
    data = await reader.read()
    if reader.frames:
        await _deliver(self, reader.frames, data)
    elif data:
        taken = take_payload(data, 0, masked, limit)
        assert taken is not None
        await _deliver(self, [(data[0], taken[0])], data)
    else:
        await _original_receive_frame(self)


def _is_plain(self: WebSocketProtocol13) -> bool:
    """Return whether no subclass may have changed the methods that the fast paths leave out."""
    return type(self) is WebSocketProtocol13 or type(self) is AcceleratedProtocol


class _FrameReader:
    """Reads data frames; in place of the pattern of `IOStream.read_until_regex`.

    Attributes:
        frames: The whole frames without RSV bits that have been read. If there are none, one
            compressed frame has been read, or nothing before a frame that is for the original.
    """

    __slots__ = ("_deflate", "_limit", "_masked", "_matched", "_read_size", "_stream", "frames")

    def __init__(self, stream: Any, masked: bool, limit: int, deflate: bool) -> None:
        self._stream = stream
        self._masked = masked
        self._limit = limit
        self._deflate = deflate
        self._matched = 0
        # More than the default of 64 KiB, so that one read can return a message of this size with its
        # header.
        self._read_size = stream.read_chunk_size * 3 // 2
        self.frames: list[tuple[int, bytes]] = []

    async def read(self) -> bytes:
        """Return the bytes of the frames, like `read_until_regex`."""
        stream = self._stream
        future = stream._start_read()
        stream._read_regex = self
        stream._read_max_bytes = None
        try:
            if type(stream) is IOStream and not stream._read_buffer_size and not stream._closed:
                # An attempt to read before the socket is readable would nearly always be in vain.
                vars(stream)["_handle_read"] = self._handle_read
                stream._add_io_state(stream.io_loop.READ)
            else:
                stream._try_inline_read()
            data: bytes = await future
        except Exception:
            future.add_done_callback(lambda future: future.exception())  # else its error would be logged
            raise
        finally:  # both refer to this object, which refers to the stream
            stream._read_regex = None
            vars(stream).pop("_handle_read", None)
        return data

    def _handle_read(self) -> None:
        """Read from the socket; like `IOStream._handle_read`, with fewer copies."""
        stream = self._stream
        try:
            data = stream.socket.recv(self._read_size)
        except BlockingIOError:
            return
        except Exception as error:
            if not stream._is_connreset(error):
                gen_log.warning("error on read: %s", error)
            stream.close(exc_info=error)
            return
        if not data:
            stream.close()
            return
        end = 0 if stream._read_buffer_size else take_frames(data, self._masked, self._limit, self.frames)
        if end < len(data):
            stream._read_buffer += data[end:]
            stream._read_buffer_size += len(data) - end
        if not end:
            position = stream._find_read_pos()
            if position is None:
                return
            if len(self.frames) != 1:
                stream._read_from_buffer(position)
                return
            # Nothing will be unread, so that there is no need for a copy of a large frame.
            end, data = 0, b""
            del stream._read_buffer[:position]
            stream._read_buffer_size -= position
        future, stream._read_future, stream._read_regex = stream._read_future, None, None
        future_set_result_unless_cancelled(future, data if end == len(data) else data[:end])

    def search(self, buffer: bytearray) -> _FrameReader | None:
        """Match the front of the buffer; None waits for the rest of a data frame."""
        self._matched = take_frames(buffer, self._masked, self._limit, self.frames)
        if not self._matched:
            size = self._data_frame_size(buffer)
            if size > len(buffer):
                return None
            self._matched = size
        return self

    def end(self) -> int:
        """Return the end of the match."""
        return self._matched

    def _data_frame_size(self, buffer: bytearray) -> int:
        """Return the size of the frame at the front; 0 if the original is to receive it."""
        header = read_header(buffer, 0, min(len(buffer), 14))
        if header is None:
            return 0
        first_byte, masked, length, end, key = header
        if (first_byte & ~RSV1 if self._deflate else first_byte) not in (_TEXT, _BINARY):
            return 0
        if masked is not self._masked or key is None or not 0 <= length <= self._limit:
            return 0
        # The original reads the payload without the header, which may just fit in the read buffer.
        size = end + length
        return size if size + self._read_size <= self._stream.max_buffer_size else 0


def _unread(stream: IOStream, data: bytes) -> None:
    """Return bytes to the front of the read buffer."""
    stream._read_buffer[:0] = data
    stream._read_buffer_size += len(data)


def _pause_reading(stream: IOStream) -> None:
    """Ignore further input while the read buffer has data, as `IOStream._handle_events` does.

    Else the end of the input would close the stream before the messages in the buffer are answered.
    """
    if stream._read_buffer_size and stream._state is not None and stream._state & stream.io_loop.READ:
        stream._state &= ~stream.io_loop.READ
        stream.io_loop.update_handler(stream.fileno(), stream._state)


async def _deliver(self: WebSocketProtocol13, frames: list[tuple[int, bytes]], data: bytes) -> None:
    """Deliver data frames, whose bytes are `data`, which has been read from the stream.

    While other tasks run, the bytes of frames that are not yet delivered are in the read buffer.
    """
    stream = self.stream
    last = len(frames) - 1
    overhead = 2 if self.mask_outgoing else 6
    start = 0
    in_buffer = False
    try:
        for position, (first_byte, payload) in enumerate(frames):
            size = len(payload)
            if size > 125:
                size += 2 if size < 65536 else 8
            start += size + overhead
            self._wire_bytes_in += size + overhead
            if in_buffer:
                stream._consume(size + overhead)
            if position < last:
                _hold(self)
            else:
                _release(self)
            if self._decompressor is not None:
                self._frame_compressed = first_byte & RSV1 > 0
            handled = self._handle_message(first_byte & 0x0F, payload)
            if self.client_terminated:
                return
            pausing = position < last and position % MAX_BATCH == MAX_BATCH - 1
            if pausing or (handled is not None and not handled.done()):
                _release(self)
                if not in_buffer:
                    _unread(stream, data[start:])
                    in_buffer = True
                _pause_reading(stream)
                if handled is not None:
                    await handled
                if pausing:
                    await asyncio.sleep(0)
                if self.client_terminated:
                    return
    finally:
        _release(self)


# Sending


class _Held:
    """Frames that wait to be written together, and the futures of their `write_message`."""

    __slots__ = ("frames", "futures", "since", "size")

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.futures: list[Future[None]] = []
        self.size = 0
        self.since = monotonic()


def _hold(self: Any) -> None:
    """Let `write_message` hold frames until `_release`; write those that have waited too long."""
    held = vars(self).get("_held")
    if held is not None:
        if not held.frames or (held.size < MAX_HELD_BYTES and monotonic() - held.since < MAX_HELD_TIME):
            return
        _release(self)
    if self.stream.max_write_buffer_size is None:
        self._held = _Held()


def _release(self: Any) -> None:
    """Write all frames held, and hold no more."""
    held = vars(self).pop("_held", None)
    if held is None or not held.frames:
        return
    stream = self.stream
    limit, stream.max_write_buffer_size = stream.max_write_buffer_size, None  # there was none before
    try:
        written = _write(stream, b"".join(held.frames))
    except StreamClosedError:
        _fail(held.futures)
        return
    finally:
        stream.max_write_buffer_size = limit
    if written is None:
        held.futures[0].get_loop().call_soon(_resolve, held.futures)
    else:
        written.add_done_callback(lambda written: _settle(written, held.futures))


def _settle(written: Future[None], futures: list[Future[None]]) -> None:
    if written.cancelled() or written.exception() is not None:
        _fail(futures)
    else:
        _resolve(futures)


def _resolve(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _fail(futures: list[Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(WebSocketClosedError())


def write_message(self: WebSocketProtocol13, message: Any, binary: bool = False) -> Future[None]:
    """Send a message, like the original."""
    kind = type(message)
    if (kind is not str and kind is not bytes) or not _is_plain(self):
        return _original_write_message(self, message, binary)
    frame = make_message_frame(self, message.encode() if kind is str else message, binary)
    stream = self.stream
    held = vars(self).get("_held")
    if held is not None and stream.max_write_buffer_size is not None:
        _release(self)
        held = None
    if held is not None:
        if stream.closed():
            raise WebSocketClosedError
        future: Future[None] = Future()
        held.frames.append(frame)
        held.futures.append(future)
        held.size += len(frame)
        return future
    try:
        written = _write(stream, frame)
    except StreamClosedError:
        raise WebSocketClosedError  # noqa: B904 - with the same context as in the original
    if written is not None:
        return asyncio.ensure_future(_wait_written(written))
    # The caller may await it in a loop, so that it must not be done before other tasks could run.
    future = Future()
    future.get_loop().call_soon(_resolve, (future,))
    return future


def make_message_frame(self: WebSocketProtocol13, payload: bytes, binary: bool) -> bytes:
    """Return the frame of a message, and count its bytes."""
    self._message_bytes_out += len(payload)
    first_byte = _BINARY if binary else _TEXT
    if self._compressor:
        payload = self._compressor.compress(payload)
        first_byte |= RSV1
    frame = make_frame(first_byte, payload, take_key(pool) if self.mask_outgoing else b"")
    self._wire_bytes_out += len(frame)
    return frame


def _write(stream: Any, data: bytes) -> Any:
    """Write to a stream; return None if all is written, else the future of the rest.

    Like `IOStream.write`, without a future and a buffer for data that is written at once.
    """
    if (
        type(stream) is not IOStream
        or stream._write_buffer
        or stream._closed
        or stream._connecting
        or stream.max_write_buffer_size is not None
    ):
        return stream.write(data)
    try:
        size = stream.socket.send(data)
    except BlockingIOError:
        size = 0
    except OSError as error:
        if not stream._is_connreset(error):
            gen_log.warning("Write error on %s: %s", stream.fileno(), error)
        stream.close(exc_info=error)
        failed: Future[None] = Future()
        failed.set_exception(StreamClosedError(real_error=error))
        return failed
    stream._total_write_index += size
    stream._total_write_done_index += size
    if size < len(data):
        return stream.write(memoryview(data)[size:])
    stream._maybe_add_error_listener()
    return None


async def _wait_written(written: Future[None]) -> None:
    try:
        await written
    except StreamClosedError:
        raise WebSocketClosedError  # noqa: B904 - with the same context as in the original


def write_frame(self: WebSocketProtocol13, fin: bool, opcode: int, data: bytes, flags: int = 0) -> Future[None]:
    """Write a frame after those held."""
    _release(self)
    return original_write_frame(self, fin, opcode, data, flags)


def abort(self: WebSocketProtocol) -> None:
    """Abort the connection after the frames held are written."""
    _release(self)
    _original_abort(self)


class AcceleratedProtocol(WebSocketProtocol13):
    """The protocol with the replacements of its frame loop, for the self-test."""

    _receive_frame = receive_frame
    _write_frame = write_frame
    _abort = abort
