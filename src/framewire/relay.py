"""Exchange messages between processes through the publish/subscribe of Redis or Valkey.

    broadcast(server.connections, message)      to the connections of this process
    relay.publish(message)                      to the `receive` callback of every other process

A typical callback broadcasts the message to the connections of its own process. `TopicRelay` does
both for topics. Needs `framewire[redis]`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol

try:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
except ImportError as _error:
    raise ImportError("framewire.relay needs redis: pip install framewire[redis]") from _error

from .asyncio.inbox import post
from .session.session import Data

__all__ = ["Gap", "Relay", "TopicRelay"]

logger = logging.getLogger("framewire.relay")

#: Seconds without data after which the broker gets a ping; after a second such interval, the
#: connection to it is closed. Also the timeout of its socket operations.
_BROKER_TIMEOUT: Final = 5.0

#: Seconds between attempts to connect to the broker.
_RETRY_DELAY: Final = 0.5

#: Seconds between a reconnection and the first publication. The broker stores no messages, so the
#: other relays must have reconnected by then.
_RECONNECT_DELAY: Final = 4 * _RETRY_DELAY

#: Seconds that the exit waits for the backlog to be published.
_FLUSH_TIMEOUT: Final = 1.0

#: Messages that are sent to the broker at once.
_MAX_BATCH: Final = 100

#: The relays whose last number is remembered; those heard last.
_MAX_SENDERS: Final = 1000

#: What precedes each message on the channel: the `id` of its relay, and its number.
_ORIGIN: Final = re.compile("([0-9a-f]{16})/([0-9]{1,18}) ")


class Gap(NamedTuple):
    """Messages that are missing, or may be.

    Attributes:
        seconds: For how long the broker was unreachable, in seconds. What relays that still reached
            it published in this time is lost here.
        discarded: How many own messages were discarded, because more than `backlog` waited.
        missed: How many messages of another relay are missing, as the number of its next message
            shows: it has discarded them, or the broker had them while it was unreachable.
    """

    seconds: float
    discarded: int
    missed: int = 0


class Relay:
    """A channel of a Redis broker, as an asynchronous context manager.

    It is no error if the broker is unreachable, at the start or later. The last `backlog` messages
    published in the meantime are sent after the reconnection. The broker stores no messages: a
    relay that was disconnected misses what others published. No message is delivered twice.

    Attributes:
        id: A random identifier, unique among the relays.

    Args:
        uri: The address of the broker: `redis://`, `rediss://` (TLS) or `unix://`.
        channel: The channel.
        receive: Called in the event loop with the `id` of the sender and the text of each message
            that another relay publishes on the channel. It must not block; its exceptions are
            logged.
        backlog: Largest number of messages that wait for publication, at least 1; above it, the
            oldest is discarded.
        on_gap: Called in the event loop with a `Gap` when the broker is reachable again, when messages
            are published after others were discarded, and before the next message of another relay of
            which some are missing. It must not block; its exceptions are logged.

    Raises:
        TypeError: `backlog` is not an int.
        ValueError: `backlog` is below 1, or `uri` is not the address of a broker.
    """

    def __init__(
        self,
        uri: str,
        channel: str,
        receive: Callable[[str, str], object],
        *,
        backlog: int = 1000,
        on_gap: Callable[[Gap], object] | None = None,
    ) -> None:
        if not isinstance(backlog, int):
            raise TypeError(f"backlog is an int, not {type(backlog).__name__}")
        if backlog < 1:
            raise ValueError(f"backlog is 1 or more, not {backlog}")
        self.id: Final = token_hex(8)
        self._channel = channel
        self._receive_callback = receive
        self._on_gap = on_gap
        self._discarded = 0  # messages since the last gap
        self._lost_at: float | None = None  # when the broker became unreachable
        self._backlog: asyncio.Queue[bytes] = asyncio.Queue(backlog)
        self._published = 0  # the number of the last own message
        self._received: dict[str, int] = {}  # that of the last message of each relay
        #: Set while messages may be published.
        self._may_publish = asyncio.Event()
        self._redis: Any = Redis.from_url(
            uri, socket_timeout=_BROKER_TIMEOUT, socket_connect_timeout=_BROKER_TIMEOUT, retry=Retry(NoBackoff(), 0)
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None  # that of the tasks

    def publish(self, text: str) -> None:
        """Publish a message to all other relays on the channel, without waiting.

        Within the context manager it may be called from any thread; the messages of one thread keep
        their order.

        Args:
            text: The message.

        Raises:
            TypeError: It is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(f"a message of a relay is a str, not {type(text).__name__}")
        if self._loop is None or self._loop is asyncio._get_running_loop():
            self._enqueue(text)
        else:
            post(self._loop, self._enqueue, text)

    def _enqueue(self, text: str) -> None:
        if self._backlog.full():
            self._backlog.get_nowait()
            self._backlog.task_done()
            self._discarded += 1
        self._published += 1
        self._backlog.put_nowait(f"{self.id}/{self._published} {text}".encode(errors="replace"))

    async def __aenter__(self) -> Relay:
        self._loop = asyncio.get_running_loop()
        self._tasks = [asyncio.create_task(self._subscribe()), asyncio.create_task(self._publish_backlog())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._flush(), _FLUSH_TIMEOUT)
        finally:
            try:
                await self._stop()
            finally:
                await self._redis.aclose()

    async def _flush(self) -> None:
        """Wait until the backlog is published, with the earlier messages of other threads."""
        await asyncio.sleep(0)
        await self._backlog.join()

    async def _stop(self) -> None:
        """End the tasks."""
        running = set(self._tasks)
        while running:  # repeated, because before Python 3.12 `wait_for` in redis-py can lose a cancellation
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=0.1)

    async def _subscribe(self) -> None:
        """Receive messages, and reconnect when the broker becomes unreachable."""
        publish_delay = 0.0
        loop = asyncio.get_running_loop()
        while True:
            began: float | None = loop.time()
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(self._channel)
                    logger.info("connected to the broker")
                    timer = loop.call_later(publish_delay, self._may_publish.set)
                    try:
                        self._report_gap(loop.time())
                        began = None
                        await self._receive(subscription)
                    finally:
                        timer.cancel()
            except Exception as error:
                if publish_delay == 0 or self._may_publish.is_set():  # one warning for each loss, not each attempt
                    _warn("the broker is unreachable", error)
            if self._lost_at is None:
                self._lost_at = loop.time() if began is None else began
            self._may_publish.clear()
            publish_delay = _RECONNECT_DELAY
            await asyncio.sleep(_RETRY_DELAY)

    def _report_gap(self, now: float) -> None:
        """Tell of the time without the broker, if there was one."""
        if self._lost_at is not None:
            since, self._lost_at = self._lost_at, None
            self._tell_discarded(now - since)

    def _tell_discarded(self, seconds: float) -> None:
        discarded, self._discarded = self._discarded, 0
        self._tell(Gap(seconds, discarded))

    def _tell(self, gap: Gap) -> None:
        if self._on_gap is not None:
            _call(self._on_gap, gap)

    async def _receive(self, subscription: Any) -> None:
        """Deliver messages until the connection to the broker fails."""
        silent = False
        while True:
            message = await subscription.get_message(timeout=_BROKER_TIMEOUT)
            if message is None:
                if silent:
                    raise ConnectionError("no reply to a ping")
                await subscription.ping()
            elif message["type"] == "message":
                self._deliver(message["data"].decode(errors="replace"))
            silent = message is None

    def _deliver(self, data: str) -> None:
        """Pass on a message of another relay, or of a program that numbers none."""
        origin = _ORIGIN.match(data)
        if origin is None:
            sender, _, text = data.partition(" ")
        else:
            sender, number, text = origin[1], int(origin[2]), data[origin.end() :]
            if sender == self.id:
                return
            last = self._received.pop(sender, number - 1)
            if number <= last:  # published again, because the broker failed before it replied
                self._received[sender] = last
                return
            if number > last + 1:
                self._tell(Gap(0.0, 0, number - last - 1))
            self._received[sender] = number
            if len(self._received) > _MAX_SENDERS:
                del self._received[next(iter(self._received))]
        _call(self._receive_callback, sender, text)

    async def _publish_backlog(self) -> None:
        failing = False
        while True:
            batch = [await self._backlog.get()]
            while True:
                await self._may_publish.wait()
                while len(batch) < _MAX_BATCH and not self._backlog.empty():
                    batch.append(self._backlog.get_nowait())
                try:
                    async with self._redis.pipeline(transaction=False) as pipeline:
                        for data in batch:
                            pipeline.publish(self._channel, data)
                        await pipeline.execute()
                    failing = False
                    break
                except Exception as error:
                    if not failing:  # one warning for each series of failures
                        _warn("messages cannot be published", error)
                    failing = True
                    await asyncio.sleep(_RETRY_DELAY)
            for _ in batch:
                self._backlog.task_done()
            if self._discarded:
                self._tell_discarded(0.0)


def _warn(text: str, error: Exception) -> None:
    """Log an error of the broker; with its traceback one that redis-py does not expect, such as that of
    a reply that is no number.
    """
    logger.warning("%s: %s", text, error, exc_info=None if isinstance(error, (RedisError, OSError)) else error)


def _call(callback: Callable[..., object], *arguments: object) -> None:
    """Call a function of the program; log its exception."""
    try:
        callback(*arguments)
    except Exception:
        logger.exception("a callback failed")


class Publisher(Protocol):
    """`framewire.asyncio.Topics`, or `framewire.rooms.Rooms`."""

    def publish(self, topic: str, message: Data, /, *, exclude: Any = (), text: bool | None = None) -> int:
        """See `Topics.publish`."""


class TopicRelay:
    """The topics of all processes on a channel, as an asynchronous context manager.

    `publish` reaches the subscribers in every process. Those of other processes get the messages of
    one process in their order. While the broker is unreachable each process serves its own
    subscribers; see `Relay` for what becomes of the messages to others.

    Attributes:
        relay: The `Relay`.

    Args:
        topics: The `framewire.asyncio.Topics` of this process, or the `framewire.rooms.Rooms`.
        uri: See `Relay`.
        channel: See `Relay`. Use one channel for one kind of topics: every process receives all
            messages on it.
        backlog: See `Relay`.
        on_gap: See `Relay`. A program can have its clients load again what they may have missed.

    Raises:
        TypeError: See `Relay`.
        ValueError: See `Relay`.
    """

    def __init__(
        self,
        topics: Publisher,
        uri: str,
        channel: str,
        *,
        backlog: int = 1000,
        on_gap: Callable[[Gap], object] | None = None,
    ) -> None:
        self._topics = topics
        self.relay = Relay(uri, channel, self._receive, backlog=backlog, on_gap=on_gap)

    async def __aenter__(self) -> TopicRelay:
        await self.relay.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.relay.__aexit__(kind, error, trace)

    def publish(self, topic: str, message: Data, *, exclude: Any = (), text: bool | None = None) -> int:
        """Send a message to the subscribers of its topic in all processes, without waiting.

        Within the context manager it may be called from any thread from which `Topics.publish` may;
        the messages of one thread keep their order.

        Args:
            topic: The topic.
            message: Text as `str`, binary as a bytes-like object.
            exclude: Connections of this process that do not get it.
            text: Whether it is sent as text; by default the type decides.

        Returns:
            The number of connections of this process that get it.

        Raises:
            TypeError: As `Topics.publish`, like the others.
            ValueError: `topic` is empty, a pattern, or has too many levels.
            TextError: The text is not UTF-8.
        """
        reached = self._topics.publish(topic, message, exclude=exclude, text=text)
        self.relay.publish(_encode(topic, message, text))
        return reached

    def _receive(self, sender: str, data: str) -> None:
        topic, message = _decode(data)
        self._topics.publish(topic, message)


def _encode(topic: str, message: Data, text: bool | None) -> str:
    """Return a message and its topic as text; the payload of a binary one in base64."""
    is_text = isinstance(message, str) if text is None else text
    content = message.encode() if isinstance(message, str) else bytes(message)
    kind, payload = ("text", content.decode()) if is_text else ("binary", b64encode(content).decode())
    return f"{kind} {len(topic)} {topic}{payload}"


def _decode(data: str) -> tuple[str, str | bytes]:
    """Return the topic and the message of `_encode`. Raises ValueError for anything else."""
    kind, size, rest = data.split(" ", 2)
    topic, payload = rest[: int(size)], rest[int(size) :]
    if kind == "text":
        return topic, payload
    if kind != "binary":
        raise ValueError(f"{kind!r} is no kind of a message")
    return topic, b64decode(payload, validate=True)
