"""`parse_web_url`: URLs as the WHATWG URL Standard parses them."""

import pytest

from framewire.errors import UriError
from framewire.http.uri import Uri
from framewire.http.web_url import parse_web_url

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("given", "url"),
    {
        # Schemes, whitespace and slashes.
        "WS://h/": "ws://h/",
        "http://h/": "ws://h/",
        "HttpS://h": "wss://h/",
        " \0ws://h/ \x1f": "ws://h/",
        "w\ns://h\t/a\rb": "ws://h/ab",
        "ws:h": "ws://h/",
        "ws:/h": "ws://h/",
        "ws:////h": "ws://h/",
        "ws:\\\\h\\a?b\\c": "ws://h/a?b\\c",
        "ws://Xh/X": "ws://xh/X",
        "ws://h/!": "ws://h/!",
        # Hosts.
        "ws://LocalHost/": "ws://localhost/",
        "ws://h%C3%A4%2e": "ws://xn--h-0fa./",
        "ws://[0:0::1]:1": "ws://[::1]:1/",
        "ws://127.1": "ws://127.0.0.1/",
        "ws://255.254.253.252": "ws://255.254.253.252/",
        "ws://0x7F.1": "ws://127.0.0.1/",
        "ws://017700000001.": "ws://127.0.0.1/",
        "ws://0x": "ws://0.0.0.0/",
        "ws://1.2.3.4.example": "ws://1.2.3.4.example/",
        # Ports.
        "ws://h:80": "ws://h/",
        "ws://h:65535": "ws://h:65535/",
        "ws://h:0000000443": "ws://h:443/",
        "wss://h:443": "wss://h/",
        "ws://h:": "ws://h/",
        # Paths.
        "ws://h/a/./b/../c": "ws://h/a/c",
        "ws://h/a/b/c/../d": "ws://h/a/b/d",
        "ws://h/a/b/c/..": "ws://h/a/b/",
        "ws://h/../a/%2e%2E": "ws://h/",
        "ws://h/a/.": "ws://h/a/",
        "ws://h/a/.b/..c/...": "ws://h/a/.b/..c/...",
        "ws://h/a//b": "ws://h/a//b",
        'ws://h/ "<>`{}^|~%2f%zzé\x7f': "ws://h/%20%22%3C%3E%60%7B%7D%5E%7C~%2f%zz%C3%A9%7F",
        # Queries.
        "ws://h?": "ws://h/?",
        "ws://h? \"<>'`{}^|?/é": "ws://h/?%20%22%3C%3E%27`{}^|?/%C3%A9",
        # Credentials.
        "ws://X:x@h": "ws://X:x@h/",
        "ws://u@h": "ws://u@h/",
        "ws://u:@h": "ws://u@h/",
        "ws://:p@h": "ws://:p@h/",
        "ws://@h": "ws://h/",
        "ws://a@b:c;d@h": "ws://a%40b:c%3Bd@h/",
    }.items(),
)
def test_web_url_is_normalised(given, url):
    assert parse_web_url(given)[1] == url
    assert parse_web_url(url)[1] == url


@pytest.mark.parametrize(
    "given",
    [
        "", "ws", "ws:", "ws://", "relative", "/a", "//h/", "ftp://h/", "about:blank", "ws://h#", "ws://h/#a", "ws://h/?#",
        "ws://h:x", "ws://h:-1", "ws://h:0", "ws://h:65536", "ws://h:1:2", "ws://:1", "ws://[::1", "ws://[::1]x", "ws://[x]",
        "ws://a b", "ws://a%20b", "ws://a<b", "ws://a%2fb", "ws://256.1", "ws://1.2.3.4.5", "ws://1.2.3.256", "ws://1.x.3.4",
        "ws://1.2.3.4.0", "ws://4294967296", "ws://08", "ws://1..2",
    ],
)  # fmt: skip
def test_web_url_that_is_invalid_raises(given):
    with pytest.raises(UriError):
        parse_web_url(given)


@pytest.mark.parametrize("port", ["0", "65536", "9999999"])
def test_web_url_error_says_which_ports_there_are(port):
    with pytest.raises(UriError, match="the port is not 1 to 65535"):
        parse_web_url(f"ws://h:{port}")


def test_web_url_gives_the_uri_to_connect_to():
    assert parse_web_url("https://h:81/a b?c{d")[0] == Uri(True, "h", 81, "/a%20b?c{d", None, "")
    assert parse_web_url("ws://u%40:p%3A@[::1]/")[0] == Uri(False, "::1", 80, "/", "u@", "p:")
    assert parse_web_url("ws://[fe80::1%25eth0.1]/") == (Uri(False, "fe80::1%eth0.1", 80, "/"), "ws://[fe80::1]/")
