"""The Basic authentication scheme (RFC 7617): the values of Authorization and WWW-Authenticate."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Final

from ..exceptions import InvalidHeaderFormat, InvalidHeaderValue

__all__ = ["build_authorization_basic", "build_www_authenticate_basic", "parse_authorization_basic"]

_NAME: Final = "Authorization"
_CREDENTIALS: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) +([A-Za-z0-9\-._~+/]+=*)")
_QUOTABLE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def build_authorization_basic(username: str, password: str) -> str:
    """Return the value of Authorization, or Proxy-Authorization, for a user name and a password.

    Bytes that are not UTF-8 are given as surrogates ("surrogateescape").

    Args:
        username: The user name.
        password: The password.

    Raises:
        ValueError: The user name has a colon, which would end it.
    """
    if ":" in username:
        raise ValueError("a colon in the user name")
    pair = f"{username}:{password}".encode(errors="surrogateescape")
    return f"Basic {b64encode(pair).decode('ascii')}"


def parse_authorization_basic(header: str) -> tuple[str, str]:
    """Parse the value of Authorization.

    Args:
        header: The value of the header.

    Returns:
        The user name and the password; bytes that are not UTF-8 become surrogates
        ("surrogateescape").

    Raises:
        InvalidHeaderFormat: It is not a scheme and base64.
        InvalidHeaderValue: The scheme is another one, or the credentials are not base64 of a user
            name, a colon and a password.
    """
    if header[:5].lower() != "basic" or header[5:6].isalnum():
        scheme = re.match(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", header)
        if scheme is None:
            raise InvalidHeaderFormat(_NAME, "expected a scheme", header, 0)
        raise InvalidHeaderValue(_NAME, header, reason=f"the scheme of Authorization is not Basic but {scheme[0]}")
    match = _CREDENTIALS.fullmatch(header)
    if match is None:
        raise InvalidHeaderFormat(_NAME, "expected a space and base64", header, 5)
    try:
        pair = b64decode(match[2], validate=True)
    except ValueError:
        raise InvalidHeaderValue(_NAME, header, reason="the credentials are not base64") from None
    username, colon, password = pair.decode(errors="surrogateescape").partition(":")
    if not colon:
        raise InvalidHeaderValue(_NAME, header, reason="the credentials have no colon")
    return username, password


def build_www_authenticate_basic(realm: str) -> str:
    """Return the value of WWW-Authenticate that asks for a user name and a password.

    Args:
        realm: The name of the protected area.

    Raises:
        ValueError: It has a control character, or one beyond latin-1.
    """
    if not _QUOTABLE.fullmatch(realm):
        raise ValueError("the realm has a control character, or one beyond latin-1")
    quoted = re.sub(r'(["\\])', r"\\\1", realm)
    return f'Basic realm="{quoted}", charset="UTF-8"'
