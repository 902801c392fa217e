# cython: language_level=3
# Types for the compiled permessage-deflate codec; its code is _pure/deflate.py.
cimport cython

cdef bytes _TAIL
cdef bytes _EMPTY
cdef object _SYNC_FLUSH


cdef class Deflate:
    cdef readonly int encode_bits, decode_bits, level, memory_level
    cdef readonly bint encode_resets, decode_resets, pending
    cdef readonly Py_ssize_t threshold
    cdef readonly object deflater, inflater
    cdef object _zlib
    cdef bint _begun
    cdef bytes _rest

    @cython.locals(piece=bytes, limit=Py_ssize_t, content=bytes, rest=bytes)
    cpdef bytes decode(self, object payload, object most, bint last)

    @cython.locals(payload=bytes)
    cpdef bytes encode(self, object content, bint last)


cdef object _check_integer(str name, object value, object minimum, object maximum)
cdef object _load_zlib(object name)
