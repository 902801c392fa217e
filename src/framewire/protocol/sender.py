"""The slow path of sending: every rule for what may be sent (RFC 6455 5.4 to 5.6, 7.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .._backend import Utf8Validator, take_key
from ..errors import CloseCodeError, FragmentError, PayloadTooBigError, StateError, TextError
from .codecs import Codec
from .constants import MAX_CONTROL_PAYLOAD, MAX_REASON, Opcode, may_be_sent
from .masking_keys import KeyPool, SourcedKeys

__all__ = ["Made", "Sender", "check_close", "check_control", "encode", "encode_text"]

Made = TypeVar("Made")

# Plain ints: the lookup of an enum member is slower than a function call.
_FIN = 0x80
_TEXT, _BINARY = int(Opcode.TEXT), int(Opcode.BINARY)


class Sender:
    """Checks messages to send, and holds the state of an open fragmented message.

    `opcode` is that of the open message, or 0.

    Args:
        codecs: The codecs of the stream; the first one encodes messages.
        max_size: Largest message, in bytes, all fragments together.
        keys: The source of masking keys; None for a server.
    """

    __slots__ = ("_codecs", "_encoder", "_keys", "_size", "_tail", "max_size", "opcode")

    def __init__(self, codecs: list[Codec], max_size: int, keys: KeyPool | SourcedKeys | None) -> None:
        self._codecs = codecs
        self.max_size = max_size
        self._keys = keys
        self.opcode = 0
        # Of the open message:
        self._size = 0  # bytes so far, before encoding
        self._tail = b""  # the incomplete code point at the end
        self._encoder: Codec | None = None

    def take(
        self,
        message: str | bytes | bytearray | memoryview,
        text: bool | None,
        last: bool,
        compress: bool | None,
        encoding: bool,
        make: Callable[[int, bytes, bytes], Made],
    ) -> Made:
        """Check and frame a message, or a fragment of one.

        Exceptions are those of `Stream.send`; the state has not changed then.

        Args:
            message: See `Stream.send`.
            text: See `Stream.send`.
            last: See `Stream.send`.
            compress: See `Stream.send`.
            encoding: Whether `send_steps` is encoding another message.
            make: Makes the result from first byte, payload and masking key.
        """
        opcode, payload, tail = self.check(message, text, last)
        codec = self._encoder if self.opcode else self.choose_codec(len(payload), last, compress, encoding)
        if encoding and not last:
            raise StateError("another message is still being encoded")
        key, size = take_key(self._keys), self._size + len(payload)
        first = _FIN if last else 0
        if not self.opcode:
            first |= opcode | (codec.rsv if codec is not None else 0)
        if codec is None:
            made = make(first, payload, key)
        else:
            try:
                made = make(first, encode(codec, payload, last), key)
            except BaseException:
                codec.abandon()
                raise
        self.opcode = 0 if last else opcode
        self._encoder = None if last else codec
        self._size = 0 if last else size
        self._tail = tail
        return made

    def check(
        self, message: str | bytes | bytearray | memoryview, text: bool | None, last: bool
    ) -> tuple[int, bytes, bytes]:
        """Return the opcode of a message, its bytes, and the incomplete code point at its end."""
        if text is None:
            text = isinstance(message, str)
        opcode = _TEXT if text else _BINARY
        if self.opcode and self.opcode != opcode:
            raise FragmentError("a message is text or binary from its first fragment to its last")
        if isinstance(message, str):
            payload = encode_text(message)
        else:
            payload = message if type(message) is bytes else _copy(message)
        self.check_size(self._size + len(payload))
        if text and (self._tail or not last or not isinstance(message, str)):
            return opcode, payload, _unfinished(self._tail + payload, last)
        return opcode, payload, b""

    def check_size(self, size: int) -> None:
        """Raise PayloadTooBigError if a message of `size` bytes must not be sent."""
        if size > self.max_size:
            raise PayloadTooBigError(f"a message to send has at most {self.max_size} bytes, not {size}")

    def choose_codec(self, size: int, last: bool, compress: bool | None, encoding: bool) -> Codec | None:
        """Return the codec for a message, or None.

        Args:
            size: Size of the message, or of its first fragment, in bytes.
            last: Whether the message is not fragmented.
            compress: See `Stream.send`.
            encoding: Whether the codec is encoding another message.

        Raises:
            StateError: The codec is needed and in use.
        """
        if not self._codecs or compress is False:
            return None
        codec = self._codecs[0]
        if compress is None and last and size < codec.threshold:
            return None
        if encoding:
            raise StateError("another message is still being encoded")
        return codec


def encode(codec: Codec, content: bytes, last: bool) -> bytes:
    """Encode a piece of a message. TypeError if the codec does not return bytes."""
    payload = codec.encode(content, last)
    if type(payload) is not bytes:
        raise TypeError(f"encode() returns bytes, not {type(payload).__name__}")
    return payload


def check_control(payload: bytes | bytearray | memoryview) -> bytes:
    """Return the payload of a ping or pong (5.5). PayloadTooBigError above 125 bytes."""
    if type(payload) is not bytes:
        payload = _copy(payload)
    if len(payload) > MAX_CONTROL_PAYLOAD:
        raise PayloadTooBigError(f"a control frame carries at most {MAX_CONTROL_PAYLOAD} bytes, not {len(payload)}")
    return payload


def check_close(code: int | None, reason: str = "") -> bytes:
    """Return the payload of a close frame (5.5.1, 7.4). Exceptions are those of `Stream.close`."""
    if not isinstance(reason, str):
        raise TypeError("a close reason is a str")
    payload = encode_text(reason)
    if code is None:
        if payload:
            raise CloseCodeError("a reason needs a code")
        return b""
    if not isinstance(code, int):
        raise TypeError(f"a close code is an integer or None, not {type(code).__name__}")
    if not may_be_sent(code):
        raise CloseCodeError(f"close code {code} may not be sent")
    if len(payload) > MAX_REASON:
        raise PayloadTooBigError(f"a close reason has at most {MAX_REASON} bytes of UTF-8, not {len(payload)}")
    return code.to_bytes(2, "big") + payload


def encode_text(text: str) -> bytes:
    """Return text as UTF-8. TextError if it cannot be encoded."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TextError(str(error)) from None


def _copy(data: bytes | bytearray | memoryview) -> bytes:
    """Copy a message, because the caller may change its memory before the bytes are written."""
    with memoryview(data) as view:
        return view.tobytes()


def _unfinished(text: bytes, last: bool) -> bytes:
    """Return the incomplete code point at the end of `text`, 0 to 3 bytes. TextError if invalid."""
    validator = Utf8Validator()
    valid = validator.feed(text)
    if valid < len(text):
        raise TextError(f"text to send is not valid UTF-8 from byte {valid} on")
    if not validator.need:
        return b""
    if last:
        raise TextError("text to send ends inside a code point")
    return next(text[-n:] for n in (1, 2, 3) if text[-n] >= 0xC0)
