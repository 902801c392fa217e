"""wsproto: its `FrameProtocol`, on which hypercorn, simple-websocket, trio-websocket, httpx-ws and others stand.

Whole plain data frames are taken all at once and handed on one by one as before; wsproto itself reads every other
frame. A compressed message is inflated in steps, so that whoever limits its size can do so before it is all there.
"""

from __future__ import annotations

import inspect
import os
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, Final

from wsproto import connection, frame_protocol
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import Buffer, CloseReason, Frame, FrameProtocol, Opcode, ParseFailed

from .._backend import apply_mask_in_place, make_frame, take_frames
from ..protocol.constants import MAX_LENGTH
from .accelerate import Change, expect_same
from .samples import DATA, KEY, PAYLOADS, make_frames, streams

#: How much of a compressed frame is inflated at a time, in bytes; deflate makes at most 1032 times as much of it.
STEP: Final = 1 << 11

_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY


def changes() -> list[Change]:
    """Replaces `FrameProtocol` where connections look for it, and the masker of frames that arrive in parts."""
    for client in (False, True):
        replaced = _exchange(AcceleratedFrameProtocol, client)
        expect_same("FrameProtocol", _exchange(FrameProtocol, client), replaced, *_samples(client))
        payloads = (b"", "text", b"a" * 126, bytearray(b"a" * 65536), memoryview(b"ab"), 1)
        replaced = _send(AcceleratedFrameProtocol, client)
        expect_same("send_data", _send(FrameProtocol, client), replaced, *((payload,) for payload in payloads))
    expect_same("XorMaskerSimple", _mask(frame_protocol.XorMaskerSimple), _mask(Masker), *PAYLOADS)
    return [
        Change(connection, "FrameProtocol", AcceleratedFrameProtocol),
        Change(frame_protocol, "XorMaskerSimple", Masker),
    ]


class AcceleratedFrameProtocol(FrameProtocol):
    """Frames to bytes and back, as the original."""

    def __init__(self, client: bool, extensions: list[Extension]) -> None:
        super().__init__(client, extensions)
        self._taken: deque[tuple[int, bytes]] = deque()
        self._plain = all(type(extension) is PerMessageDeflate for extension in self.extensions)
        for extension in self.extensions:
            if isinstance(extension, PerMessageDeflate):
                self._frame_decoder.buffer = _SteppedBuffer(extension)

    def received_frames(self) -> Generator[Frame, None, None]:
        """The frames that have arrived. What is not asked for now comes the next time."""
        taken = self._taken
        while True:
            while taken:
                first, payload = taken.popleft()
                if first == 0x82:
                    yield Frame(_BINARY, payload, True, True)
                else:
                    try:
                        text = payload.decode()
                    except UnicodeDecodeError as error:
                        taken.clear()
                        self._parse_more.close()
                        raise ParseFailed(str(error), CloseReason.INVALID_FRAME_PAYLOAD_DATA) from None
                    yield Frame(_TEXT, text, True, True)
            if not self._take() and (yield from self._parse_one()):
                return

    def _take(self) -> bool:
        """Takes the whole plain data frames from the front of the buffer; False if there are none."""
        decoder = self._frame_decoder
        buffer = decoder.buffer.buffer
        if not buffer or not self._plain or decoder.header is not None or self._message_decoder.opcode is not None:
            return False
        if inspect.getgeneratorstate(self._parse_more) == inspect.GEN_CLOSED:  # after a failure or a close frame
            return False
        frames: list[tuple[int, bytes]] = []
        end = take_frames(buffer, not self.client, MAX_LENGTH, frames)
        del buffer[:end]
        self._taken.extend(frames)
        return end > 0

    def _parse_one(self) -> Generator[Frame, None, bool]:
        """Lets the original parse one frame, or a part of it; returns whether that was all there is."""
        for frame in self._parse_more:
            if frame is None:
                return True
            if frame.opcode is Opcode.CLOSE:
                self._parse_more.close()
            yield frame
            return False
        return True

    def send_data(self, payload: bytes | bytearray | str = b"", fin: bool = True) -> bytearray:
        """The frame of a message, or of a piece of one."""
        kind = type(payload)
        if self.extensions or not fin or self._outbound_opcode is not None or (kind is not bytes and kind is not str):
            return super().send_data(payload, fin)
        return make_frame(0x81 if kind is str else 0x82, payload, os.urandom(4) if self.client else b"")  # type: ignore[return-value]


class Masker:
    """Unmasks the payload of a frame in pieces."""

    __slots__ = ("_key", "_phase")

    def __init__(self, masking_key: bytes | bytearray) -> None:
        self._key = bytes(masking_key)
        self._phase = 0

    def process(self, data: bytes | bytearray) -> bytearray:
        """Returns a copy of the next piece, unmasked."""
        piece = bytearray(data)
        apply_mask_in_place(piece, self._key, self._phase)
        self._phase = (self._phase + len(piece)) % 4
        return piece


class _SteppedBuffer(Buffer):
    """Hands the payload of a compressed message out in steps."""

    def __init__(self, deflate: PerMessageDeflate) -> None:
        super().__init__()
        self._deflate = deflate

    def consume_at_most(self, nbytes: int) -> bytearray:
        return super().consume_at_most(min(nbytes, STEP) if self._deflate._inbound_compressed else nbytes)


def _exchange(kind: type[FrameProtocol], client: bool) -> Any:
    """A function that feeds pieces to a protocol, and gives the frames and the failure that come of it."""

    stream_after = make_frame(0x81, b"after", b"" if client else KEY)

    def exchange(*pieces: bytes) -> Any:
        protocol = kind(client, [])
        told: list[Any] = []
        for piece in (*pieces, b"", stream_after):
            protocol.receive_bytes(piece)
            try:
                for frame in protocol.received_frames():
                    told.append((type(frame.payload), frame))
            except ParseFailed as failure:
                told.append((str(failure), failure.code))
        return told

    return exchange


def _send(kind: type[FrameProtocol], client: bool) -> Any:
    """A function that sends a payload, as `Connection.send` does; a client's key and payload differ each time."""

    def send(payload: Any) -> bytes:
        data = b"" + kind(client, []).send_data(payload)
        return data[: -len(payload) - 4] if client else data

    return send


def _mask(kind: Any) -> Any:
    """A function that masks pieces."""

    def mask(*pieces: bytes) -> list[tuple[type, bytes]]:
        masker = kind(bytearray(KEY))
        return [(type(masked), masked) for masked in map(masker.process, map(bytearray, pieces))]

    return mask


def _samples(client: bool) -> Iterator[tuple[bytes, ...]]:
    """Streams of frames: those that any reader is tried on, and text that is not UTF-8."""
    key = b"" if client else KEY
    yield from streams(key)
    for text in (b"\xff", b"a\xe2\x82", b"\xed\xa0\x80"):
        yield (make_frames(key, *DATA, (0x81, text), (0x81, b"a")),)
