"""`ResponseReader`: reads the response of a server or a proxy to one request (RFC 9112 4, RFC 9110
15).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import HandshakeError
from ..exceptions import InvalidMessage, RequestLineTooLong, StatusLineTooLong
from . import ordinary_heads
from .http11 import HeadLimits, HeadScanner, Response, check_head_limits

if TYPE_CHECKING:
    from .message_parser import ResponseParser

__all__ = ["MAX_INTERIM", "ResponseReader"]

#: The maximum number of 1xx responses before the final response.
MAX_INTERIM: Final = 16

#: The first bytes of every response.
_START: Final = b"HTTP/"


class ResponseReader:
    """Reads one response, after any interim ones.

    Args:
        accepted: The status codes of a response without a body, which opens a connection; any other
            final response is a refusal, and is read with its body.
        limits: The limits of heads, and of the body of a refusal; None for those of the environment.
    """

    def __init__(self, accepted: range, limits: HeadLimits | None = None) -> None:
        self._accepted = accepted
        self._limits = check_head_limits(limits)
        self._scanner = HeadScanner(self._limits)
        self._begun = 0  # how many bytes of _START have arrived
        self._parser: ResponseParser | None = None
        self._interim = 0
        self._refusal: Response | None = None
        self._body = bytearray()

    def receive(self, data: bytes) -> tuple[Response, bytes] | None:
        """Receive the next bytes.

        Returns:
            The final response, and the bytes after the head of one that is accepted. A refusal is
            complete at the end of its body, or when `max_body` bytes of it have arrived. None before.

        Raises:
            InvalidMessage: The response is not HTTP, or there are too many interim ones.
            StatusLineTooLong: Its first line is too long.
        """
        while self._refusal is None:
            self._check_start(data)
            try:
                found = self._scanner.receive(data)
            except RequestLineTooLong as error:
                raise StatusLineTooLong(error.reason) from None
            except HandshakeError as error:
                raise InvalidMessage(error.reason) from error
            if found is None:
                return None
            head, data = found
            response = self._parse(head)
            if response.status in self._accepted:
                return response, data
            if response.status >= 200 or response.status == 101:
                self._refusal = response
            else:
                self._interim += 1
                if self._interim > MAX_INTERIM:
                    raise InvalidMessage(f"more than {MAX_INTERIM} interim responses", response)
                self._scanner, self._begun = HeadScanner(self._limits), 0
        assert self._parser is not None
        content, complete = self._parser.parse_body(data)
        self._body += content
        if not complete and len(self._body) < self._limits.max_body:
            return None
        return self._cut_refusal(self._refusal), b""

    def partial_refusal(self) -> Response | None:
        """Return a refusal with the part of its body that has arrived, None before the end of its
        head.

        For a client that cannot wait any longer: the input has ended, or the time.
        """
        return None if self._refusal is None else self._cut_refusal(self._refusal)

    def _cut_refusal(self, head: Response) -> Response:
        return Response(
            head.status, head.reason, head.headers, bytes(self._body[: self._limits.max_body]), head.version
        )

    def _check_start(self, data: bytes) -> None:
        """Reject a response at its first byte that is not HTTP, instead of waiting for the end of
        its head.
        """
        wanted = _START[self._begun : self._begun + len(data)]
        if data[: len(wanted)] != wanted:
            raise InvalidMessage("the response is not HTTP") from ValueError(bytes(data[:80]))
        self._begun += len(wanted)

    def _parse(self, head: bytes) -> Response:
        if self._parser is None:
            if 101 in self._accepted:
                response = ordinary_heads.parse_switch(head)
                if response is not None:
                    return response
            # Imported here because h11 takes long to import.
            from .message_parser import ResponseParser

            self._parser = ResponseParser()
        return self._parser.parse_head(head)
