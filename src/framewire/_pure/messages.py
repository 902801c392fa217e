"""Stage 4 of the data path: frames to messages (RFC 6455 5.4 to 5.6).

`take_messages` is the fast lane: it takes what is whole and plain and leaves all else to `assembly`. It never
rejects.
"""

from __future__ import annotations

from _thread import allocate_lock  # not `threading.Lock`: the layers without I/O need no threads
from codecs import utf_8_decode
from collections.abc import Callable
from typing import Any

from .header import Buffer, check_range, read_header
from .mask import apply_mask
from .utf8 import Utf8Validator

#: Bytes: how much text is decoded at a time. For each of them Python may set aside four, and more at once takes longer.
_SLICE = 1 << 14
#: What a str takes. That of PyPy has no `__sizeof__`: it is UTF-8 inside, never wide.
_size_of: Callable[[str], int] = getattr(str, "__sizeof__", len)


class PartialMessage:
    """The message that is being received: where it stands, and its payload so far in one buffer.

    `masked` says whether frames must be masked, `limit` is the largest payload in bytes that the fast lane takes,
    `wrap` makes the text event from valid UTF-8 (None: it is decoded to a str).

    `opcode` is that of the open message (1 text, 2 binary, 0 when none is open), `in_frame` tells whether one of its
    frames has begun and not ended, `final` whether that frame is the last, `remaining` how many of its bytes are
    still to come, `size` how many bytes of payload are held, `need` how many bytes the last code point lacks.

    `offset` counts the bytes of the stream that were taken, `messages` the messages that are over; `paused` keeps the
    fast lane from taking any.

    `codec`, if not None, is that of the messages that an extension has transformed. The fast lane has it decode those
    of up to `max_encoded` bytes of payload; what becomes no message then, `most` bytes of content or more for instance,
    is left in `decoded`, an error too, and the frame to the general lane.

    Whoever changes it or its stream is inside `with partial:`, which raises RuntimeError if somebody else is.
    """

    __slots__ = (
        "_buffer", "_busy", "_key", "_plain", "_texts", "_utf8", "_validated", "codec", "decoded", "final", "in_frame",
        "limit", "masked", "max_encoded", "messages", "most", "offset", "opcode", "paused", "remaining", "size", "wrap",
    )  # fmt: skip

    def __init__(self, masked: bool, limit: int, wrap: Callable[[bytes], Any] | None) -> None:
        self.masked = masked
        self.limit = limit
        self.wrap = wrap
        self._utf8 = Utf8Validator()
        self.offset = self.messages = self.opcode = self.size = self.remaining = 0
        self.paused = self.in_frame = self.final = self._plain = self._validated = False
        self._texts: list[str | bytes] = []  # what is decoded already, before the buffer
        self._buffer = bytearray()
        self._busy = allocate_lock()
        self._key = b""
        self.codec: Any = None
        self.max_encoded = self.most = 0
        self.decoded: bytes | ValueError | None = None

    def __enter__(self) -> None:
        if not self._busy.acquire(False):
            raise RuntimeError("the stream is in use: it serves one task or thread at a time")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._busy.release()

    @property
    def need(self) -> int:
        return self._utf8.need

    def begin_frame(self, opcode: int, final: bool, length: int, key: bytes, validated: bool) -> None:
        """Begins a data frame of `length` bytes of the message of type `opcode` (1 or 2, also in a continuation).

        `key` is 4 bytes, or empty if the frame is not masked; `validated` says that the payload must be UTF-8.
        """
        self.opcode, self.final, self.remaining = opcode, final, length
        self._key, self._validated = key, validated
        self.in_frame, self._plain = True, False

    def fill(self, data: Buffer, start: int, stop: int) -> int:
        """Moves payload of the frame from data[start:stop] to the buffer; returns the index behind what it took.

        It stops at the end of the frame, or before the first byte that cannot be UTF-8.
        """
        data = check_range(data, start, stop)
        stop = min(stop, start + self.remaining)
        size = stop - start
        if not size:
            return start
        piece = data[start:stop]
        if self._key:
            piece = apply_mask(piece, self._key)
        if self._validated and self.wrap is None and len(self._buffer) + size >= _SLICE:
            size = self._decode(bytes(piece))
        else:
            if self._validated:
                size = self._utf8.feed(piece)
            self._buffer += piece[:size]
        self._key = self._key[size % 4 :] + self._key[: size % 4]
        self.size += size
        self.remaining -= size
        return start + size

    def _give_back(self) -> None:
        """Undoes the taking of the last byte: it ended a frame inside a code point, which the general lane judges."""
        self.size -= 1
        self.remaining = 1
        self._key = self._key[3:] + self._key[:3]
        self._buffer.pop()
        self._utf8.reset()
        self._utf8.feed(self._buffer)

    def end_frame(self) -> None:
        """Ends a frame that does not end its message."""
        self.in_frame = False

    def fill_frames(self, data: bytes, start: int, stop: int) -> int:
        """Takes whole frames that continue the message and do not end it; returns the index behind the last of them.

        It takes those that need no more than that and keep the message within `limit`. In text it stops inside a frame
        before the first byte that cannot be UTF-8.
        """
        if type(data) is not bytes:
            raise TypeError("fill_frames() takes bytes")
        check_range(data, start, stop)
        while start < stop and data[start] == 0:
            header = read_header(data, start, stop)
            if header is None:
                break
            _, masked, length, end, key = header
            if masked != self.masked or key is None or not 0 <= length <= min(stop - end, self.limit - self.size):
                break
            self.begin_frame(self.opcode, False, length, key, self._validated)
            start = self.fill(data, end, end + length)
            if self.remaining:
                break
            self.end_frame()
        return start

    def take_piece(self) -> str | bytes | Any:
        """Returns the payload held and keeps the message open; 1 to 3 bytes of an unfinished code point stay."""
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
        """Returns the payload held and closes the message. Raises ValueError inside a code point."""
        if self.need:
            raise ValueError("the text ends inside a code point")
        event = self.take_piece()
        self.clear()
        return event

    def clear(self) -> None:
        """Closes the message and drops what is held of it."""
        self._buffer = bytearray()
        self._texts.clear()
        self.opcode = self.size = self.remaining = 0
        self.in_frame = self._validated = False
        self._utf8.reset()

    def _decode(self, piece: bytes) -> int:
        """Decodes what is held, and then a piece; returns how many of its bytes come before one that cannot be UTF-8.

        The buffer is left with an unfinished code point. Decoding is all the validation that most text gets.
        """
        data = bytes(self._buffer) + piece if self._buffer else piece
        texts: list[str | bytes] = []
        step = len(data) if data.isascii() else _SLICE
        start, size = 0, 1
        try:
            while size:
                text, size = utf_8_decode(data[start : start + step], "strict", False)
                # A single wide character makes all of a str wide.
                texts.append(text if _size_of(text) <= 2 * size else data[start : start + size])
                start += size
        except UnicodeDecodeError:
            pass  # where, the validator tells
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


def receive(stream: Any, data: Buffer, size: int | None = None) -> list[Any]:
    """Reads what has arrived, any bytes-like object cut anywhere; returns the events that it completes.

    `size`: only the first so many bytes of it, as a read leaves them in a buffer. Raises ValueError if there are fewer.

    Never raises for what the peer did: a violation is the last event, a `Failure`. After a `Close` or a `Failure`
    every further byte is ignored. Write `pending()` before anything else. A MemoryError ends the stream too: where
    it stands in the bytes is lost. RuntimeError if the stream is in use, as it is when another thread receives.
    """
    events: list[Any] = []
    with stream._partial:
        try:
            untaken = _take_any(stream._partial, data, 0, size, events)
            if untaken:
                stream._take_frames(data if size is None else _part(data, size - untaken, size), untaken, events)
        except MemoryError:
            stream._drop()
            raise
    return events


def take_messages(partial: PartialMessage, data: Buffer, start: int, events: list[Any]) -> int:
    """Takes from data[start:] all whole, plain data messages and the beginning of the next one.

    Plain: FIN set, no RSV bit, text or binary, masked as it must be, not over the limit, valid UTF-8; or else with the
    RSV bit of `partial.codec`, and decoded at once. Appends the finished `str` and `bytes` to `events` and returns how
    many bytes at the end of `data` it did not take: all of data[start:] while `partial.paused`. Accepts any contiguous
    buffer, of any item type.
    """
    if type(events) is not list:
        raise TypeError("take_messages() takes a PartialMessage and a list")
    return _take_any(partial, data, start, None, events)


def _part(data: Buffer, start: int, stop: int) -> bytes:
    with memoryview(data) as whole, whole.cast("B") as octets:
        return bytes(octets[start:stop])


def _take_any(partial: PartialMessage, data: Buffer, start: int, stop: int | None, events: list[Any]) -> int:
    if type(partial) is not PartialMessage:
        raise TypeError("take_messages() takes a PartialMessage and a list")
    if type(data) is bytes:
        return _take(partial, data, start, len(data) if stop is None else stop, events)
    with memoryview(data) as whole, whole.cast("B") as octets:
        return _take(partial, octets, start, len(octets) if stop is None else stop, events)


def _take(partial: PartialMessage, data: Buffer, start: int, stop: int, events: list[Any]) -> int:
    if not 0 <= start <= stop <= len(data):
        raise ValueError("the range lies outside the data")
    taken = 0 if partial.paused else _take_some(partial, data, start, stop, events) - start
    partial.offset += taken
    return stop - start - taken


def _take_some(partial: PartialMessage, data: Buffer, start: int, stop: int, events: list[Any]) -> int:
    if partial.in_frame:
        if not partial._plain:
            return start
        start = partial.fill(data, start, stop)
        if partial.remaining:
            return start
        if partial.need:
            partial._give_back()
            return start - 1
        events.append(partial.finish())
        partial.messages += 1
    elif partial.opcode:
        return start
    while header := read_header(data, start, stop):
        first, masked, length, end, key = header
        if masked != partial.masked or length < 0 or key is None:
            break
        plain = first in (0x81, 0x82)
        if length > (partial.limit if plain else partial.max_encoded):
            break
        if length > stop - end:
            if not plain:
                break
            partial.begin_frame(first & 15, True, length, key, first == 0x81)
            partial._plain = True
            return partial.fill(data, end, stop)
        payload = apply_mask(data[end : end + length], key) if key else bytes(data[end : end + length])
        if not plain:
            content = _decode(partial, first, payload)
            if content is None:
                break
            payload = content
        if first & 15 == 2:
            events.append(payload)
        else:
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                partial.decoded = None if plain else payload
                break
            events.append(text if partial.wrap is None else partial.wrap(payload))
        partial.messages += 1
        start = end + length
    return start


def _decode(partial: PartialMessage, first: int, payload: bytes) -> bytes | None:
    """Has the codec decode a whole message; None if that is not its business, or there is more to do than that."""
    codec = partial.codec
    if codec is None or (first ^ codec.rsv) not in (0x81, 0x82):
        return None
    try:
        content: bytes = codec.decode(payload, partial.most, True)
    except ValueError as error:
        partial.decoded = error
        return None
    if codec.pending or len(content) >= partial.most:
        partial.decoded = content
        return None
    return content


def take_payload(data: bytes, start: int, masked: bool, limit: int) -> tuple[bytes, int] | None:
    """Returns the payload, unmasked, of the frame that begins at data[start], and the index behind the frame.

    None unless the frame is whole, masked if and only if `masked`, of minimal length and has up to `limit` bytes. Its
    first byte may be anything.
    """
    if type(data) is not bytes:
        raise TypeError("take_payload() takes bytes")
    header = read_header(data, start, len(data))
    if header is None:
        return None
    _, keyed, length, end, key = header
    stop = end + length
    if keyed != masked or not 0 <= length <= limit or key is None or stop > len(data):
        return None
    return apply_mask(data[end:stop], key) if key else data[end:stop], stop
