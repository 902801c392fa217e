# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True
"""permessage-deflate on one connection (RFC 7692 7.2): content to payload and back, a piece at a time."""

from __future__ import annotations

import zlib as standard

from cpython.bytes cimport PyBytes_GET_SIZE

cdef bytes TAIL = b"\x00\x00\xff\xff"
cdef bytes EMPTY = b"\x00"
cdef object SYNC = standard.Z_SYNC_FLUSH


cdef class Deflate:
    """permessage-deflate on one connection: a `Codec` (RFC 7692 7.2).

    The window bits are 9 to 15 for what it sends and 8 to 15 for what it receives; `*_resets` say that there is no
    context takeover in that direction. The rest is as in `PerMessageDeflate`; `zlib` is the module that does the work.

    `deflater` and `inflater` are the contexts, made on first use; `decode_bits` is at least 9, for those who ask for 8
    bits and have zlib compress with 9.
    """

    rsv = 0x40

    cdef readonly int encode_bits, decode_bits, level, memory_level
    cdef readonly bint encode_resets, decode_resets, pending
    cdef readonly Py_ssize_t threshold
    cdef readonly object deflater, inflater
    cdef object zlib
    cdef bint begun
    cdef bytes rest

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
        self.zlib = zlib
        self.rest = b""

    def decode(self, payload: bytes, most: int, last: bool) -> bytes:
        """Inflates a piece of a message; see `Codec.decode`."""
        cdef bytes piece = payload
        cdef bytes content
        cdef Py_ssize_t limit = most
        cdef bint ends = last
        if self.pending:
            piece = self.rest
        elif ends and (piece or self.begun):
            piece += TAIL
        elif not piece:
            return b""
        if self.inflater is None:
            self.inflater = self.zlib.decompressobj(-self.decode_bits)
        try:
            content = self.inflater.decompress(piece, most)
        except self.zlib.error as error:
            if str(error).startswith("Error -4 "):  # Z_MEM_ERROR: the window is allocated late
                raise MemoryError from None
            raise ValueError("a compressed message is corrupt") from None
        if self.inflater.eof:
            # A block with BFINAL: the next one, if any, begins with a byte and an empty window (7.2.3.4).
            self.rest = self.inflater.unused_data
            if self.rest == TAIL and ends:
                self.rest = b""
            self.inflater = None
            self.begun = False
            self.pending = self.rest != b""
        else:
            self.rest = self.inflater.unconsumed_tail
            self.begun = not ends
            self.pending = self.rest != b"" or PyBytes_GET_SIZE(content) >= limit
            if self.decode_resets and ends and not self.pending:
                self.inflater = None
        return content

    def encode(self, content: bytes, last: bool) -> bytes:
        """Deflates a piece of a message; see `Codec.encode`."""
        cdef bytes payload = b""
        if content:
            if self.deflater is None:
                self.deflater = self.zlib.compressobj(
                    self.level, self.zlib.DEFLATED, -self.encode_bits, self.memory_level
                )
            payload = self.deflater.compress(content) + self.deflater.flush(SYNC)
        if not last:
            return payload
        if self.encode_resets:
            self.deflater = None
        return payload[:-4] or EMPTY

    def abandon(self) -> None:
        """The next message begins with an empty window, to which the peer's fits whatever it holds."""
        self.deflater = None

    def close(self) -> None:
        """Frees both contexts."""
        self.deflater = self.inflater = None
        self.rest = b""
