# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Stage 4 of the data path: frames to messages (RFC 6455 5.4 to 5.6).

`take_messages` is the fast lane: it takes what is whole and plain and leaves all else to `assembly`. It never
rejects.
"""

from __future__ import annotations

from cpython.buffer cimport PyBUF_CONTIG_RO, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint8_t, uint64_t

from kernels cimport framewire_header, framewire_read_header, framewire_read_plain

include "dispatch.pxi"
include "ranges.pxi"
include "objects.pxi"
include "partial.pxi"

cdef extern from "objects.h":
    int framewire_append(object items, PyObject *item) except -1
    bint framewire_get_octets(object data, Py_buffer *view, int flags)
    object framewire_decoded(object codec, object decode, object payload, object most)


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
    return bytes(memoryview(data).cast("B")[start:stop])


cdef Py_ssize_t take_any(object partial, object data, Py_ssize_t start, object stop, list events) except -1:
    cdef Py_buffer view
    if type(partial) is not PartialMessage:
        raise TypeError("take_messages() takes a PartialMessage and a list")
    if type(data) is bytes:
        return take(<PartialMessage> partial, <const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data),
                    start, stop, events)
    if framewire_get_octets(data, &view, PyBUF_CONTIG_RO):
        try:
            return take(<PartialMessage> partial, <const uint8_t *> view.buf, view.len, start, stop, events)
        finally:
            PyBuffer_Release(&view)
    return take_any(partial, memoryview(data).cast("B"), start, stop, events)


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
        partial.messages += 1
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
        partial.messages += 1
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
    codec = partial.codec
    if not framewire_read_header(&header, data, <size_t> available) or header.masked != partial.masked:
        return 0
    if (header.first ^ <uint8_t> codec.rsv) not in (0x81, 0x82) or not header.minimal:
        return 0
    if header.length > partial.max_encoded or <Py_ssize_t> header.length > available - header.size:
        return 0
    payload = made(make_bytes(data + header.size, <Py_ssize_t> header.length, header.masked, header.key))
    content = framewire_decoded(codec, "decode", payload, partial.most)
    if type(content) is not bytes:
        partial.decoded = content
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
    partial.messages += 1
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
    payload = made(make_bytes(src + first, <Py_ssize_t> header.length, keyed, header.key))
    return payload, first + <Py_ssize_t> header.length
