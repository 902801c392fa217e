"""Routing of connections to handlers by request path, for `framewire.asyncio`, `.sync` and `.trio`.

`Routes` needs no other package; `Router` and the modules `framewire.asyncio.router`, `.sync.router`
and `.trio.router` take maps of werkzeug, as `websockets` does.

routes = Routes()

@routes.add("/rooms/{room}", subprotocols=["chat"])
def talk(ws, room): ...

serve(routes, process_request=routes.process_request)
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import quote, unquote

from .http.headers import Headers, parse_tokens
from .http.http11 import Request, Response
from .http.request_checks import check_subprotocols, choose_subprotocol, find_host
from .http.request_target import split_target
from .session.arguments import check_absent

if TYPE_CHECKING:
    from ssl import SSLContext

    from werkzeug.routing import Map

__all__ = ["PathPattern", "Route", "Router", "Routes", "UrlMap", "add_router"]

#: The routes of the functions `route`.
UrlMap: TypeAlias = "Routes | Map"

#: Escapes of a path, and what has to be one: characters that no path has as they are, and a "%"
#: without two digits.
_ESCAPE: Final = re.compile(r'%([0-9A-Fa-f]{2})|[% "<>\\^`{|}]|[^\x00-\x7f]')
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")


@dataclass(frozen=True)
class PathPattern:
    """The pattern of a route.

    Attributes:
        literals: The text before the first parameter, between each two, and after the last.
        names: The names of the parameters.
        stops: For each parameter, the character that it cannot contain: "/", or a newline if it
            matches several segments.
    """

    literals: tuple[str, ...]
    names: tuple[str, ...]
    stops: tuple[str, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """Match a whole path, in time linear in its length for each parameter.

        Args:
            path: The path, percent-encoded as the literals are: escapes for no unreserved
                character, and in upper case.

        Returns:
            The parameters, percent-encoded as in the path, or None if it does not match. From the
            left, each is the longest that lets the rest match.
        """
        prefix, *separators = self.literals
        if not separators:
            return {} if path == prefix else None
        suffix = separators.pop()
        path_end = len(path) - len(suffix)
        if not (len(prefix) < path_end and path.startswith(prefix) and path.endswith(suffix)):
            return None
        # For each parameter, all ends from here on fail or have been tried. A parameter that has failed
        # is tried again from earlier starts only, for which these ends fail too: no text is searched
        # twice. A regular expression would try each pair of ends.
        ends = [path_end] * len(separators)
        starts: list[int] = []
        start = len(prefix)
        while (index := len(starts)) < len(separators):
            if (stop := path.find(self.stops[index], start, ends[index] - 1)) >= 0:
                ends[index] = stop + 1
            starts.append(start)
            while True:
                separator = separators[index]
                end = path.rfind(separator, starts[index] + 1, min(ends[index] - 1 + len(separator), path_end - 1))
                if end >= 0:
                    break
                if index == 0:
                    return None
                ends[index] = starts.pop() + 1
                index -= 1  # the parameter before it must end earlier
            ends[index] = end
            start = end + len(separator)
        if self.stops[-1] in path[start:path_end]:
            return None  # from an earlier start, the last parameter would contain this too
        spans = zip(self.names, [*starts, start], [*ends, path_end], strict=True)
        return {name: path[start:end] for name, start, end in spans}


@dataclass(frozen=True)
class Route:
    """One route.

    Attributes:
        pattern: Matches the whole request path.
        handler: Serves the connection.
        subprotocols: If not empty, the client must offer one of them.
    """

    pattern: PathPattern
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
                or more segments. Text matches percent-encoded or not, except reserved characters
                (RFC 3986 2.2): `%2F` is no "/".
            subprotocols: If not empty, requests that offer none of them are refused with status
                400.

        Returns:
            A decorator that returns the handler unchanged.

        Raises:
            TypeError: If `subprotocols` is not a list of text.
            ValueError: If the pattern is malformed, two parameters have one name, or a subprotocol
                is not a token.
        """
        parsed, required = _parse(pattern), check_subprotocols(subprotocols)

        def register(handler: Callable[..., Any]) -> Callable[..., Any]:
            self._routes.append(Route(parsed, handler, required))
            return handler

        return register

    def find(self, target: str) -> tuple[Route, dict[str, str]] | None:
        """Find the route of a request.

        Args:
            target: The request target; its query is ignored.

        Returns:
            The route and the parameters, or None if no pattern matches.
        """
        path = _normalise(_split_target(target)[0])
        for route in self._routes:
            if (parameters := route.pattern.match(path)) is not None:
                return route, {name: unquote(value) for name, value in parameters.items()}
        return None

    def process_request(self, connection: Any, request: Request) -> Response | None:
        """Check a request; pass this method to the server as `process_request`.

        It also sets the `subprotocols` of the connection to those of the route, if that has any:
        else those of the server remain.

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
        if route.subprotocols:
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
    """Dispatches connections by a `werkzeug.routing.Map`; `create_router` of `route` takes a
    subclass.

    `route_request` is the `process_request` of a server, `handler` its handler.

    Args:
        url_map: The map, whose endpoints are handlers. Its rules become rules for WebSockets.
        server_name: The host and port of redirects; None for those of the request.
        url_scheme: The scheme of redirects, "ws" or "wss", unless `client_scheme` of the connection
            tells that of the client.
    """

    def __init__(self, url_map: Map, server_name: str | None = None, url_scheme: str = "ws") -> None:
        self.url_map = url_map
        self.server_name = server_name
        self.url_scheme = url_scheme
        for rule in url_map.iter_rules():
            rule.websocket = True

    def get_server_name(self, connection: Any, request: Request) -> str:
        """Return the host and port of redirects.

        Args:
            connection: The connection.
            request: Its request.

        Raises:
            HandshakeError: They are those of the request, and its Host header is missing, repeated or
                malformed, or the host of its target is malformed.
        """
        return find_host(request) if self.server_name is None else self.server_name

    def redirect(self, connection: Any, url: str) -> Response:
        """Return the response that redirects to a URL, whose other characters it
        percent-encodes.

        Args:
            connection: The connection.
            url: The URL.
        """
        location = quote(url, safe="%!#$&'()*+,/:;=?@[]~")
        response: Response = connection.respond(HTTPStatus.FOUND, f"Found at {location}")
        response.headers["Location"] = location
        return response

    def not_found(self, connection: Any) -> Response:
        """Return the response to a request whose path has no rule.

        Args:
            connection: The connection.
        """
        response: Response = connection.respond(HTTPStatus.NOT_FOUND, "Not Found")
        return response

    def route_request(self, connection: Any, request: Request) -> Response | None:
        """Find the rule of a request; it sets `handler` and `handler_kwargs` of the connection.

        Args:
            connection: The connection.
            request: Its opening request. The path is percent-decoded, the query is ignored.

        Returns:
            None, or the response without a WebSocket: a redirect, 404 if no rule matches, or the
            status of another HTTPException of werkzeug, such as 405 for rules of other methods.

        Raises:
            HandshakeError: As `get_server_name`.
        """
        from werkzeug.exceptions import HTTPException, NotFound
        from werkzeug.routing import RequestRedirect

        server_name = self.get_server_name(connection, request)
        path, query = _split_target(request.target)
        try:
            adapter = self.url_map.bind(server_name, url_scheme=connection.client_scheme or self.url_scheme)
            found = adapter.match(path_info=unquote(path), query_args=query)
        except RequestRedirect as redirect:
            return self.redirect(connection, redirect.new_url)
        except NotFound:
            return self.not_found(connection)
        except HTTPException as error:
            response: Response = connection.respond(error.code or HTTPStatus.INTERNAL_SERVER_ERROR, error.name)
            methods = getattr(error, "valid_methods", None)
            if methods:
                response.headers["Allow"] = ", ".join(sorted(methods))
            return response
        connection.handler, connection.handler_kwargs = found
        return None

    def handler(self, connection: Any) -> Any:
        """Call the handler of a connection with its parameters, and return its result: a coroutine
        of an async one.

        Args:
            connection: The connection.
        """
        return connection.handler(connection, **connection.handler_kwargs)


def add_router(
    url_map: UrlMap,
    *,
    server_name: str | None = None,
    ssl: SSLContext | Literal[True] | None = None,
    create_router: Callable[[Map, str | None, str], Router] | None = None,
    process_request: Callable[[Any, Request], Any] | None = None,
    **options: Any,
) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """Return the arguments of `serve` from those of `route`, for the functions `route` of each API.

    Args:
        url_map: The routes.
        server_name: The host and port of redirects.
        ssl: The TLS context, or True for redirects to wss without one.
        create_router: Makes the router of a map in place of `Router`.
        process_request: Runs before the routes; what it returns other than None is the response.
        **options: Other arguments of `serve`.

    Returns:
        The handler, and the options of `serve`.

    Raises:
        ImportError: `url_map` is not `Routes`, and werkzeug is not installed.
        TypeError: `url_map` is neither `Routes` nor a map of werkzeug.
        ValueError: There is a `create_router` for `Routes`.
    """
    if isinstance(url_map, Routes):
        check_absent("Routes", create_router=create_router)
        handler: Callable[[Any], Any] = url_map
        routed = url_map.process_request
    else:
        _check_map(url_map)
        router = (create_router or Router)(url_map, server_name, "ws" if ssl is None else "wss")
        handler, routed = router.handler, router.route_request

    async def complete(result: Awaitable[Response | None], connection: Any, request: Request) -> Response | None:
        response = await result
        return routed(connection, request) if response is None else response

    def process(connection: Any, request: Request) -> Awaitable[Response | None] | Response | None:
        assert process_request is not None
        result: Awaitable[Response | None] | Response | None = process_request(connection, request)
        if isawaitable(result):
            return complete(result, connection, request)
        return routed(connection, request) if result is None else result

    options["process_request"] = routed if process_request is None else process
    if ssl is not True:
        options["ssl"] = ssl
    return handler, options


def _check_map(url_map: object) -> None:
    try:
        from werkzeug.routing import Map
    except ImportError as error:
        raise ImportError("routes that are not framewire.routes.Routes need werkzeug: pip install werkzeug") from error
    if not isinstance(url_map, Map):
        raise TypeError(f"url_map is a werkzeug.routing.Map or framewire.routes.Routes, not {type(url_map).__name__}")


def _split_target(target: str) -> tuple[str, str]:
    """Return the path and the query of a request target, which may be an absolute URI (RFC 9112
    3.2).
    """
    path, _, query = split_target(target)[1].partition("?")
    return path or "/", query


def _normalise(path: str) -> str:
    """Return the one form of all equivalent paths: an escape for each character that needs one and
    for no unreserved character, in upper case (RFC 3986 6.2.2).
    """
    return _ESCAPE.sub(_normalise_character, path)


def _normalise_character(match: re.Match[str]) -> str:
    if match[1] is None:
        return quote(match[0])
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


def _parse(pattern: str) -> PathPattern:
    if not pattern.startswith("/"):
        raise ValueError("the pattern of a route begins with /")
    parts = _PARAMETER.split(pattern)
    literals, names = tuple(parts[::3]), tuple(parts[1::3])
    if any("{" in literal or "}" in literal for literal in literals):
        raise ValueError(f"a malformed parameter in the pattern {pattern}")
    if len(set(names)) < len(names):
        raise ValueError(f"two parameters of one name in the pattern {pattern}")
    stops = tuple("\n" if whole_path else "/" for whole_path in parts[2::3])
    return PathPattern(tuple(map(_normalise, literals)), names, stops)


def _refuse(status: int, phrase: str, text: str) -> Response:
    return Response(status, phrase, Headers([("Content-Type", "text/plain; charset=utf-8")]), text.encode())
