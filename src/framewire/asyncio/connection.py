"""The coroutine API of one WebSocket: `recv`, `send`, iteration.

    Stream ─ events ─▶ queue ─▶ recv()           Stream ◀─ send()

A whole read is taken apart before any task wakes, and `recv` finds the next message in the queue without a
switch. Both directions push back: a full queue stops reading from the transport, and a full transport makes
`send` wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from io import BytesIO, StringIO
from types import TracebackType
from typing import Any, Final, TypeAlias, cast

from ..codes import CloseCode, State
from ..errors import ConcurrencyError, ConnectionClosedOK, FragmentError, StateError
from ..events import Event, Fragment
from ..stream import Stream
from .endpoint import REPLIES_LIMIT, UNJOINED, Endpoint
from .limits import Limits
from .pulse import Pulse

__all__ = ["Connection", "broadcast"]

#: Messages in the queue may hold this many bytes or characters; one message may exceed it alone.
QUEUE_SIZE: Final = 1 << 20

#: `recv` lets other tasks run after this many messages that it did not have to wait for.
MESSAGES_PER_TURN: Final = 256

#: Messages of over so many bytes or characters are encoded in steps, between which other tasks run.
LONG_MESSAGE: Final = 1 << 16

_MESSAGES: Final = frozenset({str, bytes})

#: One message, or the data of one fragment.
Data: TypeAlias = str | bytes | bytearray | memoryview


class Connection(Endpoint):
    """An open WebSocket. `serve` and `connect` make them; they are not for calling by hand.

    Use it as an async iterator over the peer's messages (a `str` each for text, `bytes` for binary), which ends
    with an orderly close and raises `ConnectionClosedError` otherwise; or call `recv` and `send`. One task may
    receive at a time, any number may send.
    """

    __slots__ = (
        "_deaf", "_high", "_in_fragments", "_joined", "_low", "_queue", "_queued", "_receiver", "_senders", "_short",
        "_streaming", "_taken", "_turn",
    )  # fmt: skip

    def __init__(self, limits: Limits, pulse: Pulse) -> None:
        super().__init__(limits, pulse)
        # Receiving. The queue has its oldest message last, where taking it is cheap.
        self._queue: list[str | bytes | Fragment] = []
        self._queued = 0
        self._high, self._low = limits.queue_marks()
        self._deaf = False
        self._receiver: asyncio.Future[None] | None = None
        self._taken = 0
        self._joined: StringIO | BytesIO | None = None
        self._streaming = False
        # Sending.
        self._short = min(UNJOINED, limits.fragment_size or UNJOINED)
        self._senders: list[asyncio.Future[None]] | None = None
        self._turn: asyncio.Lock | None = None
        self._in_fragments = False

    @property
    def logger(self) -> logging.Logger:
        """Where this end logs to."""
        raise NotImplementedError

    # Receiving.

    @property
    def next_size(self) -> int | None:
        """The size in bytes of the message, or the piece of one, that `recv` would begin with; None if none waits."""
        if not self._queue:
            return None
        item = self._queue[-1]
        return len(self._decode(cast("str | bytes", item.data if isinstance(item, Fragment) else item), False))

    async def recv(self, decode: bool | None = None) -> str | bytes:
        """Take the next message: a `str` if it is text, `bytes` if binary.

        `decode=False` gives text as its UTF-8, `decode=True` decodes binary. Cancelling loses no message. Raises
        `ConnectionClosed` when the connection has ended and every message that arrived before has been taken,
        `ConcurrencyError` while another task receives.
        """
        if self._streaming:
            raise ConcurrencyError("a message is being received in pieces")
        item = await self._next_item()
        while isinstance(item, Fragment):
            if self._joined is None:
                self._joined = StringIO() if isinstance(item.data, str) else BytesIO()
            self._joined.write(cast(Any, item.data))
            if item.last:
                item, self._joined = self._joined.getvalue(), None
            else:
                item = await self._next_item()
        return item if decode is None else self._decode(item, decode)

    async def recv_streaming(self, decode: bool | None = None) -> AsyncIterator[str | bytes]:
        """Take the next message as an async iterator over its pieces, as they arrive.

        A piece is what one frame holds, in parts of at most `piece_size` if that is set. From the first call on,
        messages of several frames come in pieces; what `recv` gives does not change. Take every piece: until the last
        one is taken, `recv` raises ConcurrencyError.
        """
        if self._stream is None:
            raise StateError("the opening handshake is not done")
        if self._streaming:
            raise ConcurrencyError("a message is being received in pieces")
        self._stream.deliver_fragments()
        last = False
        while not last:
            item = await self._next_item()
            data, last = (item.data, item.last) if isinstance(item, Fragment) else (item, True)
            self._streaming = True
            assert isinstance(data, (str, bytes))
            size = self._limits.piece_size or len(data)
            for start in range(0, len(data), size) if data else (0,):
                self._streaming = not last or start + size < len(data)
                piece = data[start : start + size]
                yield piece if decode is None else self._decode(piece, decode)

    async def _next_item(self) -> str | bytes | Fragment:
        if self._receiver is not None:
            raise ConcurrencyError("another task is already receiving from this connection")
        if self._taken >= MESSAGES_PER_TURN:
            self._taken = 0
            await asyncio.sleep(0)
        while not self._queue:
            if self.state is State.CLOSED:
                raise self._closed()
            self._taken = 0
            if self._cork:
                self._flush()  # all that was read is answered
            self._receiver = self.loop.create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        return self._take()

    def _decode(self, data: str | bytes, wanted: bool) -> str | bytes:
        errors = self._limits.text_errors
        if wanted:
            return data if isinstance(data, str) else data.decode(errors=errors)
        return data.encode(errors=errors) if isinstance(data, str) else data

    def _take(self) -> str | bytes | Fragment:
        self._taken += 1
        item = self._queue.pop()
        self._queued -= len(item.data if isinstance(item, Fragment) else item)  # type: ignore[arg-type]
        if self._held:
            self._regulate()
        return item

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    async def __anext__(self) -> str | bytes:
        # What `recv` does, without its call where the message is there.
        if self._queue and self._receiver is None and self._taken < MESSAGES_PER_TURN:
            item = self._queue[-1]
            if (type(item) is bytes or type(item) is str) and not self._streaming and not self._held:
                self._taken += 1
                self._queued -= len(item)
                del self._queue[-1]
                return item
        try:
            return await self.recv()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None

    def _received(self, events: list[Event]) -> None:
        """Queue the messages of one read, and wake the receiver once."""
        if events and _MESSAGES.issuperset(map(type, events)):
            self._enqueue(cast("list[str | bytes | Fragment]", events), sum(map(len, cast("list[str]", events))))
            return
        items: list[str | bytes | Fragment] = []
        size = 0
        for event in events:
            if isinstance(event, (str, bytes)):
                items.append(event)
                size += len(event)
            elif isinstance(event, Fragment):
                items.append(event)
                size += len(cast("str | bytes", event.data))
                self.messages_received -= not event.last  # counted when it is whole
            else:
                self._note(event)
        if items:
            self._enqueue(items, size)
        self._reply()
        self._regulate()
        if self.state is State.CLOSED:
            self._wake_receiver()

    def _enqueue(self, items: list[str | bytes | Fragment], size: int) -> None:
        if self._deaf:
            return
        self.messages_received += len(items)
        items.reverse()
        if self._queue:
            self._queue[:0] = items
        else:
            self._queue = items
        self._queued += size
        # The answer to one message leaves at once, the answers to several leave together.
        self._uncorked = len(self._queue) == 1 and not self._cork
        if self._over(self._high, QUEUE_SIZE):
            self._regulate()
        self._wake_receiver()

    def _wake_receiver(self) -> None:
        if self._receiver is not None and not self._receiver.done():
            self._receiver.set_result(None)

    def _regulate(self) -> None:
        """Read from the transport while there is room.

        After our own close the peer's has to come through, so reading goes on whatever comes; from the read that
        fills the queue on, messages are dropped.
        """
        hold = False
        if self.state is State.OPEN:
            room = (self._low, QUEUE_SIZE // 4) if self._held else (self._high, QUEUE_SIZE)
            hold = self._over(*room) or self._unread_replies > REPLIES_LIMIT
        elif self.state is State.CLOSING and self._over(self._high, QUEUE_SIZE):
            self._deaf = True
        self._hold(hold)

    def _over(self, count: float, size: int) -> bool:
        return len(self._queue) > count or self._queued > size

    # Sending.

    async def send(
        self,
        message: Data | Iterable[Data] | AsyncIterable[Data],
        text: bool | None = None,
        *,
        compress: bool | None = None,
    ) -> None:
        """Send one message: text from a `str`, binary from bytes, or what `text` says.

        An iterable or async iterable of those is sent as one message of as many fragments, which are all text or all
        binary; other messages wait until it is over. If it raises, the connection is closed with 1011. Longer messages
        than `fragment_size` are sent in fragments too.

        `compress` says whether to compress it, if that was agreed on; by default its size decides. A message of over
        64 KiB is compressed in steps, between which other tasks run; messages still go out in the order of the calls.

        Waits first while the transport holds more than `write_limit` bytes, so a call that is cancelled has
        sent nothing and a call that returns has sent all. Raises `ConnectionClosed` after the end, TypeError for what
        is no message, PayloadTooBigError above `max_send_size`.
        """
        stream = self._stream
        kind = type(message)
        if (
            (kind is str or kind is bytes)
            and text is None
            and compress is None
            and stream is not None
            and not self._full
            and self._turn is None
            and len(message) <= self._short  # type: ignore[arg-type]
        ):
            try:
                frame = stream.send(message)  # type: ignore[arg-type]
            except StateError:
                pass  # which end this is will be known when it is over
            else:
                self.messages_sent += 1
                self._write(frame)
                return
        if isinstance(message, (str, bytes, bytearray, memoryview)):
            await self._send_whole(message, text, compress)
        elif isinstance(message, Mapping):
            raise TypeError("a mapping is no message")
        elif isinstance(message, Iterable):
            await self._send_fragments(_mark_end(_each(message)), text, compress)
        elif isinstance(message, AsyncIterable):
            await self._send_fragments(_mark_end(message), text, compress)
        else:
            raise TypeError(f"a message is str, bytes or an iterable of them, not {type(message).__name__}")

    async def _send_whole(self, message: Data, text: bool | None, compress: bool | None) -> None:
        size, length = self._limits.fragment_size, len(message)
        if size is not None and length * (4 if isinstance(message, str) else 1) > size:
            pieces, is_text = (await self._next_turn()).cut(message, size, text=text)
            if len(pieces) > 1:
                await self._send_fragments(_mark_last(pieces), is_text, compress)
                return
        stream = await self._next_turn()
        if self._encodes and compress is not False and length > LONG_MESSAGE:
            self._turn = asyncio.Lock()
            try:
                async with self._turn:
                    self._write(await self._encode(stream.send_steps(message, text=text, compress=compress)))
            finally:
                self._turn = None
        elif length >= UNJOINED and self._vectored:
            self._write_large(stream.send_parts(message, text=text, compress=compress))
        else:
            self._write(stream.send(message, text=text, compress=compress))
        self.messages_sent += 1

    async def _encode(self, steps: Generator[None, None, bytes]) -> bytes:
        """Take the steps of `Stream.send_steps`, and let other tasks run in between."""
        with closing(steps):
            while True:
                try:
                    next(steps)
                except StopIteration as stop:
                    frame: bytes = stop.value
                    return frame
                await asyncio.sleep(0)
                await self._sendable()

    async def _send_fragments(
        self, fragments: AsyncIterable[tuple[Data, bool]], text: bool | None, compress: bool | None
    ) -> None:
        """Send fragments, each with whether it is the last, while other messages wait."""
        await self._next_turn()
        self._turn = asyncio.Lock()
        self._in_fragments = True
        begun = False
        try:
            async with self._turn:
                async for fragment, last in fragments:
                    stream = await self._sendable()
                    self._write(stream.send(fragment, text=text, last=last, compress=compress))
                    begun = not last
            self.messages_sent += 1
        except BaseException as error:
            if begun:  # the message cannot be ended any more, nor another one sent
                self.start_closing(CloseCode.INTERNAL_ERROR, "error in fragmented message")
            if isinstance(error, FragmentError):
                raise TypeError("fragments are all text or all binary") from error
            raise
        finally:
            self._turn = None
            self._in_fragments = False

    async def _next_turn(self) -> Stream:
        """The stream, as soon as there is room and no message is under way in fragments."""
        while True:
            stream = await self._sendable()
            if self._turn is None:
                return stream
            async with self._turn:
                pass

    async def _sendable(self) -> Stream:
        """The stream, as soon as the transport has room for more."""
        while self._full:
            turn: asyncio.Future[None] = self.loop.create_future()
            if self._senders is None:
                self._senders = []
            self._senders.append(turn)
            try:
                await turn
            finally:
                self._senders.remove(turn)
        if self.state is State.CLOSING:  # only the end will tell whether it was an orderly one
            await self.wait_closed()
        if self._stream is None:
            raise StateError("the opening handshake is not done")
        if self._stream.state is State.CLOSED:
            raise self._closed()
        return self._stream

    def resume_writing(self) -> None:
        super().resume_writing()
        for turn in self._senders or ():
            if not turn.done():
                turn.set_result(None)
        if self._held:
            self._regulate()

    async def ping(self, data: str | bytes | None = None) -> asyncio.Future[float]:
        """Send a ping of at most 125 bytes, random ones if not given; await the result for its pong.

        The result is a future of the round trip in seconds. A pong answers all pings before its own too
        (5.5.3). Raises `ConcurrencyError` while a ping with the same payload waits.
        """
        await self._sendable()
        payload = self._ping(None if data is None else _as_bytes(data))
        if payload is None:
            raise ConcurrencyError("a ping with this payload is already waiting for its pong")
        assert self._pings is not None
        return self._pings[payload][1]

    async def pong(self, data: str | bytes = b"") -> None:
        """Send a pong nobody asked for: a heartbeat of one direction (5.5.3)."""
        stream = await self._sendable()
        self._write(stream.pong(_as_bytes(data)))

    # The end.

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Close with `code` (None: an empty close) and `reason` (123 bytes of UTF-8 at most) and wait for the end.

        The transport is cut if the peer has not done its part within `close_timeout`. What arrives meanwhile
        can still be received, as far as the queue has room. Closing again only waits.
        """
        self.start_closing(code, reason)
        await self.wait_closed()

    def start_closing(self, code: int | None = 1000, reason: str = "") -> None:
        super().start_closing(code, reason)
        self._regulate()

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close(CloseCode.NORMAL_CLOSURE if error is None else CloseCode.INTERNAL_ERROR)


def broadcast(connections: Iterable[Connection], message: str | bytes) -> None:
    """Send one message to all open `connections` without waiting for any.

    A peer that reads too slowly to keep up, with more than its `write_limit` unread, is closed with 1013
    (try again later) instead: neither memory nor the others pay for it. One that is being sent another message in
    fragments is left out.
    """
    if not isinstance(message, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
    for connection in connections:
        stream = connection._stream
        if stream is None or stream.state is not State.OPEN or connection._in_fragments:
            continue
        if connection._full:
            connection.start_closing(CloseCode.TRY_AGAIN_LATER, "reading too slowly")
            continue
        # Where a long message is being compressed, nothing else can be.
        frame = stream.send(message, compress=None if connection._turn is None else False)
        connection.messages_sent += 1
        if connection._cork:
            connection._write(frame)
        else:
            connection._push(frame)


async def _each(fragments: Iterable[Data]) -> AsyncIterator[Data]:
    for fragment in fragments:
        yield fragment


async def _mark_end(fragments: AsyncIterable[Data]) -> AsyncIterator[tuple[Data, bool]]:
    """Each fragment at once; what comes after the last is only known later, so an empty one ends the message."""
    empty: Data | None = None
    async for fragment in fragments:
        if not isinstance(fragment, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"a fragment is str or bytes, not {type(fragment).__name__}")
        empty = "" if isinstance(fragment, str) else b""
        yield fragment, False
    if empty is not None:
        yield empty, True


async def _mark_last(pieces: Sequence[Data]) -> AsyncIterator[tuple[Data, bool]]:
    for number, piece in enumerate(pieces, 1):
        yield piece, number == len(pieces)


def _as_bytes(payload: str | bytes) -> bytes:
    return payload.encode() if isinstance(payload, str) else payload
