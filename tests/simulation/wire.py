"""The frames that one end writes, read straight from RFC 6455 and 7692: nothing here is framewire's.

Whoever checks what the library sends must not read it with the library.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from typing import NoReturn

from framewire.protocol import masking_keys
from framewire.session import keepalive

from .schedule import CheckError

__all__ = ["KeySource", "WireReader"]

#: The close codes that may be sent (7.4, and the registry of IANA); 3000 to 4999 besides.
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})

# The closing tag of each compressed message, which the sender takes off (RFC 7692 7.2.1).
_TAIL = b"\x00\x00\xff\xff"


class KeySource:
    """The masking keys of one run, in place of random ones: no two are the same."""

    def __init__(self) -> None:
        self._taken = 0
        self._used: set[int] = set()

    def urandom(self, size: int) -> bytes:
        """Return `size` bytes, a multiple of 4, in place of random ones."""
        first, self._taken = self._taken, self._taken + size // 4
        if self._taken <= _PACKED:
            return _KEYS[4 * first : 4 * self._taken]
        return _pack(first, self._taken)

    def use(self, key: bytes) -> bool:
        """Return whether a key is one of those that were taken, and is used for the first time."""
        number = (int.from_bytes(key, "little") * _INVERSE - 1) & 0xFFFFFFFF
        if number >= self._taken or number in self._used:
            return False
        self._used.add(number)
        return True

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Have clients take their masking keys here; the payloads of pings are no longer random either."""
        numbers = count()
        payloads = SimpleNamespace(urandom=lambda size: next(numbers).to_bytes(size, "big"))
        masking_keys.pool.clear()
        masking_keys.os, keepalive.os = SimpleNamespace(urandom=self.urandom), payloads  # type: ignore[assignment]
        try:
            yield
        finally:
            masking_keys.os = keepalive.os = os
            masking_keys.pool.clear()


def _pack(first: int, end: int) -> bytes:
    """Return keys by number; as the factor is odd, no two of 2**32 are the same."""
    return struct.pack(f"<{end - first}I", *[number * _FACTOR & 0xFFFFFFFF for number in range(first + 1, end + 1)])


_FACTOR = 0x9E3779B1
_INVERSE = pow(_FACTOR, -1, 1 << 32)
_PACKED = 1 << 14
_KEYS = _pack(0, _PACKED)


class WireReader:
    """Reads what one end writes after the opening handshake, and refuses what RFC 6455 forbids.

    Args:
        keys: The source of masking keys, for what a client writes; None for a server.
        deflate: Whether permessage-deflate was agreed on.
    """

    __slots__ = (
        "_buffer", "_compressed", "_inflate", "_keys", "_needed", "_opcode", "_parts", "close", "close_end",
        "message_ends", "messages", "offset", "ping_ends", "pings", "pongs",
    )  # fmt: skip

    def __init__(self, keys: KeySource | None, deflate: bool) -> None:
        self._keys = keys
        self._inflate = zlib.decompressobj(-15) if deflate else None
        self._buffer = bytearray()
        self._needed = 0  # bytes of the buffer, before there is anything to do
        #: Bytes of whole frames so far.
        self.offset = 0
        #: The messages, and the offset at which each one ends.
        self.messages: list[str | bytes] = []
        self.message_ends: list[int] = []
        #: The payloads of pings, the offsets at which they end, and the payloads of pongs.
        self.pings: list[bytes] = []
        self.ping_ends: list[int] = []
        self.pongs: list[bytes] = []
        #: The code (1005 for none) and the reason of the close frame, and the offset at which it ends.
        self.close: tuple[int, str] | None = None
        self.close_end = 0
        self._opcode = 0  # of the message that has begun
        self._compressed = False
        self._parts: list[bytes] = []

    @property
    def between_frames(self) -> bool:
        """Whether everything that was written is whole frames."""
        return not self._buffer

    def skip(self, size: int) -> None:
        """Leave out bytes between two frames that are not meant to be frames."""
        self.offset += size

    def feed(self, data: bytes) -> None:
        """Read on. Raises CheckError for what must not be sent."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        position, end = 0, len(data)
        while position < end:
            size = self._frame_size(data, position)
            if size > end - position:
                self._buffer += data[position:]
                self._needed = size
                return
            self.offset += size
            self._take(data if size == end else data[position : position + size])
            position += size

    def _frame_size(self, data: bytes, start: int) -> int:
        """Return the size of the frame that begins at `start`; the part of it that says so if that is not whole."""
        left = len(data) - start
        if left < 2:
            return 2
        second = data[start + 1]
        size, length = (2 if self._keys is None else 6), second & 127
        if (second > 127) is (self._keys is None):
            self._fail("a frame of a server is masked" if second > 127 else "a frame of a client is not masked")
        if length < 126:
            return size + length
        count = 2 if length == 126 else 8
        if left < 2 + count:
            return 2 + count
        length = int.from_bytes(data[start + 2 : start + 2 + count], "big")
        if not (length > 125 if count == 2 else 1 << 16 <= length < 1 << 63):
            self._fail(f"a length of {length} in {count} bytes")
        return size + count + length

    def _take(self, frame: bytes) -> None:
        first, length = frame[0], frame[1] & 127
        start = 2 if length < 126 else 4 if length == 126 else 10
        if self._keys is None:
            payload = frame[start:]
        else:
            key, payload = frame[start : start + 4], frame[start + 4 :]
            if not self._keys.use(key):
                self._fail(f"the masking key {key.hex()} is not a new one")
            payload = _unmask(payload, key)
        opcode = first & 15
        if first & 0x30:
            self._fail("RSV2 or RSV3 is set")
        if opcode < 8:
            self._take_data(first, opcode, payload)
        elif first & 0x40 or first < 0x80 or length > 125:
            self._fail("a control frame is compressed, fragmented or long")
        elif opcode == 9:
            self.pings.append(payload)
            self.ping_ends.append(self.offset)
        elif opcode == 10:
            self.pongs.append(payload)
        elif opcode == 8:
            self._take_close(payload)
        else:
            self._fail(f"opcode {opcode}")

    def _take_data(self, first: int, opcode: int, payload: bytes) -> None:
        if self.close is not None:
            self._fail("data after a close frame")
        if not opcode:
            if not self._opcode or first & 0x40:
                self._fail("a continuation of nothing, or one with RSV1")
        elif opcode > 2 or self._opcode:
            self._fail(f"opcode {opcode}, within a message of opcode {self._opcode}")
        else:
            self._opcode, self._compressed = opcode, first & 0x40 != 0
            if self._compressed and self._inflate is None:
                self._fail("RSV1 without an extension")
        self._parts.append(payload)
        if first < 0x80:
            return
        content = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if self._compressed:
            assert self._inflate is not None
            content = self._inflate.decompress(content + _TAIL)
        try:
            self.messages.append(content.decode() if self._opcode == 1 else content)
        except UnicodeDecodeError as error:
            self._fail(f"text that is not UTF-8: {error}")
        self.message_ends.append(self.offset)
        self._opcode = 0
        self._parts.clear()

    def _take_close(self, payload: bytes) -> None:
        if self.close is not None:
            self._fail("a second close frame")
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        if payload and not (len(payload) > 1 and (code in _CLOSE_CODES or 3000 <= code < 5000)):
            self._fail(f"a close frame of {payload[:2]!r}")
        try:
            self.close = code, payload[2:].decode()
        except UnicodeDecodeError as error:
            self._fail(f"a close reason that is not UTF-8: {error}")
        self.close_end = self.offset

    def _fail(self, text: str) -> NoReturn:
        raise CheckError("wire", f"{text}; the frame ends at {self.offset}")


def _unmask(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")
