"""`serve(..., threads=2)`: one server in two event loops, over real sockets."""

import asyncio
import logging
import sys
import threading
from contextlib import AsyncExitStack, asynccontextmanager

import ends
import pytest
from ends import connect, on_loop, serving, until

from framewire.asyncio import Listener, serve, unix_serve

pytestmark = pytest.mark.both_backends


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


def call_in(loop, function, *arguments):
    """Call a function in another event loop; return an awaitable of its result."""

    async def call():
        return function(*arguments)

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
