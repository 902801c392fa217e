"""Reconnecting: temporary errors, and the delays between attempts."""

from itertools import islice

import pytest

from framewire.errors import ResponseError, SecurityError, StatusError
from framewire.handshake import Response
from framewire.http.reconnect import backoff, process_exception

pytestmark = pytest.mark.engine


def incomplete():
    error = ResponseError("the connection was closed")
    error.__cause__ = EOFError()
    return error


@pytest.mark.parametrize(
    "error", [OSError(), TimeoutError(), incomplete(), *(StatusError(Response(n, "")) for n in (500, 502, 503, 504))]
)
def test_another_attempt_may_help_after_a_temporary_error(error):
    assert process_exception(error) is None


@pytest.mark.parametrize(
    "error", [ResponseError("not HTTP"), StatusError(Response(404, "")), SecurityError(), ValueError()]
)
def test_other_errors_are_raised(error):
    assert process_exception(error) is error


def test_delays_grow_from_a_random_one_to_the_longest():
    first, *delays = islice(backoff(), 12)
    assert 0 <= first < 5
    assert delays[:3] == [3.1, 3.1 * 1.618, 3.1 * 1.618 * 1.618]
    assert delays[-1] == 90
    assert list(islice(backoff(0, 1, 5, 2), 6)) == [0, 1, 2, 4, 5, 5]
