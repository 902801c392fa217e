"""Redirects: allowed targets, and the credentials sent to them."""

import pytest

from framewire.errors import SecurityError, StatusError, UriError
from framewire.handshake import Headers, Response, parse_uri
from framewire.http.redirects import (
    MAX_REDIRECTS,
    follow_redirect,
    is_redirect,
    keep_for_other_origin,
    open_at_redirects,
)

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
        ("ws://h/old", "HTTPS://h/new", "wss://h/new"),
        ("wss://h/old", "Https://h/new", "wss://h/new"),
        ("ws://h/old", "WSS://h/new", "wss://h/new"),
        ("ws://[::1]:81/old", "/new", "ws://[::1]:81/new"),
        (
            "ws://h/old",
            "/caf\u00c3\u00a9?\u00c3\u00a9=%C3%A9",
            "ws://h/caf%C3%A9?%C3%A9=%C3%A9",
        ),  # UTF-8 read as Latin-1
        ("ws://h/old", "/caf\u00e9", "ws://h/caf%E9"),  # Latin-1
        ("ws://h/old", "/\u65e5", "ws://h/%E6%97%A5"),
        ("ws://h/old", "ws://b\u00c3\u00bccher.example/", "ws://xn--bcher-kva.example/"),
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
    for location in ("ws://h/new", "http://h/new", "HTTP://h/new"):
        with pytest.raises(SecurityError, match="from wss to ws"):
            follow_redirect(parse_uri("wss://h/"), location)


def test_zone_of_an_ipv6_address_is_kept_by_redirects_to_the_same_address():
    old = parse_uri("ws://[fe80::1%25eth0]/old")
    for location in ("/new", "ws://[fe80::1]/new", "http://[fe80::1]/new"):
        assert follow_redirect(old, location) == parse_uri("ws://[fe80::1%25eth0]/new")
    assert follow_redirect(old, "ws://[fe80::2]/new").host == "fe80::2"


@pytest.mark.parametrize(
    "location",
    ["ftp://h/", "mailto:a@b", "ws://h/#fragment", "ws://", "http://[", "http://[::1", "//[x]/", "//\xe2\x84\x80.com/"],
)
def test_redirect_to_another_kind_of_uri_raises_uri_error(location):
    with pytest.raises(UriError):
        follow_redirect(parse_uri("ws://h/"), location)


def test_credentials_and_host_do_not_leave_the_origin():
    kept = [("X", "1"), ("Cookie2", "a"), ("User-Agent", "b")]
    secret = [("Authorization", "a"), ("COOKIE", "b"), ("proxy-authorization", "c"), ("Host", "d")]
    assert keep_for_other_origin([*secret, *kept]) == kept


def opening(locations, *, same_origin=False, never=False):
    """Follow redirects in attempts that never wait; return the URIs and headers of the attempts."""
    attempts = []

    async def attempt(target, headers):
        attempts.append((f"{target.authority}{target.target}", headers))
        location = locations.get(attempts[-1][0])
        if location is not None:
            raise StatusError(Response(302, "", Headers([("Location", location)])))
        return attempts

    headers = [("Cookie", "a"), ("X", "1")]
    coroutine = open_at_redirects(
        attempt, parse_uri("ws://h/"), headers, limit=MAX_REDIRECTS, same_origin=same_origin, never=never
    )
    with pytest.raises(StopIteration) as returned:
        coroutine.send(None)
    return returned.value.value


def test_connection_opens_where_redirects_lead_without_credentials():
    secret, plain = [("Cookie", "a"), ("X", "1")], [("X", "1")]
    attempts = opening({"h/": "/a", "h/a": "ws://other/b", "other/b": "ws://h/c"})
    assert attempts == [("h/", secret), ("h/a", secret), ("other/b", plain), ("h/c", plain)]


def test_redirects_that_the_caller_excludes_raise_value_error():
    with pytest.raises(ValueError, match="redirect"):
        opening({"h/": "/a"}, never=True)
    with pytest.raises(ValueError, match="redirect"):
        opening({"h/": "ws://other/"}, same_origin=True)
    assert len(opening({"h/": "/a"}, same_origin=True)) == 2


def test_too_many_redirects_raise_security_error():
    chain = {f"h/{number or ''}": f"/{number + 1}" for number in range(10)}
    assert len(opening(chain)) == 11
    with pytest.raises(SecurityError, match="more than 10 redirects"):
        opening(chain | {"h/10": "/end"})


def test_refusal_that_is_no_redirect_is_raised_as_it_is():
    error = StatusError(Response(404, ""))

    async def attempt(target, headers):
        raise error

    with pytest.raises(StatusError) as caught:
        open_at_redirects(attempt, parse_uri("ws://h/"), [], limit=1, same_origin=False, never=False).send(None)
    assert caught.value is error
