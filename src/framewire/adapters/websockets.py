"""websockets: frame parsing and writing in its sans-I/O `Protocol`, which all of its APIs use.

Whole data frames without RSV bits are parsed in batches and delivered as the same `Frame` objects
as before. The parser of websockets still handles every other frame and every failure.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Generator, Iterator
from typing import Any

from websockets import frames
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol, Side
from websockets.streams import StreamReader

from .._backend import apply_mask, make_frame, take_frames
from ..protocol.constants import MAX_LENGTH
from .accelerate import Replacement, expect_same
from .self_test_samples import DATA_FRAMES, KEY, frame_streams, make_frames

_original_parse = Protocol.parse
_original_send_frame = Protocol.send_frame
_original_mask = vars(frames)["apply_mask"]


def replacements() -> list[Replacement]:
    """Return replacements of `Protocol.parse` and `Protocol.send_frame`.

    If websockets runs without its C extension, `apply_mask` is replaced too.
    """
    for side in (SERVER, CLIENT):
        original, replacement = _make_exchange(Protocol, side), _make_exchange(_AcceleratedProtocol, side)
        expect_same("Protocol", original, replacement, *_samples(side))
    replaced = [Replacement(Protocol, "parse", parse), Replacement(Protocol, "send_frame", send_frame)]
    if _original_mask.__module__ == "websockets.utils":
        expect_same("apply_mask", _original_mask, mask, *((bytes(range(size)), KEY) for size in range(9)))
        replaced.append(Replacement(frames, "apply_mask", mask))
    return replaced


def parse(self: Protocol) -> Generator[None]:
    """Parse received data into frames, like the original."""
    failure = yield from _parse_frames(self)
    original = _original_parse(self)
    if failure is not None:
        # Advance the original, with an empty reader, to where it waits for data. The exception is
        # raised there, so that the original handles it like one of its own.
        reader, self.reader = self.reader, StreamReader()
        next(original)
        self.reader = reader
        original.throw(failure)
        yield
    yield from original


def _parse_frames(self: Protocol) -> Generator[None, None, Exception | None]:
    """Parse frames until the end of the stream or a failure, which is returned."""
    reader = self.reader
    masked = self.side is SERVER
    try:
        while True:
            if reader.buffer and self.current_size is None and _may_skip_parser(self):
                _take_data_frames(self, reader.buffer, masked)
            if reader.buffer:
                frame = yield from Frame.parse(
                    reader.read_exact, mask=masked, max_size=_max_size(self), extensions=self.extensions
                )
                if self.debug:
                    self.logger.debug("< %s", frame)
                self.recv_frame(frame)
            elif reader.eof:
                return None
            else:
                yield
    except Exception as failure:
        return failure


def _may_skip_parser(self: Protocol) -> bool:
    """Return whether data frames without RSV bits may go directly to the events.

    They may not if a debug log, an extension or an override of `recv_frame` expects to see them.
    """
    if self.debug or type(self).recv_frame is not Protocol.recv_frame:
        return False
    return not self.extensions or all(type(extension) is PerMessageDeflate for extension in self.extensions)


def _take_data_frames(self: Protocol, buffer: bytearray, masked: bool) -> None:
    """Move whole data frames without RSV bits from the front of the buffer to the events."""
    limit = _max_size(self)
    taken: list[tuple[int, bytes]] = []
    end = take_frames(buffer, masked, MAX_LENGTH if limit is None else limit, taken)
    if end:
        del buffer[:end]
        text, binary = Opcode.TEXT, Opcode.BINARY
        self.events += [Frame(text if first_byte == 0x81 else binary, payload) for first_byte, payload in taken]


def _max_size(self: Protocol) -> int | None:
    """Return the largest payload that the next frame may have, in bytes; None if unlimited."""
    limits = []
    if self.max_message_size is not None:
        limits.append(self.max_message_size - (self.current_size or 0))
    if self.max_fragment_size is not None:
        limits.append(self.max_fragment_size)
    return min(limits, default=None)


def send_frame(self: Protocol, frame: Frame) -> None:
    """Queue the bytes of a frame, like the original."""
    if (
        self.debug
        or self.extensions
        or type(frame.data) is not bytes
        or frame.opcode > 2
        or frame.rsv1
        or frame.rsv2
        or frame.rsv3
    ):
        _original_send_frame(self, frame)
    else:
        key = secrets.token_bytes(4) if self.side is CLIENT else b""
        self.writes.append(make_frame((0x80 if frame.fin else 0) | frame.opcode, frame.data, key))


def mask(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
    """Return the data masked."""
    if not isinstance(data, (bytes, bytearray)) or len(mask) != 4:
        masked: bytes = _original_mask(data, mask)
        return masked
    return apply_mask(data, bytes(mask))


class _AcceleratedProtocol(Protocol):
    """A `Protocol` with the replacements, for the self-test."""

    parse = parse
    send_frame = send_frame


def _make_exchange(protocol_class: type[Protocol], side: Side) -> Any:
    """Return a function that feeds chunks to a new protocol and returns everything it observed.

    A chunk of None is the end of the stream.
    """

    def exchange(*chunks: bytes | None) -> Any:
        protocol = protocol_class(side, max_size=300, logger=logging.Logger(__name__, logging.CRITICAL))
        observed: list[Any] = []
        for chunk in chunks:
            if chunk is None:
                protocol.receive_eof()
            else:
                protocol.receive_data(chunk)
            # The bytes that a client sends have random masking keys, so they cannot be compared.
            observed.append((protocol.events_received(), protocol.data_to_send() if side is SERVER else None))
        failure = protocol.parser_exc
        observed.append((protocol.state, protocol.close_rcvd, protocol.close_sent, type(failure), str(failure)))
        if side is SERVER and not protocol.eof_sent:
            protocol.send_text(b"a" * 126)
            protocol.send_binary(b"", fin=False)
            observed.append(protocol.data_to_send())
        return observed

    return exchange


def _samples(side: Side) -> Iterator[tuple[bytes | None, ...]]:
    """Yield streams of frames: the common ones, and some over a limit or cut short."""
    key = KEY if side is SERVER else b""
    data = make_frames(key, *DATA_FRAMES)
    yield from frame_streams(key)
    yield (data + make_frames(key, (0x81, b"\xff"), (0x91, b"x"), (0x82, b"y")), None)
    yield (data + make_frames(key, (0x82, bytes(301))),)
    yield (make_frames(key, (0x01, bytes(200)), (0x80, bytes(101))),)
    yield (make_frames(key, (0x88, b"\x03"), (0x81, b"a")),)
    yield (data, None)
    yield (data[:1], None)
    yield (data + data[:8], None)
