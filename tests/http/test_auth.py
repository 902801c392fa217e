"""Basic authentication: who is let in, and what others are answered."""

import hmac
from base64 import b64encode
from types import SimpleNamespace

import pytest

from framewire.handshake import Headers, Request
from framewire.http.auth import basic_auth
from framewire.http.server_policy import make_response

pytestmark = pytest.mark.engine

ADA = b"Basic " + b64encode(b"ada:secret")


def answer(guard, *authorization):
    """Ask a guard that never waits; return the response, or the user name that is let in."""
    lines = [("Authorization", value.decode("latin-1")) for value in authorization]
    connection = SimpleNamespace(respond=make_response)
    with pytest.raises(StopIteration) as returned:
        guard(connection, Request("GET", "/", Headers(lines))).send(None)
    return connection.username if returned.value.value is None else returned.value.value


def credentials(pair):
    return b"Basic " + b64encode(pair)


@pytest.mark.parametrize("scheme", [b"Basic ", b"basic ", b"BASIC  "])
def test_known_user_with_the_right_password_is_let_in(scheme):
    guard = basic_auth(credentials=("ada", "secret"))
    assert answer(guard, scheme + b64encode(b"ada:secret")) == "ada"
    several = basic_auth(credentials=[("bob", "pass:word"), ("ada", "secret")])
    assert [answer(several, ADA), answer(several, credentials(b"bob:pass:word"))] == ["ada", "bob"]


@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        ([], "Missing credentials\n"),
        ([ADA, ADA], "Unsupported credentials\n"),
        ([b"Bearer x"], "Unsupported credentials\n"),
        ([b"Basic ?"], "Unsupported credentials\n"),
        ([credentials(b"ada")], "Unsupported credentials\n"),
        ([credentials(b"\xff:x")], "Unsupported credentials\n"),
        ([credentials(b"ada:wrong")], "Invalid credentials\n"),
        ([credentials(b"bob:secret")], "Invalid credentials\n"),
        ([credentials(b"bob:")], "Invalid credentials\n"),
    ],
)
def test_others_are_answered_401_with_a_challenge(authorization, text):
    response = answer(basic_auth('a "door" \\', credentials=("ada", "secret")), *authorization)
    assert (response.status, response.body) == (401, text.encode())
    assert response.headers["WWW-Authenticate"] == r'Basic realm="a \"door\" \\", charset="UTF-8"'


def test_compare_digest_compares_passwords_of_known_and_unknown_users(monkeypatch):
    compared, compare_digest = [], hmac.compare_digest

    def compare(*pair):
        compared.append({*pair})
        return compare_digest(*pair)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    guard = basic_auth(credentials=("ada", "secret"))
    assert answer(guard, ADA) == "ada"
    for pair in (b"ada:wrong", b"bob:guess"):
        assert answer(guard, credentials(pair)).status == 401
    assert compared == [{b"secret"}, {b"secret", b"wrong"}, {b"", b"guess"}]


def test_realm_has_no_name_by_default():
    response = answer(basic_auth(credentials=("ada", "secret")))
    assert response.headers["WWW-Authenticate"] == 'Basic realm="", charset="UTF-8"'


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_function_of_the_caller_decides(is_async):
    def check(username, password):
        return (username, password) == ("eve", "x")

    async def check_later(username, password):
        return check(username, password)

    guard = basic_auth(check_credentials=check_later if is_async else check)
    assert answer(guard, credentials(b"eve:x")) == "eve"
    assert answer(guard, ADA).status == 401


def test_either_credentials_or_a_function_are_wanted():
    for options in ({}, {"credentials": ("a", "b"), "check_credentials": lambda *_: True}):
        with pytest.raises(ValueError, match="either"):
            basic_auth(**options)


@pytest.mark.parametrize("wrong", [5, [5], ["ab"], ("a",), [("a", "b", "c")], [("a", 5)], "ab"])
def test_credentials_that_are_no_pairs_of_text_are_a_type_error(wrong):
    with pytest.raises(TypeError):
        basic_auth(credentials=wrong)
