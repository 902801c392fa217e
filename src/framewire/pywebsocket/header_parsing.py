"""The module `http_header_util`, and the functions of `common` for the extensions header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from ..http.headers import is_token
from .request import ExtensionParameter

__all__ = [
    "ExtensionParsingException",
    "ParsingState",
    "consume",
    "consume_lws",
    "consume_lwses",
    "consume_string",
    "consume_token",
    "consume_token_or_quoted_string",
    "format_extension",
    "format_extensions",
    "parse_extensions",
    "parse_uri",
    "peek",
    "quote_if_necessary",
]

_LWS: Final = re.compile(r"(?:\r\n)?[ \t]+")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: No text matches in two ways: the time would grow exponentially with the white space of a string
#: that has no end.
_QUOTED: Final = re.compile(r'"((?:(?:\r\n)?[ \t]|[^"\\\x00-\x20\x7f]|\\[\x00-\x7f])*)"')
#: In a quoted string: a backslash and the character that it stands for, or white space.
_ESCAPE_OR_LWS: Final = re.compile(r"\\(.)|(?:\r\n)?[ \t]+", re.DOTALL)
_PORTS: Final = {"ws": 80, "wss": 443}


class ExtensionParsingException(Exception):  # noqa: N818 - the name is that of pywebsocket
    """A Sec-WebSocket-Extensions header is malformed."""


@dataclass(eq=False)
class ParsingState:
    """A text, and how much of it is consumed."""

    data: str
    head: int = 0


def peek(state: ParsingState, pos: int = 0) -> str | None:
    """Return the character at `pos` after those consumed; None at the end."""
    return state.data[state.head + pos : state.head + pos + 1] or None


def consume(state: ParsingState, amount: int = 1) -> None:
    """Consume `amount` characters."""
    state.head += amount


def _match(state: ParsingState, pattern: re.Pattern[str]) -> re.Match[str] | None:
    match = pattern.match(state.data, state.head)
    if match is not None:
        state.head = match.end()
    return match


def consume_string(state: ParsingState, expected: str) -> bool:
    """Consume `expected`; return whether it came next."""
    found = state.data.startswith(expected, state.head)
    state.head += len(expected) * found
    return found


def consume_lws(state: ParsingState) -> bool:
    """Consume white space (LWS in RFC 2616 2.2); return whether there was any."""
    return _match(state, _LWS) is not None


def consume_lwses(state: ParsingState) -> None:
    """Consume white space as long as there is any."""
    while consume_lws(state):
        pass


def consume_token(state: ParsingState) -> str | None:
    """Consume and return a token; None if there is none."""
    match = _match(state, _TOKEN)
    return match and match[0]


def consume_token_or_quoted_string(state: ParsingState) -> str | None:
    """Consume a token or a quoted string and return its value; None if there is none.

    White space in a quoted string becomes a space.
    """
    match = _match(state, _QUOTED)
    if match is None:
        return consume_token(state)
    return _ESCAPE_OR_LWS.sub(lambda found: found[1] or " ", match[1])


def quote_if_necessary(s: str) -> str:
    """Return `s` as a token if it is one, or else as a quoted string."""
    if is_token(s):
        return s
    escaped = s.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def parse_uri(uri: str) -> tuple[str | None, int | None, str | None]:
    """Return host, port and resource of a ws or wss URI.

    Host and port are None for anything else, which is returned as the resource; all three are None
    for a URI that is invalid.
    """
    try:
        parts = urlsplit(uri)
        port = _PORTS.get(parts.scheme)
        if port is None:
            return None, None, uri
        if not parts.hostname:
            return None, None, None
        resource = parts._replace(scheme="", netloc="").geturl() or "/"
        return parts.hostname, parts.port or port, resource
    except ValueError:
        return None, None, None


def parse_extensions(data: str) -> list[ExtensionParameter]:
    """Parse the value of Sec-WebSocket-Extensions; quoted values may be any text.

    Raises:
        ExtensionParsingException: The value is malformed, or names no extension.
    """
    state = ParsingState(data)
    extensions = []
    while peek(state) is not None:
        name = consume_token(state)
        if name is not None:
            extensions.append(ExtensionParameter(name, list(_consume_parameters(state))))
            consume_lwses(state)
        if peek(state) is not None and not consume_string(state, ","):
            raise ExtensionParsingException(f"a comma is missing before {data[state.head :]!r}")
        consume_lwses(state)
    if not extensions:
        raise ExtensionParsingException("there is no extension")
    return extensions


def _consume_parameters(state: ParsingState) -> Iterator[tuple[str, str | None]]:
    consume_lwses(state)
    while consume_string(state, ";"):
        consume_lwses(state)
        name = consume_token(state)
        if name is None:
            raise ExtensionParsingException("a parameter has no name")
        consume_lwses(state)
        value = None
        if consume_string(state, "="):
            consume_lwses(state)
            value = consume_token_or_quoted_string(state)
            if value is None:
                raise ExtensionParsingException(f"the parameter {name} has no value after =")
            consume_lwses(state)
        yield name, value


def format_extension(extension: ExtensionParameter) -> str:
    """Return an extension as in Sec-WebSocket-Extensions; values that are no tokens are quoted."""
    parameters = extension.get_parameters()
    pairs = [name if value is None else f"{name}={quote_if_necessary(value)}" for name, value in parameters]
    return "; ".join([extension.name(), *pairs])


def format_extensions(extension_list: list[ExtensionParameter]) -> str:
    """Return the value of Sec-WebSocket-Extensions."""
    return ", ".join(map(format_extension, extension_list))
