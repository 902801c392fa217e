"""Exceptions with the names of websockets: when they are raised, base classes, and pickle."""

import pickle

import pytest

from framewire import exceptions
from framewire.errors import HandshakeError, LocalError, ProxyError, ResponseError, SecurityError
from framewire.handshake import ClientHandshake, Headers, Response, ServerHandshake, parse_uri
from framewire.http.proxy import Tunnel, parse_proxy

pytestmark = pytest.mark.engine

KEY = b"the sample nonce"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def ask(request):
    server = ServerHandshake()
    server.receive(request)
    server.check(origins=["https://here"])


@pytest.mark.parametrize(
    ("old", "new", "kind", "status", "attributes"),
    [
        (b"GET", b"PUT", exceptions.InvalidMethod, 405, {"method": "PUT"}),
        (b"HTTP/1.1", b"HTTP/1.0", exceptions.InvalidProtocol, 400, {"protocol": "HTTP/1.0"}),
        (b"Host", b"Origin: x\r\nHost", exceptions.InvalidOrigin, 403, {"name": "Origin", "value": "x"}),
        (b"Host", b"X: 1\r\nHost", exceptions.InvalidOrigin, 403, {"name": "Origin", "value": None}),
        (b"GET /", b"GET /" + b"a" * 9000, exceptions.RequestLineTooLong, 414, {}),
        (b"Host", b"X: " + b"a" * 9000 + b"\r\nHost", exceptions.HeaderLineTooLong, 431, {}),
        (b"Host", b"X: " + b"\r\nX: ".join([b"a" * 7000] * 6) + b"\r\nHost", exceptions.HeaderLineTooLong, 431, {}),
        (b"Host", b"X: 1\r\n" * 130 + b"Host", exceptions.TooManyHeaders, 431, {}),
    ],
)
def test_server_raises_the_exception_of_each_fault_of_a_request(old, new, kind, status, attributes):
    with pytest.raises(kind) as raised:
        ask(REQUEST.replace(old, new, 1))
    assert isinstance(raised.value, HandshakeError)
    assert raised.value.status == status
    assert {name: getattr(raised.value, name) for name in attributes} == attributes


def answer(response):
    client = ClientHandshake(parse_uri("ws://h/"), key=KEY)
    client.request()
    client.receive(response)
    client.receive_eof()


@pytest.mark.parametrize(
    ("old", "new", "kind", "attributes"),
    [
        (b"Upgrade: websocket", b"Upgrade: h2c", exceptions.InvalidUpgrade, {"name": "Upgrade", "value": "h2c"}),
        (b"Upgrade: websocket\r\n", b"", exceptions.InvalidUpgrade, {"name": "Upgrade", "value": None}),
        (b"Connection: Upgrade", b"Connection: a", exceptions.InvalidUpgrade, {"name": "Connection", "value": "a"}),
        (b"Accept: s3", b"Accept: s4", exceptions.InvalidHeaderValue, {"name": "Sec-WebSocket-Accept"}),
        (b"-Accept", b"-Other", exceptions.InvalidHeader, {"name": "Sec-WebSocket-Accept", "value": None}),
        (b"Upgrade:", b"Sec-WebSocket-Extensions: ;\r\nUpgrade:", exceptions.InvalidHeaderFormat, {"value": ";"}),
        (b"HTTP/1.1", b"HTTP/1.0", exceptions.InvalidMessage, {}),
        (b"HTTP/1.1", b"hello", exceptions.InvalidMessage, {}),
        (b"\r\n\r\n", b"", exceptions.InvalidMessage, {}),
        (b"101 ", b"101 " + b"a" * 9000, exceptions.StatusLineTooLong, {}),
    ],
)
def test_client_raises_the_exception_of_each_fault_of_a_response(old, new, kind, attributes):
    with pytest.raises(kind) as raised:
        answer(RESPONSE.replace(old, new, 1))
    assert isinstance(raised.value, ResponseError)
    assert {name: getattr(raised.value, name) for name in attributes} == attributes
    assert raised.value.response is not None or not isinstance(raised.value, exceptions.InvalidHeader)


@pytest.mark.parametrize(
    ("inserted", "cause"),
    [
        (b"X: " + b"a" * 9000, exceptions.HeaderLineTooLong),
        (b"X: 1\r\n" * 130 + b"X: 1", exceptions.TooManyHeaders),
        (b"a\x00: b", HandshakeError),
    ],
)
def test_client_raises_invalid_message_from_the_fault_of_a_head(inserted, cause):
    with pytest.raises(exceptions.InvalidMessage) as raised:
        answer(RESPONSE.replace(b"Upgrade:", inserted + b"\r\nUpgrade:", 1))
    assert type(raised.value.__cause__) is cause


@pytest.mark.parametrize(
    "junk", [b"HELO relay\r\n", b"220 smtp\r\n", b"HTTQ/1.1 101 x\r\n\r\n", b"\x00", b"\r\n", b"http/1.1 "]
)
def test_client_rejects_other_protocols_at_the_first_invalid_byte(junk):
    for cut in range(len(junk) + 1):
        client = ClientHandshake(parse_uri("ws://h/"), key=KEY)
        client.request()
        with pytest.raises(exceptions.InvalidMessage, match="^the response is not HTTP$") as raised:
            client.receive(junk[:cut])
            client.receive(junk[cut:])
        assert isinstance(raised.value.__cause__, ValueError)


def test_client_raises_invalid_message_from_eof_error_at_the_end_of_input():
    with pytest.raises(exceptions.InvalidMessage) as raised:
        answer(RESPONSE[:-2])
    assert isinstance(raised.value.__cause__, EOFError)


def test_refusal_of_a_server_is_no_invalid_message():
    with pytest.raises(exceptions.InvalidStatus) as raised:
        answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    assert not isinstance(raised.value, (exceptions.InvalidMessage, exceptions.InvalidHeader))


@pytest.mark.parametrize("url", ["ftp://h", "http://", "http://h/path", "http://h?q"])
def test_invalid_proxy_url_raises_invalid_proxy(url):
    with pytest.raises(exceptions.InvalidProxy) as raised:
        parse_proxy(url)
    assert raised.value.proxy == url
    assert url not in str(raised.value)


def test_proxy_exceptions_tell_refusals_from_malformed_answers():
    target = parse_uri("ws://h/")
    with pytest.raises(exceptions.InvalidProxyStatus, match="^the proxy answered 407$") as raised:
        Tunnel(parse_proxy("p"), target, None).receive(
            b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
        )
    assert raised.value.response == Response(407, "Who", {"Proxy-Authenticate": "Basic", "Content-Length": "0"})
    with pytest.raises(exceptions.InvalidProxyStatus) as raised:
        Tunnel(parse_proxy("p"), target, None).receive(b"HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n")
    assert raised.value.response == Response(500, "", {"Content-Length": "0"})
    for data in (b"hello\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n", b"\x00", b""):
        with pytest.raises(exceptions.InvalidProxyMessage):
            Tunnel(parse_proxy("p"), target, None).receive(data)


def test_invalid_uri_has_the_text_and_does_not_repeat_it():
    with pytest.raises(exceptions.InvalidURI) as raised:
        parse_uri("ws://user:secret@h:x/")
    assert raised.value.uri == "ws://user:secret@h:x/"
    assert "secret" not in str(raised.value) + repr(raised.value)


SAMPLES = [
    exceptions.InvalidHeader("A"),
    exceptions.InvalidHeader("A", "", response=Response(101, "")),
    exceptions.InvalidHeaderFormat("A", "no token", "?", 3),
    exceptions.InvalidHeaderValue("A", "?", reason="wrong"),
    exceptions.InvalidUpgrade("Upgrade", "h2c"),
    exceptions.InvalidMessage("no HTTP"),
    exceptions.InvalidMethod("PUT"),
    exceptions.InvalidProtocol("HTTP/1.0"),
    exceptions.InvalidOrigin("x"),
    exceptions.InvalidStatus(Response(404, "Not Found", Headers(A="1"))),
    exceptions.InvalidURI("x", "no URI"),
    exceptions.InvalidProxy("x", "no proxy"),
    exceptions.InvalidProxyStatus(Response(407, "")),
    exceptions.RequestLineTooLong("long"),
    exceptions.HeaderLineTooLong("long"),
    exceptions.StatusLineTooLong("long"),
    exceptions.TooManyHeaders("many"),
    exceptions.NegotiationError("none in common"),
    exceptions.DuplicateParameter("a"),
    exceptions.InvalidParameterName("a"),
    exceptions.InvalidParameterValue("a", None),
    exceptions.ConnectionClosedOK(None, None),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_exception_survives_pickle(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error) != ""
    assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("ours", "bases"),
    [
        ("InvalidHeaderValue", [ValueError]),
        ("InvalidHeaderFormat", [ValueError]),
        ("ConcurrencyError", [RuntimeError, LocalError]),
        ("StatusLineTooLong", [SecurityError]),
        ("InvalidProxyMessage", [ProxyError]),
    ],
)
def test_exception_is_also_caught_as_its_builtin_or_coarser_class(ours, bases):
    for base in bases:
        assert issubclass(getattr(exceptions, ours), base)
