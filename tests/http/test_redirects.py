"""Redirects: where they may lead, and which credentials go there."""

import pytest

from framewire.errors import SecurityError, UriError
from framewire.handshake import Headers, Response, parse_uri
from framewire.http.redirects import follow_redirect, is_redirect, without_credentials

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_redirect_has_a_redirect_status_and_location(status):
    location = Headers([("location", "/")])
    assert is_redirect(Response(status, "", location))
    assert not is_redirect(Response(status, ""))
    assert not is_redirect(Response(304, "", location))
    assert not is_redirect(Response(200, "", location))


@pytest.mark.parametrize(
    ("old", "location", "new"),
    [
        ("ws://h/old", "/new/", "ws://h/new/"),
        ("ws://h/a/old?q", "new?r", "ws://h/a/new?r"),
        ("ws://h/a/old?q", "?r", "ws://h/a/old?r"),
        ("ws://h/old", "//other/new", "ws://other/new"),
        ("wss://h/old", "//other/new", "wss://other/new"),
        ("ws://h/old", "ws://h:81/new", "ws://h:81/new"),
        ("ws://h/old", "http://h/new", "ws://h/new"),
        ("ws://h/old", "HTTP://h/new", "ws://h/new"),
        ("ws://h/old", "https://h/new", "wss://h/new"),
        ("ws://[::1]:81/old", "/new", "ws://[::1]:81/new"),
    ],
)
def test_redirect_leads_to_location(old, location, new):
    assert follow_redirect(parse_uri(old), location) == parse_uri(new)


@pytest.mark.parametrize(
    ("old", "location", "credentials"),
    [
        ("ws://bob:pw@h/old", "/new/", ("bob", "pw")),
        ("ws://bob:pw@h/old", "new", ("bob", "pw")),
        ("ws://bob:pw@h/old", "ws://h/new", ("bob", "pw")),
        ("ws://bob:pw@h/old", "ws://h:80/new", ("bob", "pw")),
        ("ws://bob:pw@h/old", "http://H/new", ("bob", "pw")),
        ("ws://bob:@h/old", "/new", ("bob", "")),
        ("wss://bob:pw@h/old", "wss://h:443/new", ("bob", "pw")),
        ("ws://bob:pw@h/old", "ws://eve:other@h/new", ("eve", "other")),
        ("ws://bob:pw@h/old", "ws://other/new", (None, "")),
        ("ws://bob:pw@h/old", "//other/new", (None, "")),
        ("ws://bob:pw@h/old", "ws://h:81/new", (None, "")),
        ("ws://bob:pw@h/old", "wss://h/new", (None, "")),
        ("ws://h/old", "/new", (None, "")),
    ],
)
def test_credentials_of_the_uri_stay_within_the_origin(old, location, credentials):
    target = follow_redirect(parse_uri(old), location)
    assert (target.username, target.password) == credentials


def test_redirect_from_wss_to_ws_raises_security_error():
    for location in ("ws://h/new", "http://h/new"):
        with pytest.raises(SecurityError, match="from wss to ws"):
            follow_redirect(parse_uri("wss://h/"), location)


@pytest.mark.parametrize("location", ["ftp://h/", "mailto:a@b", "ws://h/#fragment", "ws://"])
def test_redirect_to_another_kind_of_uri_raises_uri_error(location):
    with pytest.raises(UriError):
        follow_redirect(parse_uri("ws://h/"), location)


def test_header_lines_with_credentials_do_not_leave_the_origin():
    kept = [("X", "1"), ("Cookie2", "a"), ("User-Agent", "b")]
    secret = [("Authorization", "a"), ("COOKIE", "b"), ("proxy-authorization", "c")]
    assert without_credentials([*secret, *kept]) == kept
