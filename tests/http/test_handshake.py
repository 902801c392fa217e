"""The opening handshake (RFC 6455 3, 4 and 9.1), also with hostile peers."""

from __future__ import annotations

import base64
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus

import pytest
from bounds import assert_linear
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri as parse_peer_uri

from framewire import __version__
from framewire.errors import HandshakeError, ResponseError, StateError, StatusError, UriError
from framewire.handshake import (
    MAX_BODY,
    MAX_INTERIM,
    ClientHandshake,
    ServerHandshake,
    accept_key,
    check_connection_header,
    check_http_version,
    check_request,
    check_upgrade_header,
    check_version_header,
    choose_subprotocol,
)
from framewire.http.client_handshake import USER_AGENT
from framewire.http.headers import Headers, format_extensions, parse_extensions, parse_tokens, split_list
from framewire.http.http11 import MAX_HEAD, MAX_HEADERS, MAX_LINE, HeadLimits, HeadScanner, Request, Response
from framewire.http.request_checks import find_host
from framewire.http.server_handshake import BUSY, CLOSING, expects_continue, refusal
from framewire.http.uri import Uri, parse_uri

pytestmark = pytest.mark.engine

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
NONCE = b"the sample nonce"
FRAME = bytes.fromhex("818537fa213d7f9f4d5158")
CONTROLS = [chr(byte) for byte in (*range(0x20), 0x7F)]

#: The request of RFC 6455 1.2, without its Origin.
LINES = {
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY.decode(),
    "Sec-WebSocket-Version": "13",
}


def make_head(*added: tuple[str, str], first: str = "GET /chat HTTP/1.1", **changes: str | None) -> bytes:
    """Return the request above; `Sec_WebSocket_Key="x"` replaces a line, None removes it."""
    lines = LINES | {name.replace("_", "-"): value for name, value in changes.items()}
    pairs = [pair for pair in lines.items() if pair[1] is not None] + list(added)
    text = "\r\n".join([first, *(f"{name}: {value}" for name, value in pairs), "", ""])
    return text.encode("latin-1")


def make_answer(
    *added: tuple[str, str],
    first: str = "HTTP/1.1 101 Switching Protocols",
    **changes: str | None,
) -> bytes:
    lines = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": ACCEPT}
    lines |= {name.replace("_", "-"): value for name, value in changes.items()}
    pairs = [pair for pair in lines.items() if pair[1] is not None] + list(added)
    text = "\r\n".join([first, *(f"{name}: {value}" for name, value in pairs), "", ""])
    return text.encode("latin-1")


def feed(receive: Callable[[bytes], object], data: bytes, size: int) -> None:
    """Pass `data` to `receive`, `size` bytes at a time; it must return None before the end."""
    for position in range(0, len(data), size):
        assert receive(data[position : position + size]) is None


def receive(data: bytes) -> ServerHandshake:
    server = ServerHandshake()
    assert server.receive(data) is server.request is not None
    return server


def refuse(data: bytes, **options: object) -> HandshakeError:
    """Return the error with which a server refuses `data`, and check the response."""
    server = ServerHandshake()
    try:
        server.receive(data)
        server.check(**options)  # type: ignore[arg-type]
    except HandshakeError as caught:
        error = caught
    else:
        pytest.fail("accepted")
    head, _, body = server.reject(error.status, error.reason, error.headers).partition(b"\r\n\r\n")
    answer = head.decode("ascii").split("\r\n")
    assert answer[0].startswith(f"HTTP/1.1 {error.status} ")
    assert f"Content-Length: {len(error.reason) + 1}" in answer
    assert answer[-1].startswith("Connection: ")
    assert answer[-1].endswith("close")
    assert body in (b"", error.reason.encode() + b"\n")
    return error


def start(**options: object) -> ClientHandshake:
    client = ClientHandshake(parse_uri("ws://localhost/"), key=NONCE, **options)  # type: ignore[arg-type]
    client.request()
    return client


def fail(data: bytes, **options: object) -> ResponseError:
    with pytest.raises(ResponseError) as caught:
        start(**options).receive(data)
    return caught.value


# Checks of single headers


@pytest.mark.parametrize(
    "version", ["1.1", "1.2", "1.10", "2.0", "2.000", "123.45", "01.1", "0001.0001", "10.0", "1." + "9" * 9999]
)
def test_http_version_1_1_or_later_is_accepted(version: str) -> None:
    assert check_http_version("HTTP/" + version)


@pytest.mark.parametrize(
    "version",
    [
        None,
        "",
        "HTTP/1.0",
        "HTTP/0.9",
        "HTTP/0.0",
        "HTTP/1.00",
        "HTTP/2",
        "HTTP/2.",
        "HTTP/.1",
        "http/1.1",
        "HTTP / 1.1",
        "HTTP/1.1 ",
        " HTTP/1.1",
        "HTTP/1.1\n",
        "HTTP/\uff11.\uff11",
        "HTTP/1.1.1",
    ],
)
def test_http_version_below_1_1_or_malformed_is_rejected(version: str | None) -> None:
    assert not check_http_version(version)


@pytest.mark.parametrize(
    "values",
    [
        ["Upgrade"],
        ["upgrade"],
        ["UPGRADE"],
        ["keep-alive, Upgrade"],
        ["Upgrade,keep-alive"],
        [" \tUpgrade \t"],
        [",, ,Upgrade,"],
        ["keep-alive", "Upgrade"],
        ["Upgrade, foo/bar"],
        ["foo/bar, Upgrade"],
        ['"a, b", Upgrade'],
    ],
)
def test_connection_header_with_upgrade_token_is_accepted(values: list[str]) -> None:
    assert check_connection_header(values)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["\rUpgrade"],
        ["Upgrade\n"],
        ["\vUpgrade"],
        ['"Upgrade"'],
        ["Upgrade or Downgrade"],
        ["notupgrade"],
        ["upgraded"],
        ["Upgrade;q=1"],
        ["Up", "grade"],
        ['"a, Upgrade, b"'],
        ['"a, Upgrade'],
        ['"a\\", Upgrade, "'],
        ["\u212aUpgrade"],
        ["keep-alive"],
    ],
)
def test_connection_header_without_upgrade_token_is_rejected(values: list[str]) -> None:
    assert not check_connection_header(values)


@pytest.mark.parametrize(
    "values", [["websocket"], ["WebSocket"], ["HTTP/2.0, websocket"], ["WEBSOCKET"], ["h2c", "websocket"]]
)
def test_upgrade_header_with_websocket_token_is_accepted(values: list[str]) -> None:
    assert check_upgrade_header(values)


@pytest.mark.parametrize(
    "values",
    [[], [""], ["websocket/13"], ["websockets"], ['"websocket"'], ["web socket"], ["web", "socket"]],
)
def test_upgrade_header_without_websocket_token_is_rejected(values: list[str]) -> None:
    assert not check_upgrade_header(values)


def test_version_header_must_be_exactly_13() -> None:
    assert check_version_header("13")
    for value in ("14", "12", " 13", "13 ", "130", "013", "", None, "13, 8", "\uff11\uff13"):
        assert not check_version_header(value), value


@pytest.mark.parametrize(
    ("key", "accept"),
    [
        (KEY, ACCEPT),
        (b"50cLrugr7h3yAbe5Kpc52Q==", "58ij/Yod1NTjzqcyjkZbZk6V6v0="),
    ],
)
def test_accept_key_matches_known_values(key: bytes, accept: str) -> None:
    assert accept_key(key) == accept.encode()


# Lists


def test_split_list_joins_several_header_lines() -> None:
    assert split_list(["a , b", "", " , ", '"c, d" ; x , e', "\tf\t"]) == [
        "a",
        "b",
        '"c, d" ; x',
        "e",
        "f",
    ]


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        ('"a\\", b", c', ['"a\\", b"', "c"]),
        ('a"b,c"d, e', ['a"b,c"d', "e"]),
        ('a, "b, c', ["a", '"b, c']),
        ('"a\\', ['"a\\']),
        ('"', ['"']),
        ("\\, a", ["\\", "a"]),
    ],
)
def test_split_list_does_not_split_inside_quotes(value: str, elements: list[str]) -> None:
    assert split_list([value]) == elements


@pytest.mark.parametrize("value", ['"chat"', "a b", "chat, b@d", "a;b", "caf\xe9", "a, /", "\x00"])
def test_parse_tokens_rejects_elements_that_are_not_tokens(value: str) -> None:
    with pytest.raises(ValueError, match="tokens"):
        parse_tokens([value])


@pytest.mark.parametrize(
    ("values", "extensions"),
    [
        ([], []),
        ([""], []),
        (["foo"], [("foo", [])]),
        (["foo, bar"], [("foo", []), ("bar", [])]),
        (["foo", "bar"], [("foo", []), ("bar", [])]),
        (["foo; a; b=1"], [("foo", [("a", None), ("b", "1")])]),
        (['foo;a="1"'], [("foo", [("a", "1")])]),
        (['foo;a="\\1\\0"'], [("foo", [("a", "10")])]),
        (["foo ;\ta = 1 , foo"], [("foo", [("a", "1")]), ("foo", [])]),
        (["foo; a; a=2"], [("foo", [("a", None), ("a", "2")])]),
        (
            ["permessage-deflate; client_max_window_bits", "permessage-deflate"],
            [("permessage-deflate", [("client_max_window_bits", None)]), ("permessage-deflate", [])],
        ),
        (["constructor; __proto__"], [("constructor", [("__proto__", None)])]),
    ],
)
def test_parse_extensions_returns_names_and_parameters(values: list[str], extensions: list[object]) -> None:
    assert parse_extensions(values) == extensions


@pytest.mark.parametrize(
    "value",
    [
        "foo;",
        ";foo",
        "foo;;a",
        "foo bar",
        "foo; a b",
        "foo; =1",
        "foo; a=",
        "foo; a=1 2",
        "foo; a==1",
        'foo; a="',
        'foo; a="1',
        'foo; a="1\\"',
        'foo; a=""',
        'foo; a="1 2"',
        'foo; a="1, 2"',
        'foo; a="1"2',
        '"foo"',
        "foo/1",
        "foo; a/b",
        "caf\xe9",
        "foo; a=\x00",
        "foo\n",
        "foo; a\n",
    ],
)
def test_parse_extensions_rejects_malformed_values(value: str) -> None:
    with pytest.raises(ValueError, match="extension"):
        parse_extensions([value])


def test_format_extensions_round_trips_through_parse_extensions() -> None:
    extensions = [("foo", [("a", None), ("b", "1")]), ("bar", [])]
    text = format_extensions(extensions)
    assert text == "foo; a; b=1, bar"
    assert parse_extensions([text]) == extensions


@pytest.mark.parametrize("bad", [*CONTROLS, "", " ", ",", ";", "=", '"', "caf\xe9", "a b"])
def test_format_extensions_rejects_parts_that_are_not_tokens(bad: str) -> None:
    for extension in ((bad, []), ("a", [(bad, None)]), ("a", [("b", bad)])):
        with pytest.raises(ValueError, match="tokens"):
            format_extensions([extension])


@pytest.mark.parametrize(
    ("offered", "supported", "chosen"),
    [
        (["chat", "better-chat"], ["chat"], "chat"),
        (["chat", "better-chat"], ["better-chat", "chat"], "better-chat"),
        (["chat"], ["Chat"], None),
        ([], ["chat"], None),
        (["chat"], [], None),
    ],
)
def test_choose_subprotocol_follows_server_preference(
    offered: list[str], supported: list[str], chosen: str | None
) -> None:
    assert choose_subprotocol(offered, supported) == chosen


def test_headers_ignore_case_and_join_repeated_lines_on_request() -> None:
    headers = Headers([("Cookie", "a=1"), ("X", "1"), ("cookie", "b=2")])
    assert headers.lines == (("Cookie", "a=1"), ("X", "1"), ("cookie", "b=2"))
    assert headers.get_joined("COOKIE") == headers.get_joined("cookie") == "a=1, b=2"
    assert headers.get_all("Cookie") == ["a=1", "b=2"]
    assert headers.get_all("Y") == []
    assert headers.get("Y") is None
    assert "x" in headers
    assert "Y" not in headers
    assert 1 not in headers
    assert list(headers) == ["cookie", "x"]
    assert len(headers) == 2
    assert repr(headers) == "Headers([('Cookie', 'a=1'), ('X', '1'), ('cookie', 'b=2')])"


# Scanning a head


def scan(data: bytes, size: int) -> tuple[object, ...]:
    """Scan in chunks of `size` bytes; return the result, or the status and reason of the error."""
    scanner = HeadScanner()
    for start in range(0, len(data), size):
        try:
            found = scanner.receive(data[start : start + size])
        except HandshakeError as error:
            return error.status, error.reason
        if found:
            return found[0], found[1] + data[start + size :]
    return (None,)


LONG = b"GET / HTTP/1.1\r\n"
SCANS = {
    "plain": (make_head(), make_head()),
    "frame after the head": (make_head() + FRAME, make_head()),
    "CR LF after the head": (make_head() + b"\r\n\n\r", make_head()),
    "unfinished": (make_head()[:-1], None),
    "bare LF": (LONG + b"Host: a\n\r\n", 400),
    "bare LF in the first line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "bare LF at the end": (LONG + b"Host: a\r\n\n", 400),
    "LF only": (b"\n\n", 400),
    "bare CR": (LONG + b"Host: a\rb\r\n\r\n", 400),
    "bare CR at the end": (LONG + b"Host: a\r\n\r\r\n", 400),
    "folded by a space": (LONG + b"Host: a\r\n b\r\n\r\n", 400),
    "folded by a tab": (LONG + b"Host: a\r\n\tb\r\n\r\n", 400),
    "first header folded": (LONG + b" Host: a\r\n\r\n", 400),
    "line of a space": (LONG + b"Host: a\r\n \r\n\r\n", 400),
    "TLS": (bytes.fromhex("16030100c8010000c40303"), 400),
    "tab in a value": (LONG + b"X: a\tb\r\n\r\n", LONG + b"X: a\tb\r\n\r\n"),
    "latin-1": (LONG + b"X: \x80\xe9\xff\r\n\r\n", LONG + b"X: \x80\xe9\xff\r\n\r\n"),
    "longest first line": (b"a" * (MAX_LINE - 2) + b"\r\n\r\n",) * 2,
    "first line too long": (b"a" * (MAX_LINE - 1) + b"\r\n\r\n", 414),
    "first line without end": (b"a" * MAX_LINE, 414),
    "longest line": (LONG + b"a" * (MAX_LINE - 2) + b"\r\n\r\n",) * 2,
    "line too long": (LONG + b"a" * (MAX_LINE - 1) + b"\r\n\r\n", 431),
    "control after the limit": (LONG + b"a" * MAX_LINE + b"\0", 431),
    "control before the limit": (LONG + b"a" * (MAX_LINE - 1) + b"\0", 400),
    "most lines": (LONG + b"a: b\r\n" * MAX_HEADERS + b"\r\n",) * 2,
    "too many lines": (LONG + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431),
    "longest head": (LONG + (b"a" * 1998 + b"\r\n") * 16 + b"a" * 748 + b"\r\n\r\n",) * 2,
    "head too long": (LONG + (b"a" * 1998 + b"\r\n") * 16 + b"a" * 749 + b"\r\n\r\n", 431),
}


@pytest.mark.parametrize("name", SCANS)
def test_head_scan_result_does_not_depend_on_chunk_size(name: str) -> None:
    data, expected = SCANS[name]
    whole = scan(data, len(data))
    assert whole[0] == expected
    for size in (1, 2, 3, 7, 1000, MAX_LINE - 1, MAX_LINE):
        assert scan(data, size) == whole, size


@given(st.lists(st.sampled_from([b"GET / HTTP/1.1", b"A: b", b"\r\n", b"\r", b"\n", b" ", b"\t", b"\x7f", b"\xff"])))
def test_head_scan_of_arbitrary_input_does_not_depend_on_chunk_size(parts: list[bytes]) -> None:
    data = b"".join(parts) + b"\r\n\r\n"
    assert scan(data, len(data)) == scan(data, 1) == scan(data, 5)


def test_longest_accepted_head_has_max_head_bytes() -> None:
    head = SCANS["longest head"][0]
    assert len(head) == MAX_HEAD


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_empty_lines_before_the_head_are_ignored_as_often_as_allowed(size: int) -> None:
    scanner = HeadScanner(empty_lines=1)
    feed(scanner.receive, b"\r\n", size)
    assert scanner.receive(make_head() + FRAME) == (make_head(), FRAME)
    scanner = HeadScanner(empty_lines=1)
    assert scanner.receive(b"\r\n" + make_head() + FRAME) == (make_head(), FRAME)
    assert HeadScanner(empty_lines=1).receive(b"\r\n\r\n") == (b"\r\n", b"")
    assert HeadScanner().receive(b"\r\n") == (b"\r\n", b"")


def test_empty_line_before_the_head_is_checked_like_any_line() -> None:
    for data, reason in ((b"\n", "LF without CR"), (b"\r\r\n", "control"), (b"\r\n\x01", "control")):
        with pytest.raises(HandshakeError, match=reason):
            HeadScanner(empty_lines=1).receive(data + make_head())


def test_server_ignores_one_empty_line_before_the_request() -> None:
    assert receive(b"\r\n" + make_head()).check() == ([], [])
    assert refuse(b"\r\n\r\n" + make_head()).status == 400


@pytest.mark.parametrize("value", ["100-continue", "100-Continue", "x, 100-continue"])
def test_expected_100_response_precedes_the_101(value: str) -> None:
    server = receive(make_head(("Expect", value)))
    server.check()
    assert server.accept().startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n")
    assert receive(make_head(("Expect", value))).reject(403, "no").startswith(b"HTTP/1.1 403 ")


def test_client_of_http_1_0_expects_no_100_response() -> None:
    headers = Headers([("Expect", "100-continue")])
    assert expects_continue(Request("GET", "/", headers))
    assert not expects_continue(Request("GET", "/", headers, "HTTP/1.0"))


def test_refusal_has_a_status_of_200_to_599() -> None:
    assert [refusal(status, "x").status_code for status in (200, 599)] == [200, 599]
    for status in (199, 600):
        with pytest.raises(ValueError, match=f"not the status of a refusal: {status}"):
            refusal(status, "x")


def test_head_scan_rejects_control_characters_except_tab_in_values() -> None:
    for text in CONTROLS:
        for template in ("GET /{} HTTP/1.1\r\n", "GET / HTTP/1.1\r\nX{}: a\r\n\r\n"):
            assert refuse(template.format(text).encode() + b"\r\n").status == 400
        value = scan(f"GET / HTTP/1.1\r\nX: a{text}b\r\n\r\n".encode(), 1000)
        assert (value[0] == 400) == (text != "\t"), text


def test_head_scan_rejects_bad_byte_before_line_is_complete() -> None:
    scanner = HeadScanner()
    scanner.receive(b"GET /")
    with pytest.raises(HandshakeError):
        scanner.receive(b"\x00")


# Request


def test_rfc_6455_example_request_is_accepted() -> None:
    head = make_head(("Origin", "http://server.example.com"), ("Sec-WebSocket-Protocol", "chat, superchat"))
    server = receive(head + FRAME)
    assert server.request is not None
    assert (server.request.method, server.request.target) == ("GET", "/chat")
    assert server.request.version == "HTTP/1.1"
    assert server.request.headers.lines[0] == ("Host", "server.example.com")
    assert server.trailing == FRAME
    assert server.check() == (["chat", "superchat"], [])
    assert server.accept(subprotocol="chat") == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"Sec-WebSocket-Protocol: chat\r\n"
        b"\r\n"
    )
    assert server.response is not None
    assert server.response.status == 101
    assert server.response.headers["sec-websocket-accept"] == ACCEPT


def test_request_split_at_any_position_is_accepted() -> None:
    data = make_head() + FRAME
    for cut in range(1, len(data)):
        server = ServerHandshake()
        first = server.receive(data[:cut])
        second = server.receive(data[cut:])
        assert (first is None) == (cut < len(data) - len(FRAME))
        assert (first or second) == receive(data).request
        assert server.trailing == FRAME
        assert server.accept().startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "changes",
    [
        {"first": "GET /chat?room=1 HTTP/1.1"},
        {"first": "GET http://server.example.com/chat HTTP/1.1"},
        {"Connection": "keep-alive, Upgrade"},
        {"Upgrade": "WebSocket"},
        {"Upgrade": "h2c, websocket"},
        {"Host": "[::1]:8080"},
        {"Host": "127.0.0.1:"},
        {"Content_Length": "0"},
        {"Sec_WebSocket_Key": "AQIDBAUGBwgJCgsMDQ4PEC=="},
        {"Sec_WebSocket_Key": "AQIDBAUGBwgJCgsMDQ4PEA=="},
        {"Sec_WebSocket_Protocol": ""},
        {"Sec_WebSocket_Protocol": "chat, chat"},
        {"Sec_WebSocket_Extensions": 'foo; a="1"'},
        {"X": "caf\xe9"},
    ],
)
def test_valid_request_is_accepted(changes: dict[str, str]) -> None:
    assert receive(make_head(**changes)).accept().startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (405, {"first": "POST /chat HTTP/1.1"}),
        (405, {"first": "HEAD /chat HTTP/1.1"}),
        (405, {"first": "get /chat HTTP/1.1"}),
        (405, {"first": "CONNECT a:1 HTTP/1.1"}),
        (400, {"first": "GET /chat HTTP/1.0"}),
        (400, {"first": "GET /chat HTTP/0.9"}),
        (400, {"first": "GET /chat http/1.1"}),
        (400, {"first": "GET /chat HTTP/1.1 "}),
        (400, {"first": "GET /chat"}),
        (400, {"first": "GET  /chat HTTP/1.1"}),
        (400, {"first": "GET /ch at HTTP/1.1"}),
        (400, {"first": "GET /caf\xe9 HTTP/1.1"}),
        (400, {"first": "GET * HTTP/1.1"}),
        (400, {"first": "GET chat HTTP/1.1"}),
        (400, {"first": "GET http:///chat HTTP/1.1"}),
        (400, {"first": "GET http://user@a/chat HTTP/1.1"}),
        (400, {"first": ""}),
        (400, {"Host": None}),
        (400, {"Host": ""}),
        (400, {"Host": "a b"}),
        (400, {"Host": "a/b"}),
        (400, {"Host": "user@a"}),
        (400, {"Host": "[::::]"}),
        (400, {"Host": "[127.0.0.1]"}),
        (400, {"Host": "caf\xe9"}),
        (426, {"Upgrade": None}),
        (426, {"Upgrade": "h2c"}),
        (426, {"Connection": None}),
        (426, {"Connection": "keep-alive"}),
        (426, {"Connection": "notupgrade"}),
        (400, {"Sec_WebSocket_Version": None}),
        (400, {"Sec_WebSocket_Version": ""}),
        (400, {"Sec_WebSocket_Version": "13, 8"}),
        (400, {"Sec_WebSocket_Version": "13a"}),
        (426, {"Sec_WebSocket_Version": "8"}),
        (426, {"Sec_WebSocket_Version": "14"}),
        (426, {"Sec_WebSocket_Version": "130"}),
        (400, {"Sec_WebSocket_Key": None}),
        (400, {"Sec_WebSocket_Key": ""}),
        (400, {"Sec_WebSocket_Key": "AQIDBAUGBwgJCgsMDQ4P"}),
        (400, {"Sec_WebSocket_Key": "AQIDBAUGBwgJCgsMDQ4PEBE="}),
        (400, {"Sec_WebSocket_Key": "AQIDBAUGBwgJCgsMDQ4PEA"}),
        (400, {"Sec_WebSocket_Key": "AQIDBAUGBwgJCgsMDQ4P!A=="}),
        (400, {"Sec_WebSocket_Key": "AQIDBAUGBwgJCgsMDQ4P_A=="}),
        (400, {"Sec_WebSocket_Key": "caf\xe9BAUGBwgJCgsMDQ4PEA=="}),
        (400, {"Sec_WebSocket_Protocol": "chat, a b"}),
        (400, {"Sec_WebSocket_Protocol": '"chat"'}),
        (400, {"Sec_WebSocket_Extensions": "foo;"}),
        (400, {"Sec_WebSocket_Extensions": 'foo; a="'}),
        (400, {"Content_Length": "5"}),
        (400, {"Content_Length": "00000000000000000005"}),
        (400, {"Content_Length": "-1"}),
        (400, {"Content_Length": "0, 5"}),
        (400, {"Transfer_Encoding": "chunked"}),
        (400, {"Transfer_Encoding": "gzip, chunked"}),
    ],
)
def test_invalid_request_is_rejected_with_its_status(status: int, changes: dict[str, str | None]) -> None:
    assert refuse(make_head(**changes)).status == status


@pytest.mark.parametrize(
    ("status", "name", "value"),
    [
        (400, "Host", "server.example.com"),
        (400, "Sec-WebSocket-Key", KEY.decode()),
        (400, "Sec-WebSocket-Version", "13"),
        (400, "Sec-WebSocket-Version", "8"),
        (400, "Content-Length ", "0"),
        (400, "X Y", "a"),
        (400, "", "a"),
        (400, "X\xe9", "a"),
    ],
)
def test_request_with_duplicate_or_malformed_header_is_rejected(status: int, name: str, value: str) -> None:
    assert refuse(make_head((name, value))).status == status


def test_request_list_headers_may_span_several_lines() -> None:
    data = make_head(
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("sec-websocket-protocol", "superchat, x"),
        ("Sec-WebSocket-Extensions", "foo; a"),
        ("Sec-WebSocket-Extensions", "bar"),
        Connection="keep-alive",
    )
    offer = receive(data).check()
    assert offer.subprotocols == ["chat", "superchat", "x"]
    assert offer.extensions == [("foo", [("a", None)]), ("bar", [])]


def test_request_body_is_rejected_and_never_read_as_frames() -> None:
    for lines, body in (
        (("Content-Length", str(len(FRAME))), FRAME),
        (("Transfer-Encoding", "chunked"), b"b\r\n" + FRAME + b"\r\n0\r\n\r\n"),
    ):
        server = receive(make_head(lines) + body)
        with pytest.raises(HandshakeError, match="no body"):
            server.accept()
        assert server.response is None


def test_rejection_carries_allow_or_upgrade_headers() -> None:
    error = refuse(make_head(first="POST / HTTP/1.1"))
    assert error.headers == (("Allow", "GET"),)
    for changes in ({"Upgrade": None}, {"Sec_WebSocket_Version": "8"}):
        server = receive(make_head(**changes))  # type: ignore[arg-type]
        with pytest.raises(HandshakeError) as caught:
            server.check()
        answer = server.reject(426, caught.value.reason, caught.value.headers).split(b"\r\n")
        assert answer[0] == b"HTTP/1.1 426 Upgrade Required"
        assert b"Upgrade: websocket" in answer
        assert b"Sec-WebSocket-Version: 13" in answer
        assert b"Connection: Upgrade, close" in answer
    assert str(error) == "the method is not GET (HTTP 405)"


def test_rejection_reason_does_not_echo_peer_input() -> None:
    for data in (b"<script> / HTTP/1.1\r\n\r\n", LONG + b"Host: a\r\n<script>\r\n\r\n"):
        reason = refuse(data).reason
        assert "script" not in reason
        assert len(reason) > 10


def test_data_before_the_response_is_limited_to_64_kib() -> None:
    server = ServerHandshake()
    server.receive(make_head())
    assert server.receive(bytes(65536)) is None
    assert server.trailing == bytes(65536)
    with pytest.raises(HandshakeError):
        server.receive(b"\0")
    with pytest.raises(HandshakeError):
        ServerHandshake().receive(make_head() + bytes(65537))


@pytest.mark.parametrize("byte", range(0x80, 0x100))
def test_non_ascii_bytes_are_accepted_only_in_unrelated_header_values(byte: int) -> None:
    text = chr(byte)
    request = receive(make_head(("X", f"caf{text}"))).request
    assert request is not None
    assert request.headers["X"].encode("latin-1") == b"caf" + bytes([byte])
    for name in (
        "Upgrade",
        "Connection",
        "Host",
        "Sec_WebSocket_Version",
        "Sec_WebSocket_Key",
        "Sec_WebSocket_Protocol",
        "Sec_WebSocket_Extensions",
        "Origin",
        "Content_Length",
        "Transfer_Encoding",
    ):
        assert 400 <= refuse(make_head(**{name: text})).status <= 501
    assert refuse(make_head(first=f"GET /{text} HTTP/1.1")).status == 400
    assert refuse(make_head((f"X{text}", "a"))).status == 400


# Origins


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "a.example"),
        ("http://a.example", "a.example"),
        ("https://a.example", "a.example"),
        ("HTTP://A.example", "a.EXAMPLE"),
        ("http://a.example:80", "a.example"),
        ("http://a.example", "a.example:80"),
        ("https://a.example", "a.example:443"),
        ("http://a.example:8080", "a.example:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_same_origin_request_is_accepted(origin: str | None, host: str) -> None:
    receive(make_head(Origin=origin, Host=host)).check()


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil", "a.example"),
        ("http://a.example.evil", "a.example"),
        ("http://a.example@evil", "a.example"),
        ("http://evil/a.example", "a.example"),
        ("http://a.example/", "a.example"),
        ("http://a.example:443", "a.example"),
        ("http://a.example:8080", "a.example"),
        ("http://a.example", "a.example:8080"),
        ("https://a.example", "a.example:80"),
        ("null", "a.example"),
        ("null", "null"),
        ("", "a.example"),
        ("a.example", "a.example"),
        ("file://", "a.example"),
        ("chrome-extension://a.example", "a.example"),
    ],
)
def test_cross_origin_request_is_rejected_with_403(origin: str, host: str) -> None:
    assert refuse(make_head(Origin=origin, Host=host)).status == 403


@pytest.mark.parametrize("target", ["http://b.example:8080/chat", "HTTP://B.example:8080?a", "ws://b.example:8080"])
def test_host_of_an_absolute_target_replaces_the_host_header(target: str) -> None:
    first = f"GET {target} HTTP/1.1"
    receive(make_head(first=first, Host="a.example", Origin="http://b.example:8080")).check()
    assert refuse(make_head(first=first, Host="a.example", Origin="http://a.example")).status == 403


@pytest.mark.parametrize(
    ("target", "host"),
    [("/", "a.example"), ("*", "a.example"), ("http://b.example:81/x", "b.example:81"), ("WSS://[::1]", "[::1]")],
)
def test_host_of_a_request_is_that_of_an_absolute_target_or_else_of_the_host_header(target: str, host: str) -> None:
    assert find_host(Request("GET", target, Headers([("Host", "a.example")]))) == host
    with pytest.raises(HandshakeError, match="the Host header is missing"):
        find_host(Request("GET", target, Headers()))


@pytest.mark.parametrize("host", ["[::1::]", "a[b", "h:abc", "h:8080:1"])
def test_malformed_host_of_an_absolute_target_is_refused(host: str) -> None:
    assert refuse(make_head(first=f"GET http://{host}/ HTTP/1.1")).status == 400


def test_origins_option_accepts_only_listed_origins() -> None:
    origins = ["https://a.example", re.compile(r"https://[a-z]+\.b\.example")]
    for good in ("https://a.example", "https://A.example", "https://x.b.example"):
        receive(make_head(Origin=good)).check(origins=origins)
    for bad in (
        "http://a.example",
        "https://a.example.evil",
        "https://x.b.example.evil",
        "http://server.example.com",
        None,
    ):
        assert refuse(make_head(Origin=bad), origins=origins).status == 403
    receive(make_head()).check(origins=[None])
    assert refuse(make_head(), origins=[]).status == 403
    assert refuse(make_head(Origin="null"), origins=[None]).status == 403


def test_request_with_two_origin_headers_is_rejected() -> None:
    good = ("Origin", "http://server.example.com")
    assert refuse(make_head(good, good)).status == 400


def test_check_request_accepts_request_parsed_elsewhere() -> None:
    request = Request("GET", "/", Headers([(name.upper(), LINES[name]) for name in LINES]))
    assert check_request(request) == ([], [])


# Response


def test_accept_runs_check_unless_already_passed() -> None:
    server = receive(make_head(Origin="http://evil"))
    with pytest.raises(HandshakeError):
        server.accept()
    server.check(origins=["http://evil"])
    assert server.accept().startswith(b"HTTP/1.1 101 ")


def test_failed_check_revokes_an_earlier_passed_check() -> None:
    server = receive(make_head(Origin="http://evil"))
    server.check(origins=["http://evil"])
    with pytest.raises(HandshakeError):
        server.check(origins=[])
    with pytest.raises(HandshakeError):
        server.accept()


def test_accept_writes_given_extensions_and_headers() -> None:
    server = receive(make_head(("Sec-WebSocket-Extensions", "foo; a, bar")))
    answer = server.accept(
        extensions=[("foo", [("a", "1")])], headers=[("Set-Cookie", "a"), ("Set-Cookie", "caf\xe9")]
    ).split(b"\r\n")
    assert b"Sec-WebSocket-Extensions: foo; a=1" in answer
    assert answer[-4:] == [b"Set-Cookie: a", b"Set-Cookie: caf\xe9", b"", b""]


@pytest.mark.parametrize(
    "options",
    [
        {"subprotocol": "other"},
        {"subprotocol": "CHAT"},
        {"subprotocol": ""},
        {"extensions": [("bar", [])]},
        {"extensions": [("foo", [("a\r\n", None)])]},
        {"headers": [("Upgrade", "h2c")]},
        {"headers": [("connection", "close")]},
        {"headers": [("Content-Length", "0")]},
        {"headers": [("Transfer-Encoding", "chunked")]},
        {"headers": [("Sec-WebSocket-Protocol", "chat")]},
        {"headers": [("sec-websocket-accept", "x")]},
        {"headers": [("X Y", "a")]},
        {"headers": [("X", " a")]},
        {"headers": [("X", "\u20ac")]},
        *({"headers": [("X", f"a{text}b")]} for text in CONTROLS),
        *({"headers": [(f"X{text}", "a")]} for text in CONTROLS),
        *({"subprotocol": f"chat{text}"} for text in CONTROLS),
    ],
)
def test_accept_rejects_invalid_subprotocols_extensions_and_headers(options: dict[str, object]) -> None:
    server = receive(make_head(("Sec-WebSocket-Protocol", "chat"), ("Sec-WebSocket-Extensions", "foo")))
    for call in (server.accept, server.agree):
        with pytest.raises(ValueError, match=r"offer|handshake|token|control|latin"):
            call(**options)  # type: ignore[arg-type]
    assert server.response is None
    assert server.accept().startswith(b"HTTP/1.1 101 ")


def test_respond_adds_content_length_and_connection_close() -> None:
    server = receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    page = Response(200, "OK", Headers([("Content-Type", "text/html")]), b"<p>")
    assert server.respond(page) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\nConnection: close\r\n\r\n<p>"
    )
    assert server.response is page


def test_response_to_head_request_has_no_body() -> None:
    server = receive(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = server.reject(404, "no")
    assert b"Content-Length: 3\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [499, 599])
def test_reject_accepts_unregistered_status(status: int) -> None:
    assert receive(make_head()).reject(status, "no").startswith(b"HTTP/1.1 %d \r\n" % status)


@pytest.mark.parametrize("answer", [BUSY, CLOSING])
def test_answer_without_a_request_is_a_whole_response(answer: bytes) -> None:
    client = ClientHandshake(parse_uri("ws://a/"))
    client.request()
    with pytest.raises(StatusError) as caught:
        client.receive(answer)
    response = caught.value.response
    assert response is not None
    assert (response.status, response.reason) == (503, "Service Unavailable")
    assert int(response.headers["Content-Length"]) == len(response.body) > 10
    assert response.headers.get("Retry-After") == ("1" if answer is BUSY else None)


def test_error_about_the_reason_of_a_response_names_it() -> None:
    with pytest.raises(ValueError, match="the value of reason has a control character"):
        receive(make_head()).respond(Response(200, "O\nK"))


def test_refusal_says_whether_a_header_is_missing_or_repeated() -> None:
    assert refuse(make_head(Sec_WebSocket_Key=None)).reason == "the Sec-WebSocket-Key header is missing"
    repeated = make_head(("Sec-WebSocket-Version", "13"))
    assert refuse(repeated).reason == "the Sec-WebSocket-Version header is repeated"


def test_answer_encodes_agreed_response_with_headers_added_since() -> None:
    server = receive(make_head())
    response = server.agree(headers=[("X", "1")])
    assert server.response is None
    response.headers["Y"] = "2"
    response.headers.pack()
    assert server.answer(response).endswith(b"\r\nX: 1\r\nY: 2\r\n\r\n")
    assert server.response is response


def test_answer_validates_headers_added_without_validation() -> None:
    server = receive(make_head())
    response = server.agree()
    response.headers.set_insecure("Y", "2\r\nZ: 3")
    with pytest.raises(ValueError, match="control character"):
        server.answer(response)
    assert server.response is None


def test_agreed_response_is_answered_once_and_reads_as_it_was_sent() -> None:
    server = receive(make_head(**{"Sec-WebSocket-Protocol": "a, b"}))
    server.check()
    response = server.agree(subprotocol="b", headers=[["X", "caf\xe9"]])
    data = server.answer(response)
    assert data == b"HTTP/1.1 101 Switching Protocols\r\n" + response.headers.serialize()
    assert response.headers["Sec-WebSocket-Protocol"] == "b"
    assert response.headers["X"] == "caf\xe9"
    with pytest.raises(StateError):
        server.answer(response)


def test_answer_encodes_other_responses_as_respond() -> None:
    head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert receive(make_head()).answer(Response(404, "Not Found")) == head


def test_answer_rejects_101_before_check_has_passed() -> None:
    server = receive(make_head(Origin="http://evil"))
    with pytest.raises(HandshakeError):
        server.check()
    with pytest.raises(ValueError, match="agree"):
        server.answer(Response(101, "Switching Protocols"))
    assert server.response is None


@pytest.mark.parametrize(
    "response",
    [
        Response(101, "Switching Protocols"),
        Response(100, "Continue"),
        Response(600, "What"),
        Response(204, "No Content", body=b"a"),
        Response(304, "Not Modified", body=b"a"),
        Response(200, "OK", Headers([("Content-Length", "1")])),
        Response(200, "OK", Headers([("transfer-encoding", "chunked")])),
        Response(204, "No Content", Headers([("Transfer-Encoding", "chunked")])),
        Response(200, "OK", Headers([("Connection", "keep-alive")])),
        *(Response(200, f"O{text}K") for text in CONTROLS),
        *(Response(200, "OK", Headers([("X", f"a{text}b")])) for text in CONTROLS),
    ],
)
def test_respond_rejects_invalid_responses(response: Response) -> None:
    server = receive(make_head())
    with pytest.raises(ValueError, match=r"status|handshake|control"):
        server.respond(response)
    assert server.response is None
    assert server.accept().startswith(b"HTTP/1.1 101 ")


def test_response_with_text_as_its_body_raises_and_leaves_the_request_unanswered() -> None:
    server = receive(make_head())
    with pytest.raises(TypeError):
        server.respond(Response(200, "OK", None, "text"))  # type: ignore[arg-type]
    assert server.response is None
    assert server.accept().startswith(b"HTTP/1.1 101 ")


def test_respond_takes_the_framing_headers_that_it_would_write() -> None:
    plain, framed = (
        Response(200, "OK", None, b"abc"),
        Response(200, "OK", {"content-length": "3", "Connection": "Close"}, b"abc"),
    )
    assert receive(make_head()).respond(framed) == receive(make_head()).respond(plain)


@pytest.mark.parametrize("headers", [None, {"Content-Length": "0"}])
@pytest.mark.parametrize("status", [204, 205, 304])
def test_response_without_content_has_no_content_length(status: int, headers: dict[str, str] | None) -> None:
    head = receive(make_head()).respond(Response(status, "", headers))
    assert head == b"HTTP/1.1 %d \r\nConnection: close\r\n\r\n" % status


@pytest.mark.parametrize("status", [204, 205, 304])
def test_refusal_without_content_keeps_its_headers(status: int) -> None:
    head = receive(make_head()).reject(status, "not sent", [("X", "1")])
    phrase = HTTPStatus(status).phrase.encode()
    assert head == b"HTTP/1.1 %d %b\r\nX: 1\r\nConnection: close\r\n\r\n" % (status, phrase)


def test_second_response_raises_state_error() -> None:
    for answer in (ServerHandshake.accept, lambda server: server.reject(400, "no")):
        server = receive(make_head())
        answer(server)
        response = server.response
        with pytest.raises(StateError):
            server.accept()
        with pytest.raises(StateError):
            server.reject(400, "no")
        assert server.response is response


def test_several_accepted_extensions_are_one_header_of_the_response() -> None:
    server = receive(make_head(("Sec-WebSocket-Extensions", "foo, bar")))
    answer = server.accept(extensions=[("foo", []), ("bar", [])])
    assert answer.lower().count(b"sec-websocket-extensions:") == 1
    assert b"Sec-WebSocket-Extensions: foo, bar\r\n" in answer


def test_incomplete_request_can_only_be_rejected() -> None:
    server = ServerHandshake()
    server.receive(make_head()[:50])
    with pytest.raises(StateError):
        server.accept()
    with pytest.raises(StateError):
        server.check()
    assert server.reject(408, "too slow").startswith(b"HTTP/1.1 408 Request Timeout\r\n")


# URI


@pytest.mark.parametrize(
    ("text", "secure", "host", "port", "target", "authority"),
    [
        ("ws://localhost", False, "localhost", 80, "/", "localhost"),
        ("wss://localhost", True, "localhost", 443, "/", "localhost"),
        ("WSS://LocalHost/Path", True, "localhost", 443, "/Path", "localhost"),
        ("ws://localhost:80/", False, "localhost", 80, "/", "localhost"),
        ("ws://localhost:443/", False, "localhost", 443, "/", "localhost:443"),
        ("ws://localhost:/", False, "localhost", 80, "/", "localhost"),
        ("ws://localhost:08080/a/b?c=d?e", False, "localhost", 8080, "/a/b?c=d?e", "localhost:8080"),
        ("ws://localhost:00008080/", False, "localhost", 8080, "/", "localhost:8080"),
        ("ws://localhost:65535/", False, "localhost", 65535, "/", "localhost:65535"),
        ("ws://localhost?a", False, "localhost", 80, "/?a", "localhost"),
        ("ws://localhost/?", False, "localhost", 80, "/", "localhost"),
        ("ws://127.0.0.1:1/", False, "127.0.0.1", 1, "/", "127.0.0.1:1"),
        ("ws://[::1]/", False, "::1", 80, "/", "[::1]"),
        ("ws://[fe80::1%25eth0]/", False, "fe80::1%eth0", 80, "/", "[fe80::1]"),
        ("ws://[FE80:0::1%25a%2Db]:81/", False, "fe80::1%a-b", 81, "/", "[fe80::1]:81"),
        ("ws://[fe80::1%25a]/", False, "fe80::1%a", 80, "/", "[fe80::1]"),
        ("ws://[fe80::1%eth0]/", False, "fe80::1%eth0", 80, "/", "[fe80::1]"),
        ("ws://[fe80::1%2]/", False, "fe80::1%2", 80, "/", "[fe80::1]"),
        ("ws://[0:0::1]:8080/", False, "::1", 8080, "/", "[::1]:8080"),
        ("ws://a_b/%20", False, "a_b", 80, "/%20", "a_b"),
        ("ws://m\xfcnchen.example/caf\xe9?\xe9=%C3%A9", False, "xn--mnchen-3ya.example", 80,
         "/caf%C3%A9?%C3%A9=%C3%A9", "xn--mnchen-3ya.example"),
        ('ws://a/"<>', False, "a", 80, "/%22%3C%3E", "a"),
        ("ws://a/@b:c", False, "a", 80, "/@b:c", "a"),
        ("ws://a/%23b?%23", False, "a", 80, "/%23b?%23", "a"),
    ],
)  # fmt: skip
def test_parse_uri_splits_and_normalises_uri(
    text: str, secure: bool, host: str, port: int, target: str, authority: str
) -> None:
    uri = parse_uri(text)
    assert (uri.secure, uri.host, uri.port, uri.target) == (secure, host, port, target)
    assert uri.authority == authority
    assert uri.username is None


@pytest.mark.parametrize(
    ("text", "username", "password", "authorization"),
    [
        ("ws://user:pass@a/", "user", "pass", "Basic dXNlcjpwYXNz"),
        ("ws://user:@a/", "user", "", "Basic dXNlcjo="),
        ("ws://:pass@a/", "", "pass", "Basic OnBhc3M="),
        ("ws://a%40b:c%3Ad:e@a/", "a@b", "c:d:e", "Basic YUBiOmM6ZDpl"),
        ("ws://caf%C3%A9:x@a/", "caf\xe9", "x", "Basic Y2Fmw6k6eA=="),
        ("ws://u:\udcff@a/", "u", "\udcff", "Basic dTr/"),
    ],
)
def test_uri_credentials_become_basic_authorization(
    text: str, username: str, password: str, authorization: str
) -> None:
    uri = parse_uri(text)
    assert (uri.host, uri.username, uri.password) == ("a", username, password)
    assert "pass" not in repr(uri)
    head = ClientHandshake(uri).request()
    assert f"\r\nAuthorization: {authorization}\r\n".encode() in head
    head = ClientHandshake(uri, headers=[("authorization", "Bearer x")]).request()
    assert b"Basic" not in head
    assert b"authorization: Bearer x\r\n" in head


@pytest.mark.parametrize(
    "text",
    [
        "ws://user@host/",
        "",
        "localhost",
        "ws:",
        "ws:/localhost",
        "ws://",
        "ws:///path",
        "ws://:80/",
        "http://localhost/",
        "wsss://localhost/",
        " ws://localhost/",
        "ws://localhost/#",
        "ws://localhost/#fragment",
        "ws://local host/",
        "ws://localhost:port/",
        "ws://localhost:0/",
        "ws://localhost:65536/",
        "ws://localhost:99999999999999999999/",
        "ws://localhost:-1/",
        "ws://localhost:\uff11/",
        "ws://a:1:2/",
        "ws://[::1/",
        "ws://::1/",
        "ws://[localhost]/",
        "ws://[fe80::1%]/",
        "ws://[fe80::1%25%00]/",
        "ws://[fe80::1%25%ff]/",
        "ws://[fe80::1%25a%25b]/",
        "ws://[fe80::1%25\xe9]/",
        "ws://127.0.0.1%25eth0/",
        "ws://[::1]x/",
        "ws://a..b/",
        "ws://" + "a" * 64 + "/",
        "ws://a%41/",
        "ws://a\\b/",
        "ws://\ud800/",
        "ws://a/\ud800",
        "ws://us%3Aer:x@a/",
        "ws://us%0Der:x@a/",
        "ws://u:%0A@a/",
        "ws://u:%ff@a/",
        "ws://\ud800:x@a/",
        "ws://u:\ud800@a/",
        "ws://user@a/",
        *(f"ws://localhost/{text}" for text in (*CONTROLS, " ")),
        *(f"ws://a{text}b/" for text in (*CONTROLS, " ")),
    ],
)
def test_parse_uri_rejects_invalid_uris(text: str) -> None:
    with pytest.raises(UriError):
        parse_uri(text)


@pytest.mark.parametrize("port", [0, 65536])
def test_parse_uri_says_which_ports_there_are(port: int) -> None:
    with pytest.raises(UriError, match="the port of the URI is not 1 to 65535"):
        parse_uri(f"ws://localhost:{port}/")


@pytest.mark.parametrize("uri", [None, b"ws://localhost/"])
def test_parse_uri_rejects_anything_but_text(uri: object) -> None:
    with pytest.raises(TypeError, match="a URI is text"):
        parse_uri(uri)


# Client


def test_client_request_contains_all_given_options() -> None:
    client = ClientHandshake(
        parse_uri("ws://server.example.com/chat"),
        key=NONCE,
        subprotocols=["chat", "superchat"],
        extensions=[("foo", [("a", "1"), ("b", None)]), ("bar", [])],
        headers=[("Origin", "http://example.com"), ("X", "caf\xe9")],
    )
    assert client.request() == (
        b"GET /chat HTTP/1.1\r\n"
        b"Host: server.example.com\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: chat, superchat\r\n"
        b"Sec-WebSocket-Extensions: foo; a=1; b, bar\r\n"
        b"Origin: http://example.com\r\n"
        b"X: caf\xe9\r\n"
        b"\r\n"
    )
    with pytest.raises(StateError):
        client.request()
    assert (client.sent.method, client.sent.target) == ("GET", "/chat")
    assert client.sent.headers["X"] == "caf\xe9"
    assert client.trailing == b""


def test_user_agent_names_the_versions_of_python_and_framewire() -> None:
    assert f"Python/{sys.version_info.major}.{sys.version_info.minor} framewire/{__version__}" == USER_AGENT


def test_client_keys_differ_between_handshakes() -> None:
    heads = {ClientHandshake(parse_uri("ws://a/")).request() for _ in range(10)}
    assert len(heads) == 10


def test_client_key_is_16_bytes_of_the_system_random_source(monkeypatch: pytest.MonkeyPatch) -> None:
    nonces, urandom = [], os.urandom

    def read(size: int) -> bytes:
        nonces.append(urandom(size))
        return nonces[-1]

    monkeypatch.setattr(os, "urandom", read)
    for count in (1, 2):
        head = ClientHandshake(parse_uri("ws://a/")).request()
        assert len(nonces) == count
        assert len(nonces[-1]) == 16
        assert b"\r\nSec-WebSocket-Key: " + base64.b64encode(nonces[-1]) + b"\r\n" in head


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("ws://a/", b"a"),
        ("ws://a:80/", b"a"),
        ("ws://a:8080/", b"a:8080"),
        ("ws://a:443/", b"a:443"),
        ("wss://a:443/", b"a"),
        ("wss://a:80/", b"a:80"),
        ("ws://[::1]:8080/", b"[::1]:8080"),
    ],
)
def test_host_of_the_request_has_the_port_unless_it_is_the_default(uri: str, host: bytes) -> None:
    assert b"\r\nHost: " + host + b"\r\n" in ClientHandshake(parse_uri(uri)).request()


@pytest.mark.parametrize(
    "options",
    [
        {"key": b""},
        {"key": bytes(15)},
        {"key": bytes(17)},
        {"subprotocols": ["a", "a"]},
        {"subprotocols": ["a b"]},
        {"subprotocols": [""]},
        {"subprotocols": ["caf\xe9"]},
        {"extensions": [("a b", [])]},
        {"headers": [("Host", "a"), ("host", "a")]},
        {"headers": [("Host", "a/b")]},
        {"headers": [("Upgrade", "a")]},
        {"headers": [("Sec-WebSocket-Key", "a")]},
        {"headers": [("Content-Length", "5")]},
        *({"subprotocols": [f"a{text}"]} for text in CONTROLS),
        *({"headers": [("X", f"a{text}b")]} for text in CONTROLS),
        *({"headers": [(f"X{text}", "a")]} for text in CONTROLS),
    ],
)
def test_client_rejects_invalid_options(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"key|token|handshake|control|Host"):
        ClientHandshake(parse_uri("ws://a/"), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Host", "HOST"])
def test_host_among_the_headers_of_the_caller_replaces_that_of_the_uri(name: str) -> None:
    client = ClientHandshake(parse_uri("ws://127.0.0.1:8000/"), headers=[("X", "1"), (name, "chat.example:81")])
    assert client.sent.headers.get_all("Host") == ["chat.example:81"]
    assert client.request().lower().count(b"host: chat.example:81\r\n") == 1


@pytest.mark.parametrize("text", [*CONTROLS, " "])
def test_client_validates_uri_not_made_by_parse_uri(text: str) -> None:
    with pytest.raises(ValueError, match="control"):
        ClientHandshake(Uri(False, "a", 80, f"/{text}"))
    with pytest.raises(ValueError, match=r"host|control"):
        ClientHandshake(Uri(False, f"a{text}", 80, "/"))


def test_response_split_at_any_position_is_accepted() -> None:
    data = make_answer(("Sec-WebSocket-Protocol", "chat")) + FRAME
    for cut in range(1, len(data) - len(FRAME)):
        client = start(subprotocols=["chat"])
        assert client.receive(data[:cut]) is None
        response = client.receive(data[cut:])
        assert response is client.response is not None
        assert response.status == 101
        assert client.subprotocol == "chat"
        assert client.trailing == FRAME


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"first": "HTTP/1.1 101"},
        {"Upgrade": "WebSocket"},
        {"Connection": "keep-alive, upgrade"},
        {"Sec_WebSocket_Accept": f" \t{ACCEPT} "},
        {"Sec_WebSocket_Protocol": "chat"},
        {"Sec_WebSocket_Extensions": "foo; x=1"},
        {"X": "caf\xe9"},
        {"Content_Length": "5"},
    ],
)
def test_valid_response_is_accepted(changes: dict[str, str]) -> None:
    client = start(subprotocols=["chat"], extensions=[("foo", [])])
    assert client.receive(make_answer(**changes)) is client.response is not None
    assert client.subprotocol == changes.get("Sec_WebSocket_Protocol")
    assert client.extensions == parse_extensions([changes.get("Sec_WebSocket_Extensions", "")])


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("HTTP version", {"first": "HTTP/1.0 101 Switching Protocols"}),
        ("Upgrade", {"Upgrade": None}),
        ("Upgrade", {"Upgrade": "websocket, h2c"}),
        ("Upgrade", {"Upgrade": "websocket/13"}),
        ("Connection", {"Connection": None}),
        ("Connection", {"Connection": "notupgrade"}),
        ("Accept", {"Sec_WebSocket_Accept": None}),
        ("Accept", {"Sec_WebSocket_Accept": ""}),
        ("Accept", {"Sec_WebSocket_Accept": ACCEPT.lower()}),
        ("Accept", {"Sec_WebSocket_Accept": ACCEPT[:-1]}),
        ("Accept", {"Sec_WebSocket_Accept": f"{ACCEPT}, {ACCEPT}"}),
        ("subprotocol", {"Sec_WebSocket_Protocol": "other"}),
        ("subprotocol", {"Sec_WebSocket_Protocol": "Chat"}),
        ("subprotocol", {"Sec_WebSocket_Protocol": ""}),
        ("subprotocol", {"Sec_WebSocket_Protocol": "chat, superchat"}),
        ("extension", {"Sec_WebSocket_Extensions": "bar"}),
        ("extension", {"Sec_WebSocket_Extensions": "foo, bar"}),
        ("extension", {"Sec_WebSocket_Extensions": "foo;"}),
    ],
)
def test_invalid_101_response_is_rejected(reason: str, changes: dict[str, str | None]) -> None:
    error = fail(make_answer(**changes), subprotocols=["chat", "superchat"], extensions=[("foo", [])])
    assert reason in error.reason
    assert str(error) == error.reason
    if reason == "Accept":
        assert error.reason == "the Sec-WebSocket-Accept header does not fit the key"
    assert error.response is not None
    assert error.response.status == 101


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Sec-WebSocket-Accept", ACCEPT),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Protocol", "chat"),
    ],
)
def test_response_with_duplicate_header_is_rejected(name: str, value: str) -> None:
    data = make_answer((name, value), ("Sec-WebSocket-Protocol", "chat"))
    assert fail(data, subprotocols=["chat"]).response is not None


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x05Hello",
        b"HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\n\n",
        b"HTTP/1.1 101 Switching\x00Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 1o1 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 99 What\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 101 " + b"a" * MAX_LINE,
        b"HTTP/1.1 101 a\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1),
    ],
)
def test_response_that_is_not_http_is_rejected(data: bytes) -> None:
    assert fail(data).response is None


BODIES = {
    "length": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nworld", b"world"),
    "chunks": (
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwo\r\n3\r\nrld\r\n0\r\n\r\n",
        b"world",
    ),
    "none": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", b""),
    "bad chunk": (
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwo\r\n1\r\nr\r\nxyz\r\n",
        b"wor",
    ),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_error_response_is_raised_with_status_and_body(name: str, size: int) -> None:
    data, body = BODIES[name]
    client = start()
    with pytest.raises(ResponseError, match="403") as caught:
        feed(client.receive, data, size)
    response = caught.value.response
    assert response is not None
    assert (response.status, response.reason, response.body) == (403, "Forbidden", body)


@pytest.mark.parametrize("line", [b"", b"Content-Length: 9\r\n"])
def test_error_response_body_may_end_at_eof(line: bytes) -> None:
    client = start()
    assert client.receive(b"HTTP/1.1 404 Not Found\r\n" + line + b"\r\n") is None
    assert client.receive(b"world") is None
    with pytest.raises(ResponseError, match="404") as caught:
        client.receive_eof()
    assert caught.value.response is not None
    assert caught.value.response.body == b"world"


def test_refusal_is_known_before_the_end_of_its_body() -> None:
    client = start()
    assert client.refusal_error() is None
    client.receive(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9")
    assert client.refusal_error() is None
    client.receive(b"9\r\n\r\nworld")
    refused = client.refusal_error()
    assert refused is not None
    assert refused.response is not None
    assert (refused.status, refused.response.body) == (403, b"world")


def test_accepted_handshake_has_not_been_refused() -> None:
    client = start()
    client.receive(make_answer())
    assert client.refusal_error() is None


def test_redirect_is_raised_to_the_caller() -> None:
    error = fail(b"HTTP/1.1 302 Found\r\nLocation: ws://b/\r\nContent-Length: 0\r\n\r\n")
    assert error.response is not None
    assert error.response.headers["location"] == "ws://b/"


def test_chunks_of_an_incomplete_body_are_joined() -> None:
    client = start()
    head = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert client.receive(head + b"2\r\nwo\r\n1\r\nr\r\n") is None
    error = client.refusal_error()
    assert error is not None
    assert error.response is not None
    assert error.response.body == b"wor"


def test_200_response_opens_nothing() -> None:
    with pytest.raises(ResponseError, match="200"):
        start().receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("last", [b"a", b"aa"])
def test_error_response_body_is_complete_at_max_body_and_truncated_to_it(last: bytes) -> None:
    client = start()
    client.receive(b"HTTP/1.1 500 Error\r\nContent-Length: 20000000\r\n\r\n")
    feed(client.receive, b"a" * (MAX_BODY - 1), 65536)
    with pytest.raises(ResponseError) as caught:
        client.receive(last)
    assert caught.value.response is not None
    assert caught.value.response.body == b"a" * MAX_BODY


def test_error_response_is_complete_after_its_head_if_max_body_is_0() -> None:
    client = start(limits=HeadLimits(max_body=0))
    with pytest.raises(StatusError) as caught:
        client.receive(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\n")
    assert caught.value.response is not None
    assert caught.value.response.body == b""


def test_eof_before_the_response_raises_response_error() -> None:
    for data in (b"", b"HTTP/1.1 101 Swi"):
        client = start()
        assert client.receive(data) is None
        with pytest.raises(ResponseError, match="closed") as caught:
            client.receive_eof()
        assert caught.value.response is None


def test_interim_responses_are_skipped_up_to_max_interim() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    client = start()
    assert client.receive(b"HTTP/1.1 102 Processing\r\n\r\n") is None
    assert client.receive(interim * (MAX_INTERIM - 1)) is None
    assert client.receive(make_answer() + FRAME) is not None
    assert client.trailing == FRAME
    assert "interim" in fail(interim * (MAX_INTERIM + 1)).reason


def test_client_receive_outside_the_handshake_raises_state_error() -> None:
    client = ClientHandshake(parse_uri("ws://a/"), key=NONCE)
    with pytest.raises(StateError):
        client.receive(make_answer())
    client.request()
    client.receive(make_answer())
    with pytest.raises(StateError):
        client.receive(FRAME)


@pytest.mark.parametrize("data", [FRAME, make_answer(Upgrade=None), BODIES["length"][0]])
def test_failed_client_handshake_cannot_continue(data: bytes) -> None:
    client = start()
    with pytest.raises(ResponseError):
        client.receive(data)
    with pytest.raises(StateError):
        client.receive(make_answer())
    with pytest.raises(ResponseError):
        client.receive_eof()
    assert client.response is None


# Both sides, and other implementations


def test_client_and_server_complete_the_handshake() -> None:
    client = ClientHandshake(
        parse_uri("ws://u:p@[::1]:8080/a?b"),
        subprotocols=["a", "b"],
        extensions=[("foo", [("x", None)])],
        headers=[("Origin", "http://[::1]:8080")],
    )
    server = receive(client.request())
    subprotocol = choose_subprotocol(server.check().subprotocols, ["b"])
    answer = server.accept(subprotocol=subprotocol, extensions=[("foo", [("x", "1")])])
    assert client.receive(answer) == server.response
    assert client.subprotocol == "b"
    assert client.extensions == [("foo", [("x", "1")])]


def test_client_handshake_with_websockets_server_succeeds() -> None:
    client = ClientHandshake(parse_uri("ws://a.example/x"), subprotocols=["chat"])
    peer = ServerProtocol(subprotocols=["chat"])  # type: ignore[list-item]
    peer.receive_data(client.request())
    (request,) = peer.events_received()
    peer.send_response(peer.accept(request))  # type: ignore[arg-type]
    response = client.receive(b"".join(peer.data_to_send()))
    assert response is not None
    assert client.subprotocol == "chat"


def test_client_reports_rejection_by_websockets_server() -> None:
    client = ClientHandshake(parse_uri("ws://a/"))
    peer = ServerProtocol()
    peer.receive_data(client.request())
    peer.send_response(peer.reject(403, "not you\n"))
    with pytest.raises(ResponseError) as caught:
        client.receive(b"".join(peer.data_to_send()))
    assert caught.value.response is not None
    assert caught.value.response.body == b"not you\n"


def test_server_handshake_with_websockets_client_succeeds() -> None:
    peer = ClientProtocol(parse_peer_uri("ws://a.example/x"), subprotocols=["chat"])  # type: ignore[list-item]
    peer.send_request(peer.connect())
    server = receive(b"".join(peer.data_to_send()))
    peer.receive_data(server.accept(subprotocol="chat"))
    peer.events_received()
    assert peer.handshake_exc is None
    assert peer.state.name == "OPEN"
    assert peer.subprotocol == "chat"


# Time

#: Processor time, which other processes do not disturb; wall-clock time where that is too coarse.
now = time.process_time if time.get_clock_info("process_time").resolution < 1e-6 else time.perf_counter


def hostile() -> Iterator[tuple[str, Callable[[int], None]]]:
    """Yield functions that parse an input of a given size in proportional time."""
    for text in (" ", ",", ", ", '"', '"\\', '\\"', '","', ";", "a;", "; a", "a=", "a ", "a\t"):
        for template in ("{}", "b{}x", 'b; a="{}', "b; a={}x", '"{}\\'):

            def parse(size: int, text: str = text, template: str = template) -> None:
                value = template.format(text * (size // len(text)))
                check_connection_header([value])
                with suppress(ValueError):
                    parse_extensions([value])

            yield f"{template} of {text!r}", parse
    yield "head by byte", lambda size: feed(HeadScanner().receive, b"a: b\r\n" * (size // 6), 1)


@pytest.mark.parametrize(("name", "run"), [pytest.param(*case, id=case[0]) for case in hostile()])
def test_parsing_time_is_linear_in_input_size(name: str, run: Callable[[int], None]) -> None:
    assert_linear(run, 192 if name == "head by byte" else 8192)


def test_long_line_is_not_rescanned_for_each_chunk() -> None:
    def measure(scanner: HeadScanner) -> float:
        begin = now()
        feed(scanner.receive, b"a" * 1000, 1)
        return now() - begin

    first = last = float("inf")
    for _ in range(7):
        scanner = HeadScanner()
        first = min(first, measure(scanner))
        feed(scanner.receive, b"a" * 6000, 6000)
        last = min(last, measure(scanner))
    assert last < 2.5 * first
