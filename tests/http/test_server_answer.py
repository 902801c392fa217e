"""The response of a server to an opening handshake: its policy, callbacks and state."""

import logging
from types import SimpleNamespace

import pytest

from framewire import HandshakeError, State, TrustedProxies
from framewire.handshake import Headers, Response, ServerHandshake
from framewire.http.server_answer import answer_at_once, answer_request
from framewire.http.server_policy import ServerPolicy, make_response

pytestmark = pytest.mark.engine

REQUEST = (
    b"GET /path HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: chat\r\n\r\n"
)


def answer(request=REQUEST, malformed=None, closing=False, process_request=None, process_response=None):
    """Answer a request with callbacks that never wait; return the first line and the connection."""
    handshake = ServerHandshake()
    if malformed is None:
        assert handshake.receive(request) is not None
    connection = SimpleNamespace(subprotocols=["chat"], subprotocol=None, response=None, state=State.CONNECTING)
    server = SimpleNamespace(
        policy=ServerPolicy(),
        process_request=process_request,
        process_response=process_response,
        logger=logging.getLogger("framewire.test"),
        closing=closing,
    )
    with pytest.raises(StopIteration) as returned:
        answer_request(connection, handshake, server, malformed).send(None)
    data, codecs = returned.value.value
    assert codecs == []
    assert connection.response is handshake.response
    assert (b"\r\nDate: " in data) is (b" 299 " not in data)  # a replaced response is sent unchanged
    return int(data.split()[1]), connection


def fail(*arguments):
    raise ValueError("mine")


def test_policy_decides_without_callbacks():
    status, connection = answer()
    assert (status, connection.subprotocol) == (101, "chat")
    assert answer(REQUEST.replace(b"13", b"12"))[0] == 426


def test_malformed_request_is_answered_without_asking_the_callbacks():
    assert answer(malformed=HandshakeError(431, "too long"), process_request=fail, process_response=fail)[0] == 431


def test_closing_server_refuses_every_client():
    assert answer(closing=True)[0] == 503
    assert answer(closing=True, process_request=lambda *_: make_response(404, ""))[0] == 404


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_callbacks_may_answer_instead_or_change_the_answer(is_async):
    def process_request(connection, request):
        return make_response(200, request.path)

    def process_response(connection, request, response):
        response.headers["X"] = str(response.status)
        return Response(299, "Mine", Headers([("Y", "2")])) if response.status == 200 else None

    async def process_request_later(*arguments):
        return process_request(*arguments)

    async def process_response_later(*arguments):
        return process_response(*arguments)

    first, second = (process_request, process_response)
    if is_async:
        first, second = process_request_later, process_response_later
    status, connection = answer(process_request=first)
    assert (status, connection.response.body) == (200, b"/path")
    status, connection = answer(process_response=second)
    assert (status, connection.response.headers["X"]) == (101, "101")
    assert answer(process_request=first, process_response=second)[0] == 299


def test_response_that_a_callback_returns_each_time_has_the_date_of_its_request(monkeypatch):
    same = Response(200, "OK", Headers([("X", "1")]))
    dates = []
    for now in (0, 86400):
        monkeypatch.setattr("framewire.http.server_policy.time", lambda now=now: now)
        _, connection = answer(process_request=lambda *_: same)
        dates.append(connection.response.headers["Date"])
    assert dates == ["Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 02 Jan 1970 00:00:00 GMT"]
    assert same.headers.lines == (("X", "1"),)


@pytest.mark.parametrize("name", ["process_request", "process_response"])
def test_callback_that_raises_is_logged_and_answered_500(name, caplog):
    assert answer(**{name: fail})[0] == 500
    assert [record.getMessage() for record in caplog.records] == [f"{name} failed"]


@pytest.mark.parametrize("name", ["process_request", "process_response"])
def test_callback_that_returns_no_response_is_logged_and_answered_500(name, caplog):
    assert answer(**{name: lambda *_: "hello"})[0] == 500
    (record,) = caplog.records
    assert record.getMessage() == f"{name} failed"
    assert str(record.exc_info[1]) == f"{name} returns a Response or None, not str"


def test_callback_that_refuses_determines_the_response(caplog):
    def process_request(connection, request):
        raise HandshakeError(402, "pay first")

    assert answer(process_request=process_request)[0] == 402
    assert caplog.records == []


@pytest.mark.parametrize(
    "response",
    [Response(99, "Odd"), Response(200, "OK", None, "text"), Response("200", "OK"), Response(200, "OK", {"X": 5})],
)
def test_answer_that_cannot_be_sent_is_logged_and_answered_500(response, caplog):
    assert answer(process_request=lambda *_: response)[0] == 500
    assert [record.getMessage() for record in caplog.records] == ["opening handshake failed"]


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    ("peer", "client", "scheme"),
    [("10.0.0.1", ("192.0.2.1", 0), "wss"), ("11.0.0.1", ("11.0.0.1", 5), None)],
)
def test_trusted_proxy_tells_the_address_and_the_scheme_of_the_client(peer, client, scheme, at_once):
    handshake = ServerHandshake()
    forwarded = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n"
    handshake.receive(REQUEST.removesuffix(b"\r\n") + forwarded)
    connection = SimpleNamespace(subprotocols=[], remote_address=(peer, 5), state=State.CONNECTING)
    policy = ServerPolicy(trusted_proxies=TrustedProxies(["10.0.0.0/8"], forwarded=True))
    server = SimpleNamespace(policy=policy, process_request=None, process_response=None, closing=False)
    if at_once:
        data, _ = answer_at_once(connection, handshake, server)
    else:
        with pytest.raises(StopIteration) as returned:
            answer_request(connection, handshake, server).send(None)
        data, _ = returned.value.value
    assert data.startswith(b"HTTP/1.1 101 ")
    assert (connection.client_address, connection.client_scheme) == (client, scheme)


def test_connection_that_a_callback_closes_gets_no_answer():
    asked = []

    def process_response(*arguments):
        asked.append(arguments)

    def close(connection, *arguments):
        connection.state = State.CLOSED

    with pytest.raises(EOFError):
        answer(process_request=close, process_response=process_response)
    assert asked == []
    with pytest.raises(EOFError):
        answer(process_response=close)


@pytest.mark.parametrize("status", [204, 304])
def test_text_response_without_content_has_no_headers_for_it(status):
    assert not make_response(status, "not sent").headers
    assert make_response(200, "sent").headers["Content-Length"] == "4"
