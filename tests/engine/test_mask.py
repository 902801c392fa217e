"""`apply_mask` and `apply_mask_in_place` of both twins (RFC 6455 5.3)."""

import mmap
from array import array

import pytest
from frames import KEY, mask

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

PAYLOAD = bytes(i * 37 + (i >> 8) & 255 for i in range(70000))


@pytest.mark.parametrize("size", [*range(300), 1023, 1024, 1025, 4095, 4097, 65535, 65537])
def test_mask_matches_reference_for_every_size(backend, size):
    data = PAYLOAD[:size]
    assert backend.apply_mask(data, KEY) == mask(data)
    target = bytearray(data)
    assert backend.apply_mask_in_place(target, KEY) is None
    assert target == mask(data)
    assert data == PAYLOAD[:size]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 31, 64, 127, 1024, 5000])
@pytest.mark.parametrize("phase", [0, 1, 2, 3, 4, 7, (1 << 32) + 1, (1 << 64) + 2, 1 << 100])
def test_mask_matches_reference_for_every_phase(backend, size, phase):
    key = KEY[phase % 4 :] + KEY[: phase % 4]
    target = bytearray(PAYLOAD[:size])
    backend.apply_mask_in_place(target, KEY, phase)
    assert backend.apply_mask(PAYLOAD[:size], KEY, phase) == target == mask(PAYLOAD[:size], key)
    assert backend.apply_mask(PAYLOAD[:size], KEY, phase=phase) == target


@pytest.mark.parametrize("offset", range(0, 70, 3))
def test_mask_matches_reference_for_every_alignment(backend, offset):
    for size in (1, 15, 64, 100, 333):
        target = bytearray(PAYLOAD[:512])
        with memoryview(target)[offset : offset + size] as view:
            backend.apply_mask_in_place(view, KEY)
        assert target == PAYLOAD[:offset] + mask(PAYLOAD[offset : offset + size]) + PAYLOAD[offset + size : 512]


@pytest.mark.parametrize("key", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\x01", b"\0\0\0\x80"])
def test_mask_matches_reference_for_edge_case_keys(backend, key):
    assert backend.apply_mask(PAYLOAD[:1111], key) == mask(PAYLOAD[:1111], key)
    assert backend.apply_mask(backend.apply_mask(PAYLOAD, key), key) == PAYLOAD


@pytest.mark.parametrize(
    "make",
    [
        bytearray,
        memoryview,
        lambda data: memoryview(bytearray(data)),
        lambda data: array("B", data),
        lambda data: array("I", data),
        lambda data: memoryview(array("H", data)),
        lambda data: memoryview(data).cast("B", (2, len(data) // 2)),
        lambda data: memoryview(data).cast("c"),
        type("Octets", (bytes,), {}),
    ],
)
def test_mask_accepts_any_contiguous_buffer(backend, make):
    data = make(PAYLOAD[:128])
    assert backend.apply_mask(data, KEY) == mask(PAYLOAD[:128])
    if not memoryview(data).readonly:
        backend.apply_mask_in_place(data, KEY)
        assert bytes(data) == mask(PAYLOAD[:128])


def test_mask_accepts_memory_mapped_buffer(backend):
    with mmap.mmap(-1, 4096) as memory:
        memory[:1000] = PAYLOAD[:1000]
        backend.apply_mask_in_place(memory, KEY)
        assert memory[:1000] == mask(PAYLOAD[:1000])
        assert backend.apply_mask(memory, KEY)[:1000] == PAYLOAD[:1000]


@pytest.mark.parametrize("name", ["apply_mask", "apply_mask_in_place"])
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((bytearray(4), b""), ValueError),
        ((bytearray(4), b"abc"), ValueError),
        ((bytearray(4), b"abcde"), ValueError),
        ((bytearray(4), bytearray(4)), TypeError),
        ((bytearray(4), "abcd"), TypeError),
        ((bytearray(4), None), TypeError),
        ((bytearray(4), KEY, -1), ValueError),
        ((bytearray(4), KEY, -(1 << 70)), ValueError),
        (("text", KEY), TypeError),
        ((None, KEY), TypeError),
        ((memoryview(bytearray(8))[::2], KEY), TypeError),
    ],
)
def test_mask_rejects_invalid_arguments(backend, name, arguments, error):
    with pytest.raises(error):
        getattr(backend, name)(*arguments)


@pytest.mark.parametrize("data", [b"abcd", b"", memoryview(b"abcd"), memoryview(bytearray(4)).toreadonly()])
def test_mask_in_place_rejects_read_only_buffer(backend, data):
    before = bytes(data)
    with pytest.raises(BufferError, match="Object is not writable"):
        backend.apply_mask_in_place(data, KEY)
    assert bytes(data) == before
