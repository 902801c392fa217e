"""Functions that parse or build whole frames, header and masking in one step (RFC 6455 5.2)."""

import mmap
from array import array

import pytest
from backends import LOADED
from frames import BINARY, KEY, PING, TEXT, frame
from hypothesis import given
from hypothesis import strategies as st
from samples import SAMPLES, SIZES

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

MOST = (1 << 63) - 1


def take(backend, data, masked=True, limit=MOST):
    frames = []
    return backend.take_frames(data, masked, limit, frames), frames


@pytest.mark.parametrize("key", [b"", KEY])
def test_take_frames_accepts_payloads_of_every_length_form(backend, key):
    for size in (0, 1, 3, 125, 126, 300, 65535, 65536, 70_000):
        payload = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
        data = frame(0x81, payload, key) + frame(0x82, payload, key)
        assert take(backend, data, bool(key)) == (len(data), [(0x81, payload), (0x82, payload)])


@pytest.mark.parametrize("first", [*range(0x81), *range(0x83, 0x100)])
def test_take_frames_stops_before_other_frames(backend, first):
    plain = frame(0x82, b"a", KEY)
    assert take(backend, plain + frame(first, b"b", KEY) + plain) == (len(plain), [(0x82, b"a")])


def test_take_frames_stops_before_an_invalid_mask_or_length(backend):
    plain = frame(0x82, b"a", KEY)
    for other in (frame(0x82, b"b"), b"\x82\xfe\x00\x01" + KEY + b"b", b"\x82\xff" + b"\xff" * 8 + KEY):
        assert take(backend, plain + other + plain) == (len(plain), [(0x82, b"a")])
    assert take(backend, plain, masked=False) == (0, [])


@pytest.mark.parametrize(
    ("limit", "taken"), [(2, 1), (1, 0), (0, 0), (-1, 0), (3, 2), (MOST, 2), (1 << 64, 2), (-1 << 70, 0)]
)
def test_take_frames_stops_above_the_limit(backend, limit, taken):
    data = frame(0x81, b"ab", KEY) + frame(0x81, b"abc", KEY)
    assert take(backend, data, limit=limit)[1] == [(0x81, b"ab"), (0x81, b"abc")][:taken]


def test_take_frames_takes_only_whole_frames_at_every_cut(backend):
    whole = [frame(0x81, b"a" * size, KEY) for size in (0, 5, 126)]
    data = b"".join(whole)
    for stop in range(len(data) + 1):
        taken = take(backend, data[:stop])
        count = sum(stop >= sum(map(len, whole[: n + 1])) for n in range(3))
        assert taken[0] == sum(map(len, whole[:count]))
        assert len(taken[1]) == count


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: array("H", data)])
def test_take_frames_accepts_any_contiguous_buffer(backend, kind):
    data = frame(0x82, b"abcd", KEY)
    assert take(backend, kind(data)) == (len(data), [(0x82, b"abcd")])


def test_take_frames_releases_the_buffer(backend):
    data = bytearray(frame(0x82, b"a", KEY))
    take(backend, data)
    data += b"more"  # a BufferError if a view were still exported


def test_take_frames_rejects_invalid_arguments(backend):
    with pytest.raises(TypeError, match=r"^take_frames\(\) takes a list$"):
        backend.take_frames(b"", True, 0, ())
    with pytest.raises(TypeError):
        backend.take_frames("text", True, 0, [])


@pytest.mark.skipif("fast" not in LOADED, reason="the compiled twins are missing")
@given(st.lists(st.tuples(st.sampled_from([0x81, 0x82, 0x89, 0x01]), st.binary(max_size=200))), st.data())
def test_twins_agree_on_take_frames(parts, data):
    from framewire._fast.frames import take_frames as fast

    from framewire._pure.frames import take_frames as pure

    stream = b"".join(frame(first, payload, data.draw(st.sampled_from([KEY, KEY, b""]))) for first, payload in parts)
    stream = stream[: data.draw(st.integers(0, len(stream)))] + data.draw(st.binary(max_size=12))
    masked, limit = data.draw(st.booleans()), data.draw(st.integers(-5, 250))
    taken = [], []
    assert pure(stream, masked, limit, taken[0]) == fast(stream, masked, limit, taken[1])
    assert taken[0] == taken[1]


# Building frames


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("first", [TEXT, BINARY, 0x01, 0x00, PING, 0xC1])
def test_make_frame_matches_reference_for_every_size(backend, key, first):
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
def test_make_frame_accepts_any_contiguous_buffer(backend, payload):
    assert backend.make_frame(TEXT, payload, KEY) == frame(TEXT, b"abcd", KEY)


def test_make_frame_accepts_memory_mapped_buffer(backend):
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
def test_make_frame_rejects_invalid_arguments(backend, arguments, error):
    with pytest.raises(error):
        backend.make_frame(*arguments)


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("payload", ["aé", "a", b"a", bytearray(b"a"), array("H", b"abcd")])
def test_make_parts_joins_to_the_result_of_make_frame(backend, payload, key):
    head, body = backend.make_parts(TEXT, payload, key)
    assert head + body == backend.make_frame(TEXT, payload, key)
    assert len(head) == 2 + len(key)
    if payload == b"a" and type(payload) is bytes and not key:
        assert body is payload


def test_first_byte_of_a_frame_may_have_all_bits(backend):
    assert backend.make_parts(255, b"", b"") == [b"\xff\x00", b""]


@pytest.mark.parametrize("start", [-1, 4, 1 << 70])
def test_take_payload_rejects_a_start_outside_the_data(backend, start):
    with pytest.raises((ValueError, OverflowError)):
        backend.take_payload(b"abc", start, False, 125)
    with pytest.raises(TypeError, match=r"take_payload\(\) takes bytes"):
        backend.take_payload(bytearray(3), 0, False, 125)


@pytest.mark.parametrize("key", [b"", KEY])
def test_take_payload_takes_a_whole_frame_or_nothing(backend, key):
    data = b"before" + frame(PING, b"abc", key) + b"after"
    end = len(data) - 5
    assert backend.take_payload(data, 6, bool(key), 125) == (b"abc", end)
    assert backend.take_payload(data[: end - 1], 6, bool(key), 125) is None
    assert backend.take_payload(data, 6, not key, 125) is None
    assert backend.take_payload(data, 6, bool(key), 2) is None
    assert backend.take_payload(frame(PING, b"abc", key, 16), 0, bool(key), 125) is None
