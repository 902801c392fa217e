"""`Topics` for threads."""

from __future__ import annotations

import threading

from ..session.base_topics import OnSlow, PublishingTopics
from ..session.broadcast import Compression
from ..session.stream_topics import StreamMembers
from ..session.topics import Patterns, SlowPolicy
from .connection import Connection

__all__ = ["Topics"]


class Topics(PublishingTopics[Connection]):
    """Topics to which connections subscribe; from any thread.

    As `framewire.asyncio.Topics`, except that each call of `publish` writes to its receivers what
    their sockets take at once; other threads write the rest. All receivers get the messages of
    several threads in the same order.

    Args:
        patterns: See `framewire.asyncio.Topics`: "mqtt" or None.
        policy: See `framewire.asyncio.Topics`: "close", "drop" or "latest".
        compression: How messages are compressed; see `broadcast`.
        on_slow: Called in the thread that publishes; see `framewire.asyncio.Topics`.

    Raises:
        ValueError: `patterns`, `policy` or `compression` is none of these.
    """

    def __init__(
        self,
        *,
        patterns: Patterns = None,
        policy: SlowPolicy = "close",
        compression: Compression = "shared",
        on_slow: OnSlow[Connection] | None = None,
    ) -> None:
        locks = threading.RLock(), threading.RLock()  # a signal handler that interrupts `publish` may call it too
        super().__init__(StreamMembers(patterns, policy, on_slow, *locks), compression)
