"""`SharedMessage`: a message for many streams, encoded once for each kind of stream.

A message from a fresh compressor refers only to itself. It is therefore valid at any place of a
connection whose window is as large, also with context takeover (RFC 7692 7.2.3.2). Only the
compressor of that connection must then begin with an empty window, because the message becomes
part of the peer's window but not of its own.
"""

from __future__ import annotations

from .._backend import Deflate, make_frame
from .constants import MAX_LENGTH, Opcode
from .sender import Sender

__all__ = ["SharedMessage"]

_FIN = 0x80


class SharedMessage:
    """A whole message to send with `Stream.send_shared` on any number of streams.

    It keeps each payload and each unmasked frame that was made for a stream. A masked frame is made
    for each stream, because it needs a masking key of its own (RFC 6455 5.3).

    Several threads may send it, each on its own streams: a frame that one may be reading is never
    replaced. If many are to be sent, each thread uses a `copy`, which is faster.

    Attributes:
        content: The message before encoding; UTF-8 if it is text.
        is_text: Whether it is text.
        compress: Whether it is compressed; None: its size decides.
        frames: The unmasked frames, by kind of stream; see `Stream.take_shared`.

    Args:
        message: Text as `str`, binary as a bytes-like object.
        text: True sends bytes as text, False sends a `str` as binary; None (default) decides by the
            type of `message`.
        compress: Whether an extension such as permessage-deflate encodes the message; see
            `Stream.send`.

    Raises:
        TextError: The text is not UTF-8.
    """

    __slots__ = ("_payloads", "compress", "content", "frames", "is_text")

    def __init__(
        self, message: str | bytes | bytearray | memoryview, text: bool | None = None, *, compress: bool | None = None
    ) -> None:
        opcode, self.content, _ = Sender([], MAX_LENGTH, None).check(message, text, True)
        self.is_text = opcode == Opcode.TEXT
        self.compress = compress
        self.frames: dict[object, bytes] = {}
        self._payloads: dict[object, bytes] = {}  # by settings of the codec

    def copy(self) -> SharedMessage:
        """Return the same message for another thread, which may use it at the same time.

        It is compressed once for both. Each makes its own frames: on free-threaded Python, counting the
        references to one object in two threads would cost more than to send it.
        """
        other = SharedMessage.__new__(SharedMessage)
        other.content, other.is_text, other.compress = self.content, self.is_text, self.compress
        other.frames, other._payloads = {}, self._payloads
        return other

    def make_frame(self, codec: Deflate | None, key: bytes) -> bytes:
        """Return a new frame for one stream.

        Args:
            codec: The codec of the stream, which needs a call of `abandon`; None if the message is
                not encoded.
            key: The masking key, or b"".
        """
        first = _FIN | (Opcode.TEXT if self.is_text else Opcode.BINARY)
        if codec is None:
            return make_frame(first, self.content, key)
        payload = self._payloads.get(codec.encode_settings)
        if payload is None:
            payload = self._payloads.setdefault(codec.encode_settings, codec.encode_alone(self.content))
        return make_frame(first | codec.rsv, payload, key)
