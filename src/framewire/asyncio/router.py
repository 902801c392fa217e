"""`route`: a server whose connections go to handlers by path, with the names of `websockets.asyncio.router`."""

from __future__ import annotations

import ssl as tls
from inspect import isawaitable
from os import PathLike
from typing import Any, Literal

from ..http.http11 import Request, Response
from ..http.server_answer import ProcessRequest
from ..routes import Router, choose_router
from .server import serve

__all__ = ["Router", "route", "unix_route"]


def route(
    url_map: Any,
    *args: Any,
    server_name: str | None = None,
    ssl: tls.SSLContext | Literal[True] | None = None,
    create_router: type[Router] | None = None,
    **kwargs: Any,
) -> serve:
    """Start a WebSocket server that dispatches connections to handlers; otherwise as `serve`.

    Args:
        url_map: `framewire.routes.Routes`, or a `werkzeug.routing.Map` whose endpoints are handlers.
            Handlers get the connection, and by name the parameters of the path.
        *args: The host and the port, as for `serve`.
        server_name: The name of the server in redirects of a map, by default the Host header.
        ssl: The TLS context; True if a reverse proxy terminates TLS, for redirects of a map.
        create_router: Makes the router of a map in place of `Router`.
        **kwargs: Arguments of `serve`. `process_request` runs first.

    Raises:
        ImportError: A map needs werkzeug.
    """
    if ssl is not True and ssl is not None:
        kwargs["ssl"] = ssl
    handler, routed = choose_router(url_map, server_name, "ws" if ssl is None else "wss", create_router)
    own: ProcessRequest | None = kwargs.pop("process_request", None)

    async def process_request(connection: Any, request: Request) -> Response | None:
        assert own is not None
        result = own(connection, request)
        response: Response | None = await result if isawaitable(result) else result
        return routed(connection, request) if response is None else response

    return serve(handler, *args, process_request=routed if own is None else process_request, **kwargs)


def unix_route(url_map: Any, path: str | PathLike[str] | None = None, **kwargs: Any) -> serve:
    """Start a server on a Unix socket at `path`; otherwise as `route`."""
    return route(url_map, unix=True, path=path, **kwargs)
