"""`read_header` and `write_header` of both twins (RFC 6455 5.2)."""

import pytest
from frames import KEY, frame

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

LENGTHS = [*range(301), *range(65400, 65701), 1 << 31, (1 << 32) - 1, 1 << 32, 0x8081828384858687 >> 1, (1 << 63) - 1]


def form(length):
    return 7 if length < 126 else 16 if length < 1 << 16 else 64


def header(first, length, key=b"", bits=None):
    """Build the header of a frame with `length` bytes of payload."""
    bits = bits or form(length)
    if bits == 7:
        return frame(first, b"", key)[:1] + bytes([length | 0x80 * bool(key)]) + key
    code = {16: 126, 64: 127}[bits]
    return bytes([first, code | 0x80 * bool(key)]) + length.to_bytes(bits // 8, "big") + key


@pytest.mark.parametrize("key", [b"", KEY, b"\xff\x80\x00\x01"])
def test_header_round_trips_for_every_length_and_key(backend, key):
    for length in LENGTHS:
        data = header(0x82, length, key)
        assert backend.write_header(0x82, length, key) == data
        assert backend.read_header(data, 0, len(data)) == (0x82, bool(key), length, len(data), key)
        around = b"\xff" * 3 + data + b"\xff" * 9
        assert backend.read_header(around, 3, len(around)) == (0x82, bool(key), length, 3 + len(data), key)


def test_header_round_trips_for_every_first_byte(backend):
    for first in range(256):
        data = backend.write_header(first, 5, b"")
        assert data == bytes([first, 5])
        assert backend.read_header(data, 0, 2) == (first, False, 5, 2, b"")


@pytest.mark.parametrize("length", [0, 5, 125, 126, 65535, 65536, (1 << 63) - 1])
@pytest.mark.parametrize("key", [b"", KEY])
def test_partial_header_is_read_once_its_length_is_complete(backend, length, key):
    data = header(0x81, length, key)
    stated = len(data) - len(key)
    for stop in range(len(data) + 1):
        read = backend.read_header(data + b"\xff" * 20, 0, stop)
        if stop < stated:
            assert read is None
        else:
            assert read == (0x81, bool(key), length, len(data), key if stop == len(data) else None)


@pytest.mark.parametrize(
    ("length", "bits"),
    [
        *((length, bits) for length in (0, 1, 125) for bits in (16, 64)),
        *((length, 64) for length in (126, 255, 256, 65535)),
        *((length, 64) for length in (1 << 63, (1 << 63) + 1, (1 << 64) - 4, (1 << 64) - 1)),
    ],
)
def test_invalid_length_encoding_is_read_as_minus_one(backend, length, bits):
    for key in (b"", KEY):
        data = header(0x82, length, key, bits)
        assert backend.read_header(data, 0, len(data)) == (0x82, bool(key), -1, len(data), key)


@pytest.mark.parametrize("code", ["b", "B", "c", "H", "I"])
def test_header_is_read_from_the_bytes_of_any_buffer(backend, code):
    data = header(0x82, 300, KEY)
    for buffer in (memoryview(data).cast(code), memoryview(bytearray(data)).cast(code)):
        assert backend.read_header(buffer, 0, 8) == (0x82, True, 300, 8, KEY)
        assert backend.read_header(buffer, 0, 7) == (0x82, True, 300, 8, None)
    assert backend.read_header(bytearray(data), 0, 8) == (0x82, True, 300, 8, KEY)
    with pytest.raises(TypeError):
        backend.read_header("", 0, 0)


@pytest.mark.parametrize("start", [-(1 << 70), -1, 2, 3, 1 << 31, 1 << 63, 1 << 70])
@pytest.mark.parametrize("stop", [-(1 << 70), -1, 1, 3, 1 << 63, 1 << 70])
def test_read_header_rejects_ranges_outside_the_data(backend, start, stop):
    with pytest.raises(ValueError, match="the range lies outside the data"):
        backend.read_header(b"\x81\x00", start, stop)


@pytest.mark.parametrize(
    ("first", "length", "key", "error"),
    [
        (-1, 0, b"", ValueError),
        (256, 0, b"", ValueError),
        (1 << 70, 0, b"", ValueError),
        (0x82, -1, b"", ValueError),
        (0x82, 1 << 63, b"", ValueError),
        (0x82, 1 << 70, b"", ValueError),
        (0x82, 0, b"abc", ValueError),
        (0x82, 0, b"abcde", ValueError),
        (0x82, 0, bytearray(4), TypeError),
        (0x82, 0, None, TypeError),
        (0x82, 0, "abcd", TypeError),
    ],
)
def test_write_header_rejects_invalid_arguments(backend, first, length, key, error):
    with pytest.raises(error):
        backend.write_header(first, length, key)
