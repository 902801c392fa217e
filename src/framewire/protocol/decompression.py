"""`Decompressor`: decode received messages with a codec, with a limit that holds meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .._backend import PartialMessage, StreamCore
from ..errors import Violation
from .codecs import Codec
from .constants import MAX_LENGTH, CloseCode

__all__ = ["FRAME_OVERHEAD", "Decompressor"]

#: How often a codec may restart inside one block, as after BFINAL (RFC 7692 7.2.3.4): a restart
#: takes as few as two bytes, and costs as much as hundreds of bytes.
_MAX_ENDS: Final = 16

#: How many bytes of each frame do not count for the largest payload of a message. A sender that ends
#: the data of each frame for the peer to decode it adds up to 10: two headers of stored blocks.
FRAME_OVERHEAD: Final = 16


class Decompressor:
    """Decodes the messages of one codec in steps, and holds the content of the open message.

    The codec gets the payload of each frame in blocks of `block` bytes, so that neither the content
    nor the error depends on how the bytes arrived, and returns the content in steps. Blocks and
    steps are small compared to the limit, which bounds the memory, and large enough to cost little.
    The fast path decodes messages of one block and less than one step; see `lend_to`.

    `max_payload` is the largest payload of a message before decoding, without `FRAME_OVERHEAD` for
    each frame but the last: an eighth and 1 KiB above the limit, which no sender that compresses
    needs.

    Args:
        codec: The codec.
        wrap: See `PartialMessage`.
        limit: Largest content of a message, in bytes.
        max_frame: Largest frame, in bytes.
    """

    __slots__ = ("_codec", "_content", "_limit", "_max_whole", "_step", "block", "max_payload")

    def __init__(self, codec: Codec, wrap: Callable[[bytes], Any] | None, limit: int, max_frame: int) -> None:
        self._codec = codec
        self._content = PartialMessage(False, 0, wrap)
        self._limit = limit
        self._step = min(max(1 << 14, min(limit // 8, 1 << 22)), limit + 1)
        self.block = max(1 << 13, min(limit // 16, 1 << 20)) & ~3  # a multiple of the length of a masking key
        self.max_payload = min(limit + limit // 8 + 1024, MAX_LENGTH)
        self._max_whole = min(self.block, self.max_payload, max_frame)

    def lend_to(self, core: StreamCore[Any]) -> None:
        """Let the fast path decode messages of one block and less than one step."""
        core._lend_codec(self._codec, self._max_whole, self._step)

    def begin(self, opcode: int, validated: bool) -> None:
        """Begin a message.

        Args:
            opcode: Its type, 1 or 2.
            validated: Whether its content must be UTF-8.
        """
        self._content.begin_frame(opcode, True, self._limit, b"", validated)

    def feed(self, payload: bytes, last: bool, decoded: bytes | ValueError | None, offset: int) -> None:
        """Decode at most one block of payload.

        Args:
            payload: The next bytes of the payload.
            last: Whether they end the message.
            decoded: The result of the codec, if the fast path has passed `payload` to it; otherwise
                None.
            offset: The offset of the end of the block in the stream.

        Raises:
            Violation: At `offset`, with 1007 if the payload is corrupt or the text is not UTF-8,
                1008 if the codec restarts too often, 1009 above the limit.
        """
        content = self._decode(payload, last, decoded, offset)
        ends = 0
        while True:
            if len(content) > self._content.remaining:
                reason = f"a message inflates beyond the limit of {self._limit} bytes"
                raise Violation(CloseCode.MESSAGE_TOO_BIG, reason, offset)
            if self._content.fill(content, 0, len(content)) < len(content):
                raise Violation(CloseCode.INVALID_DATA, "text is not valid UTF-8", offset)
            if not self._codec.pending:
                break
            ends += len(content) < self._step
            if ends > _MAX_ENDS:
                raise Violation(CloseCode.POLICY_VIOLATION, "a compressed message begins again and again", offset)
            del content  # before the next one is made
            content = self._decode(b"", last, None, offset)
        if last and self._content.need:
            raise Violation(CloseCode.INVALID_DATA, "text ends inside a code point", offset)

    def _decode(self, payload: bytes, last: bool, decoded: bytes | ValueError | None, offset: int) -> bytes:
        try:
            if decoded is None:
                decoded = self._codec.decode(payload, min(self._step, self._content.remaining + 1), last)
            elif isinstance(decoded, ValueError):
                raise decoded
        except ValueError as error:
            # The error text comes from the codec and may quote the peer's bytes: it is not sent.
            raise Violation(CloseCode.INVALID_DATA, str(error), offset, "a compressed message is corrupt") from None
        if type(decoded) is not bytes:
            raise TypeError(f"decode() returns bytes, not {type(decoded).__name__}")
        return decoded

    @property
    def size(self) -> int:
        """The size of the content held, in bytes."""
        return self._content.size

    def take_piece(self) -> Any:
        """Return the content held, without an incomplete code point; keep the message open."""
        return self._content.take_piece()

    def finish(self) -> Any:
        """Return the content held and end the message."""
        return self._content.finish()
