"""Values of the headers of the opening handshake, under the function names that they have in
websockets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn, cast

from .exceptions import InvalidHeaderFormat
from .http.basic_auth import build_authorization_basic, build_www_authenticate_basic, parse_authorization_basic
from .http.headers import format_extensions, is_token, parse_extensions, split_list
from .http.request_checks import check_subprotocols
from .http.uri import format_authority
from .typing import ExtensionHeader, Subprotocol

__all__ = [
    "build_authorization_basic",
    "build_extension",
    "build_host",
    "build_subprotocol",
    "build_www_authenticate_basic",
    "parse_authorization_basic",
    "parse_connection",
    "parse_extension",
    "parse_subprotocol",
    "parse_upgrade",
    "validate_subprotocols",
]

#: A protocol in Upgrade: a name, and a version after "/" (RFC 9110 7.8).
_PROTOCOL: Final = re.compile(r"[^/]+(?:/[^/]+)?")


def build_host(host: str, port: int, secure: bool, *, always_include_port: bool = False) -> str:
    """Return the value of Host.

    Args:
        host: The host, an IPv6 address without its brackets.
        port: The port.
        secure: Whether the scheme is wss.
        always_include_port: Whether the default port of the scheme is written too.
    """
    return format_authority(host, port, None if always_include_port else secure)


def parse_connection(header: str) -> list[str]:
    """Parse the value of Connection into its options.

    Args:
        header: The value of the header.

    Raises:
        InvalidHeaderFormat: An element is not a token.
    """
    return _parse_tokens("Connection", header)


def parse_upgrade(header: str) -> list[str]:
    """Parse the value of Upgrade into its protocols.

    Args:
        header: The value of the header.

    Raises:
        InvalidHeaderFormat: An element is not a protocol, such as "websocket" or "HTTP/3.0".
    """
    protocols = split_list([header])
    for protocol in protocols:
        if not _PROTOCOL.fullmatch(protocol) or not all(map(is_token, protocol.split("/"))):
            _refuse("Upgrade", "expected a protocol", header, protocol)
    return protocols or _refuse("Upgrade", "expected a protocol", header)


def parse_extension(header: str) -> list[ExtensionHeader]:
    """Parse the value of Sec-WebSocket-Extensions (RFC 6455 9.1).

    Args:
        header: The value of the header.

    Returns:
        The name and the parameters of each extension; the value of a parameter is None without "=".

    Raises:
        InvalidHeaderFormat: The value does not follow the grammar, or is empty.
    """
    try:
        extensions = parse_extensions([header])
    except ValueError as error:
        raise InvalidHeaderFormat("Sec-WebSocket-Extensions", str(error), header) from None
    if not extensions:
        _refuse("Sec-WebSocket-Extensions", "expected an extension", header)
    return cast("list[ExtensionHeader]", extensions)


def build_extension(extensions: Sequence[ExtensionHeader]) -> str:
    """Return the value of Sec-WebSocket-Extensions, the reverse of `parse_extension`.

    Args:
        extensions: The name and the parameters of each extension.

    Raises:
        ValueError: A name or a value is not a token.
    """
    return format_extensions(extensions)


def parse_subprotocol(header: str) -> list[Subprotocol]:
    """Parse the value of Sec-WebSocket-Protocol.

    Args:
        header: The value of the header.

    Raises:
        InvalidHeaderFormat: An element is not a token, or there is none.
    """
    return cast("list[Subprotocol]", _parse_tokens("Sec-WebSocket-Protocol", header))


def build_subprotocol(subprotocols: Iterable[str]) -> str:
    """Return the value of Sec-WebSocket-Protocol, the reverse of `parse_subprotocol`.

    Args:
        subprotocols: The subprotocols, best first.
    """
    return ", ".join(subprotocols)


def validate_subprotocols(subprotocols: Sequence[str]) -> None:
    """Validate subprotocols to offer, or to choose from.

    Args:
        subprotocols: The subprotocols.

    Raises:
        TypeError: Not a list of text; text itself is none.
        ValueError: One of them is not a token.
    """
    if not isinstance(subprotocols, Sequence):
        raise TypeError(f"subprotocols is a list of text, not {type(subprotocols).__name__}")
    check_subprotocols(subprotocols)


def _parse_tokens(name: str, header: str) -> list[str]:
    tokens = split_list([header])
    for token in tokens:
        if not is_token(token):
            _refuse(name, "expected a token", header, token)
    return tokens or _refuse(name, "expected a token", header)


def _refuse(name: str, error: str, header: str, element: str = "") -> NoReturn:
    raise InvalidHeaderFormat(name, error, header, header.find(element))
