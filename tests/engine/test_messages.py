"""Stage 4, on each twin: the fast lane, and the message in the making (RFC 6455 5.4 to 5.6)."""

import pytest
from frames import BINARY, CLOSE, KEY, PING, TEXT, frame, mask
from samples import SAMPLES, SIZES

from framewire import Text

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]


def take(backend, data, *, masked=True, limit=1 << 20, wrap=None, start=0):
    """Returns (events, bytes not taken, the partial message)."""
    partial = backend.PartialMessage(masked, limit, wrap)
    events = []
    return events, backend.take_messages(partial, data, start, events), partial


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("wrap", [None, Text])
def test_whole_messages_of_every_size(backend, key, wrap):
    for size in SIZES:
        payload = bytes(i * 7 & 127 for i in range(size))
        data = frame(TEXT, payload, key) + frame(BINARY, payload, key)
        events, untaken, partial = take(backend, data, masked=bool(key), wrap=wrap)
        assert events == [Text(payload) if wrap else payload.decode(), payload]
        assert untaken == 0
        assert partial.offset == len(data)


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("sample", SAMPLES)
def test_text_of_every_width(backend, key, sample):
    """Each str is as narrow as it can be, or it would not equal the same text from elsewhere."""
    for count in [*range(1, 70), 300, 6000]:
        text = sample * count
        events, untaken, _ = take(backend, frame(TEXT, text.encode(), key), masked=bool(key))
        assert (events, untaken) == ([text], 0)
        assert hash(events[0]) == hash(text)
        assert events[0].isascii() == text.isascii()


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("text", [*SAMPLES, "a" * 3000 + "é", "🎉" * 5000, "a" * 20000])
@pytest.mark.parametrize("wrap", [None, Text])
def test_a_message_in_two_pieces(backend, key, text, wrap):
    payload = text.encode()
    data = frame(TEXT, payload, key)
    header = len(data) - len(payload)
    expected = Text(payload) if wrap else text
    for cut in sorted({*range(header, min(len(data), header + 9)), (header + len(data)) // 2, len(data) - 1}):
        events, untaken, partial = take(backend, data[:cut], masked=bool(key), wrap=wrap)
        assert (events, untaken) == ([], 0)
        assert (partial.opcode, partial.final, partial.in_frame) == (1, True, True)
        assert (partial.size, partial.remaining) == (cut - header, len(data) - cut)
        assert backend.take_messages(partial, data[cut:] + data, 0, events) == 0
        assert events == [expected, expected]
        assert (partial.opcode, partial.size, partial.in_frame, partial.need) == (0, 0, False, 0)
        assert partial.offset == 2 * len(data)


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("first", [0x00, 0x80, 0x01, 0x02, 0x83, 0xC1, 0xA2, 0x91, CLOSE, PING, 0x8A, 0xFF])
def test_what_is_not_plain_is_left(backend, key, first):
    before, after = frame(TEXT, b"a", key), frame(BINARY, b"b", key)
    events, untaken, partial = take(backend, before + frame(first, b"x", key) + after, masked=bool(key))
    assert events == ["a"]
    assert untaken == len(frame(first, b"x", key) + after)
    assert partial.opcode == 0
    assert partial.offset == len(before)


def test_what_breaks_a_rule_is_left(backend):
    """The fast lane never rejects."""
    good = frame(TEXT, b"a", KEY)
    for bad in [
        frame(TEXT, b"a"),
        frame(BINARY, b"x" * 11, KEY),
        frame(TEXT, b"a", KEY, 16),
        frame(TEXT, b"a", KEY, 64),
        frame(BINARY, b"", KEY)[:1] + b"\xff" + b"\xff" * 12,
        frame(TEXT, b"\xff", KEY),
        frame(TEXT, b"a\xc3", KEY),
        frame(TEXT, b"\xed\xa0\x80", KEY),
    ]:
        events, untaken, _ = take(backend, good + bad + good, limit=10)
        assert events == ["a"]
        assert untaken == len(bad + good)


@pytest.mark.parametrize("limit", [0, 1, 125, 126, 5000])
def test_the_limit_itself_is_within(backend, limit):
    data = frame(BINARY, bytes(limit), KEY)
    assert take(backend, data, limit=limit)[:2] == ([bytes(limit)], 0)
    assert take(backend, data[:-1], limit=limit)[1] == (0 if limit else len(data) - 1)
    assert take(backend, frame(BINARY, bytes(limit + 1), KEY), limit=limit)[0] == []


@pytest.mark.parametrize("stop", range(6))
def test_less_than_a_header_is_left(backend, stop):
    events, untaken, partial = take(backend, frame(TEXT, b"a", KEY)[:stop])
    assert (events, untaken, partial.opcode) == ([], stop, 0)


@pytest.mark.parametrize("tail", [b"\xc3", b"\xe2", b"\xe2\x82", b"\xf0", b"\xf0\x9f", b"\xf0\x9f\x8e"])
def test_the_last_byte_of_an_unfinished_code_point_is_left(backend, tail):
    """For the general lane to judge, whatever the cut."""
    for before in (b"", b"ok", b"\xe2\x82\xac"):
        data = frame(TEXT, before + tail, KEY)
        for cut in range(7, len(data)):
            events, untaken, partial = take(backend, data[:cut])
            assert (events, untaken) == ([], 0)
            assert backend.take_messages(partial, data[cut:], 0, events) == 1
            assert (events, partial.remaining, partial.in_frame) == ([], 1, True)
            assert partial.size == len(before + tail) - 1
            assert partial.need in (0, 1, 2, 3)
            # Taken by itself it ends the frame, inside the code point.
            assert partial.fill(data, len(data) - 1, len(data)) == len(data)
            assert (partial.remaining, partial.size) == (0, len(before + tail))
            assert partial.need > 0


def test_a_bad_byte_in_a_piece_is_left_and_stays_bad(backend):
    """What was not taken keeps its place in the masking key."""
    for payload in (b"\xff123456789", b"abc\xff56789", b"ab\xc3\x28456789", b"abcd\xe2\x82\x28"):
        data = frame(TEXT, payload + b"z" * 10, KEY)
        bad = 6 + payload.index(b"\xff" if b"\xff" in payload else b"\x28")
        for cut in range(bad + 1, len(data)):
            events, untaken, partial = take(backend, data[:cut])
            assert (events, untaken) == ([], cut - bad)
            assert partial.fill(data, bad, len(data)) == bad
            assert partial.size == bad - 6


def test_nothing_is_taken_inside_a_fragmented_message(backend):
    partial = backend.PartialMessage(False, 100, None)
    partial.begin_frame(1, False, 1, b"", True)
    assert partial.fill(b"a", 0, 1) == 1
    events = []
    assert backend.take_messages(partial, frame(TEXT, b"b"), 0, events) == 3
    partial.end_frame()
    assert backend.take_messages(partial, frame(TEXT, b"b"), 0, events) == 3
    partial.begin_frame(1, True, 2, b"", True)
    assert backend.take_messages(partial, b"bc", 0, events) == 2
    assert partial.fill(b"bc", 0, 2) == 2
    assert partial.finish() == "abc"
    assert backend.take_messages(partial, frame(TEXT, b"b"), 0, events) == 0
    assert events == ["b"]


def test_a_pause(backend):
    partial = backend.PartialMessage(False, 100, None)
    partial.paused = True
    events = []
    assert backend.take_messages(partial, frame(TEXT, b"b"), 0, events) == 3
    assert (events, partial.offset) == ([], 0)
    partial.paused = False
    assert backend.take_messages(partial, frame(TEXT, b"b"), 0, events) == 0
    assert (events, partial.offset) == (["b"], 3)


def test_pieces_of_a_text(backend):
    partial = backend.PartialMessage(True, 100, None)
    partial.begin_frame(1, True, 10, KEY, True)
    data = mask("aö€🎉".encode())
    pieces = []
    for i in range(10):
        assert partial.fill(data, i, i + 1) == i + 1
        pieces.append(partial.take_piece())
    assert pieces == ["a", "", "ö", "", "", "€", "", "", "", "🎉"]
    assert (partial.remaining, partial.size, partial.need) == (0, 0, 0)
    assert partial.finish() == ""


def test_a_cleared_message_is_forgotten(backend):
    partial = backend.PartialMessage(False, 100, None)
    partial.begin_frame(1, True, 10, b"", True)
    partial.fill(b"ab\xe2\x82", 0, 4)
    partial.clear()
    assert (partial.opcode, partial.in_frame, partial.size, partial.remaining, partial.need) == (0, False, 0, 0, 0)
    events = []
    assert backend.take_messages(partial, frame(TEXT, b"next"), 0, events) == 0
    assert events == ["next"]


def test_arguments_of_the_fast_lane(backend):
    partial, other = backend.PartialMessage(False, 100, None), object()
    for arguments in [(other, b"", 0, []), (None, b"", 0, []), (partial, b"", 0, ()), (partial, b"", 0, None)]:
        with pytest.raises(TypeError, match="takes a PartialMessage and a list"):
            backend.take_messages(*arguments)
    for start in (-1, 1, 1 << 70, -(1 << 70)):
        with pytest.raises(ValueError, match="the range lies outside the data"):
            backend.take_messages(partial, b"", start, [])
    for data in ("text", None, 5, memoryview(b"abcd")[::2]):
        with pytest.raises(TypeError):
            backend.take_messages(partial, data, 0, [])
