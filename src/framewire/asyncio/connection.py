"""The coroutine API of one WebSocket: what `Receiving` receives, and `send`.

    Stream ◀─ send()

A full transport makes `send` wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Final, TypeAlias

from ..errors import ConcurrencyError, FragmentError, StateError
from ..protocol.constants import CloseCode, State
from ..protocol.stream import Stream
from ..session.endpoint import as_payload
from .limits import Limits
from .receiving import Receiving
from .timer import Pulse
from .transport_writer import LARGE

__all__ = ["Connection", "broadcast"]

#: Messages of over so many bytes or characters are encoded in steps, between which other tasks run.
LONG_MESSAGE: Final = 1 << 16

#: One message, or the data of one fragment.
Data: TypeAlias = str | bytes | bytearray | memoryview


class Connection(Receiving):
    """An open WebSocket. `serve` and `connect` make them; they are not for calling by hand.

    Use it as an async iterator over the peer's messages (a `str` each for text, `bytes` for binary), which ends
    with an orderly close and raises `ConnectionClosedError` otherwise; or call `recv` and `send`. One task may
    receive at a time, any number may send.
    """

    __slots__ = ("_in_fragments", "_senders", "_short", "_turn")

    def __init__(self, limits: Limits, pulse: Pulse) -> None:
        super().__init__(limits, pulse)
        # Of up to so many bytes or characters, of up to 4 bytes each, a message needs no look at its size.
        self._short = min(LARGE - 1, (limits.fragment_size or LARGE << 2) // 4)
        self._senders: list[asyncio.Future[None]] | None = None
        self._turn: asyncio.Lock | None = None
        self._in_fragments = False

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
        if text is None and compress is None and not self._full and self._turn is None and stream is not None:
            if self._uncorked and self._writer.send(message):
                self._uncorked = False
                if self._full:
                    self._limit_unsent()
                return
            if (type(message) is str or type(message) is bytes) and len(message) <= self._short:
                try:
                    self._write(stream.send(message))
                except StateError:
                    pass  # which end this is will be known when it is over
                else:
                    self._writer.messages_sent += 1
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
        elif text is None and compress is None and length >= LARGE and self._send_large(message):
            return
        else:
            self._write(stream.send(message, text=text, compress=compress))
        self._writer.messages_sent += 1

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
            self._writer.messages_sent += 1
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
            raise self._closing.error()
        return self._stream

    def resume_writing(self) -> None:
        super().resume_writing()
        for turn in self._senders or ():
            if not turn.done():
                turn.set_result(None)

    async def ping(self, data: str | bytes | None = None) -> asyncio.Future[float]:
        """Send a ping of at most 125 bytes, random ones if not given; await the result for its pong.

        The result is a future of the round trip in seconds. A pong answers all pings before its own too
        (5.5.3). Raises `ConcurrencyError` while a ping with the same payload waits.
        """
        await self._sendable()
        payload = self._ping(None if data is None else as_payload(data))
        if payload is None:
            raise ConcurrencyError("a ping with this payload is already waiting for its pong")
        assert self._pings is not None
        return self._pings[payload][1]

    async def pong(self, data: str | bytes = b"") -> None:
        """Send a pong nobody asked for: a heartbeat of one direction (5.5.3)."""
        stream = await self._sendable()
        self._write(stream.pong(as_payload(data)))

    # The end.

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Close with `code` (None: an empty close) and `reason` (123 bytes of UTF-8 at most) and wait for the end.

        The transport is cut if the peer has not done its part within `close_timeout`. What arrives meanwhile
        can still be received, as far as the queue has room. Closing again only waits.
        """
        self.start_closing(code, reason)
        await self.wait_closed()

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
        if stream is None:
            continue
        if (
            not connection._corked
            and not connection._full
            and not connection._in_fragments
            and connection._writer.send(message)
        ):
            if connection._full:
                connection._limit_unsent()
            continue
        if stream.state is not State.OPEN or connection._in_fragments:
            continue
        if connection._full:
            connection.start_closing(CloseCode.TRY_AGAIN_LATER, "reading too slowly")
            continue
        # Where a long message is being compressed, nothing else can be.
        frame = stream.send(message, compress=None if connection._turn is None else False)
        connection._writer.messages_sent += 1
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
