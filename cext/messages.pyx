# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Stage 4 of the data path: frames to messages and back (RFC 6455 5.4 to 5.6).

`take_messages` is the fast lane: it takes what is whole and plain and leaves all else to `assembly`. It never
rejects.
"""

from __future__ import annotations

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove

from kernels cimport (
    framewire_advance_key,
    framewire_header,
    framewire_read_header,
    framewire_utf8_feed,
    framewire_utf8_state,
    framewire_write_header,
)

include "dispatch.pxi"

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)
    bytes PyUnicode_AsUTF8String(object text)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    # A bytes object that still grows has one owner and is held by its pointer.
    PyObject *new_bytes "PyBytes_FromStringAndSize" (const char *data, Py_ssize_t size) except NULL
    int resize_bytes "_PyBytes_Resize" (PyObject **data, Py_ssize_t size) except -1
    uint8_t *bytes_data "(uint8_t *) PyBytes_AS_STRING" (PyObject *data)
    Py_ssize_t bytes_size "PyBytes_GET_SIZE" (PyObject *data)
    void Py_CLEAR(PyObject *data)

# Text is unmasked and validated in pieces that stay in the first-level cache between the two.
cdef enum:
    PIECE = 16384
    SMALLEST = 1024


cdef class PartialMessage:
    """The message that is being received: where it stands, and its payload so far in one buffer.

    `masked` says whether frames must be masked, `limit` is the largest payload in bytes that the fast lane takes,
    `wrap` makes the text event from valid UTF-8 (None: it is decoded to a str).

    `opcode` is that of the open message (1 text, 2 binary, 0 when none is open), `in_frame` tells whether one of its
    frames has begun and not ended, `final` whether that frame is the last, `remaining` how many of its bytes are
    still to come, `size` how many bytes of payload are held, `need` how many bytes the last code point lacks.
    """

    cdef readonly bint masked
    cdef readonly uint64_t limit
    cdef readonly object wrap
    cdef readonly int opcode
    cdef readonly bint in_frame
    cdef readonly bint final
    cdef readonly uint64_t remaining
    cdef readonly Py_ssize_t size
    cdef bint plain
    cdef bint validated
    cdef bint keyed
    cdef uint32_t key
    cdef framewire_utf8_state utf8
    cdef PyObject *buffer

    def __init__(self, masked: bool, limit: int, wrap: Callable[[bytes], Any] | None) -> None:
        self.masked = masked
        self.limit = limit
        self.wrap = wrap

    def __dealloc__(self):
        Py_CLEAR(self.buffer)

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
        cdef Py_ssize_t first = start
        cdef Py_ssize_t last = stop
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
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
        cdef uint8_t *dst = bytes_data(self.buffer) + self.size
        cdef Py_ssize_t taken = 0
        cdef Py_ssize_t piece = size
        cdef uint8_t high = 0x80
        while taken < size:
            if self.validated:
                piece = min(size - taken, PIECE)
            if self.keyed:
                high = kernels.mask_or(dst + taken, src + taken, piece, self.key)
                self.key = framewire_advance_key(self.key, piece)
            else:
                memcpy(dst + taken, src + taken, piece)
                if self.validated:
                    high = kernels.or_all(src + taken, piece)
            if self.validated and (high > 127 or self.utf8.need):
                valid = framewire_utf8_feed(kernels, &self.utf8, dst + taken, piece)
                if valid < <size_t> piece:
                    taken += valid
                    break
            taken += piece
        self.size += taken
        self.remaining -= taken
        return taken

    cdef int reserve(self, Py_ssize_t arriving) except -1:
        """Makes room for `arriving` bytes: never for more than twice what has arrived, however much is announced."""
        cdef Py_ssize_t needed = self.size + arriving
        cdef Py_ssize_t room = max(2 * needed, SMALLEST)
        if self.final and <uint64_t> room > self.size + self.remaining:
            room = self.size + <Py_ssize_t> self.remaining
        if self.buffer == NULL:
            self.buffer = new_bytes(NULL, room)
        elif bytes_size(self.buffer) < needed:
            resize_bytes(&self.buffer, room)
        return 0

    def end_frame(self) -> None:
        """Ends a frame that does not end its message."""
        self.in_frame = False

    def take_piece(self) -> str | bytes | Any:
        """Returns the payload held and keeps the message open; 1 to 3 bytes of an unfinished code point stay."""
        cdef Py_ssize_t kept = self.size
        if kept == 0:
            return self.event(b"")
        cdef uint8_t *data = bytes_data(self.buffer)
        if self.validated and self.utf8.need:
            kept -= 1
            while data[kept] < 0xC0:
                kept -= 1
        payload = PyBytes_FromStringAndSize(<const char *> data, kept)
        self.size -= kept
        memmove(data, data + kept, self.size)
        return self.event(payload)

    def finish(self) -> str | bytes | Any:
        """Returns the payload held and closes the message."""
        return self.close()

    cdef object close(self):
        cdef bytes payload = b""
        cdef Py_ssize_t size = self.size
        if self.buffer != NULL:
            if bytes_size(self.buffer) != size:
                resize_bytes(&self.buffer, size)
            payload = <bytes> self.buffer
            Py_CLEAR(self.buffer)
        event = self.event(payload)
        self.opcode = self.size = 0
        self.in_frame = self.validated = False
        self.utf8.need = 0
        return event

    cdef object event(self, bytes payload):
        if not self.validated:
            return payload
        if self.wrap is not None:
            return self.wrap(payload)
        return decode(<const uint8_t *> PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))


cdef int check_range(Py_ssize_t start, Py_ssize_t stop, Py_ssize_t size) except -1:
    if not 0 <= start <= stop <= size:
        raise ValueError("the range lies outside the data")
    return 0


cdef object decode(const uint8_t *src, Py_ssize_t size):
    """A str from valid UTF-8: widened straight into the memory of the result."""
    cdef uint8_t largest = 0
    cdef Py_ssize_t count = <Py_ssize_t> kernels.utf8_count(src, <size_t> size, &largest)
    cdef Py_UCS4 widest = 0x7F if largest < 0x80 else 0xFF if largest < 0xC4 else 0xFFFF if largest < 0xF0 else 0x10FFFF
    text = PyUnicode_New(count, widest)
    if widest == 0x7F:
        memcpy(PyUnicode_DATA(text), src, <size_t> size)
    elif widest == 0xFF:
        kernels.utf8_to_latin1(<uint8_t *> PyUnicode_DATA(text), src, <size_t> size)
    elif widest == 0xFFFF:
        kernels.utf8_to_ucs2(<uint16_t *> PyUnicode_DATA(text), src, <size_t> size)
    else:
        kernels.utf8_to_ucs4(<uint32_t *> PyUnicode_DATA(text), src, <size_t> size)
    return text


cdef object make_text(const uint8_t *src, Py_ssize_t size, bint keyed, uint32_t key):
    """A str from a payload, or None if it is not UTF-8. ASCII, the common case, is unmasked straight into it."""
    cdef uint8_t high
    if size == 0:
        return ""
    text = PyUnicode_New(size, 0x7F)
    cdef uint8_t *dst = <uint8_t *> PyUnicode_DATA(text)
    if keyed:
        high = kernels.mask_or(dst, src, <size_t> size, key)
    else:
        high = kernels.or_all(src, <size_t> size)
        memcpy(dst, src, <size_t> size)
    if high < 0x80:
        return text
    if kernels.utf8_prefix(dst, <size_t> size) != <size_t> size:
        return None
    return decode(dst, size)


cdef bytes make_bytes(const uint8_t *src, Py_ssize_t size, bint keyed, uint32_t key):
    if not keyed or size == 0:
        return PyBytes_FromStringAndSize(<const char *> src, size)
    cdef bytes payload = PyBytes_FromStringAndSize(NULL, size)
    kernels.mask(<uint8_t *> PyBytes_AS_STRING(payload), src, <size_t> size, key)
    return payload


def take_messages(partial: PartialMessage, data: Buffer, start: int, stop: int, events: list[Any]) -> int:
    """Takes from data[start:stop] all whole, plain data messages and the beginning of the next one.

    Plain: FIN set, no RSV bit, text or binary, masked as it must be, not over the limit, valid UTF-8. Appends the
    finished `str` and `bytes` to `events` and returns the index of the first byte that it did not take.
    """
    cdef Py_buffer view
    cdef Py_ssize_t first = start
    cdef Py_ssize_t last = stop
    if type(partial) is not PartialMessage or type(events) is not list:
        raise TypeError("take_messages() takes a PartialMessage and a list")
    if type(data) is bytes:
        check_range(first, last, PyBytes_GET_SIZE(data))
        return take(<PartialMessage> partial, <const uint8_t *> PyBytes_AS_STRING(data), first, last, <list> events)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        check_range(first, last, view.len)
        return take(<PartialMessage> partial, <const uint8_t *> view.buf, first, last, <list> events)
    finally:
        PyBuffer_Release(&view)


cdef Py_ssize_t take(
    PartialMessage partial, const uint8_t *data, Py_ssize_t start, Py_ssize_t stop, list events
) except -1:
    cdef framewire_header header
    cdef Py_ssize_t end, length
    cdef bint keyed = partial.masked
    if partial.in_frame:
        if not partial.plain:
            return start
        start += partial.move(data + start, stop - start)
        if partial.remaining or partial.utf8.need:
            return start
        events.append(partial.close())
    elif partial.opcode:
        return start
    while framewire_read_header(&header, data + start, <size_t> (stop - start)):
        end = start + header.size
        if (
            (header.first != 0x81 and header.first != 0x82)
            or header.masked != keyed
            or not header.minimal
            or header.length > partial.limit
            or end > stop
        ):
            break
        if header.length > <uint64_t> (stop - end):
            partial.begin(header.first & 15, True, header.length, header.first == 0x81)
            partial.keyed, partial.key, partial.plain = keyed, header.key, True
            return end + partial.move(data + end, stop - end)
        length = <Py_ssize_t> header.length
        if header.first == 0x82:
            message = make_bytes(data + end, length, keyed, header.key)
        else:
            message = make_text(data + end, length, keyed, header.key)
            if message is None:
                break
            if partial.wrap is not None:
                message = partial.wrap(make_bytes(data + end, length, keyed, header.key))
        events.append(message)
        start = end + length
    return start


def make_frame(first: int, payload: str | bytes | bytearray | memoryview, key: bytes) -> bytes:
    """Makes a whole frame: the header with the first byte `first`, then the payload, masked unless `key` is empty.

    A `str` is encoded as UTF-8. Raises UnicodeEncodeError for a lone surrogate, else as `write_header`.
    """
    cdef Py_buffer view
    if type(payload) is bytes:
        return frame(first, <const uint8_t *> PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), key)
    if isinstance(payload, str):
        if PyUnicode_IS_COMPACT_ASCII(payload):
            return frame(first, <const uint8_t *> PyUnicode_DATA(payload), PyUnicode_GET_LENGTH(payload), key)
        payload = PyUnicode_AsUTF8String(payload)
        return frame(first, <const uint8_t *> PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), key)
    with memoryview(payload) as whole, whole.cast("B") as source:
        PyObject_GetBuffer(source, &view, PyBUF_SIMPLE)
        try:
            return frame(first, <const uint8_t *> view.buf, view.len, key)
        finally:
            PyBuffer_Release(&view)


cdef bytes frame(object first, const uint8_t *payload, Py_ssize_t length, object key):
    cdef uint8_t header[14]
    cdef const uint8_t *mask = NULL
    cdef uint32_t word
    if not 0 <= first <= 255:
        raise ValueError("the first byte of a header is 0 to 255")
    if type(key) is not bytes:
        raise TypeError("a masking key is bytes")
    if PyBytes_GET_SIZE(key) == 4:
        mask = <const uint8_t *> PyBytes_AS_STRING(key)
    elif PyBytes_GET_SIZE(key) != 0:
        raise ValueError("a masking key is 4 bytes")
    cdef size_t size = framewire_write_header(header, first, <uint64_t> length, mask)
    cdef bytes result = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> size + length)
    cdef uint8_t *dst = <uint8_t *> PyBytes_AS_STRING(result)
    memcpy(dst, header, size)
    if mask == NULL:
        memcpy(dst + size, payload, <size_t> length)
    else:
        memcpy(&word, mask, 4)
        kernels.mask(dst + size, payload, <size_t> length, word)
    return result
