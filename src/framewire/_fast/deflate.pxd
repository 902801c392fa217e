# cython: language_level=3
# Types for the compiled permessage-deflate codec; its code is _pure/deflate.py.
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
    cdef Py_ssize_t _limit
    cdef bytes _rest


cdef object _check_integer(str name, object value, object minimum, object maximum)
cdef object _load_zlib(object name)
