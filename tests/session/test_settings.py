"""`ConnectionSettings`: values are validated when they are given."""

import sys

import pytest

from framewire.session.settings import (
    LINGER,
    QUEUE_SIZE,
    REFUSED,
    REPLIES_LIMIT,
    ConnectionSettings,
    check_max_connections,
)

pytestmark = pytest.mark.both_backends

TIMES = ["open_timeout", "ping_interval", "ping_timeout", "close_timeout", "idle_timeout", "total_timeout"]
SIZES = ["max_size", "max_queue", "max_unsent", "fragment_size", "piece_size", "max_send_size"]


def test_defaults_are_accepted_and_frozen():
    settings = ConnectionSettings()
    assert settings.sizes == (1 << 20, None)
    assert settings.queue_marks == (16, 4)
    assert settings.write_marks == (1 << 15, 1 << 13)
    times, limits = [getattr(settings, name) for name in TIMES], [getattr(settings, name) for name in SIZES]
    assert times == [10, 20, 20, 10, None, None]
    assert limits == [1 << 20, 16, 1 << 24, None, None, None]
    assert (settings.text_errors, settings.text_as_bytes, settings.send_close_reasons) == ("strict", False, True)
    assert settings.rate_limit is None
    assert settings == ConnectionSettings(max_queue=16)
    assert not any(name in repr(settings) for name in ("sizes", "queue_marks", "write_marks"))
    with pytest.raises(AttributeError):
        settings.max_size = 1


def test_limits_that_no_setting_changes():
    assert (QUEUE_SIZE, REPLIES_LIMIT, REFUSED, LINGER) == (1 << 20, 1 << 16, 16, 1.0)


def test_pairs_are_accepted():
    settings = ConnectionSettings(max_size=(10, 5), max_queue=(8, 2), write_limit=(100, 50))
    assert (settings.sizes, settings.queue_marks, settings.write_marks) == ((10, 5), (8, 2), (100, 50))
    assert ConnectionSettings(max_size=(None, 5), max_queue=(8, None)).queue_marks == (8, 2)


def test_none_means_no_limit_except_for_the_queue():
    settings = ConnectionSettings(**dict.fromkeys(TIMES + SIZES))
    assert settings.queue_marks == (1 << 14, 1 << 12)
    assert settings.sizes == (None, None)


def test_lowest_values_are_accepted():
    sizes = {**dict.fromkeys(SIZES, 0), "fragment_size": 1, "piece_size": 1}
    times = {**dict.fromkeys(TIMES, 0), "ping_interval": 0.001}
    settings = ConnectionSettings(**times, **sizes, write_limit=(0, 0))
    assert settings.write_marks == (0, 0)
    assert ConnectionSettings(max_queue=(3, 3)).queue_marks == (3, 3)


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ValueError), (float("nan"), ValueError), (10**400, ValueError), ("1", TypeError), (True, TypeError)],
    ids=["negative", "not a number", "no float", "text", "bool"],
)
def test_times_reject_none(name, value, error):
    with pytest.raises(error, match=f"^{name} is "):
        ConnectionSettings(**{name: value})


@pytest.mark.parametrize("value", [sys.float_info.max, float("inf")])
def test_times_may_be_as_long_as_numbers_are(value):
    assert ConnectionSettings(**dict.fromkeys(TIMES, value)).close_timeout == value


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (1 << 63, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_sizes_reject_none(name, value, error):
    with pytest.raises(error, match=f"^{name} is "):
        ConnectionSettings(**{name: value})


def test_number_of_connections_is_checked_too():
    check_max_connections(None)
    check_max_connections(0)
    with pytest.raises(ValueError, match="^max_connections is 0"):
        check_max_connections(-1)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ping_interval": 0}, ValueError),
        ({"ping_interval": 0.0}, ValueError),
        ({"fragment_size": 0}, ValueError),
        ({"piece_size": 0}, ValueError),
        ({"max_size": (1, 2, 3)}, ValueError),
        ({"max_size": (1.5, 2)}, TypeError),
        ({"max_queue": (1, 2)}, ValueError),
        ({"max_queue": (2, -1)}, ValueError),
        ({"max_queue": (None, 2)}, TypeError),
        ({"write_limit": None}, TypeError),
        ({"write_limit": -1}, ValueError),
        ({"write_limit": (10,)}, ValueError),
        ({"text_errors": "ignore"}, ValueError),
        ({"text_as_bytes": 1}, TypeError),
        ({"send_close_reasons": None}, TypeError),
    ],
)
def test_values_out_of_range_are_rejected(options, error):
    with pytest.raises(error, match=f"^{next(iter(options))}"):
        ConnectionSettings(**options)
