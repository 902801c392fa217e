"""The callback API of one WebSocket: for those who count microseconds.

    Stream ─ events ─▶ Listener.on_message        Stream ◀─ send()

No task and no switch stands between the network and the callback, and all that it sends while one read is
handled leaves in one system call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..errors import ConcurrencyError, StateError
from ..protocol.codecs import Codec
from ..protocol.constants import State
from ..protocol.events import Close, Event, Ping
from .endpoint import Endpoint
from .limits import Limits
from .timer import Pulse
from .transport_writer import LARGE

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

    __slots__ = ("_begun",)

    #: What the events go to.
    listener: Listener

    def __init__(self, limits: Limits, pulse: Pulse) -> None:
        super().__init__(limits, pulse)
        self._begun = False  # a message was sent in part

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

        `compress` says whether to compress it, if that was agreed on; by default its size decides. A whole message of
        more than `fragment_size` bytes is sent in fragments.

        Returns at once; look at `full` before you send much. Raises StateError when the connection is not open,
        PayloadTooBigError above `max_send_size`, FragmentError if the pieces of a message are of both types.
        """
        whole = text is None and compress is None and last
        if self._uncorked and whole and self._writer.send(message):
            self._uncorked = False
            if self._full:
                self._limit_unsent()
            return
        stream = self._stream
        if stream is None:
            raise StateError("the opening handshake is not done")
        if whole and len(message) >= LARGE and self._send_large(message):
            return
        size = self._limits.fragment_size
        if size is not None and last and not self._begun:
            pieces, is_text = stream.cut(message, size, text=text)
            if len(pieces) > 1:
                for piece in pieces[:-1]:
                    self._write(stream.send(piece, text=is_text, last=False, compress=compress))
                message, text = pieces[-1], is_text
        self._write(stream.send(message, text=text, last=last, compress=compress))
        self._begun = not last
        self._writer.messages_sent += last

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
        self._unread = rest
        self._read_on()

    def buffer_updated(self, nbytes: int) -> None:
        if nbytes > self._small or self._unread:
            self._read_more(nbytes)
            return
        stream = self._stream
        events = stream.receive(self._buffer, nbytes)  # type: ignore[union-attr]
        if len(events) == 1:  # as `_received`, without its calls for one message
            event = events[0]
            if type(event) is bytes or type(event) is str:
                self._handling = True
                self._uncorked = not self._cork
                try:
                    self.listener.on_message(self, event)
                except Exception:
                    self._failed()
                self._handling = False
                if self._cork:
                    self._flush()
                if self._full or stream.failing:  # type: ignore[union-attr]
                    self._settle()
                return
        self._received(events)

    def _received(self, events: list[Event]) -> None:
        if not events:
            return
        self._handling = True
        # The reply to one message leaves at once, those to several together.
        self._uncorked = len(events) == 1 and not self._cork
        on_message = self.listener.on_message
        controls = False
        for event in events:
            try:
                if type(event) is bytes or type(event) is str:
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
