# The str or bytes that a payload becomes. In the making it has one owner, and is held by its pointer.
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "Python.h":
    void *PyUnicode_DATA(PyObject *text)
    PyObject *PyUnicode_New(Py_ssize_t size, Py_UCS4 largest) except NULL
    PyObject *PyBytes_FromStringAndSize(const char *data, Py_ssize_t size) except NULL
    void Py_DECREF(PyObject *data)

cdef extern from "objects.h":
    uint8_t *framewire_str_data(PyObject *text)
    uint8_t *framewire_bytes_data(PyObject *data)
    object made "framewire_made" (PyObject *data)
    uint64_t framewire_mask_short(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) nogil

cdef enum:
    SHORT = 32   # bytes: from here on the call of a kernel pays
    HIGH = 0x80  # the bit that no ASCII byte has


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
    cdef bytes payload = <bytes> made(make_bytes(src, size, keyed, key))
    if kernels.utf8_prefix(<const uint8_t *> PyBytes_AS_STRING(payload), <size_t> size) != <size_t> size:
        return NULL
    event = wrap(payload)
    Py_INCREF(event)
    return <PyObject *> event
