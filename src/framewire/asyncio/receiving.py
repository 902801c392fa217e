"""What a `Connection` receives: `recv`, pieces, iteration.

    Stream ─ events ─▶ queue ─▶ recv()

A whole read is taken apart before any task wakes, and `recv` finds the next message in the queue without a switch. A
full queue stops reading from the transport.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO, StringIO
from typing import Any, Final, cast

from ..errors import ConcurrencyError, ConnectionClosedOK, StateError
from ..protocol.constants import State
from ..protocol.events import Event, Fragment
from ..session.settings import QUEUE_SIZE, REPLIES_LIMIT
from .endpoint import Endpoint
from .limits import Limits
from .timer import Pulse

__all__ = ["Receiving"]

#: `recv` lets other tasks run after this many messages that it did not have to wait for.
MESSAGES_PER_TURN: Final = 256

_MESSAGES: Final = frozenset({str, bytes})


class Receiving(Endpoint):
    """The receiving half of a `Connection`."""

    __slots__ = (
        "_deaf", "_high", "_joined", "_low", "_over", "_queue", "_queued", "_receiver", "_streaming", "_taken",
    )  # fmt: skip

    def __init__(self, limits: Limits, pulse: Pulse) -> None:
        super().__init__(limits, pulse)
        # The queue has its oldest message last, where taking it is cheap.
        self._queue: list[str | bytes | Fragment] = []
        self._queued = 0
        self._high, self._low = limits.queue_marks()
        self._deaf = False
        self._over = False  # nothing more will come
        self._receiver: asyncio.Future[None] | None = None
        self._taken = 0
        self._joined: StringIO | BytesIO | None = None
        self._streaming = False

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

        A piece is what one frame holds, or as much of it as `piece_size` bytes, which then come while the rest is still
        under way. From the first call on, such messages come in pieces; what `recv` gives does not change. Take every
        piece: until the last one is taken, `recv` raises ConcurrencyError.
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
            size = self._piece_length(data)
            for start in range(0, len(data), size) if data else (0,):
                self._streaming = not last or start + size < len(data)
                piece = data[start : start + size]
                yield piece if decode is None else self._decode(piece, decode)

    def _piece_length(self, data: str | bytes) -> int:
        """How many items of what had already come when pieces were asked for make no more bytes than a piece has."""
        most = self._limits.piece_size
        if most is None or len(self._decode(data, False)) <= most:
            return len(data)
        return most if isinstance(data, bytes) else max(most // 4, 1)

    async def _next_item(self) -> str | bytes | Fragment:
        if self._receiver is not None:
            raise ConcurrencyError("another task is already receiving from this connection")
        if self._taken >= MESSAGES_PER_TURN:
            self._taken = 0
            await asyncio.sleep(0)
        if self._stream is None:
            raise StateError("the opening handshake is not done")
        while not self._queue:
            if self._stream.failing:
                self._fail_late()
            if self._over:
                raise self._closing.error()
            receiver = self._wait()
            try:
                await receiver
            finally:
                self._receiver = None
        return self._take()

    def _wait(self) -> asyncio.Future[None]:
        """What to await before the next look at the queue."""
        self._taken = 0
        if self._cork:
            self._flush()  # all that was read is answered
        self._receiver = receiver = self.loop.create_future()
        return receiver

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
        # What `recv` does, without its calls for a whole message.
        stream = self._stream
        if self._receiver is None and not self._streaming and stream is not None:
            if not self._queue and not self._over and not stream.failing:
                if self._cork:  # as `_wait`
                    self._flush()
                self._receiver = self.loop.create_future()
                try:
                    await self._receiver
                finally:
                    self._receiver = None
                    self._taken = 0
            queue = self._queue
            if queue and self._taken < MESSAGES_PER_TURN and not self._held:
                item = queue[-1]
                if type(item) is bytes or type(item) is str:
                    self._taken += 1
                    self._queued -= len(item)
                    del queue[-1]
                    return item
        try:
            return await self.recv()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None

    def _received(self, events: list[Event]) -> None:
        """Queue the messages of one read, and wake the receiver once."""
        if len(events) == 1:
            event = events[0]
            if type(event) is bytes or type(event) is str:
                receiver, size = self._receiver, len(event)
                if (
                    receiver is not None
                    and not self._queue
                    and size <= QUEUE_SIZE
                    and not self._deaf
                    and not self._stream.failing  # type: ignore[union-attr]
                ):  # it is waited for: as `_enqueue`, without its calls
                    self._queue = cast("list[str | bytes | Fragment]", events)
                    self._queued = size
                    self._uncorked = not self._cork
                    if not receiver.done():
                        receiver.set_result(None)
                    return
                self._enqueue(cast("list[str | bytes | Fragment]", events), size)
                return
        elif not events:
            return
        elif _MESSAGES.issuperset(map(type, events)):
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
            else:
                self._note(event)
        if items:
            self._enqueue(items, size)
        self._reply()
        self._regulate()
        if not self._queue and self._stream.failing:  # type: ignore[union-attr]
            self._fail_late()
        if self.state is State.CLOSED:
            self._over = True
            self._wake_receiver()

    def _enqueue(self, items: list[str | bytes | Fragment], size: int) -> None:
        if self._deaf:
            return
        items.reverse()
        if self._queue:
            self._queue[:0] = items
        else:
            self._queue = items
        self._queued += size
        # The answer to one message leaves at once, the answers to several leave together.
        self._uncorked = len(self._queue) == 1 and not self._cork
        if self._stream.failing:  # type: ignore[union-attr]
            self._limit_failing()
        if len(self._queue) > self._high or self._queued > QUEUE_SIZE:
            self._regulate()
        self._wake_receiver()

    def _limit_failing(self) -> None:
        """Fail at last, should nobody receive the messages before the failure."""
        timeout = self._limits.close_timeout
        if timeout is not None and self._deadline is None:
            self._deadline = self.loop.call_later(timeout, self._fail_late)

    def _wake_receiver(self) -> None:
        receiver = self._receiver
        if receiver is not None and not receiver.done():
            receiver.set_result(None)

    def _regulate(self) -> None:
        """Read from the transport while there is room.

        After our own close the peer's has to come through, so reading goes on whatever comes; from the read that
        fills the queue on, messages are dropped.
        """
        hold = False
        if self.state is State.OPEN:
            room = (self._low, QUEUE_SIZE // 4) if self._held else (self._high, QUEUE_SIZE)
            hold = self._exceeds(*room) or self._unread_replies > REPLIES_LIMIT
        elif self.state is State.CLOSING and self._exceeds(self._high, QUEUE_SIZE):
            self._deaf = True
        self._hold(hold)

    def start_closing(self, code: int | None = 1000, reason: str = "") -> None:
        super().start_closing(code, reason)
        self._regulate()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._held:
            self._regulate()

    def _exceeds(self, count: float, size: int) -> bool:
        return len(self._queue) > count or self._queued > size
