"""websockets: the frame parser and the frame writer of its sans-I/O `Protocol`, on which all its other layers stand.

Whole plain data frames are taken all at once and handed on as the `Frame` objects they were before. The parser of
websockets still reads every other frame, and decides, words and logs every failure.
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
from .accelerate import Change, expect_same
from .samples import DATA, KEY, make_frames, streams

_original_parse = Protocol.parse
_original_send_frame = Protocol.send_frame
_original_mask = vars(frames)["apply_mask"]


def changes() -> list[Change]:
    """Replaces `Protocol.parse` and `send_frame`; where websockets runs without its C extension, masking too."""
    for side in (SERVER, CLIENT):
        expect_same("Protocol", _exchange(Protocol, side), _exchange(_Replaced, side), *_samples(side))
    replaced = [Change(Protocol, "parse", parse), Change(Protocol, "send_frame", send_frame)]
    if _original_mask.__module__ == "websockets.utils":
        expect_same("apply_mask", _original_mask, mask, *((bytes(range(size)), KEY) for size in range(9)))
        replaced.append(Change(frames, "apply_mask", mask))
    return replaced


def parse(self: Protocol) -> Generator[None]:
    """Parses what comes in into frames, as the original."""
    failure = yield from _parse_frames(self)
    original = _original_parse(self)
    if failure is not None:
        # The original learns of the failure where it waits for the next frame, and deals with it.
        reader, self.reader = self.reader, StreamReader()
        next(original)
        self.reader = reader
        original.throw(failure)
        yield
    yield from original


def _parse_frames(self: Protocol) -> Generator[None, None, Exception | None]:
    """Parses frames up to a failure, which it returns, or the end of the stream."""
    reader = self.reader
    masked = self.side is SERVER
    try:
        while True:
            if reader.buffer and self.current_size is None and _is_plain(self):
                _take_events(self, reader.buffer, masked)
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


def _is_plain(self: Protocol) -> bool:
    """Whether nobody wants to see a frame without RSV bits before the events do: no log, extension or subclass."""
    if self.debug or type(self).recv_frame is not Protocol.recv_frame:
        return False
    return not self.extensions or all(type(extension) is PerMessageDeflate for extension in self.extensions)


def _take_events(self: Protocol, buffer: bytearray, masked: bool) -> None:
    limit = _max_size(self)
    taken: list[tuple[int, bytes]] = []
    end = take_frames(buffer, masked, MAX_LENGTH if limit is None else limit, taken)
    if end:
        del buffer[:end]
        text, binary = Opcode.TEXT, Opcode.BINARY
        self.events += [Frame(text if first == 0x81 else binary, payload) for first, payload in taken]


def _max_size(self: Protocol) -> int | None:
    """The largest payload in bytes that the next frame may have."""
    limits = []
    if self.max_message_size is not None:
        limits.append(self.max_message_size - (self.current_size or 0))
    if self.max_fragment_size is not None:
        limits.append(self.max_fragment_size)
    return min(limits, default=None)


def send_frame(self: Protocol, frame: Frame) -> None:
    """Queues the bytes of a frame, as the original."""
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
    """Returns the data XOR the masking key."""
    if not isinstance(data, (bytes, bytearray)) or len(mask) != 4:
        masked: bytes = _original_mask(data, mask)
        return masked
    return apply_mask(data, bytes(mask))


class _Replaced(Protocol):
    """What websockets becomes, for the self-test."""

    parse = parse
    send_frame = send_frame


def _exchange(kind: type[Protocol], side: Side) -> Any:
    """A function that feeds pieces to a protocol, with the end of the stream for None, and tells what came of it."""

    def exchange(*pieces: bytes | None) -> Any:
        protocol = kind(side, max_size=300, logger=logging.Logger(__name__, logging.CRITICAL))
        told: list[Any] = []
        for piece in pieces:
            if piece is None:
                protocol.receive_eof()
            else:
                protocol.receive_data(piece)
            told.append((protocol.events_received(), protocol.data_to_send() if side is SERVER else None))
        failure = protocol.parser_exc
        told.append((protocol.state, protocol.close_rcvd, protocol.close_sent, type(failure), str(failure)))
        if side is SERVER and not protocol.eof_sent:
            protocol.send_text(b"a" * 126)
            protocol.send_binary(b"", fin=False)
            told.append(protocol.data_to_send())
        return told

    return exchange


def _samples(side: Side) -> Iterator[tuple[bytes | None, ...]]:
    """Streams of frames: those that any reader is tried on, and what is over a limit, or ends too early."""
    key = KEY if side is SERVER else b""
    data = make_frames(key, *DATA)
    yield from streams(key)
    yield (data + make_frames(key, (0x81, b"\xff"), (0x91, b"x"), (0x82, b"y")), None)
    yield (data + make_frames(key, (0x82, bytes(301))),)
    yield (make_frames(key, (0x01, bytes(200)), (0x80, bytes(101))),)
    yield (make_frames(key, (0x88, b"\x03"), (0x81, b"a")),)
    yield (data, None)
    yield (data[:1], None)
    yield (data + data[:8], None)
