"""The self-test: the replacements behave like the originals, on sample frames without a socket."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketProtocol13, _PerMessageDeflateCompressor, _WebSocketParams

from ..._backend import make_frame, take_payload
from ...protocol.constants import MAX_LENGTH
from ..accelerate import expect_same
from ..self_test_samples import DATA_FRAMES, KEY, frame_streams, make_frames
from .protocol import RSV1, AcceleratedProtocol, make_message_frame, original_write_frame

__all__ = ["run_self_test"]


def run_self_test() -> None:
    """Compare the replacements with the originals, as server and client, with and without
    compression.

    Raises:
        Mismatch: They differ.
    """
    for client in (False, True):
        for deflate in (False, True):
            original = _make_exchange(WebSocketProtocol13, client, deflate)
            replacement = _make_exchange(AcceleratedProtocol, client, deflate)
            expect_same("_receive_frame", original, replacement, *_samples(client))
            original, replacement = _make_send(client, deflate, False), _make_send(client, deflate, True)
            sizes = (0, 1, 125, 126, 127, 65535, 65536)
            expect_same("write_message", original, replacement, *((bytes(size),) for size in sizes))


class _SampleStream:
    """A stream without a socket, with the part of `IOStream` that the protocol uses.

    It is also its own event loop: reads end at once, and timeouts are ignored.
    """

    max_buffer_size = 1 << 20
    max_write_buffer_size = None
    read_chunk_size = 1 << 16

    def __init__(self, chunks: tuple[bytes, ...]) -> None:
        self._read_buffer = bytearray()
        self._read_buffer_size = 0
        self._chunks = list(chunks)
        self._closed = False
        self._read_regex: Any = None
        self.io_loop = self
        self.written: list[bytes] = []

    def time(self) -> float:
        return 0.0

    def add_timeout(self, *_: Any) -> None:
        self.written.append(b"(timeout)")

    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def write(self, data: bytes) -> Any:
        if self._closed:
            raise StreamClosedError
        self.written.append(data)
        return _Written()

    def _consume(self, size: int) -> bytes:
        data = bytes(self._read_buffer[:size])
        del self._read_buffer[:size]
        self._read_buffer_size -= size
        return data

    def _start_read(self) -> _SampleRead:
        self._read = _SampleRead()
        return self._read

    def _try_inline_read(self) -> None:
        while self._read_buffer or self._receive():
            match = self._read_regex.search(self._read_buffer)
            if match is not None:
                self._read.data = self._consume(match.end())
                return
            if not self._receive():
                return

    async def read_bytes(self, size: int) -> bytes:
        while self._read_buffer_size < size:
            if not self._receive():
                raise StreamClosedError
        return self._consume(size)

    def _receive(self) -> bool:
        """Receive the next chunk; return False at the end of the input."""
        if not self._chunks:
            return False
        chunk = self._chunks.pop(0)
        self._read_buffer += chunk
        self._read_buffer_size += len(chunk)
        return True


class _SampleRead:
    """The future of a read, which has ended when it is awaited."""

    data: bytes | None = None

    def add_done_callback(self, _: Any) -> None:
        pass

    def __await__(self) -> Generator[None, None, bytes]:
        if self.data is None:
            raise StreamClosedError
        yield from ()
        return self.data


class _Written:
    """The future of a write that is done."""

    def done(self) -> bool:
        return True

    def add_done_callback(self, _: Any) -> None:
        pass


class _SampleHandler:
    """A handler that records its calls; it fails at one message."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_message(self, message: Any) -> None:
        self.calls.append(message)
        if message == "fail":
            raise ValueError(message)

    def on_ping(self, payload: bytes) -> None:
        self.calls.append(("ping", payload))

    def on_pong(self, payload: bytes) -> None:
        self.calls.append(("pong", payload))

    def on_ws_connection_close(self, *close: Any) -> None:
        self.calls.append(close)

    def log_exception(self, kind: type, *_: Any) -> None:
        self.calls.append(kind)


def _make_protocol(
    kind: type[WebSocketProtocol13], client: bool, deflate: bool, chunks: tuple[bytes, ...] = ()
) -> tuple[WebSocketProtocol13, Any, Any]:
    handler: Any = _SampleHandler()
    stream: Any = _SampleStream(chunks)
    protocol = kind(handler, client, _WebSocketParams(max_message_size=300))
    protocol.stream = stream
    if deflate:
        protocol._create_compressors("client" if client else "server", {})
    return protocol, handler, stream


def _make_exchange(kind: type[WebSocketProtocol13], client: bool, deflate: bool) -> Any:
    """Return a function that runs the frame loop on chunks; it returns what can be observed."""

    def exchange(*chunks: bytes) -> Any:
        protocol, handler, stream = _make_protocol(kind, client, deflate, chunks)
        loop = protocol._receive_frame_loop()
        try:
            while True:
                loop.send(None)
        except StopIteration:
            pass
        # The bytes that a client sends have random masking keys, so they cannot be compared.
        written = [data[: 2 if client else None] for data in stream.written]
        states = (protocol.client_terminated, protocol.server_terminated, protocol._message_bytes_in)
        return handler.calls, written, states, stream.closed()

    return exchange


def _make_send(client: bool, deflate: bool, accelerated: bool) -> Any:
    """Return a function that returns the parts of the frame of a message, without the mask."""

    def send(payload: bytes) -> Any:
        protocol, _, stream = _make_protocol(WebSocketProtocol13, client, deflate)
        if accelerated:
            frame = make_message_frame(protocol, payload, True)
        else:
            assert protocol._compressor is not None or not deflate
            encoded = protocol._compressor.compress(payload) if protocol._compressor else payload
            original_write_frame(protocol, True, 2, encoded, RSV1 if deflate else 0)
            (frame,) = stream.written
        return frame[0], take_payload(frame, 0, client, MAX_LENGTH), protocol._wire_bytes_out

    return send


def _samples(client: bool) -> Iterator[tuple[bytes, ...]]:
    """Yield streams of frames: the common ones, and some invalid, compressed or over a limit."""
    key = b"" if client else KEY
    yield from frame_streams(key)
    data = make_frames(key, *DATA_FRAMES)
    deflate = _PerMessageDeflateCompressor(True, None)
    compressed = [(0xC1, deflate.compress(b"text" * 9)), (0xC2, deflate.compress(bytes(99)))]
    bomb = (0xC2, deflate.compress(bytes(301)))
    close = struct.pack(">H", 1001) + b"gone"
    for following in (
        [(0x81, b"a\xff"), (0x81, b"a")],
        [(0x81, b"fail"), (0x81, b"a")],
        [(0x82, bytes(300)), (0x82, bytes(301))],
        [(0x01, bytes(200)), (0x80, bytes(101))],
        [*compressed, (0x81, b"a"), bomb, (0x81, b"a")],
        [(0xC1, b"not deflate")],
        [(0x8A, b"pong"), (0x88, close), (0x81, b"a")],
        [(0x88, b"")],
        [(0x88, b"\x03")],
    ):
        stream = data + make_frames(key, *following)
        yield (stream,)
        yield from ((stream[:cut], stream[cut:]) for cut in range(len(data), len(stream), 37))
    yield (data + make_frame(0x81, b"other role", KEY if client else b""), data)
    yield (data + bytes([0x81, 0x7E | (0 if client else 0x80), 0, 1]) + key + b"a", data)
