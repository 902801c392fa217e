# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True, auto_pickle=False
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""`SocketWriter`: write frames to the socket of a connection."""

from __future__ import annotations

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from cpython_compat cimport (
    PyUnicode_AsUTF8String,
    PyUnicode_GET_LENGTH,
    framewire_add_one,
    framewire_load,
    framewire_str_data,
    steal_reference,
)
from frame_writer cimport build_frame, encode_text
from framewire._fast.dispatch cimport kernels
from framewire._fast.stream_core cimport StreamCore
from kernels cimport FIRST_BINARY, FIRST_TEXT, MAX_HEADER, framewire_write_header

cdef extern from "socket_io.h":
    void framewire_ignore_sigpipe(int fd)
    Py_ssize_t framewire_send(int fd, const uint8_t *data, size_t size)
    Py_ssize_t framewire_send_two(
        int fd, const uint8_t *head, size_t head_size, const uint8_t *data, size_t size) nogil

cdef enum:
    # Bytes of payload up to which a frame is built on the stack and sent with the GIL held.
    MAX_STACK_FRAME = 4096


cdef class SocketWriter:
    """Writes frames directly to the socket while the transport of the connection holds no data.

    This avoids the overhead of the event loop around a system call. Bytes that the socket does not
    accept at once go to `transport`, which also reports errors of the socket. Everything goes to
    the transport if `sock` is None, after `close()`, and from the first bytes that the transport
    was given until it holds none and is not closing. Nobody else may write to the transport. Each
    write asks the socket for its descriptor, because the event loop may close it at any time, and
    the number may then belong to another file.

    `bytes_sent` is the number of bytes written, including headers.

    Args:
        stream: The stream that takes masking keys and counts messages.
        transport: The asyncio transport of the connection.
        sock: The socket of the transport; None writes to the transport only.
        limit: Largest payload that `send` accepts, in bytes.
    """

    cdef StreamCore stream
    cdef object transport
    cdef object sock
    cdef Py_ssize_t limit
    cdef bint handed_over
    cdef public uint64_t bytes_sent

    def __init__(self, stream: StreamCore[Any], transport: Any, sock: Any, limit: int) -> None:
        if not isinstance(stream, StreamCore):
            raise TypeError("SocketWriter() takes a StreamCore")
        self.stream = stream
        self.transport = transport
        self.sock = sock
        self.limit = limit
        self.handed_over = True  # the transport may hold the end of the opening handshake
        if sock is not None:
            fd = sock.fileno()
            if fd >= 0:
                framewire_ignore_sigpipe(fd)

    def __reduce_ex__(self, protocol):
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def send(self, message: object) -> bool:
        """Write a whole, unencoded message of at most `limit` bytes.

        If the transport raises, the connection is aborted and the exception is passed on.

        Returns:
            False, without side effects, if the message needs `Stream.send`: compression, fragments,
            or an error to raise.
        """
        cdef uint8_t first
        cdef const uint8_t *src
        cdef Py_ssize_t size
        if type(message) is bytes:
            first, size, content = FIRST_BINARY, PyBytes_GET_SIZE(message), message
        elif type(message) is str:
            first, size, content = FIRST_TEXT, PyUnicode_GET_LENGTH(message), None
        else:
            return False
        if self.stream is None or size >= framewire_load(&self.stream.max_plain):
            return False
        if content is None:
            content = encode_text(message)
            if content is None:
                return False
        if type(content) is bytes:
            src, size = <const uint8_t *> PyBytes_AS_STRING(content), PyBytes_GET_SIZE(content)
        else:
            src = framewire_str_data(<PyObject *> content)
        if size > self.limit:
            return False
        key = self.stream.take_key()
        if size <= MAX_STACK_FRAME and type(key) is bytes and PyBytes_GET_SIZE(key) in (0, 4):
            self.write_small(first, src, size, <bytes> key)
        elif self.sock is not None and type(key) is bytes and PyBytes_GET_SIZE(key) == 0:
            self.write_large(first, content, src, size)
        else:
            self.write_frames(build_frame(first, content, src, size, key, False))
        framewire_add_one(&self.stream.sent)
        return True

    def send_shared(self, frames: dict[object, bytes]) -> bool:
        """Write the frame of a shared message, if it was made already.

        If the transport raises, the connection is aborted and the exception is passed on.

        Args:
            frames: `SharedMessage.frames`.

        Returns:
            False, without side effects, if the message needs `Stream.send_shared`.
        """
        if self.stream is None:
            return False
        frame = self.stream.take_frame(frames)
        if frame is None:
            return False
        self.write_frames(frame)
        return True

    def write(self, data: bytes) -> None:
        """Write frames. If the transport raises, abort the connection and pass the exception on."""
        if type(data) is not bytes:
            raise TypeError("write() takes bytes")
        self.write_frames(data)

    def close(self) -> None:
        """Write to the transport only from now on."""
        self.sock = None

    cdef int write_frames(self, bytes data) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t done = 0
        cdef int fd = self.descriptor()
        if fd >= 0:
            done = framewire_send(fd, <const uint8_t *> PyBytes_AS_STRING(data), <size_t> size)
        if done < size:
            self.hand_over(memoryview(data)[done:] if done else data)
        self.bytes_sent += <uint64_t> size
        return 0

    cdef int write_small(self, uint8_t first, const uint8_t *src, Py_ssize_t length, bytes key) except -1:
        cdef uint8_t frame[MAX_HEADER + MAX_STACK_FRAME]
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
            done = framewire_send(fd, frame, <size_t> size)
        if done < size:
            self.hand_over(PyBytes_FromStringAndSize(<const char *> frame + done, size - done))
        self.bytes_sent += <uint64_t> size
        return 0

    cdef int write_large(self, uint8_t first, object content, const uint8_t *src, Py_ssize_t length) except -1:
        """Write a header and an unmasked payload without joining them."""
        cdef uint8_t header[MAX_HEADER]
        cdef Py_ssize_t start = <Py_ssize_t> framewire_write_header(header, first, <uint64_t> length, NULL)
        cdef Py_ssize_t done = 0
        cdef int fd = self.descriptor()
        if fd >= 0:
            with nogil:
                done = framewire_send_two(fd, header, <size_t> start, src, <size_t> length)
        if done < start + length:
            if done < start:
                self.hand_over(PyBytes_FromStringAndSize(<const char *> header + done, start - done))
                done = start
            payload = content if type(content) is bytes else steal_reference(PyUnicode_AsUTF8String(content))
            self.hand_over(memoryview(payload)[done - start:] if done > start else payload)
        self.bytes_sent += <uint64_t> (start + length)
        return 0

    cdef int descriptor(self) except? -2:
        """Return the descriptor to write to; a negative number if the transport must write."""
        if self.sock is None:
            return -1
        if self.handed_over:
            if self.transport.get_write_buffer_size() or self.transport.is_closing():
                return -1
            self.handed_over = False
        return <int> self.sock.fileno()

    cdef int hand_over(self, object data) except -1:
        """Let the transport write. Abort if it raises: part of a frame may be on the wire."""
        self.handed_over = True
        try:
            self.transport.write(data)
        except BaseException:
            self.sock = None
            self.transport.abort()
            raise
        return 0
