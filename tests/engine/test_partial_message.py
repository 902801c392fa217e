"""`PartialMessage`: the message in progress, split anywhere (RFC 6455 5.4 to 5.6)."""

import pytest
from frames import KEY, frame, mask

from framewire import Text

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]


def begun(backend, opcode=1, final=False, length=1, key=b"", validated=True, *, masked=False, wrap=None):
    """Return a PartialMessage whose first frame has begun."""
    partial = backend.PartialMessage(masked, 100, wrap)
    partial.begin_frame(opcode, final, length, key, validated)
    return partial


def test_pieces_of_text_are_whole_code_points(backend):
    partial = begun(backend, final=True, length=10, key=KEY, masked=True)
    data = mask("aö€🎉".encode())
    pieces = []
    for i in range(10):
        assert partial.fill(data, i, i + 1) == i + 1
        pieces.append(partial.take_piece())
    assert pieces == ["a", "", "ö", "", "", "€", "", "", "", "🎉"]
    assert (partial.remaining, partial.size, partial.need) == (0, 0, 0)
    assert partial.finish() == ""
    assert partial.messages == 1


@pytest.mark.parametrize("wrap", [None, Text])
def test_finish_returns_all_frames_and_counts_the_message(backend, wrap):
    partial = begun(backend, length=3, wrap=wrap)
    assert partial.fill(b"a\xe2\x82", 0, 3) == 3
    partial.end_frame()
    partial.begin_frame(1, True, 2, b"", True)
    assert partial.fill(b"\xacb", 0, 2) == 2
    assert partial.finish() == (Text("a€b".encode()) if wrap else "a€b")
    assert (partial.messages, partial.opcode, partial.in_frame) == (1, 0, False)


def test_finish_inside_a_code_point_raises_value_error(backend):
    partial = begun(backend, final=True)
    partial.fill(b"\xe2", 0, 1)
    with pytest.raises(ValueError, match="inside a code point"):
        partial.finish()
    assert partial.messages == 0


def test_clear_forgets_the_message(backend):
    partial = begun(backend, final=True, length=10)
    partial.fill(b"ab\xe2\x82", 0, 4)
    partial.clear()
    assert (partial.opcode, partial.in_frame, partial.size, partial.remaining, partial.need) == (0, False, 0, 0, 0)
    assert partial.messages == 0
    partial.begin_frame(2, True, 1, b"", False)
    assert partial.fill(b"x", 0, 1) == 1
    assert partial.finish() == b"x"


def test_fill_frames_takes_continuation_frames_only(backend):
    partial = begun(backend, opcode=2, length=1, validated=False)
    partial.fill(b"a", 0, 1)
    partial.end_frame()
    data = frame(0x00, b"bc") + frame(0x00) + frame(0x00, b"d" * 90)
    rest = frame(0x00, b"e" * 8)  # one byte over the limit
    assert partial.fill_frames(data + rest, 0, len(data + rest)) == len(data)
    assert partial.size == 93
    for other in (
        frame(0x80, b"x"),
        frame(0x01, b"x"),
        frame(0x89),
        frame(0x00, b"x", KEY),
        frame(0x00, b"x", form=16),
    ):
        assert partial.fill_frames(other, 0, len(other)) == 0
    assert partial.fill_frames(frame(0x00, b"xyz"), 0, 4) == 0


def test_fill_frames_stops_before_invalid_utf8_byte(backend):
    partial = begun(backend, length=1)
    partial.fill(b"\xe2", 0, 1)
    partial.end_frame()
    data = frame(0x00, b"\x82") + frame(0x00, b"\xacab\xff")
    assert partial.fill_frames(data, 0, len(data)) == len(data) - 1
    assert (partial.in_frame, partial.remaining, partial.size) == (True, 1, 5)


# Invalid states and values

BEGINS = [
    (0, True, 1, b"", False),
    (3, True, 1, b"", False),
    (8, True, 1, b"", False),
    (-1, True, 1, b"", False),
    (1 << 70, True, 1, b"", False),
    (1, True, -1, b"", False),
    (1, True, 1 << 63, b"", False),
    (1, True, 1 << 70, b"", False),
    (1, True, 1, b"abc", False),
    (1, True, 1, bytearray(4), False),
    (1, True, 1, None, False),
]


@pytest.mark.parametrize("arguments", BEGINS)
def test_begin_frame_rejects_invalid_arguments(backend, arguments):
    partial = backend.PartialMessage(False, 100, None)
    with pytest.raises(ValueError, match="no frame has these values"):
        partial.begin_frame(*arguments)
    assert (partial.opcode, partial.in_frame) == (0, False)


def test_begin_frame_accepts_length_of_63_bits(backend):
    partial = begun(backend, opcode=2, length=(1 << 63) - 1, validated=False)
    assert partial.remaining == (1 << 63) - 1


@pytest.mark.parametrize("other", [(2, True, 1, b"", False), (1, True, 1, b"", False), (2, True, 1, b"", True)])
def test_begin_frame_rejects_another_type_in_an_open_message(backend, other):
    partial = begun(backend)
    partial.fill(b"\xe2", 0, 1)
    partial.end_frame()
    with pytest.raises(ValueError, match="a message of another type"):
        partial.begin_frame(*other)
    assert partial.take_piece() == ""
    assert partial.need == 2


def test_begin_frame_rejects_a_frame_inside_a_frame(backend):
    partial = begun(backend, length=2)
    partial.fill(b"a", 0, 1)
    with pytest.raises(ValueError, match="another frame"):
        partial.begin_frame(1, True, 1, b"", True)
    assert partial.remaining == 1


def test_fill_frames_requires_an_open_message_between_frames(backend):
    data = frame(0x00, b"abc")
    with pytest.raises(ValueError, match="no message is open"):
        backend.PartialMessage(False, 100, None).fill_frames(data, 0, len(data))
    partial = begun(backend, length=2)
    with pytest.raises(ValueError, match="one of its frames is"):
        partial.fill_frames(data, 0, len(data))
    with pytest.raises(TypeError, match=r"fill_frames\(\) takes bytes"):
        partial.fill_frames(bytearray(data), 0, len(data))


def test_finish_keeps_no_payload_if_wrap_raises(backend):
    def refuse(payload):
        raise RuntimeError("refused")

    partial = begun(backend, final=True, wrap=refuse)
    partial.fill(b"a", 0, 1)
    with pytest.raises(RuntimeError, match="refused"):
        partial.finish()
    partial.clear()
    assert (partial.size, partial.messages) == (0, 0)
