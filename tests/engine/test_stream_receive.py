"""Receiving with `Stream` (RFC 6455 5 to 8): every rule, a model, and every way to feed input."""

from array import array
from itertools import product

import pytest
from frames import (
    BINARY,
    CLOSE,
    KEY,
    PING,
    PONG,
    TEXT,
    Model,
    feed,
    frame,
    mask,
    new_stream,
    outcome,
    to,
    without_reasons,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from framewire import CLIENT, SERVER, Close, CloseCode, Failure, Fragment, Ping, Pong, State, Stream, Text
from framewire.protocol.permessage_deflate import CLIENT_DEFAULT

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

BOTH = pytest.mark.parametrize("role", [SERVER, CLIENT])


def receive(role, *frames, **options):
    return new_stream(role, **options).receive(b"".join(to(role, *each) for each in frames))


def failure(events):
    """Return (code, offset) of the only Failure, which must be the last event."""
    assert isinstance(events[-1], Failure)
    assert not any(isinstance(event, Failure) for event in events[:-1])
    assert events[-1].reason
    return events[-1].code, events[-1].offset


# Messages


@BOTH
@pytest.mark.parametrize(
    "text", ["", "Hello", "a\0b", "Grüße", "日本語", "🎉", "\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"]
)
def test_received_text_is_str_text_object_or_bytes(role, text):
    assert receive(role, (TEXT, text.encode())) == [text]
    assert receive(role, (TEXT, text.encode()), text_as_bytes=True) == [Text(text.encode())]
    assert receive(role, (TEXT, text.encode()), text_as_bytes="bare") == [text.encode()]


@BOTH
@pytest.mark.parametrize("text_as_bytes", [False, True, "bare"])
def test_text_as_bytes_is_validated(role, text_as_bytes):
    for payload in (b"\xff", "é".encode()[:1], "é".encode() * 50 + b"\xff", b"a" * 100 + b"\xe2\x82"):
        assert failure(receive(role, (TEXT, payload), text_as_bytes=text_as_bytes))[0] == 1007


def test_unknown_form_of_text_is_rejected():
    with pytest.raises(ValueError, match="^text_as_bytes is True, False or 'bare'$"):
        Stream(SERVER, text_as_bytes="str")


@BOTH
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 255, 256, 65535, 65536, 70000])
def test_binary_message_of_every_length_form_is_received(role, size):
    payload = bytes(i * 7 & 255 for i in range(size))
    assert receive(role, (BINARY, payload), (BINARY, b"next")) == [payload, b"next"]


def test_examples_of_rfc_6455_are_received():
    """RFC 6455 5.7."""
    client, server = new_stream(CLIENT), new_stream(SERVER)
    assert client.receive(bytes.fromhex("810548656c6c6f")) == ["Hello"]
    assert server.receive(bytes.fromhex("818537fa213d7f9f4d5158")) == ["Hello"]
    assert client.receive(bytes.fromhex("010348656c 80026c6f")) == ["Hello"]
    assert client.receive(bytes.fromhex("890548656c6c6f")) == [Ping(b"Hello")]
    assert server.receive(bytes.fromhex("8a8537fa213d7f9f4d5158")) == [Pong(b"Hello")]
    assert client.receive(bytes.fromhex("827e0100") + bytes(256)) == [bytes(256)]
    assert client.receive(bytes.fromhex("827f0000000000010000") + bytes(65536)) == [bytes(65536)]


def test_text_object_is_not_bytes():
    assert not isinstance(Text(b"a"), bytes)
    assert Text(b"a") != b"a"


@BOTH
def test_fragments_are_joined_around_control_frames(role):
    frames = [(0x01, b"Gr\xc3"), (PING, b"1"), (0x00, b"\xbc\xc3"), (PONG, b"2"), (0x00,), (0x80, b"\x9fe")]
    assert receive(role, *frames) == [Ping(b"1"), Pong(b"2"), "Grüße"]


@BOTH
@pytest.mark.parametrize("first", [0x01, 0x02])
@pytest.mark.parametrize(
    ("bad", "form"),
    [
        ((0x00, b"ab\xffcd"), None),
        ((0x00, b"a" * 90), None),
        ((0x00, b"a"), 2),
        ((0x02, b"a"), None),
        ((0x10, b"a"), None),
        ((PING, b"in between"), None),
    ],
    ids=["not UTF-8", "over the limit", "non-minimal length", "another message", "reserved bit", "ping"],
)
def test_fragment_run_gives_the_same_result_as_byte_by_byte(role, first, bad, form):
    run = [to(role, 0x00, piece) for piece in (b"a\xe2\x82", b"", b"\xac", b"b" * 20)]
    wire = b"".join([to(role, first, b"begins"), *run, to(role, *bad, form=form), *run, to(role, 0x80, b"!"), *run])
    whole, slow = new_stream(role, max_message_size=100), new_stream(role, max_message_size=100)
    assert outcome(whole, whole.receive(wire)) == outcome(slow, feed(slow, wire, range(len(wire))))


@BOTH
@pytest.mark.parametrize("fragments", [False, True])
def test_received_counts_do_not_depend_on_chunk_size(role, fragments):
    codec = {"extensions": [CLIENT_DEFAULT.agree([])]}
    frames = [
        to(role, TEXT, b"a"), to(role, BINARY, bytes(5000)), to(role, PING), to(role, 0x01, b"b"), to(role, 0x00, b"c"),
        to(role, 0x80, b""), to(role, 0xC2, bytes.fromhex("4a4c4a0600")), to(role, TEXT, "é".encode()),
    ]  # fmt: skip
    data = b"".join(frames)
    for size in (1, 2, 7, 100, len(data)):
        stream = new_stream(role, fragments=fragments, **codec)
        feed(stream, data, range(size, len(data), size))
        assert (stream.messages_received, stream.bytes_received) == (5, len(data))
    stream = new_stream(role, **codec)
    stream.receive(frames[0] + frames[3] + frames[0])  # the third is a violation
    stream.receive(data)
    assert (stream.messages_received, stream.bytes_received) == (1, len(frames[0] + frames[3]))


@BOTH
def test_fragments_option_delivers_each_fragment(role):
    frames = [(0x02, b"a"), (PING,), (0x00,), (0x80, b"c"), (BINARY, b"whole"), (0x02,), (0x80,)]
    assert receive(role, *frames, fragments=True) == [
        Fragment(b"a", True, False),
        Ping(b""),
        Fragment(b"", False, False),
        Fragment(b"c", False, True),
        b"whole",
        Fragment(b"", True, False),
        Fragment(b"", False, True),
    ]


@BOTH
@pytest.mark.parametrize(("option", "wrap"), [(False, bytes.decode), (True, Text), ("bare", bytes)])
def test_text_fragments_hold_whole_code_points(role, option, wrap):
    """Four code points of 1 to 4 bytes, with a frame for each byte."""
    text = "aö€🎉".encode()
    frames = [(0x80 * (i == len(text) - 1) | (i == 0), text[i : i + 1]) for i in range(len(text))]
    events = receive(role, *frames, fragments=True, text_as_bytes=option)
    pieces = ["a", "", "ö", "", "", "€", "", "", "", "🎉"]
    expected = [Fragment(wrap(p.encode()), i == 0, i == 9) for i, p in enumerate(pieces)]
    assert events == expected


@BOTH
@pytest.mark.parametrize("whole", ["abc", "é", "漢"])
def test_text_fragment_cut_inside_a_code_point_has_correct_isascii(role, whole):
    """Held-back bytes of an incomplete code point must not clear the ASCII flag."""
    tail = "é".encode()
    (piece,) = receive(role, (0x01, whole.encode() + tail[:1]), fragments=True)
    assert piece == Fragment(whole, True, False)
    assert piece.data.isascii() is whole.isascii()


# Violations


@BOTH
@pytest.mark.parametrize("reserved", range(1, 8))
@pytest.mark.parametrize("opcode", [0, 1, 2, 8, 9, 10])
def test_reserved_bits_fail_with_1002(role, reserved, opcode):
    before = to(role, 0x02, b"x") if opcode == 0 else b""
    stream = new_stream(role)
    events = stream.receive(before + bytes([0x80 | reserved << 4 | opcode]))
    assert failure(events) == (1002, len(before))


@BOTH
@pytest.mark.parametrize("opcode", [*range(3, 8), *range(11, 16)])
@pytest.mark.parametrize("fin", [0, 0x80])
@pytest.mark.parametrize("inside", [False, True])
def test_reserved_opcodes_fail_with_1002(role, opcode, fin, inside):
    before = to(role, 0x01, b"x") if inside else b""
    assert failure(new_stream(role).receive(before + bytes([fin | opcode]))) == (1002, len(before))


SHORTEST = "a length is not in its shortest form, or over 63 bits"


@BOTH
@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([(0x91,)], "a reserved bit is set and no extension gives it a meaning"),
        ([(0x41, b"a"), (0x40, b"a")], "a reserved bit is set and no extension gives it a meaning"),
        ([(0x83,)], "opcode 3 is reserved"),
        ([(0x0B,)], "opcode 11 is reserved"),
        ([(0x09,)], "a control frame is fragmented"),
        ([(0x80,)], "a continuation frame continues nothing"),
        ([(0x02, b"a"), (0x02,)], "a new message begins inside a fragmented one"),
        ([(0x02, b"a"), (0xC1,)], "a new message begins inside a fragmented one"),
        ([(0x02, b"a"), (0x09,)], "a control frame is fragmented"),
        ([(PING, bytes(126))], "a control frame has over 125 bytes"),
        ([(CLOSE, b"\x03")], "a close frame has half a code"),
        ([(CLOSE, b"\x03\xed")], "close code 1005 may not be sent"),
        ([(BINARY, b"a", 16)], SHORTEST),
        ([(BINARY, bytes(7))], "a frame of 7 bytes is over the limit of 6"),
        ([(0x02, bytes(6)), (0x00, bytes(6))], "a message of 12 bytes is over the limit of 11"),
    ],
)
def test_reason_of_a_failure_names_the_rule(role, frames, reason):
    codec = CLIENT_DEFAULT.agree([])
    stream = new_stream(role, extensions=[codec], max_message_size=11, max_frame_size=6)
    data = b"".join(to(role, *each[:2], form=each[2] if len(each) > 2 else None) for each in frames)
    assert stream.receive(data)[-1].reason == reason


def test_reason_of_a_wrong_mask_bit_names_the_role():
    assert new_stream(SERVER).receive(b"\x82\x00")[0].reason == "a client must mask its frames"
    assert new_stream(CLIENT).receive(b"\x82\x80")[0].reason == "a server must not mask its frames"


@BOTH
@pytest.mark.parametrize("first", [TEXT, BINARY, 0x01, 0x02, CLOSE, PING, PONG])
@pytest.mark.parametrize("length", [0, 5, 125, 126, 127])
def test_wrong_mask_bit_fails_with_1002(role, first, length):
    bit = 0 if role is SERVER else 0x80
    assert failure(new_stream(role).receive(bytes([first, bit | length]))) == (1002, 1)


@BOTH
@pytest.mark.parametrize("first", [CLOSE, PING, PONG])
def test_long_or_fragmented_control_frame_fails_with_1002(role, first):
    bit = 0x80 if role is SERVER else 0
    assert failure(new_stream(role).receive(bytes([first & 0x7F]))) == (1002, 0)
    for length in (126, 127):
        assert failure(new_stream(role).receive(bytes([first, bit | length]))) == (1002, 1)
    payload = b"\x03\xe8" + b"r" * 123
    expected = Close(1000, "r" * 123) if first == CLOSE else {PING: Ping, PONG: Pong}[first](payload)
    assert receive(role, (first, payload)) == [expected]


class Number:
    """An integer by `__index__` alone."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_size_to_receive_is_any_integer_and_another_type_changes_nothing(kind):
    data = kind(frame(TEXT, b"abc", KEY) + b"unused")
    stream = new_stream(SERVER)
    for size in (9.0, "9", b""):
        with pytest.raises(TypeError):
            stream.receive(data, size)
    for size in (-1, 16, 1 << 70, Number(16)):
        with pytest.raises(ValueError, match="range"):
            stream.receive(data, size)
    assert (stream.state, stream.bytes_received) == (State.OPEN, 0)
    assert stream.receive(data, Number(9)) == ["abc"]


@BOTH
@pytest.mark.parametrize("first", [TEXT, BINARY, 0x01, 0x02])
@pytest.mark.parametrize(("size", "form"), [(0, 16), (125, 16), (0, 64), (125, 64), (126, 64), (65535, 64)])
def test_length_not_in_shortest_form_fails_with_1002(role, first, size, form):
    data = frame(first, b"a" * size, KEY if role is SERVER else b"", form)
    for cuts in [(), range(1, 12)]:
        assert failure(feed(new_stream(role), data, cuts)) == (1002, 4 if form == 16 else 10)


@BOTH
@pytest.mark.parametrize("first", [TEXT, BINARY, 0x01, 0x02])
@pytest.mark.parametrize(
    ("length", "limit", "code"),
    [
        (1 << 63, None, 1002),
        ((1 << 64) - 1, None, 1002),
        ((1 << 64) - 4, None, 1002),
        ((1 << 63) + 1, 1 << 20, 1002),
        ((1 << 63) - 1, None, None),
        (1 << 62, None, None),
        ((1 << 63) - 1, 1 << 20, 1009),
        (1 << 62, (1 << 62) - 1, 1009),
        (1 << 62, 1 << 62, None),
        ((1 << 20) + 1, 1 << 20, 1009),
        (1 << 20, 1 << 20, None),
        (1 << 20, (1 << 63) - 1, None),
    ],
)
def test_announced_length_is_checked_before_the_payload(role, first, length, limit, code):
    header = bytes([first, 127 | 0x80 * (role is SERVER)]) + length.to_bytes(8, "big")
    stream = new_stream(role, max_message_size=limit)
    events = stream.receive(header)
    if code:
        assert failure(events) == (code, 10)
        return
    assert events == []
    assert stream.receive(KEY + mask(b"abc") if role is SERVER else b"abc") == []
    assert stream.state is State.OPEN


@BOTH
def test_message_and_frame_size_limits_are_enforced(role):
    for first in (TEXT, BINARY):
        kind = str if first == TEXT else lambda data, _: data
        for options in ({"max_message_size": 5}, {"max_message_size": None, "max_frame_size": 5}):
            assert receive(role, (first, b"12345"), **options) == [kind(b"12345", "ascii")]
            assert failure(receive(role, (first, b"123456"), **options)) == (1009, 2)
    with_key = 6 if role is SERVER else 2
    frames = [(0x02, b"abc"), (0x00, b"de"), (0x80,)]
    assert receive(role, *frames, max_message_size=5) == [b"abcde"]
    assert receive(role, *frames, max_frame_size=3) == [b"abcde"]
    assert failure(receive(role, *frames, max_frame_size=2)) == (1009, 2)
    assert failure(receive(role, *frames, max_message_size=4)) == (1009, 2 * with_key + 3)
    assert failure(receive(role, *frames, max_message_size=4, fragments=True)) == (1009, 2 * with_key + 3)
    # A frame that is itself within the limit fails after its masking key.
    assert failure(receive(role, (0x02, b"a"), (0x00, b"12345"), max_message_size=5)) == (1009, 2 * with_key + 1)


@BOTH
def test_size_limits_do_not_apply_to_control_frames(role):
    options = {"max_message_size": 0, "max_frame_size": 0}
    assert receive(role, (PING, b"p" * 125), (PONG, b"12345"), (TEXT,), **options) == [
        Ping(b"p" * 125),
        Pong(b"12345"),
        "",
    ]
    assert failure(receive(role, (BINARY, b"1"), **options)) == (1009, 2)


def test_message_size_limit_restarts_for_each_message():
    frames = [(0x02, b"abc"), (0x80, b"de"), (0x02, b"abc"), (PING,), (0x80, b"de"), (BINARY, b"12345")]
    assert receive(SERVER, *frames, max_message_size=5) == [b"abcde", Ping(b""), b"abcde", b"12345"]


LIMITS = ["max_message_size", "max_frame_size", "max_send_size", "piece_size"]


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [-1, 1 << 63, 1 << 64, -(1 << 70), 1 << 90])
def test_limit_outside_63_bits_raises_value_error(name, value):
    with pytest.raises(ValueError, match=rf"^{name} is [01] to 2\*\*63 - 1, or None$"):
        Stream(SERVER, **{name: value})


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [True, False, 1.5, 1.0, "1", (1, 2), float("inf"), b"1"])
def test_limit_of_another_type_raises_type_error(name, value):
    with pytest.raises(TypeError, match=rf"^{name} is a number of bytes or None, not {type(value).__name__}$"):
        Stream(SERVER, **{name: value})


@pytest.mark.parametrize("name", LIMITS)
def test_largest_limit_equals_no_limit(name):
    index = type("Index", (), {"__index__": lambda self: (1 << 63) - 1})()
    for value in (None, (1 << 63) - 1, index):
        stream = new_stream(SERVER, fragments=True, **{name: value})
        assert stream.receive(to(SERVER, TEXT, b"a")) == ["a"]
        assert stream.send("b") == frame(TEXT, b"b")


@pytest.mark.parametrize("name", LIMITS)
def test_limit_may_be_any_integer_from_the_minimum_on(name):
    assert new_stream(SERVER, **{name: Number(int(name == "piece_size"))}).state is State.OPEN
    assert receive(SERVER, (TEXT, b"abcd"), max_message_size=Number(3))[-1].code == 1009


def test_role_may_be_given_by_its_value():
    assert new_stream("server").receive(to(SERVER, TEXT, b"a")) == ["a"]
    assert new_stream("server").role is SERVER
    assert new_stream("client").send("a") == to(SERVER, TEXT, b"a")
    with pytest.raises(ValueError, match="proxy"):
        new_stream("proxy")


# Fragments


@BOTH
@pytest.mark.parametrize("compressed", [False, True])
def test_deliver_fragments_applies_to_the_open_message(role, compressed):
    """The first fragment holds all of the message received before the call."""
    stream = new_stream(role, extensions=[CLIENT_DEFAULT.agree([])] if compressed else [])
    assert stream.receive(to(role, 0x01, b"a") + to(role, 0x00, b"b")) == []
    stream.deliver_fragments()
    assert stream.receive(to(role, 0x00, b"c")) == [Fragment("abc", True, False)]
    assert stream.receive(to(role, 0x80, b"d")) == [Fragment("d", False, True)]
    assert stream.receive(to(role, 0x81, b"e")) == ["e"]


@BOTH
def test_message_that_one_frame_completes_after_deliver_fragments_is_whole(role):
    stream = new_stream(role)
    assert stream.receive(to(role, 0x01, b"a") + to(role, 0x00, b"b")) == []
    stream.deliver_fragments()
    assert stream.receive(to(role, 0x80, b"c") + to(role, 0x01, b"d")) == ["abc", Fragment("d", True, False)]


# Close frames


@pytest.mark.exhaustive
def test_received_close_codes_not_allowed_fail_with_1002():
    allowed = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
    wrong = []
    for code in range(1 << 16):
        stream = new_stream(CLIENT)
        (event,) = stream.receive(bytes([CLOSE, 2]) + code.to_bytes(2, "big"))
        expected = Close(code, "") if code in allowed else Failure(1002, event.reason, 2)
        answer = code if code in allowed else 1002
        if event != expected or stream.pending() != frame(CLOSE, answer.to_bytes(2, "big"), KEY):
            wrong.append((code, event))
    assert wrong == []


@BOTH
def test_received_close_gives_code_and_reason(role):
    assert receive(role, (CLOSE,)) == [Close(1005, "")]
    assert receive(role, (CLOSE, b"\x03\xe8")) == [Close(1000, "")]
    assert receive(role, (CLOSE, b"\x0f\xa0" + "Grüße 🎉".encode())) == [Close(4000, "Grüße 🎉")]
    assert failure(receive(role, (CLOSE, b"\x03"))) == (1002, 1)
    assert type(receive(role, (CLOSE, b"\x03\xe8"))[0].code) is int


@BOTH
@pytest.mark.parametrize(
    "reason", [b"\xff", b"abc\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"ok\xf4\x90", b"a" * 122 + b"\xc3"]
)
def test_close_reason_with_invalid_utf8_fails_with_1007(role, reason):
    for cuts in [(), range(1, 200)]:
        stream = new_stream(role)
        (event,) = feed(stream, to(role, CLOSE, b"\x03\xe8" + reason), cuts)
        assert event.code == 1007
        assert stream.pending() == to(CLIENT if role is SERVER else SERVER, CLOSE, b"\x03\xef")


@BOTH
@pytest.mark.parametrize("follows", [(TEXT, b"no"), (PING,), (CLOSE, b"\x03\xe8"), (0x83,), (0x00, b"no")])
def test_input_after_a_close_is_ignored(role, follows):
    frames = [(0x01, b"open"), (CLOSE, b"\x03\xe9bye"), follows]
    whole = new_stream(role)
    data = b"".join(to(role, *each) for each in frames)
    assert whole.receive(data) == [Close(1001, "bye")]
    assert whole.receive(to(role, *follows)) == []
    assert whole.receive_one(data) == (None, len(data))
    assert whole.receive_eof() == []
    assert whole.pending() == to(CLIENT if role is SERVER else SERVER, CLOSE, b"\x03\xe9bye")


# UTF-8


UTF8_CASES = [
    *(b"\xff", b"\xfe", b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc3\x28"),
    *(b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xe2\x28", b"\xe2\x82\x28", b"\xed\xa0\x80", b"\xed\xbf\xbf"),
    *(b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x28", b"\xf0\x9f\x28", b"\xf0\x9f\x8e\x28"),
    *(b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80"),
]


@pytest.mark.exhaustive
@BOTH
@pytest.mark.parametrize("bad", UTF8_CASES, ids=bytes.hex)
@pytest.mark.parametrize("before", [b"", b"ok", "ö€🎉".encode(), b"x" * 200], ids=len)
def test_text_fails_at_the_first_invalid_utf8_byte(role, bad, before):
    """The failure comes before the rest of the frame: in one read, in fragments, byte by byte."""
    payload = before + bad
    for split in range(len(before) + 1):
        frames = [to(role, 0x01, payload[:split]), to(role, 0x80, payload[split:] + b"more")]
        expected = Model(role)(b"".join(frames))
        assert expected[-1].code == 1007
        data = b"".join(frames)[: expected[-1].offset + 1]
        for cuts in [(), range(1, len(data)), [len(frames[0])]]:
            stream = new_stream(role)
            assert without_reasons(feed(stream, data, cuts)) == expected
    whole = to(role, TEXT, payload + b"more")
    expected = Model(role)(whole)
    for data, cuts in [(whole, ()), (whole[: expected[-1].offset + 1], ()), (whole, range(1, len(whole)))]:
        assert without_reasons(feed(new_stream(role), data, cuts)) == expected


@BOTH
@pytest.mark.parametrize("tail", [b"\xc3", b"\xe2", b"\xe2\x82", b"\xf0", b"\xf0\x9f", b"\xf0\x9f\x8e"], ids=bytes.hex)
@pytest.mark.parametrize("fragments", [False, True])
def test_text_ending_inside_a_code_point_fails_with_1007(role, tail, fragments):
    for frames in ([(TEXT, b"ab" + tail)], [(0x01, b"ab"), (0x80, tail)], [(0x01, b"ab" + tail), (0x80,)]):
        data = b"".join(to(role, *each) for each in frames)
        for cuts in [(), *([cut] for cut in range(len(data))), range(1, len(data))]:
            stream = new_stream(role, fragments=fragments)
            events = feed(stream, data, cuts)
            assert failure(events) == (1007, len(data)), cuts
            assert stream.pending() == to(CLIENT if role is SERVER else SERVER, CLOSE, b"\x03\xef")


@BOTH
@pytest.mark.parametrize("offset", [*range(70), 127, 128, 255, 256, 1023, 1024, 16383, 16384, 20000])
def test_invalid_utf8_byte_is_found_at_any_offset(role, offset):
    payload = bytearray(b" " * 20001)
    payload[offset] = 0xFF
    start = 8 if role is SERVER else 4
    assert failure(receive(role, (TEXT, bytes(payload)))) == (1007, start + offset)
    assert receive(role, (BINARY, bytes(payload))) == [payload]


@BOTH
def test_received_ping_and_pong_carry_any_bytes(role):
    assert receive(role, (PING, b"\xff\xc3"), (PONG, b"\xff")) == [Ping(b"\xff\xc3"), Pong(b"\xff")]


# Sequences


#: First byte and payload of each kind of frame that RFC 6455 5.4 distinguishes.
ALPHABET = [(first, payload) for first in (0x00, 0x80, 0x01, 0x81, 0x02, 0x82) for payload in (b"", b"\xc3", b"\xb6")]
ALPHABET += [(PING, b"p"), (PONG, b""), (CLOSE, b"\x03\xe8")]


@pytest.mark.exhaustive
@BOTH
@pytest.mark.parametrize("fragments", [False, True])
def test_all_sequences_of_two_and_three_frames_match_the_model(role, fragments):
    model = Model(role, fragments=fragments)
    for count in (2, 3):
        for frames in product([to(role, *each) for each in ALPHABET], repeat=count):
            data = b"".join(frames)
            assert without_reasons(new_stream(role, fragments=fragments).receive(data)) == model(data), data.hex()


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "max_message_size": st.sampled_from([None, 0, 3, 5, 126, 1000]),
        "max_frame_size": st.sampled_from([None, 0, 3, 126]),
        "fragments": st.booleans(),
        "text_as_bytes": st.sampled_from([False, True, "bare"]),
        "auto_pong": st.booleans(),
        "auto_close": st.booleans(),
    },
)
PAYLOADS = st.one_of(
    st.text(max_size=40).map(str.encode),
    st.sampled_from(
        [b"\xc3", b"\xb6", b"\xe2\x82", b"\xf0\x9f", b"\x8e\x89", b"\x03\xe8", b"a" * 126, b"\xc3\xb6" * 100]
    ),
    st.binary(max_size=130),
)
FIRSTS = st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A])


@st.composite
def streams(draw):
    """Draw a role, options and input: mostly valid frames, truncated anywhere."""
    role = draw(st.sampled_from([SERVER, CLIENT]))
    data = bytearray()
    is_open = False
    for _ in range(draw(st.integers(0, 6))):
        fin = draw(st.booleans())
        first = draw(
            st.sampled_from([0x89, 0x8A, 0x80 * fin if is_open else 0x80 * fin | draw(st.sampled_from([1, 2]))])
        )
        is_open = is_open if first & 8 else not fin
        if draw(st.integers(0, 9)) == 0:
            first = draw(st.one_of(FIRSTS, st.integers(0, 255)))
        payload = draw(PAYLOADS)
        key = draw(st.binary(min_size=4, max_size=4)) if role is SERVER else b""
        data += frame(
            first, payload[:125] if first & 8 else payload, key, draw(st.sampled_from([None] * 15 + [16, 64]))
        )
    data += draw(st.binary(max_size=6))
    return role, draw(OPTIONS), bytes(data[: len(data) - draw(st.integers(0, 8))])


def step(stream, data):
    """Receive with `receive_one`, and check the number of consumed bytes."""
    events = []
    while True:
        event, taken = stream.receive_one(data)
        assert 0 <= taken <= len(data)
        if event is None:
            assert taken == len(data)
            return events
        events.append(event)
        data = data[taken:]


def fill(stream, data, size):
    """Receive with `get_buffer` and `buffer_updated`, like asyncio for a BufferedProtocol."""
    events = []
    while data:
        stream.get_buffer(size)
        view = stream.get_buffer(-1)
        count = min(size, len(view), len(data))
        view[:count] = data[:count]
        events += stream.buffer_updated(count)
        view[:count] = bytes(count)
        data = data[count:]
    return events


CUTS = st.lists(st.integers(0, 1000), max_size=5)


def check_input_methods(role, options, data, cuts, size):
    """Check that all ways of feeding input agree; return the events."""
    stream = new_stream(role, **options)
    events = stream.receive(data)
    whole = outcome(stream, events)
    end = stream.receive_eof()

    def check(feeding):
        other = new_stream(role, **options)
        assert outcome(other, feeding(other)) == whole
        assert other.receive_eof() == end

    check(lambda other: feed(other, data, sorted(cut % (len(data) + 1) for cut in cuts)))
    check(lambda other: feed(other, data, range(1, len(data))))
    check(lambda other: feed(other, bytearray(data)))
    check(lambda other: step(other, data))
    check(lambda other: [event for i in range(len(data)) for event in step(other, data[i : i + 1])])
    check(lambda other: fill(other, data, size))

    def mixed(other):
        events, half = [], len(data) // 2
        events += step(other, data[:half])
        return events + fill(other, data[half:], size)

    check(mixed)
    return events


@pytest.mark.exhaustive
@settings(max_examples=500)
@given(streams(), CUTS, st.integers(1, 50))
def test_all_input_methods_agree_with_the_model(case, cuts, size):
    role, options, data = case
    events = check_input_methods(role, options, data, cuts, size)
    assert without_reasons(events) == Model(role, **options)(data)


@pytest.mark.exhaustive
@settings(max_examples=300)
@given(streams(), st.one_of(st.integers(1, 5), st.integers(1, 200)), CUTS, st.integers(1, 50))
def test_all_input_methods_agree_on_pieces(case, piece_size, cuts, size):
    role, options, data = case
    check_input_methods(role, {**options, "fragments": True, "piece_size": piece_size}, data, cuts, size)


# Arguments


DATA = to(SERVER, TEXT, b"Hello") + to(SERVER, BINARY, b"12345")


@pytest.mark.parametrize(
    "data",
    [
        bytearray(DATA),
        memoryview(DATA),
        memoryview(DATA).cast("B", (2, 11)),
        array("b", DATA),
        array("H", DATA),
        memoryview(array("H", DATA)),
        memoryview(DATA).cast("c"),
        type("Octets", (bytes,), {})(DATA),
    ],
    ids=lambda data: type(data).__name__,
)
def test_receive_accepts_any_bytes_like_object(data):
    assert new_stream(SERVER).receive(data) == ["Hello", b"12345"]
    stream = new_stream(SERVER)
    assert stream.receive_one(data) == ("Hello", 11)


@pytest.mark.parametrize("data", ["text", None, 5, [1, 2], memoryview(b"contiguous is what bytes-like means")[::2]])
def test_receive_rejects_other_types_and_changes_nothing(data):
    stream = new_stream(SERVER)
    assert stream.receive(DATA[:8]) == []
    for method in (stream.receive, stream.receive_one):
        with pytest.raises(TypeError):
            method(data)
    assert stream.receive(DATA[8:]) == ["Hello", b"12345"]


def test_input_buffer_is_neither_modified_nor_retained():
    data = bytearray(DATA[:-2])
    stream = new_stream(SERVER)
    assert stream.receive(data) == ["Hello"]
    assert data == DATA[:-2]
    data[:] = bytes(len(data))
    data.clear()
    assert stream.receive(DATA[-2:]) == [b"12345"]


def test_get_buffer_and_buffer_updated_deliver_messages():
    stream = new_stream(SERVER)
    for hint in (-1, 0, 1, 100, 1 << 20):
        view = stream.get_buffer(hint)
        assert view.nbytes >= 1
        assert not view.readonly
    view[: len(DATA)] = DATA
    held = stream.get_buffer(-1)
    assert stream.buffer_updated(len(DATA)) == ["Hello", b"12345"]
    assert held[:3] == DATA[:3]
    assert stream.buffer_updated(0) == []
    for wrong in (-1, len(held) + 1):
        with pytest.raises(ValueError, match="get_buffer"):
            stream.buffer_updated(wrong)
    with pytest.raises(ValueError, match="get_buffer"):
        new_stream(SERVER).buffer_updated(0)


def test_buffer_may_be_filled_to_its_end():
    stream = new_stream(CLIENT)
    view = stream.get_buffer(-1)
    content = bytes(len(view) - 4)
    view[:] = frame(BINARY, content)
    assert stream.buffer_updated(len(view)) == [content]


def test_get_buffer_works_after_its_view_was_released():
    stream = new_stream(SERVER)
    with stream.get_buffer(-1) as view:
        view[: len(DATA)] = DATA
        assert stream.buffer_updated(len(DATA)) == ["Hello", b"12345"]
    with stream.get_buffer(-1) as view:
        assert view.nbytes >= 1


@BOTH
def test_eof_without_close_frame_fails_with_1006(role):
    for data in (b"", to(role, 0x01, b"open"), to(role, TEXT, b"half")[:-2], to(role, PING, b"half")[:-1]):
        stream = new_stream(role)
        assert stream.receive(data) == []
        assert stream.receive_eof() == [Failure(1006, stream_end(), len(data))]
        assert stream.receive_eof() == []
        assert (stream.state, stream.close_code, stream.close_reason, stream.clean) == (State.CLOSED, 1006, "", False)
        assert stream.pending() == b""


def stream_end():
    return "the connection ended without a close frame"


def test_failure_code_is_formatted_as_a_number():
    assert f"{receive(SERVER, (0x83,))[0].code}" == "1002"
    assert CloseCode(1002) == 1002


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("rest", [b"", frame(TEXT, b"more", KEY), b"\xff" * 20])
def test_size_argument_limits_the_bytes_read_from_a_buffer(kind, rest):
    wire = frame(TEXT, b"text", KEY) + frame(PING, b"ping", KEY) + frame(0x01, b"half", KEY) + frame(0x80, b"", KEY)
    for size in range(len(wire) + 1):
        whole, part = new_stream(SERVER), new_stream(SERVER)
        assert outcome(part, part.receive(kind(wire + rest), size)) == outcome(whole, whole.receive(wire[:size]))
        assert part.receive(wire, len(wire)) == whole.receive(wire)


@pytest.mark.parametrize("size", [-1, 7, 1 << 70, -1 << 70])
def test_size_argument_outside_the_buffer_is_rejected(size):
    stream = new_stream(SERVER)
    with pytest.raises(ValueError, match="outside"):
        stream.receive(bytearray(frame(TEXT, b"", KEY)), size)
    assert stream.receive(frame(TEXT, b"", KEY)) == [""]


def test_receive_one_takes_no_more_than_a_long_message():
    stream = Stream(SERVER)
    wire = to(SERVER, BINARY, bytes(1000))
    assert stream.receive_one(wire + to(SERVER, TEXT, b"next")) == (bytes(1000), len(wire))
    assert stream.receive_one(wire[:900]) == (None, 900)
    assert stream.receive_one(wire[900:]) == (bytes(1000), len(wire) - 900)
