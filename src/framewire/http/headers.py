"""Header fields: the `Headers` mapping, validation, lists of tokens and extensions (RFC 9110 5, RFC 6455 9.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, MutableMapping
from functools import lru_cache
from typing import Final

from ..protocol.codecs import Terms

__all__ = [
    "FRAMING",
    "Headers",
    "check_additional",
    "check_field",
    "format_extensions",
    "is_token",
    "parse_extensions",
    "parse_tokens",
    "split_fields",
    "split_list",
]

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_IS_TOKEN: Final = re.compile(_TOKEN)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

#: Headers that frame a message: only the handshake itself may write them.
FRAMING: Final = frozenset({"connection", "content-length", "transfer-encoding"})

#: Names of headers whose values repeat from connection to connection: the results of their checks
#: are cached.
_REPEATED: Final = frozenset({"Connection", "Date", "Server", "Upgrade", "reason"})

# These patterns decide by the next character alone, so they never backtrack into quadratic time. A
# quoted-string without its end reaches to the end of the line.
_ELEMENT: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.?)*(?:"|$))+', re.DOTALL)
_PARAMETER: Final = re.compile(
    rf'[ \t]*;[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)"))?', re.DOTALL
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class Headers(MutableMapping[str, str]):
    """The header lines of a message in their order, as a mapping whose names match in any case.

    The value of a name that several lines have is that of all of them, joined by ", " (RFC 9110
    5.3); `get_all` returns them one by one. Assigning a value adds a line. Values are decoded as
    latin-1, so that bytes beyond ASCII pass unchanged.

    Args:
        lines: Pairs of name and value. They are not validated.
    """

    __slots__ = ("_found", "_packed", "_pairs")

    def __init__(self, lines: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs: list[tuple[str, str]] | None = list(lines)
        self._found: dict[str, list[str]] | None = None
        self._packed = ""

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """The lines in their order: pairs of name and value."""
        return tuple(self._lines())

    def pack(self) -> None:
        """Store the lines as one string until they are needed again: an eighth of the memory."""
        if self._pairs:
            self._packed = "\r\n".join([f"{name}:{value}" for name, value in self._pairs])
            self._pairs = self._found = None

    def _lines(self) -> list[tuple[str, str]]:
        if self._pairs is None:
            self._pairs = split_fields(self._packed)
            self._packed = ""
        return self._pairs

    def _values(self) -> dict[str, list[str]]:
        if self._found is None:
            self._found = {}
            for name, value in self._lines():
                self._found.setdefault(name.lower(), []).append(value)
        return self._found

    def get_all(self, name: str) -> list[str]:
        """Return the value of each line with this name; an empty list if there is none."""
        found = self._found
        if found is None:
            found = self._values()
        return list(found.get(name.lower(), ()))

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values()[name.lower()])

    def __setitem__(self, name: str, value: str) -> None:
        check_field(name, value)
        self._lines().append((name, value))
        self._found = None

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._pairs = [line for line in self._lines() if line[0].lower() != name.lower()]
        self._found = None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def __repr__(self) -> str:
        return f"Headers({self._lines()!r})"


def split_fields(text: str) -> list[tuple[str, str]]:
    """Split header lines that are known to be well-formed into pairs of name and value."""
    fields = []
    for line in text.split("\r\n"):
        name, _, value = line.partition(":")
        fields.append((name, value.strip(" \t")))
    return fields


def check_field(name: str, value: str) -> tuple[bytes, bytes]:
    """Validate and encode a header line to send.

    Returns:
        The name and the value as bytes.

    Raises:
        ValueError: The line could be read as anything but one header: the name is not a token, or
            the value has a control character (HTAB too), a space at an end, or a character beyond
            latin-1.
    """
    return (_check_again if name in _REPEATED else _check_field)(name, value)


def _check_field(name: str, value: str) -> tuple[bytes, bytes]:
    if not is_token(name):
        raise ValueError(f"a header name is a token, not {name!r}")
    if _CONTROL.search(value) or value != value.strip(" "):
        raise ValueError(f"the value of {name} has a control character, or a space at an end")
    return name.encode("ascii"), value.encode("latin-1")


_check_again = lru_cache(32)(_check_field)


def check_additional(headers: Iterable[tuple[str, str]], *own: str) -> list[tuple[str, str]]:
    """Validate the header lines that a caller adds to a handshake.

    Args:
        headers: Pairs of name and value.
        own: Names in lower case that the handshake writes itself, besides those of the upgrade.

    Returns:
        The lines.

    Raises:
        ValueError: One of them is malformed, or written by the handshake itself.
    """
    lines = list(headers)
    for name, value in lines:
        check_field(name, value)
        lower = name.lower()
        if lower in FRAMING or lower in ("upgrade", *own) or lower.startswith("sec-websocket-"):
            raise ValueError(f"{name} is written by the handshake itself")
    return lines


def is_token(text: str) -> bool:
    """Return whether `text` is a token (RFC 9110 5.6.2)."""
    return _IS_TOKEN.fullmatch(text) is not None


def split_list(values: Iterable[str]) -> list[str]:
    """Split a comma-separated header into its elements (RFC 9110 5.6.1).

    Spaces and tabs around elements and empty elements are dropped; a comma in a quoted-string does
    not separate. The elements themselves are not validated.

    Args:
        values: The values of all lines of the header.
    """
    elements = []
    for value in values:
        for part in _ELEMENT.findall(value) if "," in value else (value,):
            element = part.strip(" \t")
            if element:
                elements.append(element)
    return elements


def parse_tokens(values: Iterable[str]) -> list[str]:
    """Parse a list of tokens, as in Sec-WebSocket-Protocol.

    Args:
        values: The values of all lines of the header.

    Raises:
        ValueError: An element is not a token.
    """
    tokens = split_list(values)
    if not all(map(is_token, tokens)):
        raise ValueError("not a list of tokens")
    return tokens


def parse_extensions(values: Iterable[str]) -> list[Terms]:
    """Parse the lines of Sec-WebSocket-Extensions (RFC 6455 9.1).

    Args:
        values: The values of all lines of the header.

    Returns:
        The extensions in their order. The value of a parameter is None without "="; quoted or not,
        it is a token.

    Raises:
        ValueError: The value does not follow the grammar: the connection must then fail.
    """
    return [_parse_extension(element) for element in split_list(values)]


def _parse_extension(element: str) -> Terms:
    name = _IS_TOKEN.match(element)
    if not name:
        raise ValueError("an extension without a name")
    parameters: list[tuple[str, str | None]] = []
    position = name.end()
    while position < len(element):
        match = _PARAMETER.match(element, position)
        if not match:
            raise ValueError(f"a malformed parameter of the extension {name[0]}")
        value: str | None = match[2]
        if match[3] is not None:
            value = _ESCAPE.sub(r"\1", match[3])
            if not is_token(value):
                raise ValueError(f"a quoted value of the extension {name[0]} is not a token")
        parameters.append((match[1], value))
        position = match.end()
    return name[0], parameters


def format_extensions(extensions: Iterable[Terms]) -> str:
    """Format the value of Sec-WebSocket-Extensions (RFC 6455 9.1).

    Raises:
        ValueError: A name or a value is not a token.
    """
    return ", ".join("; ".join(_format_extension(*extension)) for extension in extensions)


def _format_extension(name: str, parameters: Iterable[tuple[str, str | None]]) -> Iterator[str]:
    for text in (name, *(part for pair in parameters for part in pair)):
        if text is not None and not is_token(text):
            raise ValueError(f"names and values in an extension are tokens, not {text!r}")
    yield name
    for parameter, value in parameters:
        yield parameter if value is None else f"{parameter}={value}"
