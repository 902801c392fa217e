"""The blocking API of one WebSocket: `recv`, `recv_streaming`, iteration and `send`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Final, Literal, TypeVar, overload

from ..errors import ConcurrencyError, ConnectionClosedOK
from ..protocol.codecs import Codec
from ..session.broadcast import Broadcast, Compression, queue_broadcast
from ..session.connection import BaseConnection, close_code_after
from ..session.fragments import closing_generator, is_whole
from ..session.logs import Logger, adapt_logger
from ..session.message_queue import Message
from ..session.session import Data, Session
from .complete import complete
from .driver import Driver

__all__ = ["Connection", "Message", "broadcast"]

Self = TypeVar("Self", bound="Connection")

_ALREADY_SENDING: Final = "a message is being sent: in fragments, or by the call that this signal handler interrupts"


class Connection(BaseConnection):
    """An open WebSocket, made by `serve` or `connect`.

    Iterate over it for the peer's messages (`str` for text, `bytes` for binary): that ends with an
    orderly close and raises `ConnectionClosedError` otherwise. Or call `recv` and `send`. One
    thread may receive at a time, any number may send.

    Args:
        driver: Its driver.
        logger: Where it logs.
    """

    _driver: Driver

    def __init__(self, driver: Driver, logger: Logger) -> None:
        super().__init__(driver)
        #: The logger of `serve` or `connect`, whose records have the connection as `websocket`.
        self.logger = driver.logger = adapt_logger(logger, self)
        #: Held while a message is sent whole, and to begin an iterable. A signal handler that interrupts
        #: the thread which holds it gets it too.
        self._sending = threading.RLock()
        #: Whether a message is being sent, from its first fragment to its last; set with `_sending` held.
        self._is_sending = False

    def opened(self, session: Session) -> None:
        """Take over the session at the end of the opening handshake."""
        self._session = session

    def begin(self, rest: bytes, codecs: Sequence[Codec], answer: bytes = b"") -> None:
        """Begin with the frames.

        Args:
            rest: What arrived after the opening handshake.
            codecs: The extensions that it agreed on.
            answer: The answer of a server, which is sent first.
        """
        self._driver.open(rest, codecs, self.opened, answer)

    @property
    def socket(self) -> Any:
        """The socket, to ask it for addresses and certificates; not to read or write."""
        return self._driver.transport.socket

    # Receiving.

    @property
    def next_size(self) -> int | None:
        """The size in bytes of the message, or the piece of one, that `recv` would begin with.

        None if none waits.
        """
        return self._driver.next_size

    @overload
    def recv(self, timeout: float | None, decode: Literal[True]) -> str: ...
    @overload
    def recv(self, timeout: float | None, decode: Literal[False]) -> bytes: ...
    @overload
    def recv(self, timeout: float | None = None, *, decode: Literal[True]) -> str: ...
    @overload
    def recv(self, timeout: float | None = None, *, decode: Literal[False]) -> bytes: ...
    @overload
    def recv(self, timeout: float | None = None, decode: bool | None = None) -> Message: ...
    def recv(self, timeout: float | None = None, decode: bool | None = None) -> Message:
        """Receive the next message. A call that times out loses nothing.

        Args:
            timeout: Time to wait in seconds; 0 only looks; None: no limit.
            decode: False gives text as its UTF-8, True decodes binary; by default text is `str`,
                binary `bytes`.

        Raises:
            TimeoutError: No message came in time.
            ConnectionClosed: The connection has ended, and everything that arrived before has been
                received.
            ConcurrencyError: Another thread receives, or a message is being received in pieces.
            UnicodeDecodeError: `decode` is True, and the message, which is dropped, is binary that
                is not UTF-8.
        """
        until = None if timeout is None else monotonic() + timeout
        return complete(self._driver.recv(decode, until))

    @overload
    def recv_streaming(self, decode: Literal[True]) -> Iterator[str]: ...
    @overload
    def recv_streaming(self, decode: Literal[False]) -> Iterator[bytes]: ...
    @overload
    def recv_streaming(self, decode: bool | None = None) -> Iterator[Message]: ...
    def recv_streaming(self, decode: bool | None = None) -> Iterator[Any]:
        """Receive the next message as an iterator over its pieces, as they arrive.

        A piece is the payload of one frame, or at most `piece_size` bytes of it, which then come
        while the rest is still under way. Take every piece: until the last one is taken, `recv`
        raises ConcurrencyError. Raises as `recv`; UnicodeDecodeError, if `decode` is True and a piece
        of binary is not UTF-8, drops the rest of the message.

        Args:
            decode: See `recv`; a code point in two pieces comes with the second one.
        """
        first, last = True, False
        while not last:
            piece, last = complete(self._driver.recv_piece(decode, first))
            first = False
            yield piece

    def __iter__(self) -> Iterator[Message]:
        try:
            while True:
                yield self.recv()
        except ConnectionClosedOK:
            return

    # Sending.

    def send(self, message: Data | Iterable[Data], *, text: bool | None = None) -> None:
        """Send one message, and wait until the network has taken it.

        An iterable is sent as one message of as many fragments, as it makes them, which are all
        text or all binary. If it raises, the connection is closed with 1011, since a message cannot
        be taken back. An empty one sends nothing. A generator is closed if the rest cannot be sent.
        Messages longer than `fragment_size` are sent in fragments too.

        Args:
            message: Text as `str`, binary as a bytes-like object, or an iterable of one of them.
            text: Whether it is sent as text; by default the type decides.

        Raises:
            ConnectionClosed: The connection has ended; within `close_timeout` once it is closing.
            ConcurrencyError: Another thread is sending an iterable, or a signal handler that calls this
                has interrupted a `send` of its own thread.
            TypeError: `message` is none of these, or the fragments are not all text or all binary.
            PayloadTooBigError: It is larger than `max_send_size`.
        """
        if not is_whole(message, asynchronous=False):
            self._send_fragments(message, text)
            return
        with self._sending:
            if self._is_sending:
                raise ConcurrencyError(_ALREADY_SENDING)
            try:
                self._is_sending = True
                self._send_whole(message, text)  # type: ignore[arg-type]  # it is no iterable
            finally:
                self._is_sending = False

    def _send_fragments(self, fragments: Data | Iterable[Data], text: bool | None) -> None:
        begun = False
        try:
            # Not held meanwhile: a thread that waits for it would wait for ever, if the iterable waits
            # for that thread.
            with self._sending:
                if self._is_sending:
                    raise ConcurrencyError(_ALREADY_SENDING)
                begun = self._is_sending = True
            complete(self._send_each(fragments, text))
        finally:
            if begun:
                self._is_sending = False

    async def _send_each(self, fragments: Data | Iterable[Data], text: bool | None) -> None:
        async with closing_generator(fragments):
            with self._driver.lock:
                self._driver.sendable()  # raises at the end of the connection, before a fragment is taken
            await self._driver.send_fragments(fragments, text)

    def _send_whole(self, message: Data, text: bool | None) -> None:
        if not self._driver.opened_session().is_fragmented(message):
            self.send_piece(message, text, True)
            return
        with self._driver.lock:
            self._driver.sendable()
            self._driver.queue_fragments(message, text)
        self._driver.flush(wait=True)

    def send_piece(self, piece: Data, text: bool | None = None, last: bool = True) -> None:
        """Send a fragment of a message, `last` with its end.

        No other thread may send a message in between.

        Args:
            piece: The data of the fragment.
            text: Whether the message is sent as text; by default the type of `piece` decides.
            last: Whether it ends the message.
        """
        with self._driver.lock:
            self._driver.sendable().send(piece, text, last=last)
        self._driver.flush(wait=True)

    def ping(self, data: Data | None = None, *, ack_on_close: bool = False) -> threading.Event:
        """Send a ping.

        Args:
            data: At most 125 bytes, text as UTF-8; by default 4 random bytes.
            ack_on_close: Whether the event is set at the end of the connection too.

        Returns:
            An event that is set when the pong arrives. A pong answers all pings before its own too
            (5.5.3).

        Raises:
            ConcurrencyError: A ping with this payload waits for its pong.
            ConnectionClosed: The connection has ended.
        """
        return complete(self._driver.ping(data, threading.Event(), ack_on_close))

    def pong(self, data: Data = b"") -> None:
        """Send an unsolicited pong: a heartbeat in one direction (5.5.3).

        Args:
            data: At most 125 bytes, text as UTF-8.
        """
        complete(self._driver.pong(data))

    # The end.

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Close, and wait for the end.

        The connection is aborted if the peer has not done its part within `close_timeout`. What
        arrives meanwhile can still be received, as far as the queue has room. Closing again only
        waits.

        Args:
            code: The close code; None: an empty close frame.
            reason: At most 123 bytes of UTF-8.
        """
        self._driver.start_closing(code, reason, watched=True)
        self._driver.end()

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the connection has ended, whichever end closes it.

        Args:
            timeout: Time to wait in seconds; None: no limit.

        Returns:
            Whether it has ended.
        """
        return self._driver.wait_ended(timeout)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(close_code_after(error))


def broadcast(
    connections: Iterable[Connection],
    message: Data,
    *,
    raise_exceptions: bool = False,
    text: bool | None = None,
    compression: Compression = "shared",
    **kwargs: Any,
) -> None:
    """Send one message to all open `connections` without waiting for slow peers.

    A peer that does not keep up is closed with 1013 (try again later): one that has let the
    transport fill up (`write_limit`), and then takes less than is added, by more than `write_limit`
    bytes. A connection that is in the middle of another message in fragments, or cannot send the
    message as it is larger than its `max_send_size`, is left out, with a warning in its log.

    Args:
        connections: The connections.
        message: Text as `str`, binary as a bytes-like object.
        raise_exceptions: Whether connections that are left out are an error.
        text: Whether it is sent as text; by default the type decides.
        compression: "shared" compresses the message once for all connections with the same settings
            of permessage-deflate. After it, each of them begins its own next message with an empty
            window. "own" compresses it for each connection, with the context of its earlier
            messages: smaller if these are nearly alike. None does not compress.
        **kwargs: Ignored: options of a thread pool, which is not needed here.

    Raises:
        TypeError: `message` is neither text nor binary.
        ExceptionGroup: With `raise_exceptions`: the error of each connection left out, such as a
            ConcurrencyError or a PayloadTooBigError.
        ValueError: `compression` is none of these, or `raise_exceptions` on Python 3.10, which has
            no exception groups.
        TextError: The text is not UTF-8.
    """
    if raise_exceptions and sys.version_info < (3, 11):
        raise ValueError("raise_exceptions needs Python 3.11")
    _, errors = queue_broadcast(connections, Broadcast(message, text, compression), raise_exceptions)
    if errors and sys.version_info >= (3, 11):
        raise ExceptionGroup("skipped broadcast", errors)  # noqa: F821 - not on Python 3.10
