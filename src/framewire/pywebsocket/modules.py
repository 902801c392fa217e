"""The modules that handlers import: `mod_pywebsocket`, and its newer name `pywebsocket3`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from ..protocol.constants import CloseCode, Opcode
from . import (
    exceptions,
    extension_processors,
    handshake_functions,
    header_parsing,
    memorizing_file,
    msgutil,
    raw_frames,
    utilities,
)
from .request import ExtensionParameter
from .stream import MessageStream

__all__ = ["installed"]

_PACKAGES: Final = ("mod_pywebsocket", "pywebsocket3")

#: The functions of `header_parsing` that belong to the module `common`.
_PARSING_IN_COMMON: Final = (
    "ExtensionParsingException",
    "format_extension",
    "format_extensions",
    "parse_extensions",
)

_STATUSES: Final = {
    "NORMAL_CLOSURE": CloseCode.NORMAL_CLOSURE,
    "NORMAL": CloseCode.NORMAL_CLOSURE,
    "GOING_AWAY": CloseCode.GOING_AWAY,
    "PROTOCOL_ERROR": CloseCode.PROTOCOL_ERROR,
    "UNSUPPORTED_DATA": CloseCode.UNSUPPORTED_DATA,
    "UNSUPPORTED": CloseCode.UNSUPPORTED_DATA,
    "NO_STATUS_RECEIVED": CloseCode.NO_STATUS_RCVD,
    "CODE_NOT_AVAILABLE": CloseCode.NO_STATUS_RCVD,
    "ABNORMAL_CLOSURE": CloseCode.ABNORMAL_CLOSURE,
    "ABNORMAL_CLOSE": CloseCode.ABNORMAL_CLOSURE,
    "INVALID_FRAME_PAYLOAD_DATA": CloseCode.INVALID_DATA,
    "INVALID_FRAME_PAYLOAD": CloseCode.INVALID_DATA,
    "POLICY_VIOLATION": CloseCode.POLICY_VIOLATION,
    "MESSAGE_TOO_BIG": CloseCode.MESSAGE_TOO_BIG,
    "MANDATORY_EXTENSION": CloseCode.MANDATORY_EXTENSION,
    "MANDATORY_EXT": CloseCode.MANDATORY_EXTENSION,
    "INTERNAL_ENDPOINT_ERROR": CloseCode.INTERNAL_ERROR,
    "TLS_HANDSHAKE": CloseCode.TLS_HANDSHAKE,
    "USER_REGISTERED_BASE": 3000,
    "USER_REGISTERED_MAX": 3999,
    "USER_PRIVATE_BASE": 4000,
    "USER_PRIVATE_MAX": 4999,
}


def _constants() -> dict[str, Any]:
    """Return the names of the module `common`."""
    return {
        **{f"STATUS_{name}": int(code) for name, code in _STATUSES.items()},
        **{f"OPCODE_{opcode.name}": int(opcode) for opcode in Opcode},
        "HTTP_STATUS_BAD_REQUEST": 400,
        "HTTP_STATUS_FORBIDDEN": 403,
        "HTTP_STATUS_NOT_FOUND": 404,
        **{f"VERSION_HYBI{draft}": 13 for draft in range(13, 18)},
        "VERSION_HYBI_LATEST": 13,
        "DEFAULT_WEB_SOCKET_PORT": 80,
        "DEFAULT_WEB_SOCKET_SECURE_PORT": 443,
        "WEB_SOCKET_SCHEME": "ws",
        "WEB_SOCKET_SECURE_SCHEME": "wss",
        "SEC_WEBSOCKET_KEY_HEADER": "Sec-WebSocket-Key",
        "SEC_WEBSOCKET_ACCEPT_HEADER": "Sec-WebSocket-Accept",
        "SEC_WEBSOCKET_VERSION_HEADER": "Sec-WebSocket-Version",
        "SEC_WEBSOCKET_PROTOCOL_HEADER": "Sec-WebSocket-Protocol",
        "SEC_WEBSOCKET_EXTENSIONS_HEADER": "Sec-WebSocket-Extensions",
        "ORIGIN_HEADER": "Origin",
        "HOST_HEADER": "Host",
        "UPGRADE_HEADER": "Upgrade",
        "WEBSOCKET_ACCEPT_UUID": handshake_functions.WEBSOCKET_ACCEPT_UUID,
        "CONNECTION_HEADER": "Connection",
        "WEBSOCKET_UPGRADE_TYPE": "websocket",
        "UPGRADE_CONNECTION_TYPE": "Upgrade",
        "PERMESSAGE_DEFLATE_EXTENSION": "permessage-deflate",
        "LOGLEVEL_FINE": 9,
        "ExtensionParameter": ExtensionParameter,
        "is_control_opcode": lambda opcode: opcode >> 3 == 1,
    }


def _named(module: ModuleType) -> dict[str, Any]:
    return {name: getattr(module, name) for name in module.__all__}


def _make() -> dict[str, dict[str, Any]]:
    """Return the names of each module of the package."""
    errors = _named(exceptions)
    parsing = _named(header_parsing)
    handshake = {**errors, **_named(handshake_functions)}
    return {
        "common": {**_constants(), **{name: parsing[name] for name in _PARSING_IN_COMMON}},
        "dispatch": errors,
        "extensions": _named(extension_processors),
        "handshake": errors,
        "handshake.base": handshake,
        "handshake.hybi": handshake,
        "http_header_util": parsing,
        "memorizingfile": _named(memorizing_file),
        "msgutil": _named(msgutil),
        "stream": {**errors, **_named(raw_frames), "Stream": MessageStream},
        "_stream_exceptions": errors,
        "util": _named(utilities),
    }


@contextmanager
def installed() -> Iterator[None]:
    """Make these modules importable while the context lasts, even if pywebsocket is installed."""
    modules = {}
    for package in _PACKAGES:
        modules[package] = ModuleType(package)
        modules[package].__path__ = []
        for name, contents in _make().items():
            module = modules[f"{package}.{name}"] = ModuleType(f"{package}.{name}")
            vars(module).update(contents)
            if name == "handshake":
                module.__path__ = []
            parent, _, leaf = module.__name__.rpartition(".")
            setattr(modules[parent], leaf, module)
    before = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(before)
