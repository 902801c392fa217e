# cython: language_level=3
# Declarations of cpython_compat.h, and of functions of Python.h that Cython does not declare, or
# declares with another ownership of references.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    # New references, held as pointers until they are handed to Cython.
    PyObject *PyUnicode_New(Py_ssize_t size, Py_UCS4 largest) except NULL
    PyObject *PyBytes_FromStringAndSize(const char *data, Py_ssize_t size) except NULL
    PyObject *PyUnicode_AsUTF8String(object text)  # NULL with an error set
    PyObject *PyObject_CallMethodNoArgs(object self, object name)  # NULL with an error set
    # These replace the only reference to an object; _PyBytes_Resize sets it to NULL on error.
    int PyUnicode_Resize(PyObject **text, Py_ssize_t size) except -1
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    void *PyUnicode_DATA(PyObject *text)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    bint PyErr_ExceptionMatches(object kind)
    void PyErr_Clear()
    void Py_DECREF(PyObject *data)
    void Py_XDECREF(PyObject *data)
    void Py_CLEAR(PyObject *data)


cdef extern from "cpython_compat.h":
    bint FRAMEWIRE_GIL
    Py_ssize_t clipped "framewire_clip" (object number) except? -1
    bint framewire_get_octets(object data, Py_buffer *view, int flags)
    uint8_t *framewire_str_data(PyObject *text)
    uint8_t *framewire_bytes_data(PyObject *data)
    object steal_reference "framewire_steal_reference" (PyObject *data)
    PyObject *framewire_decode(
        object codec, object decode, object payload, object max_content, int *failed) except NULL
    bint framewire_enter(uint8_t *busy)
    void framewire_leave(uint8_t *busy)
    int64_t framewire_load(const int64_t *field)
    void framewire_store(int64_t *field, int64_t value)
    void framewire_add_one(int64_t *counter)
    int framewire_append(object items, PyObject *item) except -1
    uint64_t framewire_mask_short(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) nogil


cdef inline int check_range(Py_ssize_t start, Py_ssize_t stop, Py_ssize_t size) except -1:
    if not 0 <= start <= stop <= size:
        raise ValueError("the range lies outside the data")
    return 0
