"""Stage 2 of the data path: XOR the payload with the masking key (RFC 6455 5.3)."""

from __future__ import annotations

from functools import lru_cache

from .header import Buffer

#: Size in bytes from which four calls of `translate` are faster than one XOR of long integers.
_LONG = 800
#: The bytes 0 to 255, as an integer.
_EACH = int.from_bytes(range(256), "little")


@lru_cache(maxsize=256)
def _table(byte: int) -> bytes:
    return (_EACH ^ int.from_bytes(bytes([byte]) * 256, "little")).to_bytes(256, "little")


def _rotated_key(key: bytes, phase: int) -> bytes:
    """Return the key rotated so that it begins with the byte for the first byte of the payload."""
    if type(key) is not bytes:
        raise TypeError("a masking key is bytes")
    if len(key) != 4:
        raise ValueError("a masking key is 4 bytes")
    if phase < 0:
        raise ValueError("a phase is 0 or more")
    phase %= 4
    return key[phase:] + key[:phase]


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
    if type(key) is not bytes or len(key) != 4 or phase != 0:
        key = _rotated_key(key, phase)
    if type(data) is not bytes:
        with memoryview(data) as view, view.cast("B") as source:
            data = bytes(source)
    size = len(data)
    if size < _LONG:
        keys = int.from_bytes(key * (size >> 2) + key[: size & 3], "little")
        return (int.from_bytes(data, "little") ^ keys).to_bytes(size, "little")
    payload = bytearray(data)
    for phase in range(4):
        payload[phase::4] = payload[phase::4].translate(_table(key[phase]))
    return bytes(payload)


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
    key = _rotated_key(key, phase)
    with memoryview(data) as view:
        if view.readonly:
            raise BufferError("Object is not writable.")
        with view.cast("B") as target:
            target[:] = apply_mask(target, key)
