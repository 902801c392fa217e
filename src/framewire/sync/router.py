"""`route`: a blocking server that dispatches connections by path, with the names of
`websockets.sync.router`.
"""

from __future__ import annotations

import ssl as tls
from collections.abc import Callable
from os import PathLike
from typing import Any, Literal

from ..routes import Router, UrlMap, add_router
from .server import Server, serve, unix_serve

__all__ = ["Router", "route", "unix_route"]


def route(
    url_map: UrlMap,
    *args: Any,
    server_name: str | None = None,
    ssl: tls.SSLContext | Literal[True] | None = None,
    create_router: Callable[..., Router] | None = None,
    **kwargs: Any,
) -> Server:
    """Listen for WebSockets and dispatch them to handlers by path; otherwise as `serve`.

    Args:
        url_map: A `werkzeug.routing.Map` whose endpoints are handlers, or
            `framewire.routes.Routes`. Handlers are called with the connection and, by name, the
            parameters of the path.
        *args: The host and the port.
        server_name: The host and port of redirects; None for those of the request.
        ssl: The TLS context; True if a reverse proxy terminates TLS, so that redirects have the
            scheme wss.
        create_router: Makes the router of a map in place of `Router`.
        **kwargs: Other arguments of `serve`. `process_request` runs before the routes.

    Raises:
        ImportError: `url_map` is not `Routes`, and werkzeug is not installed.
        TypeError: `url_map` is neither `Routes` nor a map of werkzeug.
    """
    handler, options = add_router(url_map, server_name=server_name, ssl=ssl, create_router=create_router, **kwargs)
    return serve(handler, *args, **options)


def unix_route(url_map: UrlMap, path: str | PathLike[str] | None = None, **kwargs: Any) -> Server:
    """Listen on a Unix socket at `path`; otherwise as `route`.

    Args:
        url_map: As for `route`.
        path: The path of the socket.
        **kwargs: Other arguments of `route`.
    """
    handler, options = add_router(url_map, **kwargs)
    return unix_serve(handler, path, **options)
