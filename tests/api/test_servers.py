"""The opening handshake of every server, as a client that writes bytes sees it."""

import logging
from contextlib import suppress
from ssl import SSLEOFError

import pytest
from drivers import every_driver, receive_all
from frames import REQUEST, to

from framewire import SERVER, Close, HeadLimits
from framewire.errors import HandshakeError, NegotiationError
from framewire.handshake import Response

BAD_REQUESTS = {
    "HTTP/1.0": (REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    "another version of WebSocket": (REQUEST.replace(b"Version: 13", b"Version: 12"), 426),
    "no key": (REQUEST.replace(b"Sec-WebSocket-Key", b"X-Key"), 400),
    "a body": (REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\nbody"), 400),
}


@every_driver(tls=True)
@pytest.mark.parametrize(("request_bytes", "status"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_request_that_opens_no_websocket_is_refused(driver, request_bytes, status):
    with driver.serve(receive_all) as server:
        assert server.answer(request_bytes).startswith(b"HTTP/1.1 %d " % status)
        assert server.records == []


@every_driver(without=["uvicorn"])  # uvicorn logs its own requests
def test_refusal_and_violation_are_logged_by_the_server(driver, caplog):
    caplog.set_level(logging.DEBUG, "framewire")
    with driver.serve(receive_all) as server:
        server.answer(REQUEST.replace(b"Sec-WebSocket-Key", b"X-Key"))
        with server.connection((0x83, b"")) as peer:
            assert [event.code for event in peer.read_to_end()] == [1002]
            peer.record.end()
    logged = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert (logging.INFO, "connection rejected (400 Bad Request)") in logged
    assert (logging.DEBUG, "> CLOSE 1002 opcode 3 is reserved [22 bytes]") in logged


@every_driver(tls=True)
def test_frames_in_one_segment_with_the_request_are_received(driver):
    with driver.serve(receive_all) as server, server.connection((0x81, b"early")) as peer:
        peer.send(peer.frame(0x81, b"late"), peer.frame(0x88, b"\x03\xe8"))
        assert peer.read_to_end() == [Close(1000, "")]
        peer.record.end()
        assert peer.record.messages == ["early", "late"]


@every_driver(without=["uvicorn"])  # uvicorn parses requests itself
def test_head_limits_of_the_server_decide_which_requests_are_too_long(driver):
    cookie = b"Cookie: " + b"a" * 8700
    lines = [cookie, b"\r\n".join([b"X: y"] * 200), b"X: " + b"a" * 300]
    for limits, statuses in ((None, [431, 431, 101]), (HeadLimits(max_line=16384, max_headers=300), [101, 101, 101])):
        with driver.serve(receive_all, head_limits=limits) as server:
            for line, status in zip(lines, statuses, strict=True):
                request = REQUEST.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n") + to(SERVER, 0x88)
                assert server.answer(request).startswith(b"HTTP/1.1 %d " % status)
    with driver.serve(receive_all, head_limits=HeadLimits(max_line=256)) as server:
        assert server.answer(REQUEST.replace(b"GET /", b"GET /" + b"a" * 300)).startswith(b"HTTP/1.1 414 ")


@every_driver(without=["trio", "uvicorn"])  # trio raises in a group; test_trio_server.py has its case
def test_head_limits_of_another_type_are_refused_when_the_server_starts(driver):
    with (
        pytest.raises(TypeError, match="head_limits is HeadLimits or None, not int"),
        driver.serve(receive_all, head_limits=8192),
    ):
        pass


@every_driver(tls=True, without=["uvicorn"])  # uvicorn parses requests itself
def test_request_after_an_empty_line_that_expects_100_is_answered(driver):
    request = b"\r\n" + REQUEST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") + to(SERVER, 0x88)
    with driver.serve(receive_all) as server:
        answer = server.answer(request)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 ")


# Refusals of the application.


def raise_class(*arguments):
    raise NegotiationError


def raise_instance(*arguments):
    raise NegotiationError()


def raise_text(*arguments):
    raise NegotiationError("no subprotocol that both sides speak")


every_way = pytest.mark.parametrize("refuse", [raise_class, raise_instance, raise_text])


def is_refusal(answer):
    """Whether an answer says that the subprotocols do not fit."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 400 Bad Request\r\n") and body == b"no subprotocol that both sides speak\n"


@every_driver(without=("uvicorn",))  # its applications select subprotocols
@every_way
def test_negotiation_error_of_select_subprotocol_is_answered_with_400(driver, refuse, caplog):
    with driver.serve(receive_all, select_subprotocol=refuse) as server:
        assert is_refusal(server.answer(REQUEST))
    assert not caplog.records


@every_driver(without=("uvicorn",))
@every_way
def test_negotiation_error_of_process_request_is_answered_with_400(driver, refuse, caplog):
    with driver.serve(receive_all, process_request=refuse) as server:
        assert is_refusal(server.answer(REQUEST))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@every_driver(tls=True, without=("uvicorn",))
@pytest.mark.parametrize("callback", ["process_request", "process_response", "select_subprotocol"])
@pytest.mark.parametrize("way", ["start_closing", "close", "abort", "transport.abort"])
def test_connection_that_a_callback_closes_in_the_opening_handshake_is_cut(driver, callback, way, caplog):
    def close(connection, *arguments):
        function = connection
        for name in ("aclose" if way == "close" and driver.name == "trio" else way).split("."):
            function = getattr(function, name, None)
        if function is None or (way == "close" and callback == "select_subprotocol"):
            function = connection.start_closing  # the API has no such method, or it may have to be awaited
        return function()

    with driver.serve(receive_all, **{callback: close}) as server:
        with suppress(ConnectionError, SSLEOFError):
            assert server.answer(REQUEST) == b""
        assert server.records == []
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]


@every_driver(without=("uvicorn",))
def test_handshake_error_of_process_request_is_answered_with_its_status(driver):
    def refuse(connection, request):
        raise HandshakeError(401, "who are you", [("WWW-Authenticate", "Basic")])

    with driver.serve(receive_all, process_request=refuse) as server:
        head, _, body = server.answer(REQUEST).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert b"\r\nWWW-Authenticate: Basic" in head
        assert body == b"who are you\n"


@every_driver(without=("uvicorn",))  # test_uvicorn.py has its case
@pytest.mark.parametrize("status", [204, 205, 304])
@pytest.mark.parametrize("way", ["respond", "Response", "HandshakeError", "process_response"])
def test_response_without_content_has_no_content_length(driver, status, way):
    def answer(connection, request, response=None):
        if way == "HandshakeError":
            raise HandshakeError(status, "")
        return connection.respond(status, "") if way == "respond" else Response(status, "", {"Content-Length": "0"})

    name = "process_response" if way == "process_response" else "process_request"
    with driver.serve(receive_all, **{name: answer}) as server:
        head, _, body = server.answer(REQUEST).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-length" not in head.lower()
    assert b"\r\nConnection: close" in head
    assert body == b""
