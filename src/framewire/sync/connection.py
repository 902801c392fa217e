"""The blocking API of one WebSocket: `recv`, `recv_streaming`, iteration and `send`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic
from types import TracebackType
from typing import TypeVar, cast

from ..errors import ConcurrencyError, ConnectionClosed, ConnectionClosedOK
from ..protocol.constants import CloseCode
from ..session.connection import BaseConnection, as_payload
from ..session.message_queue import Message, MessageQueue, encode_or_decode
from ..session.session import Data, Session
from .driver import Driver

__all__ = ["Connection", "Message"]

Self = TypeVar("Self", bound="Connection")
Taken = TypeVar("Taken")


class Connection(BaseConnection):
    """An open WebSocket, made by `serve` or `connect`.

    Iterate over it for the peer's messages (`str` for text, `bytes` for binary): that ends with an orderly close and
    raises `ConnectionClosedError` otherwise. Or call `recv` and `send`. One thread may receive at a time, any number
    may send.
    """

    _driver: Driver

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self._receiving = False  # guarded by the driver's `changed`
        #: Held from the first fragment of a message to its last.
        self._sending = threading.Lock()

    def opened(self, session: Session) -> None:
        """Take over the session at the end of the opening handshake."""
        self._session = session

    # Receiving.

    @property
    def next_size(self) -> int | None:
        """The size in bytes of the message, or the piece of one, that `recv` would begin with; None if none waits."""
        if self._session is None:
            return None
        with self._driver.changed:
            return cast(MessageQueue, self._session.queue).next_size

    def recv(self, timeout: float | None = None, decode: bool | None = None) -> Message:
        """Receive the next message. A call that times out loses nothing.

        Args:
            timeout: Seconds to wait; 0 only looks; None: no limit.
            decode: False gives text as its UTF-8, True decodes binary; by default text is `str`, binary `bytes`.

        Raises:
            TimeoutError: No message came in time.
            ConnectionClosed: The connection has ended, and everything that arrived before has been received.
            ConcurrencyError: Another thread receives, or a message is being received in pieces.
        """
        until = None if timeout is None else monotonic() + timeout
        queue = cast(MessageQueue, self._begin_receiving().queue)
        try:
            message = cast(Message, self._take(queue.take_message, until))
        finally:
            self._receiving = False
        return encode_or_decode(message, decode, self._text_errors)

    def recv_streaming(self, decode: bool | None = None) -> Iterator[Message]:
        """Receive the next message as an iterator over its pieces, as they arrive.

        A piece is the payload of one frame, or at most `piece_size` bytes of it, which then come while the rest is
        still under way. Take every piece: until the last one is taken, `recv` raises ConcurrencyError.
        Raises as `recv`.

        Args:
            decode: See `recv`.
        """
        session = self._begin_receiving()
        queue = cast(MessageQueue, session.queue)
        try:
            with self._driver.changed:
                if queue.streaming:
                    raise ConcurrencyError("a message is being received in pieces")
            last = False
            while not last:
                piece, last = self._take(queue.take_piece, None)
                yield encode_or_decode(piece, decode, self._text_errors)
        finally:
            self._receiving = False

    def __iter__(self) -> Iterator[Message]:
        try:
            while True:
                yield self.recv()
        except ConnectionClosedOK:
            return

    @property
    def _text_errors(self) -> str:
        return self._driver.settings.text_errors

    def _begin_receiving(self) -> Session:
        with self._driver.changed:
            session = self._driver.opened_session()
            if self._receiving:
                raise ConcurrencyError("another thread is already receiving from this connection")
            self._receiving = True
        return session

    def _take(self, take: Callable[[], Taken | None], until: float | None) -> Taken:
        """Wait until `take` returns something, and return it."""
        driver, session = self._driver, self._driver.opened_session()
        queue = cast(MessageQueue, session.queue)
        while True:
            with driver.changed:
                taken = take()
                driver.make_room(session)
                if taken is not None:
                    return taken
                if session.stream.failing is None and not queue.items:
                    if session.over:
                        raise session.error()
                    left = None if until is None else until - monotonic()
                    if left is not None and left <= 0:
                        raise TimeoutError("no message came in time")
                    driver.changed.wait(left)
                    continue
                session.settle(monotonic())
            driver.flush(wait=False)

    # Sending.

    def send(self, message: Data | Iterable[Data], text: bool | None = None) -> None:
        """Send one message, and wait until the network has taken it.

        An iterable is sent as one message of as many fragments, as it makes them, which are all text or all binary;
        other threads' messages wait until it is over. If it raises, the connection is closed with 1011, since a
        message cannot be taken back. An empty one sends nothing. Messages longer than `fragment_size` are sent in
        fragments too.

        Args:
            message: Text as `str`, binary as a bytes-like object, or an iterable of one of them.
            text: Whether it is sent as text; by default the type decides.

        Raises:
            ConnectionClosed: The connection has ended; within `close_timeout` once it is closing.
            TypeError: `message` is none of these.
            PayloadTooBigError: It is larger than `max_send_size`.
        """
        if isinstance(message, (str, bytes, bytearray, memoryview)):
            with self._sending:
                self._send_whole(message, text)
        elif isinstance(message, Iterable) and not isinstance(message, Mapping):
            with self._sending:
                self._send_fragments(message, text)
        else:
            raise TypeError(f"a message is str, bytes or an iterable of them, not {type(message).__name__}")

    def _send_fragments(self, fragments: Iterable[Data], text: bool | None) -> None:
        empty: Data | None = None
        try:
            for fragment in fragments:
                if not isinstance(fragment, (str, bytes, bytearray, memoryview)):
                    raise TypeError(f"a fragment is str or bytes, not {type(fragment).__name__}")
                self.send_piece(fragment, text, False)
                empty = "" if isinstance(fragment, str) else b""
            if empty is not None:
                self.send_piece(empty, text, True)
        except BaseException as error:
            if empty is not None and not isinstance(error, ConnectionClosed):
                self.start_closing(CloseCode.INTERNAL_ERROR, "error in fragmented message")
            raise

    def _send_whole(self, message: Data, text: bool | None) -> None:
        if not self._driver.opened_session().is_fragmented(message):
            self.send_piece(message, text, True)
            return
        with self._driver.changed:
            fragments = self._driver.sendable().fragments(message, text)
        for fragment, is_text, last in fragments:
            self.send_piece(fragment, is_text, last)

    def send_piece(self, piece: Data, text: bool | None = None, last: bool = True) -> None:
        """Send a fragment of a message, `last` with its end. No other thread may send a message in between."""
        with self._driver.changed:
            self._driver.sendable().send(piece, text, last=last)
        self._driver.flush(wait=True)

    def ping(self, payload: str | bytes | None = None) -> threading.Event:
        """Send a ping.

        Args:
            payload: At most 125 bytes, text as UTF-8; by default 4 random bytes.

        Returns:
            An event that is set when the pong comes, or at the end of the connection. A pong answers all pings before
            its own too (5.5.3).

        Raises:
            ConcurrencyError: A ping with this payload waits for its pong.
            ConnectionClosed: The connection has ended.
        """
        answered = threading.Event()
        with self._driver.changed:
            session = self._driver.sendable()
            session.ping(None if payload is None else as_payload(payload), monotonic(), lambda latency: answered.set())
        self._driver.flush(wait=True)
        return answered

    def pong(self, payload: str | bytes = b"") -> None:
        """Send an unsolicited pong: a heartbeat in one direction (5.5.3)."""
        with self._driver.changed:
            self._driver.sendable().pong(as_payload(payload))
        self._driver.flush(wait=True)

    # The end.

    def start_closing(self, code: int | None = 1000, reason: str = "") -> None:
        """Begin to close like `close`, without waiting for the end."""
        self._driver.start_closing(code, reason)

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Close, and wait for the end.

        The connection is aborted if the peer has not done its part within `close_timeout`. What arrives meanwhile can
        still be received, as far as the queue has room. Closing again only waits.

        Args:
            code: The close code; None: an empty close frame.
            reason: At most 123 bytes of UTF-8.
        """
        self._driver.start_closing(code, reason, watched=True)
        self._driver.wait_ended()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(CloseCode.NORMAL_CLOSURE if error is None else CloseCode.INTERNAL_ERROR)
