"""`route`: a trio server that dispatches connections by path, with the names of
`websockets.trio.router`.
"""

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
    url_map: UrlMap,
    *args: Any,
    server_name: str | None = None,
    ssl: tls.SSLContext | Literal[True] | None = None,
    create_router: Callable[..., Router] | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
    **kwargs: Any,
) -> None:
    """Serve WebSockets and dispatch them to handlers by path; otherwise as `serve`.

    Args:
        url_map: A `werkzeug.routing.Map` whose endpoints are handlers, or
            `framewire.routes.Routes`. Handlers are called with the connection and, by name, the
            parameters of the path.
        *args: The port.
        server_name: The host and port of redirects; None for those of the Host header.
        ssl: The TLS context; True if a reverse proxy terminates TLS, so that redirects have the
            scheme wss.
        create_router: Makes the router of a map in place of `Router`.
        task_status: For `nursery.start`.
        **kwargs: Other arguments of `serve`. `process_request` runs before the routes.

    Raises:
        ImportError: `url_map` is not `Routes`, and werkzeug is not installed.
        TypeError: `url_map` is neither `Routes` nor a map of werkzeug.
    """
    handler, options = add_router(url_map, server_name=server_name, ssl=ssl, create_router=create_router, **kwargs)
    await serve(handler, *args, task_status=task_status, **options)


async def unix_route(
    url_map: UrlMap,
    path: str | PathLike[str],
    *,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
    **kwargs: Any,
) -> None:
    """Serve on a Unix socket at `path`, in place of one that is there; otherwise as `route`."""
    handler, options = add_router(url_map, **kwargs)
    await unix_serve(handler, path, task_status=task_status, **options)
