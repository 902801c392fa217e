"""`serve(..., threads=2)`: one server in two event loops, over real sockets; `broadcast` and `Topics` over
both.
"""

import asyncio
import logging
import sys
import threading
from contextlib import AsyncExitStack, asynccontextmanager

import ends
import pytest
from ends import connect, on_loop, raw, serving, until

import framewire
from framewire import TrustedProxies
from framewire.asyncio import Listener, Topics, broadcast, serve, unix_serve
from framewire.asyncio.inbox import post

pytestmark = [
    pytest.mark.both_backends,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux distributes connections over sockets"),
]


@pytest.fixture(autouse=True, params=["asyncio", "asyncio tls", "uvloop"])
def network(request, monkeypatch):
    monkeypatch.setattr(ends, "network", request.param)
    return request.param


@pytest.fixture(autouse=True)
def no_thread_left():
    yield
    assert [thread for thread in threading.enumerate() if thread.name.startswith("framewire-server")] == []


def serving_in_two(handler=ends.echo, **options):
    return serving(handler, threads=2, allow_gil=True, **options)


async def wait_closed(ws):
    await ws.wait_closed()


@asynccontextmanager
async def connections_of_two(number=1, handler=wait_closed, **options):
    """Give a server, and for each of its loops, that of the test first, so many pairs of a connection
    and its client.
    """
    async with serving_in_two(handler, **options) as (server, _, uri), AsyncExitStack() as stack:
        pairs = {asyncio.get_running_loop(): []}
        known = set()
        while len(pairs) < 2 or any(len(each) < number for each in pairs.values()):
            client = await stack.enter_async_context(connect(uri))
            (connection,) = await until(lambda: server.connections - known)
            known.add(connection)
            if len(pairs.setdefault(connection.loop, [])) == number:
                await client.close()
                await until(lambda: connection not in server._everyone)  # noqa: B023
            else:
                pairs[connection.loop].append((connection, client))
        yield server, list(pairs.values())


def call_in(loop, function, *arguments, **options):
    """Call a function in another event loop; return an awaitable of its result."""

    async def call():
        return function(*arguments, **options)

    return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), loop))


# The server


@on_loop
async def test_handlers_run_in_the_thread_of_their_connection():
    async def send_name(ws):
        async for _ in ws:
            await ws.send(threading.current_thread().name)

    async with connections_of_two(2, send_name) as (server, pairs):
        names = set()
        for pairs_of_loop, name in zip(pairs, (threading.current_thread().name, "framewire-server-2"), strict=True):
            for connection, client in pairs_of_loop:
                await client.send("who?")
                assert await client.recv() == name
                assert connection.server is server
                names.add(name)
        assert len(names) == 2
        assert server.get_loop() is asyncio.get_running_loop()
        assert len({sock.getsockname() for sock in server.sockets}) == 1 < len(server.sockets)
        counters = server.counters()
        assert (counters.open, counters.counted["messages_received"]) == (4, 4)
    assert sum(server.counters().closes.values()) == server.counters().accepted
    assert server.connections == set()
    assert server.sockets == ()
    server.close()  # again, when the loops are closed
    await server.wait_closed()


@on_loop
async def test_handlers_of_both_loops_that_wait_for_the_server_do_not_wait_for_each_other():
    returned = []

    async def handler(ws):
        await ws.recv()
        ws.server.close()
        await ws.server.wait_closed()
        returned.append(threading.current_thread().name)

    async with connections_of_two(2, handler) as (server, pairs):
        for pairs_of_loop in pairs:
            for _, client in pairs_of_loop:
                await client.send("close")
        await asyncio.wait_for(server.wait_closed(), 10)
        assert len(returned) == 4


@on_loop
async def test_listener_gets_its_callbacks_in_the_thread_of_the_connection():
    class Naming(Listener):
        def on_message(self, connection, message):
            connection.send(threading.current_thread().name)

    async with connections_of_two(1, Naming()) as (_, pairs):
        answers = []
        for ((_, client),) in pairs:
            await client.send("who?")
            answers.append(await client.recv())
        assert answers == [threading.current_thread().name, "framewire-server-2"]


@on_loop
async def test_max_connections_counts_those_of_all_loops():
    async with connections_of_two(1, max_connections=2) as (server, pairs):
        for _ in range(4):
            with pytest.raises(Exception, match="503"):
                await connect(ends.address_of(server)[1])
        assert server.counters().refused_busy == 4
        ((_, other),) = pairs[1]
        await other.close()
        await until(lambda: len(server.connections) == 1)


@on_loop
async def test_handler_of_any_loop_closes_the_server():
    async def close_server(ws):
        async for message in ws:
            ws.server.close(code=4000 + int(message))

    for number in range(2):
        async with connections_of_two(1, close_server) as (server, pairs):
            ((_, client),) = pairs[number]
            await client.send(str(number))
            for ((_, each),) in pairs:
                await each.wait_closed()
                assert each.close_code == 4000 + number
            await server.wait_closed()


@on_loop
async def test_other_threads_wait_for_the_end_of_the_server():
    async with connections_of_two() as (server, _):
        waiting = asyncio.create_task(asyncio.to_thread(asyncio.run, server.wait_closed()))
        await asyncio.sleep(0)
        await asyncio.to_thread(server.close)
        await waiting
        assert server.connections == set()


@on_loop
async def test_timeout_of_close_ends_the_connections_of_all_loops():
    cancelled = []

    async def never_return(ws):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(ws.loop)
            raise

    async with connections_of_two(1, never_return) as (server, pairs):
        server.close(timeout=0)
        await server.wait_closed()
        assert set(cancelled) == {connection.loop for ((connection, _),) in pairs}


@pytest.mark.parametrize("proxies", [None, TrustedProxies(["127.0.0.1"], proxy_protocol=True)], ids=["", "PROXY"])
@on_loop
async def test_silent_clients_are_ended_in_all_loops(proxies, network):
    if "tls" in network and proxies is None:
        return  # the connection begins after the handshake of TLS
    async with serving_in_two(trusted_proxies=proxies) as (server, port, _), AsyncExitStack() as stack:
        parts, readers = server._loops.values(), []
        while not all(part.beginning or server._connections_of(part) for part in parts):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            readers.append(reader)
            await until(lambda: len(server._everyone) + sum(len(part.beginning) for part in parts) == len(readers))
        server.close()
        for reader in readers:
            assert (await reader.read()).startswith(b"HTTP/1.1 503 ") is (proxies is None)


@on_loop
async def test_tasks_that_a_handler_leaves_in_another_thread_are_cancelled():
    ends_of_tasks = []

    async def run_forever():
        try:
            await asyncio.Event().wait()
        finally:
            ends_of_tasks.append(threading.current_thread().name)

    async with connections_of_two() as (_, pairs):
        ((connection, _),) = pairs[1]
        await call_in(connection.loop, lambda: setattr(connection.server, "left", asyncio.ensure_future(run_forever())))
    assert ends_of_tasks == ["framewire-server-2"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_end_of_the_program_in_another_thread_ends_the_first_loop(error):
    def give_up():
        raise error

    @on_loop
    async def run():
        async with connections_of_two() as (_, pairs):
            ((connection, _),) = pairs[1]
            connection.loop.call_soon_threadsafe(give_up)
            await asyncio.sleep(20)

    loop = ends.new_loop()
    main = loop.create_task(run.__wrapped__())
    try:
        with pytest.raises(error):
            loop.run_until_complete(main)
        main.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(main)
    finally:
        loop.close()


@on_loop
async def test_all_loops_begin_to_accept_when_the_server_is_told_to():
    async with serving_in_two(start_serving=False) as (server, port, uri):
        with pytest.raises(OSError, match="refused|Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)
        await server.start_serving()
        loops = set()
        while len(loops) < 2:
            async with connect(uri):
                (connection,) = await until(lambda: server.connections)
                loops.add(connection.loop)
            await until(lambda: not server._everyone)


@on_loop
async def test_address_is_logged_once(caplog):
    caplog.set_level(logging.INFO, "framewire.server")
    async with serving_in_two():
        pass
    texts = [record.getMessage() for record in caplog.records]
    assert [text.rpartition(":")[0] for text in texts[:1]] == ["server listening on 127.0.0.1"]
    assert texts[1:] == ["server closing", "server closed"]


@on_loop
async def test_loops_share_a_unix_socket(tmp_path, network):
    if "tls" in network:
        return
    from framewire.asyncio import unix_connect

    path = str(tmp_path / "socket")
    async with unix_serve(ends.echo, path, threads=2, allow_gil=True) as server:
        assert len(server.sockets) == 2
        for _ in range(4):
            async with unix_connect(path) as ws:
                await ws.send("hello")
                assert await ws.recv() == "hello"


@on_loop
async def test_settings_of_the_event_loop_hold_in_all_threads():
    errors = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: errors.append((loop, context["exception"])))

    def fail():
        raise ValueError

    async with connections_of_two() as (_, pairs):
        ((connection, _),) = pairs[1]
        assert type(connection.loop) is type(loop)
        connection.loop.call_soon_threadsafe(fail)
        await until(lambda: errors)
    assert [(each, type(error)) for each, error in errors] == [(connection.loop, ValueError)]


@on_loop
async def test_server_of_which_a_loop_cannot_listen_is_closed(monkeypatch):
    listen = serve._listen

    async def listen_once(self, server, address):
        if asyncio.get_running_loop() is not server.get_loop():
            raise OSError("address in use")
        await listen(self, server, address)

    monkeypatch.setattr(serve, "_listen", listen_once)
    with pytest.raises(OSError, match="address in use"):
        await serve(ends.echo, "127.0.0.1", 0, threads=2, allow_gil=True)


@pytest.mark.parametrize(
    ("threads", "error", "text"),
    [
        (0, ValueError, "threads is 1 or more, not 0"),
        (True, TypeError, "threads is an integer, not bool"),
        (2.0, TypeError, "threads is an integer, not float"),
    ],
)
def test_invalid_numbers_of_threads_are_refused_at_once(threads, error, text):
    with pytest.raises(error, match=text):
        serve(ends.echo, threads=threads, allow_gil=True)


def test_several_threads_need_a_python_without_the_gil(monkeypatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
    with pytest.raises(RuntimeError, match=r"^threads=2 needs a free-threaded Python: .* use several processes"):
        serve(ends.echo, threads=2)
    serve(ends.echo, threads=1)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False)
    serve(ends.echo, threads=2)


# Messages to the connections of all loops


async def messages_of(client):
    """Return the messages that a client receives, up to "end"."""
    messages = []
    while (message := await client.recv()) != "end":
        messages.append(message)
    return messages


def flat(pairs):
    """Return the connections and the clients of `connections_of_two`."""
    connections, clients = zip(*(pair for each in pairs for pair in each), strict=True)
    return list(connections), list(clients)


async def subscribe(topics, connections, topic="news"):
    for connection in connections:
        await call_in(connection.loop, topics.subscribe, connection, topic)


@asynccontextmanager
async def slow_connection_of_other_loop(**options):
    """Give a connection of the second loop whose peer reads only when it is told to, and that peer."""
    async with serving_in_two(wait_closed, **options) as (server, port, _):
        while True:
            async with raw(port, limit=1024) as peer:
                await peer.upgrade()
                (connection,) = await until(lambda: server.connections)
                if connection.loop is not asyncio.get_running_loop():
                    yield connection, peer
                    return
            await until(lambda: not server._everyone)


@pytest.mark.parametrize("compression", ["shared", "own", None])
@on_loop
async def test_every_loop_and_thread_broadcasts_to_the_connections_of_all(compression):
    def send_all(name, connections):
        for number in range(20):
            broadcast(connections, f"{name} {number} " + "x" * 100, compression=compression)

    async with connections_of_two(2) as (server, pairs):
        connections, clients = flat(pairs)
        sending = [
            call_in(connections[-1].loop, send_all, "other loop", connections),
            asyncio.to_thread(send_all, "thread", connections),
        ]
        send_all("this loop", server.connections)
        await asyncio.gather(*sending)
        for client in clients:
            got = [await client.recv() for _ in range(60)]
            for name in ("other loop", "this loop", "thread"):
                own = [int(message.split()[-2]) for message in got if message.startswith(name)]
                assert own == list(range(20))


@pytest.mark.parametrize("compression", ["shared", "own", None])
@on_loop
async def test_message_for_another_loop_is_that_of_the_call(compression):
    async with connections_of_two() as (_, pairs):
        connections, clients = flat(pairs)
        topics = Topics(compression=compression)
        await subscribe(topics, connections)
        content = bytearray(b"before" * 20)
        broadcast(connections, content, compression=compression)
        topics.publish("news", content)
        content[:] = b"after!" * 20
        for client in clients:
            assert [await client.recv() for _ in range(2)] == [b"before" * 20] * 2


@pytest.mark.parametrize("compression", ["shared", "own", None])
def test_text_that_is_not_utf_8_is_refused_at_the_call(compression):
    topics = Topics(compression=compression)
    for text in ("\ud800", b"\xff"):
        with pytest.raises(framewire.TextError):
            broadcast([], text, text=True, compression=compression)
        with pytest.raises(framewire.TextError):
            topics.publish("news", text, text=True)


@on_loop
async def test_broadcasts_of_one_turn_wake_another_loop_once(monkeypatch):
    async with connections_of_two() as (_, pairs):
        connections, clients = flat(pairs)
        other, wakes, awake = connections[1].loop, [], threading.Event()
        call_soon_threadsafe = other.call_soon_threadsafe

        class Counting:
            """The other event loop, which counts how often it is woken."""

            def __getattr__(self, name):
                return getattr(other, name)

            def call_soon_threadsafe(self, callback, *arguments):
                wakes.append(callback)
                call_soon_threadsafe(callback, *arguments)

        call_soon_threadsafe(awake.wait, 20)
        monkeypatch.setattr(connections[1]._driver, "loop", Counting())
        for number in range(50):
            broadcast(connections, str(number))
        assert len(wakes) == 1
        monkeypatch.undo()
        awake.set()
        for client in clients:
            assert [await client.recv() for _ in range(50)] == [str(number) for number in range(50)]


@on_loop
async def test_error_in_another_loop_is_told_to_its_handler_and_loses_no_later_message():
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context["exception"]))
    async with connections_of_two() as (_, pairs):
        ((connection, client),) = pairs[1]
        post(connection.loop, lambda: 1 / 0)
        broadcast([connection], "later")
        assert await client.recv() == "later"
    assert [type(error) for error in errors] == [ZeroDivisionError]


@on_loop
async def test_message_that_a_connection_of_another_loop_cannot_send_is_logged_there(caplog):
    async with connections_of_two(max_send_size=5) as (_, pairs):
        ((connection, client),) = pairs[1]
        topics = Topics()
        post(connection.loop, topics.subscribe, connection, "news")
        await until(lambda: topics.subscribers("news"))
        broadcast([connection], "too long")
        topics.publish("news", "too long")
        broadcast([connection], "short")
        assert await client.recv() == "short"
    text = "skipped broadcast: a message to send has at most 5 bytes, not 8"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [text, text]


@on_loop
async def test_connection_of_another_loop_in_the_middle_of_fragments_is_left_out_and_logged(caplog):
    begun, ending = threading.Event(), []

    async def fragments():
        ending.append(asyncio.Event())
        yield "frag"
        begun.set()
        await ending[0].wait()
        yield "ments"

    async with connections_of_two() as (_, pairs):
        ((connection, client),) = pairs[1]
        sending = asyncio.run_coroutine_threadsafe(connection.send(fragments()), connection.loop)
        await until(begun.is_set)
        broadcast([connection], "skipped")
        await until(lambda: "skipped broadcast: sending a fragmented message" in caplog.text)
        await call_in(connection.loop, ending[0].set)
        await asyncio.wrap_future(sending)
        assert await client.recv() == "fragments"


@on_loop
async def test_connections_of_a_closed_loop_are_left_out():
    async with connections_of_two() as (_, pairs):
        connections, _ = flat(pairs)
    assert connections[1].loop.is_closed()
    broadcast(connections, "too late")


@on_loop
async def test_messages_of_a_topic_reach_the_subscribers_of_all_loops_except_those_excluded():
    topics = Topics(patterns="mqtt")
    async with connections_of_two(2) as (_, pairs):
        connections, clients = flat(pairs)
        for connection in connections:
            await subscribe(topics, [connection], "news/1")
            await subscribe(topics, [connection], "news/#")
        assert topics.unsubscribe(connections[3], "news/1")
        assert not topics.unsubscribe(connections[3], "news/1")
        assert topics.topics_of(connections[2]) == ["news/1", "news/#"]
        assert set(topics.subscribers("news/x")) == set(connections)
        assert topics.publish("news/1", "from 0", exclude=connections[0]) == 3
        other = connections[3]
        assert await call_in(other.loop, topics.publish, "news/1", "from 3", exclude=other) == 3
        assert await asyncio.to_thread(topics.publish, "news/1", "not to two", exclude=connections[1::2]) == 2
        assert await asyncio.to_thread(topics.publish, "news/1", "end") == 4
        got = [sorted(await messages_of(client)) for client in clients]
        assert got == [["from 3", "not to two"], ["from 0", "from 3"], ["from 0", "from 3", "not to two"], ["from 0"]]
        assert (topics.counters.published, topics.counters.sent) == (4, 12)
    assert topics.subscribers("news/1") == []


@pytest.mark.parametrize(("policy", "outcome"), [("close", "closed"), ("drop", "dropped"), ("latest", "replaced")])
@on_loop
async def test_policy_decides_about_a_slow_receiver_of_another_loop(policy, outcome):
    told = []
    topics = Topics(
        policy=policy,
        compression=None,
        on_slow=lambda *arguments: told.append((*arguments, threading.current_thread().name)),
    )
    async with slow_connection_of_other_loop(close_timeout=1) as (slow, peer):
        await subscribe(topics, [slow])
        sent = 0
        while not told:
            assert topics.publish("news", bytes(200_000) + str(sent).encode()) == 1
            sent += 1
            await call_in(slow.loop, lambda: None)
        assert told == [(slow, "news", outcome, "framewire-server-2")]
        counters = topics.counters
        assert getattr(counters, outcome) == 1
        expected = [bytes(200_000) + str(number).encode() for number in range(counters.sent)]
        if policy == "close":
            expected.append(framewire.Close(1013, "reading too slowly"))
        elif policy == "latest":
            expected.append(bytes(200_000) + str(sent - 1).encode())
        assert [await peer.read_event() for _ in expected] == expected


async def run_in_loops(function, connections):
    """Run a coroutine function with each connection, in its loop."""
    running = [asyncio.run_coroutine_threadsafe(function(each), each.loop) for each in connections]
    await asyncio.gather(*map(asyncio.wrap_future, running))


@pytest.mark.parametrize("compression", ["shared", "own"])
@on_loop
async def test_messages_of_each_publisher_arrive_in_order_while_all_loops_publish(compression):
    topics = Topics(compression=compression)
    async with connections_of_two(2) as (_, pairs):
        connections, clients = flat(pairs)
        await subscribe(topics, connections)

        async def publish(author):
            for number in range(30):
                topics.publish("news", f"{connections.index(author)} {number} " + "x" * 200, exclude=author)
                if number % 5 == 0:
                    await asyncio.sleep(0)

        await run_in_loops(publish, connections)
        for own, client in enumerate(clients):
            got = [(await client.recv()).split()[:2] for _ in range(90)]
            for author in {0, 1, 2, 3} - {own}:
                assert [int(number) for name, number in got if name == str(author)] == list(range(30))
        assert (topics.counters.published, topics.counters.sent) == (120, 360)


@on_loop
async def test_connections_that_close_while_all_loops_publish_miss_only_later_messages():
    topics = Topics()
    async with connections_of_two(3) as (_, pairs):
        connections, clients = flat(pairs)
        await subscribe(topics, connections)

        async def publish(author):
            name = connections.index(author)
            for number in range(40):
                topics.publish("news", f"{name} {number}")
                broadcast(connections, f"to all {name} {number}")
                await asyncio.sleep(0)

        async def receive(client, closing):
            got = []
            async for message in client:
                got.append(message)
                if closing and len(got) == 20:
                    await client.close()
                elif len(got) == 160:
                    break
            return got

        receiving = asyncio.gather(*(receive(client, number % 3 == 0) for number, client in enumerate(clients)))
        await run_in_loops(publish, connections[1::3])
        for got in await receiving:
            for name in ("1", "4", "to all 1", "to all 4"):
                numbers = [int(message.split()[-1]) for message in got if message.rpartition(" ")[0] == name]
                assert numbers == list(range(len(numbers)))
        await until(lambda: len(topics.subscribers("news")) == 4)
        assert set(topics.subscribers("news")) == {connections[number] for number in (1, 2, 4, 5)}
    assert all(members._connections == {} for members in topics._topics._loops)


def test_call_to_an_event_loop_that_is_closed_meanwhile_is_dropped(monkeypatch):
    loop, calls = asyncio.new_event_loop(), []
    loop.close()
    monkeypatch.setattr(loop, "is_closed", lambda: False)  # as it was when `post` looked
    post(loop, calls.append, 1)
    assert calls == []
