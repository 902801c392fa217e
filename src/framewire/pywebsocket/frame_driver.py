"""`FrameDriver`: a driver that passes input to the session one frame at a time, on request.

    socket ─ reader thread ─▶ held bytes ─ feed_frame() ─▶ Session ─▶ queue
                                  └─ take() ─▶ the handler

A handler can therefore decide for each frame whether the session or its own code receives it. Its
reply to a message is sent before the answer to a close frame that arrived after that message.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from .._backend import read_header
from ..protocol.constants import State
from ..protocol.events import Event
from ..session.base_driver import READ_SIZE
from ..session.session import Ending, Session
from ..sync.driver import Driver
from ..sync.waits import limit_wait, wait_until

__all__ = ["FrameDriver"]

#: Seconds after which a ping or a close frame is processed although the handler does not receive.
_PATIENCE: Final = 1.0


class FrameDriver(Driver):
    """A driver whose input waits for calls of `feed_frame` and `take`, until `release`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The following are guarded by `lock`, which is held from taking input to passing it on, so that
        # two threads keep its order.
        self._held = bytearray()  # received, and not yet passed on
        self._frame_left = 0  # bytes of the current frame that the session is still to get
        self._idle_since = monotonic()  # when input has arrived, or the handler has received, last
        self._input_ended = False
        self._give_up_at: float | None = None  # when threads that cannot send wait no longer for the end
        #: Whether `release` has been called: no call of the handler's waits for events any more.
        self.released = False

    # The reader's thread.

    def _receive(self, session: Session, data: bytes | memoryview, size: int) -> None:
        with self.lock:
            if size and not self.released:
                self._held += memoryview(data)[:size]
                self._idle_since = monotonic()
                self.changed.notify_all()
                self._wait_for_room(session)
                return
        super()._receive(session, data, size)

    def _wait_for_room(self, session: Session) -> None:
        while not self.released and len(self._held) > READ_SIZE:
            seconds = self._handle_timer(session)
            if session.ending is Ending.ABORT:
                break
            self.changed.wait(seconds)

    def _end(self, session: Session) -> None:
        with self.lock:
            self._input_ended = True
            self.changed.notify_all()
            while self._held and not self.released:
                seconds = self._handle_timer(session)
                if session.ending is Ending.ABORT:
                    break
                self.changed.wait(seconds)
        super()._end(session)

    def _give_up(self, session: Session, wait: bool) -> None:
        self.release()  # the reader would wait for this thread, and this thread for the reader
        self.abort()
        if wait and threading.current_thread() is not self.reader:
            with self.lock:
                self._wait_for_end(lambda: self.ended)
                raise session.error()

    def sendable(self) -> Session:
        session = self.opened_session()
        if not session.check_sendable():
            self._wait_for_end(lambda: session.over or self.ended)
            raise session.error()
        return session

    def _wait_for_end(self, is_over: Callable[[], bool]) -> None:
        """Wait until the connection is over, but not beyond `close_timeout`: a handler of pings, which
        the reader calls, may wait for this thread. Called with `lock` held.
        """
        limit = self.settings.close_timeout
        if self._give_up_at is None and limit is not None:
            self._give_up_at = monotonic() + limit
        left = None if self._give_up_at is None else max(0, self._give_up_at - monotonic())
        wait_until(self.changed, is_over, left)

    # The handler's threads.

    def feed_frame(self, until: float | None) -> bool:
        """Pass the next frame, or what has arrived of it, to the session.

        Args:
            until: When to stop waiting for input, on the clock of `monotonic`; None: no limit.

        Returns:
            False if all input has been passed on.

        Raises:
            TimeoutError: No frame came in time.
        """
        with self.lock:
            self._idle_since = monotonic()
        while not self._feed_piece():
            with self.lock:
                while not (self._has_piece() or self._input_ended or self.released):
                    left = None if until is None else until - monotonic()
                    if left is not None and left <= 0:
                        raise TimeoutError("no frame came in time")
                    self.changed.wait(limit_wait(left))
                if not self._held:
                    return False
                is_cut = not self._has_piece()
            if is_cut:
                self.release()  # the rest of this header will not come
        return True

    def _feed_piece(self) -> bool:
        """Pass the received part of the next frame to the session; return False if there is none."""
        with self.lock:
            piece = self._take_piece()
            events = self._pass_on(piece)
        self._tell(events)  # a handler of pings may wait for another thread, which takes `lock`
        return bool(piece)

    def feed(self, data: bytes) -> None:
        """Pass bytes to the session."""
        self._tell(self._pass_on(data))

    def _pass_on(self, data: bytes) -> list[Event]:
        """Let the session process bytes; return the events, to be told without `lock`."""
        if not data:
            return []
        if self.received_log is not None:
            self.received_log.feed(memoryview(data))
        with self.lock:
            events = self.opened_session().receive(data, monotonic())
            self.changed.notify_all()
        return events

    def _tell(self, events: list[Event]) -> None:
        if events and self._observe is not None:
            self._observe(events)

    def _has_piece(self) -> bool:
        return bool(self._held) and bool(self._frame_left or self._measure_frame())

    def _take_piece(self) -> bytes:
        """Return the received part of one frame; b"" while its header is incomplete."""
        if not self._frame_left:
            size = self._measure_frame()
            if size is None:
                return b""
            self._frame_left = size
        piece = self._take_held(self._frame_left)
        self._frame_left -= len(piece)
        return piece

    def _measure_frame(self) -> int | None:
        """Return the size of the next frame with its header; None while its header is incomplete.

        Of a frame whose length is invalid, it is that of the header, which the session rejects.
        """
        header = read_header(self._held, 0, len(self._held))
        if header is None or header[4] is None:
            return None
        length, end = header[2:4]
        return end + max(length, 0)

    def _take_held(self, size: int) -> bytes:
        piece = bytes(self._held[:size])
        del self._held[:size]
        if piece:
            self.changed.notify_all()  # the reader may wait for room
        return piece

    def take(self, size: int) -> bytes:
        """Take up to `size` bytes of the input, which the session does not get; b"" at its end."""
        with self.lock:
            self._idle_since = monotonic()
            self.changed.wait_for(lambda: self._held or self._input_ended or self.released)
            return self._take_held(size)

    def process_waiting(self) -> None:
        """Process control frames that come next, if the handler has not received for a while.

        To be called before sending, without `lock` held: a handler that only sends answers pings
        and notices the client's close.
        """
        if self.state is not State.OPEN:
            self.release()  # the rest of the closing handshake does not wait for the handler
        while True:
            with self.lock:
                size = None if self._frame_left or not self._held else self._measure_frame()
                is_control = size is not None and self._held[0] & 0x08 and size <= len(self._held)
                if not is_control or monotonic() - self._idle_since < _PATIENCE:
                    return
                events = self._pass_on(self._take_piece())
            self._tell(events)

    def release(self) -> None:
        """Pass all input to the session from now on, as it arrives."""
        with self.lock:
            self.released = True
            events = self._pass_on(self._take_held(len(self._held)))
            self.changed.notify_all()
        self._tell(events)
