"""Sending with `Stream` (RFC 6455 5 to 7); misuse raises and leaves the state unchanged."""

from array import array
from itertools import pairwise

import pytest
from frames import BINARY, CLOSE, KEY, PING, PONG, TEXT, frame, new_stream, to
from hypothesis import given
from hypothesis import strategies as st

from framewire import (
    CLIENT,
    SERVER,
    Close,
    CloseCode,
    CloseCodeError,
    FragmentError,
    LocalError,
    MaskSourceError,
    PayloadTooBigError,
    Ping,
    Pong,
    StateError,
    Stream,
    TextError,
)
from framewire.protocol.codecs import accept_offers, make_offers
from framewire.protocol.permessage_deflate import PerMessageDeflate

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

BOTH = pytest.mark.parametrize("role", [SERVER, CLIENT])


def sent(role, first, payload=b"", form=None):
    """Build the frame that a stream of this role sends."""
    return to(CLIENT if role is SERVER else SERVER, first, payload, form=form)


# Messages


def test_sent_frames_match_the_examples_of_rfc_6455():
    """RFC 6455 5.7."""
    server, client = new_stream(SERVER), new_stream(CLIENT)
    assert server.send("Hello").hex() == "810548656c6c6f"
    assert client.send("Hello").hex() == "818537fa213d7f9f4d5158"
    assert (server.send("Hel", last=False) + server.send("lo")).hex() == "010348656c80026c6f"
    assert server.ping(b"Hello").hex() == "890548656c6c6f"
    assert client.pong(b"Hello").hex() == "8a8537fa213d7f9f4d5158"
    assert server.send(bytes(256))[:4].hex() == "827e0100"
    assert server.send(bytes(65536))[:10].hex() == "827f0000000000010000"


@BOTH
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70001])
def test_sent_message_of_every_length_form_is_framed(role, size):
    payload = bytes(i * 11 & 255 for i in range(size))
    assert new_stream(role).send(payload) == sent(role, BINARY, payload)
    assert new_stream(role).send("é" * (size // 2)) == sent(role, TEXT, b"\xc3\xa9" * (size // 2))
    assert new_stream(role).send("a" * size) == sent(role, TEXT, b"a" * size)


@BOTH
@pytest.mark.parametrize("text", ["", "a\0", "\xff", "€", "🎉\U0010ffff", "aö€🎉" * 50])
def test_text_argument_selects_text_or_binary_opcode(role, text):
    utf8 = text.encode()
    for message, chosen in [(text, None), (text, True), (utf8, True), (bytearray(utf8), True)]:
        assert new_stream(role).send(message, text=chosen) == sent(role, TEXT, utf8)
    assert new_stream(role).send(text, text=False) == sent(role, BINARY, utf8)
    assert new_stream(role).send(type("Name", (str,), {})(text)) == sent(role, TEXT, utf8)


@BOTH
@pytest.mark.parametrize(
    "message",
    [
        bytearray(b"abcd"),
        memoryview(b"abcd"),
        memoryview(b"a-b-c-d-")[::2],
        array("H", b"abcd"),
        memoryview(b"abcd").cast("B", (2, 2)),
        type("Octets", (bytes,), {})(b"abcd"),
    ],
    ids=lambda data: type(data).__name__,
)
def test_send_accepts_any_bytes_like_object(role, message):
    for send in (new_stream(role).send, lambda data, **kw: b"".join(new_stream(role).send_parts(data, **kw))):
        assert send(message) == sent(role, BINARY, b"abcd")
        assert send(message, text=True) == sent(role, TEXT, b"abcd")
    assert new_stream(role).ping(message) == sent(role, PING, b"abcd")


@BOTH
def test_sent_parts_do_not_change_with_the_caller_buffer(role):
    memory = bytearray(b"abcd")
    parts = new_stream(role).send_parts(memory)
    memory[:] = b"wxyz"
    assert b"".join(parts) == sent(role, BINARY, b"abcd")


def test_send_parts_returns_header_and_payload():
    payload = bytes(1000)
    assert new_stream(SERVER).send_parts(payload) == [bytes.fromhex("827e03e8"), payload]
    assert new_stream(SERVER).send_parts(payload)[1] is payload
    for message in ("Hello", b"Hello"):
        header, masked = new_stream(CLIENT).send_parts(message)
        assert (header[1:].hex(), masked.hex()) == ("8537fa213d", "7f9f4d5158")
    assert new_stream(SERVER).send_parts("é" * 70) == [bytes.fromhex("817e008c"), b"\xc3\xa9" * 70]


@BOTH
def test_send_with_last_false_writes_fragments(role):
    stream = new_stream(role)
    assert stream.send("", last=False) == sent(role, 0x01)
    assert stream.ping(b"between") == sent(role, PING, b"between")
    assert stream.send("ö", last=False) == sent(role, 0x00, b"\xc3\xb6")
    assert stream.send(b"\xe2\x82", text=True, last=False) == sent(role, 0x00, b"\xe2\x82")
    assert stream.send(b"", text=True, last=False) == sent(role, 0x00)
    assert stream.send(b"\xac", text=True) == sent(role, 0x80, b"\xac")
    assert stream.send(b"b", last=False) == sent(role, 0x02, b"b")
    assert stream.send_parts(b"c", last=False)[0] == sent(role, 0x00, b"c")[:-1]
    assert stream.send("d", text=False) == sent(role, 0x80, b"d")
    assert stream.send("next") == sent(role, TEXT, b"next")


MESSAGES = st.one_of(st.text(max_size=200), st.binary(max_size=200))


@given(st.lists(st.tuples(MESSAGES, st.lists(st.integers(0, 200), max_size=3), st.booleans()), max_size=5))
def test_peer_receives_sent_messages_and_fragments(messages):
    for role, peer in ((SERVER, CLIENT), (CLIENT, SERVER)):
        sender = Stream(role)
        written, expected = b"", []
        for message, cuts, in_parts in messages:
            text = isinstance(message, str)
            data = message.encode() if text else message
            bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
            for number, (start, stop) in enumerate(pairwise(bounds), 1):
                piece, last = data[start:stop], number == len(cuts) + 1
                if in_parts:
                    written += b"".join(sender.send_parts(piece, text=text, last=last))
                else:
                    written += sender.send(piece, text=text, last=last)
            written += sender.pong(b"between")
            expected += [message, Pong(b"between")]
        assert Stream(peer).receive(written) == expected


# Control frames


@BOTH
def test_ping_and_pong_payload_is_limited_to_125_bytes(role):
    stream = new_stream(role)
    assert stream.ping() == sent(role, PING)
    assert stream.pong() == sent(role, PONG)
    assert stream.ping(b"p" * 125) == sent(role, PING, b"p" * 125)
    assert stream.pong(b"\xff" * 125) == sent(role, PONG, b"\xff" * 125)
    for method in (stream.ping, stream.pong):
        with pytest.raises(PayloadTooBigError, match="at most 125 bytes, not 126"):
            method(bytes(126))


@pytest.mark.exhaustive
def test_close_rejects_codes_that_may_not_be_sent():
    allowed = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
    for code in (-1, *range(1 << 16), 1 << 16, 1 << 70):
        stream = Stream(SERVER)
        if code in allowed:
            assert stream.close(code) == frame(CLOSE, code.to_bytes(2, "big"))
        else:
            with pytest.raises(CloseCodeError, match=f"close code {code} may not be sent"):
                stream.close(code)
            assert stream.send("open") == sent(SERVER, TEXT, b"open")


@BOTH
def test_close_and_fail_write_code_and_reason(role):
    assert new_stream(role).close() == sent(role, CLOSE, b"\x03\xe8")
    assert new_stream(role).close(None) == sent(role, CLOSE)
    assert new_stream(role).close(CloseCode.GOING_AWAY, "bye") == sent(role, CLOSE, b"\x03\xe9bye")
    assert new_stream(role).close(4000, "é" * 61 + "!") == sent(role, CLOSE, b"\x0f\xa0" + ("é" * 61 + "!").encode())
    assert new_stream(role).fail(1011, "why") == sent(role, CLOSE, b"\x03\xf3why")


@pytest.mark.parametrize("method", ["close", "fail"])
def test_close_and_fail_reject_invalid_code_or_reason(method):
    for arguments, error in [
        ((1000, "é" * 62), PayloadTooBigError),
        ((1000, "a" * 124), PayloadTooBigError),
        ((1000, "\ud800"), TextError),
        ((None, "a reason"), CloseCodeError),
        ((1005,), CloseCodeError),
        ((0,), CloseCodeError),
        ((1000.0,), TypeError),
        (("1000",), TypeError),
    ]:
        stream = new_stream(CLIENT)
        with pytest.raises(error):
            getattr(stream, method)(*arguments)
        assert stream.send(b"") == sent(CLIENT, BINARY)


# The automatic replies


@BOTH
def test_automatic_replies_are_written_in_order(role):
    stream = new_stream(role)
    data = to(role, PING, b"1") + to(role, TEXT, b"a") + to(role, PING, b"2") + to(role, CLOSE, b"\x03\xe9bye")
    assert stream.receive(data) == [Ping(b"1"), "a", Ping(b"2"), Close(1001, "bye")]
    assert stream.pending() == sent(role, PONG, b"1") + sent(role, PONG, b"2") + sent(role, CLOSE, b"\x03\xe9bye")
    assert stream.pending() == b""


@BOTH
def test_automatic_replies_can_be_disabled(role):
    stream = new_stream(role, auto_pong=False, auto_close=False)
    assert stream.receive(to(role, PING, b"1") + to(role, CLOSE)) == [Ping(b"1"), Close(1005, "")]
    assert stream.pending() == b""
    assert stream.pong(b"1") == sent(role, PONG, b"1")
    assert stream.close(None) == sent(role, CLOSE)


@BOTH
@pytest.mark.parametrize(
    ("bad", "code"), [((0x83,), b"\x03\xea"), ((TEXT, b"\xff"), b"\x03\xef"), ((BINARY, b"12345"), b"\x03\xf1")]
)
def test_close_frame_of_a_failure_carries_the_reason_unless_disabled(role, bad, code):
    for reasons in (True, False):
        stream = new_stream(role, max_message_size=4, send_close_reasons=reasons)
        failure = stream.receive(to(role, PING, b"p") + to(role, *bad))[-1]
        close = sent(role, CLOSE, code + (failure.reason.encode() if reasons else b""))
        assert stream.pending() == sent(role, PONG, b"p") + close


def test_close_frame_of_a_failure_carries_the_reason_by_default():
    stream = Stream(SERVER)
    stream.receive(to(SERVER, 0x83))
    assert stream.pending() == sent(SERVER, CLOSE, b"\x03\xeaopcode 3 is reserved")


def test_close_frame_of_a_late_failure_carries_the_reason():
    stream = Stream(SERVER, late_failure=True)
    assert stream.receive(to(SERVER, TEXT, b"a") + to(SERVER, 0x83)) == ["a"]
    assert stream.pending() == b""
    stream.take_failure()
    assert stream.pending() == sent(SERVER, CLOSE, b"\x03\xeaopcode 3 is reserved")
    stream = Stream(SERVER, late_failure=True)
    stream.receive(to(SERVER, TEXT, b"a") + to(SERVER, 0x83))
    stream.receive_eof()
    assert stream.pending() == sent(SERVER, CLOSE, b"\x03\xeaopcode 3 is reserved")


class Quoting:
    """A codec whose errors quote the payload."""

    rsv, threshold, pending = 0x40, 0, False

    def decode(self, payload, most, last):
        raise ValueError(f"cannot decode {payload!r}")

    def close(self):
        pass


@pytest.mark.parametrize("first", [0xC2, 0x42])
def test_close_frame_of_a_failure_omits_the_codec_error(first):
    stream = Stream(SERVER, extensions=[Quoting()])
    failure = stream.receive(to(SERVER, first, b"secret"))[-1]
    assert failure.reason == "cannot decode b'secret'"
    assert stream.pending() == sent(SERVER, CLOSE, b"\x03\xefa compressed message is corrupt")


@BOTH
@pytest.mark.parametrize("reason", ["", "bye", "é" * 61, "r" * 123])
def test_close_reply_echoes_code_and_reason(role, reason):
    stream = new_stream(role)
    stream.receive(to(role, CLOSE, b"\x0f\xa1" + reason.encode()))
    assert stream.pending() == sent(role, CLOSE, b"\x0f\xa1" + reason.encode())


@pytest.mark.parametrize("text_errors", ["replace", "surrogateescape"])
@pytest.mark.parametrize("reason", [b"\xff" * 123, b"\xff" * 42, b"ok\xff"])
def test_close_reply_omits_a_reason_that_cannot_be_sent(text_errors, reason):
    stream = new_stream(SERVER, text_errors=text_errors)
    (close,) = stream.receive(to(SERVER, CLOSE, b"\x0f\xa1" + reason))
    assert close.reason == reason.decode(errors=text_errors)
    short = text_errors == "replace" and len(close.reason.encode()) <= 123
    assert stream.pending() == sent(SERVER, CLOSE, b"\x0f\xa1" + (close.reason.encode() if short else b""))


# Masking keys


def test_client_masks_each_frame_with_a_fresh_key():
    stream = Stream(CLIENT)
    keys = {stream.send(b"")[2:] for _ in range(1000)}
    assert len(keys) > 990
    assert {len(key) for key in keys} == {4}


def test_server_never_calls_the_mask_source():
    def refuse(size):
        raise AssertionError

    assert Stream(SERVER, mask_source=refuse).send("a") == b"\x81\x01a"


def test_mask_source_is_asked_for_4_bytes_for_each_frame():
    asked = []

    def source(size):
        asked.append(size)
        return bytes([len(asked)] * 4)

    stream = Stream(CLIENT, mask_source=source)
    frames = [
        stream.send("a"),
        b"".join(stream.send_parts("b")),
        stream.send("c", last=False),
        stream.ping(),
        stream.close(),
    ]
    assert [each[2:6] for each in frames] == [bytes([n] * 4) for n in range(1, 6)]
    assert asked == [4] * 5


@pytest.mark.parametrize("key", [b"", b"abc", b"abcde", "abcd", bytearray(b"abcd"), None])
@pytest.mark.parametrize("call", ["send", "send_parts", "ping", "pong", "close", "fail"])
def test_mask_source_must_return_4_bytes(key, call):
    keys = [KEY, key, KEY]
    stream = Stream(CLIENT, mask_source=lambda size: keys.pop(0))
    assert stream.send("a", last=False) == sent(CLIENT, 0x01, b"a")
    with pytest.raises(MaskSourceError, match="4 bytes"):
        getattr(stream, call)(*{"send": ["b"], "send_parts": ["b"], "fail": [1011]}.get(call, []))
    assert stream.send("c") == sent(CLIENT, 0x80, b"c")


# Misuse

MISUSE = [
    (lambda s: s.send("\ud800"), TextError),
    (lambda s: s.send("\ud800", last=False), TextError),
    (lambda s: s.send(b"\xff", text=True), TextError),
    (lambda s: s.send(b"\xc3", text=True), TextError),
    (lambda s: s.send(b"\xc3\x28", text=True, last=False), TextError),
    (lambda s: s.send_parts("a\udfff"), TextError),
    (lambda s: list(s.send_steps(b"\xc3", text=True)), TextError),
    (lambda s: s.cut(b"\xc3", 1, text=True), TextError),
    (lambda s: s.send_parts(b"\xff", text=True, last=False), TextError),
    (lambda s: s.send(None), TypeError),
    (lambda s: s.send(5), TypeError),
    (lambda s: s.send([b"a"], last=False), TypeError),
    (lambda s: s.ping(bytes(126)), PayloadTooBigError),
    (lambda s: s.pong(bytes(126)), PayloadTooBigError),
    (lambda s: s.ping("text"), TypeError),
    (lambda s: s.close(1005), CloseCodeError),
    (lambda s: s.close(1000, "r" * 124), PayloadTooBigError),
    (lambda s: s.close(None, "r"), CloseCodeError),
    (lambda s: s.close(1000, "\ud800"), TextError),
    (lambda s: s.close(1000, b"bytes"), TypeError),
    (lambda s: s.close(1000.0), TypeError),
    (lambda s: s.fail(999), CloseCodeError),
]
INSIDE_TEXT = [
    *MISUSE,
    (lambda s: s.send(b"binary"), FragmentError),
    (lambda s: s.send(b"binary", last=False), FragmentError),
    (lambda s: list(s.send_steps("text")), FragmentError),
    (lambda s: s.send("text", text=False), FragmentError),
    (lambda s: s.send_parts(b"binary"), FragmentError),
    (lambda s: s.send(b"", text=True), TextError),
    (lambda s: s.send("a str cannot complete a code point"), TextError),
    (lambda s: s.send("nor continue it", last=False), TextError),
    (lambda s: s.send(b"\xff", text=True, last=False), TextError),
]


@BOTH
@pytest.mark.parametrize("number", range(len(INSIDE_TEXT)))
def test_misuse_inside_a_fragmented_text_changes_nothing(role, number):
    call, error = INSIDE_TEXT[number]
    stream = new_stream(role)
    stream.send(b"\xe2\x82", text=True, last=False)
    with pytest.raises((error, FragmentError)):  # FragmentError if the type of the data is checked first
        call(stream)
    assert stream.send(b"\xac", text=True) == sent(role, 0x80, b"\xac")
    assert stream.pending() == b""
    assert stream.close(1001, "bye") == sent(role, CLOSE, b"\x03\xe9bye")


@BOTH
@pytest.mark.parametrize("number", range(len(MISUSE)))
def test_misuse_raises_and_changes_nothing(role, number):
    call, error = MISUSE[number]
    stream = new_stream(role)
    with pytest.raises(error):
        call(stream)
    assert stream.send(b"b", last=False) == sent(role, 0x02, b"b")
    with pytest.raises((error, FragmentError)):
        call(stream)
    assert stream.send(b"c") == sent(role, 0x80, b"c")
    assert stream.receive(to(role, TEXT, b"still open")) == ["still open"]
    assert stream.close() == sent(role, CLOSE, b"\x03\xe8")


@BOTH
def test_sending_after_close_raises_state_error(role):
    stream = new_stream(role)
    stream.close()
    for call in (
        lambda: stream.send("a"),
        lambda: stream.send(b"a", last=False),
        lambda: stream.send_parts(b"a"),
        lambda: stream.close(),
        lambda: stream.close(1005),
    ):
        with pytest.raises(StateError):
            call()
    assert stream.fail(1011) == b""


def test_text_error_tells_the_index_of_the_invalid_byte():
    for before in ([], ["whole"], [b"\xc3\xa9"]):
        stream = new_stream(SERVER)
        for message in before:
            stream.send(message, text=True)
        with pytest.raises(TextError, match="not valid UTF-8 from byte 2 on"):
            stream.send(b"ab\xff", text=True)


def test_second_close_tells_whether_the_connection_is_closed():
    stream = new_stream(SERVER)
    stream.close()
    with pytest.raises(StateError, match="^a close frame was sent$"):
        stream.close()
    stream.receive(to(SERVER, CLOSE))
    with pytest.raises(StateError, match="^the connection is closed$"):
        stream.close()


def test_all_misuse_errors_are_local_errors():
    for error in (StateError, FragmentError, TextError, PayloadTooBigError, CloseCodeError, MaskSourceError):
        assert issubclass(error, LocalError)
        assert error.__doc__


# max_send_size


@pytest.mark.parametrize("options", [{}, {"extensions": "deflate"}], ids=["plain", "compressed"])
@pytest.mark.parametrize("unit", ["x", "€", "🎉", b"x"])
def test_message_over_max_send_size_is_rejected(unit, options):
    size = len(unit.encode() if isinstance(unit, str) else unit)
    if options:
        extensions = [PerMessageDeflate(threshold=10)]
        options = {"extensions": accept_offers(make_offers(extensions), extensions)[1]}
    for limit in (0, 1, size - 1, size * 7, size * 40 + size - 1):
        stream = Stream(SERVER, max_send_size=limit, **options)
        fits = limit // size
        for send in (stream.send, stream.send_parts, lambda message, stream=stream: list(stream.send_steps(message))):
            send(unit * fits)
            with pytest.raises(PayloadTooBigError, match=f"at most {limit} bytes, not {(fits + 1) * size}"):
                send(unit * (fits + 1))
        stream.ping(b"x" * 125)  # the limit does not apply to control frames


def test_max_send_size_applies_to_the_sum_of_fragments():
    stream = Stream(SERVER, max_send_size=10)
    for _ in range(2):
        stream.send("1234", last=False)
        stream.send("5678", last=False)
        with pytest.raises(PayloadTooBigError):
            stream.send("9ab", last=False)
        assert stream.send("9a") == b"\x80\x029a"


@pytest.mark.parametrize(
    "message",
    ["", "€" * 5, b"", bytes(10), bytearray(11), memoryview(bytes(5))],
    ids=lambda message: f"{type(message).__name__}-{len(message)}",
)
def test_cut_splits_a_message_into_pieces_of_the_given_size(message):
    data = message.encode() if isinstance(message, str) else bytes(message)
    stream = Stream(SERVER)
    for size in (1, 4, 5, 10, 100):
        pieces, text = stream.cut(message, size)
        assert b"".join(pieces) == data
        assert [len(piece) for piece in pieces[:-1]] == [size] * ((max(len(data), 1) - 1) // size)
        assert text is isinstance(message, str)
        frames = [stream.send(piece, text=text, last=False) for piece in pieces[:-1]]
        frames.append(stream.send(pieces[-1], text=text))
        assert Stream(CLIENT).receive(b"".join(frames)) == [data.decode() if text else data]
    assert stream.cut(data, 4, text=True)[1] is True


def test_cut_rejects_a_message_that_cannot_be_sent():
    stream = Stream(SERVER, max_send_size=10)
    for message, text, error in (
        ("x" * 11, None, PayloadTooBigError), ("\ud800", None, TextError), (b"\xff", True, TextError),
    ):  # fmt: skip
        with pytest.raises(error):
            stream.cut(message, 2, text=text)
    stream.close()
    with pytest.raises(StateError):
        stream.cut("x", 2)


def test_max_send_size_must_be_a_non_negative_integer():
    for wrong in (-1, 1.5):
        with pytest.raises((ValueError, TypeError)):
            Stream(SERVER, max_send_size=wrong)
