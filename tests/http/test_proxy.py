"""Proxies without I/O: their URLs, the environment, and the tunnel of HTTP CONNECT."""

import sys

import pytest

from framewire.errors import ProxyError
from framewire.exceptions import InvalidProxy, InvalidProxyMessage, InvalidProxyStatus
from framewire.handshake import parse_uri
from framewire.http.proxy import Proxy, Tunnel, find_proxy, parse_proxy

pytestmark = pytest.mark.engine

TARGET = parse_uri("ws://server.example/path")


@pytest.fixture
def environment(monkeypatch):
    """Set the variables for proxies, and no others."""

    def fill(**variables):
        for scheme in ("ws", "wss", "socks", "http", "https", "all", "no"):
            for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
                monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    fill()
    return fill


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://p:8080", Proxy("http", "p", 8080, None, None)),
        ("p", Proxy("http", "p", 80, None, None)),
        ("p:3128/", Proxy("http", "p", 3128, None, None)),
        ("https://p", Proxy("https", "p", 443, None, None)),
        ("http://a%40b:c%3Ad@p", Proxy("http", "p", 80, "a@b", "c:d")),
        ("http://a@p", Proxy("http", "p", 80, "a", None)),
        ("socks5h://p", Proxy("socks5h", "p", 1080, None, None)),
        ("socks4://[::1]:1", Proxy("socks4", "::1", 1, None, None)),
    ],
)
def test_parse_proxy_reads_scheme_host_port_and_credentials(url, proxy):
    assert parse_proxy(url) == proxy
    assert proxy.socks == url.startswith("socks")


@pytest.mark.parametrize(
    "url",
    ["", "http://", "http://p/path", "http://p?q", "http://p#f", "ftp://p", "http://p:x", "p:99999", "http://[::1"],
)
def test_parse_proxy_rejects_other_urls(url):
    with pytest.raises(InvalidProxy, match=r"proxy|proxies"):
        parse_proxy(url)


def test_repr_of_a_proxy_hides_the_password():
    assert "secret" not in repr(parse_proxy("http://a:secret@p"))


@pytest.mark.parametrize(
    ("variables", "ws", "wss"),
    [
        ({}, None, None),
        ({"http_proxy": "http://h"}, "http://h", None),
        ({"https_proxy": "http://s", "http_proxy": "http://h"}, "http://s", "http://s"),
        ({"socks_proxy": "socks5h://k", "https_proxy": "http://s"}, "socks5h://k", "socks5h://k"),
        ({"ws_proxy": "http://w", "socks_proxy": "socks5h://k"}, "http://w", "socks5h://k"),
        ({"socks_proxy": "http://k:1"}, "socks5h://k:1", "socks5h://k:1"),
        ({"socks_proxy": "HTTP://a:b@k"}, "socks5h://a:b@k", "socks5h://a:b@k"),
        ({"socks_proxy": "k"}, "socks5h://k", "socks5h://k"),
        ({"socks_proxy": "socks4://k"}, "socks4://k", "socks4://k"),
        ({"wss_proxy": "http://w", "socks_proxy": "socks5h://k"}, "socks5h://k", "http://w"),
        ({"socks_proxy": "http://u:p@k:1"}, "socks5h://u:p@k:1", "socks5h://u:p@k:1"),
        ({"socks_proxy": "https://k"}, "https://k", "https://k"),
        ({"https_proxy": "http://s", "no_proxy": "server.example"}, None, None),
        ({"https_proxy": "http://s", "no_proxy": "other.example"}, "http://s", "http://s"),
    ],
)
def test_find_proxy_reads_the_environment(environment, variables, ws, wss):
    environment(**variables)
    assert find_proxy(TARGET) == ws
    assert find_proxy(parse_uri("wss://server.example/")) == wss


@pytest.mark.parametrize(
    ("url", "version", "remote_names"),
    [("socks5h://p", 5, True), ("socks5://p", 5, False), ("socks4a://p", 4, True), ("socks4://p", 4, False)],
)
def test_socks_arguments_resolve_names_as_the_scheme_says(monkeypatch, url, version, remote_names):
    stand_in = type(sys)("python_socks")
    stand_in.ProxyType = type("ProxyType", (), {"SOCKS4": 4, "SOCKS5": 5})
    monkeypatch.setitem(sys.modules, "python_socks", stand_in)
    assert parse_proxy(url).socks_arguments() == (version, "p", 1080, None, None, remote_names)


def test_socks_without_python_socks_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "python_socks", None)
    with pytest.raises(ImportError, match=r"framewire\[socks\]"):
        parse_proxy("socks5://p").socks_arguments()


@pytest.mark.parametrize(
    ("proxy", "uri", "user_agent", "request_"),
    [
        ("p", "ws://h/x", None, b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n"),
        ("p", "wss://[::1]/", "me", b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nUser-Agent: me\r\n\r\n"),
        (
            "a:b@p",
            "ws://h/",
            None,
            b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nProxy-Authorization: Basic YTpi\r\n\r\n",
        ),
        ("a@p", "ws://h/", None, b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nProxy-Authorization: Basic YTo=\r\n\r\n"),
    ],
)
def test_tunnel_request_names_the_server(proxy, uri, user_agent, request_):
    assert Tunnel(parse_proxy(proxy), parse_uri(uri), user_agent).request == request_


def test_tunnel_rejects_a_malformed_user_agent():
    with pytest.raises(ValueError, match="User-Agent"):
        Tunnel(parse_proxy("p"), TARGET, "a\r\nb")


def test_tunnel_opens_after_a_whole_2xx_head():
    answer = b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n"
    for cut in range(1, len(answer)):
        tunnel = Tunnel(parse_proxy("p"), TARGET, None)
        assert not tunnel.receive(answer[:cut])
        assert tunnel.receive(answer[cut:])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n", "answered 407"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "answered 101"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 17, "more than 16 interim"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "bytes of its own"),
        (b"SSH-2.0", "not HTTP"),
        (b"HTTP/1.1 " + b"2" * 9000, "not HTTP: a first line"),
        (b"HTTP/1.1 200 OK\n\n", "not HTTP: a line of the head ends in LF"),
    ],
)
def test_tunnel_raises_proxy_error_for_other_answers(answer, reason):
    with pytest.raises(ProxyError, match=reason):
        Tunnel(parse_proxy("p"), TARGET, None).receive(answer)


def test_tunnel_passes_over_interim_responses():
    tunnel = Tunnel(parse_proxy("p"), TARGET, None)
    assert not tunnel.receive(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX: y\r\n\r\n")
    assert tunnel.receive(b"HTTP/1.1 200 OK\r\n\r\n")


def refusal_of(*chunks):
    """Return the response with which a proxy refuses."""
    tunnel = Tunnel(parse_proxy("p"), TARGET, None)
    with pytest.raises(InvalidProxyStatus) as caught:
        for chunk in chunks:
            assert not tunnel.receive(chunk)
    return caught.value.response


@pytest.mark.parametrize(
    "chunks",
    [
        (b"Content-Length: 5\r\n\r\nlogin",),
        (b"Content-Length: 5\r\n\r\nlo", b"gin"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nlogin\r\n", b"0\r\n\r\n"),
        (b"\r\nlogin", b""),
        (b"Content-Length: 9\r\n\r\nlogin", b""),
    ],
)
def test_refusal_of_a_proxy_has_status_headers_and_body(chunks):
    head = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n"
    response = refusal_of(head + chunks[0], *chunks[1:])
    assert (response.status, response.reason) == (407, "Proxy Authentication Required")
    assert response.headers["Proxy-Authenticate"] == "Basic"
    assert response.body == b"login"


def test_refusal_of_a_proxy_without_end_is_known_after_its_head():
    tunnel = Tunnel(parse_proxy("p"), TARGET, None)
    assert not tunnel.receive(b"HTTP/1.1 403 No\r\n")
    assert tunnel.refusal_error() is None
    assert not tunnel.receive(b"\r\nwhy")
    refused = tunnel.refusal_error()
    assert (refused.response.status, refused.response.body) == (403, b"why")


@pytest.mark.parametrize("status", [300, 599])
def test_tunnel_opens_for_status_codes_200_to_299_only(status):
    assert Tunnel(parse_proxy("p"), TARGET, None).receive(b"HTTP/1.1 299 Yes\r\n\r\n")
    with pytest.raises(InvalidProxyStatus) as caught:
        Tunnel(parse_proxy("p"), TARGET, None).receive(b"HTTP/1.1 %d No\r\nContent-Length: 3\r\n\r\nwhy" % status)
    assert caught.value.response.body == b"why"
    with pytest.raises(InvalidProxyMessage, match="600"):
        Tunnel(parse_proxy("p"), TARGET, None).receive(b"HTTP/1.1 600 What\r\nContent-Length: 0\r\n\r\n")


def test_status_code_out_of_range_is_no_http():
    with pytest.raises(InvalidProxyMessage, match="999"):
        Tunnel(parse_proxy("p"), TARGET, None).receive(b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n")
