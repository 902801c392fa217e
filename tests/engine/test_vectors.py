"""The vectors of rfc6455.json: the result is the same however the input is cut."""

import json
from itertools import combinations
from pathlib import Path

import pytest
from frames import feed, new_stream, outcome, to

from framewire import CLIENT, SERVER, Close, Failure, Fragment, Ping, Pong, State, Text

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

VECTORS = json.loads(Path(__file__).with_name("rfc6455.json").read_text())
CODES = {"PROTO": 1002, "UTF8": 1007, "MAX": 1009}


def stream_for(vector):
    options = vector["opts"]
    return new_stream(
        SERVER if vector["role"] == "server" else CLIENT,
        max_message_size=options.get("max"),
        fragments=options.get("fragments", False),
        auto_close=options.get("autoclose", False),
        text_as_bytes=True,
    )


def event_for(name, payload):
    if name in CODES:
        return Failure(CODES[name], "", 0)
    kind, _, place = name.partition("_")
    data = {"TEXT": Text, "BINARY": bytes, "PING": Ping, "PONG": Pong, "CLOSE": close}[kind](payload)
    return Fragment(data, place == "FIRST", place == "LAST") if place else data


def close(payload):
    return Close(int.from_bytes(payload[:2], "big"), payload[2:].decode()) if payload else Close(1005, "")


def expectation(vector):
    """Return the events of a vector and the replies; nothing follows a close (RFC 6455 1.4)."""
    events, written = [], b""
    for name, data in vector["expect"]:
        payload = bytes.fromhex(data or "")
        events.append(event_for(name, payload))
        if name in CODES:
            written = payload
        if name == "CLOSE":
            if vector["opts"].get("autoclose"):
                written = to(CLIENT if vector["role"] == "server" else SERVER, 0x88, payload)
            break
    return events, written


def run(vector, cuts):
    stream = stream_for(vector)
    return outcome(stream, feed(stream, bytes.fromhex(vector["input_hex"]), cuts))


def ids(vector):
    return vector["name"].replace(" ", "_")


@pytest.mark.parametrize("vector", VECTORS, ids=ids)
def test_vector_gives_expected_events_and_replies(vector):
    stream = stream_for(vector)
    events = feed(stream, bytes.fromhex(vector["input_hex"]))
    expected, written = expectation(vector)
    assert [Failure(e.code, "", 0) if isinstance(e, Failure) else e for e in events] == expected
    answers = stream.pending()
    if not any(isinstance(event, Ping) for event in expected):
        assert answers == written
    ended = isinstance(expected[-1], Failure) or (isinstance(expected[-1], Close) and written)
    assert stream.state is (State.CLOSED if ended else State.CLOSING if isinstance(expected[-1], Close) else State.OPEN)


@pytest.mark.parametrize("vector", VECTORS, ids=ids)
def test_vector_result_does_not_depend_on_cuts(vector):
    size = len(vector["input_hex"]) // 2
    whole = run(vector, ())
    assert run(vector, range(1, size)) == whole
    for count in (1, 2):
        for cuts in combinations(range(size + 1), count):
            assert run(vector, cuts) == whole, cuts


def test_valid_vector_can_be_received_twice_on_one_stream():
    for vector in VECTORS:
        if vector["valid_after"] == 1:
            data = bytes.fromhex(vector["input_hex"])
            once, twice = stream_for(vector), stream_for(vector)
            assert feed(twice, data * 2, [len(data) + 1]) == 2 * feed(once, data)
            assert twice.pending() == 2 * once.pending()


#: Input to a server, options, close code, and number of bytes before the offending one.
OFFSETS = [
    ("c18000000000", {}, 1002, 0),  # reserved bit
    ("838000000000", {}, 1002, 0),  # reserved opcode
    ("098000000000", {}, 1002, 0),  # control frame without FIN
    ("808000000000", {}, 1002, 0),  # continuation without a message
    ("018000000000818000000000", {}, 1002, 6),  # a new message inside one
    ("810548656c6c6f", {}, 1002, 1),  # unmasked
    ("89fe007e00000000", {}, 1002, 1),  # control frame over 125 bytes
    ("888100000000", {}, 1002, 1),  # incomplete close code
    ("818500000000", {"max_message_size": 4}, 1009, 2),
    ("81fe00c800000000", {"max_message_size": 4}, 1009, 4),
    ("81ff000000000001000000000000", {"max_message_size": 4}, 1009, 10),
    ("818500000000", {"max_frame_size": 4}, 1009, 2),
    ("81fe000500000000", {}, 1002, 4),  # non-minimal length
    ("82ff000000000000ffff00000000", {}, 1002, 10),
    ("82ff8000000000000000", {}, 1002, 10),  # 64 bits
    ("01830000000048656c8082000000006c6f", {"max_message_size": 4}, 1009, 15),  # sum of the fragments: after the header
    ("01830000000048656c8085000000006c6f", {"max_message_size": 4}, 1009, 11),  # this frame alone: after its length
    ("81850000000054ff73742e", {}, 1007, 7),
    ("8183000000006162c3", {}, 1007, 9),  # incomplete code point at the end
    ("8882000000000000", {}, 1002, 6),
    ("88850000000003e861ff62", {}, 1007, 9),
    ("88850000000003e86162c3", {}, 1007, 11),
]


@pytest.mark.parametrize(("data", "options", "code", "offset"), OFFSETS)
@pytest.mark.parametrize("before", [b"", to(SERVER, 0x82, b"\0" * 4), to(SERVER, 0x89)], ids=["", "binary", "ping"])
def test_failure_offset_is_the_offending_byte(before, data, options, code, offset):
    data = before + bytes.fromhex(data)
    for cuts in [(), range(1, len(data)), *([cut] for cut in range(len(data)))]:
        failure = feed(new_stream(SERVER, **options), data, cuts)[-1]
        assert isinstance(failure, Failure)
        assert (failure.code, failure.offset) == (code, len(before) + offset), cuts
