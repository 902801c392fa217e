"""`piece_size` of `Stream`: long frames are delivered in pieces while they arrive."""

import random

import pytest
from bounds import KIB, MIB, SMALL, Traced
from frames import BINARY, KEY, TEXT, feed, frame, new_stream

from framewire import CLIENT, SERVER, Failure, Fragment, Stream
from framewire.protocol.permessage_deflate import PerMessageDeflate

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

TEXTS = "aäx€😀" * 20


def deflate():
    return PerMessageDeflate(server_max_window_bits=None, client_max_window_bits=None).agree({})


def pieces_of(data, size, step, **options):
    stream = Stream(SERVER, fragments=True, piece_size=size, **options)
    return feed(stream, data, range(step, len(data), step))


@pytest.mark.parametrize("size", [1, 3, 7, 100, 1000])
@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("whole", [True, False])
def test_pieces_do_not_depend_on_how_input_is_chunked(kind, size, whole):
    payload = TEXTS.encode()
    wire = frame(kind, payload, KEY) if whole else frame(kind & 15, payload, KEY) + frame(0x80, payload, KEY)
    events = pieces_of(wire, size, len(wire))
    for step in (1, 2, 5, 50):
        assert pieces_of(wire, size, step) == events
    if events == [TEXTS if kind == TEXT else payload]:
        assert size == 1000
        return
    assert [(event.first, event.last) for event in events] == [
        (number == 1, number == len(events)) for number in range(1, len(events) + 1)
    ]
    pieces = [event.data.encode() if kind == TEXT else event.data for event in events]
    assert b"".join(pieces) == payload * (1 if whole else 2)
    assert max(map(len, pieces)) <= (max(size, 4) if kind == TEXT else size)


def receive_one_by_one(stream, reads):
    """Receive each read by as many calls of `receive_one` as it takes."""
    events = []
    for read in reads:
        while read:
            event, taken = stream.receive_one(read)
            events += [] if event is None else [event]
            read = read[taken:]  # without an event everything is taken: the stream keeps an incomplete frame
    return events


@pytest.mark.parametrize("size", [1, 3, 100, 1000])
@pytest.mark.parametrize("content", [TEXTS * 10, TEXTS.encode() * 10])
def test_receive_one_returns_every_piece_however_input_is_chunked(size, content):
    wire = new_stream(CLIENT).send(content)
    for cut in (*range(1, 20), 200, 1007, 1008, 1009, 1500, len(wire)):
        stream = Stream(SERVER, fragments=True, piece_size=size)
        assert receive_one_by_one(stream, (wire[:cut], wire[cut:])) == pieces_of(wire, size, len(wire))


@pytest.mark.parametrize("size", [1000, 30_000])
def test_receive_one_returns_every_piece_of_a_compressed_message(size):
    source = random.Random(2)
    content = source.randbytes(24_000) + bytes(source.choices(b"ab", k=100_000))  # the end is more of each block
    wire = new_stream(CLIENT, extensions=[deflate()]).send(content, compress=True)
    options = {"max_message_size": 1 << 17, "extensions": [deflate()]}
    expected = pieces_of(wire, size, len(wire), **options)
    assert len(expected) > 1
    for cut in (1, 8, 14, 10_000, len(wire)):
        options["extensions"] = [deflate()]
        stream = Stream(SERVER, fragments=True, piece_size=size, **options)
        assert receive_one_by_one(stream, (wire[:cut], wire[cut:])) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_piece_inside_a_frame_has_one_code_point_at_least(size):
    for text in ("😀€", "a😀bé", TEXTS):
        wire = frame(TEXT, text.encode(), KEY)
        for step in (1, len(wire)):
            events = pieces_of(wire, size, step)
            assert "".join(event.data for event in events) == text
            assert all(event.data for event in events)
            assert events[0].first


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("rest", [b"", b"ab"])
def test_code_point_in_two_frames_is_received_however_input_is_chunked(size, cut, rest):
    payload = "😀".encode()
    wire = frame(0x01, payload[:cut], KEY) + frame(0x00, b"", KEY) + frame(0x80, payload[cut:] + rest, KEY)
    events = pieces_of(wire, size, len(wire))
    assert [event.data for event in events][:3] == ["", "", "😀"]
    assert events[-1].last
    for step in (1, 2, 5):  # 1 ends each read of a header at its last byte
        assert pieces_of(wire, size, step) == events


@pytest.mark.parametrize(("end", "is_whole"), [(b"", True), (b"ghij", False)])
@pytest.mark.parametrize("options", [{}, {"text_as_bytes": True}, {"text_errors": "replace"}])
def test_more_than_a_piece_may_wait_when_pieces_are_requested(end, is_whole, options):
    begin, rest = frame(0x01, b"abcdef", KEY), frame(0x80, end, KEY)
    expected = None
    for cut in range(len(rest) + 1):  # 6 is the end of the header
        stream = Stream(SERVER, piece_size=3, **options)
        assert stream.receive(begin) == []
        stream.deliver_fragments()
        events = stream.receive(rest[:cut]) + stream.receive(rest[cut:])
        assert len(events) == 1 if is_whole else events[-1].last
        assert expected in (None, events)
        expected = events


def test_pieces_before_a_violation_are_delivered():
    *pieces, failure = pieces_of(frame(TEXT, b"abcdefg\xffh", KEY), 3, 1000)
    assert pieces == [Fragment("abc", True, False), Fragment("def", False, False)]
    assert isinstance(failure, Failure)
    assert (failure.code, failure.offset) == (1007, 6 + 7)


def test_pieces_of_a_compressed_message_join_to_its_content():
    content = random.Random(1).randbytes(500_000)
    wire = new_stream(CLIENT, extensions=[deflate()]).send(content, compress=True)
    events = pieces_of(wire, 1000, 1000, extensions=[deflate()])
    assert b"".join(event.data for event in events) == content
    assert max(len(event.data) for event in events) <= (1 << 20) // 16  # 1/16 of max_message_size is inflated at a time


def test_compressed_piece_is_delivered_once_it_has_piece_size():
    content = random.Random(2).randbytes(100_000)
    wire = new_stream(CLIENT, extensions=[deflate()]).send(content, compress=True)

    def first_piece(size):
        return len(pieces_of(wire, size, len(wire), extensions=[deflate()], max_message_size=1 << 17)[0].data)

    assert 8000 < first_piece(1) == first_piece(first_piece(1)) < 9000


def test_piece_size_does_not_split_a_compressed_message_without_fragments():
    content = random.Random(1).randbytes(300_000)
    wire = new_stream(CLIENT, extensions=[deflate()]).send(content, compress=True)
    stream = new_stream(SERVER, extensions=[deflate()], piece_size=1000)
    assert stream.receive(wire) == [content]


def test_stream_buffers_at_most_one_piece():
    chunk = bytes(16 * KIB)
    with Traced(drivers=False) as memory:
        stream = Stream(SERVER, fragments=True, piece_size=4 * KIB, max_message_size=None)
        stream.receive(b"\x82\xff" + (64 * MIB).to_bytes(8, "big") + KEY)
        for _ in range(100):
            assert len(stream.receive(chunk)) == 4
        assert memory.now() <= SMALL
        assert memory.peak() <= 8 * len(chunk)


@pytest.mark.parametrize("size", [0, -1])
def test_piece_size_must_be_at_least_1_byte(size):
    with pytest.raises(ValueError, match="piece_size is 1 to"):
        Stream(SERVER, piece_size=size)
