"""The API of topics, `BaseTopics`, and the `Members` of topics, without I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from .broadcast import Broadcast, Compression, skip
from .connection import BaseConnection
from .session import Data
from .topics import Delivery, Outcome, Patterns, SlowPolicy, TopicCounters, TopicTree

__all__ = ["BaseTopics", "Members", "OnSlow", "PublishingTopics"]

logger = logging.getLogger("framewire.topics")

C = TypeVar("C")
D = TypeVar("D")
AnyConnection = TypeVar("AnyConnection", bound=BaseConnection)

#: Called with a connection that does not keep up, a topic, and what became of its message.
OnSlow: TypeAlias = Callable[[C, str, Literal["closed", "dropped", "replaced"]], object]


class Members(Generic[D, C]):
    """Topics whose receivers are drivers, each with the connection that it belongs to.

    A connection that has subscribed is known until it has ended.

    Args:
        patterns: See `BaseTopics`.
        policy: See `BaseTopics`.
        on_slow: See `BaseTopics`.
        lock: Guards the subscriptions, the held messages and the counters, where several threads use
            them. No other lock is acquired while it is held.
    """

    def __init__(
        self,
        patterns: Patterns,
        policy: SlowPolicy,
        on_slow: OnSlow[C] | None,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.tree: TopicTree[D] = TopicTree(patterns)
        self._delivery: Delivery[D] = Delivery(policy)
        self._on_slow = on_slow
        self._lock = nullcontext() if lock is None else lock
        self._connections: dict[D, C] = {}

    @property
    def counters(self) -> TopicCounters:
        """Numbers of messages so far."""
        return self._delivery.counters

    def unsubscribe(self, driver: D, topic: str) -> bool:
        """End a subscription. See `BaseTopics.unsubscribe`."""
        with self._lock:
            return self.tree.unsubscribe(driver, topic)

    def topics_of(self, driver: D) -> list[str]:
        """Return the subscriptions of a connection."""
        with self._lock:
            return self.tree.topics_of(driver)

    def subscribers(self, topic: str) -> list[C]:
        """Return the connections that get messages of a topic."""
        with self._lock:
            return [self._connections[driver] for driver in self.tree.receivers(topic)]

    def forget(self, driver: D) -> None:
        """End the subscriptions of a connection that has ended."""
        with self._lock:
            del self._connections[driver]
            self.tree.leave(driver)
            self._delivery.forget(driver)

    def note_failure(self, driver: D, error: Exception) -> None:
        """Take note that a connection cannot send a message: it is left out."""
        with self._lock:
            self._delivery.failures.append((driver, error))

    def log_failures(self) -> None:
        """Log what could not be sent. Called with no lock held, as a handler of the log may publish
        too.
        """
        if self._delivery.failures:
            with self._lock:
                failures, self._delivery.failures = self._delivery.failures, []
                connections: list[Any] = [self._connections.get(driver) for driver, _ in failures]
            for connection, (_, error) in zip(connections, failures, strict=True):
                skip(getattr(connection, "logger", logger) if isinstance(connection, BaseConnection) else logger, error)

    def report(self, connection: C, topic: str, outcome: Outcome | None) -> None:
        """Call `on_slow` if a message will not be sent."""
        if self._on_slow is not None and outcome in (Outcome.CLOSED, Outcome.DROPPED, Outcome.REPLACED):
            try:
                self._on_slow(connection, topic, outcome.value)
            except Exception:
                logger.exception("on_slow failed")


class BaseTopics(Generic[AnyConnection]):
    """The API of `Topics`.

    Args:
        members: The `Members`, with `subscribe` and `publish` of an I/O layer.
        compression: How messages are compressed; see `broadcast`.
    """

    def __init__(self, members: Any, compression: Compression) -> None:
        Broadcast(b"", None, compression)  # an invalid setting raises here, not in `publish`
        self._compression = compression
        self._topics = members

    @property
    def counters(self) -> TopicCounters:
        """Numbers of messages so far: `published`, and for each receiver `sent`, `held`,
        `replaced`, `dropped`, `closed`.
        """
        counters: TopicCounters = self._topics.counters
        return counters

    def subscribe(self, connection: AnyConnection, topic: str) -> bool:
        """Subscribe a connection to a topic.

        Args:
            connection: The connection.
            topic: The topic, or a pattern.

        Returns:
            False if it is subscribed already.

        Raises:
            StateError: The opening handshake is not done.
            ConnectionClosed: The connection has ended.
            TypeError: `topic` is not a str.
            ValueError: `topic` is empty or not a valid pattern, or (asyncio) the connection belongs
                to another event loop than the running one.
        """
        added: bool = self._topics.subscribe(connection._driver, connection, topic)
        return added

    def unsubscribe(self, connection: AnyConnection, topic: str) -> bool:
        """End a subscription.

        Messages that were published before are still sent.

        Args:
            connection: The connection.
            topic: The topic or pattern, as it was passed to `subscribe`.

        Returns:
            False if there is no such subscription.
        """
        ended: bool = self._topics.unsubscribe(connection._driver, topic)
        return ended

    def topics_of(self, connection: AnyConnection) -> list[str]:
        """Return the topics and patterns that a connection is subscribed to.

        Args:
            connection: The connection.
        """
        topics: list[str] = self._topics.topics_of(connection._driver)
        return topics

    def subscribers(self, topic: str) -> list[AnyConnection]:
        """Return the connections that get the messages of a topic.

        Args:
            topic: The topic of a message, not a pattern.
        """
        connections: list[AnyConnection] = self._topics.subscribers(topic)
        return connections

    def _drivers_of(self, connections: AnyConnection | Iterable[AnyConnection]) -> set[Any]:
        if isinstance(connections, BaseConnection):
            return {connections._driver}
        return {connection._driver for connection in connections}


class PublishingTopics(BaseTopics[AnyConnection]):
    """Topics where publishing is a call, not a coroutine."""

    def publish(
        self,
        topic: str,
        message: Data,
        *,
        exclude: AnyConnection | Iterable[AnyConnection] = (),
        text: bool | None = None,
    ) -> int:
        """Send a message to the subscribers of its topic, without waiting.

        Each gets it once, even if several of its subscriptions match. One that cannot send it, as it
        is larger than its `max_send_size`, is left out, with a warning in its log.

        Args:
            topic: The topic.
            message: Text as `str`, binary as a bytes-like object.
            exclude: A connection that does not get it, such as that of its author, or several.
            text: Whether it is sent as text; by default the type decides.

        Returns:
            The number of connections that get the message, now or when there is room.

        Raises:
            TypeError: `message` is neither text nor binary, or `topic` is not a str.
            ValueError: `topic` is empty, a pattern, or has too many levels.
            TextError: The text is not UTF-8.
        """
        shared = Broadcast(message, text, self._compression)
        reached: int = self._topics.publish(topic, shared, self._drivers_of(exclude))
        return reached
