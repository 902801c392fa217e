"""Header fields: the `Headers` mapping, validation, lists of tokens and extensions (RFC 9110 5, RFC
6455 9.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

from ..exceptions import InvalidHeaderValue
from ..protocol.codecs import Terms

__all__ = [
    "FRAMING",
    "Headers",
    "HeadersLike",
    "MultipleValuesError",
    "check_additional",
    "check_field",
    "format_additional",
    "format_extensions",
    "is_token",
    "list_lines",
    "parse_extensions",
    "parse_tokens",
    "split_list",
]

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_IS_TOKEN: Final = re.compile(_TOKEN)
_UNSAFE: Final = re.compile(r"[^\x20-\x7e\x80-\xff]")

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


class MultipleValuesError(LookupError):
    """Several lines of `Headers` have the name that was looked up.

    `Headers.get_all` returns the value of each.
    """

    def __str__(self) -> str:
        # Quoted like the name in a KeyError.
        return repr(self.args[0]) if len(self.args) == 1 else super().__str__()


class HasKeys(Protocol):
    """A mapping as far as `Headers` reads one; dict, and what has its `keys` and `[]`."""

    def keys(self) -> Iterable[str]:
        """Return the names."""

    def __getitem__(self, name: str, /) -> str:
        """Return the value of a name."""


class Headers(MutableMapping[str, str]):
    """The header lines of a message in their order, as a mapping whose names match in any case.

    A name may occur in several lines: `get_all` returns the value of each, and looking it up by
    `headers[name]`, `get`, `items` or `values` raises MultipleValuesError. Assigning a value adds a
    line; deleting a name removes all of its lines. Values are decoded as latin-1, so that bytes
    beyond ASCII pass unchanged.

    Args:
        lines: Other `Headers`, a mapping, or pairs of name and value. They are validated when they
            are sent.
        more: Further lines, by keyword.
    """

    __slots__ = ("_found", "_packed", "_pairs")
    __hash__ = None  # type: ignore[assignment]  # mutable, and equal by value

    def __init__(self, lines: HeadersLike = (), /, **more: str) -> None:
        self._pairs: list[tuple[str, str]] | None = list_lines(lines)
        self._found: dict[str, list[str]] | None = None
        self._packed = ""
        if more:
            self._pairs += more.items()

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """The lines in their order: pairs of name and value."""
        return tuple(self._lines())

    def raw_items(self) -> Iterator[tuple[str, str]]:
        """Return an iterator over `lines`."""
        return iter(self.lines)

    def copy(self) -> Headers:
        """Return new headers with the same lines."""
        return self.__class__(self)

    def serialize(self) -> bytes:
        """Return the lines and the empty line after them as they are sent, without validating
        them.
        """
        return str(self).encode("latin-1")

    @classmethod
    def from_text(cls, text: str, found: dict[str, list[str]] | None = None) -> Headers:
        """Return headers with the lines in `text`, separated by CRLF and known to be well-formed.

        Args:
            text: The lines, without the empty line after them.
            found: Their values by name, as `by_name` returns them, if they are known.
        """
        headers = cls.__new__(cls)
        headers._packed, headers._pairs, headers._found = text, None, found
        return headers

    def pack(self) -> None:
        """Store the lines as one string until they are needed again: an eighth of the memory."""
        if self._pairs and not self._packed:
            self._packed = "\r\n".join([f"{name}: {value}" for name, value in self._pairs])
        if self._packed:
            self._pairs = self._found = None

    def are_of(self, text: str) -> bool:
        """Return whether the lines are still those of `from_text(text)`.

        Args:
            text: The same object as the argument of `from_text`.
        """
        return self._packed is text

    def _lines(self) -> list[tuple[str, str]]:
        if self._pairs is None:
            self._pairs = _split_fields(self._packed)
        return self._pairs

    def _values(self) -> dict[str, list[str]]:
        if self._found is None:
            found: dict[str, list[str]] = {}
            for name, value in self._lines():
                lower = name.lower()
                if lower in found:
                    found[lower].append(value)
                else:
                    found[lower] = [value]
            self._found = found
        return self._found

    def get_all(self, name: str) -> list[str]:
        """Return the value of each line with this name; an empty list if there is none.

        Args:
            name: The name, in any case.
        """
        return list(self._values().get(name.lower(), ()))

    def by_name(self) -> Mapping[str, list[str]]:
        """Return the values of the lines by their names in lower case, for reading only."""
        return self._values()

    def get_joined(self, name: str) -> str:
        """Return the values of all lines with this name, joined by ", " (RFC 9110 5.3); "" if there
        is none.

        Args:
            name: The name, in any case.
        """
        return ", ".join(self._values().get(name.lower(), ()))

    def set_insecure(self, name: str, value: str) -> None:
        """Add a line without validating it now; it is validated when it is sent.

        Args:
            name: The name.
            value: The value.
        """
        self._lines().append((name, value))
        self._found = None
        self._packed = ""

    def update(self, lines: HeadersLike = (), /, **more: str) -> None:
        """Add lines, given as for the constructor.

        Args:
            lines: A mapping, or pairs of name and value.
            **more: Further lines, by name.

        Raises:
            ValueError: One of them is malformed.
        """
        for name, value in (*list_lines(lines), *more.items()):
            self[name] = value

    def clear(self) -> None:
        """Remove all lines."""
        self._pairs, self._found, self._packed = [], None, ""

    def __getitem__(self, name: str) -> str:
        values = self._values()[name.lower()]
        if len(values) > 1:
            raise MultipleValuesError(name)
        return values[0]

    def __setitem__(self, name: str, value: str) -> None:
        check_field(name, value)
        self.set_insecure(name, value)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._pairs = [line for line in self._lines() if line[0].lower() != name.lower()]
        self._found = None
        self._packed = ""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Headers) else NotImplemented

    def __str__(self) -> str:
        return "".join([f"{name}: {value}\r\n" for name, value in self._lines()]) + "\r\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._lines()!r})"


#: Header lines as the API takes them.
HeadersLike: TypeAlias = Headers | Mapping[str, str] | Iterable[tuple[str, str]] | HasKeys


def list_lines(lines: HeadersLike) -> list[tuple[str, str]]:
    """Return the lines as pairs of name and value; unvalidated."""
    if type(lines) is list:  # checked first: `isinstance` asks an abstract base class
        return lines.copy()
    if isinstance(lines, Headers):
        return list(lines._lines())
    return list(dict(lines).items()) if hasattr(lines, "keys") else list(lines)


def _split_fields(text: str) -> list[tuple[str, str]]:
    lines = [line.partition(":") for line in text.split("\r\n")]
    return [(name, value.strip(" \t")) for name, _, value in lines]


def check_field(name: str, value: str) -> tuple[bytes, bytes]:
    """Validate and encode a header line to send.

    Returns:
        The name and the value as bytes.

    Raises:
        ValueError: The line could be read as anything but one header: the name is not a token, or
            (InvalidHeaderValue) the value has a control character (HTAB too), a space at an end, or
            a character beyond latin-1.
    """
    return (_check_again if name in _REPEATED else _check_field)(name, value)


def _check_field(name: str, value: str) -> tuple[bytes, bytes]:
    if not is_token(name):
        raise ValueError(f"a header name is a token, not {name!r}")
    if _UNSAFE.search(value) or value != value.strip(" "):
        problem = f"the value of {name} has a control character, one beyond latin-1, or a space at an end"
        raise InvalidHeaderValue(name, value, reason=problem)
    return name.encode("ascii"), value.encode("latin-1")


_check_again = lru_cache(32)(_check_field)


def check_additional(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Validate the header lines that a caller adds to a handshake.

    Args:
        headers: Pairs of name and value.

    Returns:
        The lines.

    Raises:
        ValueError: One of them is malformed, or written by the handshake itself.
    """
    lines = list(headers)
    for name, value in lines:
        check_field(name, value)
        lower = name.lower()
        if lower in FRAMING or lower == "upgrade" or lower.startswith("sec-websocket-"):
            raise ValueError(f"{name} is written by the handshake itself")
    return lines


@lru_cache(16)
def format_additional(headers: tuple[tuple[str, str], ...]) -> str:
    """Return the header lines that a caller adds to a handshake, each after a CRLF.

    Those of a server repeat from connection to connection.

    Raises:
        ValueError: As `check_additional`.
    """
    return "".join([f"\r\n{name}: {value}" for name, value in check_additional(headers)])


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

    Args:
        extensions: The name and the parameters of each extension; the value of a parameter is None
            without "=".

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
