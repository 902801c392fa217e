"""`framewire.routes.Routes`: patterns match as regular expressions would, in linear time."""

import re
from itertools import product

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
