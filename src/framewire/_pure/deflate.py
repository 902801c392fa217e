# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True, auto_pickle=False
"""The permessage-deflate codec of one connection (RFC 7692 7.2).

This file is the source of both twins: Cython compiles it to `_fast/deflate`, with the types in
`_fast/deflate.pxd`.
"""

from __future__ import annotations

import sys
import zlib as standard_zlib
from importlib import import_module
from operator import index
from typing import Any, Final, NoReturn

#: The end of an empty stored block: a sender removes it from the end of a message and the receiver
#: appends it again (7.2.1, 7.2.2).
_TAIL: Final = b"\x00\x00\xff\xff"

#: The shortest payload of an empty message: the header of an empty stored block (7.2.3.6).
_EMPTY: Final = b"\x00"

_SYNC_FLUSH: Final = standard_zlib.Z_SYNC_FLUSH

#: The values of `zlib`: the module to import, and the extra of framewire that installs it.
_ZLIB_MODULES: Final = {
    "zlib": ("zlib", ""),
    "zlib_ng": ("zlib_ng.zlib_ng", "zlib-ng"),
    "isal": ("isal.isal_zlib", "isal"),
}


class Deflate:
    """The permessage-deflate codec of one connection: a `Codec` (RFC 7692 7.2).

    The contexts, `deflater` and `inflater`, are created on first use and freed by `close`. They are
    None between messages in a direction without context takeover.

    Args:
        encode_bits: Window bits for sending, 9 to 15.
        decode_bits: Window bits for receiving, 8 to 15. The attribute is at least 9, because zlib
            cannot compress with 8 bits, and senders that were asked to do so use 9.
        encode_resets: No context takeover for sent messages: each begins with an empty window.
        decode_resets: No context takeover for received messages.
        level: Compression level of the chosen zlib: -1 to 9, with "isal" 0 to 3; None is its
            default.
        memory_level: Memory for the state of the compressor, 1 to 9.
        threshold: Smallest message to compress, in bytes, unless `compress` of `send` is given.
        zlib: "zlib" (the standard library's), "zlib_ng" or "isal".

    Raises:
        TypeError: A number is no integer, or `zlib` is no str.
        ValueError: A number is out of range, or `zlib` is none of these names.
        ImportError: The chosen zlib is not installed.
    """

    rsv = 0x40

    __slots__ = (
        "_begun", "_limit", "_rest", "_zlib", "decode_bits", "decode_resets", "deflater", "encode_bits",
        "encode_resets", "inflater", "level", "memory_level", "pending", "threshold",
    )  # fmt: skip

    def __init__(
        self,
        *,
        encode_bits: int = 15,
        decode_bits: int = 15,
        encode_resets: bool = False,
        decode_resets: bool = False,
        level: int | None = None,
        memory_level: int = 8,
        threshold: int = 0,
        zlib: str = "zlib",
    ) -> None:
        module = _load_zlib(zlib)
        default = module.Z_DEFAULT_COMPRESSION  # -1 (zlib, zlib_ng) is valid too, 2 (isal) is one of 0 to 3
        self.encode_bits = _check_integer("encode_bits", encode_bits, 9, 15)
        self.decode_bits = max(_check_integer("decode_bits", decode_bits, 8, 15), 9)
        self.encode_resets = bool(encode_resets)
        self.decode_resets = bool(decode_resets)
        self.level = (
            default if level is None else _check_integer("level", level, min(default, 0), module.Z_BEST_COMPRESSION)
        )
        self.memory_level = _check_integer("memory_level", memory_level, 1, 9)
        self.threshold = _check_integer("threshold", threshold, 0, sys.maxsize)
        self.pending = False
        self.deflater: Any = None
        self.inflater: Any = None
        self._zlib = module
        self._begun = False  # the inflater holds part of the current message
        self._limit = 0  # limit of the last call of `decode`; a C integer in the compiled twin
        self._rest = b""  # input that the inflater has not consumed

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle 'Deflate' object")

    def decode(self, payload: bytes, most: int, last: bool) -> bytes:
        """Inflate a piece of a message; see `Codec.decode`."""
        if type(payload) is not bytes:
            raise TypeError(f"decode() takes bytes, not {type(payload).__name__}")
        if self.pending:
            payload = self._rest
        elif last and (payload or self._begun):
            payload += _TAIL
        elif not payload:
            return b""
        self._limit = most
        if self.inflater is None:
            self.inflater = self._zlib.decompressobj(-self.decode_bits)
        try:
            content: bytes = self.inflater.decompress(payload, most)
        except self._zlib.error as error:
            if str(error).startswith("Error -4 "):  # Z_MEM_ERROR: the window is allocated by the first call
                raise MemoryError from None
            raise ValueError("a compressed message is corrupt") from None
        if self.inflater.eof:
            # After a block with BFINAL, the next one begins at a byte boundary and with an empty
            # window (7.2.3.4).
            self._rest = self.inflater.unused_data
            if last and self._rest == _TAIL:
                self._rest = b""
            self.inflater = None
            self._begun = False
            self.pending = self._rest != b""
        else:
            self._rest = self.inflater.unconsumed_tail
            self._begun = not last
            self.pending = self._rest != b"" or len(content) >= self._limit
            if self.decode_resets and last and not self.pending:
                self.inflater = None
        return content

    def encode(self, content: bytes, last: bool) -> bytes:
        """Deflate a piece of a message; see `Codec.encode`."""
        if type(content) is not bytes:
            raise TypeError(f"encode() takes bytes, not {type(content).__name__}")
        payload = b""
        if content:
            if self.deflater is None:
                self.deflater = self._make_deflater()
            payload = self.deflater.compress(content) + self.deflater.flush(_SYNC_FLUSH)
        if not last:
            return payload
        if self.encode_resets:
            self.deflater = None
        return payload[:-4] or _EMPTY

    @property
    def encode_settings(self) -> tuple[object, int, int, int]:
        """The settings of the compressor, hashable.

        `encode_alone` of codecs with equal settings returns the same payload for a message.
        """
        return self._zlib, self.level, self.encode_bits, self.memory_level

    def encode_alone(self, content: bytes) -> bytes:
        """Deflate a whole message with an empty window, without using or changing the context.

        The payload may be sent on every connection whose codec has the same `encode_settings`, also
        with context takeover. It then becomes part of the peer's window, so each of these codecs
        needs a call of `abandon`.

        Args:
            content: The message.

        Returns:
            The payload.

        Raises:
            TypeError: `content` is not bytes.
        """
        if type(content) is not bytes:
            raise TypeError(f"encode_alone() takes bytes, not {type(content).__name__}")
        if not content:
            return _EMPTY
        deflater = self._make_deflater()
        payload: bytes = (deflater.compress(content) + deflater.flush(_SYNC_FLUSH))[:-4]
        return payload

    def _make_deflater(self) -> Any:
        return self._zlib.compressobj(self.level, self._zlib.DEFLATED, -self.encode_bits, self.memory_level)

    def abandon(self) -> None:
        """Begin the next message with an empty window, which is valid for any state of the peer."""
        self.deflater = None

    def close(self) -> None:
        """Free both contexts and the unconsumed input."""
        self.deflater = self.inflater = None
        self._rest = b""


def _check_integer(name: str, value: int, minimum: int, maximum: int) -> int:
    """Return `value` as a plain int. TypeError or ValueError unless it is an int in the range."""
    if type(value) is not int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{name} is an integer, not {type(value).__name__}")
        value = index(value)
    if not minimum <= value <= maximum:
        raise ValueError(f"{name} is {minimum} to {maximum}")
    return value


def _load_zlib(name: str) -> Any:
    """Return the module that `zlib=name` stands for."""
    if name == "zlib":
        return standard_zlib
    if not isinstance(name, str):
        raise TypeError(f"zlib is a str, not {type(name).__name__}")
    if name not in _ZLIB_MODULES:
        raise ValueError(f"zlib is one of {', '.join(_ZLIB_MODULES)}, not {name!r}")
    module, extra = _ZLIB_MODULES[name]
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{name} is not installed: install framewire[{extra}] for zlib={name!r}") from error
