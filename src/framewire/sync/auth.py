"""Basic authentication of clients (RFC 7617), for `process_request` of the blocking `serve`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..http.auth import basic_auth as basic_auth_of_loops
from ..http.http11 import Request, Response
from .complete import complete

__all__ = ["basic_auth"]


def basic_auth(
    realm: str = "",
    credentials: tuple[str, str] | Iterable[tuple[str, str]] | None = None,
    check_credentials: Callable[[str, str], bool] | None = None,
) -> Callable[[Any, Request], Response | None]:
    """Return a `process_request` that answers 401 to requests without valid credentials.

    It sets `username` of the connection.

    Args:
        realm: The name of the protected space, which browsers show.
        credentials: One pair of user name and password, or several.
        check_credentials: Decides instead, given user name and password.

    Raises:
        ValueError: Both or none of `credentials` and `check_credentials` are given.
        TypeError: `credentials` are not pairs of text.
    """
    check = basic_auth_of_loops(realm, credentials, check_credentials)

    def process_request(connection: Any, request: Request) -> Response | None:
        return complete(check(connection, request))  # type: ignore[arg-type]

    return process_request
