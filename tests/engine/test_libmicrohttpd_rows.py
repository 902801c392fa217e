"""The rows of docs/coming-from-libmicrohttpd.md.

Each function, flag, status and UTF-8 step of libmicrohttpd_ws has a counterpart in framewire, and
its known bugs are absent.
"""

import pytest
from frames import KEY, new_stream, to

import framewire
from framewire import CLIENT, SERVER, Close, CloseCode, Failure, Fragment, Opcode, Ping, Pong, State, Stream
from framewire._backend import Utf8Validator
from framewire.handshake import (
    ClientHandshake,
    ServerHandshake,
    accept_key,
    check_connection_header,
    check_http_version,
    check_upgrade_header,
    check_version_header,
)
from framewire.http.uri import parse_uri

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]


def receive(data, cuts=(), **options):
    """Return the events of a server for `data` cut at the offsets `cuts`, and its replies."""
    stream = new_stream(SERVER, **options)
    events, start = [], 0
    for stop in (*cuts, len(data)):
        events += stream.receive(data[start:stop])
        start = stop
    return events, stream.pending()


def failure(events):
    """Return the code and the offset of the failure that ends the events."""
    assert isinstance(events[-1], Failure)
    return events[-1].code, events[-1].offset


# Streams: flags, limits, validity.


def test_stream_init_accepts_roles_and_flags():
    for role in (SERVER, CLIENT):
        for fragments in (False, True):
            for auto_close in (False, True):
                stream = Stream(role, fragments=fragments, auto_close=auto_close)
                assert (stream.role, stream.state) == (role, State.OPEN)
    for wrong in (8, 16, -1, None):
        with pytest.raises(ValueError, match="is not a valid"):
            Stream(wrong)
    with pytest.raises(TypeError):
        Stream(SERVER, unknown=True)


def test_stream_init_enforces_message_size_limit():
    assert Stream(SERVER, max_message_size=None).receive(to(SERVER, 0x82, bytes(1 << 20))) == [bytes(1 << 20)]
    assert Stream(SERVER, max_message_size=0).receive(to(SERVER, 0x82)) == [b""]
    assert failure(Stream(SERVER, max_message_size=0).receive(to(SERVER, 0x82, b"x")))[0] == 1009
    with pytest.raises(ValueError, match="max_message_size"):
        Stream(SERVER, max_message_size=-1)


def test_stream_init2_random_source_supplies_client_mask_keys():
    asked = []

    def source(size):
        asked.append(size)
        return KEY

    stream = Stream(CLIENT, mask_source=source)
    assert stream.send("Hello").hex() == "818537fa213d7f9f4d5158"
    assert asked == [4]
    assert Stream(SERVER, mask_source=source).send("Hello").hex() == "810548656c6c6f"
    assert asked == [4]


def test_stream_invalidate_closes_the_stream():
    stream = Stream(SERVER)
    assert stream.fail(1011).hex() == "880203f3"
    assert stream.state is State.CLOSED
    assert stream.receive(to(SERVER, 0x81, b"x")) == []
    assert stream.fail(1011) == b""
    with pytest.raises(framewire.StateError):
        stream.send("x")


def test_stream_is_valid_is_shown_by_its_state():
    stream = new_stream(SERVER, auto_close=False)
    assert stream.state is State.OPEN
    stream.receive(to(SERVER, 0x88))
    assert stream.state is State.CLOSING
    assert stream.pong(b"").hex() == "8a00"
    stream.close()
    assert stream.state is State.CLOSED


def test_stream_free_discards_unfinished_message():
    stream = Stream(SERVER, max_message_size=None)
    stream.receive(to(SERVER, 0x01, bytes(100_000)))
    stream.receive_eof()
    assert stream.state is State.CLOSED


# Decoding.


def test_decode_reports_number_of_consumed_bytes():
    stream = Stream(SERVER)
    assert stream.receive_one(b"") == (None, 0)
    wire = to(SERVER, 0x81, b"one") + to(SERVER, 0x89, b"?") + to(SERVER, 0x82, b"\0")
    seen, position = [], 0
    while position < len(wire):
        event, taken = stream.receive_one(wire[position:])
        seen.append((event, taken))
        position += taken
    assert seen == [("one", 9), (Ping(b"?"), 7), (b"\0", 7)]


def test_decode_accepts_input_byte_by_byte():
    stream = Stream(SERVER)
    answers = [stream.receive_one(bytes([byte])) for byte in bytes.fromhex("818001020304")]
    assert answers == [(None, 1)] * 5 + [("", 1)]


@pytest.mark.parametrize(
    ("wire", "event"),
    [
        ("810548656c6c6f", "Hello"),
        ("8203000102", b"\0\1\2"),
        ("880203e8", Close(1000, "")),
        ("890141", Ping(b"A")),
        ("8a0141", Pong(b"A")),
    ],
)
def test_status_of_whole_message_is_one_event(wire, event):
    assert Stream(CLIENT).receive(bytes.fromhex(wire)) == [event]


@pytest.mark.parametrize(("opcode", "parts"), [(1, ("a", "b", "c")), (2, (b"a", b"b", b"c"))])
def test_status_of_fragments_marks_first_and_last(opcode, parts):
    wire = bytes([opcode, 1, 97, 0, 1, 98, 128, 1, 99])
    assert Stream(CLIENT, fragments=True).receive(wire) == [
        Fragment(parts[0], True, False),
        Fragment(parts[1], False, False),
        Fragment(parts[2], False, True),
    ]
    assert Stream(CLIENT).receive(wire) == [type(parts[0])().join(parts)]


def test_status_protocol_error_is_failure_1002():
    assert failure(receive(b"\xff")[0]) == (1002, 0)


def test_status_stream_broken_ignores_further_input():
    stream = Stream(SERVER)
    stream.receive(b"\xff")
    assert stream.receive_one(to(SERVER, 0x81, b"x")) == (None, 7)
    assert stream.state is State.CLOSED


def test_status_memory_error_closes_the_stream():
    """A MemoryError of an extension loses the position in the input, so the stream ends."""

    class Greedy:
        rsv, threshold, pending = 0x40, 0, False

        def decode(self, payload, most, last):
            raise MemoryError

        def encode(self, content, last):
            raise MemoryError

        def abandon(self):
            pass

        def close(self):
            pass

    stream = Stream(SERVER, extensions=[Greedy()])
    with pytest.raises(MemoryError):
        stream.receive(to(SERVER, 0x81, b"whole") + to(SERVER, 0xC1, b"x"))
    assert stream.state is State.CLOSED
    assert stream.receive(to(SERVER, 0x81, b"late")) == []
    with pytest.raises(framewire.StateError):
        stream.send("late")


def test_status_parameter_error_raises_and_changes_nothing():
    for call in (lambda s: s.close(999), lambda s: s.close(None, "x"), lambda s: s.ping(bytes(126))):
        stream = Stream(SERVER)
        with pytest.raises(framewire.LocalError):
            call(stream)
        assert stream.send("unharmed").hex() == "8108" + b"unharmed".hex()


def test_status_maximum_size_exceeded_is_failure_1009():
    assert failure(receive(to(SERVER, 0x82, bytes(5)), max_message_size=4)[0]) == (1009, 2)


def test_status_utf8_encoding_error_is_failure_1007_or_text_error():
    assert failure(receive(to(SERVER, 0x81, b"T\xffst"))[0]) == (1007, 7)
    with pytest.raises(framewire.TextError):
        Stream(SERVER).send(b"T\xffst", text=True)


def test_status_no_handshake_header_is_value_error():
    with pytest.raises(ValueError, match="16 bytes"):
        accept_key(b"")


def test_payload_may_be_empty_or_contain_nul():
    assert receive(to(SERVER, 0x81) + to(SERVER, 0x81, b"a\0b"))[0] == ["", "a\0b"]


#: Bytes of the stream before the offending one.
CONSUMED = [
    ("83", {}, 0),
    ("c1", {}, 0),
    ("09", {}, 0),
    ("80", {}, 0),
    ("8105", {}, 1),
    ("89fe", {}, 1),
    ("8881", {}, 1),
    ("8185", {"max_message_size": 4}, 2),
    ("81fe0005", {}, 4),
    ("81fe00c8", {"max_message_size": 4}, 4),
    ("82ff000000000000ffff", {}, 10),
    ("82ff8000000000000000", {}, 10),
    ("01830000000048656c808200000000", {"max_message_size": 4}, 15),
    ("81850000000054ff", {}, 7),
    ("88830000000003e8ff", {}, 8),
]


@pytest.mark.parametrize(("wire", "options", "offset"), CONSUMED)
def test_failure_offset_counts_bytes_before_the_error(wire, options, offset):
    assert failure(receive(bytes.fromhex(wire), **options)[0])[1] == offset


def test_no_fragments_flag_joins_fragments_around_control_frames():
    wire = to(SERVER, 0x01, b"This ") + to(SERVER, 0x89) + to(SERVER, 0x80, b"is the test.")
    assert receive(wire)[0] == [Ping(b""), "This is the test."]


def test_want_fragments_holds_back_incomplete_code_points():
    wire = b"".join(to(SERVER, first, bytes([byte])) for first, byte in zip((1, 0, 0, 128), b"\xf0\x9f\x98\x80"))  # noqa: B905
    pieces = [event.data for event in receive(wire, fragments=True)[0]]
    assert pieces == ["", "", "", "😀"]
    assert receive(to(SERVER, 0x81, b"whole"), fragments=True)[0] == ["whole"]


def test_size_limit_applies_to_joined_fragments():
    wire = to(SERVER, 0x01, b"Hel") + to(SERVER, 0x80, b"lo")
    assert receive(wire, max_message_size=5)[0] == ["Hello"]
    assert failure(receive(wire, max_message_size=4)[0])[0] == 1009


def test_non_minimal_and_too_large_lengths_fail_with_1002():
    for wire in ("81fe0005", "81ff000000000000ffff", "81ffffffffffffffffff"):
        assert failure(receive(bytes.fromhex(wire))[0])[0] == 1002


def test_missing_or_unexpected_mask_fails_with_1002():
    assert failure(Stream(SERVER).receive(b"\x81\x00"))[0] == 1002
    assert failure(Stream(CLIENT).receive(b"\x81\x80"))[0] == 1002


def test_control_frames_must_be_short_and_unfragmented():
    assert failure(receive(to(SERVER, 0x09))[0])[0] == 1002
    assert failure(receive(to(SERVER, 0x89, bytes(126)))[0])[0] == 1002
    assert receive(to(SERVER, 0x89, b"\xff")) == ([Ping(b"\xff")], b"\x8a\x01\xff")


def test_fragments_out_of_order_fail_with_1002():
    assert failure(receive(to(SERVER, 0x80))[0])[0] == 1002
    assert failure(receive(to(SERVER, 0x01) + to(SERVER, 0x82))[0])[0] == 1002


def test_split_close_reason_gives_code_and_reason():
    assert receive(to(SERVER, 0x88))[0] == [Close(1005, "")]
    assert receive(to(SERVER, 0x88, b"\x03\xe8"))[0] == [Close(1000, "")]
    assert receive(to(SERVER, 0x88, b"\x03\xe8abc"))[0] == [Close(1000, "abc")]
    assert failure(receive(to(SERVER, 0x88, b"\x03"))[0])[0] == 1002
    assert failure(receive(to(SERVER, 0x88, bytes(126)))[0])[0] == 1002


@pytest.mark.parametrize(
    ("wire", "code"), [(b"\xff", 1002), (to(SERVER, 0x81, b"\xff"), 1007), (to(SERVER, 0x82, b"123"), 1009)]
)
def test_generate_close_frames_on_error_follows_auto_close(wire, code):
    assert receive(wire, max_message_size=2)[1] == b"\x88\x02" + code.to_bytes(2, "big")
    stream = new_stream(SERVER, max_message_size=2, auto_close=False)
    assert failure(stream.receive(wire))[0] == code
    assert stream.pending() == b""
    assert stream.close(code) == b"\x88\x02" + code.to_bytes(2, "big")


def test_close_frame_generated_by_a_client_is_masked():
    stream = new_stream(CLIENT)
    stream.receive(b"\xff")
    assert stream.pending().hex() == "888237fa213d3410"


#: Name of the step, the bytes before it, and the ranges of valid next bytes.
STEPS = [
    ("NORMAL", b"", [(0x00, 0x7F), (0xC2, 0xF4)]),
    ("UTF2TAIL_1OF1", b"\xc3", [(0x80, 0xBF)]),
    ("UTF3TAIL1_1OF2", b"\xe0", [(0xA0, 0xBF)]),
    ("UTF3TAIL2_1OF2", b"\xed", [(0x80, 0x9F)]),
    ("UTF3TAIL_1OF2", b"\xe1", [(0x80, 0xBF)]),
    ("UTF3TAIL_2OF2", b"\xe1\x80", [(0x80, 0xBF)]),
    ("UTF4TAIL1_1OF3", b"\xf0", [(0x90, 0xBF)]),
    ("UTF4TAIL2_1OF3", b"\xf4", [(0x80, 0x8F)]),
    ("UTF4TAIL_1OF3", b"\xf1", [(0x80, 0xBF)]),
    ("UTF4TAIL_2OF3", b"\xf1\x80", [(0x80, 0xBF)]),
    ("UTF4TAIL_3OF3", b"\xf1\x80\x80", [(0x80, 0xBF)]),
]


@pytest.mark.parametrize(("step", "before", "ranges"), STEPS, ids=[step for step, _, _ in STEPS])
def test_utf8_step_accepts_exactly_its_valid_bytes(step, before, ranges, backend):
    for byte in range(256):
        validator = (backend.Utf8Validator if backend else Utf8Validator)()
        assert validator.feed(before) == len(before)
        assert (validator.need == 0) == (step == "NORMAL")
        possible = any(low <= byte <= high for low, high in ranges)
        assert validator.feed(bytes([byte])) == possible, hex(byte)


def test_invalid_utf8_fails_before_the_end_of_the_frame():
    wire = bytes.fromhex("018300000000f490")
    assert failure(receive(wire)[0]) == (1007, 7)


def test_close_codes_have_names_and_can_be_sent():
    assert {code.name: code.value for code in CloseCode if code.value in (*range(1000, 1004), *range(1007, 1012))} == {
        "NORMAL_CLOSURE": 1000,
        "GOING_AWAY": 1001,
        "PROTOCOL_ERROR": 1002,
        "UNSUPPORTED_DATA": 1003,
        "INVALID_DATA": 1007,
        "POLICY_VIOLATION": 1008,
        "MESSAGE_TOO_BIG": 1009,
        "MANDATORY_EXTENSION": 1010,
        "INTERNAL_ERROR": 1011,
    }
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011):
        assert Stream(SERVER).close(code) == b"\x88\x02" + code.to_bytes(2, "big")
    assert Stream(SERVER).close(None) == b"\x88\x00"


def test_opcode_values_match_rfc_6455():
    assert [opcode.value for opcode in Opcode] == [0, 1, 2, 8, 9, 10]


# Encoding.


def test_encode_text_fragments_may_split_a_code_point():
    stream = Stream(SERVER)
    assert stream.send(b"blablabl\xc3", text=True, last=False) == b"\x01\x09blablabl\xc3"
    assert stream.send(b"\xa4", text=True, last=False) == b"\x00\x01\xa4"
    assert stream.send(b"blablabla", text=True) == b"\x80\x09blablabla"
    assert stream.send("next") == b"\x81\x04next"


def test_encode_invalid_text_raises_and_changes_nothing():
    stream = Stream(SERVER)
    with pytest.raises(framewire.TextError):
        stream.send(b"\xa4", text=True)
    stream.send(b"\xc3", text=True, last=False)
    with pytest.raises(framewire.TextError):
        stream.send(b"x", text=True)
    assert stream.send(b"\xa4", text=True) == b"\x80\x01\xa4"


def test_encode_binary_writes_fragments():
    stream = Stream(SERVER)
    assert stream.send(b"\xff", last=False) + stream.send(b"", last=False) + stream.send(b"\0") == bytes.fromhex(
        "0201ff 0000 800100"
    )


def test_encode_ping_and_pong_limits_payload_to_125_bytes():
    stream = Stream(SERVER)
    assert stream.ping(bytes(125)) == b"\x89\x7d" + bytes(125)
    assert stream.pong(b"!") == b"\x8a\x01!"
    for call in (stream.ping, stream.pong):
        with pytest.raises(framewire.PayloadTooBigError):
            call(bytes(126))


def test_encode_close_validates_code_and_reason():
    assert Stream(SERVER).close(1000, "blablabla") == b"\x88\x0b\x03\xe8blablabla"
    assert Stream(SERVER).close(3000, "abc").hex() == "88050bb8616263"
    assert Stream(SERVER).close(None).hex() == "8800"
    for code, reason, error in (
        (None, "x", framewire.CloseCodeError),
        (999, "", framewire.CloseCodeError),
        (1000, "x" * 124, framewire.PayloadTooBigError),
        (1000, "\udc80", framewire.TextError),
    ):
        with pytest.raises(error):
            Stream(SERVER).close(code, reason)


@pytest.mark.parametrize(
    ("size", "head"),
    [(125, "827d"), (126, "827e007e"), (65535, "827effff"), (65536, "827f0000000000010000")],
)
def test_encode_uses_shortest_length_form(size, head):
    assert Stream(SERVER).send(bytes(size)).hex().startswith(head + "00")


def test_encode_after_close_allows_only_pong():
    """After its close frame an endpoint may send pongs, but no data and no second close."""
    stream = Stream(SERVER)
    stream.close()
    assert stream.pong(b"") == b"\x8a\x00"
    for call in (lambda: stream.send("x"), stream.close):
        with pytest.raises(framewire.StateError):
            call()


def test_each_client_frame_has_a_fresh_mask_key():
    stream = Stream(CLIENT)
    assert len({stream.send("x")[2:6] for _ in range(100)}) > 90


# The handshake.


def test_check_http_version_accepts_1_1_and_later():
    for good in ("1.1", "1.2", "1.10", "2.0", "2.000", "123.45", "01.1", "0001.0001"):
        assert check_http_version(f"HTTP/{good}"), good
    for bad in ("HTTP/1.0", "HTTP/0.9", "HTTP/0.0", "", "http/1.1", "HTTP / 1.1", "HTTP/2", "HTTP/1.1 ", None):
        assert not check_http_version(bad), bad


def test_check_connection_header_requires_upgrade_token():
    for good in ("Upgrade", "keep-alive, Upgrade", " \tUpgrade \t", "upgrade", "Upgrade, foo/bar", "foo/bar, Upgrade"):
        assert check_connection_header([good]), good
    for bad in ("\rUpgrade", '"Upgrade"', "Upgrade or Downgrade", ""):
        assert not check_connection_header([bad]), bad
    assert not check_connection_header([])


def test_check_upgrade_header_requires_websocket_token():
    for good in ("websocket", "HTTP/2.0, websocket", "WEBSOCKET"):
        assert check_upgrade_header([good]), good
    assert not check_upgrade_header(["websocket/13"])


def test_check_version_header_requires_13():
    assert check_version_header("13")
    for bad in ("14", "12", " 13", "130", "", None):
        assert not check_version_header(bad), bad


def test_create_accept_header_matches_known_values():
    assert accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert accept_key(b"50cLrugr7h3yAbe5Kpc52Q==") == b"58ij/Yod1NTjzqcyjkZbZk6V6v0="
    assert accept_key(b"AQIDBAUGBwgJCgsMDQ4PEC==")  # the key that RFC 6455 prints


def test_extra_in_data_is_kept_for_the_stream():
    client = ClientHandshake(parse_uri("ws://example.com/chat"))
    server = ServerHandshake()
    assert server.receive(client.request() + to(SERVER, 0x81, b"early")) is not None
    server.accept()
    assert Stream(SERVER).receive(server.trailing) == ["early"]


# Known bugs of libmicrohttpd_ws.


@pytest.mark.parametrize("fragments", [False, True])
def test_bug_1_text_ending_inside_a_code_point_fails(fragments):
    assert failure(receive(to(SERVER, 0x81, b"ab\xc3"), fragments=fragments)[0]) == (1007, 9)
    wire = to(SERVER, 0x01, b"ab") + to(SERVER, 0x80, b"\xc3")
    assert failure(receive(wire, fragments=fragments)[0])[0] == 1007


def test_bug_2_utf8_state_is_reset_after_each_text():
    events, _ = receive(to(SERVER, 0x81, "ä".encode()) + to(SERVER, 0x81, b"hi") + to(SERVER, 0x81, b"\xa4hi"))
    assert events[:2] == ["ä", "hi"]
    assert failure(events)[0] == 1007


def test_bug_3_close_reason_ending_inside_a_code_point_fails():
    assert failure(receive(to(SERVER, 0x88, b"\x03\xe8ab\xc3"))[0])[0] == 1007


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_bug_4_close_codes_are_validated(code):
    assert failure(receive(to(SERVER, 0x88, code.to_bytes(2, "big")))[0])[0] == 1002
    with pytest.raises(framewire.CloseCodeError):
        Stream(SERVER).close(code)


def test_bug_5_close_frame_may_arrive_in_pieces():
    wire = to(SERVER, 0x88, b"\x03\xe8goodbye!")
    for cut in range(len(wire)):
        assert receive(wire, [cut])[0] == [Close(1000, "goodbye!")]
    for step in (1, 2, 3, 7):
        assert receive(wire, range(step, len(wire), step))[0] == [Close(1000, "goodbye!")]


def test_bug_6_invalid_close_reason_in_pieces_fails():
    wire = to(SERVER, 0x88, b"\x03\xe8good\xffye!")
    for cut in range(len(wire)):
        assert failure(receive(wire, [cut])[0])[0] == 1007


def test_bug_7_close_reason_is_independent_of_unfinished_text():
    wire = to(SERVER, 0x01, b"\xe2\x82") + to(SERVER, 0x88, b"\x03\xe8" + "€".encode())
    assert receive(wire)[0] == [Close(1000, "€")]


def test_bug_8_last_fragment_must_complete_the_text():
    stream = Stream(SERVER)
    stream.send("begun", last=False)
    with pytest.raises(framewire.TextError):
        stream.send(b"\xc3", text=True)


def test_bug_9_fragments_of_different_types_are_not_mixed():
    stream = Stream(SERVER)
    assert stream.send("text", last=False)[0] == 0x01
    with pytest.raises(framewire.FragmentError):
        stream.send(b"binary")
    assert stream.send("goes on")[0] == 0x80
    stream.close()
    with pytest.raises(framewire.StateError):
        stream.send("after the close")


def test_bug_10_size_limit_applies_to_messages_and_their_fragments():
    assert receive(to(SERVER, 0x89, b"12345"), max_message_size=4)[0] == [Ping(b"12345")]
    wire = to(SERVER, 0x02, b"123") + to(SERVER, 0x80, b"45")
    assert failure(receive(wire, max_message_size=4, fragments=True)[0])[0] == 1009


def test_bug_11_announced_length_allocates_no_memory():
    import tracemalloc

    tracemalloc.start()
    try:
        stream = Stream(SERVER, max_message_size=None)
        assert stream.receive(bytes.fromhex("82ff0000000200000000") + KEY + b"few") == []
        assert tracemalloc.get_traced_memory()[1] < 1 << 18
    finally:
        tracemalloc.stop()
    assert failure(Stream(SERVER).receive(bytes.fromhex("82ff0000000200000000")))[0] == 1009


@pytest.mark.parametrize("key", [b"", b"x", b"dGhlIHNhbXBsZSBub25jZQ", b" dGhlIHNhbXBsZSBub25jZQ==", b"AAAA"])
def test_bug_12_handshake_key_must_be_16_bytes(key):
    with pytest.raises(ValueError, match="16 bytes"):
        accept_key(key)


def test_bug_13_header_token_order_and_lines_do_not_matter():
    assert check_connection_header(["foo/bar, Upgrade"])
    assert check_connection_header(["keep-alive", "Upgrade"])
    assert check_upgrade_header(["foo", "websocket"])


def test_bug_14_invalid_random_source_output_raises():
    for source in (lambda size: b"", lambda size: b"123", lambda size: 0):
        with pytest.raises(framewire.MaskSourceError):
            Stream(CLIENT, mask_source=source).send("x")
    zero = Stream(CLIENT, mask_source=lambda size: bytes(4))
    assert zero.send("hi") == b"\x81\x82\0\0\0\0hi"


def test_bug_15_close_takes_effect_only_when_complete():
    stream = Stream(SERVER)
    stream.receive(b"\x88")
    assert stream.state is State.OPEN
    assert failure(stream.receive(b"\x81"))[0] == 1002


def test_bug_16_client_handshake_and_automatic_pong_are_supported():
    client = ClientHandshake(parse_uri("ws://example.com/"), subprotocols=["chat"])
    server = ServerHandshake()
    server.receive(client.request())
    client.receive(server.accept(subprotocol="chat"))
    assert client.subprotocol == "chat"
    stream = new_stream(SERVER)
    stream.receive(to(SERVER, 0x89, b"?"))
    assert stream.pending() == b"\x8a\x01?"


def test_bug_17_all_frames_of_a_read_are_delivered():
    wire = to(SERVER, 0x81, b"one") + to(SERVER, 0x81, b"two\0") + to(SERVER, 0x81, b"three")
    assert receive(wire)[0] == ["one", "two\0", "three"]


@pytest.mark.parametrize("offset", range(17))
def test_bug_18_input_memory_alignment_does_not_matter(offset):
    messages = [bytes(range(256)) * 2, "aligned? " * 50, "é" * 300]
    wire = b"".join(Stream(CLIENT).send(message) for message in messages)
    memory = bytearray(offset) + wire
    assert Stream(SERVER).receive(memoryview(memory)[offset:]) == messages
