"""Basic authentication of clients (RFC 7617), for `process_request` of `serve`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from ..exceptions import InvalidHeader
from .basic_auth import build_www_authenticate_basic, parse_authorization_basic
from .http11 import Request, Response

__all__ = ["basic_auth"]


def basic_auth(
    realm: str = "",
    credentials: tuple[str, str] | Iterable[tuple[str, str]] | None = None,
    check_credentials: Callable[[str, str], Awaitable[bool] | bool] | None = None,
) -> Callable[[Any, Request], Awaitable[Response | None]]:
    """Return a `process_request` that answers 401 to requests without valid credentials.

    It sets `username` of the connection.

    Args:
        realm: The name of the protected space, which browsers show.
        credentials: One pair of user name and password, or several.
        check_credentials: Decides instead, given user name and password; sync or async.

    Raises:
        ValueError: Both or none of `credentials` and `check_credentials` are given.
        TypeError: `credentials` are not pairs of text.
    """
    if (credentials is None) == (check_credentials is None):
        raise ValueError("basic_auth takes either credentials or check_credentials")
    if check_credentials is None:
        check_credentials = _check_against(_as_pairs(credentials))
    challenge = build_www_authenticate_basic(realm)

    async def process_request(connection: Any, request: Request) -> Response | None:
        given = request.headers.get_all("Authorization")
        pair = _read(given[0]) if len(given) == 1 else None
        if pair is not None:
            allowed = check_credentials(*pair)
            if inspect.isawaitable(allowed):
                allowed = await allowed
            if allowed:
                connection.username = pair[0]
                return None
        problem = "Invalid credentials\n" if pair else "Unsupported credentials\n" if given else "Missing credentials\n"
        response: Response = connection.respond(401, problem)
        response.headers["WWW-Authenticate"] = challenge
        return response

    return process_request


def _as_pairs(credentials: Any) -> dict[str, str]:
    if _is_pair(credentials):
        credentials = [credentials]
    pairs: list[Any] = list(credentials) if isinstance(credentials, Iterable) else [None]
    if not all(map(_is_pair, pairs)):
        raise TypeError("credentials are pairs of user name and password")
    return dict(pairs)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, str) for part in value)


def _check_against(known: dict[str, str]) -> Callable[[str, str], bool]:
    from hmac import compare_digest  # slow to import, and not every server needs it

    def check(username: str, password: str) -> bool:
        # Unknown users take as long as known ones.
        expected = known.get(username, "")
        return compare_digest(expected.encode(), password.encode()) and username in known

    return check


def _read(value: str) -> tuple[str, str] | None:
    """Return the user name and the password in a value of Authorization, None if there are none."""
    try:
        pair = parse_authorization_basic(value)
        "".join(pair).encode()  # no surrogates, which stand for bytes that are not UTF-8
    except (InvalidHeader, UnicodeEncodeError):
        return None
    return pair
