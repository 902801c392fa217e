"""`Headers` as a mutable mapping, and the header lines that a client adds to its request."""

import pytest

from framewire.handshake import Headers, Request
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


def test_packed_headers_keep_their_lines():
    lines = [("A", "1"), ("B", ""), ("a", "caf\xe9: x")]
    for read in (lambda headers: headers.lines, lambda headers: tuple(headers._lines())):
        headers = Headers(lines)
        assert headers.get_joined("a") == "1, caf\xe9: x"
        headers.pack()
        headers.pack()
        assert read(headers) == tuple(lines)
    assert headers["b"] == ""
    empty = Headers()
    empty.pack()
    assert empty.lines == ()


def test_path_of_a_request_is_its_target():
    assert Request("GET", "/a?b", Headers()).path == "/a?b"


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
        (Headers([("Origin", "p")]), [("origin", "p"), ("User-Agent", "ours")]),
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
