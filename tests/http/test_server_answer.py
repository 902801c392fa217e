"""The response of a server to an opening handshake: its policy, callbacks and state."""

import logging
from types import SimpleNamespace

import pytest

from framewire import HandshakeError, PerMessageDeflate, State, TrustedProxies
from framewire.errors import NegotiationError
from framewire.handshake import Headers, Response, ServerHandshake
from framewire.http.server_answer import answer_at_once, answer_request
from framewire.http.server_policy import ServerPolicy, make_response

pytestmark = pytest.mark.engine

REQUEST = (
    b"GET /path HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: chat\r\n\r\n"
)
OFFER = REQUEST.replace(b": chat", b": chat, talk\r\nSec-WebSocket-Extensions: permessage-deflate")


def answer(
    request=REQUEST,
    malformed=None,
    closing=False,
    process_request=None,
    process_response=None,
    select_subprotocol=None,
    extensions=(),
):
    """Answer a request with callbacks that never wait; return the status and the connection, which has the
    codecs.
    """
    handshake = ServerHandshake()
    if malformed is None:
        assert handshake.receive(request) is not None
    connection = SimpleNamespace(subprotocols=["chat"], subprotocol=None, response=None, state=State.CONNECTING)
    server = SimpleNamespace(
        policy=ServerPolicy(select_subprotocol=select_subprotocol, extensions=extensions),
        process_request=process_request,
        process_response=process_response,
        logger=logging.getLogger("framewire.test"),
        closing=closing,
    )
    with pytest.raises(StopIteration) as returned:
        answer_request(connection, handshake, server, malformed).send(None)
    data, connection.codecs = returned.value.value
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


def refuse_with_surrogate(*arguments):
    raise HandshakeError(401, "unknown user \udcff")


def choose_nothing(*arguments):
    raise NegotiationError("not \udcff")


@pytest.mark.parametrize(
    ("callbacks", "status", "body"),
    [
        ({"process_request": refuse_with_surrogate}, 401, b"unknown user ?\n"),
        ({"process_response": refuse_with_surrogate}, 401, b"unknown user ?\n"),
        ({"select_subprotocol": choose_nothing}, 400, b"not ?\n"),
        ({"process_request": lambda *_: make_response(401, "unknown user \udcff")}, 401, b"unknown user ?"),
    ],
)
def test_surrogate_in_the_reason_of_a_refusal_is_replaced(callbacks, status, body, caplog):
    answered, connection = answer(**callbacks)
    assert (answered, connection.response.body) == (status, body)
    assert caplog.records == []


def refuse_with(lines, status=400):
    def refuse(*arguments):
        raise HandshakeError(status, "no", lines)

    return refuse


@pytest.mark.parametrize("name", ["process_request", "process_response"])
@pytest.mark.parametrize("lines", [[("a", "b", "c")], [(1, "b")], ["ab:c"], [("a b", "c")], [("a", None)]])
def test_header_lines_of_a_callback_that_are_malformed_are_logged_and_answered_500(name, lines, caplog):
    for callback in (lambda *_: Response(200, "OK", lines), refuse_with(lines)):
        caplog.clear()
        status, connection = answer(**{name: callback})
        assert (status, connection.response.body) == (500, b"the server met an unexpected error\n")
        (record,) = caplog.records
        assert record.levelname == "ERROR"
        assert isinstance(record.exc_info[1], (ValueError, TypeError, AttributeError))


@pytest.mark.parametrize("new", [False, True], ids=["changed", "another"])
def test_codecs_and_subprotocol_are_those_of_the_response_after_process_response(new):
    def leave_out(*names):
        def process_response(connection, request, response):
            if new:
                lines = [line for line in response.headers.lines if line[0] not in names]
                return Response(101, response.reason, lines)
            for name in names:
                del response.headers[name]
            return None

        return process_response

    extensions, subprotocol = "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"
    for names in ((), (extensions,), (subprotocol,), (extensions, subprotocol)):
        status, connection = answer(OFFER, process_response=leave_out(*names), extensions=[PerMessageDeflate()])
        assert status == 101
        assert connection.subprotocol == (None if subprotocol in names else "chat")
        assert [codec.rsv for codec in connection.codecs] == ([] if extensions in names else [0x40])


class Other:
    """An extension that changes nothing."""

    name = "x-other"
    rsv = 0

    def accept(self, offer):
        return [("a", "1")], self


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        ("permessage-deflate; client_max_window_bits=10, x-other; a=1", [0x40, 0]),
        ('x-other; a="1", permessage-deflate;client_max_window_bits=10', [0, 0x40]),
        ("x-other; a=1", [0]),
        ("permessage-deflate; client_max_window_bits=10", [0x40]),
        ("", []),
        ("permessage-deflate", "names the extension permessage-deflate otherwise than it was agreed on"),
        ("x-other; a=2", "names the extension x-other otherwise"),
        ("x-other; a=1, x-other; a=1", "names the extension x-other otherwise"),
        ("x-third", "names the extension x-third otherwise"),
        (";", "an extension without a name"),
    ],
)
def test_process_response_may_leave_out_extensions_and_not_name_others(named, kept, caplog):
    def process_response(connection, request, response):
        del response.headers["Sec-WebSocket-Extensions"]
        response.headers["Sec-WebSocket-Extensions"] = named

    offer = OFFER.replace(b"deflate", b"deflate; client_max_window_bits=10, x-other")
    status, connection = answer(
        offer, process_response=process_response, extensions=[PerMessageDeflate(server_max_window_bits=None), Other()]
    )
    if isinstance(kept, list):
        assert (status, caplog.messages) == (101, [])
        assert [codec.rsv for codec in connection.codecs] == kept
    else:
        assert (status, caplog.messages) == (500, ["process_response failed"])
        assert kept in str(caplog.records[0].exc_info[1])


@pytest.mark.parametrize(
    ("named", "status"), [(["talk"], 101), (["chat", "talk"], 500), (["Chat"], 500), (["chat, talk"], 500), ([""], 500)]
)
def test_process_response_may_choose_another_subprotocol_that_is_offered(named, status, caplog):
    def process_response(connection, request, response):
        del response.headers["Sec-WebSocket-Protocol"]
        for name in named:
            response.headers["Sec-WebSocket-Protocol"] = name

    answered, connection = answer(OFFER, process_response=process_response)
    assert answered == status
    assert (connection.subprotocol == "talk") is (status == 101)
    assert len(caplog.records) == (status == 500)


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


@pytest.mark.parametrize("status", [0, 101, 199, 600])
@pytest.mark.parametrize("name", ["process_request", "process_response", "select_subprotocol"])
def test_refusal_with_another_status_than_200_to_599_is_500(name, status):
    answered, connection = answer(**{name: refuse_with((), status)})
    assert (answered, connection.response.body) == (500, b"the server met an unexpected error\n")


@pytest.mark.parametrize("status", [204, 205, 304])
def test_text_response_without_content_has_neither_text_nor_headers_for_it(status, caplog):
    assert not make_response(status, "not sent").headers
    assert make_response(status, "not sent").body == b""
    for callback in (lambda *_: make_response(status, "not sent"), refuse_with((), status)):
        assert answer(process_request=callback)[0] == status
    assert caplog.records == []
    assert make_response(200, "sent").headers["Content-Length"] == "4"
