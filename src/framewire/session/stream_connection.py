"""`StreamConnection`: the part of a connection's API that threads and trio share."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar, cast

from ..errors import ConnectionClosed
from ..protocol.constants import State
from .base_driver import BaseDriver
from .broadcast import Broadcast, skip
from .connection import BaseConnection, as_payload
from .fragments import mark_last
from .logs import Logger, adapt_logger
from .message_queue import Message, MessageQueue, encode_or_decode
from .session import ABANDONED_MESSAGE, Data

__all__ = ["StreamConnection", "queue_broadcast"]

Answered = TypeVar("Answered")


class StreamConnection(BaseConnection):
    """A connection whose driver reads and writes a stream of bytes.

    Its coroutines wait for nothing but the driver, which blocks on a driver of threads.

    Args:
        driver: Its driver.
        logger: Where it logs.
    """

    _driver: BaseDriver

    def __init__(self, driver: BaseDriver, logger: Logger) -> None:
        super().__init__(driver)
        #: The logger of `serve` or `connect`, whose records have the connection as `websocket`.
        self.logger: logging.LoggerAdapter[Any] = adapt_logger(logger, self)
        driver.logger = self.logger
        self._receiving = False
        #: Whether an iterable of fragments is being sent.
        self._in_fragments = False

    @property
    def next_size(self) -> int | None:
        """The size in bytes of the message, or the piece of one, that `recv` would begin with.

        None if none waits.
        """
        if self._session is None:
            return None
        with self._driver.lock:
            return cast(MessageQueue, self._session.queue).next_size

    def start_closing(self, code: int | None = 1000, reason: str = "") -> None:
        """Begin to close like `close` or `aclose`, without waiting for the end."""
        self._driver.start_closing(code, reason)

    def _convert(self, data: Message, decode: bool | None) -> Message:
        return encode_or_decode(data, decode, self._driver.settings.text_errors)

    def _is_whole(self, message: object, *, asynchronous: bool) -> bool:
        """Return whether a message is whole; otherwise it is an iterable of fragments.

        Raises:
            TypeError: It is neither.
        """
        if isinstance(message, Data):
            return True
        iterable = isinstance(message, Iterable) or (asynchronous and isinstance(message, AsyncIterable))
        if not iterable or isinstance(message, Mapping):
            raise TypeError(f"a message is str, bytes or an iterable of them, not {type(message).__name__}")
        return False

    async def _send_fragments(self, fragments: Any, text: bool | None, compress: bool | None = None) -> None:
        """Send an iterable of fragments; no other message may be sent meanwhile."""
        begun = False
        self._in_fragments = True
        try:
            async with aclosing(mark_last(fragments)) as marked:
                async for fragment, _, last in marked:
                    await self._send_fragment(fragment, text, last, compress)
                    begun = not last
        except BaseException as error:
            # The message can neither be ended any more nor another one begun.
            if begun and not isinstance(error, ConnectionClosed):
                self.start_closing(*ABANDONED_MESSAGE)
            raise
        finally:
            self._in_fragments = False

    async def _send_fragment(self, fragment: Data, text: bool | None, last: bool, compress: bool | None) -> None:
        await self._driver.perform(lambda session: session.send(fragment, text, last=last, compress=compress))

    async def _ping(self, data: str | bytes | None, answered: Answered, ack_on_close: bool) -> Answered:
        """Send a ping; return the event `answered`, which is set when the pong arrives."""
        payload = None if data is None else as_payload(data)

        def note_answer(latency: float | None) -> None:
            if latency is not None or ack_on_close:
                answered.set()  # type: ignore[attr-defined]

        await self._driver.perform(lambda session: session.ping(payload, self._driver.now(), note_answer))
        return answered

    async def _pong(self, data: str | bytes) -> None:
        payload = as_payload(data)
        await self._driver.perform(lambda session: session.pong(payload))


def queue_broadcast(
    connections: Iterable[StreamConnection], message: Broadcast, raise_exceptions: bool
) -> tuple[list[Any], list[Exception]]:
    """Queue a message on all open connections, and let their drivers write it.

    Args:
        connections: The connections.
        message: The message.
        raise_exceptions: Whether the connections that are left out are returned as errors; otherwise
            they are logged.

    Returns:
        The drivers that have something to write, and the errors.
    """
    errors: list[Exception] = []
    reached = []
    for connection in connections:
        driver, session = connection._driver, connection._session
        if session is None:
            continue
        with driver.lock:
            if session.state is not State.OPEN:
                continue
            if connection._in_fragments or session.message_open:
                skip(connection, errors if raise_exceptions else None)
                continue
            message.queue(session, driver.now(), driver.waiting)
            driver.update()
        reached.append(driver)
    return reached, errors
