"""The functions and classes of the modules that handlers import."""

import io
import zlib
from importlib import import_module
from types import SimpleNamespace

import pytest
from bounds import assert_linear
from frames import KEY, frame, mask

from framewire.pywebsocket import modules


@pytest.fixture(scope="module", autouse=True)
def installed():
    with modules.installed():
        yield


def module(name):
    return import_module(f"mod_pywebsocket.{name}")


# stream.


@pytest.mark.parametrize(
    ("arguments", "header"),
    [
        ((1, 5, 1, 0, 0, 0, 0), "8105"),
        ((0, 125, 0, 1, 0, 0, False), "407d"),
        ((2, 126, 1, 0, 1, 0, 0), "a27e007e"),
        ((15, 0xFFFF, 1, 0, 0, 1, True), "9ffeffff"),
        ((1, 0x10000, 1, 0, 0, 0, 1), "81ff0000000000010000"),
        ((1, (1 << 63) - 1, 1, 0, 0, 0, 0), "817f7fffffffffffffff"),
    ],
)
def test_create_header_writes_flags_opcode_and_shortest_length(arguments, header):
    assert module("stream").create_header(*arguments).hex() == header


@pytest.mark.parametrize(
    "arguments",
    [
        (16, 0, 1, 0, 0, 0, 0),
        (-1, 0, 1, 0, 0, 0, 0),
        (1, -1, 1, 0, 0, 0, 0),
        (1, 1 << 63, 1, 0, 0, 0, 0),
        (1, 0, 2, 0, 0, 0, 0),
        (1, 0, 1, 0, 0, -1, 0),
    ],
)
def test_create_header_rejects_numbers_out_of_range(arguments):
    with pytest.raises(ValueError):
        module("stream").create_header(*arguments)


def test_create_data_frames_take_any_opcode_and_fin():
    stream = module("stream")
    assert stream.create_text_frame("é") == b"\x81\x02\xc3\xa9"
    assert stream.create_text_frame("x", opcode=9, fin=0) == b"\x09\x01x"
    assert stream.create_binary_frame(bytes(200)) == frame(0x82, bytes(200))
    assert stream.create_binary_frame(b"x", opcode=0, fin=0) == b"\x00\x01x"


@pytest.mark.parametrize(("kind", "first"), [("ping", 0x89), ("pong", 0x8A), ("close", 0x88)])
def test_create_control_frames_hold_at_most_125_bytes(kind, first):
    stream = module("stream")
    create = getattr(stream, f"create_{kind}_frame")
    assert create(bytes(125)) == frame(first, bytes(125))
    with pytest.raises(stream.BadOperationException):
        create(bytes(126))


def test_created_frames_are_masked_with_random_keys():
    create = module("stream").create_binary_frame
    frames = {create(b"payload", mask=True) for _ in range(8)}
    assert len(frames) == 8
    assert all(each[:2] == b"\x82\x87" and mask(each[6:], each[2:6]) == b"payload" for each in frames)


def test_frame_filters_change_a_created_frame():
    class Filter:
        def filter(self, frame):
            frame.rsv1, frame.payload = 1, frame.payload.upper()

    assert module("stream").create_text_frame("abc", frame_filters=[Filter()]) == b"\xc1\x03ABC"


def test_closing_handshake_body_holds_code_and_reason():
    create = module("stream").create_closing_handshake_body
    assert create(1000, "é") == b"\x03\xe8\xc3\xa9"
    assert create(None, "ignored") == b""


@pytest.mark.parametrize("code", [999, 5000, 1005, 1006, 1015, -1, 65536])
def test_closing_handshake_body_rejects_codes_that_no_frame_has(code):
    stream = module("stream")
    with pytest.raises(stream.BadOperationException):
        stream.create_closing_handshake_body(code, "")


def test_parse_frame_reads_flags_and_unmasks():
    parse = module("stream").parse_frame
    for size in (0, 125, 126, 70_000):
        payload = bytes(range(256)) * 300
        data = io.BytesIO(frame(0xD2, payload[:size], KEY))
        assert parse(data.read) == (2, payload[:size], 1, 1, 0, 1)
    assert parse(io.BytesIO(b"\x89\x01x").read, unmask_receive=False) == (9, b"x", 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("data", "unmask"), [(b"\x81\x01x", True), (frame(0x81, b"x", KEY), False), (b"\x82\xff\x80" + bytes(7), True)]
)
def test_parse_frame_rejects_wrong_mask_and_length_of_64_bits(data, unmask):
    stream = module("stream")
    with pytest.raises(stream.InvalidFrameException):
        stream.parse_frame(io.BytesIO(data).read, unmask_receive=unmask)


def test_parse_frame_logs_length_that_is_not_minimal(caplog):
    parse = module("stream").parse_frame
    for form, size in ((16, 125), (64, 0xFFFF)):
        assert parse(io.BytesIO(frame(0x81, bytes(size), KEY, form)).read)[1] == bytes(size)
    assert [record.args[0] for record in caplog.records] == [125, 0xFFFF]
    for size in (126, 0x10000):
        parse(io.BytesIO(frame(0x81, bytes(size), KEY)).read)
    assert len(caplog.records) == 2


def test_frame_and_stream_options_have_defaults():
    stream = module("stream")
    assert vars(stream.Frame()) == {"fin": 1, "rsv1": 0, "rsv2": 0, "rsv3": 0, "opcode": None, "payload": b""}
    first, second = stream.StreamOptions(), stream.StreamOptions()
    first.incoming_frame_filters.append(None)
    assert second.incoming_frame_filters == []
    assert (second.encode_text_message_to_utf8, second.mask_send, second.unmask_receive) == (True, False, True)


# util.


def test_maskers_mask_in_pieces():
    util = module("util")
    masker = util.RepeatedXorMasker(KEY)
    payload = bytes(range(100))
    assert masker.mask(payload[:7]) + masker.mask(b"") + masker.mask(payload[7:]) == mask(payload, KEY)
    assert util.NoopMasker().mask(payload) == payload


def test_byte_functions_pack_and_format():
    util = module("util")
    assert util.pack_byte(255) == b"\xff"
    assert util.hexify(b"\x00\xff") == "00 ff"


def test_class_logger_and_prepended_message_name_their_origin():
    util = module("util")
    assert util.get_class_logger(util.NoopMasker()).name == f"{util.NoopMasker.__module__}.NoopMasker"
    error = ValueError("inner")
    util.prepend_message_to_exception("outer: ", error)
    assert str(error) == "outer: inner"


@pytest.mark.parametrize("bits", [8, 15])
def test_inflater_returns_what_deflater_compressed(bits):
    util = module("util")
    deflater, inflater = util._Deflater(bits), util._Inflater(bits)
    inflater.append(deflater.compress(b"one ") + deflater.compress_and_flush(b"two "))
    assert inflater.decompress(3) == b"one"
    assert inflater.decompress(-1) == b" two "
    inflater.append(deflater.compress_and_finish(b"three") + util._Deflater(bits).compress_and_flush(b" four"))
    assert inflater.decompress(-1) == b"three four"
    assert inflater.decompress(-1) == b""
    inflater.reset()
    inflater.append(util._Deflater(bits).compress_and_flush(b"again"))
    assert inflater.decompress(-1) == b"again"


def test_message_deflater_keeps_or_resets_its_window():
    util = module("util")
    hello = bytes.fromhex("f248cdc9c90700")  # RFC 7692 7.2.3.1
    keeping, resetting = util._RFC1979Deflater(None, False), util._RFC1979Deflater(15, True)
    assert [keeping.filter(b"Hello"), keeping.filter(b"Hello")] == [hello, bytes.fromhex("f200110000")]
    assert [resetting.filter(b"Hello"), resetting.filter(b"Hello")] == [hello, hello]
    assert keeping.filter(b"") == b"\0"
    assert keeping.filter(b"Hello", bfinal=True) + keeping.filter(b"Hello") == bytes.fromhex("03130000") + hello
    assert util._RFC1979Deflater(15, False).filter(b"Hello", end=False).endswith(b"\x00\x00\xff\xff")


def test_message_inflater_continues_after_final_block():
    inflate = module("util")._RFC1979Inflater().filter
    assert inflate(bytes.fromhex("f348cdc9c9070000")) == b"Hello"
    assert inflate(bytes.fromhex("f248cdc9c90700")) + inflate(bytes.fromhex("f200110000")) == b"HelloHello"
    with pytest.raises(zlib.error):
        inflate(b"\xff\xff")


# handshake.


def test_compute_accept_hashes_the_key():
    hybi = module("handshake.hybi")
    assert hybi.compute_accept(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 1.3
    assert hybi.compute_accept_from_unicode("dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert hybi.format_header("Name", "value") == "Name: value\r\n"


def test_header_checks_raise_handshake_exception():
    base = module("handshake.base")
    request = SimpleNamespace(headers_in={"Upgrade": "WebSocket"})
    assert base.get_mandatory_header(request, "Upgrade") == "WebSocket"
    base.validate_mandatory_header(request, "Upgrade", "websocket")
    base.validate_subprotocol("chat")
    assert base.parse_token_list("a, b") == ["a", "b"]
    assert (base.get_default_port(True), base.get_default_port(False)) == (443, 80)
    for call in (
        lambda: base.get_mandatory_header(request, "Origin"),
        lambda: base.validate_subprotocol("a b"),
        lambda: base.parse_token_list(""),
        lambda: base.parse_token_list("a b"),
    ):
        with pytest.raises(base.HandshakeException):
            call()
    with pytest.raises(base.HandshakeException) as caught:
        base.validate_mandatory_header(request, "Upgrade", "other", 426)
    assert caught.value.status == 426


# common and http_header_util.


@pytest.mark.parametrize(
    ("data", "extensions"),
    [
        ("a", [("a", [])]),
        ("a,b ; c", [("a", []), ("b", [("c", None)])]),
        (",a, ,b,", [("a", []), ("b", [])]),
        ('a; x = 1; y="q, \\"q\\""; z', [("a", [("x", "1"), ("y", 'q, "q"'), ("z", None)])]),
        ('a; x="one\r\n\ttwo"', [("a", [("x", "one two")])]),
        ("a; x=1; x=2", [("a", [("x", "1"), ("x", "2")])]),
    ],
)
def test_parse_extensions_returns_names_and_parameters(data, extensions):
    found = module("common").parse_extensions(data)
    assert [(each.name(), each.get_parameters()) for each in found] == extensions


@pytest.mark.parametrize("data", ["", ",", ";", "a b", "a;; b", "a; x=", "a; =1", 'a; x="1', "a; x y", 'a; x="\x01"'])
def test_parse_extensions_rejects_malformed_data(data):
    common = module("common")
    with pytest.raises(common.ExtensionParsingException):
        common.parse_extensions(data)


def test_format_extension_quotes_values():
    common = module("common")
    extension = common.ExtensionParameter("a")
    extension.add_parameter("x", None)
    extension.add_parameter("y", "1")
    extension.add_parameter("z", 'q"\\')
    assert common.format_extension(extension) == r'a; x; y=1; z="q\"\\"'
    assert common.format_extensions([extension, common.ExtensionParameter("b")]).endswith(", b")


def test_parsing_state_is_consumed_part_by_part():
    util = module("http_header_util")
    state = util.ParsingState(' token "a b"; =')
    assert (util.peek(state), util.peek(state, 1), util.peek(state, 99)) == (" ", "t", None)
    assert (util.consume_lws(state), util.consume_lws(state)) == (True, False)
    assert (util.consume_string(state, "tokens"), util.consume_token(state)) == (False, "token")
    util.consume_lwses(state)
    assert util.consume_token_or_quoted_string(state) == "a b"
    assert (util.consume_token_or_quoted_string(state), util.consume_string(state, ";")) == (None, True)
    util.consume(state, 2)
    assert (util.peek(state), util.consume_token(state)) == (None, None)


def test_white_space_of_a_quoted_string_becomes_a_space():
    util = module("http_header_util")
    assert util.consume_token_or_quoted_string(util.ParsingState('"a \t\r\n b\\  \\"\r\n\tc"')) == 'a  b  " c'


@pytest.mark.parametrize("space", [" ", "\t", "\r\n "])
def test_quoted_string_without_an_end_is_refused_in_linear_time(space):
    def parse(size):
        with pytest.raises(module("common").ExtensionParsingException):
            module("common").parse_extensions('a; b="' + space * size)

    assert_linear(parse, 20_000)


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("/a?b", (None, None, "/a?b")),
        ("ws://h/a?b", ("h", 80, "/a?b")),
        ("wss://h:81", ("h", 81, "/")),
        ("wss://[::1]/", ("::1", 443, "/")),
        ("http://h/", (None, None, "http://h/")),
        ("ws://h:x/", (None, None, None)),
        ("ws:///a", (None, None, None)),
    ],
)
def test_parse_uri_returns_host_port_and_resource(uri, parts):
    assert module("http_header_util").parse_uri(uri) == parts


def test_memorizing_file_remembers_whole_lines():
    memorizing = module("memorizingfile").MemorizingFile
    file = memorizing(io.BytesIO(b"one\ntwo\nthree\nfour"), 2)
    assert [file.readline(), file.readline(1), file.readline(9), file.readline(2), file.readline()] == [
        b"one\n", b"t", b"wo\n", b"th", b"ree\n",
    ]  # fmt: skip
    assert file.get_memorized_lines() == [b"one\n", b"two\n"]
    assert (file.read(), file.readline()) == (b"four", b"")
    empty = memorizing(io.BytesIO(b""))
    assert (empty.readline(), empty.get_memorized_lines()) == (b"", [])


def test_constants_and_packages_have_both_names():
    for package in ("mod_pywebsocket", "pywebsocket3"):
        common = import_module(f"{package}.common")
        assert common.WEBSOCKET_ACCEPT_UUID == b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        assert (common.VERSION_HYBI13, common.VERSION_HYBI17) == (13, 13)
        extensions = import_module(f"{package}.extensions")
        offer = common.ExtensionParameter("x-unknown")
        assert extensions.get_extension_processor(offer) is None
        assert extensions.ExtensionProcessorInterface(offer).get_extension_response() is None


# extensions.


def respond(offer, **settings):
    """Return the response of the processor of permessage-deflate to an offer, as text; or None."""
    common, extensions = module("common"), module("extensions")
    processor = extensions.get_extension_processor(common.parse_extensions(offer)[0])
    assert isinstance(processor, extensions.PerMessageDeflateExtensionProcessor)
    for name, value in settings.items():
        getattr(processor, f"set_{name}")(value)
    response = processor.get_extension_response()
    assert processor.is_active() is (response is not None)
    return response and common.format_extension(response)


OFFER = "permessage-deflate; client_max_window_bits"


@pytest.mark.parametrize(
    ("offer", "settings", "response"),
    [
        (OFFER, {}, "permessage-deflate"),
        (OFFER, {"client_max_window_bits": 8}, "permessage-deflate; client_max_window_bits=8"),
        (OFFER, {"client_no_context_takeover": True}, "permessage-deflate; client_no_context_takeover"),
        ("permessage-deflate", {"client_max_window_bits": 10}, None),
        (
            OFFER + "; server_no_context_takeover; server_max_window_bits=10; client_no_context_takeover",
            {"client_max_window_bits": 9},
            "permessage-deflate; server_max_window_bits=10; server_no_context_takeover; client_max_window_bits=9; "
            "client_no_context_takeover",
        ),
        ("permessage-deflate; unknown", {}, None),
        ("permessage-deflate; server_max_window_bits=16", {}, None),
        (OFFER, {"active": False}, None),
    ],
)
def test_deflate_processor_answers_offer(offer, settings, response):
    assert respond(offer, **settings) == response
