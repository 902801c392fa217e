"""One message to many connections: how it is encoded, and which connections get it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from ..errors import ConcurrencyError, LocalError
from ..protocol.constants import OPEN, CloseCode, State
from ..protocol.shared_message import SharedMessage
from .session import Data, Session
from .settings import ConnectionSettings

if TYPE_CHECKING:
    # They log; see test_session_needs_no_clock_socket_loop_or_thread.
    from .base_driver import BaseDriver
    from .logs import Logger

__all__ = ["SLOW_READER", "Broadcast", "Compression", "Outlet", "queue_broadcast", "skip"]

#: How a message to many connections is compressed: once for all, by each connection, or not.
Compression: TypeAlias = Literal["shared", "own"] | None

#: The close code and reason for a peer that does not keep up; see `Session.keeps_up`.
SLOW_READER: Final = (CloseCode.TRY_AGAIN_LATER, "reading too slowly")


def skip(logger: Logger, error: Exception, errors: list[Exception] | None = None) -> None:
    """Leave out a connection that cannot send a message, so that all others get it.

    Args:
        logger: The logger of the connection, for a warning without `errors`.
        error: Why it cannot. Others than a `LocalError`, such as that of a codec, are logged with
            their traceback.
        errors: Gets the error.
    """
    if errors is None:
        logger.warning("skipped broadcast: %s", error, exc_info=None if isinstance(error, LocalError) else error)
    else:
        errors.append(error)


class Outlet(Protocol):
    """One connection, as broadcasts and topics need it: a `Session`, or what stands for it where the
    server is not framewire's. See `Session` for the members.
    """

    settings: ConnectionSettings
    write_paused: bool

    @property
    def state(self) -> State: ...

    @property
    def message_open(self) -> bool: ...

    @property
    def encoding(self) -> bool: ...

    def keeps_up(self, waiting: int) -> bool: ...

    def check_size(self, size: int) -> None: ...

    def send(self, message: Data, text: bool | None = None, *, compress: bool | None = None) -> None: ...

    def send_shared(self, message: SharedMessage) -> None: ...

    def send_frame_of(self, frames: dict[object, bytes]) -> bool: ...


class Broadcast:
    """One message to many connections, which one thread sends; see `copy`.

    Args:
        message: Text as `str`, binary as a bytes-like object.
        text: Whether it is sent as text; by default the type decides.
        compression: "shared" compresses it once for all connections with the same settings, "own"
            with the context of each connection, None not at all.

    Raises:
        TypeError: `message` is neither text nor binary.
        ValueError: `compression` is none of these.
        TextError: The text is not UTF-8.
    """

    __slots__ = ("_compress", "_message", "_shared", "_text", "frames", "size")

    def __init__(self, message: Data, text: bool | None = None, compression: Compression = "shared") -> None:
        if not isinstance(message, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        if compression is not None and compression not in ("shared", "own"):
            raise ValueError(f'compression is "shared", "own" or None, not {compression!r}')
        self._compress = False if compression is None else None
        shared = SharedMessage(message, text, compress=self._compress)  # raises, or copies what may change
        self._message = message if isinstance(message, str) else shared.content
        self._text = text
        self._shared = None if compression == "own" else shared
        #: The frames for streams that need no more than one of them, by kind of stream.
        self.frames: dict[object, bytes] = {} if self._shared is None else shared.frames
        #: Its size in bytes.
        self.size = len(shared.content)

    def copy(self) -> Broadcast:
        """Return the same message for another thread; see `SharedMessage.copy`."""
        other = Broadcast.__new__(Broadcast)
        other._message, other._text, other._compress, other.size = self._message, self._text, self._compress, self.size
        other._shared = None if self._shared is None else self._shared.copy()
        other.frames = {} if other._shared is None else other._shared.frames
        return other

    def send(self, session: Outlet) -> None:
        """Queue the message on a connection. Raises as `Session.send`.

        It is not compressed while another message is compressed in steps.
        """
        if self._shared is not None:
            session.send_shared(self._shared)
        else:
            session.send(self._message, self._text, compress=False if session.encoding else self._compress)

    def queue(self, session: Session, now: float, waiting: int, in_fragments: bool = False) -> bool:
        """Queue the message on one connection, without waiting.

        A connection that is not open is left out. One whose peer does not keep up (see
        `Session.keeps_up`) is closed with 1013 (try again later).

        Args:
            session: The session of the connection.
            now: The time.
            waiting: How many bytes wait for the network.
            in_fragments: Whether the connection is sending an iterable of fragments.

        Returns:
            Whether the message is queued.

        Raises:
            ConcurrencyError: The connection is in the middle of a fragmented message.
            Exception: As `Session.send`. Whatever it is, the connection is to be left out; see
                `skip`.
        """
        if session.state is not OPEN:
            return False
        if in_fragments or session.message_open:
            raise ConcurrencyError("sending a fragmented message")
        if not session.keeps_up(waiting):
            session.check_size(self.size)
            session.close(*SLOW_READER, now)
            return False
        self.send(session)
        return True


def queue_broadcast(
    connections: Iterable[Any], message: Broadcast, raise_exceptions: bool
) -> tuple[list[Any], list[Exception]]:
    """Queue a message on all open connections, and let their drivers write it.

    Args:
        connections: The connections, of threads or of trio.
        message: The message.
        raise_exceptions: Whether the errors of connections that are left out are returned; otherwise
            they are logged.

    Returns:
        The drivers that have something to write, and the errors.
    """
    errors: list[Exception] = []
    reached = []
    for connection in connections:
        driver: BaseDriver = connection._driver
        session = driver.session
        if session is None:
            continue
        try:
            with driver.lock:
                if session.state is not OPEN:
                    continue
                message.queue(session, driver.now(), driver.refused, driver.in_fragments)
                driver.update()
        except Exception as error:
            skip(connection.logger, error, errors if raise_exceptions else None)
        else:
            reached.append(driver)
    return reached, errors
