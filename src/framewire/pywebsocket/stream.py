"""`MessageStream`: the object `request.ws_stream` with which handlers receive, send and close."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import ConnectionClosed, LocalError
from ..protocol.constants import CloseCode, Opcode
from .exceptions import (
    BadOperationException,
    ConnectionTerminatedException,
    InvalidFrameException,
    InvalidUTF8Exception,
)
from .link import Link
from .raw_frames import Frame, StreamOptions, parse_frame
from .request import HandlerRequest

__all__ = ["MessageStream"]

#: After these codes, the server does not wait for the client's close frame: it goes away, or the
#: client has violated the protocol.
_WITHOUT_ANSWER = frozenset({CloseCode.GOING_AWAY, CloseCode.PROTOCOL_ERROR})


class MessageStream:
    """The messages from and to the client of a request.

    Args:
        request: The request.
        connection: Its connection.
    """

    def __init__(self, request: HandlerRequest, connection: Link) -> None:
        self._request = request
        self._connection = connection
        self._opcode: Opcode | None = None
        self._partial: bytearray | None = None  # a message whose frames the handler passes
        self._options = StreamOptions()
        self._ended = False  # the client has closed, and the handler that receives knows
        self._ending = threading.Lock()  # held to record the client's close frame
        self._answered = threading.Event()  # set when that has been answered

    def receive_message(self) -> str | bytes | None:
        """Wait for the next message.

        When the client closes, the close frame is answered with the result of
        `web_socket_passive_closing_handshake`. `request.ws_close_code` and `ws_close_reason` have
        its code and reason.

        Returns:
            A `str` for text, `bytes` for binary; None after the client's close frame.

        Raises:
            BadOperationException: The client has closed, and None was returned before.
            ConnectionTerminatedException: The connection ended without a close frame.
            InvalidFrameException: The client violated the protocol.
            InvalidUTF8Exception: The client sent text that is not UTF-8.
        """
        return self._receive(None)

    def _receive(self, timeout: float | None) -> str | bytes | None:
        if self._ended:
            raise BadOperationException("the client has closed: nothing more can be received")
        try:
            message = self._connection.receive(timeout)
        except ConnectionClosed:
            if not self._end():
                self._answered.wait()  # a handler that returns would close with another code
            self._ended = True
            return None
        self._opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        return message

    def get_last_received_opcode(self) -> int | None:
        """Return the opcode of the last message; 8 after the client's close frame."""
        return self._opcode

    def _end(self) -> bool:
        """Record and answer the client's close frame; return False if another thread does, or has.

        Raises:
            ConnectionTerminatedException, InvalidFrameException, InvalidUTF8Exception: As
                `receive_message`.
        """
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
        with self._ending:
            if request.client_terminated:
                return False
            request.client_terminated = True
            request.ws_close_code, request.ws_close_reason = close.code, close.reason
            self._opcode = Opcode.CLOSE
        try:
            if not request.server_terminated:
                code, reason = self._connection.choose_answer()
                self._close(code, "" if code is None else reason or "")
        finally:
            self._answered.set()
        return True

    def send_message(self, message: str | bytes, end: bool = True, binary: bool = False) -> None:
        """Send a message, or a fragment of one.

        Args:
            message: A `str`, or bytes with `binary=True`.
            end: False sends a fragment that is not the last.
            binary: Whether to send a binary message.

        Raises:
            BadOperationException: This side has closed, `message` is a `str` and `binary` is True,
                or the type changes inside a message.
            ConnectionTerminatedException: The client has closed.
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
        """Send a ping of at most 125 bytes; `binary` has no effect, and exists for old handlers."""
        try:
            self._connection.send_ping(body.encode() if isinstance(body, str) else body)
        except LocalError as error:
            raise BadOperationException(str(error)) from error
        except ConnectionClosed as error:
            raise ConnectionTerminatedException("the connection has ended") from error

    def close_connection(self, code: int | None = 1000, reason: str = "", wait_response: bool = True) -> None:
        """Send a close frame, and wait for the client's; a second call has no effect.

        Args:
            code: The close code; None sends an empty close frame.
            reason: At most 123 bytes of UTF-8.
            wait_response: False does not wait; nor do the codes 1001 and 1002.

        Raises:
            BadOperationException: The code is not allowed, or the reason is too long.
            ConnectionTerminatedException: The client sent a message, or no close frame in time.
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

    def close_after_receiving(self) -> None:
        """Send a close frame with the code for the client's violation, if there was one, else with
        1000; wait for the client's only without a violation.
        """
        failure = self._connection.failure
        violated = failure is not None and failure.code != CloseCode.ABNORMAL_CLOSURE
        code = failure.code if failure is not None and violated else CloseCode.NORMAL_CLOSURE
        self.close_connection(code, wait_response=not violated)

    def _close(self, code: int | None, reason: str) -> None:
        try:
            self._connection.start_closing(code, reason)
        except LocalError as error:
            raise BadOperationException(str(error)) from error
        self._request.server_terminated = True

    def call_at_end(self, function: Callable[[], object]) -> None:
        """Call a function when the handler has returned and the connection has ended; at once if that
        was before.
        """
        self._connection.call_at_end(function)

    # Frames, for handlers that test clients: the names with an underscore are pywebsocket's too.

    def receive_bytes(self, length: int) -> bytes:
        """Receive `length` bytes of frames, which have no other effect.

        Raises:
            ConnectionTerminatedException: The input ends before.
            InvalidFrameException: `length` is above the limit for messages.
        """
        self._check_size(length)
        data = self._connection.read_input(length)
        if len(data) < length:
            raise ConnectionTerminatedException("the connection ended in a frame")
        return data

    def _check_size(self, size: int) -> None:
        limit = self._connection.max_size
        if limit is not None and size > limit:
            raise InvalidFrameException(f"{size} bytes are above the limit of {limit}")

    def _write(self, bytes_to_write: bytes) -> None:
        self._connection.write_raw(bytes_to_write)

    def _receive_frame(self) -> tuple[int, bytes, int, int, int, int]:
        """Receive a frame, which has no other effect. Returns and raises as `parse_frame`."""
        return parse_frame(self.receive_bytes)

    def _receive_frame_as_frame_object(self) -> Frame:
        opcode, payload, fin, rsv1, rsv2, rsv3 = self._receive_frame()
        return Frame(fin, rsv1, rsv2, rsv3, opcode, payload)

    def receive_filtered_frame(self) -> Frame:
        """Receive a frame, which has no other effect; compressed payload stays so."""
        return self._receive_frame_as_frame_object()

    def _get_message_from_frame(self, frame: Frame) -> bytes | None:
        """Return the payload of the message that a frame ends; None if it ends none."""
        if frame.opcode is not None and frame.opcode & 0x08:
            return frame.payload
        if (frame.opcode == Opcode.CONTINUATION) is (self._partial is None):
            raise InvalidFrameException("a fragment does not continue the message")
        partial = bytearray() if self._partial is None else self._partial
        self._check_size(len(partial) + len(frame.payload))
        partial += frame.payload
        self._partial = None if frame.fin else partial
        return bytes(partial) if frame.fin else None

    def _process_close_message(self, message: bytes) -> None:
        """Record and answer a close frame; raises as `receive_message`."""
        self._connection.receive_close(message)
        self._end()
        self._ended = True

    def _process_ping_message(self, message: bytes) -> None:
        self._connection.ping_received(message)

    def _process_pong_message(self, message: bytes) -> None:
        self._connection.pong_received(message)

    def _send_pong(self, body: bytes) -> None:
        self._connection.pong(body)

    def _send_closing_handshake(self, code: int | None, reason: str) -> None:
        self._close(code, reason)
