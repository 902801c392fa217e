"""Header fields: the `Headers` mapping, lists of tokens and extensions (RFC 9110 5, RFC 6455 9.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, MutableMapping
from functools import lru_cache
from typing import Final

from ..protocol.codecs import Terms

__all__ = [
    "Headers",
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

#: Header lines that are the same on all connections, so that they need not be checked on each.
_REPEATED: Final = frozenset({"Connection", "Date", "Server", "Upgrade", "reason"})

# These patterns decide by the next character alone, so they never backtrack into quadratic time. An
# unfinished quoted-string reaches to the end of its line.
_ELEMENT: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.?)*(?:"|$))+', re.DOTALL)
_PARAMETER: Final = re.compile(
    rf'[ \t]*;[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)"))?', re.DOTALL
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class Headers(MutableMapping[str, str]):
    """The header lines of a message in their order; names match in any case.

    A name on several lines has all their values, joined by ", " (RFC 9110 5.3); `get_all` gives
    them one by one, and to assign a value adds a line. Values are the bytes of the line in latin-1:
    what is not ASCII passes unchanged.
    """

    __slots__ = ("_found", "_packed", "_pairs")

    def __init__(self, lines: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs: list[tuple[str, str]] | None = list(lines)
        self._found: dict[str, list[str]] | None = None
        self._packed = ""

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """The lines as they came: pairs of name and value."""
        return tuple(self._lines())

    def pack(self) -> None:
        """Keep the lines as one text until they are asked for: an eighth of the memory."""
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
        """The value of each line called `name`; an empty list if there is none."""
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
    """The pairs of name and value in header lines that are known to be sound."""
    fields = []
    for line in text.split("\r\n"):
        name, _, value = line.partition(":")
        fields.append((name, value.strip(" \t")))
    return fields


def check_field(name: str, value: str) -> tuple[bytes, bytes]:
    """Returns a header line to send as bytes.

    Raises ValueError if it could be read as anything but one header: a name that is not a token; in
    the value a control character (HTAB too), a space at an end, or what latin-1 cannot express.
    """
    return (_check_again if name in _REPEATED else _check_field)(name, value)


def _check_field(name: str, value: str) -> tuple[bytes, bytes]:
    if not is_token(name):
        raise ValueError(f"a header name is a token, not {name!r}")
    if _CONTROL.search(value) or value != value.strip(" "):
        raise ValueError(f"the value of {name} has a control character, or a space at an end")
    return name.encode("ascii"), value.encode("latin-1")


_check_again = lru_cache(32)(_check_field)


def is_token(text: str) -> bool:
    """Whether `text` is a token (RFC 9110 5.6.2)."""
    return _IS_TOKEN.fullmatch(text) is not None


def split_list(values: Iterable[str]) -> list[str]:
    """The elements of a comma-separated header (RFC 9110 5.6.1) over all its lines.

    Spaces and tabs around them and empty elements are dropped; a comma in a quoted-string does not
    separate. What an element may be is for the caller to check.
    """
    elements = []
    for value in values:
        for part in _ELEMENT.findall(value) if "," in value else (value,):
            element = part.strip(" \t")
            if element:
                elements.append(element)
    return elements


def parse_tokens(values: Iterable[str]) -> list[str]:
    """The elements of a list of tokens, as in Sec-WebSocket-Protocol; ValueError if one is none."""
    tokens = split_list(values)
    if not all(map(is_token, tokens)):
        raise ValueError("not a list of tokens")
    return tokens


def parse_extensions(values: Iterable[str]) -> list[Terms]:
    """The extensions in the lines of Sec-WebSocket-Extensions (9.1), in their order.

    The value of a parameter is None without "="; quoted or not, it must be a token. Raises
    ValueError for what does not follow the grammar: the connection must then fail.
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
    """The value of Sec-WebSocket-Extensions (9.1); ValueError if a name or value is not a token."""
    return ", ".join("; ".join(_format_extension(*extension)) for extension in extensions)


def _format_extension(name: str, parameters: Iterable[tuple[str, str | None]]) -> Iterator[str]:
    for text in (name, *(part for pair in parameters for part in pair)):
        if text is not None and not is_token(text):
            raise ValueError(f"names and values in an extension are tokens, not {text!r}")
    yield name
    for parameter, value in parameters:
        yield parameter if value is None else f"{parameter}={value}"
