# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True, auto_pickle=False
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Sec-WebSocket-Accept of the opening handshake (RFC 6455 4.2.2)."""

from __future__ import annotations

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from framewire._fast.dispatch cimport accept


def accept_key(key: bytes) -> bytes:
    """Return the value of Sec-WebSocket-Accept, 28 bytes, for a Sec-WebSocket-Key.

    The 4 unused bits of the key may be set, as in the RFC's own example (4.1).

    Raises:
        ValueError: The key is not the base64 of 16 bytes.
        TypeError: The key is not bytes.
    """
    if type(key) is not bytes:
        raise TypeError("a key is bytes")
    cdef bytes answer = PyBytes_FromStringAndSize(NULL, 28)
    if PyBytes_GET_SIZE(key) != 24 or not accept(PyBytes_AS_STRING(answer), PyBytes_AS_STRING(key)):
        raise ValueError("a key is the base64 of 16 bytes")
    return answer
