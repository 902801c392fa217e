"""`split_head` of both twins (RFC 9112 3 to 5)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

HEAD = b"GET /a?b HTTP/1.1\r\nHost: example.com\r\nX-a:\t b c \t\r\nx-A:\r\n!#$%&'*+-.^_`|~09azAZ:\xe9:\r\n\r\n"
NAME = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
VALUE = rb"[\t\x20-\x7e\x80-\xff]"


def test_head_is_split(backend):
    first, lines, found, size = backend.split_head(HEAD + b"rest", 4)
    assert first == "GET /a?b HTTP/1.1"
    assert lines == HEAD[19:-4].decode("latin-1")
    assert found == {"host": ["example.com"], "x-a": ["b c", ""], "!#$%&'*+-.^_`|~09azaz": ["\xe9:"]}
    assert size == len(HEAD)


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 66, 1000])
def test_names_of_any_length_are_in_lower_case(backend, size):
    head = b"A\r\n" + b"B" * size + b": C\r\n\r\n"
    assert backend.split_head(head, 1) == ("A", "B" * size + ": C", {"b" * size: ["C"]}, len(head))


def test_each_byte_at_each_position_is_of_the_grammar_or_leaves_the_head_unsplit(backend):
    template = b"A b\r\nNa: v\r\n\r\n"
    kinds = {**dict.fromkeys((0, 1, 2), rb"[\x20-\x7e]"), **dict.fromkeys((5, 6), NAME), **dict.fromkeys((8, 9), VALUE)}
    for place in range(len(template)):
        for byte in range(256):
            head = bytearray(template)
            head[place] = byte
            # A colon in the name makes it shorter, and anything but a colon after it longer.
            fits = re.fullmatch(kinds.get(place, re.escape(template[place : place + 1])), head[place : place + 1])
            fits = fits or head[place : place + 1] == template[place : place + 1] or (place == 6 and byte == ord(":"))
            assert (backend.split_head(bytes(head), 9) is not None) is bool(fits), bytes(head)


def test_incomplete_heads_are_not_split(backend):
    for size in range(len(HEAD)):
        assert backend.split_head(HEAD[:size], 9) is None


def test_fields_are_counted(backend):
    for fields in range(4):
        head = b"A\r\n" + b"b:\r\n" * fields + b"\r\n"
        for most in (-(1 << 70), -1, 0, 1, 2, 3, 1 << 70):
            assert (backend.split_head(head, most) is not None) is (0 < fields <= most)


@given(st.lists(st.tuples(st.from_regex(NAME + b"+", fullmatch=True), st.from_regex(VALUE + b"*", fullmatch=True))))
def test_every_field_of_the_grammar_is_found(backend, fields):
    head = b"A\r\n" + b"".join([b"%b:%b\r\n" % field for field in fields]) + b"\r\n"
    split = backend.split_head(head, len(fields))
    assert (split is not None) is bool(fields)
    if fields:
        found = [(name, value) for name, values in split[2].items() for value in values]
        wanted = [(name.decode().lower(), value.decode("latin-1").strip(" \t")) for name, value in fields]
        assert sorted(found) == sorted(wanted)
        assert list(split[2]) == list(dict.fromkeys(name for name, _ in wanted))


@pytest.mark.parametrize("data", [None, 5, "A", bytearray(HEAD), memoryview(HEAD)])
def test_head_must_be_bytes(backend, data):
    with pytest.raises(TypeError, match="a head is bytes"):
        backend.split_head(data, 9)
