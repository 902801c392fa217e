"""permessage-deflate in `Stream` (RFC 7692 7.2), with every installed zlib module."""

import gc
import importlib
import importlib.util
import itertools
import os
import random
import sys
import zlib
from types import SimpleNamespace

import pytest
from backends import needed
from bounds import KIB, Traced
from frames import BINARY, PING, TEXT, to
from hypothesis import given
from hypothesis import strategies as st

import framewire.protocol.permessage_deflate
from framewire import (
    CLIENT,
    SERVER,
    Close,
    Failure,
    Fragment,
    FragmentError,
    Ping,
    StateError,
    Stream,
    Text,
    TextError,
)
from framewire.protocol.permessage_deflate import PerMessageDeflate

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

MODULES = {"zlib": "zlib", "zlib_ng": "zlib_ng.zlib_ng", "isal": "isal.isal_zlib"}
RSV1 = 0x40
TAIL = b"\x00\x00\xff\xff"


#: The `zlib` setting of the codecs under test.
CHOSEN = {"zlib": "zlib"}


@pytest.fixture(params=MODULES)
def each_zlib(request):
    if importlib.util.find_spec(request.param) is None:
        assert os.environ.get("CI") != "true", f"{request.param} is missing in CI"
        pytest.skip(f"{request.param} is not installed")
    CHOSEN["zlib"] = request.param
    yield request.param
    CHOSEN["zlib"] = "zlib"


def deflate(content, deflater=None, final=False):
    """Compress `content` with the standard library; return the payload of a message."""
    deflater = deflater or zlib.compressobj(wbits=-15)
    if final:
        return deflater.compress(content) + deflater.flush(zlib.Z_FINISH)
    return (deflater.compress(content) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def codec_of(**settings):
    return framewire.protocol.permessage_deflate.Deflate(**settings, **CHOSEN)  # the twin of the active backend


def receiver(role=CLIENT, bits=15, resets=False, **options):
    return Stream(role, extensions=[codec_of(decode_bits=bits, decode_resets=resets)], **options)


def sender(role=SERVER, **settings):
    return Stream(role, extensions=[codec_of(**settings)])


def receive_cut(data, *cuts, **options):
    """Return the events of a new receiver for `data` cut at the offsets `cuts`."""
    stream = receiver(**options)
    events = []
    for start, stop in itertools.pairwise((0, *cuts, len(data))):
        events += stream.receive(data[start:stop])
    return events


#: Frames to a client and their events: the examples of RFC 7692 7.2.3 in order, then other valid
#: messages.
HELLO = "c107f248cdc9c90700"
VECTORS = {
    "one block": (HELLO, ["Hello"]),
    "fragmented": ("4103f248cd8004c9c90700", ["Hello"]),
    "context takeover": (HELLO + "c105f200110000", ["Hello", "Hello"]),
    "the same bytes again": (HELLO + HELLO, ["Hello", "Hello"]),
    "a block without compression": ("c10b000500faff48656c6c6f00", ["Hello"]),
    "a block with BFINAL": ("c108f348cdc9c9070000", ["Hello"]),
    "two blocks": ("c10df24805000000ffffcac9c90700", ["Hello"]),
    "an empty message": ("c10100", [""]),
    "an empty payload": ("c100" + HELLO + "c200", ["", "Hello", b""]),
    "BFINAL, then messages": ("c108f348cdc9c9070000" + HELLO + "c105f200110000", ["Hello"] * 3),
    "BFINAL without a final empty block": ("c107f348cdc9c90700" + HELLO, ["Hello"] * 2),
    "BFINAL in the first of two fragments": ("4107f348cdc9c907008000" + HELLO, ["Hello"] * 2),
    "BFINAL twice in one message": ("c10ff348cdc9c90700f348cdc9c9070000", ["HelloHello"]),
    "BFINAL, then a block without BFINAL": ("c10ef348cdc9c90700f248cdc9c90700" + HELLO, ["HelloHello", "Hello"]),
    "an empty block with BFINAL": ("c10101" + HELLO, ["", "Hello"]),
    "control frames between fragments": ("4103f248cd8901618a008004c9c90700", [Ping(b"a"), "PONG", "Hello"]),
    "uncompressed messages in between": ("810161" + HELLO + "820162c105f200110000", ["a", "Hello", b"b", "Hello"]),
    "empty fragments": ("41000003f248cd00000004c9c907008000", ["Hello"]),
    "an empty last fragment": ("4107f248cdc9c907008000" + HELLO, ["Hello", "Hello"]),
    "binary": ("c207f248cdc9c90700", [b"Hello"]),
    "an uncompressed message in fragments": (HELLO + "010161800162c105f200110000", ["Hello", "ab", "Hello"]),
}

FAILURES = {
    "garbage after BFINAL": ("c10df348cdc9c90700474152424147", 1007, 15),
    "an invalid block type": ("c20107", 1007, 3),
    "a distance before the start of the window": ("c205f200110000", 1007, 7),
    "an invalid length of a stored block": ("c2060005000000 41", 1007, 8),
    "not UTF-8": ("c1 " + f"{len(deflate(bytes([0x61, 0xFF]))):02x}" + deflate(b"a\xff").hex(), 1007, None),
    "an incomplete code point": (
        "c1 " + f"{len(deflate(b'a' + bytes([0xC3]))):02x}" + deflate(b"a\xc3").hex(),
        1007,
        None,
    ),
    "RSV1 in a continuation": ("4103f248cdc004c9c90700", 1002, 5),
    "RSV1 in a continuation of an uncompressed message": ("010161c004c9c90700", 1002, 3),
    "RSV1 in a ping": ("c90178", 1002, 0),
    "RSV1 in a pong": ("ca00", 1002, 0),
    "RSV1 in a close frame": ("c80203e8", 1002, 0),
    "RSV2": ("a10178", 1002, 0),
    "RSV1 and RSV2": ("e10178", 1002, 0),
    "RSV3": ("91 0178", 1002, 0),
    "a new message inside a fragmented one": ("4103f248cdc107f248cdc9c90700", 1002, 5),
    "a non-minimal length": ("c17e0007f248cdc9c90700", 1002, 4),
    "masked by a server": ("c18700000000f248cdc9c90700", 1002, 1),
}


def readable(events):
    return ["PONG" if type(event).__name__ == "Pong" else event for event in events]


@pytest.mark.parametrize("name", VECTORS)
def test_valid_compressed_messages_decode_however_they_are_split(name, each_zlib):
    text, expected = VECTORS[name]
    data = bytes.fromhex(text)
    assert readable(receive_cut(data)) == expected
    assert readable(receive_cut(data, *range(1, len(data)))) == expected
    for cuts in itertools.chain.from_iterable(itertools.combinations(range(1, len(data)), n) for n in (1, 2)):
        assert readable(receive_cut(data, *cuts)) == expected


@pytest.mark.parametrize("name", FAILURES)
def test_invalid_compressed_messages_fail_however_they_are_split(name, each_zlib):
    text, code, offset = FAILURES[name]
    data = bytes.fromhex(text)
    stream = receiver()
    events = stream.receive(data)
    assert events[-1].code == code
    assert offset in (None, events[-1].offset)
    for cuts in [range(1, len(data)), *((cut,) for cut in range(1, len(data)))]:
        assert receive_cut(data, *cuts) == events


def test_rsv1_without_the_extension_fails():
    assert Stream(CLIENT).receive(bytes.fromhex(HELLO))[-1].code == 1002


def test_receive_one_gives_the_same_events_as_receive():
    data = bytes.fromhex("810161" + HELLO + "4103f248cd8901618004c9c90700" + "c20107")
    stream = receiver()
    events, position = [], 0
    while position < len(data) and stream.state.value != "closed":
        event, taken = stream.receive_one(data[position:])
        position += taken
        events += [] if event is None else [event]
    assert events == receiver().receive(data)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 8191, 8192, 8193, 32767, 32768, 32769, 65535, 65536, 300_000])
def test_messages_round_trip_at_block_and_chunk_boundaries(size, each_zlib):
    mixed = random.Random(size).randbytes(size // 2) + b"framewire " * (size // 20 + 1)
    content = mixed[:size]
    for role, peer in ((SERVER, CLIENT), (CLIENT, SERVER)):
        stream, other = sender(role), receiver(peer)
        wire = b"".join(stream.send(content, compress=True) for _ in range(3))
        wire += stream.send(content.hex(), compress=True)
        expected = [content] * 3 + [content.hex()]
        assert other.receive(wire) == expected
        chunked = receiver(peer)
        assert [e for at in range(0, len(wire), 4093) for e in chunked.receive(wire[at : at + 4093])] == expected


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("resets", [False, True])
def test_every_window_size_round_trips(bits, resets, each_zlib):
    # Data that repeats at distances close to the window size reveals a sender that uses a larger
    # window: an inflater with this window size rejects distances across calls.
    noise = random.Random(bits).randbytes(1 << bits)
    messages = [noise[:200], noise, noise[:300] + noise[-300:], noise[1:], b"", noise[:200]] * 2
    stream = sender(encode_bits=bits, encode_resets=resets)
    strict = zlib.decompressobj(-bits)
    other = receiver(bits=bits, resets=resets)
    for message in messages:
        wire = stream.send(message, compress=True)
        assert other.receive(wire) == [message]
        payload = wire[2 if len(wire) < 128 else 4 if len(wire) < 65540 else 10 :]
        if resets:
            strict = zlib.decompressobj(-bits)
        assert b"".join(strict.decompress(bytes([byte])) for byte in payload + TAIL) == message


@given(st.lists(st.tuples(st.text() | st.binary(), st.sampled_from([None, True, False])), max_size=8), st.data())
def test_any_messages_round_trip_in_any_pieces(messages, data):
    stream, other = sender(CLIENT), receiver(SERVER)
    wire = b"".join(stream.send(message, compress=compress) for message, compress in messages)
    events = []
    while wire:
        cut = data.draw(st.integers(1, len(wire)))
        events += other.receive(wire[:cut])
        wire = wire[cut:]
    assert events == [message for message, _ in messages]


# Limits


@pytest.mark.parametrize("limit", [0, 1, 1000, 32767, 32768, 32769, 100_000])
@pytest.mark.parametrize("pieces", [1, 3])
def test_message_at_the_limit_passes_and_one_byte_more_fails(limit, pieces, each_zlib):
    for make in (bytes, lambda size: random.Random(1).randbytes(size)):
        for size in {max(limit - 1, 0), limit, limit + 1}:
            content = make(size)
            payload = deflate(content)
            cut = -(-len(payload) // pieces)
            parts = [payload[at : at + cut] for at in range(0, len(payload), cut)]
            firsts = [0x42] + [0] * (len(parts) - 1)
            firsts[-1] |= 0x80
            wire = b"".join(to(CLIENT, first, part) for first, part in zip(firsts, parts, strict=True))
            events = receiver(max_message_size=limit).receive(wire)
            if size <= limit:
                assert events == [content]
            else:
                assert [event.code for event in events] == [1009]


def test_limit_of_compressed_text_counts_bytes():
    stream = receiver(max_message_size=10)
    wire = to(CLIENT, TEXT | RSV1, deflate(("é" * 5).encode())) + to(CLIENT, TEXT | RSV1, deflate(("é" * 6).encode()))
    first, failure = stream.receive(wire)
    assert (first, failure.code) == ("é" * 5, 1009)


def test_max_frame_size_applies_to_the_compressed_payload():
    payload = deflate(bytes(100_000))
    wire = to(CLIENT, BINARY | RSV1, payload)
    assert receiver(max_frame_size=len(payload)).receive(wire) == [bytes(100_000)]
    assert receiver(max_frame_size=len(payload) - 1).receive(wire)[-1].code == 1009


@pytest.mark.parametrize("fragments", [False, True])
def test_compressed_payload_is_bounded_by_the_message_limit(fragments):
    limit = 8000
    most = limit + limit // 8 + 1024
    header = bytes([0xC2, 126]) + (most + 1).to_bytes(2, "big")
    assert receiver(max_message_size=limit, fragments=fragments).receive(header)[-1].code == 1009
    # Fragments of empty blocks have no content, so only the limit of the payload ends them.
    blocks = to(CLIENT, 0x42, (b"\0" + TAIL) * 100) + to(CLIENT, 0, (b"\0" + TAIL) * 100) * 100
    (failure,) = [e for e in receiver(max_message_size=limit).receive(blocks) if type(e) is Failure]
    assert failure.code == 1009
    assert failure.offset <= most + 500


@pytest.mark.parametrize("size", [1, 16, 24])
@pytest.mark.parametrize("level", [0, 1], ids="level {}".format)
def test_overhead_of_fragments_does_not_count_for_the_message_limit(level, size):
    limit = 1 << 15
    content = random.Random(6).randbytes(limit)
    deflater = zlib.compressobj(level, wbits=-15)
    parts = [deflate(content[at : at + size], deflater) + TAIL for at in range(0, limit, size)]
    assert sum(map(len, parts)) > limit + limit // 8 + 1024
    wire = to(CLIENT, 0x42, parts[0]) + b"".join(to(CLIENT, 0, part) for part in parts[1:])
    assert receiver(max_message_size=limit).receive(wire + to(CLIENT, 0x80, b"\0")) == [content]
    more = to(CLIENT, 0x80, deflate(b"x", deflater))
    (failure,) = receiver(max_message_size=limit).receive(wire + more)
    assert failure.code == 1009


def test_first_16_bytes_of_a_frame_do_not_count_for_the_message_limit():
    limit = 8000
    most = limit + limit // 8 + 1024
    begin = to(CLIENT, 0x42, (b"\0" + TAIL) * 4)  # 20 bytes
    last, longer = (b"\x80\x7e" + size.to_bytes(2, "big") for size in (most - 4, most - 3))
    assert receiver(max_message_size=limit).receive(begin + last) == []
    assert receiver(max_message_size=limit).receive(begin + longer)[-1].code == 1009


BOMB = deflate(bytes(64 << 20), zlib.compressobj(9, wbits=-15))


def peak_of(stream, wire, read=1 << 16):
    """Receive `wire` in reads of `read` bytes.

    Return the events and the peak of allocated bytes.
    """
    with Traced(drivers=False) as memory:
        events = [event for at in range(0, len(wire), read) for event in stream.receive(wire[at : at + read])]
        return events, memory.peak() - min(read, len(wire))


@pytest.mark.parametrize("limit", [1 << 12, 1 << 16, 1 << 20, 1 << 22])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize(
    ("fragment", "read"), [(None, 1 << 17), (None, 1 << 10), (100, 1 << 16), (1, 1 << 16)], ids=str
)
def test_decompression_bomb_is_refused_within_bounded_memory(limit, opcode, fragment, read):
    parts = [BOMB] if fragment is None else [BOMB[at : at + fragment] for at in range(0, len(BOMB), fragment)]
    firsts = [RSV1 | opcode & 15] + [0] * (len(parts) - 1)
    firsts[-1] |= 0x80
    wire = b"".join(to(CLIENT, first, part) for first, part in zip(firsts, parts, strict=True))
    stream = receiver(max_message_size=limit)
    events, peak = peak_of(stream, wire, read)
    assert [event.code for event in events] == [1009]
    assert peak <= 1.5 * limit + 64 * KIB


@pytest.mark.parametrize("resets", [False, True])
def test_bomb_among_many_messages_is_refused_within_bounded_memory(resets, each_zlib):
    limit = 1 << 20
    deflater = zlib.compressobj(9, wbits=-15)
    payloads = []
    for size in [limit] * 5 + [limit + 1] + [limit] * 58:
        payloads.append(deflate(bytes(size), deflater))
        if resets:
            deflater = zlib.compressobj(9, wbits=-15)
    wire = b"".join(to(CLIENT, BINARY | RSV1, payload) for payload in payloads)
    events, peak = peak_of(receiver(resets=resets, max_message_size=limit), wire)
    assert events[:5] == [bytes(limit)] * 5
    assert [event.code for event in events[5:]] == [1009]
    delivered = sum(map(sys.getsizeof, events[:5]))
    assert peak <= delivered + 1.5 * limit + (64 if each_zlib != "isal" else 192) * KIB


def test_incompressible_payload_over_the_limit_is_not_buffered():
    limit = 1 << 20
    payload = deflate(random.Random(5).randbytes(limit + limit // 16))
    wire = to(CLIENT, BINARY | RSV1, payload)
    events, peak = peak_of(receiver(max_message_size=limit), wire)
    assert [event.code for event in events] == [1009]
    assert peak <= 1.5 * limit + 64 * KIB


def test_announced_payload_is_not_allocated_before_it_arrives():
    header = bytes([0xC2, 127]) + (1 << 40).to_bytes(8, "big")
    stream = receiver(max_message_size=None)
    _, peak = peak_of(stream, header + b"\0" * 100)
    assert peak <= 64 * KIB


@pytest.mark.exhaustive
def test_messages_after_bfinal_do_not_grow_memory():
    wire = to(CLIENT, TEXT | RSV1, deflate(b"hello " * 10, final=True)) + to(CLIENT, TEXT | RSV1, deflate(b"world"))
    stream = receiver()
    held = []
    with Traced(drivers=False) as memory:
        for count in (10, 1000):
            for _ in range(count):
                assert stream.receive(wire) == ["hello " * 10, "world"]
            gc.collect()
            held.append(memory.now())
    assert held[1] - held[0] < 4 * KIB


def test_many_inflated_steps_of_one_block_are_no_restarts():
    content = bytes(72 << 20)  # 18 steps of 4 MiB, from less than one block of payload
    wire = to(CLIENT, BINARY | RSV1, deflate(content))
    assert receiver(max_message_size=None).receive(wire) == [content]


def test_bfinal_blocks_per_message_are_limited(each_zlib):
    """Each block with BFINAL costs the receiver a new inflater, but the sender only two bytes."""
    end = deflate(b"", final=True)
    most = to(CLIENT, BINARY | RSV1, end * 17)
    assert receive_cut(most + bytes.fromhex(HELLO)) == [b"", "Hello"]
    assert receive_cut(to(CLIENT, 0x42, end * 17) + to(CLIENT, 0, end * 17) + to(CLIENT, 0x80, end)) == [b""]
    wire = most + to(CLIENT, BINARY | RSV1, end * 18) + to(CLIENT, PING)
    events = receive_cut(wire)
    assert [event if event == b"" else event.code for event in events] == [b"", 1008]
    assert receive_cut(wire, *range(1, len(wire))) == events
    assert receive_cut(to(CLIENT, BINARY | RSV1, deflate(b"a", final=True) * 20_000))[0].code == 1008


# Corruption


def test_bit_flips_yield_a_message_or_a_failure():
    rng = random.Random(7692)
    content = "".join(rng.choices("abcdefgh é漢", k=600))
    payload = deflate(content.encode())
    for _ in range(600):
        bad = bytearray(payload)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        wire = to(CLIENT, TEXT | RSV1, bytes(bad)) + to(CLIENT, PING)
        events = receive_cut(wire)
        assert type(events[0]) is str or events[0].code in (1007, 1009)
        cut = rng.randrange(len(wire))
        assert receive_cut(wire, cut) == events
        assert receive_cut(wire, *range(1, len(wire))) == events


@given(st.binary(max_size=200), st.sampled_from([0x41, 0xC1, 0xC2]))
def test_arbitrary_payload_yields_messages_or_a_failure(payload, first):
    wire = to(CLIENT, first, payload) + to(CLIENT, 0x80)
    events = receive_cut(wire)
    assert all(type(event) in (str, bytes, Failure) for event in events)
    assert receive_cut(wire, *range(1, len(wire))) == events


def test_corrupt_compressed_message_ends_the_stream():
    stream = receiver()
    (failure,) = stream.receive(to(CLIENT, BINARY | RSV1, b"\x07"))
    assert failure == Failure(1007, "a compressed message is corrupt", 3)
    assert stream.receive(bytes.fromhex(HELLO)) == []
    with pytest.raises(StateError):
        stream.send("x" * 100)


# Fragments and text as bytes


def test_compressed_fragments_are_delivered_as_they_arrive():
    stream = receiver(fragments=True)
    deflater = zlib.compressobj(wbits=-15)
    parts = [deflater.compress(part) + deflater.flush(zlib.Z_SYNC_FLUSH) for part in (b"gr\xc3", b"\xbc\xc3\x9f", b"e")]
    parts[-1] = parts[-1].removesuffix(TAIL)
    wire = to(CLIENT, 0x41, parts[0]) + to(CLIENT, 0, parts[1]) + to(CLIENT, PING) + to(CLIENT, 0x80, parts[2])
    expected = [
        Fragment("gr", True, False),
        Fragment("üß", False, False),
        Ping(b""),
        Fragment("e", False, True),
        "Hello",
    ]
    wire += bytes.fromhex(HELLO)
    assert stream.receive(wire) == expected
    assert receive_cut(wire, *range(1, len(wire)), fragments=True) == expected


def test_delivered_fragments_count_towards_the_limit():
    stream = receiver(fragments=True, max_message_size=100)
    deflater = zlib.compressobj(wbits=-15)
    first = deflater.compress(b"a" * 60) + deflater.flush(zlib.Z_SYNC_FLUSH)
    rest = deflater.compress(b"a" * 41) + deflater.flush(zlib.Z_SYNC_FLUSH)
    piece, failure = stream.receive(to(CLIENT, 0x41, first) + to(CLIENT, 0, rest))
    assert piece == Fragment("a" * 60, True, False)
    assert failure.code == 1009


@pytest.mark.parametrize(("option", "wrap"), [(True, Text), ("bare", bytes)])
def test_text_as_bytes_applies_to_compressed_text(option, wrap):
    stream = receiver(text_as_bytes=option)
    assert stream.receive(bytes.fromhex(HELLO) + to(CLIENT, TEXT | RSV1, b"\0")) == [wrap(b"Hello"), wrap(b"")]
    assert stream.receive(to(CLIENT, TEXT | RSV1, deflate(b"\xff")))[-1].code == 1007


# Sending


def test_sent_messages_match_the_rfc_7692_examples():
    stream = sender()
    assert stream.send("Hello").hex() == HELLO
    assert stream.send("Hello").hex() == "c105f200110000"
    assert sender(encode_resets=True).send(b"Hello").hex() == "c207f248cdc9c90700"
    assert stream.send("").hex() == "c10100"


def test_empty_message_compresses_to_one_byte(each_zlib):
    stream, other = sender(), receiver()
    wire = [stream.send(message, compress=True) for message in ("", b"", "a", "", "a", b"")]
    assert [len(wire[i]) for i in (0, 1, 3, 5)] == [3] * 4
    assert other.receive(b"".join(wire)) == ["", b"", "a", "", "a", b""]


def test_threshold_applies_unless_compress_is_given():
    stream = sender(threshold=10)
    compressed = {
        (size, compress): bool(stream.send(b"a" * size, compress=compress)[0] & RSV1)
        for size in (9, 10)
        for compress in (None, True, False)
    }
    assert compressed == {
        (9, None): False, (9, True): True, (9, False): False,
        (10, None): True, (10, True): True, (10, False): False,
    }  # fmt: skip
    assert stream.send("é" * 9)[0] == TEXT  # 9 characters, though 18 bytes: `str` is measured in characters
    assert [finish(stream.send_steps(b"a" * size))[0][0] for size in (9, 10)] == [BINARY, BINARY | RSV1]
    assert stream.send_parts(b"a" * 9)[0][0] == BINARY
    assert stream.send_parts(b"a" * 10)[0][0] == BINARY | RSV1
    assert Stream(SERVER).send("a" * 100, compress=True)[0] == TEXT


@pytest.mark.parametrize("pieces", [["a", "b", "c"], ["", "", ""], ["", "x", ""], ["x" * 100_000, "é" * 50_000, ""]])
def test_sent_fragments_are_compressed_as_one_message(pieces, each_zlib):
    stream, other = sender(CLIENT), receiver(SERVER)
    wire = []
    for index, piece in enumerate(pieces):
        wire.append(stream.send(piece, last=index == len(pieces) - 1))
        wire.append(stream.ping())
    assert [frame[0] for frame in wire[::2]] == [0x41, 0x00, 0x80]
    events = other.receive(b"".join(wire) + stream.send("a" * 100))
    assert [event for event in events if type(event) is not Ping] == ["".join(pieces), "a" * 100]


def test_each_sent_fragment_can_be_decompressed_at_once():
    stream, other = sender(), receiver(fragments=True)
    assert other.receive(stream.send("Hel", last=False)) == [Fragment("Hel", True, False)]
    assert other.receive(stream.send("lo", last=True)) == [Fragment("lo", False, True)]


def test_first_fragment_decides_whether_a_message_is_compressed():
    stream = sender()
    frames = [stream.send("a", last=False, compress=False), stream.send("b", compress=True)]
    assert receiver().receive(b"".join(frames)) == ["ab"]
    assert [frame[0] for frame in frames] == [0x01, 0x80]


def test_misuse_leaves_the_compression_context_unchanged():
    stream, other = sender(), receiver()
    wire = stream.send("Hello")
    with pytest.raises(TextError):
        stream.send("\ud800", compress=True)
    with pytest.raises(TextError):
        stream.send(b"\xff", text=True, compress=True)
    wire += stream.send("Hel", last=False)
    with pytest.raises(FragmentError):
        stream.send(b"lo")
    wire += stream.send("lo")
    assert other.receive(wire) == ["Hello", "Hello"]


def finish(steps, between=lambda: None):
    """Run `send_steps` to its end.

    Return the frame, and the results of `between` after each step.
    """
    said = []
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value, said
        said.append(between())


def test_send_steps_allows_other_frames_between_steps():
    content = random.Random(3).randbytes(150_000).hex()
    stream, other = sender(CLIENT), receiver(SERVER)
    wire = stream.send("before", compress=True)
    steps = stream.send_steps(content)

    def between():
        for refused in ({"compress": True}, {"last": False}, {"last": False, "compress": False}):
            with pytest.raises(StateError):
                stream.send("x", **refused)
        with pytest.raises(StateError):
            next(stream.send_steps("x", compress=True))
        return stream.ping() + stream.send("plain", compress=False)

    frame, said = finish(steps, between)
    count = len(said)
    assert count == len(content) // 65536
    wire += b"".join(said)
    wire += frame + stream.send("after", compress=True)
    events = [event for event in other.receive(wire) if type(event) is not Ping]
    assert events == ["before", *["plain"] * count, content, "after"]


def test_abandoned_send_steps_sends_nothing():
    stream, other = sender(), receiver()
    wire = stream.send("Hello" * 100)
    steps = stream.send_steps("Hello" * 100_000)
    next(steps)
    steps.close()
    wire += stream.send("Hello" * 100)
    assert other.receive(wire) == ["Hello" * 100] * 2


@pytest.mark.parametrize("compress", [None, False])
@pytest.mark.parametrize("role", [CLIENT, SERVER])
@pytest.mark.parametrize("size", [1000, 1 << 15, 1 << 16, 100_000, 131_072, 200_000, 200_001])
def test_send_steps_sends_a_message_in_fragments_of_the_given_size(size, role, compress):
    content = random.Random(4).randbytes(100_000).hex()
    frames, said = finish(sender(role).send_steps(content, compress=compress, fragment_size=size))
    assert len(said) == (0 if compress is False else 200_000 >> 16)
    fragments = receiver(SERVER if role is CLIENT else CLIENT, fragments=True).receive(frames)
    if size >= len(content):
        assert fragments == [content]
        return
    assert [len(each.data) for each in fragments] == [len(content[i : i + size]) for i in range(0, len(content), size)]
    assert "".join([each.data for each in fragments]) == content
    assert [each.first for each in fragments] == [True] + [False] * (len(fragments) - 1)
    assert [each.last for each in fragments] == [False] * (len(fragments) - 1) + [True]


def test_send_steps_compresses_fragments_whatever_their_size():
    for size, first_byte in ((9, 0x02 | RSV1), (10, BINARY)):  # shorter than the threshold of the codec
        assert finish(sender(threshold=11).send_steps(bytes(10), fragment_size=size))[0][0] == first_byte


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (1.5, TypeError)])
def test_send_steps_refuses_a_fragment_size_that_is_no_number_of_bytes(size, error):
    with pytest.raises(error, match="^fragment_size"):
        next(sender().send_steps("x", fragment_size=size))


def test_send_steps_sends_fragments_of_a_single_byte():
    frames, _ = finish(sender(SERVER).send_steps("abc", compress=False, fragment_size=1))
    assert frames == b"\x01\x01a\x00\x01b\x80\x01c"


@pytest.mark.parametrize("in_steps", [False, True])
def test_lose_frame_does_nothing_while_a_message_is_sent(in_steps):
    contents = []
    for loses in (False, True):
        stream = sender(SERVER)
        sent = [stream.send("Hello" * 1000)]
        if in_steps:
            steps = stream.send_steps("Hello" * 100_000)
            next(steps)
        else:
            sent.append(stream.send("Hello" * 1000, last=False))
        if loses:
            stream.lose_frame()
        sent.append(finish(steps)[0] if in_steps else stream.send("Hello", last=True))
        contents.append([*sent, stream.send("Hello" * 1000)])
    assert contents[0] == contents[1]


def test_abandoned_send_steps_of_fragments_sends_nothing():
    stream, other = sender(), receiver()
    wire = stream.send("Hello" * 100)
    steps = stream.send_steps("Hello" * 100_000, fragment_size=1000)
    next(steps)
    steps.close()
    assert not stream.message_open
    wire += stream.send("Hello" * 100)
    assert other.receive(wire) == ["Hello" * 100] * 2


def test_send_steps_raises_when_the_stream_closes():
    stream = sender()
    steps = stream.send_steps(bytes(200_000))
    next(steps)
    stream.receive(to(SERVER, 0x88, b"\x03\xe8"))
    with pytest.raises(StateError):
        list(steps)


@pytest.mark.parametrize("options", [{}, {"compress": False}, {"compress": True}])
def test_send_steps_equals_send_for_short_or_uncompressed_messages(options):
    for message in ("", "Hello", bytes(1000), bytes(100_000)):
        frame, _ = finish(sender().send_steps(message, **options))
        assert frame == sender().send(message, **options) or len(message) == 100_000
        assert receiver().receive(frame) == [message]


# Contexts


def test_contexts_are_created_on_first_use_and_freed_on_close(each_zlib):
    codec = codec_of()
    stream = Stream(SERVER, extensions=[codec])
    assert (codec.deflater, codec.inflater) == (None, None)
    stream.receive(to(SERVER, TEXT, b"plain" * 100))
    stream.send("plain" * 100, compress=False)
    assert (codec.deflater, codec.inflater) == (None, None)
    stream.receive(to(SERVER, TEXT | RSV1, deflate(b"Hello")))
    assert codec.deflater is None
    stream.send("Hello")
    assert None not in (codec.deflater, codec.inflater)
    assert stream.receive(to(SERVER, 0x88)) == [Close(1005, "")]
    assert (codec.deflater, codec.inflater) == (None, None)


def test_failure_frees_the_decompressed_data():
    with Traced(drivers=False) as memory:
        stream = receiver(max_message_size=1 << 22)
        payload = deflate(random.Random(9).randbytes(1 << 20))
        stream.receive(to(CLIENT, 0x42, payload))
        assert memory.now() > 1 << 20
        del payload
        assert stream.receive(to(CLIENT, 0xFF))[-1].code == 1002
        gc.collect()
        assert memory.now() < 256 * KIB  # not 0: other threads of the test runner allocate too


def test_context_is_freed_after_each_message_without_takeover():
    codec = codec_of(encode_resets=True, decode_resets=True)
    stream = Stream(SERVER, extensions=[codec])
    stream.send("Hello" * 100)
    stream.receive(to(SERVER, TEXT | RSV1, deflate(b"Hello")))
    assert (codec.deflater, codec.inflater) == (None, None)


def test_zlib_setting_selects_the_module(each_zlib):
    _, codec = PerMessageDeflate(zlib=each_zlib).accept([])
    codec.encode(b"Hello", True)
    codec.decode(bytes.fromhex(HELLO)[2:], 100, True)
    module = importlib.import_module(MODULES[each_zlib])
    expected = module.compressobj(), module.decompressobj()
    assert (type(codec.deflater), type(codec.inflater)) == tuple(map(type, expected))


def test_zlib_setting_applies_per_extension():
    needed("isal")
    codecs = [PerMessageDeflate(zlib=name).accept([])[1] for name in ("isal", "zlib")]
    for codec in codecs:
        codec.encode(b"Hello", True)
    assert type(codecs[0].deflater) is not type(codecs[1].deflater)


@pytest.mark.parametrize(("zlib", "error"), [("gzip", ValueError), ("", ValueError), (None, TypeError), (1, TypeError)])
def test_zlib_setting_rejects_unknown_names(zlib, error):
    for make in (PerMessageDeflate, framewire.protocol.permessage_deflate.Deflate):
        with pytest.raises(error, match="^zlib is (a str, not|one of zlib, zlib_ng, isal, not) "):
            make(zlib=zlib)


@pytest.mark.parametrize("name", ["zlib_ng", "isal"])
def test_zlib_setting_names_the_extra_if_not_installed(name, monkeypatch):
    for module in (name, MODULES[name]):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"framewire\[{name.replace('_', '-')}\]"):
        PerMessageDeflate(zlib=name)


INVALID_SETTINGS = [
    ("encode_bits", 8, ValueError),
    ("encode_bits", 16, ValueError),
    ("decode_bits", 7, ValueError),
    ("decode_bits", 16, ValueError),
    ("level", -2, ValueError),
    ("level", 10, ValueError),
    ("memory_level", 0, ValueError),
    ("memory_level", 10, ValueError),
    ("threshold", -1, ValueError),
    ("level", True, TypeError),
    ("level", 1.0, TypeError),
    ("encode_bits", "12", TypeError),
    ("memory_level", None, TypeError),
    ("threshold", None, TypeError),
]


@pytest.mark.parametrize("name", ["server_no_context_takeover", "client_no_context_takeover"])
def test_switch_of_permessage_deflate_is_true_or_false(name):
    with pytest.raises(TypeError, match=f"^{name} is True or False, not str"):
        PerMessageDeflate(**{name: "no"})


@pytest.mark.parametrize(("name", "value", "error"), INVALID_SETTINGS)
def test_codec_rejects_invalid_settings(name, value, error):
    with pytest.raises(error, match=f"^{name} is "):
        codec_of(**{name: value})


def test_codec_accepts_integers_of_other_types():
    class Twelve:
        def __index__(self):
            return 12

    codec = codec_of(encode_bits=Twelve(), decode_bits=8)
    assert (codec.encode_bits, codec.decode_bits, type(codec.encode_bits)) == (12, 9, int)


def test_isal_level_must_be_0_to_3():
    needed("isal")
    assert codec_of(level=None).level == -1
    for level in range(4):
        PerMessageDeflate(level=level, zlib="isal")
    for level in (-1, 4):
        with pytest.raises(ValueError, match="level is 0 to 3"):
            PerMessageDeflate(level=level, zlib="isal")


def test_codec_rejects_other_types_than_bytes():
    for method in (lambda codec: codec.encode("text", True), lambda codec: codec.decode(bytearray(b"\0"), 9, True)):
        with pytest.raises(TypeError, match="takes bytes, not"):
            method(codec_of())


@pytest.mark.parametrize(("number", "error"), [(-4, MemoryError), (-3, ValueError), (-5, ValueError)])
def test_lack_of_memory_in_zlib_is_not_taken_for_corrupt_data(backend, number, error, monkeypatch):
    def decompress(payload, most):
        raise zlib.error(f"Error {number} while decompressing data")

    failing = SimpleNamespace(**vars(zlib))
    failing.decompressobj = lambda bits: SimpleNamespace(decompress=decompress)
    monkeypatch.setitem(sys.modules, MODULES["zlib_ng"], failing)
    with pytest.raises(error):
        backend.Deflate(zlib="zlib_ng").decode(b"x", 10, True)
