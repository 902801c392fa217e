"""The callback API of one WebSocket: for those who count microseconds.

    Stream ─ events ─▶ Listener.on_message        Stream ◀─ send()

No task and no switch stands between the network and the callback, and all that it sends while one read is
handled leaves in one system call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..codes import State
from ..errors import ConcurrencyError, StateError
from ..events import Close, Event, Ping
from ..extensions import Codec
from .endpoint import UNJOINED, Endpoint

__all__ = ["Listener", "ListenerConnection"]


class Listener:
    """What happens on connections; subclass it and give an instance to `serve` or `connect`.

    One instance may listen to any number of connections. The callbacks must not block. One that raises closes its
    connection with 1011, and the error is logged.
    """

    def on_open(self, connection: ListenerConnection) -> None:
        """The opening handshake is done."""

    def on_message(self, connection: ListenerConnection, message: str | bytes) -> None:
        """A message has arrived: text is a `str`, binary is `bytes`."""

    def on_ping(self, connection: ListenerConnection, payload: bytes) -> None:
        """A ping has arrived; it has been answered."""

    def on_close(self, connection: ListenerConnection, code: int, reason: str) -> None:
        """The connection has ended with the peer's close code: 1005 if empty, 1006 without one (7.1.5). The last."""


class ListenerConnection(Endpoint):
    """An open WebSocket whose events go to a `Listener`. Nothing of it waits: use it in the event loop's thread.

    While the peer reads so slowly that more than `write_limit` bytes wait for it, nothing is read from it; above
    `max_unsent` bytes it is cut.
    """

    __slots__ = ()

    #: What the events go to.
    listener: Listener

    @property
    def full(self) -> bool:
        """Whether more than `write_limit` bytes wait for the peer to read them."""
        return self._full

    def send(
        self,
        message: str | bytes | bytearray | memoryview,
        text: bool | None = None,
        *,
        last: bool = True,
        compress: bool | None = None,
    ) -> None:
        """Send one message: text from a `str`, binary from bytes, or what `text` says; a piece of one without `last`.

        `compress` says whether to compress it, if that was agreed on; by default its size decides.

        Returns at once; look at `full` before you send much. Raises StateError when the connection is not open,
        PayloadTooBigError above `max_send_size`, FragmentError if the pieces of a message are of both types.
        """
        stream = self._stream
        if stream is None:
            raise StateError("the opening handshake is not done")
        if text is None and compress is None and last and len(message) < UNJOINED:
            frame = stream.send(message)
            self.messages_sent += 1
            if self._uncorked and not self._full:  # as `_write`, without its call
                self._uncorked = False
                self.bytes_sent += len(frame)
                self.transport.write(frame)
            else:
                self._write(frame)
            return
        if self._vectored:
            self._write_large(stream.send_parts(message, text=text, last=last, compress=compress))
        else:
            self._write(stream.send(message, text=text, last=last, compress=compress))
        self.messages_sent += last

    def ping(self, payload: bytes = b"") -> asyncio.Future[float]:
        """Send a ping of at most 125 bytes, random ones if empty; the result is a future of the round trip in seconds.

        Raises StateError when the connection is not open, ConcurrencyError while a ping with that payload waits.
        """
        if self._stream is None:
            raise StateError("the opening handshake is not done")
        data = self._ping(payload or None)
        if data is None:
            raise ConcurrencyError("a ping with this payload is already waiting for its pong")
        assert self._pings is not None
        return self._pings[data][1]

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Begin to close; `on_close` says when it is done. The transport is cut after `close_timeout`."""
        self.start_closing(code, reason)
        self._hold(False)

    def _open(self, rest: bytes, codecs: Sequence[Codec]) -> None:
        super()._open(b"", codecs)
        self._call(self.listener.on_open)
        self.bytes_received = len(rest)
        self._unread = rest
        self._read_on()

    def buffer_updated(self, nbytes: int) -> None:
        stream = self._stream
        if stream is None or self._unread or nbytes > self._small:
            super().buffer_updated(nbytes)
            return
        # As there and in `_received`, without their calls for one message.
        self.bytes_received += nbytes
        events = stream.receive(self._buffer, nbytes)
        if len(events) == 1:
            event = events[0]
            if type(event) is bytes or type(event) is str:
                self.messages_received += 1
                self._handling = self._uncorked = True
                try:
                    self.listener.on_message(self, event)
                except Exception:
                    self._failed()
                self._handling = False
                if self._cork:
                    self._flush()
                if self._full or stream.failing:
                    self._settle()
                return
        self._received(events)

    def _received(self, events: list[Event]) -> None:
        if not events:
            return
        self._handling = True
        self._uncorked = len(events) == 1  # the reply to one message leaves at once, those to several together
        on_message = self.listener.on_message
        controls = False
        for event in events:
            try:
                if type(event) is bytes or type(event) is str:
                    self.messages_received += 1
                    on_message(self, event)
                else:
                    controls = True
                    self._note(event)
                    if isinstance(event, Ping):
                        self.listener.on_ping(self, event.payload)
            except Exception:
                self._failed()
                on_message = Listener().on_message  # the rest is ignored
        self._handling = False
        if self._cork:
            self._flush()
        if controls:
            self._reply()
        self._settle()

    def _settle(self) -> None:
        """After the messages of one read: fail if that was kept back, and wait for a peer that does not read."""
        if self._stream.failing:  # type: ignore[union-attr]
            self._fail_late()
        if self._full and self.state is State.OPEN:
            self._hold(True)

    def _call(self, callback: object, *arguments: object) -> None:
        try:
            callback(self, *arguments)  # type: ignore[operator]
        except Exception:
            self._failed()

    def _failed(self) -> None:
        self.logger.exception("listener failed")
        self.start_closing(1011)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._gone:
            self._hold(False)

    def connection_lost(self, exc: Exception | None) -> None:
        opened = self._stream is not None
        super().connection_lost(exc)
        if opened:
            rcvd = self._closing.rcvd or Close(1006, "")
            self._call(self.listener.on_close, rcvd.code, rcvd.reason)
