"""Topics without I/O: who is subscribed to them, and the messages of receivers that are slow.

    subscribe, unsubscribe, leave ─▶ TopicTree ─ receivers ─▶ the receivers of one message
    one message, one receiver ─▶ Delivery ─ offer, release ─▶ its session, or what else becomes of it

A receiver is any hashable object, such as the driver of a connection.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import astuple, dataclass
from enum import Enum
from operator import add
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from ..protocol.constants import OPEN
from .broadcast import Broadcast, Outlet

__all__ = ["Delivery", "Outcome", "Patterns", "SlowPolicy", "TopicCounters", "TopicTree"]

R = TypeVar("R")

#: How subscriptions are matched: with the wildcards of MQTT, or only by the same topic.
Patterns: TypeAlias = Literal["mqtt"] | None

#: What becomes of messages to a receiver that does not keep up.
SlowPolicy: TypeAlias = Literal["close", "drop", "latest"]

#: The most levels that a topic or pattern has, as with Mosquitto: each level takes hundreds of bytes,
#: however short it is.
MAX_LEVELS: Final = 200

#: Bytes that the newest message of a topic takes besides its content: those of many topics would
#: otherwise fill many times as much memory as `max_unsent` allows.
HELD_COST: Final = 256


class Node(Generic[R]):
    """One level of a topic: its subscribers, and the levels below it."""

    __slots__ = ("children", "receivers")

    def __init__(self) -> None:
        self.children: dict[str, Node[R]] = {}
        self.receivers: dict[R, None] = {}  # in the order of their subscriptions


class TopicTree(Generic[R]):
    """Receivers by topic.

    Args:
        patterns: "mqtt": topics have up to 200 levels, separated by "/". In a subscription, a level "+"
            matches any one level, and "#" at the end the level above and any number of levels;
            neither matches a first level that begins with "$" (MQTT 5.0 4.7). None: a subscription
            matches the same topic only.

    Raises:
        ValueError: `patterns` is neither "mqtt" nor None.
    """

    def __init__(self, patterns: Patterns = None) -> None:
        if patterns not in ("mqtt", None):
            raise ValueError(f'patterns is "mqtt" or None, not {patterns!r}')
        self._patterns = patterns == "mqtt"
        self._root: Node[R] = Node()
        self._topics: dict[R, dict[str, None]] = {}  # the subscriptions of each receiver

    def __contains__(self, receiver: R) -> bool:
        """Return whether a receiver has a subscription."""
        return receiver in self._topics

    def topics_of(self, receiver: R) -> list[str]:
        """Return the subscriptions of a receiver, in their order."""
        return list(self._topics.get(receiver, ()))

    def subscribe(self, receiver: R, topic: str) -> bool:
        """Subscribe a receiver to a topic, or to a pattern.

        Returns:
            False if it is subscribed already.

        Raises:
            TypeError: `topic` is not a str.
            ValueError: `topic` is empty, not a valid pattern, or has too many levels.
        """
        levels = self._split(topic, True)
        topics = self._topics.setdefault(receiver, {})
        if topic in topics:
            return False
        topics[topic] = None
        node = self._root
        for level in levels:
            node = node.children.setdefault(level, Node())
        node.receivers[receiver] = None
        return True

    def unsubscribe(self, receiver: R, topic: str) -> bool:
        """End a subscription; return False if there is none."""
        topics = self._topics.get(receiver, {})
        if topic not in topics:
            return False
        del topics[topic]
        if not topics:
            del self._topics[receiver]
        path = [self._root]
        levels = self._split(topic, True)
        for level in levels:
            path.append(path[-1].children[level])
        del path[-1].receivers[receiver]
        for parent, level, node in zip(path[-2::-1], levels[::-1], path[:0:-1], strict=True):
            if node.receivers or node.children:
                break
            del parent.children[level]
        return True

    def leave(self, receiver: R) -> None:
        """End all subscriptions of a receiver."""
        for topic in self.topics_of(receiver):
            self.unsubscribe(receiver, topic)

    def receivers(self, topic: str) -> Collection[R]:
        """Return the receivers of a message, each once; valid until the next change.

        Args:
            topic: The topic of the message.

        Raises:
            TypeError: `topic` is not a str.
            ValueError: `topic` is empty, a pattern, or has too many levels.
        """
        found: list[dict[R, None]] = []
        nodes = [self._root]
        for depth, level in enumerate(self._split(topic, False)):
            wild = self._patterns and (depth > 0 or not level.startswith("$"))
            below = []
            for node in nodes:
                children = node.children
                if level in children:
                    below.append(children[level])
                if wild and "+" in children:
                    below.append(children["+"])
                if wild and "#" in children:
                    found.append(children["#"].receivers)
            nodes = below
        for node in nodes:
            found.append(node.receivers)
            if self._patterns and "#" in node.children:
                found.append(node.children["#"].receivers)
        return found[0] if len(found) == 1 else {receiver: None for each in found for receiver in each}

    def check_topic(self, topic: str) -> None:
        """Raise as `receivers` if `topic` is not the topic of a message."""
        self._split(topic, False)

    def _split(self, topic: str, subscription: bool) -> list[str]:
        """Return the levels of a topic; check it."""
        if not isinstance(topic, str):
            raise TypeError(f"a topic is a str, not {type(topic).__name__}")
        if not topic:
            raise ValueError("a topic has at least one character")
        if not self._patterns:
            return [topic]
        levels = topic.split("/", MAX_LEVELS)
        if len(levels) > MAX_LEVELS:
            raise ValueError(f"a topic has at most {MAX_LEVELS} levels")
        if not subscription and ("+" in topic or "#" in topic):
            raise ValueError("the topic of a message has no wildcards")
        for number, level in enumerate(levels, 1):
            if len(level) > 1 and ("+" in level or "#" in level):
                raise ValueError('"+" and "#" stand for whole levels of a topic')
            if level == "#" and number < len(levels):
                raise ValueError('"#" is the last level of a pattern')
        return levels


class Outcome(Enum):
    """The result of publishing a message to a receiver whose connection could not queue it at once."""

    #: It waits until the connection has room.
    HELD = "held"
    #: Likewise, and an older one of its topic, which waited, is discarded.
    REPLACED = "replaced"
    #: It is discarded.
    DROPPED = "dropped"
    #: It is discarded, and the connection is to be closed.
    CLOSED = "closed"
    #: The connection is not open.
    SKIPPED = "skipped"


@dataclass(slots=True)
class TopicCounters:
    """Numbers of messages from the beginning, counted for each receiver, except for `published`.

    Attributes:
        published: Calls of `publish`.
        sent: Messages queued on connections, at once or after they were held.
        held: Messages that had to wait for room.
        replaced: Held messages that a later one of the same topic has replaced.
        dropped: Messages that were discarded because the receiver did not keep up.
        closed: Connections that were closed because the receiver did not keep up.
    """

    published: int = 0
    sent: int = 0
    held: int = 0
    replaced: int = 0
    dropped: int = 0
    closed: int = 0

    def __add__(self, other: TopicCounters) -> TopicCounters:
        """Return the sums of both."""
        return TopicCounters(*map(add, astuple(self), astuple(other)))


class Backlog:
    """The messages of one receiver that wait for room, in order.

    Attributes:
        messages: By topic, or by number.
        size: Their size in bytes: at least 1 for each, and by topic with `HELD_COST`.
    """

    __slots__ = ("messages", "number", "size")

    def __init__(self) -> None:
        self.messages: dict[str | int, Broadcast] = {}
        self.number = 0
        self.size = 0

    def append(self, message: Broadcast) -> None:
        """Add a message at the end."""
        self.number += 1
        self.messages[self.number] = message
        self.size += message.size or 1

    def replace(self, topic: str, message: Broadcast) -> bool:
        """Add a message at the end, in place of that of its topic; return whether there is one."""
        earlier = self.messages.pop(topic, None)
        self.size += HELD_COST if earlier is None else -earlier.size
        self.messages[topic] = message
        self.size += message.size
        return earlier is not None


class Delivery(Generic[R]):
    """Decides for each message and receiver whether to send, hold or discard it.

    A receiver keeps up as with `broadcast` (see `Session.keeps_up`). A message for one that does
    not is treated by `policy`. During a fragmented message, which no other may interrupt (RFC 6455
    5.4), messages are held: up to `write_limit` bytes, then `policy` applies.

    Args:
        policy: "close": the connection is to be closed with 1013. "drop": the message is discarded.
            "latest": the newest message of each topic is held until there is room; the connection
            is to be closed if these are more than `max_unsent` bytes, each with 256 for itself.

    Raises:
        ValueError: `policy` is none of these.
    """

    def __init__(self, policy: SlowPolicy) -> None:
        if policy not in ("close", "drop", "latest"):
            raise ValueError(f'policy is "close", "drop" or "latest", not {policy!r}')
        self._policy = policy
        self._backlogs: dict[R, Backlog] = {}
        #: Receivers that could not send a message, and why: no reason to stop for another message or
        #: receiver. They are for the caller to log, with no lock held.
        self.failures: list[tuple[R, Exception]] = []
        self.counters = TopicCounters()

    def offer(self, receiver: R, session: Outlet, topic: str, message: Broadcast, waiting: int) -> Outcome | None:
        """Send a message to a receiver, or decide what becomes of it.

        Args:
            receiver: The receiver.
            session: The session of its connection.
            topic: The topic of the message.
            message: The message.
            waiting: How many bytes wait for the network.

        Returns:
            None if it is queued on the connection, as nearly always: to count the references to a member
            of `Outcome` in several threads would be slow.

        Raises:
            Exception: The connection cannot send it: as `Session.send`. Whatever it is belongs into
                `failures`.
        """
        held = self.holds(receiver)
        if held or not session.send_frame_of(message.frames):
            if session.state is not OPEN:
                return Outcome.SKIPPED
            if held:
                self.release(receiver, session)
                held = self.holds(receiver)
            keeps_up = session.keeps_up(waiting)
            if held or not keeps_up or session.message_open:
                session.check_size(message.size)
                return self._hold(receiver, session, topic, message, keeps_up)
            message.send(session)
        self.counters.sent += 1
        return None

    def _hold(self, receiver: R, session: Outlet, topic: str, message: Broadcast, keeps_up: bool) -> Outcome:
        counters = self.counters
        backlog = self._backlogs.get(receiver) or Backlog()
        replaced = False
        if self._policy == "latest":
            replaced = backlog.replace(topic, message)
            limit = session.settings.max_unsent
            if limit is not None and backlog.size > limit:
                return self._close(receiver)
        elif keeps_up and backlog.size + message.size <= session.settings.write_marks[0]:
            backlog.append(message)
        elif self._policy == "drop":
            counters.dropped += 1
            return Outcome.DROPPED
        else:
            return self._close(receiver)
        self._backlogs[receiver] = backlog
        counters.held += 1
        counters.replaced += replaced
        return Outcome.REPLACED if replaced else Outcome.HELD

    def _close(self, receiver: R) -> Outcome:
        self.forget(receiver)
        self.counters.closed += 1
        return Outcome.CLOSED

    def release(self, receiver: R, session: Outlet, *, in_turn: bool = False) -> bool:
        """Send the messages that are held for a receiver, if there is room; note in `failures` those
        that it cannot send.

        Args:
            receiver: The receiver.
            session: The session of its connection.
            in_turn: Whether they do not wait for room if a fragmented message was the reason to hold
                them, as with the policy "latest" it may not have been.

        Returns:
            Whether any was sent.
        """
        if session.message_open or (session.write_paused and not (in_turn and self._policy != "latest")):
            return False
        backlog = self._backlogs.pop(receiver, None)
        if backlog is None or session.state is not OPEN:
            return False
        sent = 0
        for message in backlog.messages.values():
            try:
                message.send(session)
                sent += 1
            except Exception as error:
                self.failures.append((receiver, error))
        self.counters.sent += sent
        return sent > 0

    def holds(self, receiver: R) -> bool:
        """Return whether messages are held for a receiver."""
        return receiver in self._backlogs

    def forget(self, receiver: R) -> None:
        """Discard the messages that are held for a receiver."""
        self._backlogs.pop(receiver, None)
