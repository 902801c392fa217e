"""Handlers by the path of the request, for the servers of `framewire.sync` and `framewire.asyncio`.

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
from urllib.parse import unquote

from .http.headers import Headers, parse_tokens
from .http.http11 import Request, Response
from .http.request_checks import choose_subprotocol

__all__ = ["Route", "Routes"]

_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")


@dataclass(frozen=True)
class Route:
    """A pattern, what serves it, and the subprotocols of which a client must offer one (none: it need not)."""

    pattern: re.Pattern[str]
    handler: Callable[..., Any]
    subprotocols: Sequence[str]


class Routes:
    """A handler for a server, which calls the handler of the first route that fits, with the path's parameters."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def add(
        self, pattern: str, *, subprotocols: Sequence[str] = ()
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Has the decorated handler serve `pattern`, called with the connection and the parameters by name.

        `{name}` stands for one segment of the path, `{name:path}` for any number of them; values are percent-decoded.
        """
        compiled = _compile(pattern)

        def register(handler: Callable[..., Any]) -> Callable[..., Any]:
            self._routes.append(Route(compiled, handler, tuple(subprotocols)))
            return handler

        return register

    def find(self, target: str) -> tuple[Route, dict[str, str]] | None:
        """The route for a request target, without its query, and the parameters; None if there is none."""
        path = target.partition("?")[0]
        for route in self._routes:
            if match := route.pattern.fullmatch(path):
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
        return None

    def process_request(self, connection: Any, request: Request) -> Response | None:
        """For the server's parameter of this name: 404 without a route, 400 without one of its subprotocols."""
        found = self.find(request.target)
        if found is None:
            return _refuse(404, "Not Found", "Nothing is served here.\n")
        route, _ = found
        try:
            offered = parse_tokens(request.headers.get_all("Sec-WebSocket-Protocol"))
        except ValueError:
            offered = []  # the handshake says what is wrong with them
        if route.subprotocols and choose_subprotocol(offered, route.subprotocols) is None:
            return _refuse(400, "Bad Request", f"Offer one of the subprotocols {', '.join(route.subprotocols)}.\n")
        connection.subprotocols = route.subprotocols
        return None

    def __call__(self, connection: Any) -> Any:
        """Serves a connection; returns what its handler does."""
        found = self.find(connection.request.target)
        assert found is not None, "the server lacks process_request=routes.process_request"
        route, parameters = found
        return route.handler(connection, **parameters)


def _compile(pattern: str) -> re.Pattern[str]:
    if not pattern.startswith("/"):
        raise ValueError("the pattern of a route begins with /")
    parts, end = [], 0
    for match in _PARAMETER.finditer(pattern):
        name, many = match.groups()
        parts += [re.escape(pattern[end : match.start()]), f"(?P<{name}>{'.+' if many else '[^/]+'})"]
        end = match.end()
    if "{" in (rest := _PARAMETER.sub("", pattern)) or "}" in rest:
        raise ValueError(f"a malformed parameter in the pattern {pattern}")
    return re.compile("".join(parts) + re.escape(pattern[end:]))


def _refuse(status: int, phrase: str, text: str) -> Response:
    return Response(status, phrase, Headers([("Content-Type", "text/plain; charset=utf-8")]), text.encode())
