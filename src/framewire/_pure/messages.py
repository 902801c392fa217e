"""Stage 4 of the data path: frames to messages and back (RFC 6455 5.4 to 5.6).

`take_messages` is the fast lane: it takes what is whole and plain and leaves all else to `assembly`. It never
rejects.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable
from threading import Lock
from typing import Any, cast

from .header import Buffer, check_range, read_header, write_header
from .mask import apply_mask
from .utf8 import Utf8Validator

_SLICE = 1 << 16


class PartialMessage:
    """The message that is being received: where it stands, and its payload so far in one buffer.

    `masked` says whether frames must be masked, `limit` is the largest payload in bytes that the fast lane takes,
    `wrap` makes the text event from valid UTF-8 (None: it is decoded to a str).

    `opcode` is that of the open message (1 text, 2 binary, 0 when none is open), `in_frame` tells whether one of its
    frames has begun and not ended, `final` whether that frame is the last, `remaining` how many of its bytes are
    still to come, `size` how many bytes of payload are held, `need` how many bytes the last code point lacks.

    `offset` counts the bytes of the stream that were taken; `paused` keeps the fast lane from taking any.

    Whoever changes it or its stream is inside `with partial:`, which raises RuntimeError if somebody else is.
    """

    __slots__ = (
        "_buffer", "_busy", "_key", "_plain", "_utf8", "_validated", "final", "in_frame", "limit", "masked", "offset",
        "opcode", "paused", "remaining", "size", "wrap",
    )  # fmt: skip

    def __init__(self, masked: bool, limit: int, wrap: Callable[[bytes], Any] | None) -> None:
        self.masked = masked
        self.limit = limit
        self.wrap = wrap
        self._utf8 = Utf8Validator()
        self.offset = self.opcode = self.size = self.remaining = 0
        self.paused = self.in_frame = self.final = self._plain = self._validated = False
        self._buffer = bytearray()
        self._busy = Lock()
        self._key = b""

    def __enter__(self) -> None:
        if not self._busy.acquire(False):
            raise RuntimeError("the stream is in use: it serves one task or thread at a time")

    def __exit__(self, *_: object) -> None:
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
        if self._validated:
            valid = self._utf8.feed(piece, 0, size)
            if valid < size:
                piece, size = piece[:valid], valid
        self._key = self._key[size % 4 :] + self._key[: size % 4]
        self._buffer += piece
        self.size += size
        self.remaining -= size
        return start + size

    def _give_back(self) -> None:
        """Undoes the taking of the last byte: it ended a frame inside a code point, which the general lane judges."""
        self.size -= 1
        self.remaining = 1
        self._key = self._key[3:] + self._key[:3]
        lead = self.size
        while self._buffer[lead] < 0xC0:
            lead -= 1
        self._utf8.reset()
        self._utf8.feed(self._buffer, lead, self.size)
        del self._buffer[self.size :]

    def end_frame(self) -> None:
        """Ends a frame that does not end its message."""
        self.in_frame = False

    def take_piece(self) -> str | bytes | Any:
        """Returns the payload held and keeps the message open; 1 to 3 bytes of an unfinished code point stay."""
        kept = self.size
        if self._validated and self.need:
            kept = next(kept - n for n in (1, 2, 3) if self._buffer[kept - n] >= 0xC0)
        payload = self._buffer[:kept]
        del self._buffer[:kept]
        self.size -= kept
        return self._event(payload)

    def finish(self) -> str | bytes | Any:
        """Returns the payload held and closes the message. Raises ValueError inside a code point."""
        if self.need:
            raise ValueError("the text ends inside a code point")
        event: Any = self._text() if self._validated and self.wrap is None else self._event(self._buffer)
        self.clear()
        return event

    def _text(self) -> str:
        """Decodes in slices: for each byte of what it decodes at once, Python may set aside four."""
        decode = getincrementaldecoder("utf-8")().decode
        pieces = [decode(self._buffer[start : start + _SLICE]) for start in range(0, self.size, _SLICE)]
        self._buffer.clear()
        return "".join(pieces)

    def clear(self) -> None:
        """Closes the message and drops what is held of it."""
        self._buffer = bytearray()
        self.opcode = self.size = self.remaining = 0
        self.in_frame = self._validated = False
        self._utf8.reset()

    def _event(self, payload: bytearray) -> Any:
        if not self._validated:
            return bytes(payload)
        return payload.decode() if self.wrap is None else self.wrap(bytes(payload))


def receive(stream: Any, data: Buffer) -> list[Any]:
    """Reads what has arrived, any bytes-like object cut anywhere; returns the events that it completes.

    Never raises for what the peer did: a violation is the last event, a `Failure`. After a `Close` or a `Failure`
    every further byte is ignored. Write `pending()` before anything else. A MemoryError ends the stream too: where
    it stands in the bytes is lost. RuntimeError if the stream is in use, as it is when another thread receives.
    """
    events: list[Any] = []
    with stream._partial:
        try:
            untaken = take_messages(stream._partial, data, 0, events)
            if untaken:
                stream._take_frames(data, untaken, events)
        except MemoryError:
            stream._drop()
            raise
    return events


def take_messages(partial: PartialMessage, data: Buffer, start: int, events: list[Any]) -> int:
    """Takes from data[start:] all whole, plain data messages and the beginning of the next one.

    Plain: FIN set, no RSV bit, text or binary, masked as it must be, not over the limit, valid UTF-8. Appends the
    finished `str` and `bytes` to `events` and returns how many bytes at the end of `data` it did not take: all of
    data[start:] while `partial.paused`. Accepts any contiguous buffer, of any item type.
    """
    if type(partial) is not PartialMessage or type(events) is not list:
        raise TypeError("take_messages() takes a PartialMessage and a list")
    if type(data) is bytes:
        return _take(partial, data, start, len(data), events)
    with memoryview(data) as whole, whole.cast("B") as octets:
        return _take(partial, octets, start, len(octets), events)


def _take(partial: PartialMessage, data: Buffer, start: int, stop: int, events: list[Any]) -> int:
    if not 0 <= start <= stop:
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
    elif partial.opcode:
        return start
    while header := read_header(data, start, stop):
        first, masked, length, end, key = header
        if first not in (0x81, 0x82) or masked != partial.masked or not 0 <= length <= partial.limit or key is None:
            break
        if length > stop - end:
            partial.begin_frame(first & 15, True, length, key, first == 0x81)
            partial._plain = True
            return partial.fill(data, end, stop)
        payload = apply_mask(data[end : end + length], key) if key else bytes(data[end : end + length])
        if first == 0x82:
            events.append(payload)
        else:
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                break
            events.append(text if partial.wrap is None else partial.wrap(payload))
        start = end + length
    return start


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


def send(
    stream: Any,
    message: str | bytes | bytearray | memoryview,
    *,
    text: bool | None = None,
    last: bool = True,
    compress: bool | None = None,
) -> bytes:
    """Returns the frame that carries a message: text for a `str`, binary for a bytes-like object.

    `text=True` sends bytes as text, `text=False` a `str` as binary. `last=False` begins or continues a fragmented
    message, whose pieces may cut a code point. `compress` says whether an extension such as permessage-deflate encodes
    the message, the first fragment's for all of it; by default fragments are, and messages from its threshold on.

    Raises StateError after a close or a failure, and while `send_steps` encodes another message; FragmentError if the
    type changes inside a message, TextError if the text is not UTF-8. Nothing has changed then.
    """
    if text is None and compress is None and last:
        try:
            if type(message) is str and len(message) < stream._plain:
                return make_frame(0x81, message, take_key(stream._keys))
            if type(message) is bytes and len(message) < stream._plain:
                return make_frame(0x82, message, take_key(stream._keys))
        except UnicodeEncodeError:
            pass  # the general way says so in our terms
    first, payload, key = stream._begin_send(message, text, last, compress)
    return make_frame(first, payload, key)


def take_key(keys: Any) -> bytes:
    """Returns the next masking key from `keys`, see `keys.py`; b"" from None, as a server's frames have none."""
    if keys is None:
        return b""
    try:
        return cast(bytes, keys.pop())
    except IndexError:
        return cast(bytes, keys.refill())


def make_frame(first: int, payload: str | bytes | bytearray | memoryview, key: bytes) -> bytes:
    """Makes a whole frame: the header with the first byte `first`, then the payload, masked unless `key` is empty.

    A `str` is encoded as UTF-8. Raises UnicodeEncodeError for a lone surrogate, else as `write_header`.
    """
    if not 0 <= first <= 255:
        raise ValueError("the first byte of a header is 0 to 255")
    if isinstance(payload, str):
        payload = payload.encode()
    elif type(payload) is not bytes:
        with memoryview(payload) as view:
            payload = view.cast("B").tobytes()
    header = write_header(first, len(payload), key)
    return header + (apply_mask(payload, key) if key else payload)
