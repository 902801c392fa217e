"""Costs that a peer can cause: time linear in its input, memory bounded by the received bytes."""

import sys

import pytest
from bounds import KIB, MIB, SMALL, Traced, assert_linear
from frames import BINARY, CLOSE, KEY, PING, TEXT, frame, mask, new_stream

from framewire import CLIENT, SERVER, Close, Failure

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]


def text_in_single_bytes(size):
    data = frame(TEXT, b"a" * size, KEY)
    stream, events = new_stream(SERVER, max_message_size=None), []
    for i in range(len(data)):
        events += stream.receive(data[i : i + 1])
    assert [len(event) for event in events] == [size]


def fragments_of_one_byte(count):
    stream = new_stream(CLIENT, max_message_size=None)
    assert stream.receive(b"\x01\x01a" + b"\x00\x01b" * (count - 2)) == []
    (text,) = stream.receive(b"\x80\x01c")
    assert len(text) == count


def fragments_of_64_bytes_in_their_own_chunks(count):
    stream, one = new_stream(CLIENT, max_message_size=None), frame(0x00, b"b" * 64)
    assert stream.receive(b"\x02\x00") == []
    for _ in range(count):
        assert stream.receive(one) == []
    (message,) = stream.receive(b"\x80\x00")
    assert len(message) == 64 * count


def fragments_as_events(count):
    stream = new_stream(CLIENT, max_message_size=None, fragments=True)
    assert len(stream.receive(b"\x02\x00" + b"\x00\x01b" * count)) == count + 1


def small_messages_in_one_chunk(count):
    assert len(new_stream(CLIENT).receive(b"\x81\x01a" * count)) == count


def pings_in_one_chunk(count):
    stream = new_stream(CLIENT)
    assert len(stream.receive(b"\x89\x01p" * count)) == count
    assert len(stream.pending()) == 7 * count


def pings_between_messages(count):
    assert len(new_stream(CLIENT, auto_pong=False).receive(b"\x89\x00\x81\x01a" * count)) == 2 * count


def pings_in_single_bytes(count):
    stream, events = new_stream(CLIENT), []
    for byte in frame(PING, b"p" * 125) * count:
        events += stream.receive(bytes([byte]))
    assert len(events) == count


def steps_through_one_chunk(count):
    stream, rest, events = new_stream(CLIENT), memoryview(b"\x82\x01a" * count), 0
    while rest:
        event, taken = stream.receive_one(rest)
        events += event is not None
        rest = rest[taken:]
    assert events == count


@pytest.mark.parametrize(
    ("run", "size"),
    [
        (text_in_single_bytes, 64 * KIB),
        (fragments_of_one_byte, 30_000),
        (fragments_of_64_bytes_in_their_own_chunks, 10_000),
        (fragments_as_events, 20_000),
        (small_messages_in_one_chunk, 50_000),
        (pings_in_one_chunk, 30_000),
        (pings_between_messages, 30_000),
        (pings_in_single_bytes, 300),
        (steps_through_one_chunk, 15_000),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_receive_time_is_linear_in_input_size(run, size):
    assert_linear(run, size)


@pytest.mark.parametrize("character", ["a", "é", "€", "🎉"])
@pytest.mark.parametrize("fragmented", [False, True])
def test_peak_memory_of_text_in_small_pieces_is_bounded(character, fragmented):
    """The peak is the received bytes, the delivered text, and at most 1 MiB more."""
    payload = (character * MIB).encode()[:MIB]
    piece = 48 if fragmented else 16
    payload = payload[: len(payload) // 192 * 192]
    if fragmented:
        chunks = [
            frame((i == 0) | 0x80 * (i == len(payload) - piece), payload[i : i + piece])
            for i in range(0, len(payload), piece)
        ]
    else:
        chunks = [frame(TEXT, payload)[:10], *(payload[i : i + piece] for i in range(0, len(payload), piece))]
    with Traced(drivers=False) as memory:
        stream, events = new_stream(CLIENT), []
        for chunk in chunks:
            events += stream.receive(chunk)
        assert memory.peak() <= len(payload) + sys.getsizeof(events[0]) + MIB
        assert memory.now() <= sys.getsizeof(events[0]) + SMALL
    assert events == [payload.decode()]


def test_peak_memory_of_text_ending_in_single_bytes_is_bounded():
    data = frame(TEXT, b"a" * MIB, KEY)
    with Traced(drivers=False) as memory:
        stream, most = new_stream(SERVER), MIB - 100_000
        for i in range(0, most, 1000):
            assert stream.receive(data[i : i + 1000]) == []
        for i in range(most // 1000 * 1000 + 1000, len(data) - 1):
            assert stream.receive(data[i : i + 1]) == []
        (text,) = stream.receive(data[-1:])
        assert memory.peak() <= MIB + sys.getsizeof(text) + MIB
    assert len(text) == MIB


def test_peak_memory_of_one_byte_fragments_is_bounded():
    one = b"\x00\x01b"
    with Traced(drivers=False) as memory:
        stream = new_stream(CLIENT)
        assert stream.receive(b"\x01\x00") == []
        for _ in range(200):
            assert stream.receive(one * 1000) == []
        assert memory.now() <= 2 * 200_000 + SMALL
        (text,) = stream.receive(b"\x80\x00")
        assert memory.peak() <= 200_000 + sys.getsizeof(text) + MIB


def test_empty_fragments_take_no_memory():
    chunk = b"\x00\x00" * 10_000
    stream = new_stream(CLIENT)
    assert stream.receive(b"\x02\x00") == []
    with Traced(drivers=False) as memory:
        for _ in range(10):
            assert stream.receive(chunk) == []
        assert memory.now() <= SMALL
    for _ in range(90):
        assert stream.receive(chunk) == []
    assert stream.receive(b"\x80\x00") == [b""]


@pytest.mark.parametrize("role", [SERVER, CLIENT])
@pytest.mark.parametrize("first", [TEXT, BINARY, 0x01, 0x02])
@pytest.mark.parametrize("length", [1 << 40, (1 << 63) - 1])
def test_allocated_memory_follows_received_not_announced_bytes(role, first, length):
    """At most 64 KiB or twice the received bytes are held, whatever length the header announces."""
    header = bytes([first, 127 | 0x80 * (role is SERVER)]) + length.to_bytes(8, "big") + KEY * (role is SERVER)
    with Traced(drivers=False) as memory:
        stream = new_stream(role, max_message_size=None)
        assert stream.receive(header) == []
        arrived = 0
        assert memory.now() <= 64 * KIB
        for size in [1, 1, 10, 100, 1000, *[16 * KIB] * 40, 1, 300 * KIB, 1]:
            phase = arrived % 4
            chunk = mask(b"a" * size, KEY[phase:] + KEY[:phase]) if role is SERVER else b"a" * size
            held = memory.now()
            assert stream.receive(chunk) == []
            arrived += size
            del chunk
            assert memory.now() <= max(64 * KIB, 2 * arrived) + SMALL, (arrived, held)


def test_get_buffer_allocates_at_most_64_kib():
    with Traced(drivers=False) as memory:
        stream = new_stream(SERVER)
        stream.get_buffer(-1)
        stream.get_buffer(100 * MIB)
        assert memory.now() <= 64 * KIB + SMALL


def test_header_over_the_limit_allocates_no_payload():
    with Traced(drivers=False) as memory:
        stream = new_stream(CLIENT)
        (failure,) = stream.receive(b"\x82\x7f\0\0\0\0\0\x20\0\0")
        assert failure.code == 1009
        assert memory.peak() <= 64 * KIB


ENDS = {
    "violation": (lambda stream: stream.receive(b"\x83"), Failure),
    "bad text": (lambda stream: stream.receive(b"\x00\x01\xff"), Failure),
    "end of file": (lambda stream: stream.receive_eof(), Failure),
    "close": (lambda stream: stream.receive(frame(CLOSE)), Close),
    "fail": (lambda stream: [stream.fail(1011)], bytes),
}


@pytest.mark.parametrize("auto_close", [True, False])
@pytest.mark.parametrize("fragments", [True, False])
@pytest.mark.parametrize("end", list(ENDS))
def test_stream_frees_its_buffers_when_it_ends(end, fragments, auto_close):
    finish, kind = ENDS[end]
    with Traced(drivers=False) as memory:
        stream = new_stream(CLIENT, fragments=fragments, auto_close=auto_close)
        stream.receive(frame(0x01, b"a" * 400_000))
        stream.receive(frame(0x00, b"b" * 400_000)[:-1])
        if end in ("violation", "bad text", "close"):
            stream.receive(b"b")
        (last,) = finish(stream)
        assert isinstance(last, kind)
        assert memory.now() <= SMALL
        for _ in range(100):
            assert stream.receive(b"x" * 10_000) == []
        assert memory.now() <= SMALL


def test_fragments_are_freed_after_delivery():
    piece = frame(0x00, b"b" * 1000)
    with Traced(drivers=False) as memory:
        stream = new_stream(CLIENT, max_message_size=None, fragments=True)
        stream.receive(b"\x02\x00")
        for _ in range(1000):
            assert len(stream.receive(piece)) == 1
        assert memory.now() <= SMALL
