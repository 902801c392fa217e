"""HTTP/1.1 messages of the opening handshake (RFC 9112): requests, responses, and the scan of their heads.

h11 parses heads, but accepts what has been used to smuggle requests past proxies: bare LF, folded lines, control
characters. So each head passes `HeadScanner` first, once, as it arrives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from ..errors import HandshakeError
from .headers import Headers

__all__ = ["MAX_HEAD", "MAX_HEADERS", "MAX_LINE", "HeadScanner", "Request", "Response"]

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
