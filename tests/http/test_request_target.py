"""The forms of a request target."""

import pytest

from framewire.http.request_target import split_target

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/path?query", ("", "/path?query")),
        ("*", ("", "*")),
        ("//host/path", ("", "//host/path")),
        ("ftp://host/path", ("", "ftp://host/path")),
        ("http://host", ("http://host", "/")),
        ("HTTPS://Host:1/path?query", ("HTTPS://Host:1", "/path?query")),
        ("ws://[::1]:80?query", ("ws://[::1]:80", "/?query")),
        ("wss://host#part", ("wss://host", "/#part")),
    ],
)
def test_absolute_uri_is_split_after_its_host_and_port(target, parts):
    assert split_target(target) == parts
