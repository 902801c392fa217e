# cython: language_level=3
# The compiled StreamCore, for extensions that receive and send without Python calls:
#
#     from framewire._fast.stream_core cimport StreamCore
#
#     cdef StreamCore stream = framewire.Stream(framewire.SERVER)
#     cdef list events = stream.receive_octets(data, size)
#
# The fields are private, and may change: compile against the installed version of framewire.
from libc.stdint cimport int64_t, uint8_t, uint64_t

from framewire._fast.partial_message cimport PartialMessage


cdef class StreamCore:
    cdef uint8_t busy
    cdef uint8_t receive_rsv
    cdef readonly PartialMessage _partial
    cdef readonly object _keys
    cdef public uint64_t _offset
    cdef public bint _paused
    cdef public bint _encoding
    cdef bint keys_guarded
    cdef bint fast_send
    cdef int64_t max_plain_configured
    cdef int64_t max_plain
    cdef int64_t sent
    cdef object send_codec
    cdef public object _shared_kind
    cdef object receive_codec
    cdef uint64_t max_encoded
    cdef Py_ssize_t max_content

    # Like `Stream.receive`; the memory is read during the call only.
    cdef list receive_octets(self, const uint8_t *data, Py_ssize_t size)

    # Like `Stream.send(message)`.
    cdef bytes send_message(self, object message)

    # Like `take_shared`.
    cdef bytes take_frame(self, object frames)

    # Return the next masking key, b"" for a server.
    cdef object take_key(self)
