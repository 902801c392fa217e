"""The URLs of WebSockets as browsers parse them (WHATWG URL Standard 4.4, without a base URL)."""

from __future__ import annotations

import re
from typing import Final

from ..errors import UriError
from .uri import Uri, format_authority, parse_host

__all__ = ["parse_web_url"]

_SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}

# Characters to percent-encode, besides controls and those beyond ASCII (1.3). The standard does not
# encode "|" in a path; it is encoded here as in Chromium, because RFC 3986 does not allow it.
_QUERY: Final = " \"#<>'"
_PATH: Final = ' "#<>?`{}^|'
_USER: Final = _PATH + "/:;=@[\\]"

_IPV4_PART: Final = re.compile(r"0[xX]([0-9A-Fa-f]*)|0([0-7]*)|([1-9][0-9]*)")


def parse_web_url(text: str) -> tuple[Uri, str]:
    """Parse a URL for a WebSocket; http means ws, https means wss.

    Whitespace around it, tabs and line ends are removed, a backslash means a slash, path segments
    of dots are resolved, and IPv4 addresses may have any form of the standard.

    Args:
        text: The URL.

    Returns:
        The URI to connect to, and the normalized URL.

    Raises:
        UriError: A relative URL, another scheme, a fragment, an invalid host or port.
    """
    text = re.sub(r"[\t\n\r]", "", text.strip("".join(map(chr, range(0x21)))))
    scheme, colon, rest = text.partition(":")
    scheme = _SCHEMES.get(scheme.lower(), "")
    if not (colon and scheme):
        raise UriError(text, "the scheme of the URL is not ws, wss, http or https")
    if "#" in rest:
        raise UriError(text, "the URL of a WebSocket must not have a fragment")
    rest, mark, query = rest.partition("?")
    authority, _, path = rest.replace("\\", "/").lstrip("/").partition("/")
    user, _, host = authority.rpartition("@")
    secure = scheme == "wss"
    try:
        host, port = _split_port(host, secure)
    except ValueError as error:
        raise UriError(text, f"malformed URL: {error}") from error
    username, _, password = user.partition(":")
    target = "/" + _resolve_dots(path)
    if mark:
        target += "?" + _encode(query, _QUERY)
    credentials = _encode(username, _USER) + (":" + _encode(password, _USER) if password else "")
    prefix = credentials + "@" if credentials else ""
    url = f"{scheme}://{prefix}{format_authority(host, port, secure)}{target}"
    decoded = (_decode(username), _decode(password)) if credentials else ()
    return Uri(secure, host, port, target, *decoded), url


def _split_port(text: str, secure: bool) -> tuple[str, int]:
    """Return the host and the port of an authority without credentials."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]+)(?::([0-9]*))?", text)
    if not match:
        raise ValueError("the host or the port is missing or malformed")
    digits = (match[2] or "").lstrip("0")
    port = int(digits[:6] or "0") if match[2] else 443 if secure else 80
    if not 0 < port <= 65535:
        raise ValueError("the port is not 1 to 65535")
    host = match[1]
    if host.startswith("["):
        return parse_host(host), port
    host = parse_host(_decode(host))
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.removesuffix(".").rpartition(".")[2]):
        host = _parse_ipv4(host.removesuffix("."))
    return host, port


def _parse_ipv4(host: str) -> str:
    """Return an IPv4 address in its common form (3.5): the last part fills the rest of it."""
    numbers = []
    for part in host.split("."):
        match = _IPV4_PART.fullmatch(part)
        if not match:
            raise ValueError("a part of an IPv4 address is not a number")
        base = 16 if match[1] is not None else 8 if match[2] is not None else 10
        numbers.append(int(match[match.lastindex or 0] or "0", base))
    *first, last = numbers
    if len(first) > 3 or any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        raise ValueError("not an IPv4 address")
    return ".".join(map(str, bytes(first) + last.to_bytes(4 - len(first), "big")))


def _resolve_dots(path: str) -> str:
    """Return a path without "." and ".." segments, percent-encoded."""
    segments: list[str] = []
    *folders, name = (_read_dots(segment) for segment in path.split("/"))
    for segment in folders:
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    if name == "..":
        del segments[-1:]
    segments.append("" if name in (".", "..") else name)
    return _encode("/".join(segments), _PATH)


def _read_dots(segment: str) -> str:
    """Return the segment, decoded if it is "." or ".."."""
    return re.sub("%2[eE]", ".", segment) if re.fullmatch(r"(?:\.|%2[eE]){1,2}", segment) else segment


def _encode(text: str, unsafe: str) -> str:
    """Percent-encode the UTF-8 of the given characters, of controls and of those beyond ASCII."""
    return "".join(
        chr(octet) if 0x20 <= octet < 0x7F and chr(octet) not in unsafe else f"%{octet:02X}" for octet in text.encode()
    )


def _decode(text: str) -> str:
    from urllib.parse import unquote

    return unquote(text)
