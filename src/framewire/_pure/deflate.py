"""permessage-deflate on one connection (RFC 7692 7.2): content to payload and back, a piece at a time."""

from __future__ import annotations

import zlib as standard
from typing import Any, Final

#: What a sender cuts off the end of a message and the receiver puts back (7.2.1, 7.2.2).
_TAIL: Final = b"\x00\x00\xff\xff"

#: The shortest payload of an empty message: the header of an empty block without compression (7.2.3.6).
_EMPTY: Final = b"\x00"


class Deflate:
    """permessage-deflate on one connection: a `Codec` (RFC 7692 7.2).

    The window bits are 9 to 15 for what it sends and 8 to 15 for what it receives; `*_resets` say that there is no
    context takeover in that direction. The rest is as in `PerMessageDeflate`; `zlib` is the module that does the work.

    `deflater` and `inflater` are the contexts, made on first use; `decode_bits` is at least 9, for those who ask for 8
    bits and have zlib compress with 9.
    """

    rsv = 0x40

    __slots__ = (
        "_begun", "_rest", "_zlib", "decode_bits", "decode_resets", "deflater", "encode_bits", "encode_resets",
        "inflater", "level", "memory_level", "pending", "threshold",
    )  # fmt: skip

    def __init__(
        self,
        encode_bits: int = 15,
        decode_bits: int = 15,
        encode_resets: bool = False,
        decode_resets: bool = False,
        level: int | None = None,
        memory_level: int = 8,
        threshold: int = 0,
        zlib: Any = standard,
    ) -> None:
        self.encode_bits = encode_bits
        self.decode_bits = max(decode_bits, 9)
        self.encode_resets = encode_resets
        self.decode_resets = decode_resets
        self.level = zlib.Z_DEFAULT_COMPRESSION if level is None else level
        self.memory_level = memory_level
        self.threshold = threshold
        self.pending = False
        self.deflater: Any = None
        self.inflater: Any = None
        self._zlib = zlib
        self._begun = False  # the inflater has got something of this message
        self._rest = b""  # what it has not taken yet

    def decode(self, payload: bytes, most: int, last: bool) -> bytes:
        """Inflates a piece of a message; see `Codec.decode`."""
        if self.pending:
            payload = self._rest
        elif last and (payload or self._begun):
            payload += _TAIL
        elif not payload:
            return b""
        if self.inflater is None:
            self.inflater = self._zlib.decompressobj(-self.decode_bits)
        try:
            content: bytes = self.inflater.decompress(payload, most)
        except self._zlib.error as error:
            if str(error).startswith("Error -4 "):  # Z_MEM_ERROR: the window is allocated late
                raise MemoryError from None
            raise ValueError("a compressed message is corrupt") from None
        if self.inflater.eof:
            # A block with BFINAL: the next one, if any, begins with a byte and an empty window (7.2.3.4).
            rest = self.inflater.unused_data
            if rest == _TAIL and last:
                rest = b""
            self.inflater = None
            self._begun = False
            self.pending = rest != b""
        else:
            rest = self.inflater.unconsumed_tail
            self._begun = not last
            self.pending = rest != b"" or len(content) >= most
            if self.decode_resets and last and not self.pending:
                self.inflater = None
        self._rest = rest
        return content

    def encode(self, content: bytes, last: bool) -> bytes:
        """Deflates a piece of a message; see `Codec.encode`."""
        payload = b""
        if content:
            if self.deflater is None:
                self.deflater = self._zlib.compressobj(
                    self.level, self._zlib.DEFLATED, -self.encode_bits, self.memory_level
                )
            payload = self.deflater.compress(content) + self.deflater.flush(standard.Z_SYNC_FLUSH)
        if not last:
            return payload
        if self.encode_resets:
            self.deflater = None
        return payload[:-4] or _EMPTY

    def abandon(self) -> None:
        """The next message begins with an empty window, to which the peer's fits whatever it holds."""
        self.deflater = None

    def close(self) -> None:
        """Frees both contexts."""
        self.deflater = self.inflater = None
        self._rest = b""
