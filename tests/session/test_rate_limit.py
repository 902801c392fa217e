"""`rate_limit`: what a peer may send in a time, in virtual time and on every driver."""

import sys
import time

import pytest
from drivers import every_driver, receive_all
from frames import BINARY, CLOSE, KEY, PING, TEXT, frame
from test_session import World

from framewire import Close, Fragment, RateLimit, State
from framewire.extensions import Deflate
from framewire.session.rate_limit import Budget
from framewire.session.session import Ending
from framewire.session.settings import ConnectionSettings

pytestmark = pytest.mark.both_backends
engine = pytest.mark.engine

MESSAGE = (TEXT, b"x")


def arrived(world):
    """Take all messages that are queued."""
    messages = []
    while (message := world.take()) is not None:
        messages.append(message)
    return messages


def arrivals(world, until):
    """Move the clock; return (time, number of messages) of each time at which messages arrive."""
    found = []

    def look(world):
        world.session.process([], world.now)
        if messages := arrived(world):
            found.append((world.now, len(messages)))

    world.advance(until, step=look)
    return found


@engine
def test_messages_above_the_limit_wait_and_arrive_evenly():
    world = World(rate_limit=RateLimit(messages=10, seconds=2), max_queue=None)
    world.receive(*[MESSAGE] * 40)
    assert (len(arrived(world)), world.session.reading) == (10, False)
    assert world.session.next_timer() == pytest.approx(0.2)
    times = arrivals(world, 60)
    assert sum(number for _, number in times) == 30
    assert all(number == 1 for _, number in times)
    assert times[-1][0] == pytest.approx(6, abs=0.1)
    assert (world.session.reading, world.session.next_timer(), world.session.state) == (True, None, State.OPEN)


@engine
def test_limit_of_many_messages_wakes_seldom():
    world = World(rate_limit=RateLimit(messages=1000), max_queue=None)
    world.receive(*[MESSAGE] * 3000)
    assert len(arrived(world)) == 1000
    times = arrivals(world, 60)
    assert sum(number for _, number in times) == 2000
    assert len(times) <= 33
    assert times[-1][0] == pytest.approx(2, abs=0.1)


@engine
@pytest.mark.parametrize("name", ["messages", "size"])
def test_budget_tells_when_a_whole_message_or_byte_is_allowed(name):
    budget = Budget(RateLimit(**{name: 2}, seconds=4), 10)
    budget.spend(2, 2)
    assert (budget.allowed(5), budget.next_time()) == (0, 12)
    budget.fill(11)  # half of one
    assert (budget.allowed(5), budget.next_time()) == (0, 12)
    budget.fill(12)
    assert budget.allowed(5) == (5 if name == "messages" else 1)


@engine
def test_bytes_above_the_limit_wait():
    world = World(rate_limit=RateLimit(size=1000))
    world.receive((BINARY, bytes(4000)))  # 4008 bytes with header and key
    assert (arrived(world), world.session.reading) == ([], False)
    ((when, _),) = arrivals(world, 60)
    assert when == pytest.approx(3, abs=0.1)


@engine
def test_budget_is_not_saved_beyond_one_interval():
    world = World(rate_limit=RateLimit(messages=5))
    world.now = 1000.0
    world.receive(*[MESSAGE] * 20)
    assert len(arrived(world)) == 5


@engine
def test_slow_client_is_never_held_up():
    world = World(rate_limit=RateLimit(messages=10, size=100))
    for _ in range(100):
        world.receive(MESSAGE)
        assert (arrived(world), world.session.reading) == (["x"], True)
        world.now += 0.11


@engine
@pytest.mark.parametrize("size", [1, 2, 5, 7, 100])
def test_rate_does_not_depend_on_how_bytes_are_cut(size):
    world = World(rate_limit=RateLimit(messages=10), max_queue=None)
    client = World(role=world.session.role).peer
    data = b"".join(client.send("x") for _ in range(30))
    for start in range(0, len(data), size):
        world.session.receive(data[start : start + size], world.now)
    assert len(arrived(world)) == 10
    assert sum(number for _, number in arrivals(world, 60)) == 20


@engine
def test_excess_closes_with_1008_if_wanted():
    world = World(rate_limit=RateLimit(messages=10, close=True), max_queue=None)
    world.receive(*[MESSAGE] * 11, (PING, b""))
    assert arrived(world) == ["x"] * 10
    assert world.sent() == [Close(1008, "rate limit exceeded")]
    assert world.session.ending is Ending.OUTPUT


@engine
def test_messages_are_counted_whole_and_pings_are_not():
    world = World(rate_limit=RateLimit(messages=2), fragments=True, max_queue=None)
    world.receive((0x01, b"a"), (PING, b"1"), (0x80, b"b"), *[(PING, b"2")] * 5, MESSAGE, MESSAGE)
    assert world.session.pings_received == 6
    items = world.session.queue.items
    assert [each.data if isinstance(each, Fragment) else each for each in reversed(items)] == ["a", "b", "x"]


@engine
def test_message_that_arrives_in_pieces_is_whole():
    world = World(rate_limit=RateLimit(messages=2), fragments=True, piece_size=1000)
    wire = frame(TEXT, b"x" * 4096, KEY)
    for read in (wire[:8], wire[8:]):
        world.session.receive(read, world.now)
    assert arrived(world) == ["x" * 4096]


@engine
def test_session_without_queue_returns_the_messages_when_they_are_allowed():
    world = World(rate_limit=RateLimit(messages=2), queue=False)
    assert world.receive(*[MESSAGE] * 3) == ["x", "x"]
    assert world.session.process([], world.now) == []
    world.now = world.session.next_timer()
    world.session.handle_timer(world.now)
    assert (world.session.reading, world.session.has_held_back) == (True, True)
    assert world.session.process([], world.now) == ["x"]


@engine
def test_compressed_messages_are_limited_too():
    world = World(rate_limit=RateLimit(messages=2), codecs=[Deflate()], max_queue=None)
    world.receive(*[MESSAGE] * 5)
    assert len(arrived(world)) == 2
    assert sum(number for _, number in arrivals(world, 60)) == 3


@engine
def test_close_of_ours_ends_the_wait():
    world = World(rate_limit=RateLimit(messages=1), close_timeout=10)
    world.receive(MESSAGE, MESSAGE, (CLOSE, b"\x03\xe8"))
    assert (world.session.state, world.session.reading) == (State.OPEN, False)
    world.session.close(1000, "", world.now)
    assert world.session.reading
    assert world.session.next_timer() == pytest.approx(10)
    world.session.process([], world.now)
    assert world.session.state is State.CLOSED
    assert arrived(world) == ["x", "x"]


@engine
def test_violation_after_excess_is_found_when_it_is_allowed():
    world = World(rate_limit=RateLimit(messages=1))
    world.receive(MESSAGE, MESSAGE, (0x83, b""), MESSAGE)
    assert arrived(world) == ["x"]
    assert sum(number for _, number in arrivals(world, 60)) == 1
    world.session.settle(world.now)
    assert world.session.state is State.CLOSED


@engine
def test_end_of_tcp_brings_what_waited():
    world = World(rate_limit=RateLimit(messages=1))
    world.receive(*[MESSAGE] * 3)
    world.session.receive_eof(world.now)
    assert arrived(world) == ["x"] * 3
    assert world.session.deadline == pytest.approx(10)


@engine
def test_keepalive_does_not_fail_a_peer_that_has_to_wait():
    world = World(rate_limit=RateLimit(messages=1, seconds=1000), ping_interval=20, ping_timeout=20)
    world.receive(MESSAGE, MESSAGE)
    world.advance(500)
    assert world.session.state is State.OPEN


@engine
@pytest.mark.parametrize("begin", [0.1, 1000.1, 1.7e9])
@pytest.mark.parametrize(
    "limit",
    [
        {"messages": 3, "size": 7, "seconds": 0.1},
        {"messages": 1, "seconds": 0.3},
        {"size": 7},
        {"messages": 100, "seconds": 0.001},
    ],
)
def test_budget_rounds_never_below_what_it_waited_for(limit, begin):
    budget = Budget(RateLimit(**limit), begin)
    budget.spend(limit.get("messages", 0), limit.get("size", 0))
    now = budget.next_time()
    for _ in range(1000):
        budget.fill(now)
        assert budget.allowed(10) >= 1
        budget.spend(1, 1)
        assert budget.next_time() > now
        now = budget.next_time()


@engine
def test_budget_that_is_filled_before_its_time_has_less():
    budget = Budget(RateLimit(messages=1), 0)
    budget.spend(1, 0)
    assert budget.next_time() == 1
    budget.fill(0.5)
    assert budget.allowed(10) == 0
    budget.fill(0.75)
    assert (budget.allowed(10), budget.next_time()) == (0, 1)


@engine
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, ValueError),
        ({"messages": 0}, ValueError),
        ({"size": 0}, ValueError),
        ({"messages": 1 << 63}, ValueError),
        ({"size": 1 << 63}, ValueError),
        ({"messages": 1.5}, TypeError),
        ({"size": True}, TypeError),
        ({"messages": 1, "seconds": 0}, ValueError),
        ({"messages": 1, "seconds": float("nan")}, ValueError),
        ({"messages": 1, "seconds": float("inf")}, ValueError),
        ({"messages": 1, "seconds": 10**400}, ValueError),
        ({"messages": 1, "seconds": "1"}, TypeError),
        ({"messages": 1, "seconds": True}, TypeError),
        ({"messages": 1, "close": "no"}, TypeError),
    ],
)
def test_rate_limit_checks_its_values(arguments, error):
    with pytest.raises(error, match=rf"\b{['messages', *arguments][-1]}\b"):
        RateLimit(**arguments)


@engine
def test_rate_limit_takes_the_longest_interval():
    assert RateLimit(1, seconds=sys.float_info.max).seconds == sys.float_info.max


@engine
@pytest.mark.parametrize("name", ["messages", "size"])
def test_rate_limit_names_the_value_of_the_wrong_type(name):
    with pytest.raises(TypeError, match=f"^{name} is an integer or None, not float$"):
        RateLimit(**{name: 1.5})


@engine
def test_settings_take_no_other_rate_limit():
    assert ConnectionSettings(rate_limit=RateLimit(5)).rate_limit == RateLimit(messages=5)
    with pytest.raises(TypeError):
        ConnectionSettings(rate_limit=5)


drivers = every_driver(tls=True, without=["uvicorn"])


@drivers
def test_client_that_sends_too_much_has_to_wait_on_every_driver(driver):
    with driver.open(receive_all, rate_limit=RateLimit(messages=20, seconds=0.4)) as peer:
        begin = time.monotonic()
        peer.send(*[peer.frame(*MESSAGE)] * 40, peer.frame(CLOSE, b"\x03\xe8"))
        assert [event.code for event in peer.read_to_end()] == [1000]
        assert time.monotonic() - begin >= 0.35
        peer.record.end()
        assert peer.record.messages == ["x"] * 40


@drivers
def test_client_that_sends_too_much_is_closed_with_1008_on_every_driver(driver):
    with driver.open(receive_all, rate_limit=RateLimit(messages=20, seconds=60, close=True)) as peer:
        peer.send(*[peer.frame(*MESSAGE)] * 40)
        assert [event.code for event in peer.read_to_end()] == [1008]
        peer.record.end()
        assert peer.record.messages == ["x"] * 20


@drivers
def test_close_during_the_wait_is_prompt_on_every_driver(driver):
    with driver.serve(receive_all, rate_limit=RateLimit(messages=1, seconds=60)) as server:
        with server.connection() as peer:
            peer.send(*[peer.frame(*MESSAGE)] * 3)
            peer.record.released.wait(0.05)
    assert peer.record.end() is not None
