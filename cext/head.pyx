# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True, auto_pickle=False
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Splitting of the heads of ordinary HTTP/1.1 messages (RFC 9112 3 to 5)."""

from __future__ import annotations

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

from cpython_compat cimport clipped

cdef extern from "Python.h":
    str PyUnicode_DecodeLatin1(const char *data, Py_ssize_t size, const char *errors)

# The parts of a head in which a byte may stand, as bits.
cdef enum:
    FIRST_LINE = 1
    NAME = 2
    VALUE = 4

# These bits of each byte.
cdef uint8_t[256] KINDS

# Names up to this size are changed to lower case on the stack; few are longer.
cdef enum:
    SHORT_NAME = 64

for _byte in range(256):
    KINDS[_byte] = 0
    if 32 <= _byte <= 126:
        KINDS[_byte] |= FIRST_LINE
    if _byte in b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz":
        KINDS[_byte] |= NAME
    if _byte == 9 or 32 <= _byte <= 126 or _byte > 127:
        KINDS[_byte] |= VALUE


def split_head(data: bytes, max_fields: int) -> tuple[str, str, dict[str, list[str]], int] | None:
    """Split the head at the beginning of data, if it is whole and strictly formed.

    Its first line is of ASCII, space to "~". Fields follow, at least one, each a token, ":" and any
    of tab, space to "~" and bytes above 127 (RFC 9110 5.5). Every line ends with CRLF.

    Args:
        data: Bytes, beginning with the head.
        max_fields: The largest number of fields.

    Returns:
        (the first line, the lines of the fields, the values of the fields by name, the size of the
        head), or None for all other heads. The lines have their CRLF between them; the names are in
        lower case, the values without spaces and tabs around them. Text is latin-1.

    Raises:
        TypeError: `data` is not bytes.
    """
    if type(data) is not bytes:
        raise TypeError("a head is bytes")
    cdef const char *octets = PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t most = clipped(max_fields)
    cdef Py_ssize_t first_size = run_of(octets, 0, size, FIRST_LINE)
    cdef Py_ssize_t begin = first_size + 2
    cdef Py_ssize_t position = begin
    cdef Py_ssize_t colon, end, count = 0
    cdef dict found = {}
    if first_size == 0 or not is_end_of_line(octets, first_size, size):
        return None
    while not is_end_of_line(octets, position, size):
        colon = run_of(octets, position, size, NAME)
        if colon == position or colon == size or octets[colon] != c":":
            return None
        end = run_of(octets, colon + 1, size, VALUE)
        if not is_end_of_line(octets, end, size) or count >= most:
            return None
        add_field(found, octets + position, colon - position, octets + colon + 1, end - colon - 1)
        position = end + 2
        count += 1
    if not count:
        return None
    return (
        PyUnicode_DecodeLatin1(octets, first_size, NULL),
        PyUnicode_DecodeLatin1(octets + begin, position - 2 - begin, NULL),
        found,
        position + 2,
    )


cdef inline bint is_end_of_line(const char *octets, Py_ssize_t position, Py_ssize_t size) noexcept:
    return position + 1 < size and octets[position] == c"\r" and octets[position + 1] == c"\n"


cdef inline Py_ssize_t run_of(const char *octets, Py_ssize_t position, Py_ssize_t size, int kind) noexcept:
    """Return the position of the first byte, from `position`, that is not of this kind."""
    while position < size and KINDS[<uint8_t> octets[position]] & kind:
        position += 1
    return position


cdef int add_field(
    dict found, const char *name, Py_ssize_t name_size, const char *value, Py_ssize_t value_size
) except -1:
    """Add a value, without the spaces around it, to those of the name in lower case."""
    cdef char[SHORT_NAME] short_name
    cdef Py_ssize_t i
    cdef str key
    if name_size <= SHORT_NAME:
        for i in range(name_size):
            short_name[i] = name[i] | 32 if c"A" <= name[i] <= c"Z" else name[i]
        key = PyUnicode_DecodeLatin1(short_name, name_size, NULL)
    else:
        key = PyUnicode_DecodeLatin1(name, name_size, NULL).lower()
    while value_size and value[0] in (c" ", c"\t"):
        value += 1
        value_size -= 1
    while value_size and value[value_size - 1] in (c" ", c"\t"):
        value_size -= 1
    cdef str text = PyUnicode_DecodeLatin1(value, value_size, NULL)
    cdef PyObject *values = PyDict_GetItemWithError(found, key)
    if values != NULL:
        (<list> values).append(text)
    else:
        found[key] = [text]
    return 0
