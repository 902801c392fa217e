"""Basic authentication (RFC 7617): the values of Authorization and WWW-Authenticate."""

import pytest

from framewire.exceptions import InvalidHeaderFormat, InvalidHeaderValue
from framewire.http.basic_auth import (
    build_authorization_basic,
    build_www_authenticate_basic,
    parse_authorization_basic,
)

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("username", "password", "header"),
    [
        ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 7617 2
        ("test", "123\u00a3", "Basic dGVzdDoxMjPCow=="),  # RFC 7617 2.1
        ("a", "b:c", "Basic YTpiOmM="),
        ("", "", "Basic Og=="),
        ("\udcff", "", "Basic /zo="),  # a byte that is not UTF-8
    ],
)
def test_credentials_are_built_and_parsed(username, password, header):
    assert build_authorization_basic(username, password) == header
    assert parse_authorization_basic(header) == (username, password)
    assert parse_authorization_basic(header.replace("Basic ", "bAsIc  ")) == (username, password)


def test_user_name_with_a_colon_raises_value_error():
    with pytest.raises(ValueError, match="colon"):
        build_authorization_basic("a:b", "c")


@pytest.mark.parametrize("header", ["", "//", "\u00e9", "Basic", "Basic ", "Basic\tYTpi", "Basic Y*", "Basic YTpi x"])
def test_authorization_that_follows_no_grammar_raises_invalid_header_format(header):
    with pytest.raises(InvalidHeaderFormat, match="^malformed Authorization header") as raised:
        parse_authorization_basic(header)
    assert (raised.value.name, raised.value.value) == ("Authorization", header)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("Bearer YTpi", "not Basic but Bearer"),
        ("Basically YTpi", "not Basic but Basically"),
        ("Basicx YTpi", "not Basic but Basicx"),
        ("Basic YTpi0", "not base64"),
        ("Basic YQ==", "no colon"),
    ],
)
def test_authorization_of_another_kind_raises_invalid_header_value(header, reason):
    with pytest.raises(InvalidHeaderValue, match=reason):
        parse_authorization_basic(header)


def test_challenge_quotes_the_realm():
    assert build_www_authenticate_basic("foo") == 'Basic realm="foo", charset="UTF-8"'
    assert build_www_authenticate_basic('a "b" \\c') == 'Basic realm="a \\"b\\" \\\\c", charset="UTF-8"'
    for realm in ("\x07", "\u2192"):
        with pytest.raises(ValueError, match="realm"):
            build_www_authenticate_basic(realm)
