"""`Topics` of every API over real sockets; its rules are tested in `session/test_topic_rules.py`."""

import asyncio
import contextlib
import functools
import random
import threading
from contextlib import ExitStack, contextmanager

import pytest
import trio
from backends import needed
from drivers import trio_server_of_thread
from ends import client_side, server_side
from sync_ends import Raw, on_loop_of_thread, until
from sync_ends import serving as serving_threads

import framewire
import framewire.asyncio
import framewire.sync
import framewire.trio
from framewire import ConnectionClosed, State, StateError

pytestmark = pytest.mark.both_backends


class World:
    """A server of one API in another thread, whose connections receive nothing but the end."""

    def __init__(self, tls):
        self.tls = tls
        self.connections = []
        self.port = None

    def connect(self, **options):
        """Return a client, and its connection of the server."""
        known = len(self.connections)
        if self.tls:
            options["ssl"] = client_side()
        scheme = "wss" if self.tls else "ws"
        client = framewire.sync.connect(f"{scheme}://127.0.0.1:{self.port}/", proxy=None, **options)
        until(lambda: len(self.connections) > known)
        return client, self.connections[known]

    @contextmanager
    def pairs(self, number):
        """Give connections of the server, and their clients, in the same order."""
        with ExitStack() as stack:
            pairs = [self.connect() for _ in range(number)]
            for client, _ in pairs:
                stack.enter_context(client)
            yield [connection for _, connection in pairs], [client for client, _ in pairs]

    @contextmanager
    def slow_pair(self):
        """Give a connection whose peer reads only when it is told to, and that peer."""
        known = len(self.connections)
        with Raw(self.port, max_message_size=None, auto_close=False) as peer:
            until(lambda: len(self.connections) > known)
            yield self.connections[known], peer


class Threads(World):
    """`framewire.sync`."""

    Topics = framewire.sync.Topics

    @contextmanager
    def serve(self, **options):
        def handler(connection):
            self.connections.append(connection)
            connection.wait_closed()

        with serving_threads(handler, **options) as (_, self.port, _):
            yield

    def call(self, function, *args, **kwargs):
        """Call a function, or a coroutine function, where the connections are."""
        return function(*args, **kwargs)

    start_close = staticmethod(framewire.sync.Connection.start_closing)

    def abort(self, connection):
        connection._driver.transport.abort()


class Trio(World):
    """`framewire.trio`."""

    Topics = framewire.trio.Topics

    @contextmanager
    def serve(self, **options):
        async def handler(connection):
            self.connections.append(connection)
            await connection.wait_closed()

        async def serve(task_status):
            self._token = trio.lowlevel.current_trio_token()
            await framewire.trio.serve(handler, 0, host="127.0.0.1", task_status=task_status, **options)

        with trio_server_of_thread(serve) as server:
            self.port = server.listeners[0].socket.getsockname()[1]
            yield

    def call(self, function, *args, **kwargs):
        async def run():
            result = function(*args, **kwargs)
            return await result if hasattr(result, "__await__") else result

        return trio.from_thread.run(run, trio_token=self._token)

    def abort(self, connection):
        self.call(connection._driver.scope.cancel)


class Asyncio(World):
    """`framewire.asyncio`."""

    Topics = framewire.asyncio.Topics
    new_loop = staticmethod(asyncio.new_event_loop)

    @contextmanager
    def serve(self, **options):
        async def handler(connection):
            self.connections.append(connection)
            await connection.wait_closed()

        @contextlib.asynccontextmanager
        async def serve():
            self._loop = asyncio.get_running_loop()
            async with framewire.asyncio.serve(handler, "127.0.0.1", 0, **options) as server:
                yield server

        with on_loop_of_thread(serve, self.new_loop) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield

    def call(self, function, *args, **kwargs):
        async def run():
            result = function(*args, **kwargs)
            return await result if hasattr(result, "__await__") else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    def abort(self, connection):
        self.call(connection.transport.abort)


class Uvloop(Asyncio):
    """`framewire.asyncio` on uvloop."""

    @staticmethod
    def new_loop():
        return needed("uvloop").new_event_loop()


@pytest.fixture(params=["threads", "threads tls", "trio", "trio tls", "asyncio", "asyncio tls", "uvloop"])
def world(request):
    kind, _, tls = request.param.partition(" ")
    world = {"threads": Threads, "trio": Trio, "asyncio": Asyncio, "uvloop": Uvloop}[kind](bool(tls))
    with world.serve(ssl=server_side() if tls else None):
        yield world


without_tls = pytest.mark.parametrize("world", ["threads", "trio", "asyncio", "uvloop"], indirect=True)


@pytest.fixture
def topics(world):
    """Return a function that makes `Topics`, whose methods are called where the connections are."""
    return lambda **options: CalledTopics(world, world.Topics(**options))


class CalledTopics:
    """The methods of `Topics`, to be called from the thread of the test."""

    def __init__(self, world, topics):
        self.raw = topics
        self._world = world

    @property
    def counters(self):
        return self.raw.counters

    def __getattr__(self, name):
        return functools.partial(self._world.call, getattr(self.raw, name))

    @property
    def _members(self):
        members = self.raw._topics
        return members._loops[0] if hasattr(members, "_loops") else members  # of the only event loop

    @property
    def members(self):
        return self._members._connections

    @property
    def backlogs(self):
        return self._members._delivery._backlogs


def messages_of(client):
    """Return the messages that a client receives, up to "end"."""
    messages = []
    while (message := client.recv(20)) != "end":
        messages.append(message)
    return messages


def publish_until(topics, condition, size=1 << 20):
    """Publish messages until a condition holds; return them."""
    messages = []
    while not condition():
        messages.append(f"{len(messages)} " + "x" * size)
        topics.publish("news", messages[-1])
    return messages


def drain(peer, last):
    """Return the events of a peer up to `last`."""
    events = []
    while not events or events[-1] != last:
        events.append(peer.read_event())
    return events


# Who gets a message


def test_publish_reaches_the_subscribers_of_a_topic(world, topics):
    topics = topics()
    with world.pairs(3) as ((one, two, three), clients):
        assert topics.subscribe(one, "news")
        assert topics.subscribe(two, "news")
        assert topics.subscribe(three, "sport")
        assert not topics.subscribe(three, "sport")
        assert topics.publish("news", "a") == 2
        assert topics.publish("sport", b"b", text=True) == 1
        assert topics.publish("other", "c") == 0
        assert topics.unsubscribe(one, "news")
        assert not topics.unsubscribe(one, "news")
        assert topics.publish("news", b"d") == 1
        for connection in (one, two, three):
            world.call(connection.send, "end")
        assert [messages_of(client) for client in clients] == [["a"], ["a", b"d"], ["b"]]
        assert topics.subscribers("news") == [two]
        assert topics.topics_of(three) == ["sport"]
        assert (topics.counters.published, topics.counters.sent) == (4, 4)


def test_patterns_reach_each_subscriber_once(world, topics):
    topics = topics(patterns="mqtt")
    with world.pairs(2) as ((one, two), clients):
        for pattern in ("room/+/said", "room/#", "room/1/said"):
            topics.subscribe(one, pattern)
        topics.subscribe(two, "room/2/#")
        reached = [topics.publish(topic, topic) for topic in ("room/1/said", "room/2/said", "room", "roof")]
        assert reached == [1, 2, 1, 0]
        for connection in (one, two):
            world.call(connection.send, "end")
        assert [messages_of(client) for client in clients] == [["room/1/said", "room/2/said", "room"], ["room/2/said"]]
        with pytest.raises(ValueError, match="wildcards"):
            topics.publish("room/+", "x")
        assert topics.counters.published == 4


def test_excluded_connections_do_not_get_the_message(world, topics):
    topics = topics()
    with world.pairs(3) as (connections, clients):
        for connection in connections:
            topics.subscribe(connection, "news")
        assert topics.publish("news", "not to 0", exclude=connections[0]) == 2
        assert topics.publish("news", "only to 2", exclude=connections[:2]) == 1
        assert topics.publish("news", "end") == 3
        assert [messages_of(client) for client in clients] == [[], ["not to 0"], ["not to 0", "only to 2"]]


@pytest.mark.parametrize("by_peer", [True, False])
def test_connection_that_ends_leaves_all_topics(by_peer, world, topics):
    topics = topics()
    with world.pairs(2) as ((one, two), clients):
        for topic in ("news", "sport"):
            topics.subscribe(one, topic)
            topics.subscribe(two, topic)
        if by_peer:
            clients[0].close()
        else:
            world.call(one.start_closing)
        world.call(one.wait_closed)
        assert topics.subscribers("news") == topics.subscribers("sport") == [two]
        assert topics.topics_of(one) == []
        assert topics.publish("news", "a") == 1
        with pytest.raises(ConnectionClosed):
            topics.subscribe(one, "news")
        assert clients[1].recv() == "a"
    world.call(two.wait_closed)
    assert topics.members == {}


def test_closing_connection_gets_no_more_messages(world, topics):
    topics = topics()
    with world.pairs(1) as ((one,), (client,)):
        topics.subscribe(one, "news")
        topics.publish("news", "before")
        world.call(one.start_closing)
        assert topics.publish("news", "after") == 0
        assert list(client) == ["before"]


@pytest.mark.parametrize("api", ["sync", "trio"])
def test_subscribing_before_the_opening_handshake_is_an_error(api):
    topics, errors = getattr(framewire, api).Topics(), []

    def process_request(connection, request):
        with pytest.raises(StateError, match="the opening handshake is not done") as raised:
            topics.subscribe(connection, "news")
        errors.append(raised)

    world = {"sync": Threads, "trio": Trio}[api](False)

    async def process_request_on_trio(connection, request):
        process_request(connection, request)

    with world.serve(process_request=process_request if api == "sync" else process_request_on_trio):
        world.connect()[0].close()
    assert len(errors) == 1
    assert topics.subscribers("news") == []


@pytest.mark.parametrize("options", [{"patterns": "glob"}, {"policy": "ignore"}, {"compression": "gzip"}])
@pytest.mark.parametrize("api", ["sync", "trio"])
def test_invalid_options_are_refused(api, options):
    with pytest.raises(ValueError, match=next(iter(options.values()))):
        getattr(framewire, api).Topics(**options)


# Receivers that are slow


@without_tls
def test_slow_receiver_is_closed_and_the_others_get_all(world, topics):
    slow_ones = []
    topics = topics(on_slow=lambda *arguments: slow_ones.append(arguments))
    with world.slow_pair() as (slow, peer), world.pairs(1) as ((fast,), (client,)):
        topics.subscribe(slow, "news")
        topics.subscribe(fast, "news")
        sent = 0
        while slow.state is State.OPEN:
            topics.publish("news", bytes(100_000) + str(sent).encode())
            assert client.recv(20) == bytes(100_000) + str(sent).encode()
            sent += 1
        assert slow_ones == [(slow, "news", "closed")]
        assert topics.counters.closed == 1
        close = framewire.Close(1013, "reading too slowly")
        assert drain(peer, close) == [bytes(100_000) + str(number).encode() for number in range(sent - 1)] + [close]
        assert topics.publish("news", "last") == 1
        assert client.recv(20) == "last"


@without_tls
def test_messages_to_a_slow_receiver_are_dropped(world, topics):
    slow_ones = []
    topics = topics(policy="drop", compression=None, on_slow=lambda *arguments: slow_ones.append(arguments))
    with world.slow_pair() as (slow, peer):
        topics.subscribe(slow, "news")
        messages = publish_until(topics, lambda: topics.counters.dropped >= 10, 100_000)
        assert slow_ones == [(slow, "news", "dropped")] * topics.counters.dropped
        kept = messages[: topics.counters.sent]
        assert drain(peer, kept[-1]) == kept
        until(lambda: not slow._session.write_paused)
        topics.publish("news", "again")
        assert peer.read_event() == "again"
        assert topics.counters.published == topics.counters.sent + topics.counters.dropped


@without_tls
def test_newest_message_of_each_topic_reaches_a_slow_receiver(world, topics):
    slow_ones = []
    topics = topics(policy="latest", on_slow=lambda *arguments: slow_ones.append(arguments[1:]))
    with world.slow_pair() as (slow, peer):
        for topic in ("news", "price/a", "price/b"):
            topics.subscribe(slow, topic)
        publish_until(topics, lambda: topics.counters.held)
        for number in range(50):
            assert topics.publish("price/a", f"a{number}") == 1
            assert topics.publish("price/b", f"b{number}") == 1
        assert topics.counters.replaced == 98
        assert slow_ones[-1] == ("price/b", "replaced")
        assert drain(peer, "b49")[-2:] == ["a49", "b49"]
        until(lambda: topics.backlogs == {})
        assert topics.counters.sent == topics.counters.published - topics.counters.replaced


@without_tls
def test_messages_held_while_a_send_waits_follow_its_message(world, topics):
    topics, long = topics(policy="latest"), "long" * (1 << 22)
    with world.slow_pair() as (slow, peer):
        topics.subscribe(slow, "news")
        sending = threading.Thread(target=world.call, args=(slow.send, long))
        sending.start()
        until(lambda: slow._session.write_paused)
        messages = publish_until(topics, lambda: topics.counters.held, 20_000)
        assert drain(peer, messages[-1]) == [long, *messages]
        sending.join()


@without_tls
def test_connection_that_ends_while_messages_are_held_is_forgotten(world, topics):
    topics = topics(policy="latest")
    with world.slow_pair() as (slow, _):
        topics.subscribe(slow, "news")
        publish_until(topics, lambda: topics.counters.held)
        assert len(topics.backlogs) == 1
        world.abort(slow)
        world.call(slow.wait_closed)
        assert topics.members == topics.backlogs == {}


def test_message_during_a_fragmented_one_arrives_after_it(world, topics):
    topics = topics()

    def fragments():
        yield "fr"
        yield "agm"  # is taken before the first one is sent
        for number in range(3):
            publish(str(number))
        yield "ented"

    async def fragments_on_trio():
        for piece in ("fr", "agm"):
            yield piece
        for number in range(3):
            assert await topics.raw.publish("news", str(number)) == 1
        yield "ented"

    def publish(text):
        assert topics.raw.publish("news", text) == 1

    with world.pairs(1) as ((one,), (client,)):
        topics.subscribe(one, "news")
        world.call(one.send, fragments_on_trio() if isinstance(world, Trio) else fragments())
        assert [client.recv(20) for _ in range(4)] == ["fragmented", "0", "1", "2"]
        assert topics.counters.held == topics.counters.sent == 3


@without_tls
def test_callback_may_change_subscriptions_and_its_exceptions_are_logged(world, topics, caplog):
    def on_slow(connection, topic, outcome):
        topics.raw.unsubscribe(connection, topic)
        topics.raw.unsubscribe(fast, topic)
        raise ZeroDivisionError

    topics = topics(policy="drop", on_slow=on_slow)
    with world.slow_pair() as (slow, _), world.pairs(1) as ((fast,), (client,)):
        topics.subscribe(slow, "news")
        topics.subscribe(fast, "news")
        while not topics.counters.dropped:
            topics.publish("news", bytes(1 << 20))
            client.recv(20)
        assert topics.subscribers("news") == []
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["on_slow failed"]


def test_burst_makes_no_receiver_slow_that_reads(world, topics):
    topics = topics(compression=None)

    async def publish_together():
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(topics.raw.publish, "news", f"{number:03d}" + "x" * 5000)

    with world.pairs(3) as (connections, clients):
        for connection in connections:
            topics.subscribe(connection, "news")
        readers = [Reader(client, 200) for client in clients]
        if isinstance(world, Trio):
            world.call(publish_together)
        else:
            world.call(lambda: [topics.raw.publish("news", f"{number:03d}" + "x" * 5000) for number in range(200)])
        received = [reader.result() for reader in readers]
        assert received == [received[0]] * 3
        assert sorted(message[:3] for message in received[0]) == [f"{number:03d}" for number in range(200)]


class Reader:
    """A thread that receives a number of messages."""

    def __init__(self, client, number):
        self._messages = []
        self._thread = threading.Thread(target=self._read, args=(client, number))
        self._thread.start()

    def _read(self, client, number):
        for _ in range(number):
            self._messages.append(client.recv(20))

    def result(self):
        self._thread.join()
        return self._messages


# Threads


@pytest.mark.parametrize("world", ["threads", "threads tls"], indirect=True)
def test_all_receivers_get_the_messages_of_several_threads_in_the_same_order(world, topics):
    topics = topics()
    with world.pairs(3) as (connections, clients):
        for connection in connections:
            topics.subscribe(connection, "news")
        readers = [Reader(client, 800) for client in clients]

        def publish(name):
            for number in range(200):
                topics.publish("news", f"{name} {number}")

        publishers = [threading.Thread(target=publish, args=(name,)) for name in "abcd"]
        for thread in publishers:
            thread.start()
        received = [reader.result() for reader in readers]
        for thread in publishers:
            thread.join()
        assert received == [received[0]] * 3
        for name in "abcd":
            assert [text for text in received[0] if text[0] == name] == [f"{name} {number}" for number in range(200)]
        assert (topics.counters.published, topics.counters.sent) == (800, 2400)


@pytest.mark.parametrize("policy", ["close", "drop", "latest"])
@pytest.mark.parametrize("world", ["threads"], indirect=True)
def test_threads_that_join_leave_publish_and_end_lose_no_message(policy, world, topics):
    topics = topics(policy=policy, patterns="mqtt")
    stop = threading.Event()

    def publish(name):
        source, numbers = random.Random(name), {}
        while not stop.is_set():
            topic = source.choice(["a/1", "a/2"])
            numbers[topic] = numbers.get(topic, 0) + 1
            topics.publish(topic, f"{name} {topic} {numbers[topic]} " + "x" * source.choice([10, 3000]))

    def live(seed):
        """Check that a client that reads gets each number, and only rising ones if it does not read."""
        source, slow = random.Random(seed), seed % 3 == 0
        for _ in range(3):
            client, connection = connect()
            with contextlib.suppress(ConnectionClosed):
                topics.subscribe(connection, source.choice(["a/+", "a/1", "#"]))
                last = {}
                for _ in range(source.randrange(100)):
                    if slow and source.random() < 0.1:
                        stop.wait(0.05)
                    name, topic, number, _ = client.recv(20).split()
                    number, before = int(number), last.get((name, topic))
                    if before is not None:
                        assert number > before if slow and policy != "close" else number == before + 1
                    last[name, topic] = number
            source.choice([client.close, client._driver.abort])()
            client.close()
            ended.append(seed)

    connecting = threading.Lock()

    def connect():
        with connecting:
            return world.connect()

    ended, clients = [], [threading.Thread(target=live, args=(seed,)) for seed in range(6)]
    publishers = [threading.Thread(target=publish, args=(name,)) for name in "ab"]
    for thread in publishers + clients:
        thread.start()
    for thread in clients:
        thread.join()
    stop.set()
    for thread in publishers:
        thread.join()
    for connection in world.connections:
        connection.wait_closed()
    assert len(ended) == 18
    assert topics.members == topics.backlogs == {}
