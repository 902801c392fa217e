"""What one process says, all others hear: the publish and subscribe of Redis or Valkey, by redis-py.

    broadcast(server.connections, message)      those here
    relay.publish(message)  ─▶ Redis ─▶ `hear(sender, message)` in every other process, which broadcasts it there

Needs `framewire[redis]`.
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

#: Seconds of silence after which the broker is asked for a sign of life; at the second silence it is taken for gone.
_PATIENCE: Final = 5.0

#: Seconds between attempts to reach it.
_DELAY: Final = 0.5

#: Seconds from its return until what was kept is sent: by then the others are back too, and hear it.
_SETTLE: Final = 4 * _DELAY

#: Seconds at the end for what is not sent yet.
_PARTING: Final = 1.0


class Relay:
    """Joins a channel of the broker at `uri` (redis://, rediss:// for TLS, unix://); `async with` begins and ends it.

    `hear(sender, text)` is called in the event loop for what other relays on `channel` publish; `sender` is the `id` of
    one of them. It must not block, and what it raises is logged.

    A broker that is away, from the start or later, is no error: what is published meanwhile is kept, the last `backlog`
    messages, and sent when it is back. The broker itself has no memory: who is cut off from it while others are not
    misses what they say. Rarely, when it goes away in the middle, a message is heard twice.
    """

    def __init__(self, uri: str, channel: str, hear: Callable[[str, str], object], *, backlog: int = 1000) -> None:
        self.id: Final = token_hex(8)
        self._channel = channel
        self._hear = hear
        self._waiting: asyncio.Queue[str] = asyncio.Queue(backlog)
        self._joined = asyncio.Event()
        self._redis: Any = Redis.from_url(
            uri, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE, retry=Retry(NoBackoff(), 0)
        )
        self._tasks: list[asyncio.Task[None]] = []

    def publish(self, text: str) -> None:
        """Says `text` to all other relays on the channel. Returns at once; above the backlog the oldest is dropped."""
        if self._waiting.full():
            self._waiting.get_nowait()
            self._waiting.task_done()
        self._waiting.put_nowait(text)

    async def __aenter__(self) -> Relay:
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._send())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._waiting.join(), _PARTING)
        running = set(self._tasks)
        while running:  # before Python 3.12, the `wait_for` in redis-py can lose a cancellation
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=0.1)
        await self._redis.aclose()

    async def _listen(self) -> None:
        settle = 0.0
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(self._channel)
                    logger.info("the broker is there")
                    asyncio.get_running_loop().call_later(settle, self._joined.set)
                    await self._hear_all(subscription)
            except (RedisError, OSError) as error:
                if settle == 0 or self._joined.is_set():
                    logger.warning("the broker is away: %s", error)
            self._joined.clear()
            settle = _SETTLE
            await asyncio.sleep(_DELAY)

    async def _hear_all(self, subscription: Any) -> None:
        silent = False
        while True:
            message = await subscription.get_message(timeout=_PATIENCE)
            if message is None:
                if silent:
                    raise ConnectionError("it is silent")
                await subscription.ping()
            elif message["type"] == "message":
                sender, _, text = message["data"].decode(errors="replace").partition(" ")
                if sender != self.id:
                    try:
                        self._hear(sender, text)
                    except Exception:
                        logger.exception("hearing a message failed")
            silent = message is None

    async def _send(self) -> None:
        while True:
            data = f"{self.id} {await self._waiting.get()}".encode(errors="replace")
            while True:
                await self._joined.wait()
                try:
                    await self._redis.publish(self._channel, data)
                    break
                except (RedisError, OSError):
                    await asyncio.sleep(_DELAY)
            self._waiting.task_done()
