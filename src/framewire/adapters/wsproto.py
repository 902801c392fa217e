"""wsproto: its `FrameProtocol`, which hypercorn, simple-websocket, httpx-ws and others use.

Whole data frames without RSV bits are parsed in batches and delivered one by one as before; wsproto
itself parses every other frame. A compressed message is inflated in steps, so that a size limit of
the caller takes effect before all of the message is in memory.
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
from .accelerate import Replacement, expect_same
from .self_test_samples import DATA_FRAMES, KEY, PAYLOADS, frame_streams, make_frames

#: Bytes of a compressed frame that are inflated at a time. Deflate expands by a factor of at most
#: 1032.
INFLATE_STEP: Final = 1 << 11

_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY


def replacements() -> list[Replacement]:
    """Return replacements of `connection.FrameProtocol` and of `XorMaskerSimple`.

    The latter unmasks frames that arrive in parts.
    """
    for client in (False, True):
        replacement = _make_exchange(AcceleratedFrameProtocol, client)
        expect_same("FrameProtocol", _make_exchange(FrameProtocol, client), replacement, *_samples(client))
        payloads = (b"", "text", b"a" * 126, bytearray(b"a" * 65536), memoryview(b"ab"), 1)
        original, replacement = _make_send(FrameProtocol, client), _make_send(AcceleratedFrameProtocol, client)
        expect_same("send_data", original, replacement, *((payload,) for payload in payloads))
    original, replacement = _make_mask(frame_protocol.XorMaskerSimple), _make_mask(Masker)
    expect_same("XorMaskerSimple", original, replacement, *PAYLOADS)
    return [
        Replacement(connection, "FrameProtocol", AcceleratedFrameProtocol),
        Replacement(frame_protocol, "XorMaskerSimple", Masker),
    ]


class AcceleratedFrameProtocol(FrameProtocol):
    """A `FrameProtocol` that takes whole data frames from the front of its buffer in batches."""

    def __init__(self, client: bool, extensions: list[Extension]) -> None:
        super().__init__(client, extensions)
        #: Frames taken from the buffer and not yet delivered, as first bytes and payloads.
        self._taken: deque[tuple[int, bytes]] = deque()
        # Other extensions may want to see frames without RSV bits.
        self._batching_allowed = all(type(extension) is PerMessageDeflate for extension in self.extensions)
        for extension in self.extensions:
            if isinstance(extension, PerMessageDeflate):
                self._frame_decoder.buffer = _SteppedBuffer(extension)

    def received_frames(self) -> Generator[Frame, None, None]:
        """Yield the frames that have arrived; a later call continues where this one stopped."""
        taken = self._taken
        while True:
            while taken:
                first_byte, payload = taken.popleft()
                if first_byte == 0x82:
                    yield Frame(_BINARY, payload, True, True)
                else:
                    try:
                        text = payload.decode()
                    except UnicodeDecodeError as error:
                        taken.clear()
                        self._parse_more.close()
                        raise ParseFailed(str(error), CloseReason.INVALID_FRAME_PAYLOAD_DATA) from None
                    yield Frame(_TEXT, text, True, True)
            if not self._take_data_frames() and (yield from self._parse_one()):
                return

    def _take_data_frames(self) -> bool:
        """Take whole data frames from the front of the buffer; return False if there are none."""
        decoder = self._frame_decoder
        buffer = decoder.buffer.buffer
        if not buffer or not self._batching_allowed:
            return False
        if decoder.header is not None or self._message_decoder.opcode is not None:  # inside a frame or a message
            return False
        if inspect.getgeneratorstate(self._parse_more) == inspect.GEN_CLOSED:  # after a failure or a close frame
            return False
        frames: list[tuple[int, bytes]] = []
        end = take_frames(buffer, not self.client, MAX_LENGTH, frames)
        del buffer[:end]
        self._taken.extend(frames)
        return end > 0

    def _parse_one(self) -> Generator[Frame, None, bool]:
        """Let the original parse one frame or a part of it; return whether it needs more data."""
        for frame in self._parse_more:
            if frame is None:
                return True
            if frame.opcode is Opcode.CLOSE:
                self._parse_more.close()
            yield frame
            return False
        return True

    def send_data(self, payload: bytes | bytearray | str = b"", fin: bool = True) -> bytearray:
        """Return the frame of a message or of a fragment."""
        kind = type(payload)
        if self.extensions or not fin or self._outbound_opcode is not None or (kind is not bytes and kind is not str):
            return super().send_data(payload, fin)
        return make_frame(0x81 if kind is str else 0x82, payload, os.urandom(4) if self.client else b"")  # type: ignore[return-value]


class Masker:
    """Unmask the payload of a frame in chunks."""

    __slots__ = ("_key", "_phase")

    def __init__(self, masking_key: bytes | bytearray) -> None:
        self._key = bytes(masking_key)
        self._phase = 0

    def process(self, data: bytes | bytearray) -> bytearray:
        """Return a copy of the next chunk, unmasked."""
        chunk = bytearray(data)
        apply_mask_in_place(chunk, self._key, self._phase)
        self._phase = (self._phase + len(chunk)) % 4
        return chunk


class _SteppedBuffer(Buffer):
    """A buffer that returns the payload of a compressed message in steps of `INFLATE_STEP`."""

    def __init__(self, deflate: PerMessageDeflate) -> None:
        super().__init__()
        self._deflate = deflate

    def consume_at_most(self, nbytes: int) -> bytearray:
        return super().consume_at_most(min(nbytes, INFLATE_STEP) if self._deflate._inbound_compressed else nbytes)


def _make_exchange(protocol_class: type[FrameProtocol], client: bool) -> Any:
    """Return a function that feeds chunks to a new protocol and returns its frames and failures."""

    following_frame = make_frame(0x81, b"after", b"" if client else KEY)

    def exchange(*chunks: bytes) -> Any:
        protocol = protocol_class(client, [])
        observed: list[Any] = []
        for chunk in (*chunks, b"", following_frame):
            protocol.receive_bytes(chunk)
            try:
                for frame in protocol.received_frames():
                    observed.append((type(frame.payload), frame))
            except ParseFailed as failure:
                observed.append((str(failure), failure.code))
        return observed

    return exchange


def _make_send(protocol_class: type[FrameProtocol], client: bool) -> Any:
    """Return a function that returns the frame of a payload, as `Connection.send` does.

    For a client, the masking key and the masked payload, which differ each time, are left out.
    """

    def send(payload: Any) -> bytes:
        data = b"" + protocol_class(client, []).send_data(payload)
        return data[: -len(payload) - 4] if client else data

    return send


def _make_mask(masker_class: Any) -> Any:
    """Return a function that masks chunks."""

    def mask(*chunks: bytes) -> list[tuple[type, bytes]]:
        masker = masker_class(bytearray(KEY))
        return [(type(masked), masked) for masked in map(masker.process, map(bytearray, chunks))]

    return mask


def _samples(client: bool) -> Iterator[tuple[bytes, ...]]:
    """Yield streams of frames: the common ones, and text that is not valid UTF-8."""
    key = b"" if client else KEY
    yield from frame_streams(key)
    for text in (b"\xff", b"a\xe2\x82", b"\xed\xa0\x80"):
        yield (make_frames(key, *DATA_FRAMES, (0x81, text), (0x81, b"a")),)
