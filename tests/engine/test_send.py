"""The way back, on each twin: whole frames from payloads (RFC 6455 5.2, 5.3, 5.6). The rest: test_stream_send.py."""

import mmap
from array import array

import pytest
from frames import BINARY, KEY, PING, TEXT, frame
from samples import SAMPLES, SIZES

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("first", [TEXT, BINARY, 0x01, 0x00, PING, 0xC1])
def test_frames(backend, key, first):
    for size in SIZES:
        payload = bytes(i * 7 & 127 for i in range(size))
        assert backend.make_frame(first, payload, key) == frame(first, payload, key)
        assert backend.make_frame(first, payload.decode(), key) == frame(first, payload, key)
    for sample in SAMPLES:
        assert backend.make_frame(first, sample * 40, key) == frame(first, (sample * 40).encode(), key)


@pytest.mark.parametrize(
    "payload",
    [
        bytearray(b"abcd"),
        memoryview(b"abcd"),
        memoryview(bytearray(b"abcd")),
        array("H", b"abcd"),
        memoryview(b"abcd").cast("B", (2, 2)),
        type("Octets", (bytes,), {})(b"abcd"),
        type("Name", (str,), {})("abcd"),
    ],
)
def test_frames_of_any_buffer(backend, payload):
    assert backend.make_frame(TEXT, payload, KEY) == frame(TEXT, b"abcd", KEY)


def test_a_frame_of_mapped_memory(backend):
    with mmap.mmap(-1, 100) as memory:
        assert backend.make_frame(BINARY, memory, b"") == frame(BINARY, bytes(100))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((256, b"", b""), ValueError),
        ((-1, b"", b""), ValueError),
        ((TEXT, b"", b"abc"), ValueError),
        ((TEXT, b"", "abcd"), TypeError),
        ((TEXT, b"", bytearray(4)), TypeError),
        ((TEXT, 5, b""), TypeError),
        ((TEXT, None, b""), TypeError),
        ((TEXT, "\ud800", b""), UnicodeEncodeError),
        ((TEXT, memoryview(b"abcd")[::2], b""), TypeError),
    ],
)
def test_frames_that_cannot_be(backend, arguments, error):
    with pytest.raises(error):
        backend.make_frame(*arguments)
