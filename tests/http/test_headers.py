"""`Headers` as a mutable mapping, and the header lines that a client adds to its request."""

import dataclasses
from collections import UserDict

import pytest

from framewire.datastructures import MultipleValuesError
from framewire.exceptions import InvalidHeaderValue
from framewire.handshake import Headers, Request, Response
from framewire.http.client_handshake import request_headers

pytestmark = pytest.mark.engine


def test_assigning_a_header_adds_a_line():
    headers = Headers([("Set-Cookie", "a=1")])
    headers["set-cookie"] = "b=2"
    assert headers.lines == (("Set-Cookie", "a=1"), ("set-cookie", "b=2"))
    assert headers.get_joined("Set-Cookie") == "a=1, b=2"
    with pytest.raises(ValueError, match="control"):
        headers["X"] = "a\r\nb"
    assert "X" not in headers


def test_deleting_a_header_removes_all_its_lines():
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])
    assert headers.get_all("A") == ["1", "3"]
    del headers["a"]
    assert headers.lines == (("B", "2"),)
    assert headers.get_all("A") == []
    with pytest.raises(KeyError, match="A"):
        del headers["A"]


def test_headers_from_text_can_be_changed_and_packed_again():
    headers = Headers.from_text("Host: a\r\nX-A:\t b \r\nx-a:c")
    assert headers.lines == (("Host", "a"), ("X-A", "b"), ("x-a", "c"))
    headers["Y"] = "d"
    headers.pack()
    assert headers.lines == (("Host", "a"), ("X-A", "b"), ("x-a", "c"), ("Y", "d"))
    del headers["X-A"]
    headers.pack()
    assert headers.lines == (("Host", "a"), ("Y", "d"))
    headers.clear()
    headers.pack()
    assert headers.lines == ()


def test_packed_headers_keep_their_lines():
    lines = [("A", "1"), ("B", ""), ("a", "caf\xe9: x")]
    for read in (lambda headers: headers.lines, lambda headers: tuple(headers._lines())):
        headers = Headers(lines)
        assert headers.get_joined("a") == "1, caf\xe9: x"
        headers.pack()
        assert (headers._pairs, headers._found) == (None, None)
        headers.pack()
        assert read(headers) == tuple(lines)
    assert headers["b"] == ""
    empty = Headers()
    empty.pack()
    assert empty.lines == ()


@pytest.mark.parametrize(
    "build",
    [
        lambda: Headers([("A", "1"), ("B", "2")]),
        lambda: Headers((("A", "1"), ("B", "2"))),
        lambda: Headers(iter([("A", "1"), ("B", "2")])),
        lambda: Headers({"A": "1", "B": "2"}),
        lambda: Headers(UserDict(A="1", B="2")),
        lambda: Headers(OnlyKeys(A="1", B="2")),
        lambda: Headers(A="1", B="2"),
        lambda: Headers({"A": "1"}, B="2"),
        lambda: Headers(Headers(A="1"), B="2"),
        lambda: Headers(Headers(A="1", B="2")),
        lambda: Headers(A="1", B="2").copy(),
    ],
)
def test_headers_are_built_from_every_form_of_lines(build):
    headers = build()
    assert headers.lines == (("A", "1"), ("B", "2"))
    assert list(headers.raw_items()) == [("A", "1"), ("B", "2")]
    assert headers == Headers(a="1", b="2") != Headers(a="1")
    assert str(headers) == "A: 1\r\nB: 2\r\n\r\n"
    assert headers.serialize() == b"A: 1\r\nB: 2\r\n\r\n"


class OnlyKeys:
    """The least that a mapping has."""

    def __init__(self, **values):
        self.values = values

    def keys(self):
        return self.values.keys()

    def __getitem__(self, name):
        return self.values[name]


def test_headers_take_one_positional_argument():
    with pytest.raises(TypeError):
        Headers(Headers(), Headers())


@pytest.mark.parametrize(
    "look_up",
    [
        lambda headers: headers["SET-COOKIE"],
        lambda headers: headers.get("SET-COOKIE"),
        lambda headers: headers.pop("SET-COOKIE"),
        lambda headers: list(headers.values()),
        dict,
    ],
)
def test_looking_up_a_repeated_name_raises_multiple_values_error(look_up):
    headers = Headers([("Set-Cookie", "a=1"), ("set-cookie", "b=2")])
    with pytest.raises(MultipleValuesError, match=r"(?i)^'set-cookie'$"):
        look_up(headers)
    assert len(headers) == 1
    assert headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert headers.copy() == headers


def test_copied_headers_are_independent():
    headers = Headers(A="1")
    copy = headers.copy()
    copy["A"] = "2"
    headers.clear()
    assert copy.get_all("a") == ["1", "2"]
    assert headers.lines == ()
    assert not headers


def test_update_adds_lines():
    headers = Headers(A="1")
    headers.update(Headers([("B", "2"), ("b", "3")]), a="4")
    assert headers.lines == (("A", "1"), ("B", "2"), ("b", "3"), ("a", "4"))
    with pytest.raises(InvalidHeaderValue):
        headers.update({"C": "\n"})


@pytest.mark.parametrize("value", ["a\r\nb", "a\tb", " a", "a ", "\x00", "\x7f", "\u2192"])
def test_unsafe_header_value_raises_invalid_header_value(value):
    headers = Headers()
    with pytest.raises(InvalidHeaderValue, match="^the value of X has a control character") as raised:
        headers["X"] = value
    assert (raised.value.name, raised.value.value) == ("X", value)
    assert headers.lines == ()
    headers.set_insecure("X", value)
    assert headers["X"] == value


def test_headers_are_no_mapping_of_another_kind():
    assert Headers(A="1") != {"a": "1"}
    with pytest.raises(TypeError):
        hash(Headers())


def test_request_has_the_attributes_of_websockets():
    request = Request("GET", "/a?b", Headers())
    assert request.path == request.target == "/a?b"
    assert request.protocol == request.version == "HTTP/1.1"


@pytest.mark.parametrize(
    "response",
    [
        Response(404, "Not Found", Headers(A="1"), b"gone"),
        Response(404, "Not Found", {"A": "1"}, b"gone"),
        Response(status=404, reason="Not Found", headers=[("A", "1")], body=b"gone"),
        Response(status_code=404, reason_phrase="Not Found", headers=Headers(A="1"), body=b"gone"),
    ],
)
def test_response_takes_the_arguments_of_websockets(response):
    assert response == Response(404, "Not Found", Headers(A="1"), b"gone")
    assert (response.status_code, response.reason_phrase) == (response.status, response.reason) == (404, "Not Found")


def test_response_is_replaced_like_a_dataclass():
    response = Response(404, "Not Found", Headers(A="1"), b"gone")
    assert dataclasses.replace(response, headers=Headers(B="2")) == Response(404, "Not Found", Headers(B="2"), b"gone")
    assert dataclasses.replace(response, status_code=410, reason_phrase="Gone").status == 410
    assert [field.name for field in dataclasses.fields(Response)] == ["status_code", "reason_phrase", "headers", "body"]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"status": 200},
        {"status": 200, "status_code": 200, "reason": "OK"},
        {"reason": "OK"},
        {"reason_phrase": "OK"},
    ],
)
def test_response_without_one_status_and_one_reason_raises_type_error(arguments):
    with pytest.raises(TypeError, match="one status and one reason"):
        Response(**arguments)


@pytest.mark.parametrize(
    ("additional", "lines"),
    [
        (None, [("Origin", "o"), ("User-Agent", "ours")]),
        ({}, [("Origin", "o"), ("User-Agent", "ours")]),
        ({"X": "1"}, [("X", "1"), ("Origin", "o"), ("User-Agent", "ours")]),
        ([("X", "1"), ("X", "2")], [("X", "1"), ("X", "2"), ("Origin", "o"), ("User-Agent", "ours")]),
        ((["X", "1"],), [("X", "1"), ("Origin", "o"), ("User-Agent", "ours")]),
        ({"User-Agent": "mine"}, [("User-Agent", "mine"), ("Origin", "o")]),
        ({"user-agent": "mine", "ORIGIN": "p"}, [("user-agent", "mine"), ("ORIGIN", "p")]),
        (Headers([("Origin", "p")]), [("Origin", "p"), ("User-Agent", "ours")]),
        (Headers([("X", "1"), ("x", "2")]), [("X", "1"), ("x", "2"), ("Origin", "o"), ("User-Agent", "ours")]),
    ],
    ids=repr,
)
def test_additional_headers_replace_those_of_the_client(additional, lines):
    assert request_headers(additional, "o", "ours") == lines


def test_headers_that_are_none_are_not_sent():
    assert request_headers(None, None, None) == []


@pytest.mark.parametrize(
    "additional", ["X: 1", ["X: 1"], ["ab"], [("X",)], [("X", "1", "2")], [("X", 1)], [(b"X", b"1")], [b"ab"], {"X": 1}]
)
def test_additional_headers_of_another_shape_raise_type_error(additional):
    with pytest.raises(TypeError, match="additional_headers"):
        request_headers(additional, None, None)


@pytest.mark.parametrize(("origin", "user_agent"), [(5, None), (None, b"x")])
def test_origin_and_user_agent_that_are_not_text_raise_type_error(origin, user_agent):
    with pytest.raises(TypeError, match="is text or None"):
        request_headers(None, origin, user_agent)
