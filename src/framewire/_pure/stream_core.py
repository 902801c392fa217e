"""The fast paths of a stream: whole, plain messages between bytes and Python objects (RFC 6455 5.2 to 5.6)."""

from __future__ import annotations

from _thread import allocate_lock  # not `threading.Lock`: the layers without I/O need no threads
from typing import Any, Generic, NoReturn, TypeVar

from .frames import FIRST_BINARY, FIRST_TEXT, make_parts, take_key
from .header import Buffer, check_range, read_header
from .mask import apply_mask
from .partial_message import PartialMessage

E = TypeVar("E")

_OPCODE_BITS = 0x0F
_OPCODE_BINARY = 2
_FIRST_BYTES = (FIRST_TEXT, FIRST_BINARY)


class StreamCore(Generic[E]):
    """The fast paths of `Stream`, and the state that they read.

    A subclass calls `__init__` once and overrides the hooks: `_receive_slow` and `_send_slow` do
    what the fast paths leave, `_end_after_error` closes the stream. The fast paths never reject:
    they leave whatever is not a whole, plain message, and change nothing then.

    `_offset` counts the bytes received. While `_paused`, all that arrives is left to
    `_receive_slow`; unless `_fast_send`, all messages are left to `_send_slow`; while `_encoding`,
    those for a codec are. One caller at a time may change a stream: whatever does is between
    `_enter` and `_leave`, and so is every hook for receiving.
    """

    __slots__ = (
        "_busy", "_encoding", "_fast_send", "_keys", "_keys_guarded", "_max_content", "_max_encoded", "_max_plain",
        "_offset", "_partial", "_paused", "_receive_codec", "_receive_rsv", "_send_codec", "_sent",
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
        self._receive_codec: Any = None
        self._busy = allocate_lock()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    @property
    def bytes_received(self) -> int:
        """The number of bytes received: frames with their headers, without bytes that were ignored."""
        return self._offset

    @property
    def messages_received(self) -> int:
        """The number of messages received whole, fragmented or not."""
        return self._partial.messages

    @property
    def messages_sent(self) -> int:
        """The number of messages made to be sent, fragmented ones with their last fragment."""
        return self._sent

    def receive(self, data: Buffer, size: int | None = None) -> list[E]:
        """Read bytes that have arrived and return the events that they complete.

        Args:
            data: Any bytes-like object, cut anywhere.
            size: Read only the first `size` bytes, as a read leaves them in a buffer; None reads
                all.

        Returns:
            The events in their order: `str` and `bytes` for messages, and the classes of
            `framewire.protocol.events`. A violation by the peer does not raise: it is the last
            event, a `Failure`. After a `Close` or a `Failure` all further bytes are ignored. Write
            `pending()` before anything else.

        Raises:
            ValueError: `data` has fewer than `size` bytes.
            RuntimeError: Another call is using the stream.

        Any exception that is raised once bytes were taken, such as MemoryError, KeyboardInterrupt
        or an error of a codec, closes the stream, because its position in the bytes is lost.
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
        """Return the frame that carries a message: text for a `str`, binary for a bytes-like object.

        Args:
            message: The message, or a fragment of it. text: True sends bytes as text, False a `str`
            as binary; None goes by the type of `message`. last: False begins or continues a
            fragmented message, whose fragments may cut a code point (RFC 6455 5.4).
            compress: Whether an extension such as permessage-deflate encodes the message; the first
                fragment decides for all. None encodes fragments, and messages from the codec's
                threshold on.

        Raises:
            StateError: After a close or a failure, and while `send_steps` encodes another message.
            FragmentError: The type changes inside a message.
            TextError: The text is not UTF-8.
            PayloadTooBigError: The message is over `max_send_size`.
            RuntimeError: Another call is using the stream.

        Nothing has changed when it raises.
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
        """Like `send`, but return the header (2 to 14 bytes) and the payload apart, for `writelines`.

        A server's payload is not copied if it is `bytes`.
        """
        parts: list[bytes] | None = None
        whole = text is None and compress is None and last and self._fast_send
        if whole and (type(message) is str or type(message) is bytes):
            first = FIRST_TEXT if isinstance(message, str) else FIRST_BINARY
            try:
                payload = message.encode() if isinstance(message, str) else message
            except UnicodeEncodeError:
                pass  # _send_slow raises an error of framewire's
            else:
                if len(message) < self._max_plain:
                    parts = make_parts(first, payload, self._next_key())
                    self._sent += 1
                else:
                    parts = self._send_encoded(first, payload)
        if parts is None:
            parts = self._send_slow(message, text, last, compress, True)
        return parts

    # For subclasses

    def _receive_slow(self, data: bytes, start: int, decoded: bytes | ValueError | None, events: list[Any]) -> int:
        """Hook: receive data[start:], which the fast path left, and append to `events`.

        `decoded` is what the codec made of the frame at `start`, its content or its error, if the
        fast path has had it decoded: it must not be decoded again.
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
        """Hook: send a message that the fast path left; return its frame, or [header, payload] if `apart`."""
        raise NotImplementedError

    def _end_after_error(self) -> None:
        """Hook: close the stream, after an exception has lost its position in the bytes."""
        raise NotImplementedError

    def _enter(self) -> None:
        """Begin a change of the stream; RuntimeError if another call is inside."""
        if not self._busy.acquire(False):
            raise RuntimeError("the stream is in use: it serves one task or thread at a time")

    def _leave(self) -> None:
        """End a change of the stream."""
        self._busy.release()

    def _next_key(self) -> bytes:
        """Return the next masking key; a function of the user's that makes it must not use the stream meanwhile."""
        if not self._keys_guarded:
            return take_key(self._keys)
        self._enter()
        try:
            return take_key(self._keys)
        finally:
            self._leave()

    def _lend_codec(self, codec: Any, max_encoded: int, max_content: int) -> None:
        """Have the fast path decode whole messages of up to `max_encoded` bytes to less than `max_content` bytes."""
        self._receive_codec, self._receive_rsv = codec, codec.rsv
        self._max_encoded, self._max_content = max_encoded, max_content

    def _set_send_limit(self, max_plain: int, codec: Any) -> None:
        """Have the fast path send messages of less than `max_plain` bytes or characters as they are.

        It has `codec`, unless None, encode all others. It sends nothing while `_fast_send` is
        False.
        """
        self._max_plain, self._send_codec = max_plain, codec

    def _note_sent(self, last: bool) -> None:
        """Note that `_send_slow` has sent a fragment, or with `last` the end of a message.

        It counts the messages, and lets `_fast_send` be False inside one. It allocates nothing: an
        error after the state of the sender has changed would say that nothing was sent.
        """
        self._fast_send = bool(last)
        if last:
            self._sent += 1

    def _take_messages(self, data: bytes, start: int, events: list[Any]) -> tuple[int, bytes | ValueError | None]:
        """Take whole, plain messages from data[start:], as `receive` does, and the beginning of the next one.

        Plain: FIN set, no RSV bit, text or binary, masked as it must be, of minimal length, not
        over the limit, valid UTF-8; or with the RSV bits of the codec, and decoded at once. Returns
        the index of the first byte not taken, and what the codec made of the frame there if it was
        asked to, see `_receive_slow`.
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
        """Take plain messages and the beginning of the next one, see `_take_messages`."""
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

        Returns whether it was taken, and what the codec made of it if it was asked to and the
        message was not taken.
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
        """Append the event of a whole message; False if it is text and not UTF-8."""
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
        """Have the codec encode a whole message; None if `_send_slow` must send it."""
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
    """Where the bytes to receive end; ValueError if `data` has fewer than `size`."""
    if size is None:
        return len(data)
    check_range(data, 0, size)
    return size
