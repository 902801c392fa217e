# The message in the making. In it a payload is written where it stays, as far as that can be known.
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from kernels cimport (
    framewire_advance_key,
    framewire_header,
    framewire_read_header,
    framewire_utf8_feed,
    framewire_utf8_state,
)

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    int PyUnicode_Resize(PyObject **text, Py_ssize_t size) except -1
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    void Py_CLEAR(PyObject *data)

cdef extern from "objects.h":
    bint framewire_enter(uint8_t *busy)
    void framewire_leave(uint8_t *busy)

cdef enum:
    PIECE = 16384    # bytes, whole keys: text is unmasked and validated in pieces that stay in the first-level cache
    SMALLEST = 1024  # bytes: the first room for a message in pieces


cdef class PartialMessage:
    """The message that is being received: where it stands, and its payload so far in one buffer.

    `masked` says whether frames must be masked, `limit` is the largest payload in bytes that the fast lane takes,
    `wrap` makes the text event from valid UTF-8 (None: it is decoded to a str).

    `opcode` is that of the open message (1 text, 2 binary, 0 when none is open), `in_frame` tells whether one of its
    frames has begun and not ended, `final` whether that frame is the last, `remaining` how many of its bytes are
    still to come, `size` how many bytes of payload are held, `need` how many bytes the last code point lacks.

    `offset` counts the bytes of the stream that were taken, `messages` the messages that are over; `paused` keeps the
    fast lane from taking any.

    `codec`, if not None, is that of the messages that an extension has transformed. The fast lane has it decode those
    of up to `max_encoded` bytes of payload; what becomes no message then, `most` bytes of content or more for instance,
    is left in `decoded`, an error too, and the frame to the general lane.

    Whoever changes it or its stream is inside `with partial:`, which raises RuntimeError if somebody else is.
    """

    cdef public uint64_t offset
    cdef public uint64_t messages
    cdef public bint paused
    cdef public object codec
    cdef public uint64_t max_encoded
    cdef public Py_ssize_t most
    cdef public object decoded
    cdef readonly bint masked
    cdef readonly uint64_t limit
    cdef readonly object wrap
    cdef readonly int opcode
    cdef readonly bint in_frame
    cdef readonly bint final
    cdef readonly uint64_t remaining
    cdef readonly Py_ssize_t size
    cdef uint8_t busy
    cdef bint plain
    cdef bint validated
    cdef bint keyed
    cdef uint32_t key
    cdef framewire_utf8_state utf8
    # The result in the making: a str of ASCII characters if it is to be a str, until a byte says otherwise; else a
    # bytes. Its room is `room`, of which `size` bytes are payload; `high` tells by the bit HIGH if
    # any of them is not ASCII.
    cdef PyObject *buffer
    cdef Py_ssize_t room
    cdef bint is_str
    cdef uint8_t high

    def __init__(self, masked: bool, limit: int, wrap: Callable[[bytes], Any] | None) -> None:
        self.masked = masked
        self.limit = limit
        self.wrap = wrap

    def __dealloc__(self):
        Py_CLEAR(self.buffer)

    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        framewire_leave(&self.busy)

    cdef inline int enter(self) except -1:
        if not framewire_enter(&self.busy):
            raise RuntimeError("the stream is in use: it serves one task or thread at a time")
        return 0

    @property
    def need(self) -> int:
        return self.utf8.need

    def begin_frame(self, opcode: int, final: bool, length: int, key: bytes, validated: bool) -> None:
        """Begins a data frame of `length` bytes of the message of type `opcode` (1 or 2, also in a continuation).

        `key` is 4 bytes, or empty if the frame is not masked; `validated` says that the payload must be UTF-8.
        """
        cdef bytes mask = key
        self.keyed = len(mask) == 4
        if self.keyed:
            memcpy(&self.key, PyBytes_AS_STRING(mask), 4)
        self.begin(opcode, final, length, validated)
        self.plain = False

    cdef void begin(self, int opcode, bint final, uint64_t length, bint validated) noexcept:
        self.opcode = opcode
        self.final = final
        self.remaining = length
        self.validated = validated
        self.in_frame = True

    def fill(self, data: Buffer, start: int, stop: int) -> int:
        """Moves payload of the frame from data[start:stop] to the buffer; returns the index behind what it took.

        It stops at the end of the frame, or before the first byte that cannot be UTF-8.
        """
        cdef Py_buffer view
        cdef Py_ssize_t first = clipped(start)
        cdef Py_ssize_t last = clipped(stop)
        octets = data if type(data) is bytes else memoryview(data).cast("B")
        PyObject_GetBuffer(octets, &view, PyBUF_SIMPLE)
        try:
            check_range(first, last, view.len)
            return first + self.move(<const uint8_t *> view.buf + first, last - first)
        finally:
            PyBuffer_Release(&view)

    cdef Py_ssize_t move(self, const uint8_t *src, Py_ssize_t available) except -1:
        """Takes up to `available` bytes of the frame; returns how many."""
        cdef Py_ssize_t size = available
        if <uint64_t> size > self.remaining:
            size = <Py_ssize_t> self.remaining
        if size == 0:
            return 0
        self.reserve(size)
        cdef uint8_t *dst = self.data() + self.size
        if self.validated:
            size = self.move_text(dst, src, size)
        elif self.keyed:
            kernels.mask(dst, src, <size_t> size, self.key)
        else:
            memcpy(dst, src, <size_t> size)
        self.key = framewire_advance_key(self.key, <size_t> size)
        self.size += size
        self.remaining -= <uint64_t> size
        return size

    cdef Py_ssize_t move_text(self, uint8_t *dst, const uint8_t *src, Py_ssize_t size) noexcept:
        """Unmasks and validates; returns how many bytes come before the first that cannot be UTF-8."""
        cdef Py_ssize_t done = 0
        cdef size_t piece, valid
        cdef uint8_t high
        while done < size:
            piece = <size_t> min(size - done, PIECE)
            if self.keyed:
                high = kernels.mask_or(dst + done, src + done, piece, self.key)
            else:  # the copy is judged: the caller's memory may change meanwhile
                memcpy(dst + done, src + done, piece)
                high = kernels.or_all(dst + done, piece)
            if high & HIGH or self.utf8.need:
                self.high = HIGH
                valid = framewire_utf8_feed(kernels, &self.utf8, dst + done, piece)
                if valid < piece:
                    return done + <Py_ssize_t> valid
            done += <Py_ssize_t> piece
        return done

    cdef void give_back(self) noexcept:
        """Undoes the taking of the last byte: it ended a frame inside a code point, which the general lane judges."""
        self.size -= 1
        self.remaining = 1
        self.key = framewire_advance_key(self.key, 3)
        cdef Py_ssize_t lead = self.size
        while self.data()[lead] < 0xC0:
            lead -= 1
        self.utf8.need = 0
        framewire_utf8_feed(kernels, &self.utf8, self.data() + lead, <size_t> (self.size - lead))

    cdef uint8_t *data(self) noexcept:
        return framewire_str_data(self.buffer) if self.is_str else framewire_bytes_data(self.buffer)

    cdef int reserve(self, Py_ssize_t arriving) except -1:
        """Makes room for `arriving` bytes: never for more than twice what has arrived, however much is announced."""
        if arriving > PY_SSIZE_T_MAX // 2 - self.size:
            raise MemoryError
        cdef Py_ssize_t needed = self.size + arriving
        if self.buffer != NULL and needed <= self.room:
            return 0
        cdef Py_ssize_t room = max(2 * needed, SMALLEST)
        if self.final and <uint64_t> (room - self.size) > self.remaining:
            room = max(needed, self.size + <Py_ssize_t> self.remaining)
        return self.resize(room)

    cdef int resize(self, Py_ssize_t room) except -1:
        if room == self.room:
            return 0
        try:
            if self.buffer == NULL:
                self.is_str = self.validated and self.wrap is None
                self.buffer = PyUnicode_New(room, 0x7F) if self.is_str else PyBytes_FromStringAndSize(NULL, room)
            elif self.is_str:
                PyUnicode_Resize(&self.buffer, room)
            else:
                _PyBytes_Resize(&self.buffer, room)
        except MemoryError:  # of a bytes that could not grow nothing is left
            self.clear()
            raise
        self.room = room
        return 0

    def end_frame(self) -> None:
        """Ends a frame that does not end its message."""
        self.in_frame = False

    def fill_frames(self, data: bytes, start: int, stop: int) -> int:
        """Takes whole frames that continue the message and do not end it; returns the index behind the last of them.

        It takes those that need no more than that and keep the message within `limit`. In text it stops inside a frame
        before the first byte that cannot be UTF-8.
        """
        cdef framewire_header header
        cdef Py_ssize_t position = start
        cdef Py_ssize_t end = stop
        if type(data) is not bytes:
            raise TypeError("fill_frames() takes bytes")
        check_range(position, end, PyBytes_GET_SIZE(data))
        cdef const uint8_t *src = <const uint8_t *> PyBytes_AS_STRING(data)
        while position < end and src[position] == 0:
            if not framewire_read_header(&header, src + position, <size_t> (end - position)):
                break
            if header.masked != self.masked or not header.minimal or header.size > end - position:
                break
            if header.length > <uint64_t> (end - position - header.size):
                break
            if <uint64_t> self.size > self.limit or header.length > self.limit - <uint64_t> self.size:
                break
            self.keyed, self.key, self.plain = header.masked, header.key, False
            self.begin(self.opcode, False, header.length, self.validated)
            position += header.size
            position += self.move(src + position, <Py_ssize_t> header.length)
            if self.remaining:
                break
            self.in_frame = False
        return position

    def take_piece(self) -> str | bytes | Any:
        """Returns the payload held and keeps the message open; 1 to 3 bytes of an unfinished code point stay."""
        cdef uint8_t tail[3]
        cdef Py_ssize_t kept = 0
        if self.utf8.need:
            while kept == 0 or tail[3 - kept] < 0xC0:
                kept += 1
                tail[3 - kept] = self.data()[self.size - kept]
            self.size -= kept
        try:
            piece = self.take()
            if kept:
                self.reserve(kept)
        except MemoryError:  # the tail is lost
            self.clear()
            raise
        if kept:
            memcpy(self.data(), tail + 3 - kept, <size_t> kept)
            self.size, self.high = kept, HIGH
        return piece

    def finish(self) -> str | bytes | Any:
        """Returns the payload held and closes the message. Raises ValueError inside a code point."""
        if self.utf8.need:
            raise ValueError("the text ends inside a code point")
        event = self.take()
        self.clear()
        return event

    def clear(self) -> None:
        """Closes the message and drops what is held of it."""
        Py_CLEAR(self.buffer)
        self.opcode = self.size = self.room = self.high = self.remaining = 0
        self.in_frame = self.validated = False
        self.utf8.need = 0

    cdef object take(self):
        """Turns what is held into what the user gets, and holds nothing any more."""
        cdef object event
        if self.size == 0:
            event = "" if self.validated and self.wrap is None else b""
        elif self.is_str and self.high & HIGH:
            event = made(decode(self.data(), self.size))
        else:
            self.resize(self.size)
            event = <object> self.buffer
        Py_CLEAR(self.buffer)
        self.size = self.room = self.high = 0
        return self.wrap(event) if self.validated and self.wrap is not None else event
