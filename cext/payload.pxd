# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# Conversion of a payload to a str or bytes, inlined into the modules that receive.
#
# All functions return a new reference as a pointer, which is the only reference to the object. NULL
# means that an error is set; where the return type is `except? NULL`, NULL without an error means
# invalid UTF-8.
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from cpython_compat cimport (
    Py_DECREF,
    PyBytes_FromStringAndSize,
    PyUnicode_DATA,
    PyUnicode_New,
    framewire_bytes_data,
    framewire_mask_short,
    framewire_str_data,
    steal_reference,
)
from framewire._fast.dispatch cimport kernels

cdef enum:
    MAX_INLINE_UNMASK = 32  # bytes: up to here, the call of a kernel would cost more than its work
    NOT_ASCII = 0x80  # the bit that no ASCII byte has set


cdef inline PyObject *decode_utf8(const uint8_t *src, Py_ssize_t size) except NULL:
    """Return a str from valid UTF-8, widened directly into the memory of the result."""
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


cdef inline PyObject *widen_text(PyObject *text, Py_ssize_t size) except? NULL:
    """Return the str for UTF-8 that was written into the ASCII str `text`; steal its reference."""
    cdef uint8_t *src = framewire_str_data(text)
    cdef PyObject *wide = NULL
    try:
        if kernels.utf8_prefix(src, <size_t> size) == <size_t> size:
            wide = decode_utf8(src, size)
    finally:
        Py_DECREF(text)
    return wide


cdef inline PyObject *copy_text(const uint8_t *src, Py_ssize_t size) except? NULL:
    """Return a str from bytes that are not masked."""
    cdef PyObject *text = PyUnicode_New(size, 0x7F)
    memcpy(framewire_str_data(text), src, <size_t> size)
    if not kernels.or_all(framewire_str_data(text), <size_t> size) & NOT_ASCII:
        return text
    return widen_text(text, size)


cdef inline PyObject *make_text(const uint8_t *src, Py_ssize_t size, bint masked, uint32_t key) except? NULL:
    """Return a str from a payload. ASCII is unmasked directly into the str."""
    cdef PyObject *text
    cdef uint8_t *dst
    if not masked:
        return copy_text(src, size)
    text = PyUnicode_New(size, 0x7F)
    if size == 0:  # the empty str is shared: nothing may be written to it
        return text
    dst = framewire_str_data(text)
    if size <= MAX_INLINE_UNMASK:
        if not framewire_mask_short(dst, src, <size_t> size, key) & <uint64_t> 0x8080808080808080:
            return text
    elif not kernels.mask_or(dst, src, <size_t> size, key) & NOT_ASCII:
        return text
    return widen_text(text, size)


cdef inline PyObject *make_bytes(const uint8_t *src, Py_ssize_t size, bint masked, uint32_t key) except NULL:
    """Return a bytes from a payload."""
    cdef PyObject *payload
    if not masked:
        return PyBytes_FromStringAndSize(<const char *> src, size)
    payload = PyBytes_FromStringAndSize(NULL, size)
    if size <= MAX_INLINE_UNMASK:
        framewire_mask_short(framewire_bytes_data(payload), src, <size_t> size, key)
    else:
        kernels.mask(framewire_bytes_data(payload), src, <size_t> size, key)
    return payload


cdef inline PyObject *make_wrapped(
    object wrap, const uint8_t *src, Py_ssize_t size, bint masked, uint32_t key
) except? NULL:
    """Return wrap(payload) if the payload is UTF-8. `wrap` may run Python code."""
    cdef bytes payload = <bytes> steal_reference(make_bytes(src, size, masked, key))
    if kernels.utf8_prefix(<const uint8_t *> PyBytes_AS_STRING(payload), <size_t> size) != <size_t> size:
        return NULL
    event = payload if wrap is bytes else wrap(payload)
    Py_INCREF(event)
    return <PyObject *> event
