"""Events: immutable values with equality, hash, repr, copy, pickle and pattern matching."""

import copy
import pickle

import pytest

from framewire import Close, Failure, Fragment, Ping, Pong, Text

pytestmark = pytest.mark.engine

EVENTS = [
    Text(b"a"),
    Fragment("a", True, False),
    Ping(b"a"),
    Pong(b"a"),
    Close(1000, "bye"),
    Failure(1002, "a reserved bit is set", 7),
]


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_event_survives_copy_and_pickle(event):
    for other in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event))):
        assert other == event
        assert hash(other) == hash(event)


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_event_is_immutable(event):
    kind = type(event)
    name = kind.__match_args__[0]
    with pytest.raises(AttributeError, match=kind.__name__):
        setattr(event, name, b"b")
    with pytest.raises(AttributeError, match=kind.__name__):
        event.other = 1
    with pytest.raises(AttributeError, match=kind.__name__):
        delattr(event, name)


def test_events_of_different_classes_are_unequal():
    assert Ping(b"a") != Pong(b"a")
    assert Ping(b"a") != Ping(b"b")
    assert Ping(b"a") != b"a"
    assert (Ping(b"a") == b"a") is False
    assert len({*EVENTS, *EVENTS}) == len(EVENTS)


def test_event_repr_names_its_attributes():
    assert repr(Close(code=1000, reason="bye")) == "Close(code=1000, reason='bye')"


def test_event_matches_by_position():
    match EVENTS[1]:
        case Fragment(data, first, last):
            assert (data, first, last) == ("a", True, False)
        case other:
            pytest.fail(f"{other} did not match")


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (1000, "OK"), (1001, "going away"), (2999, "unknown"), (3000, "registered"), (3999, "registered"),
        (4000, "private use"), (4999, "private use"), (5000, "unknown"),
    ],
)  # fmt: skip
def test_close_is_shown_with_the_name_of_its_code(code, name):
    assert str(Close(code, "why")) == f"{code} ({name}) why"
