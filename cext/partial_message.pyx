# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True, auto_pickle=False
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Stage 4 of the data path: a message that arrives in parts (RFC 6455 5.4 to 5.6).

The payload is written directly into the memory of the final object; docs/internals.md describes the
ownership of that buffer.
"""

from __future__ import annotations

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from cpython_compat cimport (
    PY_SSIZE_T_MAX,
    Py_CLEAR,
    PyBytes_FromStringAndSize,
    PyUnicode_New,
    PyUnicode_Resize,
    _PyBytes_Resize,
    check_range,
    clipped,
    framewire_bytes_data,
    framewire_str_data,
    steal_reference,
)
from framewire._fast.dispatch cimport kernels, utf8_feed
from kernels cimport (
    FIRST_CONTINUATION,
    FRAME_WHOLE,
    framewire_advance_key,
    framewire_check_frame,
    framewire_header,
    framewire_utf8_state,
)
from payload cimport NOT_ASCII, decode_utf8

cdef enum:
    # Bytes of text that are unmasked and then validated while in the L1 cache; a multiple of 4.
    UNMASK_CHUNK = 16384
    MIN_CAPACITY = 1024  # smallest buffer of a message that arrives in parts, in bytes


cdef class PartialMessage:
    """The message that is being received: its state, and its payload so far in one buffer.

    docs/internals.md has the states. `opcode` is that of the open message (1 text, 2 binary, 0 if
    none is open), `in_frame` is true inside one of its frames, `final` if that frame is the last.
    `remaining` is the number of bytes of the frame that have not arrived, `size` the number of
    payload bytes held, `need` the number of bytes that the last code point lacks. `messages` counts
    all messages received, including those that the fast path takes whole.

    Args:
        masked: Whether frames must be masked.
        limit: Largest payload for a fast path, in bytes.
        wrap: Makes the event of a text message from valid UTF-8; None decodes it to a `str`.
    """

    def __init__(self, masked: bool, limit: int, wrap: Callable[[bytes], Any] | None) -> None:
        self.masked = masked
        self.limit = limit
        self.wrap = wrap

    def __dealloc__(self):
        Py_CLEAR(self.buffer)

    def __reduce_ex__(self, protocol):
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    @property
    def need(self) -> int:
        return self.utf8.need

    def begin_frame(self, opcode: int, final: bool, length: int, key: bytes, validated: bool) -> None:
        """Begin a data frame of the open message, or of a new one.

        Args:
            opcode: Type of the message, 1 or 2, also in a continuation.
            final: Whether the frame is the last of the message.
            length: Length of the payload in bytes.
            key: Masking key of 4 bytes, or empty if the frame is not masked.
            validated: Whether the payload must be UTF-8.

        Raises:
            ValueError: A frame is open, a message of another type is open, or a value is out of
                range.
        """
        cdef Py_ssize_t kind = clipped(opcode)
        cdef Py_ssize_t size = clipped(length)
        if type(key) is not bytes or PyBytes_GET_SIZE(key) not in (0, 4) or kind not in (1, 2) or size < 0:
            raise ValueError("no frame has these values")
        if size == PY_SSIZE_T_MAX and length >= 1 << 63:
            raise ValueError("no frame has these values")
        if self.remaining or self.opcode and (self.opcode != kind or self.validated != <bint> validated):
            raise ValueError("another frame, or a message of another type, is open")
        self.frame_masked = PyBytes_GET_SIZE(key) == 4
        if self.frame_masked:
            memcpy(&self.key, PyBytes_AS_STRING(key), 4)
        self.begin(<int> kind, final, <uint64_t> size if size < PY_SSIZE_T_MAX else length, validated)
        self.fast = False

    cdef void begin(self, int opcode, bint final, uint64_t length, bint validated) noexcept:
        self.opcode = opcode
        self.final = final
        self.remaining = length
        self.validated = validated
        self.in_frame = True

    def fill(self, data: Buffer, start: int, stop: int) -> int:
        """Move payload of the frame from data[start:stop] to the buffer.

        Returns:
            The index of the first byte that was not taken: at the end of the frame, or at the first
            invalid byte of UTF-8.
        """
        cdef Py_buffer view
        cdef Py_ssize_t first = clipped(start)
        cdef Py_ssize_t last = clipped(stop)
        octets = data if type(data) is bytes else memoryview(data).cast("B")
        PyObject_GetBuffer(octets, &view, PyBUF_SIMPLE)
        try:
            check_range(first, last, view.len)
            return first + self.take_payload(<const uint8_t *> view.buf + first, last - first)
        finally:
            PyBuffer_Release(&view)

    cdef Py_ssize_t take_payload(self, const uint8_t *src, Py_ssize_t available) except -1:
        """Take up to `available` bytes of the frame; return how many."""
        cdef Py_ssize_t size = available
        if <uint64_t> size > self.remaining:
            size = <Py_ssize_t> self.remaining
        if size == 0:
            return 0
        self.reserve(size)
        cdef uint8_t *dst = self.data() + self.size
        if self.validated:
            size = self.take_text(dst, src, size)
        elif self.frame_masked:
            kernels.mask(dst, src, <size_t> size, self.key)
        else:
            memcpy(dst, src, <size_t> size)
        self.key = framewire_advance_key(self.key, <size_t> size)
        self.size += size
        self.remaining -= <uint64_t> size
        return size

    cdef Py_ssize_t take_text(self, uint8_t *dst, const uint8_t *src, Py_ssize_t size) noexcept:
        """Unmask and validate; return the number of bytes before the first invalid one."""
        cdef Py_ssize_t done = 0
        cdef size_t chunk, valid
        cdef uint8_t not_ascii
        while done < size:
            chunk = <size_t> min(size - done, UNMASK_CHUNK)
            if self.frame_masked:
                not_ascii = kernels.mask_or(dst + done, src + done, chunk, self.key)
            else:  # validate the copy, not the source, which another thread may change meanwhile
                memcpy(dst + done, src + done, chunk)
                not_ascii = kernels.or_all(dst + done, chunk)
            if not_ascii & NOT_ASCII or self.utf8.need:
                self.not_ascii = NOT_ASCII
                valid = utf8_feed(<framewire_utf8_state *> &self.utf8, dst + done, chunk)
                if valid < chunk:
                    return done + <Py_ssize_t> valid
            done += <Py_ssize_t> chunk
        return done

    cdef void unread_last_byte(self) noexcept:
        """Unread the last byte of a frame that ends inside a code point, for the slow path."""
        self.size -= 1
        self.remaining = 1
        self.key = framewire_advance_key(self.key, 3)
        cdef Py_ssize_t lead = self.size
        while self.data()[lead] < 0xC0:
            lead -= 1
        self.utf8.need = 0
        utf8_feed(<framewire_utf8_state *> &self.utf8, self.data() + lead, <size_t> (self.size - lead))

    cdef uint8_t *data(self) noexcept:
        return framewire_str_data(self.buffer) if self.is_str else framewire_bytes_data(self.buffer)

    cdef int reserve(self, Py_ssize_t arriving) except -1:
        """Make room for `arriving` bytes.

        The capacity is at most twice the received size, whatever length the header announces.
        """
        if arriving > PY_SSIZE_T_MAX // 2 - self.size:
            raise MemoryError
        cdef Py_ssize_t needed = self.size + arriving
        if self.buffer != NULL and needed <= self.capacity:
            return 0
        cdef Py_ssize_t capacity = max(2 * needed, MIN_CAPACITY)
        if self.final and <uint64_t> (capacity - self.size) > self.remaining:
            capacity = max(needed, self.size + <Py_ssize_t> self.remaining)
        return self.resize(capacity)

    cdef int resize(self, Py_ssize_t capacity) except -1:
        if capacity == self.capacity:
            return 0
        try:
            if self.buffer == NULL:
                self.is_str = self.validated and self.wrap is None
                if self.is_str:
                    self.buffer = PyUnicode_New(capacity, 0x7F)
                else:
                    self.buffer = PyBytes_FromStringAndSize(NULL, capacity)
            elif self.is_str:
                PyUnicode_Resize(&self.buffer, capacity)
            else:
                _PyBytes_Resize(&self.buffer, capacity)
        except MemoryError:  # _PyBytes_Resize has freed the object
            self.clear()
            raise
        self.capacity = capacity
        return 0

    def end_frame(self) -> None:
        """End a frame that does not end its message."""
        self.in_frame = False

    def fill_frames(self, data: bytes, start: int, stop: int) -> int:
        """Take whole continuation frames that do not end the message, as a fast path.

        It stops before a frame with the wrong mask bit, a length that is not minimal, or a payload
        that exceeds `limit` together with the message so far. In text, it stops inside a frame at
        the first invalid byte of UTF-8.

        Returns:
            The index of the first byte that was not taken.

        Raises:
            ValueError: A frame is open, or no message is.
        """
        cdef framewire_header header
        cdef Py_ssize_t position = start
        cdef Py_ssize_t end = stop
        if type(data) is not bytes:
            raise TypeError("fill_frames() takes bytes")
        check_range(position, end, PyBytes_GET_SIZE(data))
        if self.in_frame or not self.opcode:
            raise ValueError("no message is open, or one of its frames is")
        cdef const uint8_t *src = <const uint8_t *> PyBytes_AS_STRING(data)
        while position < end and src[position] == FIRST_CONTINUATION and <uint64_t> self.size <= self.limit:
            if framewire_check_frame(&header, src + position, <size_t> (end - position), self.masked,
                                     self.limit - <uint64_t> self.size) != FRAME_WHOLE:
                break
            self.frame_masked, self.key, self.fast = header.masked, header.key, False
            self.begin(self.opcode, False, header.length, self.validated)
            position += header.size
            position += self.take_payload(src + position, <Py_ssize_t> header.length)
            if self.remaining:
                break
            self.in_frame = False
        return position

    def take_piece(self) -> str | bytes | Any:
        """Return the payload held, without an incomplete code point; keep the message open."""
        cdef uint8_t tail[3]
        cdef Py_ssize_t kept = 0
        if self.utf8.need:
            while kept == 0 or tail[3 - kept] < 0xC0:
                kept += 1
                tail[3 - kept] = self.data()[self.size - kept]
            self.size -= kept
        try:
            piece = self.steal_content()
            if kept:
                self.reserve(kept)
        except MemoryError:  # the tail is lost
            self.clear()
            raise
        if kept:
            memcpy(self.data(), tail + 3 - kept, <size_t> kept)
            self.size, self.not_ascii = kept, NOT_ASCII
        return piece

    def finish(self) -> str | bytes | Any:
        """End the message, count it and return its payload. ValueError inside a code point."""
        if self.utf8.need:
            raise ValueError("the text ends inside a code point")
        return self.end_message()

    cdef object end_message(self):
        event = self.steal_content()
        self.clear()
        self.messages += 1
        return event

    def clear(self) -> None:
        """Drop the open message and free its payload."""
        Py_CLEAR(self.buffer)
        self.opcode = self.size = self.capacity = self.not_ascii = self.remaining = 0
        self.in_frame = self.validated = False
        self.utf8.need = 0

    cdef object steal_content(self):
        """Return the payload as the final object; empty the buffer. `wrap` may run Python code."""
        cdef object event
        if self.size == 0:
            event = "" if self.validated and self.wrap is None else b""
        elif self.is_str and self.not_ascii & NOT_ASCII:
            event = steal_reference(decode_utf8(self.data(), self.size))
        else:
            self.resize(self.size)
            event = <object> self.buffer
        Py_CLEAR(self.buffer)
        self.size = self.capacity = self.not_ascii = 0
        if not self.validated or self.wrap is None or self.wrap is bytes:
            return event
        return self.wrap(event)
