# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The end of the way back: messages and frames to the socket of a connection."""

from __future__ import annotations

include "dispatch.pxi"
include "frame.pxi"

cdef extern from "descriptor.h":
    Py_ssize_t framewire_put(int fd, const uint8_t *data, size_t size) nogil
    Py_ssize_t framewire_put_two(int fd, const uint8_t *head, size_t before, const uint8_t *data, size_t size) nogil

cdef enum:
    SMALL = 4096  # bytes: payloads up to here are copied behind their header, on the stack


cdef class SocketWriter:
    """Writes straight to the socket of a connection while nothing waits before it in the transport.

    That spares what an event loop does around a system call. What the socket does not take at once goes to
    `transport`, which also finds out what is wrong with the socket. So does everything if `sock` is None. The socket
    is asked for its descriptor before each write, as a loop may close it at any time, and the number then be
    another's.

    `messages_sent` and `bytes_sent`, frames with their headers, count what was written.
    """

    cdef object stream
    cdef object transport
    cdef object sock
    cdef Py_ssize_t limit
    cdef bint idle  # nothing waits in the transport
    cdef public uint64_t messages_sent
    cdef public uint64_t bytes_sent

    def __init__(self, stream: Any, transport: Any, sock: Any, limit: int) -> None:
        self.stream = stream
        self.transport = transport
        self.sock = sock
        self.limit = limit

    def send(self, message: object) -> bool:
        """Writes a whole message, if `stream` may send it as it is and its payload has at most `limit` bytes.

        False, and nothing is done, for all else: what that is, and why it cannot be sent, `Stream.send` knows.
        """
        cdef uint8_t first
        cdef const uint8_t *src
        cdef Py_ssize_t size
        if type(message) is not bytes and type(message) is not str:
            return False
        first = 0x82 if type(message) is bytes else 0x81
        if len(message) >= <Py_ssize_t> self.stream._plain:
            return False
        content = encoded(message, True)
        if content is None:
            return False
        if type(content) is bytes:
            src, size = <const uint8_t *> PyBytes_AS_STRING(content), PyBytes_GET_SIZE(content)
        else:
            src, size = framewire_str_data(<PyObject *> content), PyUnicode_GET_LENGTH(content)
        if size > self.limit:
            return False
        key = key_from(self.stream._keys)
        if size <= SMALL and type(key) is bytes and PyBytes_GET_SIZE(key) in (0, 4):
            self.write_small(first, src, size, <bytes> key)
        elif self.sock is not None and type(key) is bytes and PyBytes_GET_SIZE(key) == 0:
            self.write_large(first, content, src, size)
        else:
            self.write(build(first, content, src, size, key, False))
        self.messages_sent += 1
        return True

    def write(self, data: bytes) -> None:
        """Writes frames. If what the socket did not take cannot be left to the transport, the connection is cut."""
        cdef Py_ssize_t size, done
        cdef int fd
        if type(data) is not bytes:
            raise TypeError("write() takes bytes")
        size, done = PyBytes_GET_SIZE(data), 0
        fd = self.descriptor()
        if fd >= 0:
            done = framewire_put(fd, <const uint8_t *> PyBytes_AS_STRING(data), <size_t> size)
        if done < size:
            self.idle = False
            try:
                self.transport.write(memoryview(data)[done:] if done else data)
            except BaseException:
                self.give_up(done)
                raise
        self.bytes_sent += <uint64_t> size

    def close(self) -> None:
        """Leaves everything to the transport from now on."""
        self.sock = None

    cdef int write_small(self, uint8_t first, const uint8_t *src, Py_ssize_t length, bytes key) except -1:
        cdef uint8_t frame[SMALL + 14]
        cdef const uint8_t *mask = <const uint8_t *> PyBytes_AS_STRING(key) if PyBytes_GET_SIZE(key) else NULL
        cdef Py_ssize_t start = <Py_ssize_t> framewire_write_header(frame, first, <uint64_t> length, mask)
        cdef Py_ssize_t size = start + length
        cdef Py_ssize_t done = 0
        cdef uint32_t word
        cdef int fd
        if mask == NULL:
            memcpy(frame + start, src, <size_t> length)
        else:
            memcpy(&word, mask, 4)
            kernels.mask(frame + start, src, <size_t> length, word)
        fd = self.descriptor()
        if fd >= 0:
            done = framewire_put(fd, frame, <size_t> size)
        if done < size:
            self.idle = False
            try:
                self.transport.write(PyBytes_FromStringAndSize(<const char *> frame + done, size - done))
            except BaseException:
                self.give_up(done)
                raise
        self.bytes_sent += <uint64_t> size
        return 0

    cdef int write_large(self, uint8_t first, object content, const uint8_t *src, Py_ssize_t length) except -1:
        """Writes a header and a payload that nothing masks, without joining them."""
        cdef uint8_t header[14]
        cdef Py_ssize_t start = <Py_ssize_t> framewire_write_header(header, first, <uint64_t> length, NULL)
        cdef Py_ssize_t done = 0
        cdef int fd = self.descriptor()
        if fd >= 0:
            with nogil:
                done = framewire_put_two(fd, header, <size_t> start, src, <size_t> length)
        if done < start + length:
            self.idle = False
            try:
                if done < start:
                    self.transport.write(PyBytes_FromStringAndSize(<const char *> header + done, start - done))
                    done = start
                payload = content if type(content) is bytes else encoded(content, False)
                self.transport.write(memoryview(payload)[done - start:] if done > start else payload)
            except BaseException:
                self.give_up(done)
                raise
        self.bytes_sent += <uint64_t> (start + length)
        return 0

    cdef int descriptor(self) except -2:
        """Where to write at once; -1 if that cannot be."""
        if self.sock is None:
            return -1
        if not self.idle:  # one that was cut has dropped what it held, and nothing may follow
            self.idle = not (self.transport.get_write_buffer_size() or self.transport.is_closing())
        return <int> self.sock.fileno() if self.idle else -1

    cdef int give_up(self, Py_ssize_t done) except -1:
        """Cuts the connection if a frame was left half done."""
        if done:
            self.sock = None
            self.transport.abort()
        return 0
