"""The HTTP of a handshake (RFC 9112): heads and their scan, headers and their lists, the URI.

h11 parses heads, but lets pass what has been used to smuggle requests past proxies: bare LF, folded
lines, control characters. So every head goes through `HeadScanner` first, once, as it arrives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final, TypeAlias
from urllib.parse import quote, unquote

from .errors import HandshakeError, OpeningError, UriError

__all__ = [
    "MAX_HEAD",
    "MAX_HEADERS",
    "MAX_LINE",
    "HeadScanner",
    "Headers",
    "Parameters",
    "Request",
    "Response",
    "ResponseError",
    "StatusError",
    "Terms",
    "Uri",
    "check_field",
    "format_extensions",
    "is_token",
    "parse_extensions",
    "parse_tokens",
    "parse_uri",
    "split_list",
]

#: The longest line of a head, in bytes, its CRLF included.
MAX_LINE: Final = 8192

#: The most header lines of a head; the first line and the empty one do not count.
MAX_HEADERS: Final = 128

#: The longest head, in bytes, its empty line included.
MAX_HEAD: Final = 32768

#: All that may stand in a line: no control character but HTAB (RFC 9110 5.5). 80 to ff are
#: obs-text.
_TEXT: Final = bytes(byte for byte in range(256) if byte == 0x09 or 0x20 <= byte != 0x7F)

#: A whole head as `HeadScanner` lets it pass, but for its length.
_SOUND: Final = re.compile(
    rb"[\t -~\x80-\xff]{1,%d}\r\n(?:[!-~\x80-\xff][\t -~\x80-\xff]{0,%d}\r\n){0,%d}\r\n"
    % (MAX_LINE - 2, MAX_LINE - 3, MAX_HEADERS)
)

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

#: What follows the scheme: user, host, port, path, query.
_URI: Final = re.compile(
    r"(?:([^/?@]*)@)?(\[[0-9A-Fa-f:.]+\]|[^\[\]/?@:]+)(?::([0-9]*))?(/[^?]*)?(?:\?(.*))?", re.DOTALL
)

#: The parameters of an extension in their order: pairs of name and value, which is None without "=".
Parameters: TypeAlias = Sequence[tuple[str, str | None]]

#: The name of an extension and its parameters, as offered or agreed (9.1).
Terms: TypeAlias = tuple[str, Parameters]


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


@dataclass(frozen=True)
class Request:
    """The head of a request. `target` is as sent: a path with its query, or an absolute URI."""

    method: str
    target: str
    headers: Headers
    version: str = "HTTP/1.1"

    @property
    def path(self) -> str:
        """The same as `target`."""
        return self.target


@dataclass(frozen=True)
class Response:
    """A response. Of a body that arrives, `body` holds the first MiB."""

    status: int
    reason: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    version: str = "HTTP/1.1"

    @property
    def status_code(self) -> int:
        """The same as `status`."""
        return self.status

    @property
    def reason_phrase(self) -> str:
        """The same as `reason`."""
        return self.reason


class ResponseError(OpeningError):
    """The server's answer does not open a WebSocket connection (4.1): close it.

    `reason` says why; `response` is the answer, or None if there was not a whole HTTP head.
    """

    def __init__(self, reason: str, response: Response | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.response = response


class StatusError(ResponseError):
    """The server answered another status than 101."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"the server answered {response.status}", response)
        self.status = response.status


class HeadScanner:
    """Finds the end of a head, and refuses the head at the first byte that has no place in it.

    Each byte is looked at once, however the head is cut; the answer does not depend on the cuts.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._line = 0  # where the current line begins
        self._scanned = 0  # what lies before is known to be good
        self._lines = 0

    def receive(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Takes the next bytes; returns the head and what follows it, None while it is not whole.

        Raises HandshakeError: 400 for a bare CR or LF, another control character or a folded line,
        414 for too long a first line, 431 for any other, too many of them, or too long a head.
        """
        buffer = self._buffer
        if not buffer:  # nearly all heads arrive whole and are sound; the rest is for the loop
            sound = _SOUND.match(data)
            if sound and sound.end() <= MAX_HEAD:
                return bytes(data[: sound.end()]), bytes(data[sound.end() :])
        buffer += data
        while True:
            limit = min(self._line + MAX_LINE, MAX_HEAD)
            newline = buffer.find(b"\n", self._scanned, limit)
            end = newline if newline >= 0 else min(len(buffer), limit)
            if buffer.endswith(b"\r", self._line, end):
                end -= 1  # half of a line's end, unless the next byte says otherwise
            self._check_text(end)
            if newline < 0:
                if len(buffer) >= limit:
                    raise self._too_long(limit)
                return None
            if newline == end:
                raise HandshakeError(400, "a line of the head ends in LF without CR")
            if end == self._line:
                return bytes(buffer[: newline + 1]), bytes(buffer[newline + 1 :])
            self._line = self._scanned = newline + 1
            self._lines += 1
            if self._lines > 1 + MAX_HEADERS:
                raise HandshakeError(431, f"more than {MAX_HEADERS} header lines")

    def _check_text(self, end: int) -> None:
        """Checks the bytes of the current line that are new, up to `end`."""
        text = self._buffer[self._scanned : end]
        if self._scanned == self._line > 0 and text.startswith((b" ", b"\t")):
            raise HandshakeError(400, "a folded header line")
        if text.translate(None, _TEXT):
            raise HandshakeError(400, "a control character in the head")
        self._scanned = end

    def _too_long(self, limit: int) -> HandshakeError:
        if limit == MAX_HEAD:
            return HandshakeError(431, f"a head of over {MAX_HEAD} bytes")
        if self._lines == 0:
            return HandshakeError(414, f"a first line of over {MAX_LINE} bytes")
        return HandshakeError(431, f"a header line of over {MAX_LINE} bytes")


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


@dataclass(frozen=True)
class Uri:
    """A ws or wss URI (3): `host` in lower case, without brackets; `target` is path and query."""

    secure: bool
    host: str
    port: int
    target: str
    username: str | None = None
    password: str = field(default="", repr=False)

    @property
    def authority(self) -> str:
        """The value of Host: without the port where it is the default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def parse_uri(text: str) -> Uri:
    """Parses a ws or wss URI (3).

    What is not ASCII becomes IDNA in the host and percent-encoded UTF-8 in the path and query.
    Raises UriError for another scheme, a fragment, a control character or space, or a host, port or
    user that cannot be.
    """
    scheme, separator, rest = text.partition("://")
    secure = scheme.lower() == "wss"
    if not separator or scheme.lower() not in ("ws", "wss"):
        raise UriError("the scheme of the URI is not ws or wss")
    if "#" in rest:
        raise UriError("a fragment has no meaning in a WebSocket URI")
    if re.search(r"[\x00-\x20\x7f]", rest):
        raise UriError("a control character or space in the URI")
    match = _URI.fullmatch(rest)
    if not match:
        raise UriError("the host or the port of the URI is missing or malformed")
    user, host, port, path, query = match.groups()
    try:
        host = _parse_host(host)
        number = int(port[:6]) if port else 443 if secure else 80
        # "%" passes, as it is taken to introduce an escape already made.
        target = quote(path or "/", safe="%:/[]@!$&'()*+,;=")
        if query:
            target += "?" + quote(query, safe="%:/?[]@!$&'()*+,;=")
        username, _, password = (user or "").partition(":")
        username, password = (unquote(part, errors="strict") for part in (username, password))
    except ValueError as error:
        raise UriError(f"malformed URI: {error}") from error
    if not 0 < number <= 65535:
        raise UriError("the port of the URI is not 1 to 65535")
    if ":" in username or re.search(r"[\x00-\x1f\x7f]", username + password):
        raise UriError("a colon in the user name, or a control character in the credentials")
    return Uri(secure, host, number, target, None if user is None else username, password)


def _parse_host(text: str) -> str:
    if text.startswith("["):
        return str(IPv6Address(text[1:-1]))
    host = text.encode("idna").decode("ascii").lower()
    if not re.fullmatch(r"[a-z0-9._\-]+", host):
        raise ValueError("not a host name")
    return host
