"""Topics without I/O: subscriptions and their patterns, receivers that are slow, in virtual time."""

import random

import pytest
from bounds import KIB, Traced
from failing_codec import FailingCodec
from hypothesis import given
from hypothesis import strategies as st

from framewire import CLIENT, SERVER, PayloadTooBigError, Stream
from framewire.extensions import Deflate
from framewire.session.broadcast import Broadcast
from framewire.session.session import Session
from framewire.session.settings import ConnectionSettings
from framewire.session.topics import HELD_COST, Backlog, Delivery, Outcome, TopicCounters, TopicTree

pytestmark = pytest.mark.both_backends


# Subscriptions


def test_receivers_of_a_topic_are_those_subscribed_to_it():
    tree = TopicTree()
    assert tree.subscribe("a", "news")
    assert tree.subscribe("b", "news")
    assert tree.subscribe("a", "sport")
    assert not tree.subscribe("a", "news")
    assert list(tree.receivers("news")) == ["a", "b"]
    assert list(tree.receivers("sport")) == ["a"]
    assert list(tree.receivers("other")) == []
    assert tree.topics_of("a") == ["news", "sport"]
    assert tree.topics_of("c") == []
    assert ("a" in tree, "c" in tree) == (True, False)


def test_subscription_ends_once():
    tree = TopicTree()
    tree.subscribe("a", "news")
    assert not tree.unsubscribe("a", "sport")
    assert not tree.unsubscribe("b", "news")
    assert tree.unsubscribe("a", "news")
    assert not tree.unsubscribe("a", "news")
    assert list(tree.receivers("news")) == []
    assert "a" not in tree


def test_receiver_leaves_all_its_topics():
    tree = TopicTree("mqtt")
    for topic in ("a/b/c", "a/+", "#"):
        tree.subscribe("one", topic)
    tree.subscribe("two", "a/b/c")
    tree.leave("one")
    tree.leave("never there")
    assert list(tree.receivers("a/b/c")) == ["two"]
    assert tree.topics_of("one") == []


def test_ended_subscriptions_leave_no_memory():
    tree = TopicTree("mqtt")
    tree.subscribe("a", "deep/er")
    for number in range(100):
        tree.subscribe("a", f"deep/er/and/deeper/{number}")
        tree.subscribe("b", f"deep/{number}/#")
        tree.unsubscribe("a", f"deep/er/and/deeper/{number}")
        tree.leave("b")
    assert list(tree._root.children) == ["deep"]
    assert list(tree._root.children["deep"].children) == ["er"]
    assert tree._root.children["deep"].children["er"].children == {}
    tree.leave("a")
    assert tree._root.children == tree._topics == {}


def test_without_patterns_a_topic_is_any_text():
    tree = TopicTree()
    for topic in ("#", "a/+", "a/#/b", "+"):
        tree.subscribe(topic, topic)
    assert list(tree.receivers("#")) == ["#"]
    assert list(tree.receivers("a/+")) == ["a/+"]
    assert list(tree.receivers("a/b")) == []


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        # The examples of MQTT 5.0 4.7.1 and 4.7.2.
        (
            "sport/tennis/player1/#",
            ["sport/tennis/player1", "sport/tennis/player1/ranking/x"],
            ["sport/tennis/player2"],
        ),
        ("sport/#", ["sport", "sport/a/b/c", "sport/"], ["sports", "a/sport"]),
        ("#", ["a", "a/b", "/", "a/$b"], ["$SYS/a", "$SYS"]),
        ("sport/tennis/+", ["sport/tennis/player1", "sport/tennis/"], ["sport/tennis/player1/ranking", "sport/tennis"]),
        ("sport/+", ["sport/", "sport/a", "sport/$a"], ["sport"]),
        ("+", ["finance", "a"], ["/finance", "a/b", "$SYS"]),
        ("+/+", ["/finance", "a/b", "/"], ["finance", "$SYS/a", "a/b/c"]),
        ("/+", ["/finance", "/"], ["finance", "a/b"]),
        ("+/monitor/#", ["a/monitor", "a/monitor/b"], ["$SYS/monitor/Clients"]),
        ("$SYS/#", ["$SYS/a", "$SYS"], ["SYS/a"]),
        ("$SYS/+/b", ["$SYS/a/b"], ["$SYS/a"]),
        ("+/tennis/#", ["sport/tennis", "x/tennis/y"], ["tennis"]),
        ("Accounts", ["Accounts"], ["accounts", "Accounts/", "/Accounts"]),
    ],
)
def test_patterns_match_as_in_mqtt(pattern, matched, others):
    tree = TopicTree("mqtt")
    tree.subscribe("a", pattern)
    assert [topic for topic in matched + others if tree.receivers(topic)] == matched


def test_receiver_of_several_matching_patterns_is_returned_once():
    tree = TopicTree("mqtt")
    for pattern in ("a/b", "a/+", "#", "a/#"):
        tree.subscribe("one", pattern)
    tree.subscribe("two", "+/b")
    assert sorted(tree.receivers("a/b")) == ["one", "two"]


LEVELS = st.lists(st.sampled_from(["", "a", "b", "$c"]), min_size=1, max_size=4)


def matches(pattern, topic):
    """Match level by level, as the definition says."""
    if topic[0].startswith("$") and pattern[0] in ("+", "#"):
        return False
    if pattern[-1] == "#":
        pattern, topic = pattern[:-1], topic[: len(pattern) - 1]
    return len(pattern) == len(topic) and all(p in ("+", t) for p, t in zip(pattern, topic, strict=True))


@given(
    patterns=st.lists(
        st.tuples(st.lists(st.sampled_from(["", "a", "b", "$c", "+"]), min_size=1, max_size=4), st.booleans()),
        max_size=12,
    ),
    ended=st.sets(st.integers(0, 11)),
    topic=LEVELS,
)
def test_tree_finds_the_same_receivers_as_a_comparison_of_each_pattern(patterns, ended, topic):
    tree, expected = TopicTree("mqtt"), set()
    patterns = [[*levels, "#"] if rest else levels for levels, rest in patterns]
    patterns = [levels for levels in patterns if levels != [""]]
    for number, levels in enumerate(patterns):
        tree.subscribe(number, "/".join(levels))
    for number, levels in enumerate(patterns):
        if number in ended:
            tree.unsubscribe(number, "/".join(levels))
        elif matches(levels, topic):
            expected.add(number)
    if topic != [""]:
        assert set(tree.receivers("/".join(topic))) == expected


@pytest.mark.parametrize("pattern", ["", "a/#/b", "a#", "#a", "a/b#", "a+", "+a/b", "##", "++"])
def test_invalid_patterns_are_refused(pattern):
    tree = TopicTree("mqtt")
    with pytest.raises(ValueError, match="topic|pattern"):
        tree.subscribe("a", pattern)
    assert "a" not in tree
    assert not tree.unsubscribe("a", pattern)


@pytest.mark.parametrize("topic", ["", "#", "a/+", "a/#"])
def test_message_has_a_topic_not_a_pattern(topic):
    for check in (TopicTree("mqtt").receivers, TopicTree("mqtt").check_topic):
        with pytest.raises(ValueError, match="topic"):
            check(topic)


@pytest.mark.parametrize("levels", [201, 1 << 20])
def test_topic_of_too_many_levels_is_refused_and_takes_no_memory(levels):
    tree = TopicTree("mqtt")
    longest, longer = "/".join("a" * 200), "/" * (levels - 1)
    assert tree.subscribe("one", longest)
    assert list(tree.receivers(longest)) == ["one"]
    with Traced(drivers=False) as memory:
        for call in (lambda: tree.subscribe("one", longer), lambda: tree.receivers(longer)):
            with pytest.raises(ValueError, match="^a topic has at most 200 levels$"):
                call()
        assert memory.peak() <= levels + 64 * KIB
    assert tree.topics_of("one") == [longest]
    assert TopicTree().subscribe("one", longer)


@pytest.mark.parametrize("topic", [None, b"news", 1])
def test_topic_is_a_str(topic):
    for call in (TopicTree().receivers, TopicTree().check_topic, lambda topic: TopicTree().subscribe("a", topic)):
        with pytest.raises(TypeError, match="a topic is a str"):
            call(topic)


def test_other_kinds_of_patterns_are_refused():
    with pytest.raises(ValueError, match="glob"):
        TopicTree("glob")


# Delivery


class Receiver:
    """A session and the stream of its peer."""

    def __init__(self, **settings):
        self.session = Session(SERVER, ConnectionSettings(**settings), 0, codecs=[Deflate()])
        self.peer = Stream(CLIENT, extensions=[Deflate()])

    def sent(self):
        return self.peer.receive(self.session.data_to_send())


def offer(delivery, receiver, topic, text, waiting=0):
    return delivery.offer(receiver, receiver.session, topic, Broadcast(text), waiting)


@pytest.mark.parametrize("policy", ["close", "drop", "latest"])
def test_receiver_that_keeps_up_gets_every_message(policy):
    delivery, receiver = Delivery(policy), Receiver(write_limit=1000)
    assert [offer(delivery, receiver, "a", str(number)) for number in range(3)] == [None] * 3
    receiver.session.pause_writing(5000)
    assert offer(delivery, receiver, "a", "3", 6000) is None
    assert receiver.sent() == ["0", "1", "2", "3"]
    assert delivery.counters.sent == 4
    assert not delivery.release(receiver, receiver.session)


def test_frame_of_a_message_is_made_once_for_all_receivers():
    delivery, receivers = Delivery("close"), [Receiver() for _ in range(3)]
    for text in ("x" * 100, "y" * 100):  # after the first one, each session knows of what kind it is
        message = Broadcast(text)
        for receiver in receivers:
            assert delivery.offer(receiver, receiver.session, "a", message, 0) is None
        outputs = [receiver.session.output[0] for receiver in receivers]
        assert outputs[0] is outputs[1] is outputs[2]
        assert all(receiver.session.output_size == len(outputs[0]) for receiver in receivers)
        assert [receiver.sent() for receiver in receivers] == [[text]] * 3
    assert delivery.counters.sent == 6


@pytest.mark.parametrize("policy", ["close", "drop", "latest"])
def test_closing_connection_gets_nothing(policy):
    delivery, receiver = Delivery(policy), Receiver()
    receiver.session.close(1000, "", 0)
    receiver.sent()
    assert offer(delivery, receiver, "a", "x") is Outcome.SKIPPED
    assert receiver.sent() == []
    assert delivery.counters.sent == 0


def test_receiver_that_does_not_keep_up_is_to_be_closed():
    delivery, receiver = Delivery("close"), Receiver(write_limit=1000)
    receiver.session.pause_writing(1500)
    assert offer(delivery, receiver, "a", "x", 2501) is Outcome.CLOSED
    assert delivery.counters.closed == 1
    assert receiver.sent() == []


def test_messages_to_a_receiver_that_does_not_keep_up_are_dropped():
    delivery, receiver = Delivery("drop"), Receiver(write_limit=1000)
    receiver.session.pause_writing(1500)
    assert [offer(delivery, receiver, "a", "x", 2501) for _ in range(2)] == [Outcome.DROPPED] * 2
    receiver.session.resume_writing()
    assert not delivery.release(receiver, receiver.session)
    assert offer(delivery, receiver, "a", "y", 100) is None
    assert receiver.sent() == ["y"]
    assert delivery.counters.dropped == 2


def test_newest_message_of_each_topic_is_held_for_a_receiver_that_does_not_keep_up():
    delivery, receiver = Delivery("latest"), Receiver(write_limit=1000)
    receiver.session.pause_writing(1500)
    outcomes = [offer(delivery, receiver, topic, topic + str(number), 2501) for number in range(3) for topic in "ab"]
    assert outcomes == [Outcome.HELD] * 2 + [Outcome.REPLACED] * 4
    assert not delivery.release(receiver, receiver.session)
    # Once messages are held, all are, in spite of some room: the order of topics is kept.
    assert offer(delivery, receiver, "a", "a3", 100) is Outcome.REPLACED
    receiver.session.resume_writing()
    assert delivery.release(receiver, receiver.session)
    assert receiver.sent() == ["b2", "a3"]
    counters = delivery.counters
    assert (counters.held, counters.replaced, counters.sent) == (7, 5, 2)
    assert not delivery.release(receiver, receiver.session)


def test_held_messages_are_sent_before_the_next_one():
    delivery, receiver = Delivery("latest"), Receiver(write_limit=1000)
    receiver.session.pause_writing(1500)
    offer(delivery, receiver, "a", "held", 2501)
    receiver.session.resume_writing()
    assert offer(delivery, receiver, "a", "next") is None
    assert receiver.sent() == ["held", "next"]


def test_newest_messages_of_too_many_topics_close_the_connection():
    delivery, receiver = Delivery("latest"), Receiver(write_limit=1000, max_unsent=10 * (100 + HELD_COST))
    receiver.session.pause_writing(1500)
    outcomes = [offer(delivery, receiver, str(number % 10), "x" * 100, 2501) for number in range(20)]
    assert outcomes == [Outcome.HELD] * 10 + [Outcome.REPLACED] * 10
    assert offer(delivery, receiver, "10", "x" * 100, 2501) is Outcome.CLOSED
    assert offer(delivery, receiver, "0", "x" * 10_000, 2501) is Outcome.CLOSED
    receiver.session.resume_writing()
    assert not delivery.release(receiver, receiver.session)
    unlimited = Receiver(write_limit=1000, max_unsent=None)
    unlimited.session.pause_writing(1500)
    assert offer(delivery, unlimited, "a", "x" * 100_000, 2501) is Outcome.HELD


@pytest.mark.parametrize("size", [0, 1])
def test_memory_of_the_newest_messages_of_many_topics_is_at_most_three_times_max_unsent(size):
    delivery, receiver = Delivery("latest"), Receiver(write_limit=1000, max_unsent=1 << 20)
    receiver.session.pause_writing(1500)
    with Traced(drivers=False) as memory:
        number = 0
        while offer(delivery, receiver, f"topic {number}", "x" * size, 2501) is Outcome.HELD:
            number += 1
            assert number < 10_000
        assert memory.peak() <= 3 << 20  # objects are larger without the GIL


@pytest.mark.parametrize("policy", ["close", "drop", "latest"])
def test_messages_during_a_fragmented_one_are_held_in_order(policy):
    delivery, receiver = Delivery(policy), Receiver(write_limit=10)
    receiver.session.send("fragm", last=False)
    assert offer(delivery, receiver, "a", "x" * 5) is Outcome.HELD
    assert offer(delivery, receiver, "b", "y" * 5) is Outcome.HELD
    assert not delivery.release(receiver, receiver.session)
    receiver.session.send("ented")
    assert delivery.release(receiver, receiver.session)
    assert receiver.sent() == ["fragmented", "xxxxx", "yyyyy"]


@pytest.mark.parametrize("policy", ["close", "drop", "latest"])
def test_messages_held_during_a_fragmented_one_need_no_room_when_it_is_their_turn(policy):
    delivery, receiver = Delivery(policy), Receiver(write_limit=10)
    receiver.session.send("fragm", last=False)
    assert offer(delivery, receiver, "a", "held") is Outcome.HELD
    assert not delivery.release(receiver, receiver.session, in_turn=True)
    receiver.session.send("ented")
    receiver.session.pause_writing(20)
    assert not delivery.release(receiver, receiver.session)
    assert delivery.holds(receiver)
    # The newest message of a topic may wait for room, not for the end of a message.
    assert delivery.release(receiver, receiver.session, in_turn=True) is (policy != "latest")
    assert delivery.holds(receiver) is (policy == "latest")
    assert receiver.sent() == ["fragmented"] + ["held"] * (policy != "latest")


@pytest.mark.parametrize(("policy", "outcome"), [("close", Outcome.CLOSED), ("drop", Outcome.DROPPED)])
def test_policy_applies_to_too_many_messages_during_a_fragmented_one(policy, outcome):
    delivery, receiver = Delivery(policy), Receiver(write_limit=10)
    receiver.session.send("fragm", last=False)
    assert offer(delivery, receiver, "a", "x" * 10) is Outcome.HELD
    assert offer(delivery, receiver, "a", "y") is outcome
    receiver.session.send("ented")
    assert delivery.release(receiver, receiver.session) is (policy == "drop")
    assert receiver.sent() == ["fragmented"] + ["x" * 10] * (policy == "drop")
    delivery, receiver = Delivery(policy), Receiver(write_limit=10)
    receiver.session.send("fragm", last=False)
    outcomes = [offer(delivery, receiver, "a", "") for _ in range(12)]
    assert outcomes == [Outcome.HELD] * 11 + [outcome]


@pytest.mark.parametrize("policy", ["close", "drop", "latest"])
@pytest.mark.parametrize("why", ["nothing", "fragments", "slow"])
def test_message_over_max_send_size_is_not_sent_held_or_dropped_and_closes_nothing(policy, why):
    delivery, receiver = Delivery(policy), Receiver(write_limit=1000, max_send_size=5)
    if why == "fragments":
        receiver.session.send("frag", last=False)
        assert offer(delivery, receiver, "a", "first") is Outcome.HELD
    elif why == "slow":
        receiver.session.pause_writing(1500)
    with pytest.raises(PayloadTooBigError):
        offer(delivery, receiver, "a", "large.", 2501 if why == "slow" else 0)
    if why == "fragments":
        receiver.session.send("!")
        assert delivery.release(receiver, receiver.session)
        assert receiver.sent() == ["frag!", "first"]
    assert (delivery.counters.dropped, delivery.counters.closed, delivery.failures) == (0, 0, [])
    assert delivery._backlogs == {}


@pytest.mark.parametrize("compression", ["shared", "own"])
def test_held_messages_follow_one_that_cannot_be_sent(compression):
    delivery, receiver = Delivery("close"), Receiver()
    receiver.session = Session(SERVER, ConnectionSettings(), 0, codecs=[FailingCodec()])
    receiver.peer = Stream(CLIENT, extensions=[FailingCodec()])
    receiver.session.send("fragm", last=False)
    for text in ("fail 1", "a", "fail 2", "b"):
        message = Broadcast(text, None, compression)
        assert delivery.offer(receiver, receiver.session, "a", message, 0) is Outcome.HELD
    receiver.session.send("ented")
    assert delivery.release(receiver, receiver.session)
    assert receiver.sent() == ["fragmented", "a", "b"]
    assert [(one, str(error)) for one, error in delivery.failures] == [(receiver, "fail 1"), (receiver, "fail 2")]
    assert delivery.counters.sent == 2
    receiver.session.send("fragm", last=False)
    message = Broadcast("fail 3", None, compression)
    assert delivery.offer(receiver, receiver.session, "a", message, 0) is Outcome.HELD
    receiver.session.send("ented")
    assert not delivery.release(receiver, receiver.session)
    assert len(delivery.failures) == 3


def test_held_messages_of_an_ended_or_forgotten_connection_are_discarded():
    delivery = Delivery("latest")
    for forget in (True, False):
        receiver = Receiver(write_limit=10)
        receiver.session.pause_writing(0)
        assert offer(delivery, receiver, "a", "x", 11) is Outcome.HELD
        receiver.session.resume_writing()
        if forget:
            delivery.forget(receiver)
        else:
            receiver.session.close(1000, "", 0)
        assert not delivery.release(receiver, receiver.session)
    assert delivery._backlogs == {}


def test_backlog_has_the_size_of_the_messages_that_wait():
    backlog = Backlog()
    assert not backlog.replace("a", Broadcast("x" * 10))
    assert backlog.replace("a", Broadcast("yy"))
    backlog.append(Broadcast("z"))
    backlog.append(Broadcast(""))
    assert (backlog.size, len(backlog.messages)) == (2 + 256 + 1 + 1, 3)


def test_counters_are_added_one_by_one():
    assert TopicCounters(1, 2, 3, 4, 5, 6) + TopicCounters(10, 20, 30, 40, 50, 60) == TopicCounters(
        11, 22, 33, 44, 55, 66
    )


def test_other_policies_are_refused():
    with pytest.raises(ValueError, match="ignore"):
        Delivery("ignore")


@pytest.mark.parametrize("compression", ["shared", "own", None])
@pytest.mark.parametrize("policy", ["drop", "latest"])
def test_random_traffic_keeps_order_and_its_counts_add_up(policy, compression):
    source = random.Random(policy)
    delivery, receiver = Delivery(policy), Receiver(write_limit=2000)
    outcomes, got, newest, waiting = [], [], {}, 0
    for number in range(3000):
        topic = source.choice("abc")
        newest[topic] = number
        message = Broadcast(f"{topic} {number} {source.randbytes(source.randrange(500)).hex()}", None, compression)
        outcomes.append(delivery.offer(receiver, receiver.session, topic, message, waiting))
        data = receiver.session.data_to_send()
        got += receiver.peer.receive(data)
        waiting += len(data)
        if waiting > 2000 and not receiver.session.write_paused:
            receiver.session.pause_writing(waiting)
        waiting = max(0, waiting - source.choice([0, 0, 50, 600]))
        if waiting <= 500 and receiver.session.write_paused:
            receiver.session.resume_writing()
            delivery.release(receiver, receiver.session)
    receiver.session.resume_writing()
    delivery.release(receiver, receiver.session)
    got += receiver.sent()
    numbers = [int(text.split()[1]) for text in got]
    assert numbers == sorted(set(numbers))
    counters = delivery.counters
    assert counters.sent == len(got)
    assert counters.sent + counters.replaced + counters.dropped == len(outcomes)
    assert 0 < outcomes.count(None) < len(outcomes)
    assert (counters.replaced > 0, counters.dropped > 0) == (policy == "latest", policy == "drop")
    if policy == "latest":
        assert {text[0]: int(text.split()[1]) for text in got} == newest
