"""Stage 4 of the data path: a message that arrives in parts (RFC 6455 5.4 to 5.6)."""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Callable
from typing import Any, NoReturn

from .header import Buffer, check_range, read_header
from .mask import apply_mask
from .utf8 import Utf8Validator

#: Bytes of text that are decoded at a time: Python may allocate four bytes for each of them, and
#: larger steps are slower.
_DECODE_CHUNK = 1 << 14
#: The size of a str in bytes. PyPy's str has no `__sizeof__`: it stores UTF-8, so it is never wide.
_size_of: Callable[[str], int] = getattr(str, "__sizeof__", len)


class PartialMessage:
    """The message that is being received: its state, and its payload so far in one buffer.

    docs/internals.md has the states. `opcode` is that of the open message (1 text, 2 binary, 0 if
    none is open), `in_frame` is true inside one of its frames, `final` if that frame is the last.
    `remaining` is the number of bytes of the frame that have not arrived, `size` the number of
    payload bytes held, `need` the number of bytes that the last code point lacks. `messages` counts
    all messages received, including those that the fast path takes whole.

    Args:
        masked: Whether frames must be masked.
        limit: Largest payload for a fast path, in bytes.
        wrap: Makes the event of a text message from valid UTF-8; None decodes it to a `str`.
    """

    __slots__ = (
        "_buffer", "_fast", "_key", "_texts", "_utf8", "_validated", "final", "in_frame", "limit", "masked", "messages",
        "opcode", "remaining", "size", "wrap",
    )  # fmt: skip

    def __init__(self, masked: bool, limit: int, wrap: Callable[[bytes], Any] | None) -> None:
        self.masked = masked
        self.limit = limit
        self.wrap = wrap
        self._utf8 = Utf8Validator()
        self.messages = self.opcode = self.size = self.remaining = 0
        self.in_frame = self.final = self._validated = False
        self._fast = False  # the frame in progress was begun by the fast path, and may be ended by it
        self._texts: list[str | bytes] = []  # the decoded part of the payload, before the buffer
        self._buffer = bytearray()
        self._key = b""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    @property
    def need(self) -> int:
        return self._utf8.need

    def begin_frame(self, opcode: int, final: bool, length: int, key: bytes, validated: bool) -> None:
        """Begin a data frame of the open message, or of a new one.

        Args:
            opcode: Type of the message, 1 or 2, also in a continuation.
            final: Whether the frame is the last of the message.
            length: Length of the payload in bytes.
            key: Masking key of 4 bytes, or empty if the frame is not masked.
            validated: Whether the payload must be UTF-8.

        Raises:
            ValueError: A frame is open, a message of another type is open, or a value is out of
                range.
        """
        if type(key) is not bytes or len(key) not in (0, 4) or opcode not in (1, 2) or not 0 <= length < 1 << 63:
            raise ValueError("no frame has these values")
        if self.remaining or (self.opcode and (self.opcode != opcode or self._validated != bool(validated))):
            raise ValueError("another frame, or a message of another type, is open")
        self._begin(opcode, final, length, key, validated)
        self._fast = False

    def _begin(self, opcode: int, final: bool, length: int, key: bytes, validated: bool) -> None:
        self.opcode, self.final, self.remaining = opcode, final, length
        self._key, self._validated = key, bool(validated)
        self.in_frame = True

    def fill(self, data: Buffer, start: int, stop: int) -> int:
        """Move payload of the frame from data[start:stop] to the buffer.

        Returns:
            The index of the first byte that was not taken: at the end of the frame, or at the first
            invalid byte of UTF-8.
        """
        data = check_range(data, start, stop)
        stop = min(stop, start + self.remaining)
        size = stop - start
        if not size:
            return start
        piece = data[start:stop]
        if self._key:
            piece = apply_mask(piece, self._key)
        if self._validated and self.wrap is None and len(self._buffer) + size >= _DECODE_CHUNK:
            size = self._decode(bytes(piece))
        else:
            if self._validated:
                size = self._utf8.feed(piece)
            self._buffer += piece[:size]
        self._key = self._key[size % 4 :] + self._key[: size % 4]
        self.size += size
        self.remaining -= size
        return start + size

    def _unread_last_byte(self) -> None:
        """Unread the last byte of a frame that ends inside a code point, for the slow path."""
        self.size -= 1
        self.remaining = 1
        self._key = self._key[3:] + self._key[:3]
        self._buffer.pop()
        self._utf8.reset()
        self._utf8.feed(self._buffer)

    def end_frame(self) -> None:
        """End a frame that does not end its message."""
        self.in_frame = False

    def fill_frames(self, data: bytes, start: int, stop: int) -> int:
        """Take whole continuation frames that do not end the message, as a fast path.

        It stops before a frame with the wrong mask bit, a length that is not minimal, or a payload
        that exceeds `limit` together with the message so far. In text, it stops inside a frame at
        the first invalid byte of UTF-8.

        Returns:
            The index of the first byte that was not taken.

        Raises:
            ValueError: A frame is open, or no message is.
        """
        if type(data) is not bytes:
            raise TypeError("fill_frames() takes bytes")
        check_range(data, start, stop)
        if self.in_frame or not self.opcode:
            raise ValueError("no message is open, or one of its frames is")
        while start < stop and data[start] == 0:
            header = read_header(data, start, stop)
            if header is None:
                break
            _, masked, length, end, key = header
            if masked != self.masked or key is None or not 0 <= length <= min(stop - end, self.limit - self.size):
                break
            self._begin(self.opcode, False, length, key, self._validated)
            self._fast = False
            start = self.fill(data, end, end + length)
            if self.remaining:
                break
            self.end_frame()
        return start

    def take_piece(self) -> str | bytes | Any:
        """Return the payload held, without an incomplete code point; keep the message open."""
        if self._validated and self.wrap is None:
            piece: Any = self._take_text()
        else:
            kept = self.size
            if self._validated and self.need:
                kept = next(kept - n for n in (1, 2, 3) if self._buffer[kept - n] >= 0xC0)
            with memoryview(self._buffer) as buffer, buffer[:kept] as whole:
                piece = bytes(whole)
            del self._buffer[:kept]
            if self._validated and self.wrap is not None:
                piece = self.wrap(piece)
        self.size = len(self._buffer)
        return piece

    def finish(self) -> str | bytes | Any:
        """End the message, count it and return its payload. ValueError inside a code point."""
        if self.need:
            raise ValueError("the text ends inside a code point")
        event = self.take_piece()
        self.clear()
        self.messages += 1
        return event

    def clear(self) -> None:
        """Drop the open message and free its payload."""
        self._buffer = bytearray()
        self._texts.clear()
        self.opcode = self.size = self.remaining = 0
        self.in_frame = self._validated = False
        self._utf8.reset()

    def _decode(self, piece: bytes) -> int:
        """Decode the buffer and a piece; return the number of bytes of the piece that are valid.

        An incomplete code point stays in the buffer. Most text is validated by decoding only.
        """
        data = bytes(self._buffer) + piece if self._buffer else piece
        texts: list[str | bytes] = []
        step = len(data) if data.isascii() else _DECODE_CHUNK
        start, size = 0, 1
        try:
            while size:
                text, size = utf_8_decode(data[start : start + step], "strict", False)
                # A single wide character makes all of a str wide.
                texts.append(text if _size_of(text) <= 2 * size else data[start : start + size])
                start += size
        except UnicodeDecodeError:
            pass  # the validator below locates the invalid byte
        self._utf8.reset()
        valid = start + self._utf8.feed(data[start:])
        if valid < len(data):
            return self._decode(piece[: valid - len(data)])
        self._texts += texts
        self._buffer = bytearray(data[start:])
        return len(piece)

    def _take_text(self) -> str:
        self._decode(b"")
        text = "".join([text if isinstance(text, str) else text.decode() for text in self._texts])
        self._texts.clear()
        return text
