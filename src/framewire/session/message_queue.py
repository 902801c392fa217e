"""The messages that have arrived and wait for `recv`: bounded, and joined from fragments where
needed.

Session ─ put ─▶ MessageQueue ─ take_message | take_piece ─▶ recv | recv_streaming
"""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder
from collections import deque
from io import BytesIO
from typing import Final, TypeAlias, cast

from ..errors import ConcurrencyError
from ..protocol.events import Fragment
from .settings import QUEUE_SIZE, ConnectionSettings

__all__ = ["ALREADY_RECEIVING", "Item", "Message", "MessageQueue", "encode_or_decode", "size_of"]

#: The text of the ConcurrencyError for a second receiver: one connection has one.
ALREADY_RECEIVING: Final = "another call is already receiving from this connection"

Message: TypeAlias = str | bytes
Item: TypeAlias = str | bytes | Fragment


class MessageQueue:
    """A queue of messages and fragments with marks that stop and resume reading.

    A message is taken whole (`take_message`) or piece by piece (`take_piece`). Fragments that were
    joined for a message that nobody took in the end are the first piece of that message: nothing is
    lost or mixed when a receiver gives up.

    Args:
        settings: `max_queue` and `piece_size` hold here, and the treatment of text.
    """

    __slots__ = (
        "_decoder", "_joined", "_joined_text", "_low", "_piece_size", "_rest", "_skipping", "_text_as_bytes",
        "_text_errors", "dropping", "ended", "high", "items", "max_alone", "size", "streaming",
    )  # fmt: skip

    def __init__(self, settings: ConnectionSettings) -> None:
        #: What waits, the oldest last, where taking it is cheap. A list of what one read has brought; a
        #: deque once more follows, as to move all items of a long list for each read is quadratic.
        self.items: list[Item] | deque[Item] = []
        #: Bytes or characters of `items`.
        self.size = 0
        #: Whether arriving messages are dropped: from `Session.stop_queueing` on, or from the first
        #: that found no room after our close.
        self.dropping = False
        #: Whether nothing more will be put; set by the session.
        self.ended = False
        #: Whether a message has been taken in part by `take_piece`.
        self.streaming = False
        #: Whether the rest of that message is dropped, also what has yet to arrive of it.
        self._skipping = False
        self.high, self._low = settings.queue_marks
        #: The size of the largest message that is not above the high marks if no other waits.
        self.max_alone = QUEUE_SIZE if self.high >= 1 else -1
        self._piece_size = settings.piece_size
        self._text_errors = settings.text_errors
        self._text_as_bytes = settings.text_as_bytes
        #: Fragments of a message in one buffer, text as UTF-8. (A StringIO would keep many short
        #: strings apart.)
        self._joined: BytesIO | None = None
        self._joined_text = False
        #: An item that was longer than `piece_size`, how much of it has been taken, and whether its
        #: end ends the message. An offset, as to copy the remainder for each piece is quadratic.
        self._rest: tuple[Message, int, bool] | None = None
        #: Decodes the pieces of the message that is being taken.
        self._decoder: IncrementalDecoder | None = None

    # Putting.

    def put(self, items: list[Item], size: int) -> None:
        """Append items in the order of arrival; `size` is their sum. Takes over the list."""
        if not self.items:
            items.reverse()
            self.items = items
        else:
            if isinstance(self.items, list):
                self.items = deque(self.items)
            self.items.extendleft(items)
        self.size += size

    def is_above(self, low: bool) -> bool:
        """Return whether more waits than the high marks allow, or with `low`, than the low
        marks.
        """
        if low:
            return len(self.items) > self._low or self.size > QUEUE_SIZE // 4
        return len(self.items) > self.high or (self.size > QUEUE_SIZE and len(self.items) > 0)

    # Taking.

    @property
    def next_size(self) -> int | None:
        """The size in bytes of the next message, or of its next piece; None if nothing waits."""
        if self._skipping:
            self._skip()
        if self._rest is not None:
            return len(self.encode(self._rest[0][self._rest[1] :]))
        if self._joined is not None:  # collected by a receiver that gave up, or that waits for the rest
            return self._joined.tell()
        if not self.items:
            return None
        item = self.items[-1]
        return len(self.encode(cast(Message, item.data if isinstance(item, Fragment) else item)))

    def take_message(self) -> Message | None:
        """Return the next message, joined from its fragments; None if not all of it has arrived.

        Raises:
            ConcurrencyError: A message has been taken in part.
        """
        if self.streaming:
            self.check_between_messages()  # mostly raises; not called for each message
            if self._skipping:
                self._skip()
        while self.items:
            item = self._pop()
            if not isinstance(item, Fragment):
                return item
            if self._joined is None:
                self._joined, self._joined_text = BytesIO(), isinstance(item.data, str)
            self._joined.write(self.encode(cast(Message, item.data)))
            if item.last:
                return self._take_joined()
        return None

    def check_between_messages(self) -> None:
        """Check that no message has been taken in part. Raises ConcurrencyError if one has, unless the
        connection has ended in the middle of it, or its rest is dropped.
        """
        if self.streaming and not (self._skipping or (self.ended and self._is_cut())):
            raise ConcurrencyError("a message is being received in pieces")

    def _is_cut(self) -> bool:
        """Return whether the message that has been taken in part has no end."""
        in_rest = self._rest is not None and self._rest[2]
        return not in_rest and all(isinstance(item, Fragment) and not item.last for item in self.items)

    def _take_joined(self) -> Message:
        data, self._joined = cast(BytesIO, self._joined).getvalue(), None
        return encode_or_decode(data, self._joined_text, self._text_errors)

    def take_piece(self) -> tuple[Message, bool] | None:
        """Return the next piece of the next message, and whether it is the last.

        None if none has arrived.
        """
        if self._skipping:
            self._skip()
        start = 0
        if self._rest is not None:
            data, start, last = self._rest
        elif self._joined is not None:  # collected by a receiver that gave up
            data, last = self._take_joined(), False
        elif self.items:
            item = self._pop()
            data, last = (cast(Message, item.data), item.last) if isinstance(item, Fragment) else (item, True)
        else:
            return None
        end = self._piece_end(data, start)
        self._rest = (data, end, last) if end < len(data) else None
        last = last and self._rest is None
        self.streaming = not last
        return (data if end - start == len(data) else data[start:end]), last

    def convert_piece(self, piece: Message, last: bool, decode: bool | None) -> Message:
        """Return a piece as text, as bytes or as it is; a code point that it cuts is part of the next one.

        Args:
            piece: The result of `take_piece`; each piece of a message in order.
            last: Whether the message ends with it.
            decode: See `encode_or_decode`.

        Raises:
            UnicodeDecodeError: It is not UTF-8. The rest of the message is dropped.
        """
        if not decode or isinstance(piece, str):
            return encode_or_decode(piece, decode, self._text_errors)
        decoder = self._decoder or getincrementaldecoder("utf-8")(self._text_errors)
        self._decoder = None if last else decoder
        try:
            return decoder.decode(piece, last)
        except UnicodeDecodeError:
            self._decoder = None
            self._skipping = not last
            raise

    def _skip(self) -> None:
        """Drop what has arrived of the rest of a message."""
        last = self._rest is not None and self._rest[2]
        self._rest = None
        while self.items and not last:
            last = cast(Fragment, self._pop()).last
        self._skipping = self.streaming = not last

    def _pop(self) -> Item:
        item = self.items.pop()
        self.size -= size_of(item)
        return item

    def _piece_end(self, data: Message, start: int) -> int:
        """Return the end of the piece of at most `piece_size` bytes that begins at `start`."""
        limit, length = self._piece_size, len(data) - start
        if limit is None or (length <= limit and len(self.encode(data[start:])) <= limit):
            return len(data)
        if isinstance(data, bytes) and self._text_as_bytes:
            return _end_of_code_point(data, start + max(limit, 4))
        return start + (limit if isinstance(data, bytes) or data.isascii() else max(limit // 4, 1))

    def encode(self, data: Message) -> bytes:
        """Return text as its UTF-8, bytes as they are."""
        return cast(bytes, encode_or_decode(data, False, self._text_errors))


def size_of(item: Item) -> int:
    """Return the length of a message or fragment, in bytes or characters."""
    return len(cast(Message, item.data if isinstance(item, Fragment) else item))


def _end_of_code_point(data: bytes, end: int) -> int:
    """Return the last index up to `end` at which no code point is cut; `end` if `data` is not UTF-8."""
    for cut in range(end, end - 4, -1):
        if cut >= len(data) or data[cut] & 0xC0 != 0x80:
            return min(cut, len(data))
    return end


def encode_or_decode(data: Message, decode: bool | None, errors: str) -> Message:
    """Return `data` as text (`decode` True), as bytes (False), or as it is (None).

    Args:
        data: A message, or a piece of one.
        decode: What is wanted.
        errors: The error handler for text that is not UTF-8: `text_errors` of the settings.
    """
    if decode is None or isinstance(data, str) is decode:
        return data
    return data.encode(errors=errors) if isinstance(data, str) else data.decode(errors=errors)
