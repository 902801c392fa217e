"""Log records of connections: the same names, levels and texts on every driver.

INFO: a connection opens and closes, a server listens and closes. DEBUG: the requests and responses
of opening handshakes, and frames. Records have the connection as `websocket`.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from .._backend import apply_mask, read_header
from ..http.http11 import Request, Response
from ..protocol.constants import Opcode

__all__ = [
    "FrameLog",
    "Logger",
    "adapt_logger",
    "choose_logger",
    "describe_address",
    "log_proxy_header",
    "log_refusal",
    "log_request",
    "log_response",
]

Logger: TypeAlias = "logging.Logger | logging.LoggerAdapter[Any]"

#: Bytes of a payload that a record shows.
_SHOWN: Final = 60

#: Headers whose values are secrets, which do not belong in logs.
_SECRETS: Final = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})

_NAMES: Final = {0: "CONT", **{int(opcode): opcode.name for opcode in Opcode if opcode}}


def adapt_logger(logger: Logger, connection: object) -> logging.LoggerAdapter[Any]:
    """Return a logger whose records have the connection as `websocket`."""
    return logging.LoggerAdapter(logger, {"websocket": weakref.proxy(connection)})


def choose_logger(given: Logger | None, name: str) -> Logger:
    """Return the logger that `serve` or `connect` was given, by default the one with a name.

    Raises:
        TypeError: It is something else, such as the name of a logger.
    """
    if given is None:
        return logging.getLogger(name)
    if not hasattr(given, "isEnabledFor"):
        raise TypeError(f"logger is a Logger or a LoggerAdapter, not {type(given).__name__}")
    return given


def describe_address(address: Any) -> str:
    """Return an address of `socket.getsockname` for a log: host:port, [host]:port, or the path of a
    Unix socket.
    """
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def log_request(logger: Logger, arrow: str, request: Request) -> None:
    """Log a request at DEBUG.

    Args:
        logger: The logger of the connection.
        arrow: ">" for one that is sent, "<" for one received.
        request: The request.
    """
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("%s %s %s %s", arrow, request.method, request.path, request.version)
        _log_headers(logger, arrow, request.headers.raw_items())


def log_response(logger: Logger, arrow: str, response: Response) -> None:
    """Log a response at DEBUG; the arguments are those of `log_request`."""
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("%s %s %d %s", arrow, response.version, response.status_code, response.reason_phrase)
        _log_headers(logger, arrow, response.headers.raw_items())
        if response.body:
            logger.debug("%s [body] (%d bytes)", arrow, len(response.body))


def log_refusal(logger: Logger, response: Response) -> None:
    """Log at INFO that a server has answered a request with something else than 101."""
    text = "connection rejected (%d %s)" if response.status >= 400 else "HTTP response sent (%d %s)"
    logger.info(text, response.status, response.reason)


def log_proxy_header(logger: Logger, error: Exception) -> None:
    """Log that a connection of a trusted proxy is closed, as it has no valid header: at WARNING; at
    DEBUG if it has ended, as connections for health checks do.
    """
    level = logging.DEBUG if isinstance(error, EOFError) else logging.WARNING
    logger.log(level, "invalid header of the PROXY protocol: %s", error)


def _log_headers(logger: Logger, arrow: str, headers: Iterable[tuple[str, str]]) -> None:
    for name, value in headers:
        logger.debug("%s %s: %s", arrow, name, "[secret]" if name.lower() in _SECRETS else value)


class FrameLog:
    """Log the frames of one direction at DEBUG, from the bytes that a driver reads or writes.

    It holds at most a header and the beginning of a payload. After a header with an invalid length
    it logs nothing more. Make one only if the logger is enabled for DEBUG, as it costs time.

    Args:
        logger: The logger of the connection.
        arrow: ">" for frames that are sent, "<" for those received.
    """

    __slots__ = ("_arrow", "_begun", "_first_byte", "_key", "_left", "_length", "_logger", "_shown")

    def __init__(self, logger: Logger, arrow: str) -> None:
        self._logger = logger
        self._arrow = arrow
        self._begun: bytes | None = b""  # an incomplete header; None within a payload
        self._first_byte = self._length = self._left = 0
        self._key = self._shown = b""

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Log the frames that end in `data`, the next bytes of the direction."""
        if self._length < 0:
            return
        view = memoryview(data)
        while len(view):
            if self._begun is not None:
                view = self._read_header(view)
                if self._begun is not None:
                    return
            taken = min(self._left, len(view))
            self._shown += bytes(view[: min(taken, _SHOWN - len(self._shown))])
            self._left -= taken
            view = view[taken:]
            if not self._left:
                self._logger.debug("%s %s", self._arrow, self._describe())
                self._begun = b""

    def _read_header(self, view: memoryview) -> memoryview:
        """Read a header, if it is complete; return what follows."""
        assert self._begun is not None
        held = len(self._begun)
        head = self._begun + bytes(view[: 14 - held])
        header = read_header(head, 0, len(head))
        if header is None or (key := header[4]) is None:
            self._begun = head
            return view[len(view) :]
        self._first_byte, _, self._length, end, _ = header
        self._key = key
        if self._length < 0:
            return view[len(view) :]
        self._begun, self._left, self._shown = None, self._length, b""
        return view[end - held :]

    def _describe(self) -> str:
        payload = apply_mask(self._shown, self._key) if self._key else self._shown
        opcode, compressed = self._first_byte & 15, bool(self._first_byte & 0x40)
        name = _NAMES.get(opcode, f"opcode {opcode}")
        ellipsis = "..." if self._length > len(payload) else ""
        if opcode == Opcode.TEXT and not compressed:
            shown = repr(payload.decode(errors="replace"))
        elif opcode == Opcode.CLOSE and len(payload) >= 2:
            reason = repr(payload[2:].decode(errors="replace"))[1:-1]  # a line end would begin another record
            shown = f"{int.from_bytes(payload[:2], 'big')} {reason}".rstrip()
        else:
            shown = payload.hex(" ")
        notes = [f"{self._length} byte{'s' * (self._length != 1)}"]
        if compressed:
            notes.append("compressed")
        if not self._first_byte & 0x80:
            notes.append("continued")
        return f"{name} {shown}{ellipsis} [{', '.join(notes)}]"
