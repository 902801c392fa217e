# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Stage 4 of the data path: frames to messages (RFC 6455 5.4 to 5.6).

`take_messages` is the fast lane: it takes what is whole and plain and leaves all else to `assembly`. It never
rejects.
"""

from __future__ import annotations

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from kernels cimport (
    framewire_advance_key,
    framewire_header,
    framewire_read_header,
    framewire_read_plain,
    framewire_utf8_feed,
    framewire_utf8_state,
)

include "dispatch.pxi"
include "ranges.pxi"

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    void *PyUnicode_DATA(PyObject *text)
    # Objects in the making have one owner and are held by their pointer.
    PyObject *PyUnicode_New(Py_ssize_t size, Py_UCS4 largest) except NULL
    PyObject *PyBytes_FromStringAndSize(const char *data, Py_ssize_t size) except NULL
    int PyUnicode_Resize(PyObject **text, Py_ssize_t size) except -1
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    void Py_CLEAR(PyObject *data)
    void Py_DECREF(PyObject *data)

cdef extern from "objects.h":
    uint8_t *framewire_str_data(PyObject *text)
    uint8_t *framewire_bytes_data(PyObject *data)
    bint framewire_enter(uint8_t *busy)
    void framewire_leave(uint8_t *busy)
    int framewire_append(object items, PyObject *item) except -1
    uint64_t framewire_mask_short(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) nogil

cdef enum:
    SHORT = 32       # bytes: from here on the call of a kernel pays
    PIECE = 16384    # bytes, whole keys: text is unmasked and validated in pieces that stay in the first-level cache
    SMALLEST = 1024  # bytes: the first room for a message in pieces
    HIGH = 0x80      # the bit that no ASCII byte has


cdef class PartialMessage:
    """The message that is being received: where it stands, and its payload so far in one buffer.

    `masked` says whether frames must be masked, `limit` is the largest payload in bytes that the fast lane takes,
    `wrap` makes the text event from valid UTF-8 (None: it is decoded to a str).

    `opcode` is that of the open message (1 text, 2 binary, 0 when none is open), `in_frame` tells whether one of its
    frames has begun and not ended, `final` whether that frame is the last, `remaining` how many of its bytes are
    still to come, `size` how many bytes of payload are held, `need` how many bytes the last code point lacks.

    `offset` counts the bytes of the stream that were taken; `paused` keeps the fast lane from taking any.

    `codec`, if not None, is that of the messages that an extension has transformed. The fast lane has it decode those
    of up to `max_encoded` bytes of payload; what becomes no message then, `most` bytes of content or more for instance,
    is left in `decoded`, an error too, and the frame to the general lane.

    Whoever changes it or its stream is inside `with partial:`, which raises RuntimeError if somebody else is.
    """

    cdef public uint64_t offset
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

    def __exit__(self, *_: object) -> None:
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
            event = <object> decode(self.data(), self.size)
            Py_DECREF(<PyObject *> event)
        else:
            self.resize(self.size)
            event = <object> self.buffer
        Py_CLEAR(self.buffer)
        self.size = self.room = self.high = 0
        return self.wrap(event) if self.validated and self.wrap is not None else event


cdef int check_range(Py_ssize_t start, Py_ssize_t stop, Py_ssize_t size) except -1:
    if not 0 <= start <= stop <= size:
        raise ValueError("the range lies outside the data")
    return 0


cdef PyObject *decode(const uint8_t *src, Py_ssize_t size) except NULL:
    """A str from valid UTF-8, widened straight into the memory of the result."""
    cdef uint8_t largest = 0
    cdef Py_ssize_t count = <Py_ssize_t> kernels.utf8_count(src, <size_t> size, &largest)
    cdef PyObject *text
    if largest < 0xC4:
        text = PyUnicode_New(count, 0xFF if largest > 0x7F else 0x7F)
        kernels.utf8_to_latin1(<uint8_t *> PyUnicode_DATA(text), src, <size_t> size)
    elif largest < 0xF0:
        text = PyUnicode_New(count, 0xFFFF)
        kernels.utf8_to_ucs2(<uint16_t *> PyUnicode_DATA(text), src, <size_t> size)
    else:
        text = PyUnicode_New(count, 0x10FFFF)
        kernels.utf8_to_ucs4(<uint32_t *> PyUnicode_DATA(text), src, <size_t> size)
    return text


cdef inline uint8_t unmask(uint8_t *dst, const uint8_t *src, Py_ssize_t size, bint keyed, uint32_t key) noexcept:
    """Copies a payload, unmasked if `keyed`; the bit HIGH of the result says that it is not ASCII."""
    if not keyed:
        memcpy(dst, src, <size_t> size)
        return kernels.or_all(dst, <size_t> size)
    if size <= SHORT:
        return HIGH if framewire_mask_short(dst, src, <size_t> size, key) & <uint64_t> 0x8080808080808080 else 0
    return kernels.mask_or(dst, src, <size_t> size, key)


cdef inline PyObject *make_text(const uint8_t *src, Py_ssize_t size, bint keyed, uint32_t key) except? NULL:
    """A str from a payload; NULL without an error if it is not UTF-8. ASCII is unmasked straight into the str."""
    cdef PyObject *text = PyUnicode_New(size, 0x7F)
    cdef uint8_t *dst = framewire_str_data(text)
    cdef PyObject *wide = NULL
    if size == 0 or not unmask(dst, src, size, keyed, key) & HIGH:
        return text
    try:
        if kernels.utf8_prefix(dst, <size_t> size) == <size_t> size:
            wide = decode(dst, size)
    finally:
        Py_DECREF(text)
    return wide


cdef inline PyObject *make_bytes(const uint8_t *src, Py_ssize_t size, bint keyed, uint32_t key) except NULL:
    cdef PyObject *payload
    if not keyed:
        return PyBytes_FromStringAndSize(<const char *> src, size)
    payload = PyBytes_FromStringAndSize(NULL, size)
    if size <= SHORT:
        framewire_mask_short(framewire_bytes_data(payload), src, <size_t> size, key)
    else:
        kernels.mask(framewire_bytes_data(payload), src, <size_t> size, key)
    return payload


cdef PyObject *make_wrapped(
    object wrap, const uint8_t *src, Py_ssize_t size, bint keyed, uint32_t key
) except? NULL:
    """wrap(payload), or NULL without an error if the payload is not UTF-8."""
    cdef bytes payload = <bytes> make_bytes(src, size, keyed, key)
    Py_DECREF(<PyObject *> payload)
    if kernels.utf8_prefix(<const uint8_t *> PyBytes_AS_STRING(payload), <size_t> size) != <size_t> size:
        return NULL
    event = wrap(payload)
    Py_INCREF(event)
    return <PyObject *> event


def receive(stream: Any, data: Buffer, size: int | None = None) -> list[Any]:
    """Reads what has arrived, any bytes-like object cut anywhere; returns the events that it completes.

    `size`: only the first so many bytes of it, as a read leaves them in a buffer. Raises ValueError if there are fewer.

    Never raises for what the peer did: a violation is the last event, a `Failure`. After a `Close` or a `Failure`
    every further byte is ignored. Write `pending()` before anything else. A MemoryError ends the stream too: where
    it stands in the bytes is lost. RuntimeError if the stream is in use, as it is when another thread receives.
    """
    cdef list events = []
    cdef PartialMessage partial = stream._partial
    cdef Py_ssize_t untaken
    partial.enter()
    try:
        untaken = take_any(partial, data, 0, size, events)
        if untaken:
            stream._take_frames(data if size is None else part(data, size - untaken, size), untaken, events)
    except MemoryError:
        stream._drop()
        raise
    finally:
        framewire_leave(&partial.busy)
    return events


def take_messages(partial: PartialMessage, data: Buffer, start: int, events: list[Any]) -> int:
    """Takes from data[start:] all whole, plain data messages and the beginning of the next one.

    Plain: FIN set, no RSV bit, text or binary, masked as it must be, not over the limit, valid UTF-8; or else with the
    RSV bit of `partial.codec`, and decoded at once. Appends the finished `str` and `bytes` to `events` and returns how
    many bytes at the end of `data` it did not take: all of data[start:] while `partial.paused`. Accepts any contiguous
    buffer, of any item type.
    """
    if type(events) is not list:
        raise TypeError("take_messages() takes a PartialMessage and a list")
    return take_any(partial, data, clipped(start), None, <list> events)


cdef bytes part(object data, object start, object stop):
    with memoryview(data) as whole, whole.cast("B") as octets:
        return bytes(octets[start:stop])


cdef Py_ssize_t take_any(object partial, object data, Py_ssize_t start, object stop, list events) except -1:
    cdef Py_buffer view
    if type(partial) is not PartialMessage:
        raise TypeError("take_messages() takes a PartialMessage and a list")
    if type(data) is bytes:
        return take(<PartialMessage> partial, <const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data),
                    start, stop, events)
    if type(data) is bytearray or type(data) is memoryview:  # what event loops read into
        try:
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        except BufferError:
            pass  # what is not contiguous fails below, in words of its own
        else:
            try:
                return take(<PartialMessage> partial, <const uint8_t *> view.buf, view.len, start, stop, events)
            finally:
                PyBuffer_Release(&view)
    with memoryview(data) as whole, whole.cast("B") as octets:
        PyObject_GetBuffer(octets, &view, PyBUF_SIMPLE)
        try:
            return take(<PartialMessage> partial, <const uint8_t *> view.buf, view.len, start, stop, events)
        finally:
            PyBuffer_Release(&view)


cdef Py_ssize_t take(
    PartialMessage partial, const uint8_t *data, Py_ssize_t size, Py_ssize_t start, object stop, list events
) except -1:
    cdef Py_ssize_t taken = 0
    cdef Py_ssize_t end = size if stop is None else clipped(stop)
    check_range(start, end, size)
    if not partial.paused:
        taken = take_some(partial, data + start, end - start, events)
        partial.offset += <uint64_t> taken
    return end - start - taken


cdef Py_ssize_t take_some(PartialMessage partial, const uint8_t *data, Py_ssize_t stop, list events) except -1:
    cdef Py_ssize_t start = 0
    cdef framewire_header header
    cdef PyObject *message
    cdef Py_ssize_t end
    cdef bint keyed = partial.masked
    cdef bint wrapped = partial.wrap is not None
    if partial.in_frame:
        if not partial.plain:
            return start
        start += partial.move(data + start, stop - start)
        if partial.remaining:
            return start
        if partial.utf8.need:
            partial.give_back()
            return start - 1
        events.append(partial.finish())
    elif partial.opcode:
        return start
    while True:
        if not framewire_read_plain(&header, data + start, stop - start, keyed):
            end = 0 if partial.codec is None else take_encoded(partial, data + start, stop - start, events)
            if end == 0:
                break
            start += end
            continue
        end = start + header.size
        if header.length > partial.limit:
            break
        if header.length > <uint64_t> (stop - end):
            partial.begin(header.first & 15, True, header.length, header.first == 0x81)
            partial.keyed, partial.key, partial.plain = keyed, header.key, True
            return end + partial.move(data + end, stop - end)
        if header.first == 0x82:
            message = make_bytes(data + end, <Py_ssize_t> header.length, keyed, header.key)
        elif wrapped:
            message = make_wrapped(partial.wrap, data + end, <Py_ssize_t> header.length, keyed, header.key)
        else:
            message = make_text(data + end, <Py_ssize_t> header.length, keyed, header.key)
        if message == NULL:
            break
        framewire_append(events, message)
        start = end + <Py_ssize_t> header.length
    return start


cdef Py_ssize_t take_encoded(
    PartialMessage partial, const uint8_t *data, Py_ssize_t available, list events
) except -1:
    """Takes one whole message that the codec decodes at once; returns the size of its frame, or 0."""
    cdef framewire_header header
    cdef PyObject *message = NULL
    cdef const uint8_t *src
    cdef Py_ssize_t size
    cdef bytes content
    codec = partial.codec
    if not framewire_read_header(&header, data, <size_t> available) or header.masked != partial.masked:
        return 0
    if (header.first ^ <uint8_t> codec.rsv) not in (0x81, 0x82) or not header.minimal:
        return 0
    if header.length > partial.max_encoded or <Py_ssize_t> header.length > available - header.size:
        return 0
    payload = <bytes> make_bytes(data + header.size, <Py_ssize_t> header.length, header.masked, header.key)
    Py_DECREF(<PyObject *> payload)  # the cast took a reference of its own
    try:
        content = codec.decode(payload, partial.most, True)
    except ValueError as error:
        partial.decoded = error
        return 0
    src, size = <const uint8_t *> PyBytes_AS_STRING(content), PyBytes_GET_SIZE(content)
    if not codec.pending and size < partial.most:
        if header.first & 15 == 2:
            Py_INCREF(content)
            message = <PyObject *> content
        elif partial.wrap is None:
            message = make_text(src, size, False, 0)
        else:
            message = make_wrapped(partial.wrap, src, size, False, 0)
    if message == NULL:
        partial.decoded = content
        return 0
    framewire_append(events, message)
    return header.size + <Py_ssize_t> header.length


def take_payload(data: bytes, start: int, masked: bool, limit: int) -> tuple[bytes, int] | None:
    """Returns the payload, unmasked, of the frame that begins at data[start], and the index behind the frame.

    None unless the frame is whole, masked if and only if `masked`, of minimal length and has up to `limit` bytes. Its
    first byte may be anything.
    """
    cdef framewire_header header
    cdef Py_ssize_t first = start
    cdef bint keyed = masked
    cdef uint64_t most = limit
    if type(data) is not bytes:
        raise TypeError("take_payload() takes bytes")
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    check_range(first, size, size)
    cdef const uint8_t *src = <const uint8_t *> PyBytes_AS_STRING(data)
    if not framewire_read_header(&header, src + first, <size_t> (size - first)):
        return None
    if header.masked != keyed or not header.minimal or header.length > most:
        return None
    first += header.size
    if first > size or header.length > <uint64_t> (size - first):
        return None
    payload = <bytes> make_bytes(src + first, <Py_ssize_t> header.length, keyed, header.key)
    Py_DECREF(<PyObject *> payload)  # the cast took a reference of its own
    return payload, first + <Py_ssize_t> header.length
