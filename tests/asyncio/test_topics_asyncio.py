"""`Topics` of asyncio over real sockets: writes, slow receivers, threads.

Its rules are tested in `session/test_topic_rules.py`, and what all APIs have in `api/test_topics.py`.
"""

import asyncio
import random
import threading
from contextlib import AsyncExitStack, asynccontextmanager

import ends
import pytest
from ends import connect, on_loop, raw, serving, until

import framewire
from framewire import State, StateError
from framewire.asyncio import Listener, Topics, broadcast
from framewire.asyncio.transport_writer import MAX_CORKED, TransportWriter

pytestmark = pytest.mark.both_backends


@pytest.fixture(autouse=True, params=["asyncio", "asyncio tls", "uvloop"])
def network(request, monkeypatch):
    monkeypatch.setattr(ends, "network", request.param)
    return request.param


async def receive_nothing(ws):
    await ws.wait_closed()


@asynccontextmanager
async def pairs(number, handler=receive_nothing, **options):
    """Give connections of one server, and their clients, in the same order."""
    async with serving(handler, **options) as (server, _, uri), AsyncExitStack() as stack:
        connections, clients = [], []
        for _ in range(number):
            clients.append(await stack.enter_async_context(connect(uri)))
            await until(lambda: len(server.connections) == len(clients))
            connections += server.connections - set(connections)
        yield connections, clients


@asynccontextmanager
async def slow_pair(**options):
    """Give a connection whose peer reads only when it is told to, and that peer."""
    async with serving(receive_nothing, **options) as (server, port, _), raw(port, limit=1024) as peer:
        await peer.upgrade()
        await until(lambda: server.connections)
        (connection,) = server.connections
        yield connection, peer


def members_of(topics):
    """Return the members of topics, of one event loop."""
    (members,) = topics._topics._loops
    return members


async def drain(peer, last):
    """Return the events of a peer up to `last`."""
    events = []
    while not events or events[-1] != last:
        events.append(await peer.read_event())
    return events


async def messages_of(client):
    """Return the messages that a client receives, up to "end"."""
    messages = []
    while (message := await client.recv()) != "end":
        messages.append(message)
    return messages


# Connections that subscribe


@on_loop
async def test_listener_connections_subscribe_too():
    topics = Topics()

    class Subscribing(Listener):
        def on_open(self, connection):
            topics.subscribe(connection, "news")

        def on_message(self, connection, message):
            topics.publish("news", message, exclude=connection)
            connection.send("done")

    async with serving(Subscribing()) as (_, _, uri), connect(uri) as one, connect(uri) as two:
        await until(lambda: len(topics.subscribers("news")) == 2)
        await one.send("hello")
        assert await one.recv() == "done"
        assert await two.recv() == "hello"


@on_loop
async def test_message_that_a_listener_published_in_a_fragmented_one_arrives_after_it():
    topics = Topics()

    class Fragmenting(Listener):
        def on_message(self, connection, message):
            topics.subscribe(connection, "news")
            connection.send("fragm", last=False)
            topics.publish("news", "one")
            connection.send("ented")
            topics.publish("news", "two")

    async with serving(Fragmenting()) as (_, _, uri), connect(uri) as ws:
        await ws.send("begin")
        assert [await ws.recv() for _ in range(3)] == ["fragmented", "one", "two"]


@on_loop
async def test_message_published_while_a_listener_sends_fragments_in_several_turns_arrives_after_them():
    topics, connections = Topics(), []

    class Subscribing(Listener):
        def on_open(self, connection):
            topics.subscribe(connection, "news")
            connections.append(connection)

    async with serving(Subscribing()) as (_, _, uri), connect(uri) as ws:
        await until(lambda: connections)
        connections[0].send("fragm", last=False)
        assert topics.publish("news", "held") == 1
        for fragment in ("en", "t"):
            for _ in range(5):
                await asyncio.sleep(0)
            connections[0].send(fragment, last=False)
        connections[0].send("ed")
        assert [await asyncio.wait_for(ws.recv(), 10) for _ in range(2)] == ["fragmented", "held"]


@pytest.mark.parametrize("policy", ["close", "drop", "latest"])
@on_loop
async def test_message_published_while_a_listener_sends_fragments_keeps_its_order_if_they_fill_the_transport(policy):
    topics, connections = Topics(policy=policy), []

    class Subscribing(Listener):
        def on_open(self, connection):
            topics.subscribe(connection, "news")
            connections.append(connection)

    async with serving(Subscribing(), compression=None) as (_, port, _), raw(port, limit=1024) as peer:
        await peer.upgrade()
        (connection,) = connections
        connection.send("fragm", last=False)
        assert topics.publish("news", "held") == 1
        connection.send("x" * 5_000_000, last=False)
        connection.send("x" * 5_000_000)
        assert connection.full
        connection.send("next")
        await asyncio.wait_for(peer.read_event(), 10)
        rest = [await asyncio.wait_for(peer.read_event(), 10) for _ in range(2)]
        # The newest message of a topic waits until there is room.
        assert rest == (["next", "held"] if policy == "latest" else ["held", "next"])
        assert topics.counters.sent == 1


@on_loop
async def test_message_that_a_connection_cannot_send_reaches_all_others(caplog):
    topics = Topics()

    class Subscribing(Listener):
        def on_open(self, connection):
            topics.subscribe(connection, "news")

    async def subscribe(ws):
        topics.subscribe(ws, "news")
        await ws.wait_closed()

    async with (
        serving(subscribe) as (_, _, one),
        serving(subscribe, max_send_size=5) as (_, _, small),
        serving(Subscribing(), max_send_size=5) as (_, _, small_listener),
        serving(Subscribing()) as (_, _, listener),
        AsyncExitStack() as stack,
    ):
        clients = []
        for uri in (one, small, small_listener, listener, one):
            clients.append(await stack.enter_async_context(connect(uri)))
            await until(lambda: len(topics.subscribers("news")) == len(clients))
        assert topics.publish("news", "large.") == 3
        assert topics.publish("news", "small") == 5
        assert [await client.recv() for client in clients[1:3]] == ["small", "small"]
        for client in (clients[0], clients[3], clients[4]):
            assert [await client.recv(), await client.recv()] == ["large.", "small"]
    text = "skipped broadcast: a message to send has at most 5 bytes, not 6"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [text, text]


@on_loop
async def test_subscribing_before_the_opening_handshake_is_an_error():
    topics, errors = Topics(), []

    def process_request(connection, request):
        try:
            topics.subscribe(connection, "news")
        except StateError as error:
            errors.append(str(error))

    async with serving(process_request=process_request) as (_, _, uri), connect(uri):
        pass
    assert errors == ["the opening handshake is not done"]
    assert topics.subscribers("news") == []


def test_topics_have_the_connections_of_several_event_loops():
    topics = Topics()

    @on_loop
    async def subscribe_on_one():
        async with pairs(1) as ((one,), (client,)):
            topics.subscribe(one, "news")
            await asyncio.to_thread(subscribe_on_other, one)
            assert topics.subscribers("news") == [one]
            assert [await client.recv() for _ in range(2)] == ["to both", "to one"]

    @on_loop
    async def subscribe_on_other(one):
        async with pairs(1) as ((other,), (client,)):
            with pytest.raises(ValueError, match="^the connection belongs to another event loop$"):
                topics.subscribe(one, "more")
            topics.subscribe(other, "news")
            assert topics.subscribers("news") == [one, other]
            assert topics.topics_of(one) == topics.topics_of(other) == ["news"]
            assert topics.publish("news", "to both") == 2
            assert topics.publish("news", "to one", exclude=other) == 1
            assert topics.publish("news", "to other", exclude=one) == 1
            assert [await client.recv() for _ in range(2)] == ["to both", "to other"]

    subscribe_on_one()
    subscribe_on_one()  # new loops, after those of the first call are closed
    assert len(topics._topics._loops) == 2
    assert (topics.counters.published, topics.counters.sent) == (6, 8)


@pytest.mark.parametrize("options", [{"patterns": "glob"}, {"policy": "ignore"}, {"compression": "gzip"}])
def test_invalid_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options.values()))):
        Topics(**options)


def test_invalid_messages_and_topics_are_refused():
    topics = Topics(patterns="mqtt")
    for publish in (topics.publish, topics.publish_threadsafe):
        for topic, message, error in [
            ("a/+", "x", ValueError), ("", "x", ValueError), (1, "x", TypeError), ("a", ["x"], TypeError),
            ("a", "\ud800", framewire.TextError),
        ]:  # fmt: skip
            with pytest.raises(error):
                publish(topic, message)
    topics.publish_threadsafe("a", "to nobody")


# One write for each receiver


@pytest.fixture
def writes(monkeypatch):
    """Return a list of the sizes of all writes of sessions."""
    sizes, push = [], TransportWriter._push

    def count(self):
        sizes.append(self._session.output_size)
        push(self)

    monkeypatch.setattr(TransportWriter, "_push", count)
    return sizes


@on_loop
async def test_messages_of_one_turn_leave_as_one_write_for_each_receiver(writes):
    topics = Topics()
    async with pairs(3) as (connections, clients):
        for connection in connections:
            topics.subscribe(connection, "news")
        writes.clear()
        for number in range(10):
            topics.publish("news", str(number))
        assert writes == []
        await asyncio.sleep(0)
        assert writes == [30, 30, 30]
        await asyncio.sleep(0)
        topics.publish("news", "10")
        await asyncio.sleep(0)
        assert len(writes) == 6
        for client in clients:
            assert [await client.recv() for _ in range(11)] == [str(number) for number in range(11)]


@on_loop
async def test_much_output_does_not_wait_for_the_end_of_the_turn(writes):
    topics = Topics(compression=None)
    async with pairs(1) as ((one,), (client,)):
        topics.subscribe(one, "news")
        writes.clear()
        for _ in range(4):
            topics.publish("news", bytes(MAX_CORKED // 2 + 1))
        assert len(writes) == 2
        assert [await client.recv() for _ in range(4)] == [bytes(MAX_CORKED // 2 + 1)] * 4


@on_loop
async def test_messages_keep_the_order_of_the_calls_among_own_ones():
    topics = Topics()
    long = "long " * 20_000  # compressed in steps
    async with pairs(1, max_size=None) as ((one,), (client,)):
        topics.subscribe(one, "news")
        for number in range(30):
            texts = [f"own {number}", f"topic {number} " + "x" * 100, f"large {number} " + "y" * 40_000, long, "topic"]
            for text in texts:
                if text.startswith("topic"):
                    topics.publish("news", text)
                else:
                    await one.send(text)
            assert [await client.recv() for _ in texts] == texts


# Receivers that are slow


@on_loop
async def test_slow_receiver_is_closed_and_the_others_get_all():
    slow_ones = []
    topics = Topics(on_slow=lambda *arguments: slow_ones.append(arguments))
    async with slow_pair() as (slow, peer), pairs(1) as ((fast,), (client,)):
        topics.subscribe(slow, "news")
        topics.subscribe(fast, "news")
        sent = 0
        while slow.state is State.OPEN:
            topics.publish("news", bytes(100_000) + str(sent).encode())
            assert await client.recv() == bytes(100_000) + str(sent).encode()
            sent += 1
        assert slow_ones == [(slow, "news", "closed")]
        assert topics.counters.closed == 1
        close = framewire.Close(1013, "reading too slowly")
        events = await drain(peer, close)
        assert events == [bytes(100_000) + str(number).encode() for number in range(sent - 1)] + [close]
        assert topics.publish("news", "last") == 1
        assert await client.recv() == "last"
    assert members_of(topics)._waiting == {}


@on_loop
async def test_messages_to_a_slow_receiver_are_dropped():
    slow_ones = []
    topics = Topics(policy="drop", compression=None, on_slow=lambda *arguments: slow_ones.append(arguments))
    async with slow_pair() as (slow, peer):
        topics.subscribe(slow, "news")
        sent = 0
        while topics.counters.dropped < 10:
            topics.publish("news", bytes(100_000) + str(sent).encode())
            sent += 1
            await asyncio.sleep(0)
        assert set(slow_ones) == {(slow, "news", "dropped")}
        assert len(slow_ones) == topics.counters.dropped
        kept = [bytes(100_000) + str(number).encode() for number in range(topics.counters.sent)]
        assert await drain(peer, kept[-1]) == kept
        await until(lambda: not slow._session.write_paused)
        topics.publish("news", "again")
        assert await peer.read_event() == "again"
        assert topics.counters.published == topics.counters.sent + topics.counters.dropped


@on_loop
async def test_newest_message_of_each_topic_reaches_a_slow_receiver():
    slow_ones = []
    topics = Topics(policy="latest", on_slow=lambda *arguments: slow_ones.append(arguments[1:]))
    async with slow_pair() as (slow, peer):
        topics.subscribe(slow, "price/a")
        topics.subscribe(slow, "price/b")
        while not slow._session.write_paused:
            await slow.send(bytes(100_000))
        while topics.counters.held < 1:  # up to write_limit is sent
            topics.publish("price/a", bytes(10_000), text=False)
            await asyncio.sleep(0)
        for number in range(50):
            assert topics.publish("price/a", f"a{number}") == 1
            assert topics.publish("price/b", f"b{number}") == 1
        assert topics.counters.replaced == 99
        assert slow_ones[-1] == ("price/b", "replaced")
        events = await drain(peer, "b49")
        assert [event for event in events if isinstance(event, str)] == ["a49", "b49"]
        await until(lambda: members_of(topics)._waiting == {})


@on_loop
async def test_connection_that_ends_while_messages_are_held_leaves_no_task():
    topics = Topics(policy="latest")
    async with slow_pair(close_timeout=0.1) as (slow, _):
        topics.subscribe(slow, "news")
        while not topics.counters.held:
            topics.publish("news", bytes(1 << 20))
            await asyncio.sleep(0)
        assert len(members_of(topics)._waiting) == 1
        slow.transport.abort()
        await slow.wait_closed()
        await until(lambda: members_of(topics)._waiting == {})
        assert members_of(topics)._delivery._backlogs == {}


@on_loop
async def test_connection_that_ends_in_the_turn_in_which_a_message_is_held_leaves_no_task():
    topics = Topics()

    async def fragments():
        yield "fragm"
        await asyncio.Event().wait()

    async with pairs(1) as ((one,), _):
        topics.subscribe(one, "news")
        sending = asyncio.ensure_future(one.send(fragments()))
        await until(lambda: one._session.stream.message_open)
        members = members_of(topics)
        one.transport.abort()
        assert topics.publish("news", "held") == 1
        assert len(members._waiting) == 1
        await one.wait_closed()
        await until(lambda: members._waiting == members._connections == {})
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def fragments(gate):
    yield "fragm"
    await gate.wait()
    yield "ented"


@on_loop
async def test_message_during_a_fragmented_one_arrives_after_it():
    topics, gate = Topics(), asyncio.Event()

    async with pairs(1) as ((one,), (client,)):
        topics.subscribe(one, "news")
        sending = asyncio.ensure_future(one.send(fragments(gate)))
        await until(lambda: one._session.stream.message_open)
        for number in range(3):
            assert topics.publish("news", str(number)) == 1
        gate.set()
        assert [await client.recv() for _ in range(4)] == ["fragmented", "0", "1", "2"]
        await sending
        assert topics.counters.held == 3


@on_loop
async def test_held_messages_and_waiting_senders_keep_their_order():
    topics, gate = Topics(), asyncio.Event()

    async def publish_and_send(one):
        topics.publish("news", "held")
        await one.send("after it")

    async with pairs(1) as ((one,), (client,)):
        topics.subscribe(one, "news")
        sending = asyncio.ensure_future(one.send(fragments(gate)))
        await until(lambda: one._session.stream.message_open)
        before = asyncio.ensure_future(one.send("before it"))
        await asyncio.sleep(0)
        after = asyncio.ensure_future(publish_and_send(one))
        await asyncio.sleep(0)
        gate.set()
        assert [await client.recv() for _ in range(4)] == ["fragmented", "before it", "held", "after it"]
        await asyncio.gather(sending, before, after)
        assert not one._writer.blocked


@on_loop
async def test_message_held_while_a_listener_sends_fragments_arrives_after_the_last_one():
    topics, opened = Topics(), []

    class Remembering(Listener):
        def on_open(self, connection):
            opened.append(connection)
            topics.subscribe(connection, "news")

    async with serving(Remembering()) as (_, _, uri), connect(uri) as ws:
        await until(lambda: opened)
        (connection,) = opened
        connection.send("fragm", last=False)
        topics.publish("news", "held")
        await asyncio.sleep(0.01)  # no turn of the event loop releases it
        connection.send("ented")
        connection.send("after it")
        assert [await ws.recv() for _ in range(3)] == ["fragmented", "held", "after it"]


@on_loop
async def test_callback_may_change_subscriptions_and_its_exceptions_are_logged(caplog):
    def on_slow(connection, topic, outcome):
        topics.unsubscribe(connection, topic)
        topics.unsubscribe(fast, topic)
        raise ZeroDivisionError

    topics = Topics(policy="drop", on_slow=on_slow)
    async with slow_pair() as (slow, _), pairs(1) as ((fast,), (client,)):
        topics.subscribe(slow, "news")
        topics.subscribe(fast, "news")
        while not topics.counters.dropped:
            topics.publish("news", bytes(1 << 20))
            await client.recv()
        assert topics.subscribers("news") == []
        slow.transport.abort()
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["on_slow failed"]


@on_loop
async def test_published_messages_are_logged_at_debug(caplog):
    caplog.set_level("DEBUG", "framewire.server")
    topics = Topics(compression=None)
    async with pairs(2) as (connections, clients):
        for connection in connections:
            topics.subscribe(connection, "news")
        topics.publish("news", "one")
        broadcast(connections, "two")
        broadcast(connections, "three")
        for client in clients:
            assert [await client.recv() for _ in range(3)] == ["one", "two", "three"]
    sent = [record.getMessage() for record in caplog.records if record.getMessage().startswith("> TEXT")]
    assert sorted(sent) == sorted(["> TEXT 'one' [3 bytes]", "> TEXT 'two' [3 bytes]", "> TEXT 'three' [5 bytes]"] * 2)


# Everything at once


@pytest.mark.parametrize("policy", ["close", "drop", "latest"])
@on_loop
async def test_receivers_that_keep_up_get_all_whatever_happens_to_others(policy):
    source, topics = random.Random(policy), Topics(patterns="mqtt", policy=policy)
    patterns = {"a/+": ("a/1", "a/2"), "a/1": ("a/1",), "#": ("a/1", "a/2", "b"), "b": ("b",)}
    expected, received = {}, {}

    async def read(connection, client):
        received[connection] = [message async for message in client]

    async with serving(receive_nothing) as (server, port, uri), AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(raw(port, limit=1024)) for _ in range(3)]
        for peer in slow:
            await peer.upgrade()
        readers = []
        for number in range(400):
            healthy = [each for each in expected if each.state is State.OPEN]
            action = source.randrange(20)
            if action == 0 and len(healthy) < 12:
                known, client = set(server.connections), await stack.enter_async_context(connect(uri))
                await until(lambda known=known: len(server.connections - known) == 1)
                (connection,) = server.connections - known
                expected[connection] = []
                readers.append(asyncio.ensure_future(read(connection, client)))
            elif action == 1 and len(healthy) > 6:
                await source.choice(healthy).close()
            elif action == 2 and healthy:
                topics.unsubscribe(source.choice(healthy), source.choice(list(patterns)))
            elif action < 6 and server.connections:
                for connection in server.connections:
                    if connection.state is State.OPEN and (connection not in expected or not source.randrange(4)):
                        topics.subscribe(connection, source.choice(list(patterns)))
            elif action < 8 and healthy:
                connection = source.choice(healthy)
                await connection.send(f"own {number}")
                expected[connection].append(f"own {number}")
            else:
                topic, text = source.choice(["a/1", "a/2", "b"]), f"{number} " + "x" * source.choice([10, 1000, 60_000])
                for connection in healthy:
                    if any(topic in patterns[pattern] for pattern in topics.topics_of(connection)):
                        expected[connection].append(text)
                topics.publish(topic, text)
                if source.randrange(3) == 0:
                    await asyncio.sleep(0.001)  # the clients read
        for connection in expected:
            await connection.close()
        await asyncio.gather(*readers)
        for peer in slow:
            peer.writer.transport.abort()
    assert received == expected
    assert sum(map(len, received.values())) > 200
    members = members_of(topics)
    assert members._connections == members._waiting == members._delivery._backlogs == {}
    assert members.tree._root.children == {}


# Threads


@on_loop
async def test_threads_publish_in_the_order_of_their_calls():
    topics = Topics()
    async with pairs(2) as (connections, clients):
        for connection in connections:
            topics.subscribe(connection, "news")

        def publish(name):
            for number in range(200):
                topics.publish_threadsafe("news", f"{name} {number}")
                topics.publish_threadsafe("news", "not to all", exclude=connections)

        threads = [threading.Thread(target=publish, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for client in clients:
            got = [(await client.recv()).split() for _ in range(400)]
            for name in "ab":
                assert [int(number) for sender, number in got if sender == name] == list(range(200))
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        await until(lambda: topics.counters.published == 800)
