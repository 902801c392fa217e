# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The accept key of the opening handshake (RFC 6455 4.2.2)."""

from __future__ import annotations

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from kernels cimport framewire_accept


def accept_key(key: bytes) -> bytes:
    """Returns the Sec-WebSocket-Accept, 28 bytes, for a Sec-WebSocket-Key.

    Raises ValueError unless the key is the base64 of 16 bytes. Its 4 unused bits may be set: the RFC's own example
    sets them (4.1). Raises TypeError if it is not bytes.
    """
    cdef char accept[28]
    if type(key) is not bytes:
        raise TypeError("a key is bytes")
    if len(key) != 24 or not framewire_accept(accept, PyBytes_AS_STRING(key)):
        raise ValueError("a key is the base64 of 16 bytes")
    return PyBytes_FromStringAndSize(accept, 28)
