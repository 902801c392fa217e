"""`Topics` on drivers of streams without a network: subscriptions, held messages, the end."""

import logging
import threading
from contextlib import nullcontext

import pytest
from failing_codec import FailingCodec

from framewire import CLIENT, SERVER, Close, ConnectionClosed, StateError, Stream
from framewire.extensions import Deflate
from framewire.session.base_driver import BaseDriver
from framewire.session.base_topics import PublishingTopics
from framewire.session.connection import BaseConnection
from framewire.session.session import Session
from framewire.session.settings import ConnectionSettings
from framewire.session.stream_topics import StreamMembers

pytestmark = pytest.mark.both_backends


class StandIn(BaseDriver):
    """A driver whose network takes everything, or nothing."""

    lock = nullcontext()
    updates = 0

    def now(self):
        return 0.0

    def start_closing(self, code, reason):
        self.session.close(code, reason, 0.0)

    def update(self):
        self.updates += 1

    perform = wait_for_input = None

    def block(self):
        self.session.pause_writing(self.refused)

    def unblock(self):
        self.session.resume_writing()
        self.release_held()

    def end(self):
        self.session.receive_eof(0.0)
        self.note_end()


def unopened(**settings):
    connection = BaseConnection(StandIn(SERVER, ConnectionSettings(**settings)))
    connection.logger = logging.getLogger("framewire.test")
    return connection


def opened(**settings):
    """Return an open connection, its driver, and a function that reads what is sent."""
    connection = unopened(**settings)
    driver = connection._driver
    connection._session = driver.session = Session(SERVER, driver.settings, 0, fragments=True)
    decoder = Stream(CLIENT, auto_close=False)
    return connection, driver, lambda: decoder.receive(driver.session.data_to_send())


def topics_of(policy="close", on_slow=None, patterns=None, compression="shared"):
    return PublishingTopics(StreamMembers(patterns, policy, on_slow), compression)


def test_subscribers_get_the_messages_until_they_unsubscribe():
    topics = topics_of()
    (one, driver, read), (two, _, read_two) = opened(), opened()
    assert topics.subscribe(one, "news")
    assert not topics.subscribe(one, "news")
    assert topics.subscribe(two, "news")
    assert topics.publish("news", "a") == 2
    assert topics.publish("news", "b", exclude=one) == topics.publish("news", "c", exclude=[two]) == 1
    assert (driver.updates, read(), read_two()) == (2, ["a", "c"], ["a", "b"])
    assert topics.subscribers("news") == [one, two]
    assert topics.topics_of(one) == ["news"]
    assert topics.unsubscribe(one, "news")
    assert not topics.unsubscribe(one, "news")
    assert topics.publish("news", "d") == 1
    assert topics.counters.published == 4
    assert topics.counters.sent == 5


def test_ended_connection_has_left_and_cannot_subscribe():
    topics, (one, driver, _) = topics_of(), opened()
    topics.subscribe(one, "news")
    driver.start_closing(1000, "")
    assert topics.publish("news", "a") == 0
    driver.end()
    assert topics.subscribers("news") == topics.topics_of(one) == []
    assert driver.topics == driver.holding == topics._topics._connections == {}
    with pytest.raises(ConnectionClosed):
        topics.subscribe(one, "news")


def test_subscribing_before_the_opening_handshake_is_an_error():
    with pytest.raises(StateError):
        topics_of().subscribe(unopened(), "news")


def test_held_messages_are_sent_once_there_is_room():
    topics, (one, driver, read) = topics_of("latest"), opened(write_limit=10)
    topics.subscribe(one, "news")
    driver.block()
    reached = [topics.publish("news", text) for text in ("x" * 20, "a", "b")]  # up to write_limit is added
    assert reached == [1, 1, 1]
    driver.release_held()
    assert read() == ["x" * 20]
    assert driver.holding == {topics._topics: None}
    driver.unblock()
    assert read() == ["b"]
    assert driver.holding == topics._topics._delivery._backlogs == {}
    assert (topics.counters.held, topics.counters.replaced, topics.counters.sent) == (2, 1, 2)


def test_messages_held_for_a_connection_that_ends_are_discarded():
    topics, (one, driver, _) = topics_of("latest"), opened()
    topics.subscribe(one, "news")
    driver.session.send("fragm", None, last=False)
    assert topics.publish("news", "a") == 1
    assert topics._topics._delivery._backlogs != {}
    driver.end()
    assert topics._topics._delivery._backlogs == {}


@pytest.mark.parametrize(("compression", "rsv1"), [("shared", True), ("own", True), (None, False)])
def test_messages_are_compressed_as_the_topics_say(compression, rsv1):
    topics, (one, driver, _) = topics_of(compression=compression), opened()
    driver.session = one._session = Session(SERVER, driver.settings, 0, codecs=[Deflate()])
    topics.subscribe(one, "news")
    topics.publish("news", "x" * 1000)
    assert bool(driver.session.data_to_send()[0] & 0x40) is rsv1


def test_messages_during_a_fragmented_one_are_sent_after_it():
    topics, (one, driver, read) = topics_of(), opened()
    topics.subscribe(one, "news")
    driver.session.send("fragm", None, last=False)
    assert topics.publish("news", "a") == 1
    driver.release_held()
    driver.session.send("ented", None)
    driver.release_held()
    assert read() == ["fragmented", "a"]


@pytest.mark.parametrize("policy", ["close", "drop", "latest"])
def test_slow_receiver_is_treated_as_the_policy_says(policy):
    told = []
    topics = topics_of(policy, lambda *arguments: told.append(arguments))
    one, driver, read = opened(write_limit=10)
    topics.subscribe(one, "news")
    driver.block()
    for number in range(4):  # a transport that is full gets more, up to write_limit
        topics.publish("news", f"{number} 456789")
    driver.unblock()
    outcome, rest = {
        "close": ("closed", [Close(1013, "reading too slowly")]),
        "drop": ("dropped", []),
        "latest": ("replaced", ["3 456789"]),
    }[policy]
    assert told[0] == (one, "news", outcome)
    assert getattr(topics.counters, outcome) == len(told)
    assert read() == ["0 456789", "1 456789", *rest]


def test_callback_that_fails_is_logged(caplog):
    def on_slow(*arguments):
        raise ZeroDivisionError

    topics, (one, driver, _) = topics_of("drop", on_slow), opened(write_limit=10)
    topics.subscribe(one, "news")
    driver.block()
    for _ in range(4):
        topics.publish("news", "x" * 20)
    assert topics.counters.dropped >= 1
    assert {record[::2] for record in caplog.record_tuples} == {("framewire.topics", "on_slow failed")}


def test_receiver_that_cannot_send_a_message_is_left_out(caplog):
    topics = topics_of()
    (one, _, read), (small, _, read_small), (two, driver, read_two) = opened(), opened(max_send_size=5), opened()
    for connection in (one, small, two):
        topics.subscribe(connection, "news")
    assert topics.publish("news", "large.") == 2
    assert caplog.record_tuples == [
        ("framewire.test", logging.WARNING, "skipped broadcast: a message to send has at most 5 bytes, not 6")
    ]
    assert topics.publish("news", "small") == 3
    driver.update = lambda: 1 / 0  # such as that no thread can be started
    assert topics.publish("news", "third") == 2
    assert caplog.records[-1].exc_info[0] is ZeroDivisionError
    assert [read(), read_small(), read_two()] == [
        ["large.", "small", "third"],
        ["small", "third"],
        ["large.", "small", "third"],
    ]
    assert topics.counters.sent == 8


class HeldOnce:
    """A lock that fails where a lock of a thread would block forever."""

    def __init__(self):
        self._lock = threading.Lock()

    def __enter__(self):
        assert self._lock.acquire(blocking=False)

    def __exit__(self, *_):
        self._lock.release()


def test_handler_of_the_log_may_publish_what_could_not_be_sent():
    class Publishing(logging.Handler):
        def emit(self, record):
            topics.publish("log", record.getMessage())

    topics = PublishingTopics(StreamMembers(None, "close", None, HeldOnce(), HeldOnce()), "own")
    (failing, driver, _), (one, _, read_log) = opened(max_send_size=100), opened()
    driver.session = failing._session = Session(SERVER, driver.settings, 0, codecs=[FailingCodec()])
    peer = Stream(CLIENT, extensions=[FailingCodec()])
    topics.subscribe(failing, "news")
    topics.subscribe(one, "log")
    handler = Publishing()
    failing.logger.addHandler(handler)
    try:
        assert topics.publish("news", "x" * 101) == 0
        driver.session.send("fragm", None, last=False)
        assert topics.publish("news", "fails") == topics.publish("news", "after it") == 1
        driver.session.send("ented", None)
        driver.release_held()
    finally:
        failing.logger.removeHandler(handler)
    assert peer.receive(driver.session.data_to_send()) == ["fragmented", "after it"]
    assert read_log() == [
        "skipped broadcast: a message to send has at most 100 bytes, not 101",
        "skipped broadcast: fails",
    ]


@pytest.mark.parametrize("options", [{"patterns": "glob"}, {"policy": "ignore"}, {"compression": "zip"}])
def test_invalid_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options.values()))):
        topics_of(**options)
