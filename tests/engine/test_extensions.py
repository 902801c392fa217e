"""Negotiation of extensions (RFC 6455 9.1, RFC 7692 5 and 7.1), and an extension of users."""

import bz2

import pytest

from framewire import CLIENT, SERVER, Stream
from framewire.handshake import ClientHandshake, ServerHandshake
from framewire.http.headers import format_extensions, parse_extensions
from framewire.http.uri import parse_uri
from framewire.protocol.codecs import accept_offers, agree_to_answers, check_codecs, make_offers
from framewire.protocol.permessage_deflate import (
    CLIENT_DEFAULT,
    SERVER_DEFAULT,
    Deflate,
    PerMessageDeflate,
    add_compression,
)

pytestmark = pytest.mark.engine

NAME = "permessage-deflate"
PLAIN = {"server_max_window_bits": None, "client_max_window_bits": None}


def terms(text):
    """Parse the parameters of permessage-deflate in `text`."""
    (extension,) = parse_extensions([f"{NAME}; {text}" if text else NAME])
    return extension[1]


def text_of(parameters):
    return format_extensions([(NAME, parameters)]).removeprefix(NAME).removeprefix("; ")


def settings(codec):
    """Return (encode_bits, decode_bits, encode_resets, decode_resets) of a codec."""
    return codec.encode_bits, codec.decode_bits, codec.encode_resets, codec.decode_resets


#: Settings of the server, the offer, the response, and the settings of the server's codec.
ACCEPTED = [
    ({}, "", "server_max_window_bits=12", (12, 15, False, False)),
    (PLAIN, "", "", (15, 15, False, False)),
    ({}, "client_max_window_bits", "server_max_window_bits=12; client_max_window_bits=12", (12, 12, False, False)),
    (PLAIN, "client_max_window_bits", "client_max_window_bits=15", (15, 15, False, False)),
    *(
        (PLAIN, f"client_max_window_bits={n}", f"client_max_window_bits={n}", (15, max(n, 9), False, False))
        for n in range(8, 16)
    ),
    *(
        (PLAIN, f"server_max_window_bits={n}", f"server_max_window_bits={n}", (n, 15, False, False))
        for n in range(9, 16)
    ),
    ({}, "server_max_window_bits=10", "server_max_window_bits=10", (10, 15, False, False)),
    ({}, "server_max_window_bits=15", "server_max_window_bits=12", (12, 15, False, False)),
    ({}, 'server_max_window_bits="10"', "server_max_window_bits=10", (10, 15, False, False)),
    (
        {},
        "client_max_window_bits=14; server_max_window_bits=9",
        "server_max_window_bits=9; client_max_window_bits=12",
        (9, 12, False, False),
    ),
    (PLAIN, "server_no_context_takeover", "server_no_context_takeover", (15, 15, True, False)),
    (PLAIN, "client_no_context_takeover", "client_no_context_takeover", (15, 15, False, True)),
    ({**PLAIN, "server_no_context_takeover": True}, "", "server_no_context_takeover", (15, 15, True, False)),
    ({**PLAIN, "client_no_context_takeover": True}, "", "client_no_context_takeover", (15, 15, False, True)),
    (
        PLAIN,
        "client_no_context_takeover; server_no_context_takeover; client_max_window_bits; server_max_window_bits=11",
        "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11; client_max_window_bits=15",
        (11, 15, True, True),
    ),
]

#: Parameters that are invalid in an offer and in a response.
MALFORMED = [
    *(
        f"{side}_max_window_bits={value}"
        for side in ("server", "client")
        for value in ("0", "7", "16", "99999999999999999999", "010", "08", "a", "+9", "1e1", "9.0", "-9")
    ),
    "server_max_window_bits",
    "server_no_context_takeover=1",
    "client_no_context_takeover=true",
    "server_no_context_takeover; server_no_context_takeover",
    "client_no_context_takeover; client_no_context_takeover",
    "server_max_window_bits=10; server_max_window_bits=10",
    "client_max_window_bits=10; client_max_window_bits=11",
    "unknown",
    "unknown=1",
    "Server_No_Context_Takeover",
    "server_max_window_bits=10; mystery",
]

#: Offers that a server declines; zlib cannot compress with a window of 256 bytes (8 bits).
DECLINED = [*MALFORMED, "server_max_window_bits=8", "server_max_window_bits=8; client_max_window_bits"]


@pytest.mark.parametrize(("options", "offer", "answer", "expected"), ACCEPTED)
def test_acceptable_offer_gets_the_expected_response(options, offer, answer, expected):
    parameters, codec = PerMessageDeflate(**options).accept(terms(offer))
    assert text_of(parameters) == answer
    assert settings(codec) == expected


@pytest.mark.parametrize("options", [{}, PLAIN])
@pytest.mark.parametrize("offer", DECLINED)
def test_invalid_offer_is_declined(offer, options):
    extension = PerMessageDeflate(**options)
    assert extension.accept(terms(offer)) is None
    assert accept_offers([(NAME, terms(offer))], [extension]) == ([], [])


#: Settings of the client, the response, and the settings of the client's codec.
AGREED = [
    ({}, "server_max_window_bits=12", (12, 12, False, False)),
    ({}, "server_max_window_bits=8; client_max_window_bits=9", (9, 9, False, False)),
    ({}, "server_max_window_bits=9; client_max_window_bits=12", (12, 9, False, False)),
    (PLAIN, "", (15, 15, False, False)),
    *((PLAIN, f"client_max_window_bits={n}", (n, 15, False, False)) for n in range(9, 16)),
    *((PLAIN, f"server_max_window_bits={n}", (15, max(n, 9), False, False)) for n in range(8, 16)),
    (PLAIN, "server_no_context_takeover", (15, 15, False, True)),
    (PLAIN, "client_no_context_takeover", (15, 15, True, False)),
    ({**PLAIN, "client_no_context_takeover": True}, "", (15, 15, True, False)),
    ({**PLAIN, "server_no_context_takeover": True}, "server_no_context_takeover", (15, 15, False, True)),
]

REFUSED = [
    *((PLAIN, answer) for answer in MALFORMED),
    (PLAIN, "client_max_window_bits"),
    (PLAIN, "client_max_window_bits=8"),
    ({}, ""),
    ({}, "server_max_window_bits=13"),
    ({}, "server_max_window_bits=12; client_max_window_bits=13"),
    ({**PLAIN, "server_no_context_takeover": True}, ""),
]


@pytest.mark.parametrize(("options", "answer", "expected"), AGREED)
def test_valid_response_configures_the_client_codec(options, answer, expected):
    (codec,) = agree_to_answers([(NAME, terms(answer))], [PerMessageDeflate(**options)])
    assert settings(codec) == expected


@pytest.mark.parametrize(("options", "answer"), REFUSED)
def test_invalid_extension_response_raises_value_error(options, answer):
    with pytest.raises(ValueError, match=r"window_bits|takeover|unknown|repeated"):
        agree_to_answers([(NAME, terms(answer))], [PerMessageDeflate(**options)])


@pytest.mark.parametrize(
    "answers", [f"{NAME}, {NAME}", "permessage-bzip2", f"{NAME}, x-other", "Permessage-Deflate"], ids=str
)
def test_response_for_an_extension_not_offered_raises_value_error(answers):
    with pytest.raises(ValueError, match="not offered"):
        agree_to_answers(parse_extensions([answers]), [PerMessageDeflate(**PLAIN)])


@pytest.mark.parametrize(
    ("answer", "decode_bits"),
    [("", 15), ("server_max_window_bits=12", 12), ("server_no_context_takeover; server_max_window_bits=10", 10)],
)
def test_answer_to_any_of_several_offers_of_one_extension_is_agreed_to(answer, decode_bits):
    wide = PerMessageDeflate(**PLAIN)
    narrow = PerMessageDeflate(server_max_window_bits=10, server_no_context_takeover=True)
    for extensions in ([wide, narrow], [narrow, wide]):
        (codec,) = agree_to_answers([(NAME, terms(answer))], extensions)
        assert settings(codec)[1] == decode_bits
        with pytest.raises(ValueError, match="answered twice"):
            agree_to_answers([(NAME, terms(answer))] * 2, extensions)
        with pytest.raises(ValueError, match="repeated"):
            agree_to_answers([(NAME, terms("server_max_window_bits=9; server_max_window_bits=9"))], extensions)


def test_missing_extension_response_means_no_extension():
    assert agree_to_answers([], [CLIENT_DEFAULT]) == []


@pytest.mark.parametrize(
    ("options", "offer"),
    [
        (PLAIN, "client_max_window_bits"),
        ({}, "server_max_window_bits=12; client_max_window_bits=12"),
        (
            {"server_no_context_takeover": True, "client_no_context_takeover": True},
            "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12; "
            "client_max_window_bits=12",
        ),
    ],
)
def test_client_offer_reflects_its_settings(options, offer):
    assert make_offers([PerMessageDeflate(**options)]) == [(NAME, terms(offer))]


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        (f"{NAME}; server_max_window_bits=8, {NAME}; server_max_window_bits=9", "server_max_window_bits=9"),
        (f"{NAME}; mystery, x-other; a=b, {NAME}; client_max_window_bits", "client_max_window_bits=15"),
        (f"{NAME}; server_max_window_bits=10, {NAME}", "server_max_window_bits=10"),
        (f"{NAME}, {NAME}; server_max_window_bits=10", ""),
    ],
)
def test_first_acceptable_offer_wins(offers, answer):
    answers, codecs = accept_offers(parse_extensions([offers]), [PerMessageDeflate(**PLAIN)])
    assert answers == [(NAME, terms(answer))]
    assert len(codecs) == 1


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("resets", [False, True])
def test_handshake_gives_both_sides_matching_codecs(bits, resets):
    server_extension = PerMessageDeflate(server_max_window_bits=bits, client_no_context_takeover=resets)
    client = ClientHandshake(parse_uri("ws://host/"), extensions=make_offers([CLIENT_DEFAULT]))
    server = ServerHandshake()
    server.receive(client.request())
    answers, (server_codec,) = accept_offers(server.check().extensions, [server_extension])
    client.receive(server.accept(extensions=answers))
    (client_codec,) = agree_to_answers(client.extensions, [CLIENT_DEFAULT])
    assert settings(server_codec)[::2] == settings(client_codec)[1::2]
    assert settings(server_codec)[1::2] == settings(client_codec)[::2]
    ends = Stream(SERVER, extensions=[server_codec]), Stream(CLIENT, extensions=[client_codec])
    for sender, receiver in (ends, ends[::-1]):
        for message in ("Hello" * 20, b"Hello" * 20, "Hello" * 20):
            frame = sender.send(message)
            assert frame[0] & 0x40
            assert receiver.receive(frame) == [message]


def test_deflate_settings_have_defaults():
    _, codec = PerMessageDeflate().accept([])
    assert (codec.encode_bits, codec.decode_bits, codec.memory_level, codec.threshold) == (12, 15, 5, 64)
    assert (codec.encode_resets, codec.decode_resets, codec.level) == (False, False, -1)


@pytest.mark.parametrize(
    "options",
    [
        {"server_max_window_bits": 8},
        {"client_max_window_bits": 16},
        {"memory_level": 0},
        {"memory_level": 10},
    ],
)
def test_invalid_deflate_settings_raise_value_error(options):
    with pytest.raises(ValueError, match="9"):
        PerMessageDeflate(**options)


@pytest.mark.parametrize("name", ["server_max_window_bits", "client_max_window_bits"])
@pytest.mark.parametrize("bits", [12.5, "12", True, b"12"], ids=repr)
def test_window_bits_that_are_no_integers_raise_type_error(name, bits):
    with pytest.raises(TypeError, match=f"{name} is an integer or None, not {type(bits).__name__}"):
        PerMessageDeflate(**{name: bits})


def test_add_compression_adds_the_default_unless_configured():
    own = PerMessageDeflate(threshold=1)
    assert add_compression([], "deflate", SERVER_DEFAULT) == [SERVER_DEFAULT]
    assert add_compression([], None, SERVER_DEFAULT) == []
    assert add_compression([own], "deflate", SERVER_DEFAULT) == [own]
    assert add_compression([own], None, SERVER_DEFAULT) == [own]
    for compression in ("deflate", None):
        assert add_compression(iter([own]), compression, SERVER_DEFAULT) == [own]
    for compression in ("deflate", None):
        with pytest.raises(TypeError, match="str is none"):
            add_compression(["x"], compression, SERVER_DEFAULT)
    with pytest.raises(ValueError, match="gzip"):
        add_compression([], "gzip", SERVER_DEFAULT)


class Bzip2:
    """An extension that compresses each message with bzip2 and sets RSV2."""

    name = "x-bzip2"
    rsv = 0x20
    threshold = 1
    pending = False

    def offers(self):
        return [[("level", "9")]]

    def accept(self, offer):
        return (offer, Bzip2()) if list(offer) == [("level", "9")] else None

    def agree(self, answer):
        return Bzip2()

    def __init__(self):
        self.payload = self.content = b""
        self.decompressor = None

    def decode(self, payload, most, last):
        assert not (self.pending and payload)
        self.payload += payload
        if not last:
            return b""
        self.decompressor = self.decompressor or bz2.BZ2Decompressor()
        try:
            content = self.decompressor.decompress(self.payload, most)
        except OSError:
            raise ValueError("not bzip2") from None
        self.payload = b""
        self.pending = not self.decompressor.eof
        if not self.pending:
            self.decompressor = None
        return content

    def encode(self, content, last):
        self.content += content
        if not last:
            return b""
        payload, self.content = bz2.compress(self.content), b""
        return payload

    def abandon(self):
        self.content = b""

    def close(self):
        self.decompressor = None


def test_other_extension_works_beside_permessage_deflate():
    extensions = [Bzip2(), PerMessageDeflate()]
    answers, codecs = accept_offers(make_offers(extensions), extensions)
    assert [name for name, _ in answers] == ["x-bzip2", NAME]
    server = Stream(SERVER, extensions=codecs)
    client = Stream(CLIENT, extensions=agree_to_answers(answers, extensions))
    deflating = Stream(CLIENT, extensions=[Deflate(encode_bits=12)])
    long = "Hello, " * 20_000
    frame = client.send(long)
    assert frame[0] == server.send(long)[0] == 0xA1  # of the first extension
    assert server.receive(frame) == [long]
    assert server.receive(deflating.send("Hello") + client.send("Hel", last=False) + client.send("lo")) == ["Hello"] * 2
    assert server.receive(client.send("a" * (1 << 20), compress=False)) == ["a" * (1 << 20)]
    assert server.receive(client.send("a" * ((1 << 20) + 1)))[-1].code == 1009


def test_two_rsv_bits_on_one_message_are_a_violation():
    server = Stream(CLIENT, extensions=[Bzip2(), Deflate()])
    assert server.receive(b"\xe1\x00")[-1].code == 1002


def test_two_extensions_cannot_share_an_rsv_bit():
    other = Bzip2()
    other.rsv = 0x40
    with pytest.raises(ValueError, match="RSV"):
        Stream(SERVER, extensions=[Deflate(), other])
    for other.rsv in (0x80, 0x08, 0x01):
        with pytest.raises(ValueError, match="RSV"):
            check_codecs([other])
    other.rsv = 0
    assert check_codecs([other]) == []

    class Rival(PerMessageDeflate):
        name = "x-rival"

    class Marker(Bzip2):
        name, rsv = "x-marker", 0

        def accept(self, offer):
            return offer, Marker()

    answers, _ = accept_offers([("x-marker", [("first", None)]), ("x-marker", [])], [Marker()])
    assert answers == [("x-marker", [("first", None)])]
    answers, codecs = accept_offers([("x-rival", []), (NAME, [])], [Rival(**PLAIN), PerMessageDeflate(**PLAIN)])
    assert [name for name, _ in answers] == ["x-rival"]
    assert len(codecs) == 1
