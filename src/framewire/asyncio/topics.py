"""`Topics`: publish messages to the connections that are subscribed to a topic."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Iterable
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar, cast

from ..errors import StateError
from ..session.broadcast import SLOW_READER, Broadcast, Compression, Outlet
from ..session.session import Data, Session
from ..session.topics import Delivery, Outcome, Patterns, SlowPolicy, TopicCounters, TopicTree
from .callbacks import ListenerConnection
from .connection import Connection
from .driver import Driver

__all__ = ["AnyConnection", "DriverTopics", "OnSlow", "Topics"]

logger = logging.getLogger("framewire.topics")

C = TypeVar("C")

#: A connection of either API.
AnyConnection: TypeAlias = Connection | ListenerConnection

#: Called with a connection that does not keep up, a topic, and what became of its message.
OnSlow: TypeAlias = Callable[[C, str, Literal["closed", "dropped", "replaced"]], object]


class TopicWriter(Protocol):
    """The writer of a `TopicDriver`; see `TransportWriter` for the members."""

    @property
    def blocked(self) -> bool: ...

    @property
    def unsent(self) -> int: ...

    def defer(self) -> None: ...

    def flush(self) -> None: ...

    async def drain(self, whole: bool = False) -> None: ...


class TopicDriver(Protocol):
    """A `Driver`, or what stands for it where the server is not framewire's; see `Driver` for the
    members.
    """

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def session(self) -> Outlet: ...

    @property
    def writer(self) -> TopicWriter: ...

    @property
    def opened(self) -> bool: ...

    @property
    def transport_lost(self) -> bool: ...

    def start_closing(self, code: int | None, reason: str) -> None: ...

    def call_when_lost(self, callback: Callable[[Any], object]) -> None: ...


class DriverTopics(Generic[C]):
    """Topics whose receivers are drivers, each with the connection that it belongs to.

    A connection that has subscribed is known until it is lost.

    Args:
        patterns: See `Topics`.
        policy: See `Topics`.
        on_slow: See `Topics`.
    """

    def __init__(self, patterns: Patterns, policy: SlowPolicy, on_slow: OnSlow[C] | None) -> None:
        self.tree: TopicTree[TopicDriver] = TopicTree(patterns)
        self._delivery: Delivery[TopicDriver] = Delivery(policy)
        self._on_slow = on_slow
        self._connections: dict[TopicDriver, C] = {}
        #: The event loop of the connections; None before the first one.
        self.loop: asyncio.AbstractEventLoop | None = None
        self._unflushed: dict[TopicDriver, None] = {}
        self._flush_scheduled = False
        self._waiting: dict[TopicDriver, asyncio.Task[None]] = {}  # tasks that send held messages once there is room

    @property
    def counters(self) -> TopicCounters:
        """Numbers of messages so far."""
        return self._delivery.counters

    def subscribe(self, driver: TopicDriver, connection: C, topic: str) -> bool:
        """Subscribe a connection. See `Topics.subscribe`."""
        if not driver.opened:
            raise StateError("the opening handshake is not done")
        if driver.transport_lost:
            raise cast(Session, driver.session).error()
        if self._connections and self.loop is not driver.loop:
            raise ValueError("the connection belongs to another event loop")
        self.loop = driver.loop
        added = self.tree.subscribe(driver, topic)
        if driver not in self._connections:
            self._connections[driver] = connection
            driver.call_when_lost(self._forget)
        return added

    def _forget(self, driver: TopicDriver) -> None:
        del self._connections[driver]
        self.tree.leave(driver)
        self._delivery.forget(driver)
        if driver in self._waiting:
            self._waiting[driver].cancel()

    def subscribers(self, topic: str) -> list[C]:
        """Return the connections that get messages of a topic."""
        return [self._connections[driver] for driver in self.tree.receivers(topic)]

    def publish(self, topic: str, message: Broadcast, excluded: Container[TopicDriver]) -> int:
        """Send a message to the subscribers of its topic. See `Topics.publish`."""
        offer, unflushed, reached = self._delivery.offer, self._unflushed, 0
        self.counters.published += 1
        for driver in list(self.tree.receivers(topic)):  # callbacks may change the subscriptions
            if driver in excluded:
                continue
            session, writer = driver.session, driver.writer
            waiting = writer.unsent if writer.blocked else 0
            outcome = offer(driver, session, topic, message, waiting)
            if outcome is Outcome.SENT:
                reached += 1
                writer.defer()
                unflushed[driver] = None
            elif outcome is not Outcome.SKIPPED:
                reached += outcome is Outcome.HELD or outcome is Outcome.REPLACED
                self._follow(driver, topic, outcome)
        if unflushed and not self._flush_scheduled:
            self._schedule_flush()
        return reached

    def _schedule_flush(self) -> None:
        self._flush_scheduled = True
        cast(asyncio.AbstractEventLoop, self.loop).call_soon(self._flush)

    def _flush(self) -> None:
        """Write what this turn of the event loop has published: once for each connection."""
        self._flush_scheduled = False
        try:
            for driver in list(self._unflushed):
                del self._unflushed[driver]
                if not driver.transport_lost:
                    driver.writer.flush()
        finally:
            if self._unflushed:  # a transport has raised
                self._schedule_flush()

    def _follow(self, driver: TopicDriver, topic: str, outcome: Outcome) -> None:
        """Do what a message requires that could not be sent."""
        connection = self._connections[driver]
        if outcome is Outcome.CLOSED:
            driver.start_closing(*SLOW_READER)
        elif outcome is not Outcome.DROPPED and driver not in self._waiting:
            self._waiting[driver] = driver.loop.create_task(self._send_held(driver))
        if self._on_slow is not None and outcome is not Outcome.HELD:
            try:
                self._on_slow(connection, topic, outcome.value)
            except Exception:
                logger.exception("on_slow failed")

    async def _send_held(self, driver: TopicDriver) -> None:
        """Wait until a connection has room, and send what is held for it."""
        try:
            await driver.writer.drain(whole=True)
            if self._delivery.release(driver, driver.session):
                driver.writer.flush()
        finally:
            del self._waiting[driver]


class Topics:
    """Topics of one event loop, to which its connections subscribe.

    Messages of one turn of the event loop leave as one write for each receiver, in the order of the
    calls, also among messages that the connection itself sends. A connection that ends leaves all
    topics by itself.

    A receiver does not keep up if it has let its transport fill up (`write_limit`), and then takes
    less than is added, by more than `write_limit` bytes. The messages of a receiver that keeps up
    are never lost. While its connection sends another message in fragments they wait, up to
    `write_limit` bytes.

    Args:
        patterns: "mqtt": topics have levels, separated by "/". A subscription may have wildcards:
            "+" for one level, "#" at the end for any number of levels (MQTT 5.0 4.7). None: a
            subscription is a topic.
        policy: What becomes of a message to a receiver that does not keep up. "close" closes the
            connection with 1013 (try again later). "drop" discards the message. "latest" holds the
            newest message of each topic until there is room, and closes the connection with 1013 if
            these are more than `max_unsent` bytes.
        compression: How messages are compressed; see `broadcast`.
        on_slow: Called with a connection that does not keep up, the topic, and "closed", "dropped",
            or "replaced": an older message of the topic will not be sent. It must not block; its
            exceptions are logged.

    Raises:
        ValueError: `patterns`, `policy` or `compression` is none of these.
    """

    def __init__(
        self,
        *,
        patterns: Patterns = None,
        policy: SlowPolicy = "close",
        compression: Compression = "shared",
        on_slow: OnSlow[AnyConnection] | None = None,
    ) -> None:
        Broadcast(b"", None, compression)  # an invalid setting raises here, not in `publish`
        self._compression = compression
        self._topics: DriverTopics[AnyConnection] = DriverTopics(patterns, policy, on_slow)

    @property
    def counters(self) -> TopicCounters:
        """Numbers of messages so far: `published`, and for each receiver `sent`, `held`,
        `replaced`, `dropped`, `closed`.
        """
        return self._topics.counters

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
            ValueError: `topic` is empty or not a valid pattern, or the connection belongs to
                another event loop than the others.
        """
        return self._topics.subscribe(connection._driver, connection, topic)

    def unsubscribe(self, connection: AnyConnection, topic: str) -> bool:
        """End a subscription.

        Messages that were published before are still sent.

        Args:
            connection: The connection.
            topic: The topic or pattern, as it was passed to `subscribe`.

        Returns:
            False if there is no such subscription.
        """
        return self._topics.tree.unsubscribe(connection._driver, topic)

    def topics_of(self, connection: AnyConnection) -> list[str]:
        """Return the topics and patterns that a connection is subscribed to.

        Args:
            connection: The connection.
        """
        return self._topics.tree.topics_of(connection._driver)

    def subscribers(self, topic: str) -> list[AnyConnection]:
        """Return the connections that get the messages of a topic.

        Args:
            topic: The topic of a message, not a pattern.
        """
        return self._topics.subscribers(topic)

    def publish(
        self,
        topic: str,
        message: Data,
        *,
        exclude: AnyConnection | Iterable[AnyConnection] = (),
        text: bool | None = None,
    ) -> int:
        """Send a message to the subscribers of its topic, without waiting.

        Each gets it once, even if several of its subscriptions match.

        Args:
            topic: The topic.
            message: Text as `str`, binary as a bytes-like object.
            exclude: A connection that does not get it, such as that of its author, or several.
            text: Whether it is sent as text; by default the type decides.

        Returns:
            The number of connections that get the message, now or when there is room.

        Raises:
            TypeError: `message` is neither text nor binary, or `topic` is not a str.
            ValueError: `topic` is empty, or a pattern.
            TextError: The text is not UTF-8.
            PayloadTooBigError: The message is larger than `max_send_size` of a receiver.
        """
        return self._topics.publish(topic, Broadcast(message, text, self._compression), _drivers_of(exclude))

    def publish_threadsafe(
        self,
        topic: str,
        message: Data,
        *,
        exclude: AnyConnection | Iterable[AnyConnection] = (),
        text: bool | None = None,
    ) -> None:
        """Like `publish`, from any thread; the event loop sends the message soon.

        Messages of one thread keep their order.

        Args:
            topic: See `publish`.
            message: See `publish`.
            exclude: See `publish`.
            text: See `publish`.

        Raises:
            RuntimeError: The event loop is closed.
        """
        self._topics.tree.check_topic(topic)
        shared, excluded = Broadcast(message, text, self._compression), _drivers_of(exclude)
        if self._topics.loop is not None:
            self._topics.loop.call_soon_threadsafe(self._topics.publish, topic, shared, excluded)


def _drivers_of(connections: AnyConnection | Iterable[AnyConnection]) -> set[Driver]:
    if isinstance(connections, AnyConnection):
        connections = (connections,)
    return {connection._driver for connection in connections}
