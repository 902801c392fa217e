"""Exchange messages between processes through the publish/subscribe of Redis or Valkey.

    broadcast(server.connections, message)      to the connections of this process
    relay.publish(message)                      to the `receive` callback of every other process

A typical callback broadcasts the message to the connections of its own process. Needs
`framewire[redis]`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex
from types import TracebackType
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

__all__ = ["Relay"]

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


class Relay:
    """A channel of a Redis broker, as an asynchronous context manager.

    It is no error if the broker is unreachable, at the start or later. The last `backlog` messages
    published in the meantime are sent after the reconnection. The broker stores no messages: a
    relay that was disconnected misses what others published. Rarely, if the broker fails while it
    receives a message, that message is delivered twice.

    Attributes:
        id: A random identifier, unique among the relays.

    Args:
        uri: The address of the broker: `redis://`, `rediss://` (TLS) or `unix://`.
        channel: The channel.
        receive: Called in the event loop with the `id` of the sender and the text of each message
            that another relay publishes on the channel. It must not block; its exceptions are
            logged.
        backlog: Largest number of messages that wait for publication; above it, the oldest is
            dropped.
    """

    def __init__(self, uri: str, channel: str, receive: Callable[[str, str], object], *, backlog: int = 1000) -> None:
        self.id: Final = token_hex(8)
        self._channel = channel
        self._receive_callback = receive
        self._backlog: asyncio.Queue[str] = asyncio.Queue(backlog)
        #: Set while messages may be published.
        self._may_publish = asyncio.Event()
        self._redis: Any = Redis.from_url(
            uri, socket_timeout=_BROKER_TIMEOUT, socket_connect_timeout=_BROKER_TIMEOUT, retry=Retry(NoBackoff(), 0)
        )
        self._tasks: list[asyncio.Task[None]] = []

    def publish(self, text: str) -> None:
        """Publish a message to all other relays on the channel, without waiting.

        Args:
            text: The message.
        """
        if self._backlog.full():
            self._backlog.get_nowait()
            self._backlog.task_done()
        self._backlog.put_nowait(text)

    async def __aenter__(self) -> Relay:
        self._tasks = [asyncio.create_task(self._subscribe()), asyncio.create_task(self._publish_backlog())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._backlog.join(), _FLUSH_TIMEOUT)
        running = set(self._tasks)
        while running:  # repeated, because before Python 3.12 `wait_for` in redis-py can lose a cancellation
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=0.1)
        await self._redis.aclose()

    async def _subscribe(self) -> None:
        """Receive messages, and reconnect when the broker becomes unreachable."""
        publish_delay = 0.0
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(self._channel)
                    logger.info("connected to the broker")
                    asyncio.get_running_loop().call_later(publish_delay, self._may_publish.set)
                    await self._receive(subscription)
            except (RedisError, OSError) as error:
                if publish_delay == 0 or self._may_publish.is_set():  # one warning for each loss, not each attempt
                    logger.warning("the broker is unreachable: %s", error)
            self._may_publish.clear()
            publish_delay = _RECONNECT_DELAY
            await asyncio.sleep(_RETRY_DELAY)

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
                sender, _, text = message["data"].decode(errors="replace").partition(" ")
                if sender != self.id:
                    try:
                        self._receive_callback(sender, text)
                    except Exception:
                        logger.exception("the callback for a message failed")
            silent = message is None

    async def _publish_backlog(self) -> None:
        while True:
            data = f"{self.id} {await self._backlog.get()}".encode(errors="replace")
            while True:
                await self._may_publish.wait()
                try:
                    await self._redis.publish(self._channel, data)
                    break
                except (RedisError, OSError):
                    await asyncio.sleep(_RETRY_DELAY)
            self._backlog.task_done()
