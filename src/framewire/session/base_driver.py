"""`BaseDriver`: what the drivers of streams of bytes have in common, on threads and on trio."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from typing import Any, Final, Protocol, TypeVar, cast

from ..errors import ConcurrencyError, StateError
from ..protocol.constants import Role, State
from .connection import as_payload
from .fragments import closing_generator, mark_last
from .logs import FrameLog, Logger
from .message_queue import ALREADY_RECEIVING, Message, MessageQueue, encode_or_decode
from .session import ABANDONED_MESSAGE, Data, Session
from .settings import ConnectionSettings

__all__ = ["READ_SIZE", "BaseDriver", "own_address", "peer_address"]

#: The most that one read brings, in bytes.
READ_SIZE: Final = 1 << 16

Result = TypeVar("Result")
Answered = TypeVar("Answered")
Taken = TypeVar("Taken")


class Subscriptions(Protocol):
    """The subscriptions of topics; see `StreamMembers` for the members."""

    def forget(self, driver: Any, /) -> None: ...

    def release(self, driver: Any, /) -> None: ...

    def log_failures(self) -> None: ...


class BaseDriver(ABC):
    """The session of one connection, once the opening handshake is done, and what moves its bytes.

    Its coroutines wait for nothing but those of the driver, which block on a driver of threads.

    Args:
        role: Which end this is.
        settings: The limits and times of the connection.
    """

    #: To be held while the session is used, where several threads use it.
    lock: AbstractContextManager[Any]
    #: The addresses of both ends, also after the end; None for a stream without a socket.
    local_address: Any
    remote_address: Any

    def __init__(self, role: Role, settings: ConnectionSettings) -> None:
        self.role = role
        self.settings = settings
        #: The session, None before the opening handshake is done.
        self.session: Session | None = None
        #: Whether the connection has ended without an opening handshake.
        self.never_opened = False
        #: Bytes of frames that the network has taken so far.
        self.bytes_sent = 0
        #: Whether a call of the API is receiving.
        self.receiving = False
        #: Whether an iterable of fragments is being sent.
        self.in_fragments = False
        # Whether fragments of a message are queued, and its last one is not. The stream does not know of a
        # last one whose frame was lost, as a signal handler has raised.
        self._unfinished = False
        #: Whether the connection has ended; see `note_end`.
        self.ended = False
        #: The topics to which the connection has subscribed, and those that hold messages for it.
        self.topics: dict[Subscriptions, None] = {}
        self.holding: dict[Subscriptions, None] = {}
        #: The logger of the connection, which sets it.
        self.logger: Logger | None = None
        #: The logs of the frames in each direction, None if they are not logged.
        self.received_log: FrameLog | None = None
        self.sent_log: FrameLog | None = None

    def log_open(self) -> None:
        """Log that the connection is open; log the frames from now on, at DEBUG."""
        if self.logger is not None:
            self.logger.info("connection open")
            if self.logger.isEnabledFor(logging.DEBUG):
                self.received_log, self.sent_log = FrameLog(self.logger, "<"), FrameLog(self.logger, ">")

    def log_closed(self) -> None:
        """Log that the connection has ended."""
        if self.logger is not None:
            self.logger.info("connection closed")

    @property
    def state(self) -> State:
        """CONNECTING during the opening handshake, then the session's state.

        CLOSED if it never opened.
        """
        if self.session is not None:
            return self.session.state
        return State.CLOSED if self.never_opened else State.CONNECTING

    @property
    def messages_sent(self) -> int:
        """Messages sent so far."""
        return 0 if self.session is None else self.session.messages_sent

    @property
    def waiting(self) -> int:
        """Bytes of frames that wait for the network."""
        return self.opened_session().bytes_queued - self.bytes_sent

    @property
    def refused(self) -> int:
        """Bytes of frames that wait because the network did not take them at once."""
        return self.waiting

    def end_unopened(self) -> None:
        """Take note that a connection ends whose opening handshake is not done."""
        self.never_opened = self.ended = True

    def opened_session(self) -> Session:
        """Return the session. Raises StateError before the opening handshake is done."""
        if self.session is None:
            raise StateError("the opening handshake is not done")
        return self.session

    def release_held(self) -> None:
        """Queue the messages that topics hold for the connection, if there is room."""
        session = self.opened_session()
        released: dict[Subscriptions, None] = {}
        with self.lock:
            if not session.write_paused and not session.message_open:
                released, self.holding = self.holding, {}
                for topics in released:
                    topics.release(self)
        for topics in released:
            topics.log_failures()

    def note_end(self) -> None:
        """Take note that the connection has ended: it leaves all topics."""
        with self.lock:
            self.ended = True
            for topics in self.topics:
                topics.forget(self)
            self.topics.clear()
            self.holding.clear()

    # For the API.

    @property
    def next_size(self) -> int | None:
        """The size in bytes of the message, or the piece of one, that comes next; None if none waits."""
        if self.session is None:
            return None
        with self.lock:
            size = self._queue.next_size
            self._make_room()  # the rest of a message may have been dropped
            return size

    async def recv(self, decode: bool | None, until: float | None = None) -> Message:
        """Receive the next message, by `until` on the clock of `now`; otherwise as `recv` of a
        connection.
        """
        message: Message = await self.take_item(self._queue.take_message, until)
        return encode_or_decode(message, decode, self.settings.text_errors)

    async def recv_piece(self, decode: bool | None, first: bool) -> tuple[Message, bool]:
        """Receive the next piece of a message, and whether it is the last; otherwise as `recv`.

        Args:
            decode: As for `recv`.
            first: Whether a message begins with it.

        Raises:
            ConcurrencyError: It is to be the first, and another message is being received in pieces.
        """
        queue = self._queue
        piece, last = await self.take_item(self._take_first_piece if first else queue.take_piece, None)
        return queue.convert_piece(piece, last, decode), last

    def _take_first_piece(self) -> tuple[Message, bool] | None:
        self._queue.check_between_messages()  # with `lock` held, so that no other receiver begins as well
        return self._queue.take_piece()

    @property
    def _queue(self) -> MessageQueue:
        return cast(MessageQueue, self.opened_session().queue)

    async def take_item(self, take: Callable[[], Taken | None], until: float | None) -> Taken:
        """Wait until `take` of the queue returns something, and return it."""
        with self.lock:
            if self.receiving:
                raise ConcurrencyError(ALREADY_RECEIVING)
            self.receiving = True
            try:
                while (taken := take()) is None:
                    await self._wait_to_take(until)
                self._make_room()
                return taken
            finally:
                self.receiving = False

    async def _wait_to_take(self, until: float | None) -> None:
        self._make_room()
        session = self.opened_session()
        if session.stream.failing is not None:
            session.settle(self.now())
            self.update()
        elif session.over:
            raise session.error()
        else:
            await self.wait_for_input(until)

    def _make_room(self) -> None:
        """Go on reading if what was taken from the queue has made room."""
        session = self.opened_session()
        if session.has_room_again:
            session.taken()
            self.update()

    async def send_fragments(self, fragments: Any, text: bool | None, compress: bool | None = None) -> None:
        """Send an iterable of fragments; no other message may be sent meanwhile."""
        self.in_fragments = True
        try:
            with self.sending_whole_message():
                async with closing_generator(fragments), aclosing(mark_last(fragments)) as marked:
                    async for fragment, last in marked:
                        await self._send_fragment(fragment, text, last, compress)
        finally:
            self.in_fragments = False

    def queue_fragments(self, message: Data, text: bool | None, compress: bool | None = None) -> None:
        """Queue a whole message in fragments, all at once: no other message comes in between, and no close
        cuts it. Raises as `Session.send`.
        """
        session = self.opened_session()
        fragments = session.fragments(message, text)
        with self.sending_whole_message():
            for fragment, is_text, last in fragments:
                self._queue_fragment(session, fragment, is_text, last, compress)

    @contextmanager
    def sending_whole_message(self) -> Iterator[None]:
        """Close the connection if the block raises in the middle of a fragmented message, which can
        neither be ended any more nor another one begun.
        """
        try:
            yield
        except BaseException:
            session = self.session
            if session is not None and (session.message_open or self._unfinished) and not session.over:
                self.start_closing(*ABANDONED_MESSAGE)
            raise
        finally:
            self._unfinished = False

    def _queue_fragment(
        self, session: Session, fragment: Data, text: bool | None, last: bool, compress: bool | None
    ) -> None:
        session.send(fragment, text, last=last, compress=compress)
        self._unfinished = not last

    async def _send_fragment(self, fragment: Data, text: bool | None, last: bool, compress: bool | None) -> None:
        await self.perform(lambda session: self._queue_fragment(session, fragment, text, last, compress))

    async def ping(self, data: Data | None, answered: Answered, ack_on_close: bool) -> Answered:
        """Send a ping; return the event `answered`, which is set when the pong arrives."""
        payload = None if data is None else as_payload(data)

        def note_answer(latency: float | None) -> None:
            if latency is not None or ack_on_close:
                answered.set()  # type: ignore[attr-defined]

        await self.perform(lambda session: session.ping(payload, self.now(), note_answer))
        return answered

    async def pong(self, data: Data) -> None:
        """Send an unsolicited pong."""
        payload = as_payload(data)
        await self.perform(lambda session: session.pong(payload))

    @abstractmethod
    def now(self) -> float:
        """The time of the clock that the session is given."""

    @abstractmethod
    def start_closing(self, code: int | None, reason: str) -> None:
        """Have the session begin to close; before the opening handshake is done, cut the connection."""

    @abstractmethod
    def update(self) -> None:
        """After a change of the session: write what it has queued, without waiting, and wake those
        whom the change concerns.
        """

    @abstractmethod
    async def wait_for_input(self, until: float | None) -> None:
        """Wait until something has arrived, or the connection has ended. Called with `lock` held,
        which is released meanwhile.

        Raises:
            TimeoutError: The time is `until`.
        """

    @abstractmethod
    async def perform(self, action: Callable[[Session], Result]) -> Result:
        """Wait until something can be sent, call `action` to queue it, and have it written.

        Raises:
            ConnectionClosed: The connection has ended.
        """


def own_address(sock: Any) -> Any:
    """Return the address of a socket; None without one, or if the system has forgotten it."""
    try:
        return None if sock is None else sock.getsockname()
    except OSError:
        return None


def peer_address(sock: Any) -> Any:
    """Return the address of a socket's peer; None without a socket, or if the peer is gone."""
    try:
        return None if sock is None else sock.getpeername()
    except OSError:
        return None
