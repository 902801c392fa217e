"""Whole plain frames, for parsers of another make: `take_frames` on both twins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frames import frame

pytestmark = pytest.mark.each_twin

KEY = b"abcd"
TEXT, BINARY = 0x81, 0x82
LIMIT = 1 << 62
contents = st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), st.binary(max_size=300)), max_size=6)


@pytest.mark.parametrize("key", [KEY, b""])
@given(messages=contents, cut=st.integers(0, 2000))
def test_takes_what_is_whole(backend, key, messages, cut):
    wire = [frame(opcode, payload, key) for opcode, payload in messages]
    data = b"".join(wire)[:cut]
    whole, end = 0, 0
    while whole < len(wire) and end + len(wire[whole]) <= len(data):
        end += len(wire[whole])
        whole += 1
    for buffer in (data, bytearray(data), memoryview(data)):
        frames = []
        assert backend.take_frames(buffer, key != b"", LIMIT, frames) == end
        assert frames == messages[:whole]


@pytest.mark.parametrize(
    "stranger",
    [
        frame(0x89, b"ping", KEY),
        frame(0x01, b"a fragment", KEY),
        frame(TEXT, b"not masked"),
        frame(0xC1, b"a bit set", KEY),
        frame(BINARY, b"long", KEY, form=16),
        frame(BINARY, bytes(101), KEY),
    ],
)
def test_stops_before_what_is_not_plain(backend, stranger):
    frames = []
    plain = frame(BINARY, bytes(100), KEY)
    assert backend.take_frames(plain + stranger + plain, True, 100, frames) == len(plain)
    assert frames == [(0x82, bytes(100))]


def test_takes_a_list_only(backend):
    with pytest.raises(TypeError, match=r"^take_frames\(\) takes a list$"):
        backend.take_frames(b"", True, LIMIT, ())
