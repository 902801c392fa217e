"""Frames that handlers build and read themselves: the functions of the modules `stream` and `util`.

A handler that tests a client may build frames that RFC 6455 forbids; nothing here checks more than
that the header can be written.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from .._backend import apply_mask, write_header
from ..protocol.constants import MAX_CONTROL_PAYLOAD, CloseCode, Opcode
from .exceptions import BadOperationException, InvalidFrameException

__all__ = [
    "Frame",
    "NoopMasker",
    "RepeatedXorMasker",
    "StreamOptions",
    "create_binary_frame",
    "create_close_frame",
    "create_closing_handshake_body",
    "create_header",
    "create_length_header",
    "create_ping_frame",
    "create_pong_frame",
    "create_text_frame",
    "parse_frame",
]

logger = logging.getLogger("framewire.pywebsocket")

#: One more than the largest payload length (RFC 6455 5.2).
_LENGTH_LIMIT: Final = 1 << 63

#: Close codes that stand for the absence of a close frame, and never occur in one (7.4.1).
_PSEUDO_CODES: Final = frozenset({CloseCode.NO_STATUS_RCVD, CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE})


@dataclass(eq=False)
class Frame:
    """A frame, with its unmasked payload; the flags are 0 or 1."""

    fin: int = 1
    rsv1: int = 0
    rsv2: int = 0
    rsv3: int = 0
    opcode: int | None = None
    payload: bytes = b""


class FrameFilter(Protocol):
    """An element of `frame_filters`."""

    def filter(self, frame: Frame) -> object:
        """Change the frame in place."""


FrameFilters = list[FrameFilter] | tuple[()]


@dataclass(eq=False)
class StreamOptions:
    """`request.ws_stream._options`: the filters are empty, as extensions are codecs here."""

    outgoing_frame_filters: list[Any] = field(default_factory=list)
    incoming_frame_filters: list[Any] = field(default_factory=list)
    outgoing_message_filters: list[Any] = field(default_factory=list)
    incoming_message_filters: list[Any] = field(default_factory=list)
    encode_text_message_to_utf8: bool = True
    mask_send: bool = False
    unmask_receive: bool = True


class NoopMasker:
    """A masker that changes nothing."""

    def mask(self, s: bytes) -> bytes:
        """Return `s`."""
        return s


class RepeatedXorMasker:
    """A masker for the payload of one frame, in any number of pieces (RFC 6455 5.3).

    Args:
        masking_key: The 4 bytes of the key.
    """

    def __init__(self, masking_key: bytes) -> None:
        self._key = masking_key
        self._phase = 0

    def mask(self, s: bytes) -> bytes:
        """Return the next piece of the payload, masked or unmasked."""
        masked = apply_mask(s, self._key, self._phase)
        self._phase = (self._phase + len(s)) % 4
        return masked


def create_header(
    opcode: int, payload_length: int, fin: int, rsv1: int, rsv2: int, rsv3: int, mask: bool | int
) -> bytes:
    """Return the header of a frame, without the masking key.

    Args:
        opcode: 0 to 15.
        payload_length: Length of the payload in bytes.
        fin: 0 or 1, like the reserved bits.
        rsv1: The first reserved bit.
        rsv2: The second reserved bit.
        rsv3: The third reserved bit.
        mask: Whether to set the bit that says that a masking key follows.

    Raises:
        ValueError: A number is out of range.
    """
    if not 0 <= opcode <= 15:
        raise ValueError("an opcode is 0 to 15")
    if any(bit not in (0, 1) for bit in (fin, rsv1, rsv2, rsv3)):
        raise ValueError("FIN and the reserved bits are 0 or 1")
    first = fin << 7 | rsv1 << 6 | rsv2 << 5 | rsv3 << 4 | opcode
    return bytes([first]) + create_length_header(payload_length, bool(mask))


def create_length_header(length: int, mask: bool) -> bytes:
    """Return the second byte of a header and the extended length. ValueError if it is too long."""
    header = write_header(0, length, bytes(4) if mask else b"")
    return header[1:-4] if mask else header[1:]


def _create_frame(
    opcode: int, payload: bytes, fin: int, mask: bool, frame_filters: FrameFilters, *, control: bool = False
) -> bytes:
    frame = Frame(fin=fin, opcode=opcode, payload=payload)
    for each in frame_filters:
        each.filter(frame)
    if control and len(frame.payload) > MAX_CONTROL_PAYLOAD:
        raise BadOperationException(f"the payload of a control frame has at most {MAX_CONTROL_PAYLOAD} bytes")
    header = create_header(opcode, len(frame.payload), frame.fin, frame.rsv1, frame.rsv2, frame.rsv3, mask)
    if not mask:
        return header + frame.payload
    key = os.urandom(4)
    return header + key + apply_mask(frame.payload, key)


def create_text_frame(
    message: str, opcode: int = Opcode.TEXT, fin: int = 1, mask: bool = False, frame_filters: FrameFilters = ()
) -> bytes:
    """Return a frame with the UTF-8 of `message`, of any opcode.

    Args:
        message: The text.
        opcode: The opcode.
        fin: 0 for a fragment that is not the last.
        mask: Whether to mask the payload with a random key.
        frame_filters: Called with the `Frame` before it is written.
    """
    return _create_frame(opcode, message.encode(), fin, mask, frame_filters)


def create_binary_frame(
    message: bytes, opcode: int = Opcode.BINARY, fin: int = 1, mask: bool = False, frame_filters: FrameFilters = ()
) -> bytes:
    """Like `create_text_frame`, for bytes."""
    return _create_frame(opcode, message, fin, mask, frame_filters)


def create_ping_frame(body: bytes, mask: bool = False, frame_filters: FrameFilters = ()) -> bytes:
    """Return a ping. BadOperationException if `body` has more than 125 bytes."""
    return _create_frame(Opcode.PING, body, 1, mask, frame_filters, control=True)


def create_pong_frame(body: bytes, mask: bool = False, frame_filters: FrameFilters = ()) -> bytes:
    """Return a pong. BadOperationException if `body` has more than 125 bytes."""
    return _create_frame(Opcode.PONG, body, 1, mask, frame_filters, control=True)


def create_close_frame(body: bytes, mask: bool = False, frame_filters: FrameFilters = ()) -> bytes:
    """Return a close frame. BadOperationException if `body` has more than 125 bytes."""
    return _create_frame(Opcode.CLOSE, body, 1, mask, frame_filters, control=True)


def create_closing_handshake_body(code: int | None, reason: str) -> bytes:
    """Return the payload of a close frame.

    Args:
        code: The close code; None: the payload is empty.
        reason: The reason.

    Raises:
        BadOperationException: The code is not 1000 to 4999, or never occurs in a close frame.
    """
    if code is None:
        return b""
    if not 1000 <= code <= 4999 or code in _PSEUDO_CODES:
        raise BadOperationException(f"{code} is not the code of a close frame")
    return code.to_bytes(2, "big") + reason.encode()


def parse_frame(
    receive_bytes: Callable[[int], bytes],
    logger: logging.Logger = logger,
    ws_version: int = 13,
    unmask_receive: bool = True,
) -> tuple[int, bytes, int, int, int, int]:
    """Read one frame.

    Args:
        receive_bytes: Returns the given number of bytes.
        logger: Where a length that is not minimal is logged.
        ws_version: Ignored.
        unmask_receive: Whether the frame must be masked; otherwise it must not be.

    Returns:
        (opcode, unmasked payload, FIN, RSV1, RSV2, RSV3).

    Raises:
        InvalidFrameException: The frame is masked or not against `unmask_receive`, or its length
            has more than 63 bits.
    """
    header = receive_bytes(2)
    length = header[1] & 0x7F
    if bool(header[1] & 0x80) is not unmask_receive:
        raise InvalidFrameException("a frame is not masked" if unmask_receive else "a frame is masked")
    if length > 125:
        extended = receive_bytes(2 if length == 126 else 8)
        length = int.from_bytes(extended, "big")
        if length >= _LENGTH_LIMIT:
            raise InvalidFrameException("a payload length has more than 63 bits")
        if length < (126 if len(extended) == 2 else 0x10000):
            logger.warning("a payload length of %d is not encoded in as few bytes as possible", length)
    key = receive_bytes(4) if unmask_receive else b""
    payload = receive_bytes(length)
    first = header[0]
    bits = (first >> 7, first >> 6 & 1, first >> 5 & 1, first >> 4 & 1)
    return first & 0x0F, apply_mask(payload, key) if key else payload, *bits
