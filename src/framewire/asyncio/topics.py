"""`Topics`: publish messages to the connections that are subscribed to a topic."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, cast

from ..errors import StateError
from ..protocol.constants import OPEN
from ..session.base_topics import Members, OnSlow, PublishingTopics
from ..session.broadcast import SLOW_READER, Broadcast, Compression, Outlet
from ..session.session import Data, Session
from ..session.topics import Delivery, Outcome, Patterns, SlowPolicy, TopicCounters, TopicTree
from .connection import AnyConnection
from .inbox import post

__all__ = ["DriverTopics", "OnSlow", "Topics"]

C = TypeVar("C")


class TopicWriter(Protocol):
    """The writer of a `TopicDriver`; see `TransportWriter` for the members."""

    @property
    def blocked(self) -> bool: ...

    @property
    def unsent(self) -> int: ...

    def defer(self) -> None: ...

    def flush(self) -> None: ...

    def call_in_turn(self, function: Callable[[], object]) -> None: ...


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


class LoopMembers(Members[TopicDriver, C], Generic[C]):
    """The members of topics on the drivers of one event loop.

    Other threads may call `unsubscribe`, `topics_of`, `subscribers` and `count`.

    Args:
        loop: The event loop.
        patterns: See `Topics`.
        policy: See `Topics`.
        on_slow: See `Topics`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        patterns: Patterns,
        policy: SlowPolicy,
        on_slow: OnSlow[C] | None,
    ) -> None:
        super().__init__(patterns, policy, on_slow, threading.RLock())
        self.loop = loop
        self._unflushed: dict[TopicDriver, None] = {}
        self._flush_scheduled = False
        self._waiting: dict[TopicDriver, None] = {}  # those whose held messages will be sent in their turn

    def subscribe(self, driver: TopicDriver, connection: C, topic: str) -> bool:
        """Subscribe a connection. See `Topics.subscribe`."""
        if not driver.opened:
            raise StateError("the opening handshake is not done")
        if driver.transport_lost:
            raise cast(Session, driver.session).error()
        with self._lock:
            added = self.tree.subscribe(driver, topic)
            new = driver not in self._connections
            self._connections.setdefault(driver, connection)
        if new:
            driver.call_when_lost(self.forget)
        return added

    def count(self, topic: str, excluded: Collection[TopicDriver]) -> int:
        """Return how many connections get a message of a topic."""
        with self._lock:
            receivers = self.tree.receivers(topic)
            return len(receivers) - sum(driver in receivers for driver in excluded)

    def publish(self, topic: str, message: Broadcast, excluded: Collection[TopicDriver]) -> int:
        """Send a message to the subscribers of its topic. See `Topics.publish`."""
        offer, unflushed, reached = self._delivery.offer, self._unflushed, 0
        with self._lock:
            receivers = list(self.tree.receivers(topic))  # callbacks may change the subscriptions
        for driver in receivers:
            if driver in excluded:
                continue
            try:
                session, writer = driver.session, driver.writer
                waiting = writer.unsent if writer.blocked else 0
                outcome = offer(driver, session, topic, message, waiting)
                if outcome is None:
                    reached += 1
                    writer.defer()
                    unflushed[driver] = None
                elif outcome is not Outcome.SKIPPED:
                    reached += outcome is Outcome.HELD or outcome is Outcome.REPLACED
                    self._follow(driver, topic, outcome)
            except Exception as error:
                self.note_failure(driver, error)
        if unflushed and not self._flush_scheduled:
            self._schedule_flush()
        self.log_failures()
        return reached

    def publish_copy(self, topic: str, message: Broadcast, excluded: Collection[TopicDriver]) -> None:
        """Send a message of another thread: copies, since both count references."""
        self.publish(topic, message.copy(), set(excluded))

    def _schedule_flush(self) -> None:
        self._flush_scheduled = True
        self.loop.call_soon(self._flush)

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
            self._wait_for_turn(driver)
        self.report(connection, topic, outcome)

    def _wait_for_turn(self, driver: TopicDriver) -> None:
        self._waiting[driver] = None
        driver.writer.call_in_turn(partial(self._send_held, driver))

    def _send_held(self, driver: TopicDriver) -> None:
        """Send the messages that are held for a connection, in its turn; none once it has ended."""
        session = driver.session
        self._waiting.pop(driver, None)
        self._delivery.release(driver, session, in_turn=True)
        if session.write_paused and session.state is OPEN and self._delivery.holds(driver):
            self._wait_for_turn(driver)
        if not driver.transport_lost:
            driver.writer.flush()  # also what a call of `publish` has released, which could not send its own
        self.log_failures()


class DriverTopics(Generic[C]):
    """The members of topics on the drivers of any event loops, of which each writes to its own.

    Args:
        patterns: See `Topics`.
        policy: See `Topics`.
        on_slow: See `Topics`.
    """

    def __init__(self, patterns: Patterns, policy: SlowPolicy, on_slow: OnSlow[C] | None) -> None:
        self._make = partial(LoopMembers[C], patterns=patterns, policy=policy, on_slow=on_slow)
        self._tree: TopicTree[Any] = TopicTree(patterns)  # of nobody, to check topics
        Delivery(policy)  # an invalid policy raises here, not in `subscribe`
        self._lock = threading.RLock()  # for the following
        self._loops: tuple[LoopMembers[C], ...] = ()
        self._past = TopicCounters()

    @property
    def counters(self) -> TopicCounters:
        """Numbers of messages so far, in all event loops."""
        with self._lock:
            return sum((members.counters for members in self._loops), self._past)

    def subscribe(self, driver: TopicDriver, connection: C, topic: str) -> bool:
        """Subscribe a connection. See `Topics.subscribe`."""
        if driver.loop is not asyncio._get_running_loop():
            raise ValueError("the connection belongs to another event loop")
        members = self._members_of(driver.loop) or self._add(driver.loop)
        return members.subscribe(driver, connection, topic)

    def unsubscribe(self, driver: TopicDriver, topic: str) -> bool:
        """End a subscription. See `Topics.unsubscribe`."""
        members = self._members_of(driver.loop)
        return members is not None and members.unsubscribe(driver, topic)

    def topics_of(self, driver: TopicDriver) -> list[str]:
        """Return the subscriptions of a connection."""
        members = self._members_of(driver.loop)
        return [] if members is None else members.topics_of(driver)

    def subscribers(self, topic: str) -> list[C]:
        """Return the connections that get messages of a topic."""
        self._tree.check_topic(topic)
        return [connection for members in self._loops for connection in members.subscribers(topic)]

    def publish(self, topic: str, message: Broadcast, excluded: Collection[TopicDriver]) -> int:
        """Send a message to the subscribers of its topic. See `Topics.publish`."""
        self._tree.check_topic(topic)
        with self._lock:
            self._past.published += 1
        here, reached, elsewhere = asyncio._get_running_loop(), 0, []
        for members in self._loops:
            if members.loop is here:
                reached += members.publish(topic, message, excluded)
            elif count := members.count(topic, excluded):
                reached += count
                elsewhere.append(members)
        for members in elsewhere:  # after those here, for which the message is compressed
            post(members.loop, members.publish_copy, topic, message, excluded)
        return reached

    def _members_of(self, loop: asyncio.AbstractEventLoop) -> LoopMembers[C] | None:
        return next((members for members in self._loops if members.loop is loop), None)

    def _add(self, loop: asyncio.AbstractEventLoop) -> LoopMembers[C]:
        """Return members for another event loop, the running one; forget those of closed loops."""
        added = self._make(loop)
        with self._lock:
            closed = [members for members in self._loops if members.loop.is_closed()]
            self._past = sum((members.counters for members in closed), self._past)
            self._loops = (*(members for members in self._loops if members not in closed), added)
        return added


class Topics(PublishingTopics[AnyConnection]):
    """Topics to which the connections of any event loops subscribe, each in its own.

    Messages of one turn of the event loop leave as one write for each receiver, in the order of the
    calls, also among messages that the connection itself sends; a `send` that waits for room does not
    hold them up. Connections of other event loops get them soon after, those of one thread in the
    order of the calls. A connection that ends leaves all topics by itself.

    A receiver does not keep up if it has let its transport fill up (`write_limit`), and then takes
    less than is added, by more than `write_limit` bytes. The messages of a receiver that keeps up
    are never lost. While its connection sends another message in fragments they wait, up to
    `write_limit` bytes.

    Args:
        patterns: "mqtt": topics have up to 200 levels, separated by "/". A subscription may have wildcards:
            "+" for one level, "#" at the end for any number of levels (MQTT 5.0 4.7). None: a
            subscription is a topic.
        policy: What becomes of a message to a receiver that does not keep up. "close" closes the
            connection with 1013 (try again later). "drop" discards the message. "latest" holds the
            newest message of each topic until there is room, and closes the connection with 1013 if
            these are more than `max_unsent` bytes, each with 256 for itself.
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
        super().__init__(DriverTopics(patterns, policy, on_slow), compression)

    def publish_threadsafe(
        self,
        topic: str,
        message: Data,
        *,
        exclude: AnyConnection | Iterable[AnyConnection] = (),
        text: bool | None = None,
    ) -> None:
        """As `publish`, which may be called from any thread, without the number of receivers.

        Args:
            topic: See `publish`.
            message: See `publish`.
            exclude: See `publish`.
            text: See `publish`.
        """
        self.publish(topic, message, exclude=exclude, text=text)
