"""Whole plain data frames in one go, on each twin."""

import array

import pytest
from backends import LOADED
from frames import KEY, frame
from hypothesis import given
from hypothesis import strategies as st

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

MOST = (1 << 63) - 1


def take(backend, data, masked=True, limit=MOST):
    frames = []
    return backend.take_frames(data, masked, limit, frames), frames


@pytest.mark.parametrize("key", [b"", KEY])
def test_all_lengths_of_payloads(backend, key):
    for size in (0, 1, 3, 125, 126, 300, 65535, 65536, 70_000):
        payload = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
        data = frame(0x81, payload, key) + frame(0x82, payload, key)
        assert take(backend, data, bool(key)) == (len(data), [(0x81, payload), (0x82, payload)])


@pytest.mark.parametrize("first", [*range(0x81), *range(0x83, 0x100)])
def test_it_stops_before_what_is_not_plain(backend, first):
    plain = frame(0x82, b"a", KEY)
    assert take(backend, plain + frame(first, b"b", KEY) + plain) == (len(plain), [(0x82, b"a")])


def test_it_stops_before_the_wrong_mask_and_long_forms(backend):
    plain = frame(0x82, b"a", KEY)
    for other in (frame(0x82, b"b"), b"\x82\xfe\x00\x01" + KEY + b"b", b"\x82\xff" + b"\xff" * 8 + KEY):
        assert take(backend, plain + other + plain) == (len(plain), [(0x82, b"a")])
    assert take(backend, plain, masked=False) == (0, [])


@pytest.mark.parametrize(
    ("limit", "taken"), [(2, 1), (1, 0), (0, 0), (-1, 0), (3, 2), (MOST, 2), (1 << 64, 2), (-1 << 70, 0)]
)
def test_limit(backend, limit, taken):
    data = frame(0x81, b"ab", KEY) + frame(0x81, b"abc", KEY)
    assert take(backend, data, limit=limit)[1] == [(0x81, b"ab"), (0x81, b"abc")][:taken]


def test_every_cut(backend):
    whole = [frame(0x81, b"a" * size, KEY) for size in (0, 5, 126)]
    data = b"".join(whole)
    for stop in range(len(data) + 1):
        taken = take(backend, data[:stop])
        count = sum(stop >= sum(map(len, whole[: n + 1])) for n in range(3))
        assert taken[0] == sum(map(len, whole[:count]))
        assert len(taken[1]) == count


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: array.array("H", data)])
def test_any_buffer(backend, kind):
    data = frame(0x82, b"abcd", KEY)
    assert take(backend, kind(data)) == (len(data), [(0x82, b"abcd")])


def test_the_buffer_is_free_again(backend):
    data = bytearray(frame(0x82, b"a", KEY))
    take(backend, data)
    data += b"more"  # a BufferError while something looks at it


def test_what_it_refuses(backend):
    with pytest.raises(TypeError, match=r"^take_frames\(\) takes a list$"):
        backend.take_frames(b"", True, 0, ())
    with pytest.raises(TypeError):
        backend.take_frames("text", True, 0, [])


@pytest.mark.skipif("fast" not in LOADED, reason="the compiled twins are missing")
@given(st.lists(st.tuples(st.sampled_from([0x81, 0x82, 0x89, 0x01]), st.binary(max_size=200))), st.data())
def test_pure_against_compiled(parts, data):
    from framewire._fast.frames import take_frames as fast

    from framewire._pure.frames import take_frames as pure

    stream = b"".join(frame(first, payload, data.draw(st.sampled_from([KEY, KEY, b""]))) for first, payload in parts)
    stream = stream[: data.draw(st.integers(0, len(stream)))] + data.draw(st.binary(max_size=12))
    masked, limit = data.draw(st.booleans()), data.draw(st.integers(-5, 250))
    taken = [], []
    assert pure(stream, masked, limit, taken[0]) == fast(stream, masked, limit, taken[1])
    assert taken[0] == taken[1]
