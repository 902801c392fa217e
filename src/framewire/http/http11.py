"""HTTP/1.1 messages of the opening handshake (RFC 9112): requests, responses, and the scan of their
heads.

Each head passes `HeadScanner`, once, as it arrives, before it is parsed: h11 accepts bytes that have
been used to smuggle requests past proxies, such as bare LF, folded lines and control characters.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any, Final, overload

from ..errors import HandshakeError
from ..exceptions import HeaderLineTooLong, RequestLineTooLong, TooManyHeaders
from ..protocol.record import Record, assign
from .headers import Headers, HeadersLike

__all__ = [
    "DEFAULT_LIMITS",
    "MAX_BODY",
    "MAX_HEAD",
    "MAX_HEADERS",
    "MAX_LINE",
    "HeadLimits",
    "HeadScanner",
    "Request",
    "Response",
    "check_head_limits",
    "read_limit",
]


def read_limit(name: str, default: int, minimum: int) -> int:
    """Return a limit of HTTP messages.

    Args:
        name: The variable of the environment that sets it, without its prefix "WEBSOCKETS_MAX_":
            the variables are those of websockets.
        default: The limit without that variable.
        minimum: The lowest limit.

    Raises:
        ValueError: The variable is not an integer, or too low.
    """
    text = os.environ.get(f"WEBSOCKETS_MAX_{name}", str(default))
    if not (text.isascii() and text.isdigit() and int(text[:20]) >= minimum):
        raise ValueError(f"WEBSOCKETS_MAX_{name} is an integer of {minimum} or more, not {text!r}")
    return int(text[:20])


#: The lowest limits that `HeadLimits` accepts: every sound handshake is within them.
_MIN_LINE: Final = 256
_MIN_HEADERS: Final = 16

#: The longest line of a head, in bytes, its CRLF included.
MAX_LINE: Final = read_limit("LINE_LENGTH", 8192, _MIN_LINE)

#: The maximum number of header lines of a head, without the first line and the empty one.
MAX_HEADERS: Final = read_limit("NUM_HEADERS", 128, _MIN_HEADERS)

#: How much of the body of a refusal a client keeps, in bytes.
MAX_BODY: Final = read_limit("BODY_SIZE", 1 << 20, 0)

#: The bytes allowed in a line: no control characters except HTAB (RFC 9110 5.5). 80 to ff are
#: obs-text.
_TEXT: Final = bytes(byte for byte in range(256) if byte == 0x09 or 0x20 <= byte != 0x7F)


class HeadLimits(Record):
    """Limits of what the peer may send in an opening handshake; a longer head is refused.

    The defaults are those of the environment, as with websockets: `WEBSOCKETS_MAX_LINE_LENGTH`,
    `WEBSOCKETS_MAX_NUM_HEADERS` and `WEBSOCKETS_MAX_BODY_SIZE`. Those of `connect` hold for the
    answers of proxies too.

    Args:
        max_line: The longest line of a head, in bytes, its CRLF included: 8192 by default, at least
            256. A whole head may have 4 times as many bytes.
        max_headers: The maximum number of header lines: 128 by default, at least 16.
        max_body: How much of the body of a refusal a client keeps, in bytes: 1 MiB by default.

    Raises:
        TypeError: A limit is not an int.
        ValueError: A limit is too low, or over `2**30`.
    """

    __slots__ = __match_args__ = ("max_line", "max_headers", "max_body")

    max_line: int
    max_headers: int
    max_body: int

    def __init__(self, max_line: int = MAX_LINE, max_headers: int = MAX_HEADERS, max_body: int = MAX_BODY) -> None:
        for name, limit, minimum in (
            ("max_line", max_line, _MIN_LINE),
            ("max_headers", max_headers, _MIN_HEADERS),
            ("max_body", max_body, 0),
        ):
            if not isinstance(limit, int):
                raise TypeError(f"{name} is an int, not {type(limit).__name__}")
            if not minimum <= limit <= 1 << 30:  # patterns of 32-bit systems take no number over 2**31 - 2
                raise ValueError(f"{name} is {minimum} to 2**30, not {limit}")
            assign(self, name, limit)

    @property
    def max_head(self) -> int:
        """The longest head, in bytes, its empty line included."""
        return 4 * self.max_line


#: The limits of the environment.
DEFAULT_LIMITS: Final = HeadLimits()

#: The longest head, in bytes, its empty line included.
MAX_HEAD: Final = DEFAULT_LIMITS.max_head


def check_head_limits(limits: HeadLimits | None) -> HeadLimits:
    """Return the limits, those of the environment for None.

    Raises:
        TypeError: They are something else.
    """
    if limits is not None and not isinstance(limits, HeadLimits):
        raise TypeError(f"head_limits is HeadLimits or None, not {type(limits).__name__}")
    return limits or DEFAULT_LIMITS


class Request(Record):
    """The head of a request.

    Args:
        method: The method.
        target: The request target as sent: a path with its query, or an absolute URI.
        headers: The header lines.
        version: The HTTP version.
    """

    __slots__ = __match_args__ = ("method", "target", "headers", "version")

    method: str
    target: str
    headers: Headers
    version: str

    def __init__(self, method: str, target: str, headers: Headers, version: str = "HTTP/1.1") -> None:
        assign(self, "method", method)
        assign(self, "target", target)
        assign(self, "headers", headers)
        assign(self, "version", version)

    @property
    def path(self) -> str:
        """The same as `target`."""
        return self.target

    @property
    def protocol(self) -> str:
        """The same as `version`."""
        return self.version


class _DataclassFields:
    """The fields of a class that is no dataclass, for `dataclasses.replace`; made when they are
    looked up.
    """

    def __init__(self, *names: str) -> None:
        self._names = names

    def __get__(self, instance: object, owner: type) -> dict[str, Any]:
        import dataclasses  # takes longer to import than this package

        return {each.name: each for each in dataclasses.fields(dataclasses.make_dataclass("Fields", self._names))}


class Response(Record):
    """A response.

    Args:
        status: The status code.
        reason: The reason phrase.
        headers: The header lines, in any form that `Headers` takes; by default there are none.
        body: The body; of a body that is received, the first MiB.
        version: The HTTP version.
        status_code: Another name of `status`, the one in websockets.
        reason_phrase: Another name of `reason`, the one in websockets.
    """

    __slots__ = __match_args__ = ("status", "reason", "headers", "body", "version")
    #: What `dataclasses.replace(response, headers=...)` goes by, in code written for websockets.
    __dataclass_fields__ = _DataclassFields("status_code", "reason_phrase", "headers", "body")

    status: int
    reason: str
    headers: Headers
    body: bytes
    version: str

    @overload
    def __init__(
        self, status: int, reason: str, headers: HeadersLike | None = None, body: bytes = b"", version: str = "HTTP/1.1"
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        status_code: int,
        reason_phrase: str,
        headers: HeadersLike | None = None,
        body: bytes = b"",
        version: str = "HTTP/1.1",
    ) -> None: ...
    def __init__(
        self,
        status: int | None = None,
        reason: str | None = None,
        headers: HeadersLike | None = None,
        body: bytes = b"",
        version: str = "HTTP/1.1",
        *,
        status_code: int | None = None,
        reason_phrase: str | None = None,
    ) -> None:
        if (status is None) == (status_code is None) or (reason is None) == (reason_phrase is None):
            raise TypeError("a response has one status and one reason phrase")
        assign(self, "status", status_code if status is None else status)
        assign(self, "reason", reason_phrase if reason is None else reason)
        assign(self, "headers", headers if isinstance(headers, Headers) else Headers(headers or ()))
        assign(self, "body", body)
        assign(self, "version", version)

    @property
    def status_code(self) -> int:
        """The same as `status`."""
        return self.status

    @property
    def reason_phrase(self) -> str:
        """The same as `reason`."""
        return self.reason


class HeadScanner:
    """Finds the end of a head, and rejects the head at the first byte that is not allowed in it.

    Each byte is scanned once, and the result does not depend on how the head is cut into chunks.

    Args:
        limits: The limits of the head, None for those of the environment.
        empty_lines: How many empty lines before the head to ignore. A server should ignore one,
            which some clients send after their last request (RFC 9112 2.2).

    Raises:
        TypeError: `limits` is something else.
    """

    def __init__(self, limits: HeadLimits | None = None, *, empty_lines: int = 0) -> None:
        self._limits = check_head_limits(limits)
        self._empty_lines = empty_lines
        self._buffer = bytearray()
        self._line = 0  # start of the current line
        self._scanned = 0  # end of the bytes that are known to be valid
        self._lines = 0

    def receive(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Receive the next bytes.

        Args:
            data: Any bytes-like object; chunk boundaries do not matter.

        Returns:
            The head and the bytes after it; None while the head is incomplete.

        Raises:
            HandshakeError: 400 for a bare CR or LF, another control character or a folded line; 414
                (RequestLineTooLong) for a first line that is too long; 431 for another line or a
                head that is too long (HeaderLineTooLong), or too many lines (TooManyHeaders).
        """
        limits, buffer = self._limits, self._buffer
        if not buffer:  # nearly all heads arrive in one chunk and are valid: one match, no loop
            sound = _sound_head(limits.max_line, limits.max_headers).match(data)
            if sound and sound.end() <= limits.max_head:
                return bytes(data[: sound.end()]), bytes(data[sound.end() :])
        buffer += data
        while True:
            limit = min(self._line + limits.max_line, limits.max_head)
            newline = buffer.find(b"\n", self._scanned, limit)
            end = newline if newline >= 0 else min(len(buffer), limit)
            if buffer.endswith(b"\r", self._line, end):
                end -= 1  # the CR of the CRLF, if the next byte is LF
            self._check_text(end)
            if newline < 0:
                if len(buffer) >= limit:
                    raise self._too_long(limit)
                return None
            if newline == end:
                raise HandshakeError(400, "a line of the head ends in LF without CR")
            if end == self._line == 0 and self._empty_lines:
                self._empty_lines -= 1
                del buffer[: newline + 1]
                self._scanned = 0
                continue
            if end == self._line:
                return bytes(buffer[: newline + 1]), bytes(buffer[newline + 1 :])
            self._line = self._scanned = newline + 1
            self._lines += 1
            if self._lines > 1 + limits.max_headers:
                raise TooManyHeaders(f"more than {limits.max_headers} header lines")

    def _check_text(self, end: int) -> None:
        """Check the bytes of the current line that have not been scanned, up to `end`."""
        text = self._buffer[self._scanned : end]
        if self._scanned == self._line > 0 and text.startswith((b" ", b"\t")):
            raise HandshakeError(400, "a folded header line")
        if text.translate(None, _TEXT):
            raise HandshakeError(400, "a control character in the head")
        self._scanned = end

    def _too_long(self, limit: int) -> HandshakeError:
        limits = self._limits
        if limit == limits.max_head:
            return HeaderLineTooLong(f"a head of over {limits.max_head} bytes")
        if self._lines == 0:
            return RequestLineTooLong(f"a first line of over {limits.max_line} bytes")
        return HeaderLineTooLong(f"a header line of over {limits.max_line} bytes")


@lru_cache(16)
def _sound_head(max_line: int, max_headers: int) -> re.Pattern[bytes]:
    """Return a pattern for a complete head that `HeadScanner` accepts if it is not too long."""
    return re.compile(
        rb"[\t -~\x80-\xff]{1,%d}\r\n(?:[!-~\x80-\xff][\t -~\x80-\xff]{0,%d}\r\n){0,%d}\r\n"
        % (max_line - 2, max_line - 3, max_headers)
    )
