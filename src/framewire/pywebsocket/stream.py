"""`request.ws_stream`: how a handler receives, sends and closes."""

from __future__ import annotations

from ..errors import ConnectionClosed, LocalError
from ..protocol.constants import CloseCode, Opcode
from .exceptions import (
    BadOperationException,
    ConnectionTerminatedException,
    InvalidFrameException,
    InvalidUTF8Exception,
)
from .link import Link
from .request import HandlerRequest

__all__ = ["MessageStream"]

#: After these codes nobody waits for the client's close: the server leaves, or the client cannot be understood.
_WITHOUT_ANSWER = frozenset({CloseCode.GOING_AWAY, CloseCode.PROTOCOL_ERROR})


class MessageStream:
    """Messages to and from the client of `request`."""

    def __init__(self, request: HandlerRequest, connection: Link) -> None:
        self._request = request
        self._connection = connection
        self._opcode: Opcode | None = None

    def receive_message(self) -> str | bytes | None:
        """Wait for the next message: a `str` for text, `bytes` for binary, None once the client has closed.

        The close is answered before None is returned, as `web_socket_passive_closing_handshake` says; its code and
        reason are in `request.ws_close_code` and `ws_close_reason`. Raises BadOperationException after it,
        ConnectionTerminatedException if the connection ended without, and its kin if the client broke a rule.
        """
        return self._receive(None)

    def _receive(self, timeout: float | None) -> str | bytes | None:
        if self._request.client_terminated:
            raise BadOperationException("the client has closed: nothing more can be received")
        try:
            message = self._connection.recv(timeout)
        except ConnectionClosed:
            self._end()
            return None
        self._opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        return message

    def get_last_received_opcode(self) -> int | None:
        """The opcode of the last message, 8 after the client's close."""
        return self._opcode

    def _end(self) -> None:
        """Takes note of the client's close, and answers it; raises what stands for any other end."""
        request, failure = self._request, self._connection.failure
        close = self._connection.client_close
        if close is None:
            match failure and failure.code:
                case None | CloseCode.ABNORMAL_CLOSURE:
                    raise ConnectionTerminatedException("the connection ended without a close")
                case CloseCode.INVALID_DATA:
                    raise InvalidUTF8Exception(failure.reason if failure else "")
                case _:
                    raise InvalidFrameException(failure.reason if failure else "")
        request.client_terminated = True
        request.ws_close_code, request.ws_close_reason = close.code, close.reason
        self._opcode = Opcode.CLOSE
        if not request.server_terminated:
            code, reason = self._connection.choose_answer()
            self._close(code, "" if code is None else reason or "")

    def send_message(self, message: str | bytes, end: bool = True, binary: bool = False) -> None:
        """Send a message, or with `end=False` a fragment of it: a `str` as text, or bytes with `binary=True`.

        Raises BadOperationException after our close, for a `str` as binary, or if the type changes inside a message;
        ConnectionTerminatedException once the client has closed.
        """
        if self._request.server_terminated:
            raise BadOperationException("no message can follow the close of this side")
        if binary and isinstance(message, str):
            raise BadOperationException("a binary message is bytes, not str")
        try:
            self._connection.send_piece(message, text=not binary, last=end)
        except LocalError as error:
            raise BadOperationException(str(error)) from error
        except ConnectionClosed as error:
            self._end()
            raise ConnectionTerminatedException("the client has closed") from error

    def send_ping(self, body: str | bytes, binary: bool = False) -> None:
        """Send a ping of at most 125 bytes; `binary` is there for the sake of old callers."""
        try:
            self._connection.send_ping(body.encode() if isinstance(body, str) else body)
        except LocalError as error:
            raise BadOperationException(str(error)) from error
        except ConnectionClosed as error:
            raise ConnectionTerminatedException("the connection has ended") from error

    def close_connection(self, code: int | None = 1000, reason: str = "", wait_response: bool = True) -> None:
        """Close with `code` (None: an empty close), and wait for the client's close.

        It does not wait after 1001 and 1002 or with `wait_response=False`. Closing again does nothing. Raises
        BadOperationException for a code that may not travel or a reason that does not fit,
        ConnectionTerminatedException if anything but a close comes.
        """
        if self._request.server_terminated:
            return
        self._close(code, reason)
        if not wait_response or code in _WITHOUT_ANSWER:
            return
        try:
            message = self._receive(self._connection.close_timeout)
        except TimeoutError:
            message = ""
        if message is not None:
            raise ConnectionTerminatedException("the client did not answer the close")

    def _close(self, code: int | None, reason: str) -> None:
        try:
            self._connection.start_closing(code, reason)
        except LocalError as error:
            raise BadOperationException(str(error)) from error
        self._request.server_terminated = True
