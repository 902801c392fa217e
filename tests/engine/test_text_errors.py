"""`text_errors`: invalid UTF-8 is replaced or escaped instead of failing the connection."""

import pytest

from framewire import CLIENT, SERVER, Close, Fragment, Stream, Text
from framewire.protocol.codecs import accept_offers, agree_to_answers, make_offers
from framewire.protocol.permessage_deflate import PerMessageDeflate

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

#: Invalid UTF-8: at the start, in the middle, at the end; truncated; overlong; a surrogate.
BYTES = [
    b"\xff",
    b"ab\xffcd",
    b"ab\xc3",
    "€".encode()[:2],
    b"\xf0\x9f\x98",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"x" * 70_000 + b"\xf5",
]
GOOD = "Grüße 🎉"


def codecs():
    """Negotiate permessage-deflate; return the codecs of the client and of the server."""
    extensions = [PerMessageDeflate(threshold=0)]
    answers, server = accept_offers(make_offers(extensions), extensions)
    return agree_to_answers(answers, extensions), server


def as_text(frames):
    """Change the opcode of the first frame from binary to text."""
    return bytes([frames[0] - 1]) + frames[1:]


def receive(frames, size, **options):
    stream = Stream(SERVER, **options)
    return [event for i in range(0, len(frames), size) for event in stream.receive(frames[i : i + size])]


@pytest.mark.parametrize("errors", ["replace", "surrogateescape"])
@pytest.mark.parametrize("data", BYTES, ids=[data[-4:].hex() for data in BYTES])
def test_text_errors_decodes_invalid_text_for_any_chunk_size(data, errors):
    client = Stream(CLIENT)
    frames = client.send(GOOD) + as_text(client.send(data)) + client.send("") + client.send(data) + client.send(GOOD)
    expected = [GOOD, data.decode(errors=errors), "", data, GOOD]
    for size in (len(frames), 1) if len(frames) < 1000 else (len(frames), 4096):
        assert receive(frames, size, text_errors=errors) == expected
        raw = [Text(GOOD.encode()), Text(data), Text(b""), data, Text(GOOD.encode())]
        assert receive(frames, size, text_errors=errors, text_as_bytes=True) == raw
        bare = [GOOD.encode(), data, b"", data, GOOD.encode()]
        assert receive(frames, size, text_errors=errors, text_as_bytes="bare") == bare


def test_text_errors_keeps_code_points_split_by_fragments_whole():
    client = Stream(CLIENT)
    pieces = [b"a\xff\xe2", b"\x82", b"\xac\xf0\x9f"]
    frames = b"".join(client.send(piece, last=False) for piece in pieces[:2]) + client.send(pieces[2])
    for size in (len(frames), 1):
        assert receive(as_text(frames), size, text_errors="replace") == ["a\ufffd€\ufffd"]
        assert receive(as_text(frames), size, text_errors="replace", fragments=True) == [
            Fragment("a\ufffd", True, False),
            Fragment("", False, False),
            Fragment("€\ufffd", False, True),
        ]


def test_text_errors_delivers_no_piece_that_ends_inside_its_first_code_point():
    frame = as_text(Stream(CLIENT).send("€a".encode()))
    assert receive(frame, 1, text_errors="replace", fragments=True, piece_size=1) == [
        Fragment("€", True, False),
        Fragment("a", False, True),
    ]


@pytest.mark.parametrize("data", [*BYTES, GOOD.encode()], ids=lambda data: data[-4:].hex())
def test_text_errors_applies_to_compressed_messages(data):
    ours, theirs = codecs()
    client = Stream(CLIENT, extensions=ours)
    frames = as_text(client.send(data)) + as_text(client.send(data[:1], last=False)) + client.send(data[1:])
    text = data.decode(errors="replace")
    assert receive(frames, len(frames), extensions=theirs, text_errors="replace") == [text, text]


def test_text_errors_applies_to_close_reasons():
    client = Stream(CLIENT)
    frame = bytes.fromhex("8884 00000000 03e8 ffc3")
    assert receive(frame, 1, text_errors="replace") == [Close(1000, "\ufffd\ufffd")]
    assert receive(client.close(4000, GOOD), 100, text_errors="replace") == [Close(4000, GOOD)]


@pytest.mark.parametrize("data", BYTES, ids=lambda data: data[-4:].hex())
def test_invalid_text_fails_with_1007_by_default(data):
    (failure,) = receive(as_text(Stream(CLIENT).send(data)), 1 << 17)
    assert failure.code == 1007


def test_text_errors_keeps_the_message_size_limit():
    for fragments in (False, True):
        client = Stream(CLIENT)
        frames = client.send(b"\xff" * 60, last=False) + client.send(b"\xff" * 60)
        events = receive(as_text(frames), 200, text_errors="replace", max_message_size=100, fragments=fragments)
        assert events[-1].code == 1009


@pytest.mark.parametrize("errors", ["ignore", "surrogatepass", "xmlcharrefreplace", "unknown", None])
def test_text_errors_rejects_unsupported_values(errors):
    with pytest.raises(ValueError, match="text_errors"):
        Stream(SERVER, text_errors=errors)
