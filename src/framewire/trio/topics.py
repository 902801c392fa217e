"""`Topics` for trio."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from ..session.base_topics import BaseTopics, OnSlow
from ..session.broadcast import Broadcast, Compression
from ..session.session import Data
from ..session.stream_topics import StreamMembers
from ..session.topics import Patterns, SlowPolicy
from .connection import Connection
from .driver import write_on

__all__ = ["Topics"]


class Topics(BaseTopics[Connection]):
    """Topics to which the connections of one `trio.run` subscribe, as `framewire.asyncio.Topics`.

    From another thread, call `trio.from_thread.run(topics.publish, ...)`.

    Args:
        patterns: See `framewire.asyncio.Topics`: "mqtt" or None.
        policy: See `framewire.asyncio.Topics`: "close", "drop" or "latest".
        compression: How messages are compressed; see `broadcast`.
        on_slow: See `framewire.asyncio.Topics`.

    Raises:
        ValueError: `patterns`, `policy` or `compression` is none of these.
    """

    def __init__(
        self, *, patterns: Patterns = None, policy: SlowPolicy = "close",
        compression: Compression = "shared", on_slow: OnSlow[Connection] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(StreamMembers(patterns, policy, on_slow), compression)

    async def publish(
        self, topic: str, message: Data, *,
        exclude: Connection | Iterable[Connection] = (), text: bool | None = None,
    ) -> int:  # fmt: skip
        """Send a message to the subscribers of its topic, without waiting for slow peers.

        Full connections write first, as long as the network takes it at once. A call that is
        cancelled has sent nothing. Raises as `framewire.asyncio.Topics.publish`.

        Args:
            topic: The topic.
            message: Text as `str`, binary as a bytes-like object.
            exclude: A connection that does not get it, or several.
            text: Whether it is sent as text; by default the type decides.

        Returns:
            The number of connections that get the message, now or when there is room.
        """
        shared, excluded = Broadcast(message, text, self._compression), self._drivers_of(exclude)
        await trio.lowlevel.checkpoint_if_cancelled()
        await write_on(connection._driver for connection in self.subscribers(topic))
        reached: int = self._topics.publish(topic, shared, excluded)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return reached
