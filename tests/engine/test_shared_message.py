"""`SharedMessage`: one message on many streams, compressed once (RFC 7692 7.2)."""

import random

import pytest
from frames import TEXT, to
from hypothesis import given
from hypothesis import strategies as st

from framewire import CLIENT, SERVER, Close, FragmentError, PayloadTooBigError, State, StateError, Stream, TextError
from framewire.extensions import Deflate
from framewire.protocol.shared_message import SharedMessage

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

TAIL = b"\x00\x00\xff\xff"
MESSAGE = "one message for all " * 20


def peer_of(stream, codec):
    """Return a peer whose window is exactly as large as that of `codec`."""
    role = CLIENT if stream.role is SERVER else SERVER
    return Stream(role, extensions=[Deflate(decode_bits=codec.encode_bits, decode_resets=codec.encode_resets)])


# What is shared


def test_unmasked_frame_is_made_once_for_streams_with_equal_settings():
    message = SharedMessage(MESSAGE)
    frames = [Stream(SERVER, extensions=[Deflate()]).send_shared(message) for _ in range(3)]
    assert frames[0] is frames[1] is frames[2]
    assert frames[0][0] == 0xC1
    assert len(frames[0]) < 60
    plain = [Stream(SERVER).send_shared(message) for _ in range(2)]
    assert plain[0] is plain[1]
    assert plain[0] == Stream(SERVER).send(MESSAGE)


def test_frame_that_another_thread_has_made_meanwhile_is_not_replaced(monkeypatch):
    message, make_frame, made = SharedMessage(MESSAGE), SharedMessage.make_frame, []

    def make_late(self, codec, key):
        if not made:
            made.append(None)
            made[0] = Stream(SERVER).send_shared(self)
        return make_frame(self, codec, key)

    monkeypatch.setattr(SharedMessage, "make_frame", make_late)
    assert Stream(SERVER).send_shared(message) == made[0]
    assert list(message.frames.values()) == made
    assert next(iter(message.frames.values())) is made[0]


@pytest.mark.parametrize("text", [None, True])
@pytest.mark.parametrize("compress", [None, False])
def test_copy_is_compressed_with_the_message_and_has_frames_of_its_own(text, compress):
    message = SharedMessage(MESSAGE.encode(), text, compress=compress)
    streams = [Stream(SERVER, extensions=[Deflate()]) for _ in range(3)]
    frames = [streams[0].send_shared(message)]
    payloads = dict(message._payloads)
    other = message.copy()
    frames += [stream.send_shared(other) for stream in streams[1:]]
    assert frames[0] == frames[1] is frames[2]
    assert frames[0] is not frames[1]
    assert message._payloads == payloads
    assert len(payloads) == (compress is None)
    for kind, payload in other._payloads.items():
        assert payload is payloads[kind]


@pytest.mark.parametrize("settings", [{"encode_bits": 9}, {"level": 9}, {"memory_level": 9}, {"zlib": "isal"}])
def test_message_is_compressed_anew_for_other_settings(settings):
    pytest.importorskip("isal")
    noise = random.Random(1).randbytes(700) * 2 + MESSAGE.encode()
    message = SharedMessage(noise)
    default, other = Deflate(encode_bits=15), Deflate(**settings)
    assert default.encode_settings != other.encode_settings
    frames = [Stream(SERVER, extensions=[codec]).send_shared(message) for codec in (default, other)]
    assert frames[0] is not frames[1]
    assert frames[1] == Stream(SERVER, extensions=[Deflate(**settings)]).send(noise, compress=True)


def test_compressed_payload_is_shared_by_clients_and_masked_for_each():
    message = SharedMessage(MESSAGE)
    keys = [bytes, lambda size: b"\1" * size]
    frames = [Stream(CLIENT, extensions=[Deflate()], mask_source=source).send_shared(message) for source in keys]
    (payload,) = {value for kind, value in message._payloads.items() if kind is not None}
    assert frames[0][6:] == payload
    assert frames[1][6:] == bytes(byte ^ 1 for byte in payload)
    assert message.frames == {}  # each frame was for one stream


@pytest.mark.parametrize("role", [SERVER, CLIENT])
def test_message_is_compressed_once_for_streams_with_equal_settings(role):
    class Counting(Deflate):
        calls = 0

        def encode_alone(self, content):
            Counting.calls += 1
            return super().encode_alone(content)

    message = SharedMessage(MESSAGE)
    for threshold in (0, 1, 0):
        Stream(role, extensions=[Counting(threshold=threshold)]).send_shared(message)
    assert Counting.calls == 1


def test_stream_that_only_sends_shared_messages_has_no_compressor():
    codec = Deflate()
    stream = Stream(SERVER, extensions=[codec])
    stream.send_shared(SharedMessage(MESSAGE))
    assert codec.deflater is None
    stream.send(MESSAGE)
    assert codec.deflater is not None
    stream.send_shared(SharedMessage(MESSAGE, compress=False))
    assert codec.deflater is not None
    stream.send_shared(SharedMessage(MESSAGE))
    assert codec.deflater is None
    assert stream.messages_sent == 4


def test_threshold_applies_to_shared_messages_unless_compress_is_given():
    stream = Stream(SERVER, extensions=[Deflate(threshold=1000)])
    messages = [SharedMessage(MESSAGE, compress=compress) for compress in (None, True, False)]
    assert [stream.send_shared(message)[0] for message in messages] == [0x81, 0xC1, 0x81]


def test_limit_of_messages_to_send_is_checked_for_each_stream():
    message = SharedMessage("abcd")
    assert Stream(SERVER).send_shared(message) == b"\x81\x04abcd"
    limited = Stream(SERVER, max_send_size=4)
    assert [limited.send_shared(message) for _ in range(2)] == [b"\x81\x04abcd"] * 2
    with pytest.raises(PayloadTooBigError):
        Stream(SERVER, max_send_size=3).send_shared(message)


def test_largest_limit_of_messages_to_send_is_none_for_compressed_messages_too():
    message = SharedMessage(MESSAGE)
    streams = [Stream(SERVER, extensions=[Deflate()], max_send_size=limit) for limit in (None, 2**63 - 1, 2**63 - 1)]
    frames = [stream.send_shared(message) for stream in streams]
    assert frames[0][0] == 0xC1
    assert frames[0] is frames[1] is frames[2]


def test_threshold_of_each_stream_applies_to_a_message_that_others_have_compressed():
    message = SharedMessage(MESSAGE)
    streams = [Stream(SERVER, extensions=[Deflate(threshold=threshold)]) for threshold in (0, 1000, 0, 1000)]
    assert [stream.send_shared(message)[0] for stream in streams] == [0xC1, 0x81, 0xC1, 0x81]


def test_codec_of_another_kind_encodes_for_each_stream():
    class Counting:
        rsv, threshold, pending = 0x20, 0, False
        calls = 0

        def encode(self, content, last):
            self.calls += 1
            return content[::-1]

    message, codec = SharedMessage("abc"), Counting()
    stream = Stream(SERVER, extensions=[codec])
    assert [stream.send_shared(message), stream.send_shared(message)] == [b"\xa1\x03cba"] * 2
    assert codec.calls == 2


@pytest.mark.parametrize(
    ("message", "text", "event"),
    [
        ("ä", None, "ä"),
        ("ä", False, "ä".encode()),
        ("ä".encode(), True, "ä"),
        (bytearray(b"b"), None, b"b"),
        ("", None, ""),
    ],
)
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("role", [SERVER, CLIENT])
def test_kind_of_the_message_is_that_of_its_type_or_of_text(message, text, event, compress, role):
    codec = Deflate()
    stream = Stream(role, extensions=[codec])
    wire = stream.send_shared(SharedMessage(message, text, compress=compress))
    assert peer_of(stream, codec).receive(wire) == [event]


# Shared messages among a connection's own


def send(stream, how, message):
    """Send a message in one of several ways."""
    if how == "fragments":
        return stream.send(message[: len(message) // 2], last=False) + stream.send(message[len(message) // 2 :])
    if how == "steps":
        steps = stream.send_steps(message)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
    if how.startswith("shared"):
        return stream.send_shared(SharedMessage(message, compress=how == "shared"))
    return stream.send(message, compress=how == "own")


WAYS = st.sampled_from(["shared", "shared, not compressed", "own", "own, not compressed", "fragments", "steps"])
WORDS = st.lists(st.sampled_from(["news ", "from ", "the ", "room ", "ä€🎉", "0123456789"]), max_size=30).map("".join)


@given(
    sent=st.lists(st.tuples(WAYS, WORDS | WORDS.map(str.encode) | st.binary(max_size=400)), max_size=20),
    bits=st.integers(9, 15),
    resets=st.booleans(),
    role=st.sampled_from([SERVER, CLIENT]),
)
def test_shared_and_own_messages_in_any_order_are_decoded(sent, bits, resets, role):
    codecs = [Deflate(encode_bits=bits, encode_resets=resets) for _ in range(2)]
    streams = [Stream(role, extensions=[codec]) for codec in codecs]
    peers = [peer_of(stream, codec) for stream, codec in zip(streams, codecs, strict=True)]
    for how, message in sent:
        shared = SharedMessage(message, compress=how == "shared")
        for stream, peer in zip(streams, peers, strict=True):
            wire = stream.send_shared(shared) if how.startswith("shared") else send(stream, how, message)
            assert peer.receive(wire) == [message]


def test_messages_after_a_shared_one_are_decoded_on_every_stream():
    codecs = [Deflate() for _ in range(3)]
    streams = [Stream(SERVER, extensions=[codec]) for codec in codecs]
    peers = [peer_of(stream, codec) for stream, codec in zip(streams, codecs, strict=True)]
    for number in range(5):
        shared, own = SharedMessage(f"shared {number} " * 20), f"own {number} " * 20
        for stream, peer in zip(streams, peers, strict=True):
            assert peer.receive(stream.send_shared(shared) + stream.send(own)) == [f"shared {number} " * 20, own]


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("resets", [False, True])
def test_shared_messages_longer_than_the_window_are_decoded_among_own_ones(bits, resets):
    # Data that repeats at distances close to the size of the window; see
    # `test_every_window_size_round_trips`.
    noise = random.Random(bits).randbytes(1 << bits)
    messages = [noise[:200], noise, noise[:300] + noise[-300:], noise[1:], b"", noise + noise]
    codec = Deflate(encode_bits=bits, encode_resets=resets)
    stream = Stream(SERVER, extensions=[codec])
    peer = peer_of(stream, codec)
    for turn in range(4):
        for number, message in enumerate(messages):
            how = "shared" if number & turn else "own"
            assert peer.receive(send(stream, how, message)) == [message]


def test_shared_message_inside_of_a_long_one_is_not_compressed():
    codec = Deflate()
    stream = Stream(SERVER, extensions=[codec])
    peer = peer_of(stream, codec)
    long = random.Random(1).randbytes(200_000).hex()
    steps = stream.send_steps(long)
    next(steps)
    message = SharedMessage(MESSAGE, compress=True)
    between = stream.send_shared(message)
    assert between[0] == 0x81
    assert Stream(SERVER, extensions=[Deflate()]).send_shared(message)[0] == 0xC1
    with pytest.raises(StopIteration) as end:
        while True:
            next(steps)
    assert peer.receive(between + end.value.value + stream.send(MESSAGE)) == [MESSAGE, long, MESSAGE]


# Refusals


def test_shared_message_is_refused_inside_of_a_fragmented_one():
    stream = Stream(SERVER)
    stream.send("a", last=False)
    with pytest.raises(FragmentError):
        stream.send_shared(SharedMessage("b"))
    assert stream.send("c") == b"\x80\x01c"


def test_shared_text_ends_with_a_whole_code_point():
    with pytest.raises(TextError, match="inside a code point"):
        SharedMessage("ä".encode()[:1], True)


def test_shared_message_is_refused_after_a_close():
    stream = Stream(SERVER)
    stream.close()
    with pytest.raises(StateError):
        stream.send_shared(SharedMessage("b"))
    stream.receive(to(SERVER, 0x88))
    assert stream.state is State.CLOSED
    with pytest.raises(StateError):
        stream.send_shared(SharedMessage("b"))


def test_shared_message_over_max_send_size_is_refused():
    stream = Stream(SERVER, max_send_size=3)
    with pytest.raises(PayloadTooBigError, match="at most 3 bytes, not 4"):
        stream.send_shared(SharedMessage("ää"))
    assert stream.send_shared(SharedMessage("abc")) == b"\x81\x03abc"


@pytest.mark.parametrize(("message", "text"), [("\ud800", None), (b"\xff", True), ("\ud800", False)])
def test_shared_text_must_be_utf8(message, text):
    with pytest.raises(TextError):
        SharedMessage(message, text)


def test_error_of_the_mask_source_leaves_the_stream_unchanged():
    keys = [OSError()]

    def source(size):
        if keys:
            raise keys.pop()
        return bytes(size)

    codec = Deflate()
    stream = Stream(CLIENT, extensions=[codec], mask_source=source)
    with pytest.raises(OSError):
        stream.send_shared(SharedMessage(MESSAGE))
    assert stream.messages_sent == 0
    assert peer_of(stream, codec).receive(stream.send_shared(SharedMessage(MESSAGE))) == [MESSAGE]


def test_stream_in_use_refuses_a_shared_message():
    def source(size):
        with pytest.raises(RuntimeError, match="in use"):
            stream.send_shared(SharedMessage("inner"))
        return bytes(size)

    stream = Stream(CLIENT, mask_source=source)
    assert stream.send_shared(SharedMessage("outer"))[6:] == b"outer"
    assert stream.receive(to(CLIENT, TEXT, b"x") + to(CLIENT, 0x88)) == ["x", Close(1005, "")]


# The codec


def test_encode_alone_neither_uses_nor_changes_the_context():
    codec = Deflate(encode_bits=12)
    content = MESSAGE.encode()
    first = codec.encode_alone(content)
    assert codec.deflater is None
    assert codec.encode(content, True) == first
    second = Deflate(encode_bits=12)
    second.encode(content, True)
    assert codec.encode_alone(content) == first
    assert codec.encode(content, True) == second.encode(content, True) != first
    assert codec.encode_alone(b"") == b"\x00"


def test_encode_alone_takes_bytes():
    with pytest.raises(TypeError, match="encode_alone\\(\\) takes bytes, not str"):
        Deflate().encode_alone("text")
