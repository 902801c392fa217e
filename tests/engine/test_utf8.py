"""`Utf8Validator` of both twins (RFC 3629)."""

from array import array
from itertools import product

import pytest
from frames import read_utf8

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

#: Both ends of each range of the grammar of RFC 3629.
EDGES = bytes.fromhex("00417f808f909fa0bfc0c1c2dfe0e1ecedeeeff0f1f3f4f5f8ff")
TEXTS = ["", "plain", "Grüße", "日本語テキスト", "🎉🎊", "\0\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"]


def check(validator, data):
    """Validate `data` in one piece; compare the valid length and `need` with the reference."""
    whole, stop = read_utf8(data)
    validator.reset()
    assert validator.feed(data) == stop, data.hex()
    if stop == len(data):
        lead = data[whole] if whole < stop else 0
        size = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2
        assert validator.need == (size - (stop - whole) if lead else 0), data.hex()


def test_utf8_validator_matches_reference_for_edge_sequences(backend):
    validator = backend.Utf8Validator()
    for count in range(5):
        for data in (
            product(EDGES, repeat=count) if count < 4 else product(b"\x41\xc3\xe0\xed\xf0\xf4\x80\x9f\xa0", repeat=4)
        ):
            check(validator, bytes(data))


@pytest.mark.parametrize("before", [0, 1, 15, 16, 31, 33, 63, 64, 65, 127, 200, 1000])
def test_utf8_validator_matches_reference_after_a_long_prefix(backend, before):
    """The sequence starts inside, at the end of, and after the vectors that the kernels read."""
    validator = backend.Utf8Validator()
    for lead in (
        b"a" * before,
        "é".encode() * (before // 2),
        "€".encode() * (before // 3),
        "🎉".encode() * (before // 4),
    ):
        for data in product(EDGES, repeat=2):
            check(validator, lead + bytes(data))
            check(validator, lead + bytes(data) + b"\x80\x80" + b"z" * 70)


@pytest.mark.parametrize("text", [*TEXTS, "ö" * 100, "a" * 63 + "€", "🎉" * 40])
def test_utf8_validator_accepts_valid_text_split_anywhere(backend, text):
    data = text.encode()
    validator = backend.Utf8Validator()
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1, max(1, len(data) // 20)):
            validator.reset()
            for piece in (data[:first], data[first:second], data[second:]):
                assert validator.feed(piece) == len(piece)
            assert validator.need == 0


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3\xff", b"\xed\xa0", b"\xf0\x8f", b"\xf4\x90", b"\xe2\x82\x41", b"\xc0"])
@pytest.mark.parametrize("before", ["", "a" * 70, "é" * 40, "🎉"])
def test_utf8_validator_stops_before_first_invalid_byte_in_pieces(backend, bad, before):
    data = before.encode() + bad
    for cut in range(len(data)):
        validator = backend.Utf8Validator()
        assert validator.feed(data[:cut]) == cut
        assert validator.feed(data[cut:]) == len(data) - cut - 1
        # The state is as before that byte: it is invalid again, and a valid byte is accepted.
        need = validator.need
        assert validator.feed(data[-1:]) == 0
        assert validator.need == need


def test_utf8_validator_need_counts_missing_bytes_until_reset(backend):
    validator = backend.Utf8Validator()
    seen = []
    for byte in "é€🎉".encode():
        validator.feed(bytes([byte]))
        seen.append(validator.need)
    assert seen == [1, 0, 2, 1, 0, 3, 2, 1, 0]
    assert validator.feed(b"\xf0\x9f") == 2
    validator.reset()
    assert validator.need == 0
    assert validator.feed(b"a") == 1
    with pytest.raises(AttributeError):
        validator.other = 1


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda data: array("H", data)])
def test_utf8_validator_accepts_any_contiguous_buffer(backend, make):
    validator = backend.Utf8Validator()
    assert validator.feed(make(b"a\xc3")) == 2
    assert validator.need == 1
    assert validator.feed(make(b"\xb6\xff")) == 1
    for data in ("text", None, 5, memoryview(b"abcd")[::2]):
        with pytest.raises(TypeError):
            validator.feed(data)
