"""`ServerPolicy`: accepted requests, subprotocol, extensions, and refusals."""

import re
import sys
from email.utils import formatdate

import pytest

from framewire import HandshakeError, PerMessageDeflate
from framewire.errors import NegotiationError
from framewire.handshake import Headers, Offer, Response, ServerHandshake
from framewire.http import server_policy
from framewire.http.server_policy import SAME_ORIGIN, ServerPolicy, check_functions, make_response

engine = pytest.mark.engine

LINES = [
    ("Host", "a.example"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]


def request(*added):
    """Return a handshake whose request has arrived."""
    handshake = ServerHandshake()
    fields = "".join([f"{name}: {value}\r\n" for name, value in (*LINES, *added)])
    assert handshake.receive(f"GET / HTTP/1.1\r\n{fields}\r\n".encode()) is not None
    return handshake


def status_of(policy, *added, **options):
    """Return 101 if the policy lets a request pass, else the status of the refusal."""
    try:
        assert policy.check(request(*added), **options) == ([], [])
    except HandshakeError as error:
        return policy.explain(error).status
    return 101


# Origins


@engine
@pytest.mark.parametrize(
    ("origins", "allowed"),
    [
        (SAME_ORIGIN, [None, "http://a.example"]),
        ("same-origin", [None, "http://a.example"]),
        (None, [None, "http://a.example", "http://b.example", "null"]),
        (["http://b.example"], ["http://b.example"]),
        ([re.compile("http://b[.].*")], ["http://b.example"]),
        ([None, "null"], [None, "null"]),
        ([], []),
    ],
    ids=repr,
)
def test_policy_accepts_only_allowed_origins(origins, allowed):
    policy = ServerPolicy(origins)
    for origin in (None, "http://a.example", "http://b.example", "null"):
        added = [] if origin is None else [("Origin", origin)]
        assert status_of(policy, *added) == (101 if origin in allowed else 403), origin


@engine
def test_policy_checks_each_request_against_origins_of_an_iterator():
    policy = ServerPolicy(iter(["http://b.example"]))
    for _ in range(2):
        assert status_of(policy, ("Origin", "http://b.example")) == 101


@engine
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/0.9", "1.1", ""])
def test_policy_refuses_version_that_another_parser_read(version):
    assert status_of(ServerPolicy(), version=version) == 400


@engine
def test_policy_accepts_version_that_another_parser_read():
    assert status_of(ServerPolicy(), version="HTTP/1.1") == 101


# Validation


@engine
@pytest.mark.parametrize(
    "options",
    [
        {"origins": "http://a.example"},
        {"origins": b"same-origin"},
        {"origins": 5},
        {"origins": [b"http://a.example"]},
        {"origins": [re.compile(b"x")]},
        {"origins": [["http://a.example"]]},
        {"subprotocols": "chat"},
        {"subprotocols": b"chat"},
        {"subprotocols": None},
        {"subprotocols": [b"chat"]},
        {"subprotocols": [None]},
        {"select_subprotocol": "chat"},
    ],
)
def test_policy_raises_type_error_for_wrong_types(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        ServerPolicy(**options)


@engine
@pytest.mark.parametrize(
    "options", [{"subprotocols": ["a b"]}, {"subprotocols": [""]}, {"server_header": "a\r\nb"}, {"server_header": " a"}]
)
def test_policy_raises_value_error_for_values_that_cannot_be_sent(options):
    with pytest.raises(ValueError, match="token|the value of Server has a control"):
        ServerPolicy(**options)


@engine
def test_functions_of_the_user_are_checked_by_name():
    check_functions(handler=len, create_connection=object)
    with pytest.raises(TypeError, match="^create_connection is a function, not NoneType$"):
        check_functions(handler=len, create_connection=None)


@engine
def test_policy_is_immutable():
    policy = ServerPolicy()
    with pytest.raises(AttributeError):
        policy.origins = None
    assert policy == ServerPolicy() != ServerPolicy(None)


# Choices


@engine
def test_policy_chooses_its_best_subprotocol_that_is_offered():
    policy = ServerPolicy(subprotocols=iter(["b", "a"]))
    for _ in range(2):
        assert policy.choose(Offer(["a", "b", "c"], []), None, policy.subprotocols) == ("b", [], [])
    assert policy.choose(Offer(["a", "b", "c"], []), None, ["c"]) == ("c", [], [])
    assert policy.choose(Offer([], []), None, policy.subprotocols) == (None, [], [])


@engine
def test_policy_lets_select_subprotocol_choose():
    seen = []

    def select(connection, offered):
        seen.append((connection, offered))
        return offered[-1]

    policy = ServerPolicy(subprotocols=["a"], select_subprotocol=select)
    connection = object()
    assert policy.choose(Offer(["a", "b"], []), connection, policy.subprotocols)[0] == "b"
    assert seen == [(connection, ["a", "b"])]


@engine
def test_policy_answers_offers_of_its_extensions():
    offer = Offer([], [("x", []), ("permessage-deflate", [("server_no_context_takeover", None)])])
    subprotocol, answers, codecs = ServerPolicy(extensions=[PerMessageDeflate()]).choose(offer, None, ())
    assert subprotocol is None
    assert [name for name, _ in answers] == ["permessage-deflate"]
    assert [codec.rsv for codec in codecs] == [0x40]
    assert ServerPolicy().choose(offer, None, ()) == (None, [], [])


# Responses


@engine
@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (HandshakeError(426, "no", [("Upgrade", "websocket")]), 426, b"no\n"),
        (NegotiationError("chat, please"), 400, b"chat, please\n"),
        (NegotiationError(), 400, b"no subprotocol that both sides speak\n"),
        (ValueError("internal detail"), 500, b"the server met an unexpected error\n"),
    ],
    ids=repr,
)
def test_policy_explains_exceptions_by_status(error, status, body):
    response = ServerPolicy().explain(error)
    assert (response.status, response.body) == (status, body)
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert ("upgrade" in response.headers) == (status == 426)


@engine
def test_policy_completes_responses_with_date_and_server(monkeypatch):
    monkeypatch.setattr(server_policy, "time", lambda: 784111777.9)
    date = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
    response = Response(200, "OK", None, b"body", "HTTP/1.0")
    completed = ServerPolicy().complete(response)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert completed.headers.lines == (date, ("Server", f"Python/{version} framewire"))
    assert (completed.status, completed.reason, completed.body, completed.version) == (200, "OK", b"body", "HTTP/1.0")
    assert response.headers.lines == ()
    response = Response(200, "OK", Headers([("server", "mine")]))
    assert ServerPolicy().complete(response).headers.lines == (("server", "mine"), date)
    assert ServerPolicy(server_header=None).headers() == [date]


@engine
def test_date_header_has_the_format_of_rfc_9110():
    for month in range(12):
        seconds = 951_782_400 + month * 2_592_000  # 29 February 2000, and every 30 days after it
        assert server_policy._format_date(seconds) == formatdate(seconds, usegmt=True)


@engine
def test_make_response_is_plain_text():
    response = make_response(404, "caf\xe9")
    assert (response.status, response.reason, response.body) == (404, "Not Found", b"caf\xc3\xa9")
    assert (response.status_code, response.reason_phrase) == (404, "Not Found")
    assert response.headers.lines == (("Content-Length", "5"), ("Content-Type", "text/plain; charset=utf-8"))
    with pytest.raises(ValueError, match="499"):
        make_response(499, "")
