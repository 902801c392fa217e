"""The blocking API of one WebSocket: `recv`, `send`, iteration.

    Stream ─ events ─▶ queue ─▶ recv()           Stream ◀─ send()

The queue has room for so many messages and so many bytes; while it is full, nothing is read from the socket.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from time import monotonic

from ..errors import ConcurrencyError, ConnectionClosedOK
from ..protocol.constants import CloseCode
from ..protocol.events import Fragment
from ..session.settings import QUEUE_SIZE
from .endpoint import Endpoint
from .options import Options
from .transport import Transport

__all__ = ["Connection", "Message"]

Message = str | bytes


class Connection(Endpoint):
    """An open WebSocket. `serve` and `connect` make them; they are not for making by hand.

    Iterate over it for the peer's messages (a `str` each for text, `bytes` for binary): that ends with an orderly
    close and raises `ConnectionClosedError` otherwise. Or call `recv` and `send`. One thread may receive at a time,
    any number may send.
    """

    def __init__(self, transport: Transport, options: Options) -> None:
        super().__init__(transport, options)
        # Guarded by `_changed`.
        self._messages: deque[Message | Fragment] = deque()
        self._queued = 0
        self._pieces: list[Message] = []  # of a message that `recv` has begun to join
        self._receiving = False
        self._full = False  # there was no room once; what follows is dropped, to leave no gap
        #: Held from the first frame of a message to its last.
        self._sending = threading.Lock()

    # Receiving.

    @property
    def next_size(self) -> int | None:
        """The size in bytes of the message, or the piece of one, that `recv` would begin with; None if none waits."""
        with self._changed:
            if not self._messages:
                return None
            first = self._messages[0]
        data = first.data if isinstance(first, Fragment) else first
        if isinstance(data, str):
            data = data.encode(errors=self._options.text_errors)
        return len(data)  # type: ignore[arg-type]

    def recv(self, timeout: float | None = None) -> Message:
        """Take the next message: a `str` if it is text, `bytes` if binary.

        Raises TimeoutError after `timeout` seconds, and loses nothing then; 0 only looks. Raises `ConnectionClosed`
        when the connection has ended and all that arrived before has been taken, `ConcurrencyError` while another
        thread receives.
        """
        until = None if timeout is None else monotonic() + timeout
        with self._changed:
            self._begin_receiving()
            try:
                while True:
                    message = self._take(until)
                    if not isinstance(message, Fragment):
                        return message
                    assert isinstance(message.data, (str, bytes))
                    self._pieces.append(message.data)
                    if message.last:
                        joined: Message = type(message.data)().join(self._pieces)  # type: ignore[arg-type]
                        self._pieces = []
                        return joined
            finally:
                self._receiving = False

    def recv_streaming(self) -> Iterator[Message]:
        """Take the next message frame by frame, as they come: yields the piece of each, one for a whole message.

        With `piece_size` it yields them in parts of at most so many bytes or characters. Pieces of text hold whole code
        points, so one may be empty. Take all of them before you receive otherwise. Raises as `recv`.
        """
        with self._changed:
            self._begin_receiving()
        try:
            last = False
            while not last:
                with self._changed:
                    message = self._take(None)
                last = not isinstance(message, Fragment) or message.last
                piece = message.data if isinstance(message, Fragment) else message
                assert isinstance(piece, (str, bytes))
                size = self._options.piece_size or max(len(piece), 1)
                for start in range(0, max(len(piece), 1), size):
                    yield piece[start : start + size]
        finally:
            self._receiving = False

    def __iter__(self) -> Iterator[Message]:
        try:
            while True:
                yield self.recv()
        except ConnectionClosedOK:
            return

    def _begin_receiving(self) -> None:
        if self._receiving:
            raise ConcurrencyError("another thread is already receiving from this connection")
        self._receiving = True

    def _take(self, until: float | None) -> Message | Fragment:
        """Takes a message, or a piece of one, from the queue. Called with `_changed` held."""
        while not self._messages:
            if self._over:
                raise self._closing.error()
            left = None if until is None else until - monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("no message came in time")
            if self._stream is not None and self._stream.failing:
                self._changed.notify_all()
            self._changed.wait(left)
        message = self._messages.popleft()
        self._queued -= _size(message)
        if self._held and not self._must_wait(4):
            self._changed.notify_all()
        return message

    def _enqueue(self, message: Message | Fragment) -> None:
        # After our own close the peer's has to come through: messages that find no room are dropped.
        self._full = self._full or (self._closing.sent is not None and self._is_full(1))
        if not self._full:
            self._messages.append(message)
            self._queued += _size(message)

    def _all_received(self) -> bool:
        return self._receiving and not self._messages

    def _is_full(self, part: int) -> bool:
        most, count = self._options.max_queue, len(self._messages)
        return (most is not None and count > most // part) or (self._queued > QUEUE_SIZE // part and count > 0)

    # Sending.

    def send(self, message: Message | bytearray | memoryview | Iterable[Message], text: bool | None = None) -> None:
        """Send one message: text from a `str`, binary from bytes, or what `text` says; in fragments from an iterable.

        Waits until the network has taken it. Longer messages than `fragment_size` are sent in fragments. The pieces of
        an iterable are sent as it makes them; if it raises, the connection is closed with 1011, since a message cannot
        be taken back. An empty one sends nothing. Raises `ConnectionClosed` after the end, PayloadTooBigError above
        `max_send_size`.
        """
        with self._sending:
            if isinstance(message, (str, bytes, bytearray, memoryview)):
                self._send_whole(message, text)
                return
            begun = False
            try:
                for piece in message:
                    self._send(piece, text, False)
                    begun, kind = True, type(piece)
                if begun:
                    self._send("" if kind is str else b"", text, True)
            except Exception:
                if begun:
                    self.start_closing(CloseCode.INTERNAL_ERROR)
                raise

    def send_piece(self, piece: Message | bytearray | memoryview, text: bool | None = None, last: bool = True) -> None:
        """Send a fragment of a message, `last` with its end. No other thread may send a message in between."""
        self._send(piece, text, last)

    def _send_whole(self, message: Message | bytearray | memoryview, text: bool | None) -> None:
        size = self._options.fragment_size
        if size is None:
            self._send(message, text, True)
            return
        with self._changed:
            pieces, text = self._sendable().cut(message, size, text=text)
        for number, piece in enumerate(pieces, 1):
            self._send(piece, text, number == len(pieces))

    def _send(self, message: Message | bytearray | memoryview, text: bool | None, last: bool) -> None:
        with self._changed:
            self._outbox.append(self._sendable().send(message, text=text, last=last))
            self._active = monotonic()
        self._flush()


def _size(message: Message | Fragment) -> int:
    return len(message.data if isinstance(message, Fragment) else message)  # type: ignore[arg-type]
