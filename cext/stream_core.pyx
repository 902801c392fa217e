# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True, auto_pickle=False
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The fast paths of a stream: whole, plain messages between bytes and Python objects (RFC 6455 5.2 to 5.6)."""

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


cdef inline int enter(StreamCore self) except -1:
    """Begins a change of the stream: framewire_leave(&self.busy) ends it."""
    if not framewire_enter(&self.busy):
        raise RuntimeError("the stream is in use: it serves one task or thread at a time")
    return 0


cdef class StreamCore:
    """The fast paths of `Stream`, and the state that they read.

    A subclass calls `__init__` once and overrides the hooks: `_receive_slow` and `_send_slow` do
    what the fast paths leave, `_end_after_error` closes the stream. The fast paths never reject:
    they leave whatever is not a whole, plain message, and change nothing then.

    `_offset` counts the bytes received. While `_paused`, all that arrives is left to
    `_receive_slow`; unless `_fast_send`, all messages are left to `_send_slow`; while `_encoding`,
    those for a codec are. One caller at a time may change a stream: whatever does is between
    `_enter` and `_leave`, and so is every hook for receiving.
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
        """The number of bytes received: frames with their headers, without bytes that were ignored."""
        return self._offset

    @property
    def messages_received(self) -> int:
        """The number of messages received whole, fragmented or not."""
        return 0 if self._partial is None else self._partial.messages

    @property
    def messages_sent(self) -> int:
        """The number of messages made to be sent, fragmented ones with their last fragment."""
        return framewire_load(&self.sent)

    @property
    def _fast_send(self) -> bool:
        return self.fast_send

    @_fast_send.setter
    def _fast_send(self, allowed: bool) -> None:
        allow_fast_send(self, allowed)

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
        return send_any(self, message, text, last, compress, False)

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
        return send_any(self, message, text, last, compress, True)

    cdef bytes send_message(self, object message):
        return send_any(self, message, None, True, None, False)

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
        enter(self)

    def _leave(self) -> None:
        """End a change of the stream."""
        framewire_leave(&self.busy)

    def _next_key(self) -> bytes:
        """Return the next masking key; a function of the user's that makes it must not use the stream meanwhile."""
        return self.take_key()

    def _lend_codec(self, codec: Any, max_encoded: int, max_content: int) -> None:
        """Have the fast path decode whole messages of up to `max_encoded` bytes to less than `max_content` bytes."""
        self.receive_codec, self.receive_rsv = codec, codec.rsv
        self.max_encoded, self.max_content = max_encoded, max_content

    def _set_send_limit(self, max_plain: int, codec: Any) -> None:
        """Have the fast path send messages of less than `max_plain` bytes or characters as they are.

        It has `codec`, unless None, encode all others. It sends nothing while `_fast_send` is
        False.
        """
        self.max_plain_configured = max_plain
        self.send_codec = codec
        allow_fast_send(self, self.fast_send)

    def _note_sent(self, last: bool) -> None:
        """Note that `_send_slow` has sent a fragment, or with `last` the end of a message.

        It counts the messages, and lets `_fast_send` be False inside one. It allocates nothing: an
        error after the state of the sender has changed would say that nothing was sent.
        """
        allow_fast_send(self, last)
        if self.fast_send:
            framewire_add_one(&self.sent)

    def _take_messages(self, data: bytes, start: int, events: list[Any]) -> tuple[int, bytes | ValueError | None]:
        """Take whole, plain messages from data[start:], as `receive` does, and the beginning of the next one.

        Plain: FIN set, no RSV bit, text or binary, masked as it must be, of minimal length, not
        over the limit, valid UTF-8; or with the RSV bits of the codec, and decoded at once. Returns
        the index of the first byte not taken, and what the codec made of the frame there if it was
        asked to, see `_receive_slow`.
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
    """Receives the `size` bytes at `data`: all of the bytes object `owner`, unless that is None."""
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
    """Takes plain messages and the beginning of the next one, see `_take_messages`; returns how many bytes it took.

    Sets `decoded` to a new reference where the frame after these bytes has been decoded.
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
    """Takes one whole message that the codec decodes at once; returns the size of its frame, or 0 if it does not."""
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
            if content is not None:  # else _send_slow raises
                frame = frame_of(first, content, self.take_key(), apart)
                framewire_add_one(&self.sent)
                return frame
        else:
            frame = send_encoded(self, first, message, apart)
            if frame is not None:
                return frame
    return self._send_slow(message, text, last, compress, apart)


cdef object send_encoded(StreamCore self, uint8_t first, object message, bint apart):
    """Has the codec encode a whole message; None if `_send_slow` must send it."""
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
    """The frame of a bytes, or of a str that is ASCII."""
    if type(content) is bytes:
        return build_frame(
            first, content, <const uint8_t *> PyBytes_AS_STRING(content), PyBytes_GET_SIZE(content), key, apart)
    return build_frame(
        first, content, framewire_str_data(<PyObject *> content), PyUnicode_GET_LENGTH(content), key, apart)
