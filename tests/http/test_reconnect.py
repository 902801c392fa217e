"""Reconnecting: temporary errors, and the delays between attempts."""

import logging
from itertools import islice

import pytest
from modules import import_again

from framewire.errors import ResponseError, SecurityError, StatusError
from framewire.handshake import Headers, Response
from framewire.http.reconnect import Reconnection, _number, backoff, process_exception

pytestmark = pytest.mark.engine

LOGGER = logging.getLogger("framewire.test")


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


def test_delays_grow_from_a_random_one_to_the_longest(monkeypatch):
    monkeypatch.setattr("random.random", lambda: 0.5)
    first, *delays = islice(backoff(), 12)
    assert first == 2.5
    assert delays[:3] == [3.1, 3.1 * 1.618, 3.1 * 1.618 * 1.618]
    assert delays[-1] == 90
    assert list(islice(backoff(0, 1, 5, 2), 6)) == [0, 1, 2, 4, 5, 5]


def test_environment_sets_the_defaults_of_delays(monkeypatch):
    monkeypatch.setenv("WEBSOCKETS_BACKOFF_FACTOR", "2.5")
    assert (_number("FACTOR", 1.5), _number("OTHER", 4)) == (2.5, 4)
    for name, value in (("INITIAL_DELAY", "0"), ("MIN_DELAY", "1"), ("MAX_DELAY", "4")):
        monkeypatch.setenv(f"WEBSOCKETS_BACKOFF_{name}", value)
    assert list(islice(import_again("framewire.http.reconnect").backoff(), 4)) == [0, 1, 2.5, 4]


@pytest.mark.parametrize("value", ["soon", "", "-1", "nan"])
def test_delay_of_the_environment_that_is_no_number_of_0_or_more_is_named(value, monkeypatch):
    monkeypatch.setenv("WEBSOCKETS_BACKOFF_MIN_DELAY", value)
    with pytest.raises(ValueError, match=f"WEBSOCKETS_BACKOFF_MIN_DELAY is a number of 0 or more, not '{value}'"):
        _number("MIN_DELAY", 3.1)


def numbered_delays():
    yield from range(1, 100)


def test_delays_begin_anew_after_a_connection_that_lasted():
    reconnection = Reconnection(process_exception, numbered_delays, LOGGER)
    assert [reconnection.failed(OSError()) for _ in range(3)] == [1, 2, 3]
    assert reconnection.ended(1, by_peer=True) == 0
    assert reconnection.failed(OSError()) == 1
    assert reconnection.ended(0, by_peer=False) == 0
    assert reconnection.failed(OSError()) == 1


def test_connection_that_the_peer_ends_at_once_counts_as_failed_attempt():
    reconnection = Reconnection(process_exception, numbered_delays, LOGGER)
    assert [reconnection.ended(0.99, by_peer=True) for _ in range(2)] == [1, 2]
    assert reconnection.failed(OSError()) == 3


def test_error_of_an_attempt_is_raised_when_the_delays_are_used_up():
    reconnection = Reconnection(process_exception, lambda: iter([0.5]), LOGGER)
    assert reconnection.failed(OSError("first")) == 0.5
    error = OSError("second")
    with pytest.raises(OSError, match="second") as caught:
        reconnection.failed(error)
    assert caught.value is error


def test_connection_ended_at_once_has_no_delay_when_they_are_used_up(caplog):
    caplog.set_level("INFO", LOGGER.name)
    reconnection = Reconnection(process_exception, lambda: iter(()), LOGGER)
    assert reconnection.ended(0.01, by_peer=True) is None
    assert caplog.messages == []
    assert reconnection.ended(0.01, by_peer=False) == 0


def test_socket_of_the_caller_serves_for_one_attempt():
    reconnection = Reconnection(process_exception, numbered_delays, LOGGER, once=True)
    with pytest.raises(OSError, match="gone"):
        reconnection.failed(OSError("gone"))
    assert [reconnection.ended(seconds, by_peer=True) for seconds in (0.01, 10)] == [None, None]


def test_delays_are_logged(caplog):
    caplog.set_level("INFO", LOGGER.name)
    reconnection = Reconnection(process_exception, numbered_delays, LOGGER)
    reconnection.failed(OSError("gone"))
    reconnection.ended(0.01, by_peer=True)
    assert caplog.messages == [
        "connect failed; reconnecting in 1.0 seconds: OSError('gone')",
        "connection closed at once; reconnecting in 2.0 seconds",
    ]


def busy(retry_after):
    return StatusError(Response(503, "", Headers([("Retry-After", retry_after)])))


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        ("30", 30),
        ("0", 1),
        ("99999999999", 3600),
        ("soon", 1),
        ("-5", 1),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 3600),
        ("Fri, 01 Jan 2100 00:00:00 -0000", 3600),
        ("Fri, 01 Jan 99999999999999999999 00:00:00 GMT", 1),
        ("Fri, 01 Jan 2100 00:00:00 +99999999999999999999", 1),
    ],
)
def test_retry_after_makes_the_delay_longer(value, delay):
    assert Reconnection(process_exception, numbered_delays, LOGGER).failed(busy(value)) == delay


@pytest.mark.parametrize("value", ["soon", "0", "", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_retry_after_without_a_time_to_come_adds_no_delay(value):
    assert Reconnection(process_exception, lambda: iter([0.5]), LOGGER).failed(busy(value)) == 0.5


def test_repeated_retry_after_adds_no_delay():
    error = StatusError(Response(503, "", Headers([("Retry-After", "30"), ("Retry-After", "60")])))
    assert Reconnection(process_exception, numbered_delays, LOGGER).failed(error) == 1


def test_retry_after_in_the_past_does_not_make_the_delay_longer():
    date = "Thu, 01 Jan 1970 00:00:00 GMT"
    assert Reconnection(process_exception, numbered_delays, LOGGER).failed(busy(date)) == 1


def test_verdict_of_the_caller_is_raised():
    verdict = LookupError()
    with pytest.raises(LookupError) as caught:
        Reconnection(lambda error: verdict, numbered_delays, LOGGER).failed(OSError())
    assert caught.value is verdict


def test_error_that_is_not_temporary_is_raised():
    error = SecurityError()
    with pytest.raises(SecurityError) as caught:
        Reconnection(process_exception, numbered_delays, LOGGER).failed(error)
    assert caught.value is error
    assert error.__cause__ is None
