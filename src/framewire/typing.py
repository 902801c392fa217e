"""Types of arguments and results, under the module name that they have in websockets."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NewType, TypeAlias

__all__ = [
    "BytesLike",
    "Data",
    "DataLike",
    "ExtensionHeader",
    "ExtensionName",
    "ExtensionParameter",
    "LoggerLike",
    "Origin",
    "PathLike",
    "StatusLike",
    "Subprotocol",
]

#: A message: text or binary.
Data: TypeAlias = str | bytes

#: A binary message as `send` takes it.
BytesLike: TypeAlias = bytes | bytearray | memoryview

#: A message as `send` takes it.
DataLike: TypeAlias = str | bytes | bytearray | memoryview

#: A logger.
LoggerLike: TypeAlias = "logging.Logger | logging.LoggerAdapter[Any]"

#: The path of a Unix socket.
PathLike: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

#: The status code of a response.
StatusLike: TypeAlias = HTTPStatus | int

#: The value of an Origin header.
Origin = NewType("Origin", str)

#: A subprotocol (RFC 6455 1.9).
Subprotocol = NewType("Subprotocol", str)

#: The name of an extension.
ExtensionName = NewType("ExtensionName", str)

#: The name and the value of a parameter of an extension; the value is None without "=".
ExtensionParameter: TypeAlias = tuple[str, str | None]

#: An extension and its parameters, as in Sec-WebSocket-Extensions.
ExtensionHeader: TypeAlias = tuple[ExtensionName, Sequence[ExtensionParameter]]
