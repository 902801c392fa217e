"""`StreamCore`: the fast paths for whole, plain messages (RFC 6455 5.2 to 5.6)."""

from __future__ import annotations

from _thread import allocate_lock  # not `threading.Lock`: the layers without I/O need no threads
from operator import index
from typing import Any, Generic, NoReturn, TypeVar

from .frames import FIRST_BINARY, FIRST_TEXT, make_parts, take_key
from .header import Buffer, check_range, read_header
from .mask import apply_mask
from .partial_message import PartialMessage

E = TypeVar("E")

_OPCODE_BITS = 0x0F
_OPCODE_BINARY = 2
_RSV_BITS = 0x70
_FIRST_BYTES = (FIRST_TEXT, FIRST_BINARY)


class StreamCore(Generic[E]):
    """The fast paths of `Stream`, and the state that they read.

    A subclass calls `__init__` once and overrides the hooks: `_receive_slow` and `_send_slow`
    process everything that is not a whole, plain message, and `_end_after_error` closes the stream.
    The fast paths never reject: they stop before such input without changing any state.

    `_offset` is the number of bytes received. While `_paused` is true, all input goes to
    `_receive_slow`; while `_fast_send` is false, all messages go to `_send_slow`; while `_encoding`
    is true, messages for a codec do. `_shared_kind` is the key of this stream in the frames of a
    shared message, or None. One caller at a time may change a stream: code that does runs between
    `_enter` and `_leave`, and so does every hook for receiving.
    """

    __slots__ = (
        "_busy", "_encoding", "_fast_send", "_keys", "_keys_guarded", "_max_content", "_max_encoded", "_max_plain",
        "_offset", "_partial", "_paused", "_receive_codec", "_receive_rsv", "_send_codec", "_sent",
        "_shared_kind",
    )  # fmt: skip

    def __init__(self, partial: PartialMessage, keys: Any, keys_guarded: bool) -> None:
        if hasattr(self, "_partial"):
            raise RuntimeError("a stream is initialized once")
        if type(partial) is not PartialMessage:
            raise TypeError("a stream takes a PartialMessage")
        self._keys = keys
        self._keys_guarded = keys_guarded
        self._partial = partial
        self._offset = self._sent = self._max_plain = self._max_content = self._max_encoded = self._receive_rsv = 0
        self._paused = self._encoding = self._fast_send = False
        self._send_codec: Any = None
        self._shared_kind: object = None
        self._receive_codec: Any = None
        self._busy = allocate_lock()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    @property
    def bytes_received(self) -> int:
        """The number of bytes received, including headers, excluding bytes that were ignored."""
        return self._offset

    @property
    def messages_received(self) -> int:
        """The number of complete messages received, fragmented or not."""
        return self._partial.messages

    @property
    def messages_sent(self) -> int:
        """The number of messages sent; a fragmented one counts with its last fragment."""
        return self._sent

    def receive(self, data: Buffer, size: int | None = None) -> list[E]:
        """Process received bytes and return the events that they complete.

        Write the result of `pending()` afterwards, before any other bytes. An exception that is
        raised after bytes were taken, such as MemoryError, KeyboardInterrupt or an error of a
        codec, closes the stream, because its position in the input is lost.

        Args:
            data: Any bytes-like object; chunk boundaries do not matter.
            size: Number of bytes to process, for a buffer that a read has filled in part; None
                processes all bytes.

        Returns:
            The events in order: `str` and `bytes` for messages, and the event classes. A violation
            by the peer does not raise: a `Failure` is the last event. Bytes after a `Close` or a
            `Failure` are ignored.

        Raises:
            ValueError: `data` has fewer than `size` bytes.
            RuntimeError: Another call is using the stream.
        """
        events: list[Any] = []
        begun = False
        self._enter()
        try:
            try:
                if type(data) is bytes:
                    stop = _stop_of(data, size)
                    begun = True
                    self._receive(data, stop, events)
                else:
                    with memoryview(data) as whole, whole.cast("B") as octets:
                        stop = _stop_of(octets, size)
                        begun = True
                        self._receive(octets, stop, events)
            finally:
                self._busy.release()
            return events
        except BaseException:
            if begun:
                self._end_after_error()
            raise

    def send(
        self,
        message: str | bytes | bytearray | memoryview,
        *,
        text: bool | None = None,
        last: bool = True,
        compress: bool | None = None,
    ) -> bytes:
        """Return the frame of a message: text for a `str`, binary for a bytes-like object.

        If it raises, the state of the stream has not changed.

        Args:
            message: The message, or a fragment of it.
            text: True sends bytes as text, False sends a `str` as binary; None (default) decides by
                the type of `message`.
            last: False begins or continues a fragmented message, whose fragments may split a code
                point (RFC 6455 5.4).
            compress: Whether an extension such as permessage-deflate encodes the message; the first
                fragment decides for all. None (default) encodes fragments, and messages of at least
                the codec's threshold.

        Returns:
            The frame.

        Raises:
            StateError: After a close or a failure, and while `send_steps` encodes another message.
            FragmentError: The type changes inside a message.
            TextError: The text is not UTF-8.
            PayloadTooBigError: The message exceeds `max_send_size`.
            RuntimeError: Another call is using the stream.
        """
        return b"".join(self.send_parts(message, text=text, last=last, compress=compress))

    def send_parts(
        self,
        message: str | bytes | bytearray | memoryview,
        *,
        text: bool | None = None,
        last: bool = True,
        compress: bool | None = None,
    ) -> list[bytes]:
        """Like `send`, but return header and payload separately, for `writelines`.

        A server does not copy a payload that is `bytes`.

        Args:
            message: See `send`.
            text: See `send`.
            last: See `send`.
            compress: See `send`.

        Returns:
            The header of 2 to 14 bytes, and the payload.
        """
        parts: list[bytes] | None = None
        whole = text is None and compress is None and last and self._fast_send
        if whole and (type(message) is str or type(message) is bytes):
            first = FIRST_TEXT if isinstance(message, str) else FIRST_BINARY
            try:
                payload = message.encode() if isinstance(message, str) else message
            except UnicodeEncodeError:
                pass  # _send_slow raises a TextError
            else:
                if len(message) < self._max_plain:
                    parts = make_parts(first, payload, self._next_key())
                    self._sent += 1
                else:
                    parts = self._send_encoded(first, payload)
        if parts is None:
            parts = self._send_slow(message, text, last, compress, True)
        return parts

    def take_shared(self, frames: dict[object, bytes]) -> bytes | None:
        """Return the frame of a shared message, if it was made already: the fast path of `send_shared`.

        Args:
            frames: `SharedMessage.frames`.

        Returns:
            The frame; None, without side effects, if the message needs `send_shared`.

        Raises:
            RuntimeError: Another call is using the stream.
        """
        if type(frames) is not dict:
            raise TypeError("take_shared() takes a dict")
        if self._shared_kind is None or self._encoding or not self._fast_send:
            return None
        frame = frames.get(self._shared_kind)
        if frame is None:
            return None
        if frame[0] & _RSV_BITS:
            self._enter()
            try:
                self._send_codec.abandon()
            finally:
                self._leave()
        self._sent += 1
        return frame

    # For subclasses

    def _receive_slow(self, data: bytes, start: int, decoded: bytes | ValueError | None, events: list[Any]) -> int:
        """Hook: process data[start:], where the fast path stopped, and append to `events`.

        If the fast path has passed the frame at `start` to the codec, `decoded` is the content or
        the error: the frame must not be decoded again.
        """
        raise NotImplementedError

    def _send_slow(
        self,
        message: str | bytes | bytearray | memoryview,
        text: bool | None,
        last: bool,
        compress: bool | None,
        apart: bool,
    ) -> Any:
        """Hook: send any other message; return its frame, or [header, payload] if `apart`."""
        raise NotImplementedError

    def _end_after_error(self) -> None:
        """Hook: close the stream after an exception, because its position in the input is lost."""
        raise NotImplementedError

    def _enter(self) -> None:
        """Begin a change of the stream. RuntimeError if another call is using it."""
        if not self._busy.acquire(False):
            raise RuntimeError("the stream is in use: it serves one task or thread at a time")

    def _leave(self) -> None:
        """End a change of the stream."""
        self._busy.release()

    def _next_key(self) -> bytes:
        """Return the next masking key; a `mask_source` that uses the stream gets a RuntimeError."""
        if not self._keys_guarded:
            return take_key(self._keys)
        self._enter()
        try:
            return take_key(self._keys)
        finally:
            self._leave()

    def _lend_codec(self, codec: Any, max_encoded: int, max_content: int) -> None:
        """Let the fast path decode messages of at most `max_encoded` bytes of payload.

        The content must have less than `max_content` bytes.
        """
        self._receive_codec, self._receive_rsv = codec, codec.rsv
        self._max_encoded, self._max_content = max_encoded, max_content

    def _set_send_limit(self, max_plain: int, codec: Any) -> None:
        """Let the fast path send messages of less than `max_plain` bytes or characters unencoded.

        `codec`, unless None, encodes longer ones. The fast path is disabled while `_fast_send` is
        False.
        """
        self._max_plain, self._send_codec = max_plain, codec

    def _note_sent(self, last: bool) -> None:
        """Record that `_send_slow` has sent a fragment, or the end of a message if `last`.

        Count the message, and disable the fast path inside a fragmented message. It allocates
        nothing, because the state of the sender has already changed and an error would tell the
        caller that nothing was sent.
        """
        self._fast_send = bool(last)
        if last:
            self._sent += 1

    def _take_messages(self, data: bytes, start: int, events: list[Any]) -> tuple[int, bytes | ValueError | None]:
        """Take plain messages from data[start:], and the beginning of one that is incomplete.

        A plain message is a single text or binary frame (FIN set, no RSV bits) with the correct
        mask bit, a minimal length within the limit, and valid UTF-8 if it is text; or the same with
        the RSV bits of the codec, which decodes it at once.

        Returns:
            The index of the first byte that was not taken, and `decoded` for `_receive_slow`.
        """
        if type(data) is not bytes or type(events) is not list:
            raise TypeError("_take_messages() takes bytes and a list")
        check_range(data, start, len(data))
        return (start, None) if self._paused else self._take(data, start, len(data), events)

    # The fast paths

    def _receive(self, data: bytes | memoryview, stop: int, events: list[Any]) -> None:
        start, decoded = (0, None) if self._paused else self._take(data, 0, stop, events)
        self._offset += start
        if start == stop:
            return
        if type(data) is bytes and stop == len(data):
            self._receive_slow(data, start, decoded, events)
        else:
            self._receive_slow(bytes(data[start:stop]), 0, decoded, events)

    def _take(
        self, data: bytes | memoryview, start: int, stop: int, events: list[Any]
    ) -> tuple[int, bytes | ValueError | None]:
        """Implement `_take_messages`, without its checks."""
        partial = self._partial
        if partial.in_frame:
            if not partial._fast:
                return start, None
            start = partial.fill(data, start, stop)
            if partial.remaining:
                return start, None
            if partial.need:
                partial._unread_last_byte()
                return start - 1, None
            events.append(partial.finish())
        elif partial.opcode:
            return start, None
        while header := read_header(data, start, stop):
            first, masked, length, end, key = header
            if masked != partial.masked or length < 0 or key is None:
                break
            if first not in _FIRST_BYTES:
                taken, decoded = self._take_encoded(data, header, stop, events)
                if not taken:
                    return start, decoded
                start = end + length
                continue
            if length > partial.limit:
                break
            if length > stop - end:
                partial._begin(first & _OPCODE_BITS, True, length, key, first == FIRST_TEXT)
                partial._fast = True
                return partial.fill(data, end, stop), None
            payload = apply_mask(data[end : end + length], key) if key else bytes(data[end : end + length])
            if not self._append(first, payload, events):
                break
            start = end + length
        return start, None

    def _take_encoded(
        self,
        data: bytes | memoryview,
        header: tuple[int, bool, int, int, bytes | None],
        stop: int,
        events: list[Any],
    ) -> tuple[bool, bytes | ValueError | None]:
        """Take one whole message that the codec decodes at once.

        Returns:
            Whether it was taken. If not, also the result of the codec, or None if the frame was not
            passed to it.
        """
        first, _, length, end, key = header
        codec = self._receive_codec
        if codec is None or (first ^ self._receive_rsv) not in _FIRST_BYTES:
            return False, None
        if length > min(self._max_encoded, stop - end):
            return False, None
        payload = apply_mask(data[end : end + length], key) if key else bytes(data[end : end + length])
        try:
            content = codec.decode(payload, self._max_content, True)
        except ValueError as error:
            return False, error
        if type(content) is not bytes:
            raise TypeError(f"decode() returns bytes, not {type(content).__name__}")
        if len(content) < self._max_content and not codec.pending and self._append(first, content, events):
            return True, None
        return False, content

    def _append(self, first: int, content: bytes, events: list[Any]) -> bool:
        """Append the event of a whole message; return False if it is text and not UTF-8."""
        partial = self._partial
        if first & _OPCODE_BITS == _OPCODE_BINARY:
            events.append(content)
        else:
            try:
                text = content.decode()
            except UnicodeDecodeError:
                return False
            events.append(text if partial.wrap is None else partial.wrap(content))
        partial.messages += 1
        return True

    def _send_encoded(self, first: int, content: bytes) -> list[bytes] | None:
        """Encode and frame a whole message; return None if `_send_slow` must send it."""
        self._enter()
        try:
            codec = self._send_codec
            if codec is None or self._encoding or not self._fast_send:
                return None
            key = take_key(self._keys)
            try:
                payload = codec.encode(content, True)
                if type(payload) is not bytes:
                    raise TypeError(f"encode() returns bytes, not {type(payload).__name__}")
                parts = make_parts(first | codec.rsv, payload, key)
            except BaseException:
                codec.abandon()
                raise
            self._sent += 1
            return parts
        finally:
            self._leave()


def _stop_of(data: bytes | memoryview, size: int | None) -> int:
    """Return the end of the bytes to process.

    Raises:
        TypeError: `size` is no integer.
        ValueError: `data` has fewer bytes than `size`.
    """
    if size is None:
        return len(data)
    if type(size) is not int:
        size = index(size)
    check_range(data, 0, size)
    return size
