"""Logs of connections: frames, requests and addresses."""

import logging

import pytest

from framewire._backend import apply_mask, write_header
from framewire.http.headers import Headers
from framewire.http.http11 import Request, Response
from framewire.session.logs import (
    FrameLog,
    adapt_logger,
    describe_address,
    log_proxy_header,
    log_refusal,
    log_request,
    log_response,
)

pytestmark = pytest.mark.both_backends

KEY = b"\x01\x02\x03\x04"
FRAMES = [
    (write_header(0x81, 5, KEY) + apply_mask(b"hello", KEY), "TEXT 'hello' [5 bytes]"),
    (write_header(0x01, 1, b"") + b"a", "TEXT 'a' [1 byte, continued]"),
    (write_header(0x80, 0, b""), "CONT  [0 bytes]"),
    (write_header(0x82, 70000, b"") + bytes(70000), f"BINARY {bytes(60).hex(' ')}... [70000 bytes]"),
    (write_header(0xC1, 2, b"") + b"\xaa\x00", "TEXT aa 00 [2 bytes, compressed]"),
    (write_header(0x89, 1, b"") + b"\x00", "PING 00 [1 byte]"),
    (write_header(0x83, 0, b""), "opcode 3  [0 bytes]"),
    (write_header(0x88, 4, b"") + b"\x03\xe8hi", "CLOSE 1000 hi [4 bytes]"),
    (write_header(0x88, 6, b"") + b"\x03\xe8a\n<b", "CLOSE 1000 a\\n<b [6 bytes]"),
    (write_header(0x88, 2, b"") + b"\x03\xe8", "CLOSE 1000 [2 bytes]"),
    (write_header(0x88, 3, b"") + b"\x03\xe8\xff", "CLOSE 1000 \ufffd [3 bytes]"),
    (write_header(0x81, 1, b"") + b"\xff", "TEXT '\ufffd' [1 byte]"),
]


@pytest.fixture
def records(caplog):
    caplog.set_level(logging.DEBUG, "framewire.test")
    return caplog


@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_frame_log_describes_frames_however_they_are_cut(records, step):
    log = FrameLog(logging.getLogger("framewire.test"), "<")
    data = b"".join(frame for frame, _ in FRAMES)
    for start in range(0, len(data), step):
        log.feed(data[start : start + step])
    assert records.messages == [f"< {text}" for _, text in FRAMES]


def test_frame_log_ends_at_an_invalid_length(records):
    log = FrameLog(logging.getLogger("framewire.test"), "<")
    log.feed(b"\x81\x7e\x00\x01a" + FRAMES[0][0])
    log.feed(FRAMES[0][0])
    assert records.messages == []


@pytest.mark.parametrize(
    ("error", "level"), [(EOFError("end"), logging.DEBUG), (ValueError("no header"), logging.WARNING)], ids=repr
)
def test_invalid_proxy_header_is_a_warning_and_the_end_is_none(records, error, level):
    log_proxy_header(logging.getLogger("framewire.test"), error)
    text = f"invalid header of the PROXY protocol: {error}"
    assert records.record_tuples == [("framewire.test", level, text)]


def test_request_and_response_are_logged_without_secrets(records):
    logger = logging.getLogger("framewire.test")
    secrets = {"Authorization": "Basic QTpC", "Cookie": "a=b", "Proxy-Authorization": "Basic QTpC"}
    log_request(logger, ">", Request("GET", "/chat", Headers({"Host": "a", **secrets})))
    log_response(logger, "<", Response(404, "Not Found", Headers({"Set-Cookie": "secret"}), b"no"))
    assert records.messages == [
        "> GET /chat HTTP/1.1", "> Host: a", *(f"> {name}: [secret]" for name in secrets),
        "< HTTP/1.1 404 Not Found", "< Set-Cookie: [secret]", "< [body] (2 bytes)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (Response(403, "Forbidden"), "connection rejected (403 Forbidden)"),
        (Response(400, "Bad Request"), "connection rejected (400 Bad Request)"),
        (Response(200, "OK"), "HTTP response sent (200 OK)"),
    ],
)
def test_refusal_is_logged_at_info_with_its_status(caplog, response, text):
    caplog.set_level(logging.INFO, "framewire.test")
    log_refusal(logging.getLogger("framewire.test"), response)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.INFO, text)]


def test_addresses_are_described_with_host_and_port():
    assert describe_address(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert describe_address(("::1", 80, 0, 0)) == "[::1]:80"
    assert describe_address("/run/socket") == "/run/socket"


def test_records_of_an_adapted_logger_have_the_connection(caplog):
    class Connection:
        name = "a connection"

    connection = Connection()
    adapt_logger(logging.getLogger("framewire.test"), connection).warning("here")
    assert caplog.records[0].websocket.name == "a connection"


def test_method_and_version_are_logged_as_received(records):
    logger = logging.getLogger("framewire.test")
    log_request(logger, "<", Request("POST", "/", Headers(), "HTTP/1.0"))
    log_response(logger, "<", Response(503, "Busy", version="HTTP/1.0"))
    assert records.messages == ["< POST / HTTP/1.0", "< HTTP/1.0 503 Busy"]


def test_response_without_a_body_is_logged_without_one(records):
    log_response(logging.getLogger("framewire.test"), ">", Response(101, "Switching Protocols"))
    assert records.messages == ["> HTTP/1.1 101 Switching Protocols"]


def test_nothing_is_logged_below_the_level_of_the_logger(records):
    logger = logging.getLogger("framewire.test")
    logger.setLevel(logging.INFO)
    log_request(logger, ">", Request("GET", "/", Headers({})))
    log_response(logger, "<", Response(200, "OK", Headers({})))
    assert records.messages == []
