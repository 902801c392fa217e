"""The settings of connections, as uvicorn's configuration says; checked when a server starts.

uvicorn shows its configuration to a protocol class with the first connection only. A bad value
would then fail each connection of a server that seems to run; there is no hook for an earlier
check, so `check_at_startup` wraps `Server.startup`.
"""

from __future__ import annotations

import functools
import socket
from typing import Protocol

from uvicorn.config import Config
from uvicorn.server import Server

from ...session.settings import ConnectionSettings

__all__ = ["check_at_startup", "read_settings"]


def read_settings(config: Config, close_timeout: float | None, send_close_reasons: bool) -> ConnectionSettings:
    """Return the settings of all connections of a server.

    Args:
        config: uvicorn's configuration.
        close_timeout: Like the following, as for `framewire.asyncio.serve`; uvicorn has no such
            settings.
        send_close_reasons: See above.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range. `ws_ping_timeout` has to be more than 0 seconds.
    """
    interval, timeout = config.ws_ping_interval, config.ws_ping_timeout
    if timeout is not None and timeout <= 0:
        raise ValueError(f"ws_ping_timeout is more than 0 seconds, or None for no limit, not {timeout}")
    return ConnectionSettings(
        max_size=config.ws_max_size,
        max_queue=config.ws_max_queue,
        # 0 turns pings off, as in uvicorn's own classes: its command line has no other way to say
        # so.
        ping_interval=interval if interval is not None and interval > 0 else None,
        ping_timeout=timeout,
        close_timeout=close_timeout,
        max_unsent=None,  # `send` waits for room
        send_close_reasons=send_close_reasons,
    )


class Configured(Protocol):
    """A protocol class that reads its settings from uvicorn's configuration."""

    @classmethod
    def read_settings(cls, config: Config) -> ConnectionSettings:
        """Return the settings of all connections of a server.

        Raise TypeError or ValueError for bad ones.
        """


def check_at_startup(base: type[Configured]) -> None:
    """Have each server of uvicorn that uses `base`, or a subclass, read the settings before it
    listens.
    """
    startup = Server.startup

    @functools.wraps(startup)
    async def checked_startup(server: Server, sockets: list[socket.socket] | None = None) -> None:
        protocol = server.config.ws_protocol_class
        if isinstance(protocol, type) and issubclass(protocol, base):
            protocol.read_settings(server.config)
        await startup(server, sockets)

    Server.startup = checked_startup  # type: ignore[assignment, method-assign]
