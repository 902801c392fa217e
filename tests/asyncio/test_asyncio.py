"""The asyncio server and client over real sockets.

The other end is the `websockets` package or raw bytes.
"""

import asyncio
import contextlib
import errno
import gc
import logging
import socket
import ssl
import sys
import time
import uuid
import weakref
from asyncio import selector_events

import ends
import pytest
from ends import address_of, connect, echo, on_loop, peer_connect, peer_serving, raw, raw_over, serving, until
from frames import REQUEST, explained
from websockets.exceptions import ConnectionClosed as PeerClosed
from websockets.exceptions import InvalidStatus

import framewire
from framewire import TrustedProxies
from framewire.asyncio import Listener, broadcast, serve, transport_writer
from framewire.asyncio.beginning import BeginningProtocol
from framewire.asyncio.read_buffer import READ_SIZE
from framewire.handshake import ServerHandshake
from framewire.http.headers import Headers
from framewire.http.http11 import Response
from framewire.session.settings import REFUSED

if sys.version_info < (3, 11):
    # asyncio of Python 3.10 leaves TLS transports open after failed handshakes and closes by the
    # server.
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")

NETWORKS = ["asyncio", "asyncio tls", "uvloop", "uvloop tls", "aiofastnet", "aiofastnet tls"]


@pytest.fixture(autouse=True, params=NETWORKS)
def network(request, monkeypatch):
    monkeypatch.setattr(ends, "network", request.param)
    return request.param


#: For half-closed connections and for raw bytes, for which TLS has no equivalent.
over_tcp = pytest.mark.parametrize("network", NETWORKS[::2], indirect=True)
#: For event loops on which servers start TLS; that of aiofastnet is in its listeners.
over_tls = pytest.mark.parametrize("network", ["asyncio tls", "uvloop tls"], indirect=True)
over_fastnet_tls = pytest.mark.parametrize("network", ["aiofastnet tls"], indirect=True)


@pytest.fixture(autouse=True)
def _no_errors_in_the_log(caplog):
    """Fail if a handler raised: servers only log that. Tests that expect it clear the log."""
    yield
    assert [record.exc_info or record for record in caplog.get_records("call")] == []


# framewire's server, the client of the websockets package


@on_loop
async def test_server_echoes_every_kind_of_message():
    async with serving() as (_, _, uri), peer_connect(uri, compression=None) as ws:
        for message in ("", "Grüße", b"", b"\x00\xff", "x" * (1 << 20), bytes(1 << 20)):
            await ws.send(message)
            assert await ws.recv() == message
        await ws.send(["frag", "", "mented"])
        assert await ws.recv() == "fragmented"


@on_loop
async def test_server_answers_pings_and_measures_latency():
    latencies = []

    async def handler(ws):
        latencies.append(await (await ws.ping(b"hello")))
        assert ws.latency == latencies[0]
        await echo(ws)

    async with serving(handler) as (_, _, uri), peer_connect(uri) as ws:
        assert await (await ws.ping()) >= 0
        await ws.send("after")
        assert await ws.recv() == "after"
    assert 0 <= latencies[0] < 5


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "leaving"), (3000, "ü" * 61), (4999, "x")])
@on_loop
async def test_client_close_code_and_reason_reach_the_server(code, reason):
    ends = []

    async def handler(ws):
        try:
            await ws.recv()
        except framewire.ConnectionClosed as end:
            ends.append((end, ws.close_code, ws.close_reason, ws.state))

    async with serving(handler) as (_, _, uri), peer_connect(uri) as ws:
        await ws.close(code, reason)
        assert ws.close_code == code
    [(end, *rest)] = ends
    assert (end.code, end.reason) == (code, reason)
    assert rest == [code, reason, framewire.State.CLOSED]
    assert end.rcvd == framewire.Close(code, reason)
    assert end.sent.code == code
    assert end.rcvd_then_sent is True
    assert isinstance(end, framewire.ConnectionClosedOK) is (code < 3000)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1011, "oops"), (3000, "ü" * 61), (4999, "x")])
@on_loop
async def test_server_close_code_and_reason_reach_the_client(code, reason):
    async def handler(ws):
        await ws.close(code, reason)
        with pytest.raises(framewire.ConnectionClosed) as caught:
            await ws.send("too late")
        assert caught.value.sent == framewire.Close(code, reason)
        assert caught.value.rcvd_then_sent is False

    async with serving(handler) as (_, _, uri), peer_connect(uri) as ws:
        with pytest.raises(PeerClosed) as caught:
            await ws.recv()
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, reason)


@on_loop
async def test_empty_close_is_clean_and_has_code_1005():
    codes = []

    async def handler(ws):
        async for _ in ws:
            pass
        codes.append((ws.close_code, ws.close_reason))

    async with serving(handler) as (_, port, _), raw(port) as client:
        await client.upgrade()
        client.write(client.stream.close(None))
        assert await client.read_event() == framewire.Close(1005, "")
        await until(lambda: codes)
    assert codes == [(1005, "")]


@on_loop
async def test_part_of_a_message_does_not_wake_the_receiver():
    messages = []

    async def handler(ws):
        messages.append(await ws.recv())

    async with serving(handler) as (server, port, _), raw(port) as client:
        await client.upgrade()
        await until(lambda: server.connections and next(iter(server.connections))._driver.receiver)
        (connection,) = server.connections
        receiver, frame = connection._driver.receiver, client.stream.send(b"a" * 1000)
        for end in (300, 600, 900):
            client.write(frame[connection.bytes_received : end])
            await until(lambda end=end: connection.bytes_received == end)
            assert receiver.waiting
        client.write(frame[900:])
        await until(lambda: messages)
    assert messages == [b"a" * 1000]


@on_loop
@pytest.mark.parametrize("way", ["recv", "_recv", "iteration"])
async def test_recv_and_iteration_return_the_same(way):
    received, ended = [], asyncio.Event()

    async def handler(ws):
        async for piece in ws.recv_streaming():  # fragments are delivered one by one from here on
            received.append(piece)
        if way == "iteration":
            async for message in ws:
                received.append(message)
        else:
            with contextlib.suppress(framewire.ConnectionClosedOK):
                while True:
                    received.append(await getattr(ws, way)())
        ended.set()

    expected = ["first", "a", b"b", "cd", "", "x" * 70_000, *["y"] * 600, b"ef"]
    async with serving(handler, max_queue=4) as (_, port, _), raw(port) as client:
        await client.upgrade()
        send = client.stream.send
        client.write(send("first"))
        await until(lambda: received)
        client.write(send("a"), send(b"b"), send("c", last=False))
        await until(lambda: received[-1] == b"b")
        client.write(send("d"), *map(send, expected[4:-1]), send(b"e", last=False), send(b"f"), client.stream.close())
        await ended.wait()
    assert received == expected


@on_loop
async def test_receiver_goes_on_in_the_callback_of_the_transport():
    """But a task cannot run inside another one."""
    messages = []

    async def handler(ws):
        async for message in ws:
            messages.append(message)
            await ws.send(message)
            await ws.send(message)

    async with serving(handler) as (server, port, _), raw(port) as client:
        await client.upgrade()
        await until(lambda: server.connections and next(iter(server.connections))._driver.receiver)
        driver = next(iter(server.connections))._driver
        frame = client.stream.send("a")

        def arrive():
            driver.get_buffer(-1)[: len(frame)] = frame
            driver.buffer_updated(len(frame))
            return list(messages), driver.session.output

        loop = asyncio.get_running_loop()
        first = loop.create_future()
        loop.call_soon(lambda: first.set_result(arrive()))
        assert await first == (["a"], [])
        assert arrive() == (["a"], [])
        await asyncio.sleep(0)
        assert messages == ["a", "a"]
        for _ in range(4):
            assert await client.read_event() == "a"


@contextlib.contextmanager
def loop_of_a_failing_program():
    """Give an event loop; cancel the tasks that are left, and close it."""
    loop = ends.new_loop()
    try:
        yield loop
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left))
    finally:
        loop.close()


def test_system_exit_of_a_handler_ends_the_event_loop(caplog):
    async def handler(ws):
        await ws.recv()
        sys.exit(3)

    async def main():
        async with serving(handler) as (_, port, _), raw(port) as client:
            await client.upgrade()
            clients.append(client)
            client.write(client.stream.send("a"))
            await asyncio.wait_for(asyncio.Event().wait(), 10)

    clients = []
    with loop_of_a_failing_program() as loop:
        with pytest.raises(SystemExit) as error:
            loop.run_until_complete(main())
        assert error.value.code == 3
        end = loop.run_until_complete(asyncio.wait_for(clients[0].read_event(), 10))
        assert end == framewire.Close(1011, "")
    del error  # its traceback keeps the task of the handler
    gc.collect()
    assert "Task exception was never retrieved" in caplog.text
    caplog.clear()


class EndingListener(Listener):
    """Raises in one of its callbacks."""

    def __init__(self, callback, error):
        def end(connection, *arguments):
            raise error

        setattr(self, callback, end)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize("callback", ["on_open", "on_message", "two on_message", "on_ping", "on_close"])
def test_system_exit_of_a_listener_ends_the_event_loop_after_its_connection_is_closed(callback, error, caplog):
    async def main():
        async with serving(EndingListener(callback.split()[-1], error)) as (server, port, _), raw(port) as client:
            await client.upgrade()
            clients.append(client)
            for connection in server._everyone:
                connections.append(connection)
            frame = client.stream.send("a")
            client.write(frame if "on_m" in callback else client.stream.ping(b"p"), *[frame] * ("two" in callback))
            if callback == "on_close":
                client.write(client.stream.close())
                client.writer.close()
            await asyncio.wait_for(asyncio.Event().wait(), 10)

    async def read_end():
        return await clients[0].read_event()

    clients, connections = [], []
    with loop_of_a_failing_program() as loop:
        with pytest.raises(type(error)) as caught:
            loop.run_until_complete(main())
        assert caught.value is error
        for connection in connections:
            assert connection.state is not framewire.State.OPEN
            assert not connection._session.handling
        if callback != "on_close":
            events = [loop.run_until_complete(asyncio.wait_for(read_end(), 10))]
            while not isinstance(events[-1], framewire.Close):
                events.append(loop.run_until_complete(asyncio.wait_for(read_end(), 10)))
            assert events[-1].code == 1011
    assert not [record for record in caplog.records if record.name == "framewire.server"]


async def read_rest(client):
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(client.reader.read(), 10)
    return b""


@pytest.mark.parametrize("callback", ["process_request", "process_response", "select_subprotocol"])
def test_system_exit_in_the_opening_handshake_ends_the_event_loop_and_cuts_the_connection(callback, caplog):
    def end(*arguments):
        sys.exit(3)

    async def main():
        async with serving(echo, **{callback: end}) as (_, port, _), raw(port) as client:
            clients.append(client)
            client.write(REQUEST)
            await asyncio.wait_for(asyncio.Event().wait(), 10)

    clients = []
    with loop_of_a_failing_program() as loop:
        with pytest.raises(SystemExit) as caught:
            loop.run_until_complete(main())
        assert loop.run_until_complete(read_rest(clients[0])) == b""
    del caught
    gc.collect()
    assert not [record for record in caplog.records if record.name.startswith("framewire")]
    caplog.clear()  # asyncio says that nobody has retrieved the exception of the task


@pytest.mark.parametrize("close_connections", [True, False])
@on_loop
async def test_handlers_that_wait_for_their_server_wait_for_the_others_only(close_connections):
    ended, released, begun = [], asyncio.Event(), asyncio.Event()

    async def handler(ws):
        await begun.wait()
        if ws.request.path == "/path/other":
            await released.wait()
        else:
            ws.server.close(close_connections)
            await ws.server.wait_closed()
        ended.append(ws.request.path)

    async with serving(handler) as (server, _, uri):
        async with connect(uri + "/other"), connect(uri), connect(uri):
            await until(lambda: len(server.connections) == 3)
            begun.set()
            await until(lambda: len(server._home.stopping) == 2)
            await asyncio.sleep(0.05)
            assert ended == []
            released.set()
            await asyncio.wait_for(server.wait_closed(), 10)
            assert sorted(ended) == ["/path", "/path", "/path/other"]


@on_loop
async def test_process_request_may_wait_for_its_server():
    waited = []

    async def process_request(connection, request):
        connection.server.close()
        await connection.server.wait_closed()
        waited.append(True)

    async with serving(process_request=process_request) as (_, _, uri):
        with pytest.raises(InvalidStatus) as refused:
            await peer_connect(uri)
        assert refused.value.response.status_code == 503
    assert waited == [True]


@on_loop
async def test_handler_whose_wait_for_the_server_is_cancelled_is_waited_for():
    waits, released, held = [], asyncio.Event(), asyncio.Event()

    async def handler(ws):
        if ws.request.path == "/path/other":
            await held.wait()
            return
        waits.append(asyncio.current_task())
        ws.server.close()
        with contextlib.suppress(asyncio.CancelledError):
            await ws.server.wait_closed()
        waits.append("cancelled")
        await released.wait()

    async with serving(handler) as (server, _, uri), connect(uri + "/other"), connect(uri):
        await until(lambda: waits and server._home.stopping)
        waits[0].cancel()
        await until(lambda: "cancelled" in waits)
        held.set()
        closed = asyncio.ensure_future(server.wait_closed())
        await asyncio.sleep(0.05)
        assert not closed.done()
        released.set()
        await asyncio.wait_for(closed, 10)


async def wait_in_a_task(server):
    await asyncio.ensure_future(server.wait_closed())


async def wait_in_tasks(server):
    await asyncio.gather(server.wait_closed(), wait_in_a_task(server))


async def wait_in_time(server):
    await asyncio.wait_for(server.wait_closed(), 10)


@pytest.mark.parametrize("wait", [wait_in_a_task, wait_in_tasks, wait_in_time])
@on_loop
async def test_handler_may_wait_for_its_server_in_tasks_of_its_own(wait):
    ended, other_left, released = [], asyncio.Event(), asyncio.Event()

    async def handler(ws):
        if ws.request.path == "/path/other":
            await released.wait()
            other_left.set()
        else:
            ws.server.close()
            await wait(ws.server)
            assert other_left.is_set()
            ended.append(True)

    async with serving(handler) as (server, _, uri), connect(uri + "/other"):
        await until(lambda: len(server.connections) == 1)
        async with connect(uri):
            await until(lambda: server._home.stopping)
            released.set()
            await asyncio.wait_for(server.wait_closed(), 10)
    assert ended == [True]


@on_loop
async def test_task_that_a_handler_has_left_waits_for_the_whole_server():
    begun, left, tasks = asyncio.Event(), asyncio.Event(), []

    async def wait(server):
        await begun.wait()
        await server.wait_closed()

    async def handler(ws):
        if ws.request.path == "/path/other":
            await left.wait()
        else:
            tasks.append(asyncio.ensure_future(wait(ws.server)))

    async with serving(handler) as (server, _, uri), connect(uri + "/other"):
        async with connect(uri) as client:
            await client.wait_closed()
        await until(lambda: len(server._home.running) == 1)
        begun.set()
        server.close()
        await asyncio.sleep(0.05)
        assert not tasks[0].done()
        left.set()
        await asyncio.wait_for(tasks[0], 10)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs eager tasks")
@pytest.mark.parametrize("callback", ["handler", "process_request"])
@on_loop
async def test_first_step_of_an_eager_task_may_wait_for_its_server(callback):
    waited = []

    async def wait(connection, request=None):
        connection.server.close()
        await connection.server.wait_closed()
        waited.append(True)

    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    options = {"handler": wait} if callback == "handler" else {callback: wait}
    async with serving(**options) as (server, port, _), raw(port) as client:
        client.write(REQUEST)
        await asyncio.wait_for(server.wait_closed(), 10)
    assert waited == [True]


def cancel_others(kept):
    for task in asyncio.all_tasks() - kept:
        task.cancel()


@pytest.mark.parametrize("turns", [0, 3])
@pytest.mark.parametrize("close_again", [False, True])
@on_loop
async def test_server_closes_though_all_its_tasks_are_cancelled(turns, close_again):
    async def handler(ws):
        try:
            await asyncio.Event().wait()
        finally:
            left.append(True)

    kept, left = asyncio.all_tasks(), []
    async with serving(handler, close_timeout=None) as (server, port, _), raw(port) as client:
        await client.upgrade()
        waiting = asyncio.ensure_future(server.wait_closed())
        server.close()
        for _ in range(turns):
            await asyncio.sleep(0)
        cancel_others(kept | {waiting})
        if close_again:
            server.close()
        await asyncio.wait_for(waiting, 10)
        assert left == [True]
        await read_rest(client)


@on_loop
async def test_cancelled_serve_forever_of_a_server_that_closes_ends():
    async def handler(ws):
        await asyncio.Event().wait()

    kept = asyncio.all_tasks()
    async with serving(handler, close_timeout=None) as (server, port, _), raw(port) as client:
        await client.upgrade()
        forever = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        server.close()
        await asyncio.sleep(0)
        cancel_others(kept)
        await asyncio.wait([forever], timeout=10)
        assert forever.cancelled()
        await read_rest(client)


@on_loop
async def test_handler_return_closes_with_1000_and_exception_with_1011(caplog):
    async def handler(ws):
        if await ws.recv() == "raise":
            raise RuntimeError("a bug in the handler")

    async with serving(handler) as (_, _, uri):
        for message, code in (("return", 1000), ("raise", 1011)):
            async with peer_connect(uri) as ws:
                await ws.send(message)
                await ws.wait_closed()
                assert ws.close_code == code
    [record] = caplog.records
    assert (record.name, record.levelno) == ("framewire.server", logging.ERROR)
    assert record.exc_info[0] is RuntimeError
    caplog.clear()


@on_loop
async def test_message_over_max_size_is_refused_with_1009():
    async with serving(max_size=1000) as (_, _, uri), peer_connect(uri, compression=None) as ws:
        await ws.send("x" * 1000)
        assert await ws.recv() == "x" * 1000
        await ws.send("x" * 1001)
        await ws.wait_closed()
        assert ws.close_code == 1009


@on_loop
async def test_subprotocol_is_chosen_in_the_servers_order():
    seen = []

    async def handler(ws):
        seen.append(ws.subprotocol)

    async with serving(handler, subprotocols=["new", "old"]) as (_, _, uri):
        async with peer_connect(uri, subprotocols=["old", "new"]) as ws:
            assert ws.subprotocol == "new"
        async with connect(uri, subprotocols=["old"]) as ws:
            assert ws.subprotocol == "old"
        async with connect(uri) as ws:
            assert ws.subprotocol is None
    assert seen == ["new", "old", None]


@on_loop
async def test_origin_not_allowed_is_refused_with_403():
    async with serving() as (_, port, uri):
        async with connect(uri, origin=f"http://127.0.0.1:{port}") as ws:
            assert ws.request.headers["origin"] == f"http://127.0.0.1:{port}"
        with pytest.raises(InvalidStatus) as caught:
            await peer_connect(uri, origin="http://evil.example")
        assert caught.value.response.status_code == 403
    async with serving(origins=["http://good.example"]) as (_, _, uri):
        async with connect(uri, origin="http://good.example"):
            pass
        with pytest.raises(framewire.ResponseError):
            await connect(uri)


@on_loop
async def test_connection_attributes_describe_both_ends():
    seen = []

    async def handler(ws):
        seen.append(ws)
        assert ws.state is framewire.State.OPEN
        assert ws.close_code is ws.close_reason is None
        await echo(ws)

    async with serving(handler) as (server, port, uri), connect(uri) as ws:
        await until(lambda: seen)
        [theirs] = seen
        assert server.connections == {theirs}
        assert theirs.request.target == ws.request.target == "/path"
        assert theirs.response.status == ws.response.status == 101
        assert theirs.local_address == ws.remote_address == ("127.0.0.1", port)
        assert theirs.remote_address == ws.local_address
        assert isinstance(ws.id, uuid.UUID)
        assert ws.id == ws.id != theirs.id
    await theirs.wait_closed()
    assert ws.state is framewire.State.CLOSED
    assert theirs.local_address == ws.remote_address == ("127.0.0.1", port)
    assert theirs.remote_address == ws.local_address
    assert ws.local_address[0] == "127.0.0.1"


# Opening handshake


@on_loop
async def test_frames_in_the_same_segment_as_the_request_are_not_lost():
    async with serving() as (_, port, _), raw(port) as client:
        await client.upgrade(and_then=client.stream.send("early") + client.stream.send(b"bird"))
        assert [await client.read_event() for _ in range(2)] == ["early", b"bird"]


@on_loop
async def test_frames_before_the_handshake_response_are_delivered_after_it():
    asked, answer = asyncio.Event(), asyncio.Event()

    async def process_request(connection, request):
        asked.set()
        await answer.wait()

    async with serving(process_request=process_request) as (_, port, _), raw(port) as client:
        client.write(REQUEST, client.stream.send("one"))
        await asked.wait()
        client.write(client.stream.send("two"))
        answer.set()
        await client.reader.readuntil(b"\r\n\r\n")
        assert [await client.read_event() for _ in range(2)] == ["one", "two"]


@on_loop
async def test_large_message_before_the_handshake_response_is_delivered():
    asked, answer = asyncio.Event(), asyncio.Event()

    async def process_request(connection, request):
        asked.set()
        await answer.wait()

    async with serving(process_request=process_request) as (_, port, _), raw(port) as client:
        client.write(REQUEST)
        await asked.wait()
        client.write(client.stream.send(bytes(1 << 20)))
        answer.set()
        await client.reader.readuntil(b"\r\n\r\n")
        assert await client.read_event() == bytes(1 << 20)


@pytest.mark.parametrize("drip", [False, True])
@on_loop
async def test_open_timeout_cuts_a_silent_or_trickling_handshake(drip):
    async with serving(open_timeout=0.3) as (_, port, _), raw(port) as client:
        begin = time.monotonic()
        for byte in REQUEST[:-1] if drip else b"":
            client.writer.write(bytes([byte]))
            try:
                await asyncio.wait_for(client.reader.read(1), 0.02)
                break
            except asyncio.TimeoutError:
                pass
            except ConnectionError:
                break
        with pytest.raises((EOFError, ConnectionError)):
            await client.reader.readexactly(1)
        assert 0.2 < time.monotonic() - begin < 3


@on_loop
async def test_open_timeout_covers_process_request_and_cancels_it():
    cancelled = []

    async def process_request(connection, request):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    options = {"process_request": process_request, "open_timeout": 0.1}
    async with serving(**options) as (_, port, _), raw(port) as client:
        client.write(REQUEST)
        with pytest.raises((EOFError, ConnectionError)):
            await client.reader.readexactly(1)
        await until(lambda: cancelled)


@pytest.mark.parametrize("callback", ["process_request", "process_response"])
@on_loop
async def test_callback_that_ends_in_a_cancellation_cuts_the_connection(callback):
    async def wait_for_a_cancelled_future(*arguments):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async with serving(open_timeout=None, **{callback: wait_for_a_cancelled_future}) as (server, port, _):
        async with raw(port) as client:
            client.write(REQUEST)
            assert await read_rest(client) == b""
        await until(lambda: not server._everyone)


@on_loop
async def test_client_that_closes_while_process_request_runs_is_forgotten_when_it_leaves():
    async def process_request(connection, request):
        await asyncio.sleep(0)

    async with serving(process_request=process_request, close_timeout=20) as (server, port, _):
        async with raw(port) as client:
            await client.upgrade(and_then=client.stream.close())
            assert (await asyncio.wait_for(client.read_event(), 10)).code == 1000
        await asyncio.wait_for(until(lambda: not server._everyone), 5)


@on_loop
async def test_refusal_of_bytes_that_come_while_process_request_runs_cancels_it_and_arrives():
    steps = []

    async def process_request(connection, request):
        steps.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("ended")

    options = {"process_request": process_request, "close_timeout": 0.5}
    async with serving(**options) as (server, port, _), raw(port) as client:
        client.write(REQUEST)
        await until(lambda: steps)
        [connection] = server._everyone
        for _ in range(3):  # event loops may deliver reads that they have begun before the pause
            buffer = connection._driver.get_buffer(-1)
            buffer[:] = bytes(len(buffer))
            connection._driver.buffer_updated(len(buffer))
        assert (await read_rest(client)).startswith(b"HTTP/1.1 400 ")
        await until(lambda: steps == ["begun", "ended"])


class TlsClient:
    """A client whose TLS handshake ends with the first message, in one segment."""

    def __init__(self, port, data, *, ended=False):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = ends.client_side().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.step(self.tls.do_handshake)
        self.tls.write(data)
        if ended:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.unwrap()
        self.socket.sendall(self.outgoing.read())

    def step(self, function, *arguments):
        while True:
            try:
                return function(*arguments)
            except ssl.SSLWantReadError:
                self.socket.sendall(self.outgoing.read())
                data = self.socket.recv(1 << 16)
                self.incoming.write(data) if data else self.incoming.write_eof()

    def read(self, size):
        data = b""
        while len(data) < size:
            data += self.step(self.tls.read, 1 << 16)
        return data


@over_tls
@on_loop
async def test_frames_that_arrive_with_the_end_of_the_tls_handshake_are_received():
    message, frame = bytes(100_000), framewire.Stream(framewire.CLIENT).send(bytes(100_000))

    def echo_once(port):
        client = TlsClient(port, REQUEST + frame)
        with client.socket:
            head, _, answer = client.read(len(message) + 200).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            answer += client.read(len(frame) - 4 - len(answer))
            return answer[-len(message) :]

    async with serving(compression=None) as (_, port, _):
        assert await asyncio.to_thread(echo_once, port) == message


@over_tls
@on_loop
async def test_client_that_ends_tls_with_its_request_is_forgotten():
    async with serving(open_timeout=None, close_timeout=None) as (server, port, _):
        client = await asyncio.to_thread(TlsClient, port, REQUEST, ended=True)
        with client.socket:
            await until(lambda: server.counters().accepted)
            await until(lambda: not (server._everyone or server._home.beginning or server._home.tasks))


@over_tls
@on_loop
async def test_client_that_leaves_within_the_tls_handshake_is_forgotten():
    async with serving(open_timeout=None) as (server, port, _):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: server._home.beginning)
        writer.close()
        await until(lambda: not server._home.beginning and not server._home.tasks)


@over_tls
@on_loop
async def test_cancelled_tls_handshake_cuts_the_connection():
    async with serving(open_timeout=None) as (server, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        [task] = await until(lambda: list(server._home.tasks))
        task.cancel()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        await until(lambda: not server._home.beginning)


@pytest.mark.parametrize("proxies", [None, TrustedProxies(["127.0.0.1"], proxy_protocol=True)], ids=["", "PROXY"])
@on_loop
async def test_connection_that_cannot_be_made_is_cut_and_logged(proxies, network, caplog):
    options = {"ssl": ends.client_side(), "server_hostname": "127.0.0.1"} if "tls" in network else {}
    async with serving(create_connection=lambda server: None, trusted_proxies=proxies) as (server, port, _):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            if proxies is not None:
                sock.sendall(b"PROXY UNKNOWN\r\n")
            with contextlib.suppress(ConnectionError):
                reader, writer = await asyncio.open_connection(sock=sock, **options)
                writer.write(REQUEST)
                assert await asyncio.wait_for(reader.read(), 10) == b""
                writer.close()
        await until(lambda: not (server._home.tasks or server.beginning))
    assert [(record.message, record.exc_info[0]) for record in caplog.records] == [
        ("connection failed", AttributeError)
    ]
    caplog.clear()


@pytest.mark.parametrize("network", ["asyncio tls"], indirect=True)
@on_loop
async def test_tls_has_no_limit_of_time_but_open_timeout(monkeypatch):
    monkeypatch.setattr("asyncio.constants.SSL_HANDSHAKE_TIMEOUT", 0.05)
    async with serving(open_timeout=None) as (server, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: server._home.beginning)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        writer.close()


@over_tls
@on_loop
async def test_options_of_tls_are_those_of_the_event_loop():
    async with serving(ssl_handshake_timeout=0.1, open_timeout=None) as (_, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    with pytest.raises(TypeError, match="ssl_unknown"):
        await serve(echo, "127.0.0.1", 0, ssl=ends.server_side(), ssl_unknown=1)


@over_tls
@on_loop
async def test_silent_clients_in_tls_are_limited_by_max_connections():
    async with (
        serving(max_connections=2, open_timeout=None) as (server, port, uri),
        contextlib.AsyncExitStack() as stack,
    ):
        silent = []
        for _ in range(2 + REFUSED):
            silent.append(stack.enter_context(socket.create_connection(("127.0.0.1", port))))
            await until(lambda: len(server.beginning) == len(silent))
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
        silent.pop().close()
        await until(lambda: len(server.beginning) == len(silent))
        async with connect(uri):
            pass
        counters = server.counters().as_dict()
        assert (counters["connections_accepted"], counters["connections_busy"]) == (4, 3)
        server.close()


@over_tls
@on_loop
async def test_client_that_is_accepted_while_the_server_closes_is_cut_before_tls(monkeypatch):
    def close_first(self, transport):
        self._server.close()
        connection_made(self, transport)

    connection_made = BeginningProtocol.connection_made
    monkeypatch.setattr(BeginningProtocol, "connection_made", close_first)
    async with serving(open_timeout=None) as (server, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        await asyncio.wait_for(server.wait_closed(), 10)


@pytest.mark.parametrize("turns", range(8))
@on_loop
async def test_serve_that_is_cancelled_does_not_listen(turns):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()

        async def start():
            return await serve(echo, sock=sock, **ends.secured(ends.server_side))

        starting = asyncio.ensure_future(start())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            async with await starting:
                pass
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)


@on_loop
async def test_open_timeout_of_zero_cuts_each_connection():
    async with serving(open_timeout=0) as (_, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


@over_fastnet_tls
@on_loop
async def test_open_timeout_begins_before_the_tls_of_a_listener():
    async with serving(open_timeout=1.5) as (_, port, _):
        begin = time.monotonic()
        with socket.create_connection(("127.0.0.1", port)) as sock:
            await asyncio.sleep(1)
            async with raw_over(sock) as client:
                assert await read_rest(client) == b""
        assert 1.4 < time.monotonic() - begin < 2.4


@over_fastnet_tls
@on_loop
async def test_open_timeout_that_passes_in_the_tls_of_a_listener_cuts_the_connection_after_it():
    async with serving(open_timeout=0.1, ssl_handshake_timeout=10) as (_, port, _):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            await asyncio.sleep(0.3)
            async with raw_over(sock) as client:
                assert await read_rest(client) == b""


@over_fastnet_tls
@on_loop
async def test_connection_whose_tls_in_a_listener_has_failed_is_not_kept(caplog):
    def create(server):
        connection = framewire.asyncio.ServerConnection(server)
        made.append(weakref.ref(connection._driver))
        return connection

    made = []
    async with serving(open_timeout=0.1, ssl_handshake_timeout=10, create_connection=create) as (_, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"this is no TLS")
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await until(lambda: gc.collect() >= 0 and made[0]() is None)
        await asyncio.sleep(0.2)  # until `open_timeout` has passed
    caplog.clear()  # aiofastnet logs the failure as an error


@over_fastnet_tls
@on_loop
async def test_close_with_a_timeout_cuts_clients_in_the_tls_of_a_listener():
    async with serving(open_timeout=None) as (server, port, uri):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with connect(uri):
            pass  # the first is accepted by now
        server.close(timeout=0.1)
        await asyncio.wait_for(server.wait_closed(), 10)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


BAD_REQUESTS = {
    "not HTTP": (b"\x16\x03\x01 what\r\n\r\n", 400),
    "bare LF": (REQUEST.replace(b"\r\nUpgrade", b"\nUpgrade"), 400),
    "POST": (REQUEST.replace(b"GET", b"POST"), 405),
    "HTTP/1.0": (REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    "body": (REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"), 400),
    "chunked": (REQUEST.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
    "no upgrade": (REQUEST.replace(b"Upgrade: websocket\r\n", b""), 426),
    "version 8": (REQUEST.replace(b"Version: 13", b"Version: 8"), 426),
    "short key": (REQUEST.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhl"), 400),
    "long line": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n", 414),
    "long header": (REQUEST[:-2] + b"X: " + b"x" * 9000, 431),
    "many headers": (REQUEST[:-2] + b"X: x\r\n" * 200, 431),
}


@pytest.mark.parametrize(("request_bytes", "status"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
@on_loop
async def test_bad_request_gets_an_error_status_and_ends_the_connection(request_bytes, status):
    async with serving() as (server, port, _):
        async with raw(port) as client:
            client.write(request_bytes)
            answer = await client.reader.read()  # until the server ends the connection
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert b"close" in answer
        assert server.connections == set()


@over_tcp
@on_loop
async def test_refusal_arrives_while_the_client_keeps_sending():
    async with serving(close_timeout=1) as (_, port, _), raw(port) as client:
        client.write(REQUEST.replace(b"GET", b"POST"), bytes(1 << 20))
        await client.writer.drain()
        # Time passes in real sockets: a server that closed at once would reset the connection and
        # discard its response.
        await asyncio.sleep(0.1)
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 405 ")


@on_loop
async def test_messages_go_to_the_socket_except_with_tls_and_the_socket_tells_that_it_is_closed(network):
    async with serving() as (_, port, uri), connect(uri) as client:
        sock = transport_writer._socket_of(client.transport)
        if "tls" in network:
            assert sock is None
            return
        assert sock.getpeername()[1] == port
        client.transport.abort()
        await client.wait_closed()
        assert sock.fileno() == -1


@pytest.mark.parametrize("asynchronous", [False, True])
@on_loop
async def test_process_request_may_return_a_response(asynchronous):
    def answer(connection, request):
        assert connection.state is framewire.State.CONNECTING
        if request.target == "/path":
            return None
        if request.target == "/page":
            return Response(200, "OK", Headers([("Content-Type", "text/html")]), b"<p>hello")
        return connection.respond(404, "no such page\n")

    async def answer_later(connection, request):
        await asyncio.sleep(0)
        return answer(connection, request)

    process_request = answer_later if asynchronous else answer
    async with serving(process_request=process_request) as (_, port, uri):
        async with connect(uri) as ws:
            await ws.send("through")
            assert await ws.recv() == "through"
        async with raw(port) as client:
            client.write(b"GET /page HTTP/1.1\r\nHost: here\r\n\r\n")
            head, _, body = (await client.reader.read()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert body == b"<p>hello"
        with pytest.raises(framewire.ResponseError) as caught:
            await connect(uri.replace("/path", "/nothing"))
        assert caught.value.response.status == 404
        assert caught.value.response.body == b"no such page\n"


@on_loop
async def test_process_request_exception_gives_500(caplog):
    def process_request(connection, request):
        raise RuntimeError("a bug")

    async with serving(process_request=process_request) as (_, _, uri):
        with pytest.raises(framewire.ResponseError) as caught:
            await connect(uri)
        assert caught.value.response.status == 500
    assert [record.exc_info[0] for record in caplog.records] == [RuntimeError]
    caplog.clear()


# Closing


@on_loop
async def test_server_close_frame_arrives_while_the_client_keeps_sending():
    async def handler(ws):
        await ws.recv()
        await ws.close(4000, "enough")

    async with serving(handler, close_timeout=2) as (_, port, _), raw(port) as client:
        await client.upgrade()
        frame = client.stream.send(bytes(50_000))
        client.write(frame)
        for _ in range(40):
            client.write(frame)
            # Time passes in real sockets: the server has closed long before the client has stopped
            # sending.
            await asyncio.sleep(0.005)
        assert await client.read_event() == framewire.Close(4000, "enough")


@over_tcp
@on_loop
async def test_close_frame_after_a_violation_arrives_while_peer_keeps_sending():
    received = []

    async def handler(ws):
        try:
            async for message in ws:
                received.append(message)
        except framewire.ConnectionClosedError as end:
            received.append(end.sent.code)

    async with serving(handler, close_timeout=2) as (_, port, _), raw(port) as client:
        await client.upgrade()
        client.write(client.stream.send("before"), b"\x93\xff", b"\xf0" * (1 << 20))
        # Time passes in real sockets: a server that closed at once would reset the connection and
        # discard its frame.
        await asyncio.sleep(0.2)
        assert await client.read_event() == explained(1002)
    assert received == ["before", 1002]


class EchoListener(framewire.asyncio.Listener):
    def on_message(self, connection, message):
        connection.send(message)


async def slow_echo(ws):
    async for message in ws:
        await asyncio.sleep(0.01)  # messages arrive faster
        await ws.send(message)


async def echo_one(ws):
    await ws.send(await ws.recv())


@pytest.mark.parametrize(
    ("handler", "echoed"), [(slow_echo, ["one", "two"]), (EchoListener(), ["one", "two"]), (echo_one, ["one"])]
)
@on_loop
async def test_messages_before_a_violation_are_answered_before_the_close_frame(handler, echoed):
    async with serving(handler) as (_, port, _), raw(port) as client:
        await client.upgrade()
        client.write(client.stream.send("one"), client.stream.send("two"), b"\x83\x80\x00\x00\x00\x00")
        for message in echoed:
            assert await client.read_event() == message
        assert await client.read_event() == explained(1002)


@on_loop
async def test_violation_closes_in_time_if_the_handler_does_not_receive():
    over = asyncio.Event()

    async def deaf(ws):
        await over.wait()

    async with serving(deaf, close_timeout=0.2) as (_, port, _), raw(port) as client:
        await client.upgrade()
        client.write(client.stream.send("one"), b"\x83\x80\x00\x00\x00\x00")
        assert await client.read_event() == explained(1002)
        over.set()


@on_loop
async def test_unanswered_close_is_cut_after_close_timeout():
    times = []

    async def handler(ws):
        begin = time.monotonic()
        await ws.close()
        times.append(time.monotonic() - begin)
        assert ws.close_code == 1006
        with pytest.raises(framewire.ConnectionClosedError) as caught:
            await ws.recv()
        assert caught.value.rcvd is None
        assert caught.value.code == 1006

    async with serving(handler, close_timeout=0.2) as (_, port, _), raw(port) as client:
        await client.upgrade()
        await until(lambda: times)
    assert 0.1 < times[0] < 3


@over_tcp
@on_loop
async def test_socket_left_open_after_close_is_cut_after_close_timeout():
    async with serving(close_timeout=0.2) as (server, port, _), raw(port) as client:
        await client.upgrade()
        begin = time.monotonic()
        client.write(client.stream.close())
        assert await client.read_event() == framewire.Close(1000, "")
        await until(lambda: not server._everyone)
        assert 0.1 < time.monotonic() - begin < 3


@over_tcp
@on_loop
async def test_eof_without_close_is_1006_after_earlier_messages():
    seen = []

    async def handler(ws):
        seen.append(await ws.recv())
        try:
            await ws.recv()
        except framewire.ConnectionClosedError as end:
            seen.append(end.code)

    async with serving(handler) as (_, port, _), raw(port) as client:
        await client.upgrade()
        client.write(client.stream.send("last words"))
        client.writer.write_eof()
        await until(lambda: len(seen) == 2)
    assert seen == ["last words", 1006]


@on_loop
async def test_peer_reset_before_the_close_reply_still_ends_the_handler():
    ended = []

    async def handler(ws):
        if isinstance(ws.transport, selector_events._SelectorSocketTransport):
            ws.transport.write_eof = fail
        async for _ in ws:
            pass
        ended.append(ws.close_code)

    def fail():
        raise OSError(errno.ENOTCONN, "the peer has reset the connection")

    async with serving(handler) as (_, port, _), raw(port) as client:
        await client.upgrade()
        client.write(client.stream.close(1001))
        await until(lambda: ended)
    assert ended == [1001]


@on_loop
async def test_close_handshake_completes_with_a_full_queue():
    async def handler(ws):
        await until(lambda: not ws._session.reading)  # the queue is full
        await ws.close(4001, "not interested")
        assert ws.close_code == 4001
        received = 0
        try:
            async for _ in ws:
                received += 1
        except framewire.ConnectionClosedError:
            assert 4 <= received <= 200

    async with serving(handler, max_queue=4) as (_, _, uri), peer_connect(uri, compression=None) as ws:
        try:
            while True:
                await ws.send("x" * 1000)
        except PeerClosed:
            assert ws.close_code == 4001


@over_tcp
@on_loop
async def test_messages_after_sent_close_are_received_up_to_max_queue():
    received, served = [], []

    async def handler(ws):
        served.append(ws)
        await ws.close()
        async for message in ws:
            received.append(message)

    async with serving(handler, max_queue=4) as (_, port, _), raw(port) as client:
        await client.upgrade()
        assert await client.read_event() == framewire.Close(1000, "")
        [connection] = served
        written = 0
        for number in range(1000):
            frame = framewire.Stream(framewire.CLIENT).send(str(number))
            client.write(frame)
            written += len(frame)
            if not number % 100:  # several reads
                await until(lambda: connection.bytes_received == written)  # noqa: B023 - awaited at once
        client.write(client.stream.pending())
        client.writer.write_eof()
        await until(lambda: received)
    assert received == [str(number) for number in range(len(received))]
    assert 4 <= len(received) < 1000


@on_loop
async def test_second_close_only_waits_for_the_first():
    async with serving() as (_, _, uri):
        async with connect(uri) as ws:
            await asyncio.gather(ws.close(1000), ws.close(4000), ws.wait_closed())
            await ws.close()
        assert ws.close_code == 1000
        with pytest.raises(framewire.ConnectionClosedOK):
            await ws.send("x")
        with pytest.raises(framewire.ConnectionClosedOK):
            await ws.ping()


@on_loop
async def test_cancelled_wait_closed_removes_its_waiter():
    async with serving() as (_, _, uri), connect(uri) as ws:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ws.wait_closed(), 0.01)
        assert ws._driver._waiters == []
        others = [asyncio.create_task(ws.wait_closed()) for _ in range(3)]
        await asyncio.sleep(0)
        others[1].cancel()
        await ws.close()
        await asyncio.gather(*others, return_exceptions=True)
        assert [task.cancelled() for task in others] == [False, True, False]


@on_loop
async def test_invalid_close_raises_and_leaves_the_connection_open():
    async with serving() as (_, _, uri), connect(uri) as ws:
        for code, reason in ((1005, ""), (999, ""), (1000, "x" * 124)):
            with pytest.raises(framewire.LocalError):
                await ws.close(code, reason)
        await ws.send("still here")
        assert await ws.recv() == "still here"


@on_loop
async def test_server_close_sends_1001_and_waits_for_handlers():
    finished = []

    async def handler(ws):
        async for _ in ws:
            pass
        ended.append(ws)
        await leave.wait()
        finished.append(ws.close_code)

    ended, leave = [], asyncio.Event()
    async with serving(handler) as (server, port, uri), raw(port) as half_open:
        clients = [await connect(uri) for _ in range(3)]
        half_open.write(REQUEST[:20])
        await until(lambda: len(server._everyone) == 4)
        begin = time.monotonic()
        server.close()
        closing = asyncio.ensure_future(server.wait_closed())
        await until(lambda: len(ended) == 3)
        assert not closing.done()
        leave.set()
        await closing
        assert time.monotonic() - begin < 3  # no timeout was needed
        assert finished == [1001] * 3
        assert not server.is_serving()
        for client in clients:
            await client.wait_closed()
            assert client.close_code == 1001
        with pytest.raises(ConnectionRefusedError):
            await connect(uri)


@over_tcp
@on_loop
async def test_serve_can_be_awaited_and_serves_forever_until_cancelled():
    server = await serve(echo, "127.0.0.1", 0)
    forever = asyncio.ensure_future(server.serve_forever())
    ws = await connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    await ws.send("x")
    assert await ws.recv() == "x"
    await ws.close()
    forever.cancel()
    await asyncio.wait([forever])
    server.close()
    await server.wait_closed()


# Backpressure, fairness, cancellation


@on_loop
async def test_slow_handler_applies_backpressure_and_loses_nothing():
    go, received = asyncio.Event(), []

    async def handler(ws):
        await go.wait()
        async for message in ws:
            received.append(int(message[:8]))

    async with serving(handler) as (server, port, _), raw(port) as client:
        await client.upgrade()
        sent = 0
        try:
            while sent < 5000:
                client.write(client.stream.send(b"%08d" % sent + bytes(20_000)))
                sent += 1
                await asyncio.wait_for(client.writer.drain(), 0.3)
        except asyncio.TimeoutError:
            pass
        assert sent < 5000  # 100 MB exceed all buffers between the two
        [connection] = server.connections
        assert len(connection._queue.items) <= 16 + READ_SIZE // 20_000 + 1
        go.set()
        await client.writer.drain()
        client.write(client.stream.close())
        while await client.read_event() != framewire.Close(1000, ""):
            pass
        await until(lambda: len(received) == sent)
        assert received == list(range(sent))


@on_loop
async def test_receive_queue_is_bounded_in_bytes():
    go = asyncio.Event()

    async def handler(ws):
        await go.wait()
        await echo(ws)

    options = {"max_queue": 1000, "max_size": 1 << 24}
    async with serving(handler, **options) as (server, port, _), raw(port) as client:
        await client.upgrade()
        client.write(*[client.stream.send(bytes(300_000)) for _ in range(100)])
        [connection] = server.connections
        await until(lambda: not connection._session.reading)
        assert len(connection._queue.items) * 300_000 < 1_800_000
        go.set()
        for _ in range(100):
            assert len(await client.read_event()) == 300_000


@on_loop
async def test_send_waits_for_a_peer_that_does_not_read():
    sent = []

    async def handler(ws):
        for number in range(1000):
            await ws.send(bytes(100_000))
            sent.append(number)

    async with serving(handler) as (server, port, _), raw(port, limit=1024) as client:
        await client.upgrade()
        await until(lambda: server.connections)
        [connection] = server.connections
        await until(lambda: connection._session.write_paused)
        assert len(sent) < 900
        assert connection.transport.get_write_buffer_size() < 200_000
        for _ in range(1000):
            assert len(await client.read_event()) == 100_000
        assert await client.read_event() == framewire.Close(1000, "")


@on_loop
async def test_cancelled_send_sends_nothing():
    async def send_on_and_on(ws):
        while True:
            await ws.send(b"whole" * 20_000)

    async def handler(ws):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(send_on_and_on(ws), 0.3)
        before = ws.transport.get_write_buffer_size()
        for _ in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ws.send(b"never" * 20_000), 0.01)
        assert ws.transport.get_write_buffer_size() == before
        assert not ws._writer.turns._line
        go.set()
        await ws.send("end")

    go = asyncio.Event()
    async with serving(handler) as (_, port, _), raw(port, limit=1024) as client:
        await client.upgrade()
        await go.wait()
        while (message := await client.read_event()) != "end":
            assert message == b"whole" * 20_000


@on_loop
async def test_waiting_sender_is_served_before_a_task_that_sends_again_and_again():
    async def send_on_and_on(ws):
        while True:
            await ws.send(b"greedy" * 20_000)

    async def handler(ws):
        greedy = asyncio.ensure_future(send_on_and_on(ws))
        await until(lambda: ws._session.write_paused)
        go.set()
        for number in range(3):
            await ws.send(str(number))
        greedy.cancel()
        await asyncio.wait([greedy])

    go = asyncio.Event()
    async with serving(handler) as (_, port, _), raw(port, limit=1024) as client:
        await client.upgrade()
        await go.wait()
        events = []
        while "2" not in events:
            events.append(await client.read_event())
        first, second, third = (events.index(text) for text in "012")
        assert (second - first, third - second) == (2, 2)  # one of the other task in between


@on_loop
async def test_waiting_sender_raises_when_the_connection_is_lost():
    ends = []

    async def handler(ws):
        try:
            while True:
                await ws.send(bytes(100_000))
        except framewire.ConnectionClosedError as end:
            ends.append(end.code)

    async with serving(handler) as (server, port, _):
        async with raw(port, limit=1024) as client:
            await client.upgrade()
            await until(lambda: any(one._session.write_paused for one in server.connections))
        await until(lambda: ends)
    assert ends == [1006]


@on_loop
async def test_reading_pauses_when_a_peer_does_not_read_its_pongs():
    async with serving() as (server, port, _), raw(port, limit=1024) as client:
        await client.upgrade()
        ping = client.stream.ping(bytes(125)) * 1000
        sent = 0
        try:
            while sent < 1000:
                client.write(ping)
                sent += 1
                await asyncio.wait_for(client.writer.drain(), 0.3)
        except asyncio.TimeoutError:
            pass
        assert sent < 1000
        [connection] = server.connections
        assert connection.transport.get_write_buffer_size() < 2 * READ_SIZE  # the answers to two reads
        for _ in range(1000 * sent):
            assert await client.read_event() == framewire.Pong(bytes(125))


@on_loop
async def test_recv_of_queued_messages_yields_to_other_tasks_occasionally():
    count, turns = 5000, []

    async def others():
        while True:
            turns.append(len(received))
            await asyncio.sleep(0)

    async def handler(ws):
        received.append(await ws.recv())
        task = asyncio.ensure_future(others())
        while len(received) < count:
            received.append(await ws.recv())
        task.cancel()

    received = []
    async with serving(handler) as (_, port, _), raw(port) as client:
        await client.upgrade()
        client.write(client.stream.send("x") * count)
        assert await client.read_event() == framewire.Close(1000, "")
    assert len(received) == count
    assert 3 < len(turns) < count // 20


@on_loop
async def test_connect_honours_cancellation_at_any_point_after_opening():
    class Cancelling(Listener):
        def __init__(self, turns):
            self.turns = turns

        def on_open(self, connection):
            if self.turns:
                self.turns -= 1
                asyncio.get_running_loop().call_soon(self.on_open, connection)
            else:
                task.cancel()

    async def opening(turns):
        await connect(uri, listener=Cancelling(turns))
        await asyncio.Event().wait()

    async with serving() as (_, _, uri):
        for turns in range(8):
            task = asyncio.ensure_future(opening(turns))
            await asyncio.wait([task], timeout=2)
            assert task.cancelled()


@on_loop
async def test_cancelled_recv_loses_no_message():
    async with serving() as (_, _, uri), connect(uri) as ws:
        for number in range(200):
            await ws.send(str(number))
        received = []
        while len(received) < 200:
            task = asyncio.ensure_future(ws.recv())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if len(received) % 2:
                task.cancel()
            await asyncio.wait([task], timeout=0.01)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                received.append(task.result())
        assert received == [str(number) for number in range(200)]


@on_loop
async def test_recv_cancelled_after_delivery_leaves_the_message_queued():
    async with serving() as (_, _, uri), connect(uri) as ws:
        task = asyncio.ensure_future(ws.recv())
        await asyncio.sleep(0)
        ws._queue.put(["kept"], 4)
        ws._driver.wake_receiver()  # the message and the cancellation arrive in one turn of the loop
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert await ws.recv() == "kept"


@on_loop
async def test_concurrent_recv_raises_concurrency_error():
    async with serving() as (_, _, uri), connect(uri) as ws:
        first = asyncio.ensure_future(ws.recv())
        await asyncio.sleep(0)
        with pytest.raises(framewire.ConcurrencyError):
            await ws.recv()
        await ws.send("x")
        assert await first == "x"


@on_loop
async def test_pong_resolves_earlier_pings_and_close_fails_the_rest():
    got = []

    async def handler(ws):
        waiters = [await ws.ping(name) for name in ("a", "b", "c")]
        with pytest.raises(framewire.ConcurrencyError):
            await ws.ping("a")
        got.append(await asyncio.gather(*waiters[:2]))
        assert not waiters[2].done()
        with pytest.raises(framewire.ConnectionClosed):
            await waiters[2]

    async with serving(handler) as (_, port, _), raw(port) as client:
        await client.upgrade()
        for name in (b"a", b"b", b"c"):
            assert await client.read_event() == framewire.Ping(name)
        client.write(client.stream.pong(b"unasked"), client.stream.pong(b"b"))
        await until(lambda: got)
        client.write(client.stream.close())
        assert await client.read_event() == framewire.Close(1000, "")
    assert all(latency >= 0 for latency in got[0])


@over_tcp
@on_loop
async def test_listener_is_told_when_a_full_connection_has_room_again():
    calls = []

    class Filling(Listener):
        def on_message(self, connection, message):
            connection.send(bytes(16 << 20))
            calls.append(connection.full)

        def on_drain(self, connection):
            calls.append(connection.full)
            connection.send("drained")

    async with serving(Filling(), ping_interval=None) as (_, port, _), raw(port) as client:
        await client.upgrade()
        client.write(client.stream.send("fill"))
        assert await client.read_event() == bytes(16 << 20)
        assert await client.read_event() == "drained"
        assert calls == [True, False]
        client.writer.transport.abort()
    assert calls == [True, False]


@on_loop
async def test_broadcast_reaches_all_and_closes_slow_readers():
    async with (
        serving() as (server, port, uri),
        connect(uri) as one,
        connect(uri) as two,
        raw(port, limit=1024) as deaf,
    ):
        await deaf.upgrade()
        await until(lambda: len(server.connections) == 3)
        slow = next(c for c in server.connections if c.remote_address == deaf.writer.get_extra_info("sockname"))
        while slow.state is framewire.State.OPEN:
            broadcast(server.connections, b"x" * 100_000)
            assert await one.recv() == await two.recv() == b"x" * 100_000
        event = b""
        while isinstance(event, bytes):
            event = await deaf.read_event()
        assert event == framewire.Close(1013, "reading too slowly")
        broadcast(server.connections, "still there")
        assert await one.recv() == await two.recv() == "still there"


@on_loop
async def test_broadcast_reaches_all_others_if_connections_cannot_send_the_message(caplog):
    class Fragmenting(Listener):
        def on_open(self, connection):
            connection.send("frag", last=False)

    def fail(frames):
        raise ZeroDivisionError("a transport that fails")

    async with contextlib.AsyncExitStack() as stack:
        clients, connections = [], []
        for handler, options in (
            (echo, {}),
            (echo, {"max_send_size": 5}),
            (Listener(), {}),
            (Listener(), {"max_send_size": 5}),
            (Fragmenting(), {}),
            (echo, {}),
            (echo, {}),
        ):
            server, _, uri = await stack.enter_async_context(serving(handler, **options))
            clients.append(await stack.enter_async_context(connect(uri)))
            await until(lambda server=server: server.connections)
            connections += server.connections
        connections[5]._writer.send_shared = fail
        for compression in ("shared", "own"):
            broadcast(connections, "large.", compression=compression)
            broadcast(connections, "small", compression=compression)
        for number in (0, 2, 6):
            assert [await clients[number].recv() for _ in range(4)] == ["large.", "small"] * 2
        for number in (1, 3):
            assert [await clients[number].recv() for _ in range(2)] == ["small"] * 2
        reasons = [
            "a message to send has at most 5 bytes, not 6",
            "a message to send has at most 5 bytes, not 6",
            "sending a fragmented message",
            "a transport that fails",
            "sending a fragmented message",
            "a transport that fails",
        ]
        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert warnings == [f"skipped broadcast: {reason}" for reason in reasons] * 2
        if sys.version_info >= (3, 11):
            with pytest.raises(ExceptionGroup) as caught:  # noqa: F821 - there since Python 3.11
                broadcast(connections, "large.", raise_exceptions=True)
            assert list(map(str, caught.value.exceptions)) == reasons[:4]
        caplog.clear()


@on_loop
async def test_broadcast_keeps_a_peer_that_is_still_reading_a_long_message():
    async with serving() as (server, port, _), raw(port, limit=1024) as client:
        await client.upgrade()
        await until(lambda: server.connections)
        (ws,) = server.connections
        while not ws._session.write_paused:
            broadcast([ws], bytes(4 << 20))
        for number in range(10):
            broadcast([ws], str(number))
        event = b""
        while isinstance(event, bytes):
            event = await client.read_event()
        assert [event, *[await client.read_event() for _ in range(9)]] == [str(number) for number in range(10)]


@on_loop
async def test_broadcast_is_compressed_once_by_each_connection_or_not():
    def sizes():
        sent = [ws.bytes_sent - before for ws, before in zip(connections, counts, strict=True)]
        counts[:] = [ws.bytes_sent for ws in connections]
        return sent

    message = "one message for all " * 20
    async with serving() as (server, _, uri), connect(uri) as one, connect(uri) as two, connect(uri) as three:
        peers = [one, two, three]
        await until(lambda: len(server.connections) == 3)
        connections, counts = list(server.connections), [0, 0, 0]
        codecs = [ws._session.stream._codecs[0] for ws in connections]
        for _ in range(3):
            broadcast(connections, message)
            assert len(set(sizes())) == 1 < max(counts) < 200
        assert [codec.deflater for codec in codecs] == [None] * 3
        broadcast(connections, message, compression="own")
        assert None not in [codec.deflater for codec in codecs]
        first = sizes()
        broadcast(connections, message, compression="own")
        assert max(sizes()) < min(first)
        broadcast(connections, message, compression=None)
        assert min(sizes()) > 400
        for ws in peers:
            assert [await ws.recv() for _ in range(6)] == [message] * 6
        with pytest.raises(ValueError, match="gzip"):
            broadcast(connections, message, compression="gzip")


@on_loop
async def test_broadcast_during_a_compressed_long_message_arrives_before_it():
    long, message = "Hello" * 200_000, "one message for all " * 20
    async with serving(max_size=None) as (server, _, uri), connect(uri, max_size=None) as ws:
        await until(lambda: server.connections)
        (sending,) = server.connections
        task = asyncio.ensure_future(sending.send(long))
        await asyncio.sleep(0)
        assert sending._session.stream.encoding  # in steps, between which others send
        broadcast([sending], message)
        assert [await ws.recv(), await ws.recv()] == [message, long]
        await task
        broadcast([sending], message)
        await sending.send(message)
        assert [await ws.recv(), await ws.recv()] == [message, message]


@on_loop
async def test_broadcast_skips_connections_in_a_fragmented_message(caplog):
    begin, go_on = asyncio.Event(), asyncio.Event()

    async def pieces():
        await begin.wait()
        yield "a"
        await go_on.wait()
        yield "b"

    async def handler(ws):
        await ws.send(pieces())
        await ws.send("end")

    async with serving(handler) as (server, _, uri), connect(uri) as ws:
        await until(lambda: server.connections)
        sending = next(iter(server.connections))
        await until(lambda: sending._in_fragments)
        broadcast(server.connections, "to all")
        begin.set()
        await until(lambda: sending._session.stream.message_open)
        broadcast(server.connections, "to all")
        go_on.set()
        assert [await ws.recv(), await ws.recv()] == ["ab", "end"]
    assert caplog.messages == ["skipped broadcast: sending a fragmented message"] * 2
    assert all(record.levelname == "WARNING" for record in caplog.records)
    caplog.clear()


@on_loop
async def test_broadcast_reaches_connections_of_both_apis(caplog):
    opened = []

    class Fragmenting(Listener):
        def on_open(self, connection):
            opened.append(connection)

        def on_message(self, connection, message):
            connection.send("fragm", last=False)
            broadcast(opened, "skipped")
            connection.send("ented")
            broadcast(opened, "to all")

    async def handler(ws):
        opened.append(ws)
        await ws.wait_closed()

    async with serving(Fragmenting()) as (_, _, one), serving(handler) as (_, _, two):
        async with connect(one) as listening, connect(two) as ws:
            await until(lambda: len(opened) == 2)
            await listening.send("go")
            assert [await listening.recv(), await listening.recv()] == ["fragmented", "to all"]
            assert [await ws.recv(), await ws.recv()] == ["skipped", "to all"]
    assert caplog.messages == ["skipped broadcast: sending a fragmented message"]
    caplog.clear()


# framewire's client, the server of the websockets package


@on_loop
async def test_client_sends_and_receives_every_kind_of_message():
    async def handler(ws):
        async for message in ws:
            await ws.send([message[:3], message[3:]] if message == "fragment" else message)

    async with peer_serving(handler) as uri, connect(uri) as ws:
        for message in ("", "Grüße", b"", b"\x00\xff", "x" * (1 << 20), bytes(1 << 20), "fragment"):
            await ws.send(message)
            assert await ws.recv() == message
        await ws.send(b"text", text=True)
        assert await ws.recv() == "text"
        await ws.send(memoryview(bytearray(b"abc")))
        assert await ws.recv() == b"abc"
        assert 0 <= await (await ws.ping()) < 5
        assert 0 <= await (await ws.ping(b"")) < 5
        await ws.pong("unasked")


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "leaving"), (4999, "x")])
@on_loop
async def test_client_sees_the_servers_close(code, reason):
    async def handler(ws):
        await ws.send("one")
        await ws.close(code, reason)

    async with peer_serving(handler) as uri:
        ws = await connect(uri)
        messages = []
        try:
            async for message in ws:
                messages.append(message)
        except framewire.ConnectionClosedError:
            assert code >= 3000
        else:
            assert code < 3000
        assert messages == ["one"]
        await ws.wait_closed()
        assert (ws.close_code, ws.close_reason) == (code, reason)


@on_loop
async def test_client_closes_with_code_and_reason():
    ends = []

    async def handler(ws):
        await ws.wait_closed()
        ends.append((ws.close_code, ws.close_reason))

    async with peer_serving(handler) as uri:
        async with connect(uri) as ws:
            await ws.close(3999, "done")
        async with connect(uri):
            pass
        with pytest.raises(ZeroDivisionError):
            async with connect(uri):
                raise ZeroDivisionError
        await until(lambda: len(ends) == 3)
    assert ends == [(3999, "done"), (1000, ""), (1011, "")]


@on_loop
async def test_connect_raises_the_specific_error():
    async with peer_serving(echo, process_request=lambda ws, request: ws.respond(503, "busy\n")) as uri:
        with pytest.raises(framewire.ResponseError, match="503") as caught:
            await connect(uri)
        assert caught.value.response.body == b"busy\n"
    with pytest.raises(ConnectionRefusedError):
        await connect(uri)
    for wrong in ("http://localhost/", "ws://localhost/#fragment", "ws://"):
        with pytest.raises(framewire.UriError):
            connect(wrong)
    with pytest.raises(ValueError, match="wss"):
        connect("ws://localhost/", ssl=ssl.create_default_context())


@over_tcp
@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 101 Swi", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]
)
@on_loop
async def test_client_rejects_a_server_that_does_not_speak_websocket(answer):
    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        with pytest.raises(framewire.ResponseError):
            await connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


@over_tcp
@on_loop
async def test_connect_raises_timeout_error_after_open_timeout():
    accepted = []

    async def silence(reader, writer):
        accepted.append(writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silence, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match=r"timed out during opening handshake, after 0\.2 seconds"):
            await connect(uri, open_timeout=0.2)
        assert time.monotonic() - begin < 3
        task = asyncio.ensure_future(connect(uri).__aenter__())
        await until(lambda: len(accepted) == 2)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


@over_tcp
@on_loop
async def test_client_cuts_a_server_that_keeps_the_socket_open():
    async def talk(reader, writer):
        handshake = ServerHandshake()
        handshake.receive(await reader.readuntil(b"\r\n\r\n"))
        stream = framewire.Stream(framewire.SERVER)
        writer.write(handshake.accept() + stream.send("with the answer"))
        await reader.read(100)
        writer.write(stream.close(1000))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with connect(uri, close_timeout=0.3) as ws:
            assert await ws.recv() == "with the answer"
            begin = time.monotonic()
        assert 0.2 < time.monotonic() - begin < 3
        assert ws.close_code == 1000


@on_loop
async def test_tls_verifies_the_server_by_default(network, caplog):
    async with serving(ssl=ends.server_side()) as (server, _, _):
        port, _ = address_of(server)
        with pytest.raises(ssl.SSLCertVerificationError):
            await framewire.asyncio.connect(f"wss://localhost:{port}/", host="127.0.0.1")
    if "aiofastnet" in network:  # which logs an error for a peer that ends within the TLS handshake
        caplog.clear()
