"""Routing of connections to handlers by request path, for `framewire.sync` and `framewire.asyncio`.

routes = Routes()

@routes.add("/rooms/{room}", subprotocols=["chat"])
def talk(ws, room): ...

serve(routes, process_request=routes.process_request)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from .http.headers import Headers, parse_tokens
from .http.http11 import Request, Response
from .http.request_checks import choose_subprotocol
from .http.server_policy import make_response

__all__ = ["Route", "Router", "Routes", "choose_router"]

_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")


@dataclass(frozen=True)
class Route:
    """One route.

    Attributes:
        pattern: Matches the whole request path; its groups are the parameters.
        handler: Serves the connection.
        subprotocols: If not empty, the client must offer one of them.
    """

    pattern: re.Pattern[str]
    handler: Callable[..., Any]
    subprotocols: Sequence[str]


class Routes:
    """A connection handler that calls the handler of the first route whose pattern matches."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def add(
        self, pattern: str, *, subprotocols: Sequence[str] = ()
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register the decorated handler for a path.

        The handler is called with the connection and, by name, the percent-decoded parameters.

        Args:
            pattern: The path, beginning with "/". `{name}` matches one segment, `{name:path}` one
                or more segments.
            subprotocols: If not empty, requests that offer none of them are refused with status
                400.

        Returns:
            A decorator that returns the handler unchanged.

        Raises:
            ValueError: If the pattern is malformed.
        """
        compiled = _compile(pattern)

        def register(handler: Callable[..., Any]) -> Callable[..., Any]:
            self._routes.append(Route(compiled, handler, tuple(subprotocols)))
            return handler

        return register

    def find(self, target: str) -> tuple[Route, dict[str, str]] | None:
        """Find the route of a request.

        Args:
            target: The request target; its query is ignored.

        Returns:
            The route and the parameters, or None if no pattern matches.
        """
        path = target.partition("?")[0]
        for route in self._routes:
            if match := route.pattern.fullmatch(path):
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
        return None

    def process_request(self, connection: Any, request: Request) -> Response | None:
        """Check a request; pass this method to the server as `process_request`.

        It also sets the `subprotocols` of the connection to those of the route.

        Args:
            connection: The connection.
            request: Its opening request.

        Returns:
            A response with status 404 if no route matches, with status 400 if the client offers
            none of the required subprotocols, else None.
        """
        found = self.find(request.target)
        if found is None:
            return _refuse(404, "Not Found", "Nothing is served here.\n")
        route, _ = found
        try:
            offered = parse_tokens(request.headers.get_all("Sec-WebSocket-Protocol"))
        except ValueError:
            offered = []  # the handshake reports the malformed header
        if route.subprotocols and choose_subprotocol(offered, route.subprotocols) is None:
            return _refuse(400, "Bad Request", f"Offer one of the subprotocols {', '.join(route.subprotocols)}.\n")
        connection.subprotocols = route.subprotocols
        return None

    def __call__(self, connection: Any) -> Any:
        """Call the handler of the connection's route and return its result.

        Args:
            connection: The connection.
        """
        found = self.find(connection.request.target)
        assert found is not None, "the server lacks process_request=routes.process_request"
        route, parameters = found
        return route.handler(connection, **parameters)


class Router:
    """Dispatches connections by a `werkzeug.routing.Map`; subclass it to change that.

    Args:
        url_map: The map, whose endpoints are handlers. Each rule becomes one for WebSockets.
        server_name: The name of the server in redirects, None for that of the Host header.
        url_scheme: The scheme in redirects.
    """

    def __init__(self, url_map: Any, server_name: str | None = None, url_scheme: str = "ws") -> None:
        self.url_map = url_map
        self.server_name = server_name
        self.url_scheme = url_scheme
        for rule in url_map.iter_rules():
            rule.websocket = True

    def get_server_name(self, connection: Any, request: Request) -> str:
        """Return the name of the server in redirects."""
        return request.headers["Host"] if self.server_name is None else self.server_name

    def redirect(self, connection: Any, url: str) -> Response:
        """Return the response that redirects to a URL."""
        response = make_response(302, f"Found at {url}")
        response.headers["Location"] = url
        return response

    def not_found(self, connection: Any) -> Response:
        """Return the response for a path without a rule."""
        return make_response(404, "Not Found")

    def route_request(self, connection: Any, request: Request) -> Response | None:
        """Set `handler` and `handler_kwargs` of the connection, or return a response without a WebSocket.

        Pass this method to the server as `process_request`.
        """
        from werkzeug.exceptions import NotFound
        from werkzeug.routing import RequestRedirect

        if "Host" not in request.headers:
            return None  # the handshake refuses the request
        adapter = self.url_map.bind(server_name=self.get_server_name(connection, request), url_scheme=self.url_scheme)
        parts = urlsplit(request.path)
        try:
            found = adapter.match(path_info=parts.path, query_args=parts.query)
        except RequestRedirect as redirect:
            return self.redirect(connection, redirect.new_url)
        except NotFound:
            return self.not_found(connection)
        connection.handler, connection.handler_kwargs = found
        return None

    def handler(self, connection: Any) -> Any:
        """Call the handler of a connection and return its result."""
        return connection.handler(connection, **connection.handler_kwargs)


def choose_router(
    url_map: Any, server_name: str | None, url_scheme: str, create_router: type[Router] | None
) -> tuple[Callable[[Any], Any], Callable[[Any, Request], Response | None]]:
    """Return the handler and the `process_request` of a server for `Routes` or a map of werkzeug.

    Raises:
        ImportError: werkzeug is not installed.
    """
    if isinstance(url_map, Routes):
        return url_map, url_map.process_request
    import werkzeug.routing  # noqa: F401 - raises ImportError

    router = (create_router or Router)(url_map, server_name, url_scheme)
    return router.handler, router.route_request


def _compile(pattern: str) -> re.Pattern[str]:
    if not pattern.startswith("/"):
        raise ValueError("the pattern of a route begins with /")
    parts, end = [], 0
    for match in _PARAMETER.finditer(pattern):
        name, whole_path = match.groups()
        parts += [re.escape(pattern[end : match.start()]), f"(?P<{name}>{'.+' if whole_path else '[^/]+'})"]
        end = match.end()
    if "{" in (rest := _PARAMETER.sub("", pattern)) or "}" in rest:
        raise ValueError(f"a malformed parameter in the pattern {pattern}")
    return re.compile("".join(parts) + re.escape(pattern[end:]))


def _refuse(status: int, phrase: str, text: str) -> Response:
    return Response(status, phrase, Headers([("Content-Type", "text/plain; charset=utf-8")]), text.encode())
