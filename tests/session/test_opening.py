"""Opening handshakes over a stream of bytes, with a stand-in for the stream."""

import logging
from types import SimpleNamespace

import pytest
from frames import REQUEST

from framewire import State
from framewire.errors import HandshakeError, ResponseError, StatusError
from framewire.handshake import ClientHandshake, ServerHandshake, accept_key, parse_uri
from framewire.http.server_policy import ServerPolicy
from framewire.http.trusted_proxies import TrustedProxies
from framewire.session.opening import answer_client, open_client, read_proxy_header, receive_request

pytestmark = pytest.mark.both_backends

LOGGER = logging.getLogger("framewire.test")
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"


def complete(coroutine):
    """Run a coroutine that waits for nothing."""
    with pytest.raises(StopIteration) as returned:
        coroutine.send(None)
    return returned.value.value


def receiving(*chunks):
    """Return a function that receives `chunks`, then the end of input."""
    left = list(chunks)

    async def receive(size=None):
        return left.pop(0) if left else b""

    return receive


def connection():
    return SimpleNamespace(
        request=None, response=None, subprotocol=None, subprotocols=[], logger=LOGGER, state=State.CONNECTING
    )


def open_with(answer, extensions=(), offered=(), subprotocols=()):
    """Perform the client's side with a server that answers `answer(key)`, in two chunks."""
    handshake = ClientHandshake(parse_uri("ws://h/"), extensions=offered, subprotocols=subprotocols)
    ws, sent = connection(), []

    async def send(data):
        sent.append(data)

    data = answer(accept_key(handshake.sent.headers["Sec-WebSocket-Key"].encode()))
    try:
        return ws, complete(open_client(ws, handshake, extensions, send, receiving(data[:9], data[9:])))
    finally:
        assert ws.request is handshake.sent
        assert sent[0].startswith(b"GET / HTTP/1.1\r\n")


def accepting(*lines):
    def answer(accept):
        head = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept
        return b"\r\n".join([head, *lines, b"\r\n"])

    return answer


def test_client_that_is_accepted_logs_request_and_response(caplog):
    caplog.set_level(logging.DEBUG, "framewire.test")
    ws, codecs = open_with(accepting())
    assert (ws.response.status, ws.subprotocol, codecs) == (101, None, [])
    assert [text for text in caplog.messages if "HTTP" in text] == ["> GET / HTTP/1.1", "< HTTP/1.1 101 S"]


def test_client_has_the_subprotocol_that_the_server_selects():
    ws, _ = open_with(accepting(b"Sec-WebSocket-Protocol: chat"), subprotocols=["chat"])
    assert ws.subprotocol == "chat"


def test_client_that_is_refused_logs_the_response_and_raises(caplog):
    caplog.set_level(logging.DEBUG, "framewire.test")
    with pytest.raises(StatusError) as caught:
        open_with(lambda accept: REFUSAL)
    assert caught.value.response.body == b"no"
    assert "< HTTP/1.1 403 Forbidden" in caplog.messages


def test_client_whose_server_ends_the_connection_raises(caplog):
    caplog.set_level(logging.DEBUG, "framewire.test")
    with pytest.raises(ResponseError):
        open_with(lambda accept: b"HTTP/1.1 101")
    assert not [text for text in caplog.messages if text.startswith("<")]


def test_client_refuses_an_extension_that_it_does_not_know():
    with pytest.raises(ResponseError) as caught:
        open_with(accepting(b"Sec-WebSocket-Extensions: x-mine"), offered=[("x-mine", [])])
    assert caught.value.response.status == 101


def answer(*chunks):
    """Answer a client that sends `chunks`; return the first line, and the connection."""
    ws = connection()
    server = SimpleNamespace(
        policy=ServerPolicy(), process_request=None, process_response=None, logger=LOGGER, closing=False
    )
    data, _ = complete(answer_client(ws, ServerHandshake(), server, receiving(*chunks)))
    return data.partition(b"\r\n")[0], ws


def test_server_accepts_a_request_in_parts(caplog):
    caplog.set_level(logging.DEBUG, "framewire.test")
    line, ws = answer(REQUEST[:20], REQUEST[20:])
    assert line == b"HTTP/1.1 101 Switching Protocols"
    assert ws.request.headers["Upgrade"] == "websocket"
    assert [text[:1] for text in caplog.messages if "HTTP" in text] == ["<", ">"]


def test_request_is_returned_and_set_on_the_connection():
    ws = connection()
    assert complete(receive_request(ws, ServerHandshake(), receiving(REQUEST))) is ws.request is not None


def test_server_refuses_a_malformed_request(caplog):
    caplog.set_level(logging.DEBUG, "framewire.test")
    line, ws = answer(b"\x16\x03\x01 no HTTP\r\n\r\n")
    assert line.startswith(b"HTTP/1.1 400 ")
    assert ws.request is None
    assert caplog.messages[0] == "! no valid HTTP request"
    assert "connection rejected (400 Bad Request)" in caplog.messages
    with pytest.raises(HandshakeError):
        receive_request(connection(), ServerHandshake(), receiving(b"\x00")).send(None)


def test_client_that_leaves_before_a_whole_request_is_logged(caplog):
    caplog.set_level(logging.DEBUG, "framewire.test")
    with pytest.raises(EOFError, match="connection closed"):
        receive_request(connection(), ServerHandshake(), receiving(REQUEST[:20])).send(None)
    assert caplog.messages == ["! no valid HTTP request"]


def read_header(*chunks, address=("10.0.0.1", 1)):
    policy = ServerPolicy(trusted_proxies=TrustedProxies(["10.0.0.0/8"], proxy_protocol=True))
    return read_proxy_header(policy, address, receiving(*chunks), LOGGER)


def test_header_of_a_trusted_proxy_tells_the_address_of_the_client():
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 80\r\n"
    assert complete(read_header(*(header[place : place + 1] for place in range(len(header))))) == ("192.0.2.1", 5000)
    assert complete(read_header(address=("192.0.2.9", 1))) is None


def test_invalid_header_of_a_trusted_proxy_ends_the_connection(caplog):
    for chunks in ([b"GET / HTTP/1.1\r\n"], []):
        with pytest.raises(EOFError):
            read_header(*chunks).send(None)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
