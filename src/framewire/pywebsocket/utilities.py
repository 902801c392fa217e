"""The module `util`: small functions, and the compressors under its names."""

from __future__ import annotations

import logging
import zlib
from typing import Final

from .raw_frames import NoopMasker, RepeatedXorMasker

__all__ = [
    "NoopMasker",
    "RepeatedXorMasker",
    "_Deflater",
    "_Inflater",
    "_RFC1979Deflater",
    "_RFC1979Inflater",
    "get_class_logger",
    "hexify",
    "pack_byte",
    "prepend_message_to_exception",
]

#: The end of an empty stored block, which a sender leaves out (RFC 7692 7.2.1).
_TAIL: Final = b"\x00\x00\xff\xff"


def pack_byte(b: int) -> bytes:
    """Return the number `b`, 0 to 255, as one byte."""
    return b.to_bytes(1, "big")


def hexify(s: bytes) -> str:
    """Return bytes in hexadecimal, separated by spaces."""
    return s.hex(" ")


def get_class_logger(o: object) -> logging.Logger:
    """Return the logger with the name of the class of an object."""
    return logging.getLogger(f"{type(o).__module__}.{type(o).__name__}")


def prepend_message_to_exception(message: str, exc: Exception) -> None:
    """Prepend `message` to the text of an exception."""
    exc.args = (message + str(exc),)


class _Deflater:
    """A compressor of raw deflate data (RFC 1951).

    Args:
        window_bits: 8 to 15; zlib compresses with at least 9, which decompressors of 8 accept.
    """

    def __init__(self, window_bits: int) -> None:
        self._deflater = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -max(window_bits, 9))

    def compress(self, data: bytes) -> bytes:
        """Compress; part of the result may come later."""
        return self._deflater.compress(data)

    def compress_and_flush(self, data: bytes) -> bytes:
        """Compress, and end with an empty stored block."""
        return self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)

    def compress_and_finish(self, data: bytes) -> bytes:
        """Compress, and end the deflate stream."""
        return self._deflater.compress(data) + self._deflater.flush(zlib.Z_FINISH)


class _Inflater:
    """A decompressor of raw deflate data; `window_bits` are 8 to 15."""

    def __init__(self, window_bits: int) -> None:
        self._bits = window_bits
        self._inflater = zlib.decompressobj(-window_bits)
        self._unconsumed = b""

    def append(self, data: bytes) -> None:
        """Add compressed data."""
        self._unconsumed += data

    def decompress(self, size: int) -> bytes:
        """Return up to `size` bytes; all that can be decompressed if it is -1."""
        content = b""
        while self._unconsumed and (size == -1 or len(content) < size):
            content += self._inflater.decompress(self._unconsumed, 0 if size == -1 else size - len(content))
            if self._inflater.eof:  # another deflate stream may follow
                self._unconsumed = self._inflater.unused_data
                self._inflater = zlib.decompressobj(-self._bits)
            else:
                self._unconsumed = self._inflater.unconsumed_tail
        return content

    def reset(self) -> None:
        """Begin another deflate stream."""
        self._inflater = zlib.decompressobj(-self._bits)
        self._unconsumed = b""


class _RFC1979Deflater:
    """A compressor of messages (RFC 7692 7.2.1)."""

    def __init__(self, window_bits: int | None, no_context_takeover: bool) -> None:
        self._bits = 15 if window_bits is None else window_bits
        self._resets = no_context_takeover
        self._deflater: _Deflater | None = None

    def filter(self, data: bytes, end: bool = True, bfinal: bool = False) -> bytes:
        """Compress a piece of a message.

        Args:
            data: The piece.
            end: Whether the message ends with it.
            bfinal: Whether to end the deflate stream, by a block with the bit BFINAL.
        """
        if self._deflater is None:
            self._deflater = _Deflater(self._bits)
        if bfinal:
            payload = self._deflater.compress_and_finish(data) + b"\0"  # 7.2.3.4
        else:
            payload = self._deflater.compress_and_flush(data)
            payload = payload.removesuffix(_TAIL) or b"\0" if end else payload
        if bfinal or (self._resets and end):
            self._deflater = None
        return payload


class _RFC1979Inflater:
    """A decompressor of messages (RFC 7692 7.2.2)."""

    def __init__(self, window_bits: int = 15) -> None:
        self._inflater = _Inflater(window_bits)

    def filter(self, data: bytes) -> bytes:
        """Decompress a message."""
        self._inflater.append(data + _TAIL)
        return self._inflater.decompress(-1)
