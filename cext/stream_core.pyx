# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True, auto_pickle=False
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""`StreamCore`: the fast paths for whole, plain messages (RFC 6455 5.2 to 5.6)."""

from __future__ import annotations

from types import GenericAlias

from cpython.buffer cimport PyBUF_CONTIG_RO, PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint64_t

from cpython_compat cimport (
    Py_XDECREF,
    PyUnicode_AsUTF8String,
    PyUnicode_GET_LENGTH,
    check_range,
    clipped,
    framewire_add_one,
    framewire_append,
    framewire_decode,
    framewire_enter,
    framewire_get_octets,
    framewire_leave,
    framewire_load,
    framewire_store,
    framewire_str_data,
    steal_reference,
)
from frame_writer cimport build_frame, encode_text, next_key
from framewire._fast.partial_message cimport PartialMessage
from kernels cimport (
    FIRST_BINARY,
    FIRST_TEXT,
    FRAME_REFUSED,
    FRAME_WHOLE,
    OPCODE_BINARY,
    OPCODE_BITS,
    framewire_check_frame,
    framewire_header,
    framewire_is_message,
)
from payload cimport copy_text, make_bytes, make_text, make_wrapped

cdef enum:
    RSV_BITS = 0x70  # of a first byte


cdef inline int enter(StreamCore self) except -1:
    """Begin a change of the stream, which framewire_leave(&self.busy) ends."""
    if not framewire_enter(&self.busy):
        raise RuntimeError("the stream is in use: it serves one task or thread at a time")
    return 0


cdef class StreamCore:
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

    __class_getitem__ = classmethod(GenericAlias)

    def __cinit__(self):
        self.busy = 1  # until __init__

    def __init__(self, partial: PartialMessage, keys: Any, keys_guarded: bool) -> None:
        if self._partial is not None:
            raise RuntimeError("a stream is initialized once")
        if type(partial) is not PartialMessage:
            raise TypeError("a stream takes a PartialMessage")
        self._keys = keys
        self.keys_guarded = keys_guarded
        self._partial = partial
        framewire_leave(&self.busy)

    def __reduce_ex__(self, protocol):
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    @property
    def bytes_received(self) -> int:
        """The number of bytes received, including headers, excluding bytes that were ignored."""
        return self._offset

    @property
    def messages_received(self) -> int:
        """The number of complete messages received, fragmented or not."""
        return 0 if self._partial is None else self._partial.messages

    @property
    def messages_sent(self) -> int:
        """The number of messages sent; a fragmented one counts with its last fragment."""
        return framewire_load(&self.sent)

    @property
    def _fast_send(self) -> bool:
        return self.fast_send

    @_fast_send.setter
    def _fast_send(self, allowed: bool) -> None:
        allow_fast_send(self, allowed)

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
        cdef list events = []
        enter(self)
        try:
            receive_object(self, data, size, events)
        finally:
            framewire_leave(&self.busy)
        return events

    cdef list receive_octets(self, const uint8_t *data, Py_ssize_t size):
        cdef list events = []
        enter(self)
        try:
            receive_memory(self, None, data, size, events)
        finally:
            framewire_leave(&self.busy)
        return events

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
        return send_any(self, message, text, last, compress, False)

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
        return send_any(self, message, text, last, compress, True)

    def take_shared(self, frames: dict[object, bytes]) -> bytes | None:
        """Return the frame of a shared message, if it was made already: the fast path of `send_shared`.

        Args:
            frames: `SharedMessage.frames`.

        Returns:
            The frame; None, without side effects, if the message needs `send_shared`.

        Raises:
            RuntimeError: Another call is using the stream.
        """
        return self.take_frame(frames)

    cdef bytes take_frame(self, object frames):
        cdef bytes frame
        if type(frames) is not dict:
            raise TypeError("take_shared() takes a dict")
        if self._shared_kind is None or self._encoding or not self.fast_send:
            return None
        frame = (<dict> frames).get(self._shared_kind)
        if frame is None:
            return None
        if PyBytes_AS_STRING(frame)[0] & RSV_BITS:
            enter(self)
            try:
                self.send_codec.abandon()
            finally:
                framewire_leave(&self.busy)
        framewire_add_one(&self.sent)
        return frame

    cdef bytes send_message(self, object message):
        return send_any(self, message, None, True, None, False)

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
        enter(self)

    def _leave(self) -> None:
        """End a change of the stream."""
        framewire_leave(&self.busy)

    def _next_key(self) -> bytes:
        """Return the next masking key; a `mask_source` that uses the stream gets a RuntimeError."""
        return self.take_key()

    def _lend_codec(self, codec: Any, max_encoded: int, max_content: int) -> None:
        """Let the fast path decode messages of at most `max_encoded` bytes of payload.

        The content must have less than `max_content` bytes.
        """
        self.receive_codec, self.receive_rsv = codec, codec.rsv
        self.max_encoded, self.max_content = max_encoded, max_content

    def _set_send_limit(self, max_plain: int, codec: Any) -> None:
        """Let the fast path send messages of less than `max_plain` bytes or characters unencoded.

        `codec`, unless None, encodes longer ones. The fast path is disabled while `_fast_send` is
        False.
        """
        self.max_plain_configured = max_plain
        self.send_codec = codec
        allow_fast_send(self, self.fast_send)

    def _note_sent(self, last: bool) -> None:
        """Record that `_send_slow` has sent a fragment, or the end of a message if `last`.

        Count the message, and disable the fast path inside a fragmented message. It allocates
        nothing, because the state of the sender has already changed and an error would tell the
        caller that nothing was sent.
        """
        allow_fast_send(self, last)
        if self.fast_send:
            framewire_add_one(&self.sent)

    def _take_messages(self, data: bytes, start: int, events: list[Any]) -> tuple[int, bytes | ValueError | None]:
        """Take plain messages from data[start:], and the beginning of one that is incomplete.

        A plain message is a single text or binary frame (FIN set, no RSV bits) with the correct
        mask bit, a minimal length within the limit, and valid UTF-8 if it is text; or the same with
        the RSV bits of the codec, which decodes it at once.

        Returns:
            The index of the first byte that was not taken, and `decoded` for `_receive_slow`.
        """
        cdef PyObject *decoded = NULL
        cdef Py_ssize_t position = clipped(start)
        if type(data) is not bytes or type(events) is not list:
            raise TypeError("_take_messages() takes bytes and a list")
        if self._partial is None:
            raise RuntimeError("the stream is not initialized")
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        check_range(position, size, size)
        try:
            if not self._paused:
                position += take_messages(
                    self,
                    <const uint8_t *> PyBytes_AS_STRING(data) + position,
                    size - position,
                    <list> events,
                    &decoded,
                )
            return position, <object> decoded if decoded != NULL else None
        finally:
            Py_XDECREF(decoded)

    cdef object take_key(self):
        if not self.keys_guarded:
            return next_key(self._keys)
        enter(self)
        try:
            return next_key(self._keys)
        finally:
            framewire_leave(&self.busy)


# Receiving


cdef int receive_object(StreamCore self, object data, object size, list events) except -1:
    cdef Py_buffer view
    if type(data) is bytes:
        return receive_part(self, data, <const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), size, events)
    if framewire_get_octets(data, &view, PyBUF_CONTIG_RO):
        try:
            return receive_part(self, None, <const uint8_t *> view.buf, view.len, size, events)
        finally:
            PyBuffer_Release(&view)
    return receive_object(self, memoryview(data).cast("B"), size, events)


cdef inline int receive_part(
    StreamCore self, object owner, const uint8_t *data, Py_ssize_t available, object size, list events
) except -1:
    cdef Py_ssize_t stop
    if size is None:
        return receive_memory(self, owner, data, available, events)
    stop = clipped(size)
    check_range(0, stop, available)
    return receive_memory(self, None, data, stop, events)


cdef int receive_memory(StreamCore self, object owner, const uint8_t *data, Py_ssize_t size, list events) except -1:
    """Process the `size` bytes at `data`: the content of the bytes object `owner`, unless None."""
    cdef PyObject *decoded = NULL
    cdef Py_ssize_t taken = 0
    try:
        if not self._paused:
            taken = take_messages(self, data, size, events, &decoded)
            self._offset += <uint64_t> taken
        if taken < size:
            if owner is None:
                self._receive_slow(
                    PyBytes_FromStringAndSize(<const char *> data + taken, size - taken), 0,
                    <object> decoded if decoded != NULL else None, events,
                )
            else:
                self._receive_slow(owner, taken, <object> decoded if decoded != NULL else None, events)
    except BaseException:
        self._end_after_error()
        raise
    finally:
        Py_XDECREF(decoded)
    return 0


cdef Py_ssize_t take_messages(
    StreamCore self, const uint8_t *data, Py_ssize_t size, list events, PyObject **decoded
) except -1:
    """Implement `_take_messages`; return the number of bytes taken.

    `*decoded` is set to a new reference if the next frame was passed to the codec.
    """
    cdef PartialMessage partial = self._partial
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t end
    cdef framewire_header header
    cdef PyObject *message
    cdef int found
    cdef bint masked = partial.masked
    cdef bint wrapped = partial.wrap is not None
    if partial.in_frame:
        if not partial.fast:
            return start
        start += partial.take_payload(data, size)
        if partial.remaining:
            return start
        if partial.utf8.need:
            partial.unread_last_byte()
            return start - 1
        events.append(partial.end_message())
    elif partial.opcode:
        return start
    while start < size:
        if not framewire_is_message(data[start]):
            if self.receive_codec is None:
                break
            end = take_encoded(self, data + start, size - start, events, decoded)
            if end == 0:
                break
            start += end
            continue
        found = framewire_check_frame(&header, data + start, <size_t> (size - start), masked, partial.limit)
        if found == FRAME_REFUSED:
            break
        end = start + header.size
        if found != FRAME_WHOLE:
            partial.begin(header.first & OPCODE_BITS, True, header.length, header.first == FIRST_TEXT)
            partial.frame_masked, partial.key, partial.fast = masked, header.key, True
            return end + partial.take_payload(data + end, size - end)
        if header.first == FIRST_BINARY:
            message = make_bytes(data + end, <Py_ssize_t> header.length, masked, header.key)
        elif wrapped:
            message = make_wrapped(partial.wrap, data + end, <Py_ssize_t> header.length, masked, header.key)
        else:
            message = make_text(data + end, <Py_ssize_t> header.length, masked, header.key)
        if message == NULL:  # not UTF-8
            break
        framewire_append(events, message)
        partial.messages += 1
        start = end + <Py_ssize_t> header.length
    return start


cdef Py_ssize_t take_encoded(
    StreamCore self, const uint8_t *data, Py_ssize_t available, list events, PyObject **decoded
) except -1:
    """Take one whole message that the codec decodes at once.

    Return the size of its frame, or 0 if it was not taken; then `*decoded` is set to a new
    reference if the frame was passed to the codec.
    """
    cdef PartialMessage partial = self._partial
    cdef framewire_header header
    cdef PyObject *message = NULL
    cdef const uint8_t *src
    cdef Py_ssize_t size
    cdef int failed
    codec = self.receive_codec
    if not framewire_is_message(data[0] ^ self.receive_rsv):
        return 0
    if framewire_check_frame(&header, data, <size_t> available, partial.masked, self.max_encoded) != FRAME_WHOLE:
        return 0
    payload = steal_reference(make_bytes(data + header.size, <Py_ssize_t> header.length, header.masked, header.key))
    content = steal_reference(framewire_decode(codec, "decode", payload, self.max_content, &failed))
    if not failed:
        if type(content) is not bytes:
            raise TypeError(f"decode() returns bytes, not {type(content).__name__}")
        src, size = <const uint8_t *> PyBytes_AS_STRING(content), PyBytes_GET_SIZE(content)
        if size < self.max_content and not codec.pending:
            if header.first & OPCODE_BITS == OPCODE_BINARY:
                Py_INCREF(content)
                message = <PyObject *> content
            elif partial.wrap is None:
                message = copy_text(src, size)
            else:
                message = make_wrapped(partial.wrap, src, size, False, 0)
    if message == NULL:  # an error, too much content, or not UTF-8
        Py_INCREF(content)
        decoded[0] = <PyObject *> content
        return 0
    framewire_append(events, message)
    partial.messages += 1
    return header.size + <Py_ssize_t> header.length


# Sending


cdef inline int allow_fast_send(StreamCore self, bint allowed) except -1:
    self.fast_send = allowed
    framewire_store(&self.max_plain, self.max_plain_configured if allowed else 0)
    return 0


cdef object send_any(StreamCore self, object message, object text, object last, object compress, bint apart):
    cdef uint8_t first
    cdef int64_t size
    if text is None and compress is None and last:
        if type(message) is bytes:
            first, size = FIRST_BINARY, PyBytes_GET_SIZE(message)
        elif type(message) is str:
            first, size = FIRST_TEXT, PyUnicode_GET_LENGTH(message)
        else:
            return self._send_slow(message, text, last, compress, apart)
        if size < framewire_load(&self.max_plain):
            content = message if first == FIRST_BINARY else encode_text(message)
            if content is not None:  # otherwise _send_slow raises a TextError
                frame = frame_of(first, content, self.take_key(), apart)
                framewire_add_one(&self.sent)
                return frame
        else:
            frame = send_encoded(self, first, message, apart)
            if frame is not None:
                return frame
    return self._send_slow(message, text, last, compress, apart)


cdef object send_encoded(StreamCore self, uint8_t first, object message, bint apart):
    """Encode and frame a whole message; return None if `_send_slow` must send it."""
    enter(self)
    try:
        codec = self.send_codec
        if codec is None or self._encoding or not self.fast_send:
            return None
        if first == FIRST_TEXT:
            message = encode_text(message)
            if message is None:
                return None
            if type(message) is str:
                message = steal_reference(PyUnicode_AsUTF8String(message))
        key = next_key(self._keys)
        try:
            payload = codec.encode(message, True)
            if type(payload) is not bytes:
                raise TypeError(f"encode() returns bytes, not {type(payload).__name__}")
            frame = frame_of(first | <uint8_t> codec.rsv, payload, key, apart)
        except BaseException:
            codec.abandon()
            raise
        framewire_add_one(&self.sent)
        return frame
    finally:
        framewire_leave(&self.busy)


cdef inline object frame_of(uint8_t first, object content, object key, bint apart):
    """Return the frame of a bytes, or of an ASCII str."""
    if type(content) is bytes:
        return build_frame(
            first, content, <const uint8_t *> PyBytes_AS_STRING(content), PyBytes_GET_SIZE(content), key, apart)
    return build_frame(
        first, content, framewire_str_data(<PyObject *> content), PyUnicode_GET_LENGTH(content), key, apart)
