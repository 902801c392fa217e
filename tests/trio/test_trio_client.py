"""The trio client: opening, tasks and cancellation, redirects, proxies, reconnecting."""

import contextlib
import functools
import gc
import ssl
import subprocess
import sys

import pytest
import trio
import trio.testing
from backends import needed
from ends import CERTIFICATE, server_side
from proxies import OPEN, answering, proxying, socks5
from trio_ends import accept, connect, echo, on_trio, port_of, read_head, serving

from framewire import (
    Close,
    ConnectionClosedError,
    ResponseError,
    SecurityError,
    State,
    StateError,
    StatusError,
    UriError,
)
from framewire.errors import ProxyError
from framewire.trio import ClientConnection, unix_connect

pytestmark = pytest.mark.both_backends

TRUST = ssl.create_default_context(cafile=str(CERTIFICATE))


async def check(connecting):
    async with connecting as ws:
        await ws.send("through")
        assert await ws.recv() == "through"


# Tasks and cancellation


@on_trio
async def test_exception_of_the_body_is_raised_unchanged():
    async with serving() as (_, uri):
        with pytest.raises(ValueError, match="mine"):
            async with connect(uri):
                raise ValueError("mine")
        with pytest.raises(ConnectionClosedError):
            async with connect(uri, max_size=1) as ws:
                await ws.send("xx")
                await ws.recv()


@on_trio
async def test_cancelled_body_leaves_no_task_and_raises_only_cancelled():
    tasks = trio.lowlevel.current_statistics
    async with serving() as (_, uri):
        before = tasks().tasks_living
        caught = []
        with trio.move_on_after(0.1) as scope:
            try:
                async with connect(uri) as ws:
                    await ws.recv()
            except BaseException as error:
                caught.append(type(error))
                raise
        assert scope.cancelled_caught
        assert caught == [trio.Cancelled]
        assert ws.state is State.CLOSED
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert tasks().tasks_living == before


@on_trio
async def test_cancelled_opening_closes_the_stream():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0]:
        with trio.move_on_after(0.1) as scope:
            async with connect(f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"):
                pass
        assert scope.cancelled_caught
        async with await listeners[0].accept() as stream:
            await read_head(stream)
            assert await stream.receive_some() == b""


@on_trio(autojump=True)
async def test_opening_takes_open_timeout_at_most():
    ours, theirs = trio.testing.memory_stream_pair()
    with pytest.raises(TimeoutError):
        async with connect("ws://example.org/", stream=ours, open_timeout=7):
            pass
    assert trio.current_time() == 7
    await read_head(theirs)
    assert await theirs.receive_some() == b""


async def open_and_fail(nursery, error):
    """Open a connection to a server that accepts, which raises `error`; return the connection."""

    async def serve():
        peer = await accept(theirs)
        assert await peer.read_to_end() == []

    def create_connection(*arguments):
        made.append(ClientConnection(*arguments))
        return made[0]

    made = []
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as servers:
        servers.start_soon(serve)
        with pytest.raises(error):
            await connect("ws://example.org/", stream=ours, create_connection=create_connection).open(nursery)
    return made[0]


@on_trio(autojump=True)
async def test_connection_in_a_nursery_that_is_closed_has_ended():
    async with trio.open_nursery() as nursery:
        pass
    ws = await open_and_fail(nursery, RuntimeError)
    with trio.fail_after(100):
        await ws.wait_closed()
    assert ws.state is State.CLOSED
    with pytest.raises(StateError):
        await ws.recv()


@on_trio(autojump=True)
async def test_connection_whose_session_cannot_be_made_has_ended(monkeypatch):
    def fail(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("framewire.trio.driver.Session", fail)
    async with trio.open_nursery() as nursery:
        ws = await open_and_fail(nursery, MemoryError)
        with trio.fail_after(100):
            await ws.wait_closed()
        assert ws.state is State.CLOSED


@on_trio(autojump=True)
async def test_stream_of_the_caller_is_used():
    ours, theirs = trio.testing.memory_stream_pair()

    async def serve():
        peer = await accept(theirs)
        await peer.send(b"\x81\x02hi", b"\x88\x00")
        assert (await peer.read_to_end(), await theirs.aclose()) == ([Close(1005, "")], None)

    async with trio.open_nursery() as nursery:

        async def close():
            await trio.sleep(5)
            await theirs.send_stream.aclose()

        nursery.start_soon(serve)
        nursery.start_soon(close)
        async with connect("ws://example.org/", stream=ours) as ws:
            assert [message async for message in ws] == ["hi"]
            assert (ws.local_address, ws.remote_address) == (None, None)


@on_trio
async def test_connect_cannot_be_entered_concurrently():
    async def process_request(connection, request):
        with pytest.raises(RuntimeError, match="entered already"):
            await connecting.__aenter__()

    async with serving(process_request=process_request) as (_, uri):
        connecting = connect(uri)
        async with connecting:
            with pytest.raises(RuntimeError, match="entered already"):
                await connecting.__aenter__()
        await check(connecting)


@on_trio
async def test_invalid_arguments_are_rejected_when_given():
    with pytest.raises(UriError):
        connect("http://example.org/")
    with pytest.raises(ValueError, match="ssl"):
        connect("ws://example.org/", ssl=TRUST)
    for options in ({}, {"path": "x", "stream": object()}):
        with pytest.raises(ValueError, match="either"):
            unix_connect(**options)
    for options in (
        {"ping_intervall": 3},
        {"stream": object(), "ping_intervall": 3},
        {"stream": object(), "max_unsent": 3},
        {"stream": object(), "host": "localhost"},
    ):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            connect("ws://example.org/", **options)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        unix_connect("x", local_address="127.0.0.1")


@on_trio
async def test_server_that_fails_tls_or_the_handshake_is_an_error():
    async with serving(tls=True) as (_, uri):
        with pytest.raises(trio.BrokenResourceError):
            async with connect(uri, ssl=ssl.create_default_context()):
                pass

    async def other(stream):
        with contextlib.suppress(trio.BrokenResourceError):
            await read_head(stream)
            await stream.send_all(b"220 smtp.example\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(functools.partial(trio.serve_tcp, other, 0, host="127.0.0.1"))
        with pytest.raises(ResponseError):
            async with connect(f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"):
                pass
        nursery.cancel_scope.cancel()


@on_trio(autojump=True)
async def test_stream_that_is_lost_in_the_opening_handshake_is_an_incomplete_response():
    for half in ("send_stream", "receive_stream"):
        ours, theirs = trio.testing.memory_stream_pair()
        getattr(ours, half).close()
        with pytest.raises(ResponseError) as caught:
            async with connect("ws://example.org/", stream=ours):
                pass
        assert isinstance(caught.value.__cause__, EOFError)
        await theirs.aclose()


@on_trio(autojump=True)
async def test_extension_with_parameters_that_were_not_offered_is_an_error():
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, theirs, b"Sec-WebSocket-Extensions: permessage-deflate; unknown\r\n")
        with pytest.raises(ResponseError, match="unknown"):
            async with connect("ws://example.org/", stream=ours):
                pass


# Redirects


def redirecting(locations):
    def process_request(ws, request):
        location = locations.get(request.path)
        if location is None:
            return None
        response = ws.respond(302, "")
        response.headers["Location"] = location
        return response

    return process_request


@on_trio
async def test_redirects_are_followed_without_credentials_to_another_origin():
    seen = []

    def note(ws, request):
        seen.append((request.path, request.headers.get("Authorization"), request.headers.get("X-Mine")))

    async with serving(process_request=note) as (_, elsewhere):
        locations = {"/path": "/same", "/same": elsewhere}
        async with serving(process_request=redirecting(locations)) as (_, uri):
            headers = {"Authorization": "Bearer secret", "X-Mine": "1"}
            async with connect(uri, additional_headers=headers) as ws:
                assert ws.request.path == "/path"
    assert seen == [("/path", None, "1")]


@on_trio
async def test_invalid_redirects_raise_errors():
    locations = {"/path": "/path", "/other": "ws://example.org/"}
    async with serving(process_request=redirecting(locations)) as (server, uri):
        with pytest.raises(SecurityError):
            async with connect(uri):
                pass
        with pytest.raises(ValueError, match="redirect"):
            async with connect("ws://elsewhere/other", host="127.0.0.1", port=port_of(server)):
                pass
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(server))
        with pytest.raises(ValueError, match="redirect"):
            async with connect(uri, stream=stream):
                pass


# Proxies


@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
@on_trio
async def test_proxy_connects_to_the_server(kind, tls):
    if kind == "socks5h":
        needed("python_socks")
    greet = socks5 if kind == "socks5h" else answering(OPEN)
    secure = {"ssl": server_side()} if kind == "https" else {}
    async with serving(tls=tls) as (server, uri):
        with proxying(greet, **secure) as port:
            options = {"proxy_ssl": TRUST} if kind == "https" else {}
            uri = f"{uri.split(':')[0]}://localhost:{port_of(server)}/"
            await check(connect(uri, proxy=f"{kind}://localhost:{port}", **options))


@on_trio
async def test_proxy_of_the_environment_is_used_and_its_refusal_raises(monkeypatch):
    with proxying(answering(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")) as port:
        async with serving() as (server, _):
            uri = f"ws://localhost:{port_of(server)}/"
            monkeypatch.setenv("ws_proxy", f"http://127.0.0.1:{port}")
            with pytest.raises(ProxyError, match="403"):
                async with connect(uri, proxy=True):
                    pass
            await check(connect(uri, proxy=None))
            with pytest.raises(ValueError, match="proxy_ssl"):
                async with connect(uri, proxy=True, proxy_ssl=TRUST):
                    pass


@on_trio
async def test_socks_proxy_that_refuses_or_is_not_there_is_an_error():
    needed("python_socks")

    async def refuse(reader, writer):
        await reader.readexactly(3)
        writer.write(b"\x05\xff")

    with proxying(refuse) as port, pytest.raises(ProxyError):
        async with connect("ws://localhost/", proxy=f"socks5h://127.0.0.1:{port}"):
            pass
    with pytest.raises(OSError, match="connect"):
        async with connect("ws://localhost/", proxy=f"socks5h://127.0.0.1:{port}"):
            pass


@on_trio
async def test_socks_proxy_is_reached_from_the_local_address():
    needed("python_socks")
    async with serving() as (server, _):
        with proxying(socks5) as port:
            uri = f"ws://localhost:{port_of(server)}/"
            await check(connect(uri, proxy=f"socks5h://127.0.0.1:{port}", local_address="127.0.0.1"))


# Reconnecting


def delays():
    while True:
        yield 0.01


@on_trio
async def test_iteration_opens_one_connection_after_another():
    async def handler(ws):
        await ws.send("once")
        await ws.aclose(4000)

    def process_request(ws, request):
        attempts.append(ws)
        if len(attempts) in (1, 3):
            return ws.respond(503, "")
        return ws.respond(402, "") if len(attempts) == 6 else None

    attempts, received = [], []
    async with serving(handler, process_request=process_request) as (_, uri):
        with pytest.raises(StatusError) as caught:
            async for ws in connect(uri, reconnect_delays=delays):
                received.append(await ws.recv())
        assert caught.value.status == 402
    assert received == ["once"] * 3
    assert len(attempts) == 6


@on_trio
async def test_process_exception_decides_on_another_attempt():
    async with serving(process_request=lambda ws, request: ws.respond(418, "")) as (_, uri):
        verdicts = [None, ValueError("mine")]
        with pytest.raises(ValueError, match="mine"):
            async for _ in connect(uri, process_exception=lambda error: verdicts.pop(0), reconnect_delays=delays):
                pass


@pytest.mark.parametrize("way", ["break", "raise", "cancel", "aclosing"])
@on_trio
async def test_iteration_left_in_any_way_closes_its_connection(way):
    async with serving(close_timeout=1) as (_, uri):
        with contextlib.suppress(ValueError), trio.CancelScope() as scope:
            async with (
                contextlib.aclosing(aiter(connect(uri)))
                if way == "aclosing"
                else contextlib.nullcontext(connect(uri)) as connections
            ):
                async for ws in connections:
                    await ws.send("x")
                    assert await ws.recv() == "x"
                    if way == "raise":
                        raise ValueError
                    if way == "cancel":
                        scope.cancel()
                        await trio.sleep_forever()
                    break
        gc.collect()
        with trio.fail_after(5):
            await ws.wait_closed()
        assert ws.close_code == 1000


@on_trio
async def test_iteration_that_another_thread_collects_closes_its_connection():
    async with serving(close_timeout=1) as (_, uri):
        iterators = [aiter(connect(uri))]
        ws = await anext(iterators[0])
        await trio.to_thread.run_sync(iterators.clear)
        with trio.fail_after(5):
            await ws.wait_closed()
        assert ws.close_code == 1000


@on_trio
async def test_iteration_closes_each_connection_before_the_next():
    async with serving(echo) as (_, uri):
        before = []
        async with contextlib.aclosing(aiter(connect(uri))) as connections:
            async for ws in connections:
                assert [each.state for each in before] == [State.CLOSED] * len(before)
                before.append(ws)
                if len(before) == 3:
                    break
        assert ws.state is State.CLOSED


@on_trio
async def test_create_connection_makes_the_connection():
    class Own(ClientConnection):
        pass

    async with serving() as (_, uri):
        async with connect(uri, create_connection=Own) as ws:
            assert type(ws) is Own
            assert ws.logger.name == "framewire.client"


def test_anyio_tasks_and_cancel_scopes_work_on_trio():
    anyio = needed("anyio")

    async def handler(ws):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(echo, ws)

    async def main():
        async with serving(handler) as (_, uri), connect(uri) as ws:
            with anyio.move_on_after(0.1) as scope:
                await ws.recv()
            assert scope.cancelled_caught
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.send, "x")
                assert await ws.recv() == "x"

    anyio.run(main, backend="trio")


@pytest.mark.parametrize("module", ["framewire.trio", "framewire.testing.trio"])
def test_import_without_trio_names_the_extra(module):
    code = f"import sys; sys.modules['trio'] = None; import {module}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1] == f"ImportError: {module} needs trio: pip install framewire[trio]"
