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
