"""The limits of HTTP messages: those of one server or client."""

import pytest
from modules import import_again

from framewire.errors import StatusError
from framewire.exceptions import HeaderLineTooLong, TooManyHeaders
from framewire.handshake import ClientHandshake, HeadLimits, ServerHandshake, parse_uri
from framewire.http.http11 import check_head_limits, read_limit
from framewire.http.server_policy import ServerPolicy

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("value", ["", "-1", "9", "1e3", "ten", "\u0661\u0660"])
def test_limit_that_cannot_be_is_refused(value, monkeypatch):
    monkeypatch.setenv("WEBSOCKETS_MAX_LINE_LENGTH", value)
    with pytest.raises(ValueError, match="WEBSOCKETS_MAX_LINE_LENGTH is an integer of 10 or more"):
        read_limit("LINE_LENGTH", 100, 10)


def test_limit_is_read_from_the_environment_or_the_default(monkeypatch):
    assert read_limit("LINE_LENGTH", 100, 10) == 100
    monkeypatch.setenv("WEBSOCKETS_MAX_LINE_LENGTH", "10")
    assert read_limit("LINE_LENGTH", 100, 10) == 10


@pytest.mark.parametrize("values", [(), (300, 20, 0)], ids=["default", "set"])
def test_each_limit_has_its_variable(values, monkeypatch):
    for name in (names := [f"WEBSOCKETS_MAX_{each}" for each in ("LINE_LENGTH", "NUM_HEADERS", "BODY_SIZE")]):
        monkeypatch.delenv(name, raising=False)
    for name, value in zip(names, values, strict=False):
        monkeypatch.setenv(name, str(value))
    again = import_again("framewire.http.http11")
    limits, (line, headers, body) = again.DEFAULT_LIMITS, values or (8192, 128, 1 << 20)
    assert again.MAX_LINE == limits.max_line == line
    assert again.MAX_HEADERS == limits.max_headers == headers
    assert again.MAX_BODY == limits.max_body == body
    assert again.MAX_HEAD == limits.max_head == 4 * line


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_line": 255}, ValueError, "max_line is 256 to "),
        ({"max_line": (1 << 30) + 1}, ValueError, "max_line is 256 to "),
        ({"max_headers": 15}, ValueError, "max_headers is 16 to "),
        ({"max_body": -1}, ValueError, "max_body is 0 to "),
        ({"max_line": "8k"}, TypeError, "max_line is an int, not str"),
        ({"max_body": None}, TypeError, "max_body is an int, not NoneType"),
    ],
)
def test_head_limits_that_cannot_be_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        HeadLimits(**options)


@pytest.mark.parametrize(
    "give",
    [
        lambda limits: ServerPolicy(head_limits=limits),
        lambda limits: check_head_limits(limits),
        lambda limits: ServerHandshake(limits),
        lambda limits: ClientHandshake(parse_uri("ws://a/"), limits=limits),
    ],
)
def test_head_limits_of_another_type_are_refused(give):
    with pytest.raises(TypeError, match="head_limits is HeadLimits or None, not int"):
        give(8192)


@pytest.mark.parametrize("step", [1, 100, 1 << 20])
def test_handshakes_heed_their_own_head_limits(step):
    def receive(handshake, data):
        for start in range(0, len(data), step):
            handshake.receive(data[start : start + step])

    limits = HeadLimits(max_line=300, max_headers=16, max_body=3)
    request = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n"
    for lines, error in (
        (b"X: " + b"a" * 300 + b"\r\n", HeaderLineTooLong),
        (b"X: y\r\n" * 16, TooManyHeaders),
        ((b"X: " + b"a" * 290 + b"\r\n") * 4, HeaderLineTooLong),
    ):
        with pytest.raises(error):
            receive(ServerHandshake(limits), request % lines)
    receive(ServerHandshake(limits), request % (b"X: y\r\n" * 15))
    receive(ServerHandshake(HeadLimits(1 << 30, 1 << 30)), request % b"")
    for given, body in ((limits, b"bod"), (None, b"body")):
        client = ClientHandshake(parse_uri("ws://a/"), limits=given)
        client.request()
        with pytest.raises(StatusError) as caught:
            receive(client, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nbody")
        assert caught.value.response.body == body
