"""`StreamCore`: the fast paths, and the input that they leave to the slow paths."""

import pytest
from cores import make_core, make_instance
from frames import BINARY, CLOSE, KEY, PING, TEXT, frame
from samples import SAMPLES, SIZES

from framewire import Text

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]


def take(backend, data, *, masked=True, limit=1 << 20, wrap=None):
    """Return the events, the number of bytes left to the slow path, and the core."""
    core = make_core(backend, masked, limit, wrap)
    return core.receive(data), left_by(core), core


def left_by(core):
    """Return the number of bytes that the last `receive` left to the slow path."""
    return len(core.left.pop()[0]) if core.left else 0


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("wrap", [None, Text, bytes])
def test_fast_path_receives_messages_of_every_size(backend, key, wrap):
    for size in SIZES:
        payload = bytes(i * 7 & 127 for i in range(size))
        data = frame(TEXT, payload, key) + frame(BINARY, payload, key)
        events, left, core = take(backend, data, masked=bool(key), wrap=wrap)
        assert events == [(wrap or bytes.decode)(payload), payload]
        assert left == 0
        assert (core.bytes_received, core.messages_received) == (len(data), 2)


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("sample", SAMPLES)
def test_fast_path_text_uses_narrowest_str_representation(backend, key, sample):
    """A str of a wider representation than its characters need is unequal to the same text."""
    for count in [*range(1, 70), 300, 6000]:
        text = sample * count
        events, left, _ = take(backend, frame(TEXT, text.encode(), key), masked=bool(key))
        assert (events, left) == ([text], 0)
        assert hash(events[0]) == hash(text)
        assert events[0].isascii() == text.isascii()


@pytest.mark.parametrize("key", [b"", KEY])
@pytest.mark.parametrize("text", [*SAMPLES, "a" * 3000 + "é", "🎉" * 5000, "a" * 20000])
@pytest.mark.parametrize("wrap", [None, Text, bytes])
def test_fast_path_receives_message_split_at_any_byte(backend, key, text, wrap):
    payload = text.encode()
    data = frame(TEXT, payload, key)
    header = len(data) - len(payload)
    expected = (wrap or bytes.decode)(payload)
    for cut in sorted({*range(header, min(len(data), header + 9)), (header + len(data)) // 2, len(data) - 1}):
        events, left, core = take(backend, data[:cut], masked=bool(key), wrap=wrap)
        partial = core._partial
        assert (events, left) == ([], 0)
        assert (partial.opcode, partial.final, partial.in_frame) == (1, True, True)
        assert (partial.size, partial.remaining) == (cut - header, len(data) - cut)
        assert core.receive(data[cut:] + data) == [expected, expected]
        assert left_by(core) == 0
        assert (partial.opcode, partial.size, partial.in_frame, partial.need) == (0, 0, False, 0)
        assert (core.bytes_received, core.messages_received) == (2 * len(data), 2)


@pytest.mark.parametrize("limit", [0, 1, 125, 126, 5000])
def test_fast_path_receives_message_of_exactly_the_limit(backend, limit):
    data = frame(BINARY, bytes(limit), KEY)
    assert take(backend, data, limit=limit)[:2] == ([bytes(limit)], 0)
    assert take(backend, data[:-1], limit=limit)[1] == (0 if limit else len(data) - 1)
    assert take(backend, frame(BINARY, bytes(limit + 1), KEY), limit=limit)[0] == []


# Reasons to leave the remaining input to the slow path. The fast path never fails the stream.

GOOD = frame(TEXT, b"a", KEY)


def leaves(backend, rest, decoded=None, *, core=None, before=1, **options):
    """Check that the fast path receives the messages before `rest`, and leaves `rest`."""
    core = core or make_core(backend, True, **options)
    for data in (GOOD * before + rest, bytearray(GOOD * before + rest)):
        core.left.clear()
        taken = core.bytes_received
        assert core.receive(data) == ["a"] * before
        ((left, made),) = core.left
        assert left == rest
        assert (type(made), str(made)) == (type(decoded), str(decoded))
        assert core.bytes_received == taken + len(GOOD) * before
        assert (core._partial.opcode, core._partial.in_frame) == (0, False)
        assert core.ended == 0
    return core


@pytest.mark.parametrize("first", [PING, 0x8A, CLOSE])
@pytest.mark.parametrize("after", [b"", GOOD])
def test_fast_path_leaves_control_frames(backend, first, after):
    leaves(backend, frame(first, b"x", KEY) + after)


@pytest.mark.parametrize("first", [0x01, 0x02, 0x00, 0x80])
def test_fast_path_leaves_fragments(backend, first):
    leaves(backend, frame(first, b"x", KEY) + GOOD)


@pytest.mark.parametrize("first", [0x83, 0x8B, 0x03, 0xFF])
def test_fast_path_leaves_reserved_opcodes(backend, first):
    leaves(backend, frame(first, b"x", KEY) + GOOD)


@pytest.mark.parametrize("first", [0xC1, 0xA2, 0x91, 0xF2])
def test_fast_path_leaves_frames_with_an_rsv_bit(backend, first):
    leaves(backend, frame(first, b"x", KEY) + GOOD)


def test_fast_path_leaves_frames_over_the_limit(backend):
    leaves(backend, frame(BINARY, b"x" * 11, KEY) + GOOD, limit=10)
    leaves(backend, frame(BINARY, b"x" * 11, KEY)[:6], limit=10)


def test_fast_path_of_server_leaves_unmasked_frames(backend):
    leaves(backend, frame(TEXT, b"abcdef") + GOOD)


def test_fast_path_of_client_leaves_masked_frames(backend):
    core = make_core(backend, False)
    assert core.receive(frame(TEXT, b"a") + GOOD) == ["a"]
    assert core.left == [(GOOD, None)]


@pytest.mark.parametrize("form", [16, 64])
def test_fast_path_leaves_frames_with_non_minimal_length(backend, form):
    leaves(backend, frame(TEXT, b"a", KEY, form) + GOOD)


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1])
def test_fast_path_leaves_frames_with_length_over_63_bits(backend, length):
    leaves(backend, b"\x82\xff" + length.to_bytes(8, "big") + KEY + b"x")


@pytest.mark.parametrize("payload", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"a" * 40 + b"\xff"])
@pytest.mark.parametrize("wrap", [None, Text, bytes])
def test_fast_path_leaves_invalid_utf8_text(backend, payload, wrap):
    core = make_core(backend, True, wrap=wrap)
    assert core.receive(frame(BINARY, b"b", KEY) + frame(TEXT, payload, KEY) + GOOD) == [b"b"]
    assert core.left == [(frame(TEXT, payload, KEY) + GOOD, None)]


@pytest.mark.parametrize("stop", range(1, 6))
@pytest.mark.parametrize("size", [1, 200, 70_000])
def test_fast_path_leaves_incomplete_header(backend, size, stop):
    leaves(backend, frame(TEXT, bytes(size), KEY)[:stop])


def test_fast_path_leaves_all_input_while_paused(backend):
    core = make_core(backend)
    core._paused = True
    assert core.receive(frame(TEXT, b"b")) == []
    assert core.left == [(frame(TEXT, b"b"), None)]
    assert core._take_messages(frame(TEXT, b"b"), 0, []) == (0, None)
    assert core.bytes_received == 0
    core._paused = False
    assert core.receive(frame(TEXT, b"b")) == ["b"]
    assert core.bytes_received == 3


@pytest.mark.parametrize("tail", [b"\xc3", b"\xe2", b"\xe2\x82", b"\xf0", b"\xf0\x9f", b"\xf0\x9f\x8e"])
def test_fast_path_leaves_last_byte_of_text_ending_inside_a_code_point(backend, tail):
    for before in (b"", b"ok", b"\xe2\x82\xac"):
        data = frame(TEXT, before + tail, KEY)
        for cut in range(7, len(data)):
            events, left, core = take(backend, data[:cut])
            partial = core._partial
            assert (events, left) == ([], 0)
            assert core.receive(data[cut:]) == []
            assert left_by(core) == 1
            assert (partial.remaining, partial.in_frame) == (1, True)
            assert partial.size == len(before + tail) - 1
            # The slow path takes it and finds that the frame ends inside a code point.
            assert partial.fill(data, len(data) - 1, len(data)) == len(data)
            assert (partial.remaining, partial.size) == (0, len(before + tail))
            assert partial.need > 0


def test_fast_path_leaves_invalid_utf8_byte_of_a_later_piece_at_its_key_phase(backend):
    for payload in (b"\xff123456789", b"abc\xff56789", b"ab\xc3\x28456789", b"abcd\xe2\x82\x28"):
        data = frame(TEXT, payload + b"z" * 10, KEY)
        bad = 6 + payload.index(b"\xff" if b"\xff" in payload else b"\x28")
        for cut in range(bad + 1, len(data)):
            events, left, core = take(backend, data[:cut])
            assert (events, left) == ([], cut - bad)
            assert core._partial.fill(data, bad, len(data)) == bad
            assert core._partial.size == bad - 6


def test_fast_path_leaves_all_input_inside_a_fragmented_message(backend):
    core = make_core(backend)
    partial = core._partial
    partial.begin_frame(1, False, 1, b"", True)
    assert core.receive(b"a") == []
    assert left_by(core) == 1
    assert partial.fill(b"a", 0, 1) == 1
    partial.end_frame()
    assert core.receive(frame(TEXT, b"b")) == []
    assert left_by(core) == 3
    partial.begin_frame(1, True, 2, b"", True)
    assert core.receive(b"bc") == []
    assert left_by(core) == 2
    assert partial.fill(b"bc", 0, 2) == 2
    assert partial.finish() == "abc"
    assert core.receive(frame(TEXT, b"b")) == ["b"]


class Codec:
    """A codec that reverses; its methods return or raise `made` instead if it is given."""

    rsv, threshold, pending = 0x40, 0, False

    def __init__(self, made=None, pending=False):
        self.made, self.pending, self.calls = made, pending, []

    def decode(self, payload, most, last):
        self.calls.append((payload, most, last))
        if isinstance(self.made, BaseException):
            raise self.made
        return payload[::-1] if self.made is None else self.made

    def encode(self, content, last):
        return self.decode(content, 0, last)

    def abandon(self):
        self.calls.append("abandon")


def decoding(backend, codec, max_encoded=100, max_content=50, **options):
    core = make_core(backend, True, **options)
    core._lend_codec(codec, max_encoded, max_content)
    return core


@pytest.mark.parametrize("wrap", [None, Text, bytes])
def test_fast_path_decodes_short_compressed_messages(backend, wrap):
    codec = Codec()
    core = decoding(backend, codec, wrap=wrap)
    text = "é".encode()
    data = frame(0xC1, text[::-1], KEY) + frame(0xC2, b"ab", KEY) + frame(TEXT, b"c", KEY)
    make = wrap or bytes.decode
    assert core.receive(data) == [make(text), b"ba", make(b"c")]
    assert codec.calls == [(text[::-1], 50, True), (b"ab", 50, True)]
    assert (core.left, core.messages_received) == ([], 3)


@pytest.mark.parametrize(
    "rest",
    [
        frame(0xC2, bytes(101), KEY),
        frame(0x42, b"x", KEY),
        frame(0xA2, b"x", KEY),
        frame(0xC9, b"x", KEY),
        frame(0xC2, b"abc", KEY)[:-1],
        frame(0xC2, b"abc"),
        frame(0xC2, b"abc", KEY, 16),
        b"\xc2",
    ],
)
def test_fast_path_leaves_other_compressed_frames_undecoded(backend, rest):
    codec = Codec()
    leaves(backend, rest, core=decoding(backend, codec))
    assert codec.calls == []


@pytest.mark.parametrize("size", [50, 60])
def test_fast_path_hands_over_content_that_fills_the_limit(backend, size):
    made = b"c" * size
    leaves(backend, frame(0xC2, b"x", KEY) + GOOD, made, core=decoding(backend, Codec(made)))


def test_fast_path_hands_over_content_of_a_codec_with_pending_output(backend):
    leaves(backend, frame(0xC1, b"x", KEY) + GOOD, b"cc", core=decoding(backend, Codec(b"cc", pending=True)))


def test_fast_path_hands_over_codec_errors(backend):
    leaves(backend, frame(0xC1, b"x", KEY) + GOOD, ValueError("bad"), core=decoding(backend, Codec(ValueError("bad"))))


@pytest.mark.parametrize("wrap", [None, Text, bytes])
def test_fast_path_hands_over_decoded_invalid_utf8_text(backend, wrap):
    core = decoding(backend, Codec(b"\xff"), wrap=wrap)
    assert core.receive(frame(0xC1, b"x", KEY)) == []
    assert core.left == [(frame(0xC1, b"x", KEY), b"\xff")]


def test_take_messages_returns_the_decoded_content(backend):
    core, events = decoding(backend, Codec(b"\xff")), []
    data = GOOD + frame(0xC1, b"x", KEY)
    assert core._take_messages(data, 0, events) == (len(GOOD), b"\xff")
    assert core._take_messages(GOOD, 0, events) == (len(GOOD), None)
    assert events == ["a", "a"]
    assert core.bytes_received == 0  # the caller counts


# Errors


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemError, MemoryError, GeneratorExit, TypeError])
@pytest.mark.parametrize("where", ["codec", "wrap", "hook"])
def test_receive_error_after_consumed_bytes_ends_the_stream(backend, error, where):
    def fail(*arguments):
        raise error("out")

    core = make_core(backend, True, wrap=fail if where == "wrap" else None)
    core._lend_codec(Codec(error("out")), 100, 50)
    if where == "hook":
        core = type("Failing", (type(core),), {"_receive_slow": fail})(core._partial, None, False)
    rest = frame(0xC1 if where == "codec" else TEXT if where == "wrap" else PING, b"x", KEY)
    with pytest.raises(error, match="out"):
        core.receive(frame(BINARY, b"a", KEY) + rest)
    assert core.ended == 1
    with pytest.raises(error, match="out"):  # not RuntimeError: the core is no longer marked as in use
        core.receive(rest)


@pytest.mark.parametrize("made", [bytearray(b"x"), "x", None, memoryview(b"x"), type("Octets", (bytes,), {})(b"x"), 5])
def test_core_requires_decode_to_return_bytes(backend, made):
    codec = Codec()
    codec.decode = lambda payload, most, last: made
    core = decoding(backend, codec)
    with pytest.raises(TypeError, match=rf"^decode\(\) returns bytes, not {type(made).__name__}$"):
        core.receive(frame(0xC1, b"x", KEY))
    assert core.ended == 1
    assert core.messages_received == 0


@pytest.mark.parametrize("made", [bytearray(b"x"), "x", None, 5])
@pytest.mark.parametrize("apart", [False, True])
def test_core_requires_encode_to_return_bytes(backend, made, apart):
    codec = Codec()
    codec.encode = lambda content, last: made
    core = make_core(backend)
    core._set_send_limit(0, codec)
    core._fast_send = True
    with pytest.raises(TypeError, match=rf"^encode\(\) returns bytes, not {type(made).__name__}$"):
        (core.send_parts if apart else core.send)(b"x")
    assert codec.calls == ["abandon"]
    assert (core.messages_sent, core.left) == (0, [])


def test_core_rejects_invalid_arguments_and_changes_nothing(backend):
    core = make_core(backend)
    for data in ("text", None, 5, memoryview(b"abcd")[::2]):
        with pytest.raises(TypeError):
            core.receive(data)
    for size in (-1, 5, 1 << 70, -(1 << 70)):
        with pytest.raises(ValueError, match="the range lies outside the data"):
            core.receive(GOOD[:4], size)
    for data, events in [(bytearray(1), []), (None, []), (b"", ()), (b"", None)]:
        with pytest.raises(TypeError, match="takes bytes and a list"):
            core._take_messages(data, 0, events)
    for start in (-1, 1, 1 << 70, -(1 << 70)):
        with pytest.raises(ValueError, match="the range lies outside the data"):
            core._take_messages(b"", start, [])
    assert (core.ended, core.left) == (0, [])
    assert core.receive(frame(TEXT, b"a")) == ["a"]


def test_core_requires_an_unused_partial_message(backend):
    core = make_core(backend)
    with pytest.raises(RuntimeError, match="initialized once"):
        core.__init__(backend.PartialMessage(False, 0, None), None, False)
    for other in (None, object()):
        with pytest.raises(TypeError, match="takes a PartialMessage"):
            type(core)(other, None, False)


@pytest.mark.parametrize(("name", "count"), [("_receive_slow", 4), ("_send_slow", 5), ("_end_after_error", 0)])
def test_core_has_no_slow_path_of_its_own(backend, name, count):
    with pytest.raises(NotImplementedError):
        getattr(make_instance(vars(backend), "StreamCore"), name)(*[None] * count)


@pytest.mark.parametrize("size", [None, 3])
def test_receive_size_limits_the_bytes_read(backend, size):
    core = make_core(backend)
    data = frame(TEXT, b"a") + frame(PING, b"p")
    for given in (data, bytearray(data), memoryview(data)):
        core.left.clear()
        assert core.receive(given, size) == ["a"]
        assert core.left == ([] if size else [(frame(PING, b"p"), None)])
        core.left.clear()
        assert core.receive(given, 4) == ["a"]
        assert core.left == [(b"\x89", None)]


# Sending


class Keys:
    """A source of masking keys that calls a function."""

    def __init__(self, function):
        self.pop = function


def test_fast_path_sends_messages_within_the_limit(backend):
    core = make_core(backend)
    core._set_send_limit(4, None)
    core._fast_send = True
    assert core.send("abc") == frame(TEXT, b"abc")
    assert core.send("ééé") == frame(TEXT, "ééé".encode())
    assert core.send_parts(b"abc") == [b"\x82\x03", b"abc"]
    assert core.messages_sent == 3
    assert core.left == []


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("abcd", {}), (b"abcd", {}), (bytearray(b"a"), {}), (memoryview(b"a"), {}), (None, {}), ("\ud800", {}),
        (type("Name", (str,), {})("a"), {}), (type("Octets", (bytes,), {})(b"a"), {}), ("a", {"text": True}),
        ("a", {"text": False}), ("a", {"last": False}), ("a", {"compress": False}), ("a", {"compress": True}),
    ],
)  # fmt: skip
def test_fast_path_leaves_other_messages_to_send_slow(backend, message, options):
    core = make_core(backend)
    core._set_send_limit(4, None)
    core._fast_send = True
    full = {"text": None, "last": True, "compress": None, **options}
    assert core.send(message, **options) == b""
    assert core.send_parts(message, **options) == [b""]
    assert [arguments[:4] for arguments in core.left] == [(message, *full.values())] * 2
    assert core.messages_sent == 0


def test_fast_path_sends_nothing_while_fast_send_is_off(backend):
    core = make_core(backend)
    core.send("before")
    core._set_send_limit(2, Codec())
    core.send("")
    core._fast_send = True
    assert core.send("") + core.send("ab") == frame(TEXT) + frame(0xC1, b"ba")
    core._fast_send = False
    core.send("")
    core.send("ab")
    assert [arguments[0] for arguments in core.left] == ["before", "", "", "ab"]


@pytest.mark.parametrize("apart", [False, True])
def test_fast_path_compresses_messages_above_the_threshold(backend, apart):
    codec = Codec()
    core = make_core(backend)
    core._set_send_limit(2, codec)
    core._fast_send = True
    send = (lambda message: b"".join(core.send_parts(message))) if apart else core.send
    assert send("abc") == frame(0xC1, b"cba")
    assert send(b"abc") == frame(0xC2, b"cba")
    assert send("éa") == frame(0xC1, "éa".encode()[::-1])
    assert (core.messages_sent, core.left) == (3, [])
    send("\ud800\ud800")
    core._encoding = True
    send("abc")
    assert [arguments[0] for arguments in core.left] == ["\ud800\ud800", "abc"]
    assert core.messages_sent == 3


def test_mask_source_may_not_use_the_core(backend):
    """Calls of the source into the core raise RuntimeError; the message is still sent."""
    refused = []

    def key():
        for call in (lambda: core.receive(b""), lambda: core.send(b"inner"), core._enter, core._next_key):
            with pytest.raises(RuntimeError, match="in use"):
                call()
            refused.append(call)
        return KEY

    core = make_core(backend, keys=Keys(key), keys_guarded=True)
    core._set_send_limit(100, None)
    core._fast_send = True
    assert core.send(b"outer") == frame(BINARY, b"outer", KEY)
    assert len(refused) == 4
    assert core.receive(frame(TEXT, b"a")) == ["a"]


@pytest.mark.parametrize(
    ("key", "error"), [("abcd", TypeError), (None, TypeError), (b"abc", ValueError), (bytearray(4), TypeError)]
)
def test_mask_key_must_be_4_bytes(backend, key, error):
    core = make_core(backend, keys=Keys(lambda: key), keys_guarded=True)
    core._set_send_limit(100, None)
    core._fast_send = True
    for send in (core.send, core.send_parts):
        for message in ("a", b"b" * 99):
            with pytest.raises(error):
                send(message)
    assert core.messages_sent == 0
    core._enter()
    core._leave()


def test_core_rejects_a_second_caller(backend):
    core = make_core(backend)
    core._enter()
    for call in (lambda: core.receive(b""), core._enter, lambda: core.send(b"x" * 10)):
        if call is not core._enter:
            core._set_send_limit(0, Codec())
            core._fast_send = True
        with pytest.raises(RuntimeError, match="in use"):
            call()
    core._leave()
    assert core.receive(frame(TEXT, b"a")) == ["a"]


# Shared messages


class Abandoned:
    """A codec that counts the calls of `abandon`."""

    rsv, calls = 0x40, 0

    def abandon(self):
        self.calls += 1


def test_take_shared_returns_the_frame_of_the_kind_of_the_stream(backend):
    core, codec = make_core(backend), Abandoned()
    core._set_send_limit(10, codec)
    core._fast_send = True
    frames = {"plain": frame(TEXT, b"a"), "encoded": frame(0xC1, b"b")}
    assert core.take_shared(frames) is None
    core._shared_kind = "other"
    assert core.take_shared(frames) is None
    core._shared_kind = "plain"
    assert core.take_shared(frames) is frames["plain"]
    assert codec.calls == 0
    core._shared_kind = "encoded"
    assert core.take_shared(frames) is frames["encoded"]
    assert codec.calls == 1
    assert core.messages_sent == 2
    assert core.left == []


@pytest.mark.parametrize("name", ["_encoding", "_fast_send"])
def test_take_shared_leaves_all_to_the_slow_path_if_it_must(backend, name):
    core, codec = make_core(backend), Abandoned()
    core._set_send_limit(10, codec)
    core._fast_send = name != "_fast_send"
    core._encoding = name == "_encoding"
    core._shared_kind = "encoded"
    assert core.take_shared({"encoded": frame(0xC1, b"b")}) is None
    assert (codec.calls, core.messages_sent) == (0, 0)


def test_take_shared_of_a_stream_in_use_is_refused(backend):
    core, codec = make_core(backend), Abandoned()
    core._set_send_limit(10, codec)
    core._fast_send = True
    core._shared_kind = "encoded"
    core._enter()
    with pytest.raises(RuntimeError, match="in use"):
        core.take_shared({"encoded": frame(0xC1, b"b")})
    core._leave()
    assert (codec.calls, core.messages_sent) == (0, 0)
    core.take_shared({"encoded": frame(0xC1, b"b")})
    assert codec.calls == 1


@pytest.mark.parametrize("frames", [None, [], "ab"])
def test_take_shared_takes_a_dict(backend, frames):
    with pytest.raises(TypeError, match="take_shared\\(\\) takes a dict"):
        make_core(backend).take_shared(frames)
