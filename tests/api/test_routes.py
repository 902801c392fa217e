"""`framewire.routes.Routes`: patterns match as regular expressions would, in linear time."""

import re
from itertools import product
from urllib.parse import unquote

import pytest
from bounds import assert_linear
from hypothesis import example, given
from hypothesis import strategies as st

from framewire.routes import Routes

PARAMETERS = {"{}": "[^/]+", "{:path}": ".+"}


def route_of(parts):
    """Return routes with one pattern, and the regular expression for it."""
    pattern = expression = "/"
    for index, part in enumerate(parts):
        if part in PARAMETERS:
            pattern += part.replace("{", f"{{p{index}")
            expression += f"(?P<p{index}>{PARAMETERS[part]})"
        else:
            pattern += part
            expression += re.escape(part)
    routes = Routes()
    routes.add(pattern)(lambda connection: None)
    return routes, re.compile(expression)


def check(routes, expression, path):
    found, match = routes.find(path), expression.fullmatch(path)
    assert (found and found[1]) == (match and match.groupdict()), (expression.pattern, path)
    if found:
        assert list(found[1]) == list(match.groupdict())


def test_short_patterns_match_as_their_regular_expressions():
    paths = ["/" + "".join(rest) for length in range(6) for rest in product("/a\n", repeat=length)]
    for length in range(5):
        for parts in product(["/", "a", *PARAMETERS], repeat=length):
            routes, expression = route_of(parts)
            for path in paths:
                check(routes, expression, path)


@given(
    st.lists(st.sampled_from(["/", "a", "aa", "b", "/a", ".", *PARAMETERS]), max_size=9),
    st.text("/ab.\n", max_size=24),
)
@example(["{:path}", "a", "{}", "b", "{:path}", "/", "{}"], "a/aab/aba/b")
def test_patterns_match_as_their_regular_expressions(parts, rest):
    check(*route_of(parts), "/" + rest)


@pytest.mark.parametrize(
    ("pattern", "paths", "others"),
    [
        ("/caf\u00e9", ["/caf%C3%A9", "/caf%c3%a9", "/%63af\u00e9"], ["/caf%E9", "/cafe"]),
        ("/a b", ["/a%20b", "/a b"], ["/a+b", "/ab"]),
        ('/"<>\\^`|', ["/%22%3C%3E%5C%5E%60%7C", '/"<>\\^`|'], []),
        ("/a%20b", ["/a%20b", "/a b"], ["/a%2520b"]),
        ("/100%", ["/100%25", "/100%"], []),
        ("/~x", ["/~x", "/%7Ex", "/%7ex"], []),
        ("/%7ex", ["/~x"], []),
        ("/a/b", ["/a/b"], ["/a%2Fb"]),
        ("/a%2fb", ["/a%2Fb", "/a%2fb"], ["/a/b"]),
        ("/a@b", ["/a@b"], ["/a%40b"]),
    ],
)
def test_text_of_a_pattern_matches_percent_encoded_or_not(pattern, paths, others):
    routes = Routes()
    routes.add(pattern)(print)
    for path in paths:
        assert routes.find(path), path
    for path in others:
        assert routes.find(path) is None, path


@given(st.text(st.sampled_from("/%2357eE~\u00e9 ab"), max_size=12))
@example("%2%35")
@example("%%37e")
def test_parameters_are_decoded_once(rest):
    routes = Routes()
    routes.add("/{rest:path}")(print)
    found = routes.find("/" + rest)
    assert (found and found[1]) == ({"rest": unquote(rest)} if rest else None)


@pytest.mark.parametrize(
    ("subprotocols", "error"), [("chat", TypeError), (5, TypeError), ([b"chat"], TypeError), (["a b"], ValueError)]
)
def test_subprotocols_of_a_route_are_checked_when_it_is_added(subprotocols, error):
    with pytest.raises(error, match="subprotocol"):
        Routes().add("/", subprotocols=subprotocols)


def test_subprotocols_of_a_route_may_be_an_iterator():
    routes = Routes()
    add = routes.add("/", subprotocols=iter(["chat"]))
    for handler in (print, repr):
        assert add(handler) is handler
    assert [route.subprotocols for route in routes._routes] == [("chat",), ("chat",)]


@pytest.mark.parametrize(
    ("parts", "text", "ending"),
    [
        (["{:path}", "/", "{:path}", "/end"], "/", ""),
        (["{:path}", "/", "{:path}", "/end"], "/", "\n/end"),
        (["{:path}", "/", "{:path}", "/", "{:path}", "/end"], "/", "\n/end"),
        (["{}", "a", "{}", "b"], "a", "/b"),
        (["{:path}", "a", "{}", "b", "{:path}"], "a", "c"),
        (["{:path}", "{:path}", "{}", "b", "{}"], "a", ""),
        (["{:path}", "a", "{:path}", "b/", "{}"], "ab", "/"),
        (["{:path}", "a", "{:path}", "a", "{:path}", "/", "{}"], "a", "/b/c\n/"),
        (["{:path}", "a", "{:path}", "a" * 8 + "b", "{:path}"], "a", "c"),
    ],
)
def test_matching_time_is_linear_in_path_length(parts, text, ending):
    routes, _ = route_of(parts)

    def run(size):
        assert routes.find("/" + text * (size // len(text)) + ending) is None

    assert_linear(run, 4096)
