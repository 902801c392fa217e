"""Heads that are read without h11: they are read as h11 reads them, or not at all."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from framewire.errors import HandshakeError
from framewire.exceptions import InvalidMessage
from framewire.http import message_parser, ordinary_heads
from framewire.http.http11 import DEFAULT_LIMITS, HeadLimits, HeadScanner

pytestmark = pytest.mark.both_backends

FIELDS = b"Upgrade: websocket\r\nConnection: Upgrade\r\nX-Empty:\r\nx-spaces: \t a b \t\r\nX-Latin: caf\xe9\r\n"
REQUEST = b"GET /chat?a=b%20c HTTP/1.1\r\nHost: example.com:8080\r\n" + FIELDS + b"\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n" + FIELDS + b"\r\n"

#: Pieces of heads: what is common, and what parsers have disagreed about.
_names = st.sampled_from(
    ["Host", "host", "HOST", "Upgrade", "Content-Length", "Transfer-Encoding", "Expect", "Cookie", "X-A", "!#$%&'*+",
     "Host ", "X A", "", "X\xe9", "X\t", "@"]
)  # fmt: skip
_values = st.one_of(
    st.sampled_from(
        ["", "a", " a", "a ", "\t a\t b ", "0", "chunked", "100-continue", "a:b", "caf\xe9", "1, 1", "gzip"]
    ),
    st.text("\t !~:,\x80\xa0\xff", max_size=6),
)
_line = st.tuples(_names, st.sampled_from([":", ": ", " :", ""]), _values).map("".join).filter(len)
_fields = st.lists(_line, max_size=5)  # an empty line would end the head
_request_lines = st.one_of(
    st.just("GET / HTTP/1.1"),
    st.tuples(
        st.sampled_from(["GET", "get", "POST", "HEAD", "G ET", ""]), st.sampled_from([" ", "  ", "\t", ""]),
        st.sampled_from(["/", "/a?b#c", "*", "http://a/b", "/caf\xe9", "/a b", ""]), st.sampled_from([" ", "  ", ""]),
        st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.1 ", "http/1.1", "HTTP/1.10", ""]),
    ).map("".join),
)  # fmt: skip
_status_lines = st.one_of(
    st.just("HTTP/1.1 101 Switching Protocols"),
    st.tuples(
        st.sampled_from(["HTTP/1.1", "HTTP/1.0", "http/1.1"]), st.sampled_from([" ", "  "]),
        st.sampled_from(["101", "100", "200", "1011", "10"]), st.sampled_from([" ", "  ", "", "\t"]),
        st.sampled_from(["Switching Protocols", "OK ", "", "a  b", "caf\xe9", "\tOK"]),
    ).map("".join),
)  # fmt: skip


def _head(first, fields):
    return "\r\n".join([first, *fields, "", ""]).encode("latin-1")


def _parse_request(head):
    found = ordinary_heads.take_request(head, DEFAULT_LIMITS)
    return None if found is None else found[0]


def _passes_scanner(head):
    try:
        return HeadScanner().receive(head) == (head, b"")
    except HandshakeError:
        return False


@given(_request_lines, _fields, st.binary(max_size=9))
@example("GET / HTTP/1.1", ["Host: a", "Host: a"], b"")
@example("GET / HTTP/1.1", ["Host: a", "Content-Length: 5"], b"")
@example("GET / HTTP/1.1", ["Host: a"], b"\r\n\r\n")
def test_ordinary_request_is_read_as_scanner_and_h11_read_it(first, fields, rest):
    head = _head(first, fields)
    found = ordinary_heads.take_request(head + rest, DEFAULT_LIMITS)
    if found is not None:
        assert HeadScanner().receive(head + rest) == (head, rest)
        assert found == (message_parser.parse_request(head), rest)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_ordinary_request_is_taken_from_any_bytes(kind):
    assert ordinary_heads.take_request(kind(REQUEST + b"x"), DEFAULT_LIMITS) == (_parse_request(REQUEST), b"x")


def test_ordinary_request_is_within_the_limits():
    limits = HeadLimits(max_line=256, max_headers=16)
    longest = REQUEST.replace(b"X-Empty:", b"X-Empty: " + b"a" * (256 - len(REQUEST) - 1))
    assert len(longest) == 256
    assert ordinary_heads.take_request(longest, limits) is not None
    assert ordinary_heads.take_request(longest.replace(b"X-Empty:", b"X-Empty2:"), limits) is None
    for lines, taken in ((15, True), (16, False)):
        head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"b:\r\n" * lines + b"\r\n"
        assert (ordinary_heads.take_request(head, limits) is not None) is taken


@given(_status_lines, _fields)
def test_ordinary_switch_is_read_as_h11_reads_it(first, fields):
    head = _head(first, fields)
    response = ordinary_heads.parse_switch(head) if _passes_scanner(head) else None
    if response is not None:
        assert response == message_parser.ResponseParser().parse_head(head)


def test_heads_of_usual_clients_and_servers_are_ordinary():
    request, response = _parse_request(REQUEST), ordinary_heads.parse_switch(SWITCH)
    assert (request.method, request.target, request.version) == ("GET", "/chat?a=b%20c", "HTTP/1.1")
    assert request == message_parser.parse_request(REQUEST)
    assert response == message_parser.ResponseParser().parse_head(SWITCH)
    assert response.headers.lines[-3:] == (("X-Empty", ""), ("x-spaces", "a b"), ("X-Latin", "caf\xe9"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"GET", b"POST"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"Host: example.com:8080\r\n", b""),
        (b"X-Empty:", b"Host: other"),
        (b"X-Empty:", b"Content-Length: 0"),
        (b"X-Empty:", b"transfer-encoding: chunked"),
        (b"X-Empty:", b"X Empty:"),
        (b"X-Empty:", b"X-Empty"),
    ],
)
def test_request_that_is_not_ordinary_is_left_to_h11(old, new):
    assert _parse_request(REQUEST.replace(old, new, 1)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"101", b"100"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"X-Empty:", b"Content-Length: 0"),
        (b"X-Empty:", b"X Empty:"),
    ],
)
def test_response_that_is_not_ordinary_is_left_to_h11(old, new):
    assert ordinary_heads.parse_switch(SWITCH.replace(old, new, 1)) is None


def test_head_that_h11_rejects_is_not_ordinary():
    head = REQUEST.replace(b"X-Empty", b"X Empty")
    assert _parse_request(head) is None
    with pytest.raises(HandshakeError):
        message_parser.parse_request(head)
    with pytest.raises(InvalidMessage):
        message_parser.ResponseParser().parse_head(SWITCH.replace(b"X-Empty", b"X Empty"))
