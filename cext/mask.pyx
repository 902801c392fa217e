# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True, auto_pickle=False
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Stage 2 of the data path: XOR the payload with the masking key (RFC 6455 5.3)."""

from __future__ import annotations

from cpython.buffer cimport PyBUF_CONTIG, PyBUF_CONTIG_RO, PyBuffer_Release
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from cpython_compat cimport FRAMEWIRE_GIL, framewire_get_octets
from framewire._fast.dispatch cimport kernels
from kernels cimport framewire_advance_key


cdef uint32_t rotated_key(object key, object phase) except? 0:
    """Return the key rotated so that it begins with the byte for the first byte of the payload."""
    cdef uint32_t word
    if type(key) is not bytes:
        raise TypeError("a masking key is bytes")
    if len(key) != 4:
        raise ValueError("a masking key is 4 bytes")
    memcpy(&word, PyBytes_AS_STRING(key), 4)
    if type(phase) is int and not phase:
        return word
    if phase < 0:
        raise ValueError("a phase is 0 or more")
    return framewire_advance_key(word, phase % 4)


def apply_mask(data: Buffer, key: bytes, phase: int = 0) -> bytes:
    """Return a masked, or unmasked, copy of `data`: each byte XORed with its byte of `key`.

    Args:
        data: Any contiguous buffer, of any item type.
        key: 4 bytes.
        phase: The first byte of `data` is XORed with key[phase % 4].

    Raises:
        ValueError: `key` is not 4 bytes, or `phase` is negative.
        TypeError: `key` is not bytes.
    """
    cdef Py_buffer view
    cdef uint32_t word = rotated_key(key, phase)
    if type(data) is bytes:
        return masked_copy(<const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), word)
    if framewire_get_octets(data, &view, PyBUF_CONTIG_RO):
        try:
            return masked_copy(<const uint8_t *> view.buf, view.len, word)
        finally:
            PyBuffer_Release(&view)
    return apply_mask(memoryview(data).cast("B"), key, phase)


cdef bytes masked_copy(const uint8_t *data, Py_ssize_t size, uint32_t key):
    if size == 0:
        return b""
    cdef bytes payload = PyBytes_FromStringAndSize(NULL, size)
    kernels.mask(<uint8_t *> PyBytes_AS_STRING(payload), data, <size_t> size, key)
    return payload


def apply_mask_in_place(data: bytearray | memoryview, key: bytes, phase: int = 0) -> None:
    """Mask, or unmask, `data` in place, like `apply_mask`.

    Args:
        data: Any contiguous writable buffer.
        key: 4 bytes.
        phase: The first byte of `data` is XORed with key[phase % 4].

    Raises:
        BufferError: `data` is read-only.
        ValueError: `key` is not 4 bytes, or `phase` is negative.
        TypeError: `key` is not bytes.
    """
    cdef Py_buffer view
    cdef uint32_t word = rotated_key(key, phase)
    cdef uint8_t *octets
    if FRAMEWIRE_GIL and type(data) is bytearray:  # no other thread can resize it meanwhile
        octets = <uint8_t *> PyByteArray_AS_STRING(data)
        kernels.mask(octets, octets, <size_t> PyByteArray_GET_SIZE(data), word)
        return
    if framewire_get_octets(data, &view, PyBUF_CONTIG):
        kernels.mask(<uint8_t *> view.buf, <const uint8_t *> view.buf, <size_t> view.len, word)
        PyBuffer_Release(&view)
        return
    whole = memoryview(data)
    if whole.readonly:
        raise BufferError("Object is not writable.")
    apply_mask_in_place(whole.cast("B"), key, phase)
