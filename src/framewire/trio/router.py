"""`route`: a trio server that dispatches connections by path, as `websockets.trio.router`."""

from __future__ import annotations

import ssl as tls
from collections.abc import Callable
from os import PathLike
from typing import Any, Literal

import trio

from ..routes import Router, UrlMap, add_router
from .server import Server, serve, unix_serve

__all__ = ["Router", "route", "unix_route"]


async def route(
    url_map: UrlMap, *args: Any,
    server_name: str | None = None, ssl: tls.SSLContext | Literal[True] | None = None,
    create_router: Callable[..., Router] | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
    **kwargs: Any,
) -> None:  # fmt: skip
    """Serve WebSockets and dispatch them to handlers by path; otherwise as `serve`.

    The exceptions are those of `framewire.asyncio.router.route`.

    Args:
        url_map: As for `framewire.asyncio.router.route`.
        *args: The port.
        server_name: As for `framewire.asyncio.router.route`.
        ssl: As for `framewire.asyncio.router.route`.
        create_router: As for `framewire.asyncio.router.route`.
        task_status: For `nursery.start`.
        **kwargs: Other arguments of `serve`.
    """
    handler, options = add_router(url_map, server_name=server_name, ssl=ssl, create_router=create_router, **kwargs)
    await serve(handler, *args, task_status=task_status, **options)


async def unix_route(
    url_map: UrlMap, path: str | PathLike[str], *,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED, **kwargs: Any,
) -> None:  # fmt: skip
    """Serve on a Unix socket at `path`, in place of one that is there; otherwise as `route`.

    Args:
        url_map: As for `route`.
        path: The path of the socket.
        task_status: For `nursery.start`.
        **kwargs: Other arguments of `route`.
    """
    handler, options = add_router(url_map, **kwargs)
    await unix_serve(handler, path, task_status=task_status, **options)
