"""`framewire.testing`: connections in memory, scripted peers, ASGI applications, fixtures."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from math import inf

import pytest
import trio
import trio.testing
from ends import client_side, on_loop, server_side
from frames import REQUEST, explained
from trio_ends import on_trio

import framewire.asyncio
import framewire.sync
from framewire import (
    Close,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    Ping,
    ResponseError,
    State,
    StatusError,
)
from framewire.testing import VIOLATIONS, asgi, sync
from framewire.testing import asyncio as on_asyncio
from framewire.testing import trio as in_trio
from framewire.testing.memory import connect_in_memory


async def echo(ws):
    async for message in ws:
        await ws.send(message)


def echo_blocking(ws):
    for message in ws:
        ws.send(message)


async def hang(ws):
    await trio.sleep_forever()


class BrokenError(Exception):
    """An application is broken."""


async def fail(ws):
    raise BrokenError


def fail_blocking(ws):
    raise BrokenError


# Handlers.


@on_loop
async def test_asyncio_handler_answers_a_client_in_memory():
    async with on_asyncio.connect(echo, "/room?x=1", subprotocols=["b"], server={"subprotocols": ["a", "b"]}) as ws:
        assert (ws.request.path, ws.subprotocol) == ("/room?x=1", "b")
        for message in ("text", b"binary", bytes(3_000_000)[:900_000]):
            await ws.send(message)
            assert await ws.recv() == message
    assert ws.close_code == 1000


def test_sync_handler_answers_a_client_over_a_socket_pair():
    with sync.connect(echo_blocking, "ws://example.org/room") as ws:
        assert ws.request.headers["Host"] == "example.org"
        ws.send(bytes(900_000))
        assert ws.recv() == bytes(900_000)
    assert ws.close_code == 1000


@on_trio
async def test_trio_handler_answers_a_client_in_memory():
    async with in_trio.connect(echo, subprotocols=["a"], server={"subprotocols": ["a"]}) as ws:
        assert ws.subprotocol == "a"
        await ws.send(bytes(900_000))
        assert await ws.recv() == bytes(900_000)
    assert ws.close_code == 1000


@on_loop
async def test_asyncio_test_raises_what_the_handler_raised():
    with pytest.raises(BrokenError) as caught:
        async with on_asyncio.connect(fail) as ws:
            await ws.recv()
    assert isinstance(caught.value.__cause__, ConnectionClosedError)
    assert caught.value.__cause__.code == 1011
    with pytest.raises(BrokenError):
        async with on_asyncio.connect(fail):
            pass


def test_sync_test_raises_what_the_handler_raised():
    with pytest.raises(BrokenError):
        with sync.connect(fail_blocking) as ws:
            ws.recv()
    with pytest.raises(BrokenError):
        with sync.connect(fail_blocking) as ws:
            ws._driver.wait_ended()


@on_trio
async def test_trio_test_raises_what_the_handler_raised():
    with pytest.raises(BrokenError):
        async with in_trio.connect(fail) as ws:
            await ws.recv()


@on_loop
async def test_failure_of_the_test_is_not_replaced_and_does_not_wait_for_the_handler():
    with pytest.raises(AssertionError):
        async with on_asyncio.connect(lambda ws: asyncio.sleep(60)):
            raise AssertionError


@on_trio
async def test_failure_of_a_trio_test_is_not_wrapped_in_a_group():
    with pytest.raises(AssertionError):
        async with in_trio.connect(hang):
            raise AssertionError


@on_trio
async def test_outcome_of_a_trio_test_is_not_wrapped_in_a_group():
    with pytest.raises(pytest.fail.Exception):
        async with in_trio.connect(hang):
            pytest.fail("not so")


@pytest.mark.parametrize("error", [pytest.fail.Exception, BrokenError])
def test_any_exception_of_a_handler_is_raised_by_the_test(error):
    async def handler(ws):
        await ws.recv()
        raise error

    def handler_blocking(ws):
        ws.recv()
        raise error

    async def test(module):
        with pytest.raises(error):
            async with module.connect(handler) as ws:
                await ws.send("go on")
                await ws.wait_closed()

    with pytest.raises(error):
        with sync.connect(handler_blocking) as ws:
            ws.send("go on")
            assert ws.wait_closed(10)
    on_loop(test)(on_asyncio)
    on_trio(test)(in_trio)


class GroupError(Exception):  # as ExceptionGroup, which Python 3.10 lacks
    def __init__(self, *exceptions):
        self.exceptions = exceptions


def test_handler_that_ends_with_its_connection_in_a_group_has_not_failed():
    async def handler_in_nursery(ws):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ws.recv)

    def handler(ws):
        try:
            ws.recv()
        except ConnectionClosed as error:
            raise GroupError(error) from error

    async def test():
        async with in_trio.connect(handler_in_nursery) as ws:
            await ws.aclose(4000)

    with sync.connect(handler) as ws:
        ws.close(4000)
    on_trio(test)()


def test_handler_that_ends_with_another_connection_has_failed():
    async def handler(ws):
        raise ConnectionClosedOK(None, None)

    def handler_blocking(ws):
        raise ConnectionClosedOK(None, None)

    async def test(module):
        with pytest.raises(ConnectionClosedOK) as caught:
            async with module.connect(handler) as ws:
                await ws.recv()
        assert caught.value.__cause__.code == 1011

    with pytest.raises(ConnectionClosedOK) as caught:
        with sync.connect(handler_blocking) as ws:
            ws.recv(10)
    assert caught.value.__cause__.code == 1011
    on_loop(test)(on_asyncio)
    on_trio(test)(in_trio)


def test_invalid_option_of_the_server_is_raised():
    async def test(module):
        with pytest.raises(ValueError, match="max_queue"):
            async with module.connect(echo, server={"max_queue": -1}):
                pass

    with pytest.raises(ValueError, match="max_queue"):
        with sync.connect(echo_blocking, server={"max_queue": -1}):
            pass
    on_loop(test)(on_asyncio)
    on_trio(test)(in_trio)


@on_loop
async def test_asyncio_handler_that_hangs_is_cancelled_after_timeout():
    cancelled = asyncio.Event()

    async def hang(ws):
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    with pytest.raises(asyncio.TimeoutError):
        async with on_asyncio.connect(hang, timeout=0.05) as ws:
            await ws.recv()
    assert cancelled.is_set()
    with pytest.raises(asyncio.TimeoutError):
        async with on_asyncio.connect(hang, timeout=0.05):
            pass  # the handler goes on after the test


@pytest.fixture
def stalled():
    """Return an event that is set after the test, and a function that waits for it."""
    event = threading.Event()
    yield lambda connection: event.wait(60)
    event.set()


def test_sync_handler_that_waits_for_something_else_is_not_waited_for_after_timeout(stalled):
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        with sync.connect(stalled, timeout=0.1):
            pass
    assert time.monotonic() - start < 30


def test_script_that_waits_for_something_else_fails_the_test_after_timeout(stalled):
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        with sync.serve_peer(stalled, timeout=0.1) as uri:
            framewire.sync.connect(uri, proxy=None)
    assert time.monotonic() - start < 30


def test_sync_connection_over_tls_is_cut_after_timeout():
    ended = []
    with pytest.raises(TimeoutError):
        with sync.connect(
            echo_blocking, "wss://localhost/", timeout=0.5, ssl=client_side(), server={"ssl": server_side()}
        ) as ws:
            ended.append(ws.wait_closed(10))
    assert ended == [True]


@pytest.mark.parametrize("timeout", [None, inf])
def test_sync_timeout_may_be_of_any_length(timeout):
    with sync.pair(timeout=timeout) as (client, server):
        client.send("text")
        assert server.recv(10) == "text"
    with sync.serve_peer(lambda peer: peer.send(peer.receive()), timeout=timeout) as uri:
        with framewire.sync.connect(uri, proxy=None) as ws:
            ws.send("text")
            assert ws.recv(10) == "text"


def test_sync_connection_is_cut_after_timeout():
    with pytest.raises(TimeoutError):
        with sync.connect(echo_blocking, timeout=0.05) as ws:
            ws.recv()
    with pytest.raises(TimeoutError):
        with sync.connect(echo_blocking, timeout=0.05) as ws:
            ws._driver.wait_ended()


@on_trio(autojump=True)
async def test_trio_handler_that_hangs_is_cancelled_after_timeout_of_virtual_time():
    with pytest.raises(trio.TooSlowError):
        async with in_trio.connect(hang, timeout=1000, ping_interval=None) as ws:
            await ws.recv()
    assert 1000 <= trio.current_time() < 1_000_000


@on_loop
async def test_asyncio_request_can_be_refused():
    options = {"process_request": lambda connection, request: connection.respond(404, "not here")}
    with pytest.raises(StatusError) as caught:
        async with on_asyncio.connect(echo, server=options):
            pass
    assert caught.value.response.body == b"not here"


# Pairs.


@on_loop
async def test_asyncio_pair_gives_both_ends():
    async with on_asyncio.pair(max_size=10, server={"max_size": 20}) as (client, server):
        await client.send("to the server")
        assert await server.recv() == "to the server"
        await server.send("to the client")
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert client.remote_address == server.local_address == ("127.0.0.1", 80)
    assert (client.state, server.close_code) == (State.CLOSED, 1009)


def test_sync_pair_gives_both_ends():
    with sync.pair() as (client, server):
        server.send("text")
        assert client.recv(5) == "text"
        client.close(4000, "enough")
        with pytest.raises(ConnectionClosedError) as caught:
            server.recv(5)
        assert caught.value.code == 4000


@on_trio
async def test_trio_pair_gives_both_ends():
    async with in_trio.pair() as (client, server):
        await server.send("text")
        assert await client.recv() == "text"
        await client.aclose()
        with pytest.raises(ConnectionClosedOK):
            await server.recv()


@on_loop
async def test_asyncio_pair_in_memory_has_backpressure():
    async with on_asyncio.pair(max_queue=1, compression=None) as (client, server):
        with pytest.raises(asyncio.TimeoutError):
            for _ in range(100):
                await asyncio.wait_for(server.send(bytes(100_000)), 0.1)
        assert server.transport.get_write_buffer_size() > 1 << 15
        assert len(await client.recv()) == 100_000


def _spoil(connection, request, response):
    response.headers["Sec-WebSocket-Accept"] = "another key"


@on_loop
async def test_asyncio_pair_raises_the_refusal_of_its_client():
    with pytest.raises(ResponseError, match="Sec-WebSocket-Accept"):
        async with on_asyncio.pair(server={"process_response": _spoil}):
            pass


def test_sync_pair_raises_the_refusal_of_its_client():
    ended = threading.Event()

    def run():
        with pytest.raises(ResponseError, match="Sec-WebSocket-Accept"):
            with sync.pair(server={"process_response": _spoil}):
                pass
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    assert ended.wait(10)


@on_trio
async def test_trio_pair_raises_the_refusal_of_its_client():
    with pytest.raises(ResponseError, match="Sec-WebSocket-Accept"):
        async with in_trio.pair(server={"process_response": _spoil}):
            pass


def test_sync_pair_ends_although_neither_end_has_received_its_messages():
    start = time.monotonic()
    with sync.pair() as (client, server):
        for _ in range(20):
            client.send("to the server")
            server.send("to the client")
    assert time.monotonic() - start < 9  # a close timeout has 10 seconds


# Scripted clients.


@on_loop
@pytest.mark.parametrize("violation", VIOLATIONS)
async def test_violation_of_an_asyncio_peer_is_answered_with_its_code(violation):
    async with on_asyncio.connect_peer(echo) as peer:
        await peer.send("first")
        await peer.violate(violation)
        assert [await peer.receive(), await peer.receive()] == ["first", explained(VIOLATIONS[violation])]
        with pytest.raises(EOFError):
            await peer.receive()


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_violation_of_a_blocking_peer_is_answered_with_its_code(violation):
    with sync.connect_peer(echo_blocking) as peer:
        peer.violate(violation)
        assert peer.receive() == explained(VIOLATIONS[violation])


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_violation_of_a_trio_peer_is_answered_with_its_code(violation):
    @on_trio
    async def run():
        async with in_trio.connect_peer(echo) as peer:
            await peer.violate(violation)
            assert await peer.receive() == explained(VIOLATIONS[violation])

    run()


@on_loop
async def test_asyncio_peer_receives_a_message_of_many_steps():
    async with on_asyncio.connect_peer(lambda ws: ws.send(bytes(1_000_000))) as peer:
        assert await asyncio.wait_for(peer.receive(), 5) == bytes(1_000_000)


@on_loop
async def test_asyncio_peer_cuts_ends_and_closes():
    ends = []

    async def handler(ws):
        with contextlib.suppress(ConnectionClosed):
            await ws.recv()
        ends.append((ws.close_code, ws.close_reason))

    async with on_asyncio.connect_peer(handler) as peer:
        peer.cut()
    async with on_asyncio.connect_peer(handler) as peer:
        peer.end()
        with pytest.raises(EOFError):
            await peer.receive()
    async with on_asyncio.connect_peer(handler, headers=[("Cookie", "a=b")]) as peer:
        assert peer.response.status == 101
        await peer.send_close(3999, "bye")
        assert await peer.receive() == Close(3999, "bye")
    assert ends == [(1006, ""), (1006, ""), (3999, "bye")]


@on_loop
async def test_asyncio_peer_whose_receive_is_cancelled_loses_no_message():
    connections = asyncio.Queue()

    async def handler(ws):
        await connections.put(ws)
        await ws.wait_closed()

    async with on_asyncio.connect_peer(handler) as peer:
        ws = await connections.get()
        for turns in range(5):  # the message arrives before, in or after the turn of the cancellation
            receiving = asyncio.create_task(peer.receive())
            await asyncio.sleep(0)
            await ws.send("first")
            for _ in range(turns):
                await asyncio.sleep(0)
            receiving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                assert await receiving == "first"
                continue
            await ws.send("second")
            assert [await peer.receive(), await peer.receive()] == ["first", "second"]


@on_trio
async def test_trio_peer_cuts_ends_and_closes():
    ends = []

    async def handler(ws):
        with contextlib.suppress(ConnectionClosed):
            await ws.recv()
        ends.append(ws.close_code)

    async with in_trio.connect_peer(handler) as peer:
        peer.cut()
    async with in_trio.connect_peer(handler) as peer:
        await peer.end()
        with pytest.raises(EOFError):
            await peer.receive()
    async with in_trio.connect_peer(handler) as peer:
        await peer.send_close(None)
        assert await peer.receive() == Close(1005, "")
    assert ends == [1006, 1006, 1005]


@on_trio(autojump=True)
async def test_trio_peer_that_stalls_fails_the_keepalive_in_virtual_time():
    codes = []

    async def handler(ws):
        with contextlib.suppress(ConnectionClosed):
            await ws.recv()
        codes.append(ws._session.close_state.sent.code)

    begin = trio.current_time()
    async with in_trio.connect_peer(handler, timeout=1000) as peer:
        await trio.sleep(60)
        assert isinstance(await peer.receive(), Ping)
    assert codes == [1011]
    assert trio.current_time() >= begin + 60


# Transports.


class Recorder(asyncio.Protocol):
    """A protocol that records its callbacks."""

    keep_open = False

    def __init__(self):
        self.calls = []

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.calls.append(data)

    def eof_received(self):
        self.calls.append("eof")
        return self.keep_open

    def connection_lost(self, exc):
        self.calls.append(exc)


@on_loop
async def test_memory_transport_passes_bytes_then_the_end_to_both_sides():
    client, server = Recorder(), Recorder()
    connect_in_memory(client, server)
    client.transport.write(b"a")
    client.transport.writelines([b"b", b"c"])
    client.transport.close()
    await asyncio.sleep(0.01)
    assert (server.calls, client.calls) == ([b"abc", "eof", None], [None])


@on_loop
async def test_memory_transport_can_be_closed_in_one_direction():
    client, server = Recorder(), Recorder()
    server.keep_open = True
    connect_in_memory(client, server)
    client.transport.write_eof()
    with pytest.raises(RuntimeError):
        client.transport.write(b"late")
    await asyncio.sleep(0.01)
    server.transport.write(b"answer")
    server.transport.close()
    await asyncio.sleep(0.01)
    assert (server.calls, client.calls) == (["eof", None], [b"answer", "eof", None])


@on_loop
async def test_memory_transport_delivers_nothing_while_reading_is_paused():
    client, server = Recorder(), Recorder()
    connect_in_memory(client, server)
    server.transport.pause_reading()
    client.transport.write(b"a")
    client.transport.close()
    await asyncio.sleep(0.01)
    assert (server.calls, client.calls, client.transport.get_write_buffer_size()) == ([], [], 1)
    server.transport.resume_reading()
    await asyncio.sleep(0.01)
    assert (server.calls, client.calls) == ([b"a", "eof", None], [None])


@on_loop
async def test_memory_transport_reset_is_an_error_at_the_other_end():
    client, server = Recorder(), Recorder()
    connect_in_memory(client, server)
    client.transport.write(b"lost")
    client.transport.reset()
    await asyncio.sleep(0.01)
    assert isinstance(server.calls.pop(), ConnectionResetError)
    assert (server.calls, client.calls) == ([], [None])


# Scripted servers.


def test_scripted_server_misbehaves_with_each_connection_in_turn():
    def talk(peer):
        assert peer.receive() == "hello"
        peer.send("hi")
        peer.send_close(1001, "later")

    refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nfull"
    with sync.serve_peer(refusal, lambda peer: peer.cut(), lambda peer: peer.violate("reserved bit"), talk) as uri:
        with pytest.raises(StatusError) as refused:
            framewire.sync.connect(uri, proxy=None)
        assert (refused.value.response.status, refused.value.response.body) == (503, b"full")
        for code in (1006, 1002):
            with framewire.sync.connect(uri, proxy=None) as ws:
                with pytest.raises(ConnectionClosedError) as caught:
                    ws.recv(5)
            assert (caught.value.rcvd or caught.value.sent or Close(1006, "")).code == code
        for _ in range(2):
            with framewire.sync.connect(uri, proxy=None, subprotocols=["chat"]) as ws:
                assert ws.subprotocol == "chat"
                ws.send("hello")
                assert ws.recv(5) == "hi"
                with pytest.raises(ConnectionClosedOK):
                    ws.recv(5)


def test_exception_of_a_script_is_raised_by_the_test():
    def script(peer):
        assert peer.receive() == "other"

    with pytest.raises(AssertionError):
        with sync.serve_peer(script) as uri, framewire.sync.connect(uri, proxy=None) as ws:
            ws.send("hello")
            ws.recv(5)


def test_wait_of_a_script_that_takes_too_long_fails_the_test():
    with pytest.raises(TimeoutError):
        with sync.serve_peer(lambda peer: peer.receive(), timeout=0.05) as uri:
            with framewire.sync.connect(uri, proxy=None) as ws:
                assert ws.wait_closed(10)


def test_client_that_keeps_a_scripted_answer_waiting_fails_no_test():
    with sync.serve_peer(b"HTTP/1.1 204 No Content\r\n\r\n", timeout=0.05) as uri:
        with socket.create_connection(("127.0.0.1", int(uri.split(":")[2].strip("/"))), 10) as plain:
            plain.sendall(REQUEST)
            while plain.recv(100):
                pass
            assert plain.recv(100) == b""


def test_script_that_waits_ends_with_the_block():
    received = threading.Event()

    def script(peer):
        peer.receive()
        received.set()
        peer.receive()

    with sync.serve_peer(script) as uri:
        ws = framewire.sync.connect(uri, proxy=None)
        ws.send("hello")
        assert received.wait(5)
    with pytest.raises(ConnectionClosedError):
        ws.recv(5)


def test_scripted_server_needs_a_script():
    with pytest.raises(TypeError), sync.serve_peer():
        pass


# ASGI.


def asgi_app(*answer, then=None):
    """Return an application that sends events, then runs `then(receive, send)`."""

    async def app(scope, receive, send):
        assert await receive() == {"type": "websocket.connect"}
        for event in answer:
            await send(event)
        if then:
            await then(receive, send)

    return app


ACCEPT = {"type": "websocket.accept"}


async def asgi_echo(receive, send):
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})
    assert event == {"type": "websocket.disconnect", "code": 4001, "reason": "done"}


@on_loop
async def test_asgi_application_gets_scope_messages_and_close_code():
    scopes = []
    inner = asgi_app({**ACCEPT, "subprotocol": "b", "headers": [(b"x-room", b"1")]}, then=asgi_echo)

    async def app(scope, receive, send):
        scopes.append(scope)
        await inner(scope, receive, send)

    options = {"subprotocols": ["a", "b"], "additional_headers": {"Cookie": "k=v"}, "origin": "https://example.com"}
    async with asgi.connect(app, "wss://example.org/caf%C3%A9?q=1", **options) as ws:
        assert (ws.subprotocol, ws.response.headers["X-Room"]) == ("b", "1")
        await ws.send("text")
        await ws.send(b"binary")
        assert [await ws.recv(), await ws.recv()] == ["text", b"binary"]
        await ws.close(4001, "done")
    (scope,) = scopes
    assert scope["type"] == "websocket"
    assert (scope["scheme"], scope["path"], scope["raw_path"]) == ("wss", "/café", b"/caf%C3%A9")
    assert (scope["query_string"], scope["subprotocols"]) == (b"q=1", ["a", "b"])
    assert (b"cookie", b"k=v") in scope["headers"]
    assert (b"origin", b"https://example.com") in scope["headers"]
    assert scope["client"] == ("127.0.0.1", 50000)


@on_loop
async def test_asgi_application_closes_with_its_code():
    async with asgi.connect(asgi_app(ACCEPT, {"type": "websocket.close", "code": 4002, "reason": "no"})) as ws:
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
    assert (caught.value.code, caught.value.reason) == (4002, "no")


@on_loop
async def test_asgi_application_that_returns_closes_with_1000():
    async with asgi.connect(asgi_app(ACCEPT)) as ws:
        with pytest.raises(ConnectionClosedOK):
            await ws.recv()


@on_loop
async def test_asgi_application_denies_with_403():
    async def after_denial(receive, send):
        assert (await receive())["code"] == 1006
        with pytest.raises(OSError):
            await send({"type": "websocket.send", "text": "late"})
        await send({"type": "websocket.close"})

    with pytest.raises(StatusError) as caught:
        async with asgi.connect(asgi_app({"type": "websocket.close"}, then=after_denial)):
            pass
    assert caught.value.response.status == 403


@on_loop
async def test_asgi_application_denies_with_its_own_response():
    start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Basic")]}
    body = [{"type": "websocket.http.response.body", "body": part, "more_body": more} for part, more in
            ((b"who ", True), (b"are you", False))]  # fmt: skip
    with pytest.raises(StatusError) as caught:
        async with asgi.connect(asgi_app(start, *body)):
            pass
    response = caught.value.response
    assert (response.status, response.headers["WWW-Authenticate"], response.body) == (401, "Basic", b"who are you")


@on_loop
@pytest.mark.parametrize(("status", "body"), [(403, b"body"), (204, b""), (205, b""), (304, b"")])
async def test_denial_with_headers_of_a_framework_has_a_body_if_its_status_allows_one(status, body):
    headers = [(b"content-length", b"4"), (b"connection", b"close"), (b"x-own", b"yes")]
    start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
    with pytest.raises(StatusError) as caught:
        async with asgi.connect(asgi_app(start, {"type": "websocket.http.response.body", "body": b"body"})):
            pass
    response = caught.value.response
    assert (response.status, response.headers["X-Own"], response.body) == (status, "yes", body)


@on_loop
async def test_empty_subprotocol_of_an_asgi_application_is_none():
    async with asgi.connect(asgi_app({**ACCEPT, "subprotocol": ""}), subprotocols=["a"]) as ws:
        assert ws.subprotocol is None


@on_loop
@pytest.mark.parametrize("error", [pytest.fail.Exception, BrokenError])
@pytest.mark.parametrize("answer", [(), (ACCEPT,)])
async def test_exception_of_an_asgi_application_is_raised_by_the_test(answer, error):
    async def fail(receive, send):
        raise error

    with pytest.raises(error) as caught:
        async with asgi.connect(asgi_app(*answer, then=fail)) as ws:
            await ws.recv()
    cause = caught.value.__cause__
    assert (cause.response.status if isinstance(cause, ResponseError) else cause.code) == (1011 if answer else 500)


@on_loop
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((), RuntimeError),
        (({"type": "websocket.send", "text": "early"},), RuntimeError),
        (({**ACCEPT, "subprotocol": "c"},), ValueError),
        (({**ACCEPT, "headers": [(b"Sec-WebSocket-Accept", b"x")]},), ValueError),
        (({"type": "websocket.http.response.start", "status": 101},), RuntimeError),
        (({"type": "websocket.http.response.start", "status": 99},), RuntimeError),
        (({"type": "websocket.http.response.start", "status": 600},), RuntimeError),
        (({"type": "websocket.http.response.start", "status": 403, "headers": [(b"x", b"a\nb")]},), ValueError),
        ((ACCEPT, ACCEPT), RuntimeError),
        ((ACCEPT, {"type": "websocket.send"}), ValueError),
        ((ACCEPT, {"type": "websocket.close"}, {"type": "websocket.send", "text": "late"}), RuntimeError),
    ],
)
async def test_misuse_of_asgi_is_raised_by_the_test(answer, kind):
    with pytest.raises(kind):
        async with asgi.connect(asgi_app(*answer)) as ws:
            await ws.recv()


@on_loop
async def test_asgi_application_that_never_answers_ends_after_timeout():
    with pytest.raises(asyncio.TimeoutError):
        async with asgi.connect(asgi_app(then=lambda receive, send: asyncio.sleep(60)), timeout=0.05):
            pass
    with pytest.raises(asyncio.TimeoutError):
        async with asgi.connect(asgi_app(ACCEPT, then=lambda receive, send: asyncio.sleep(60)), timeout=0.05) as ws:
            await ws.recv()


@on_loop
async def test_asgi_application_sees_a_client_that_is_cut():
    ends = []

    async def then(receive, send):
        ends.append(await receive())
        with pytest.raises(OSError):
            await send({"type": "websocket.send", "text": "late"})

    async with asgi.connect_peer(asgi_app(ACCEPT, then=then), headers=[("Cookie", "a=b")]) as peer:
        peer.cut()
    assert ends == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


@on_loop
async def test_asgi_application_of_starlette_runs():
    pytest.importorskip("fastapi")
    from fastapi import FastAPI, WebSocket

    app = FastAPI()

    @app.websocket("/{room}")
    async def join(websocket: WebSocket, room: str):
        await websocket.accept()
        await websocket.send_json({"room": room, "message": await websocket.receive_text()})
        await websocket.close(4000)

    async with asgi.connect(app, "/lobby") as ws:
        await ws.send("hello")
        assert await ws.recv() == '{"room":"lobby","message":"hello"}'
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
        assert ws.close_code == 4000


# Fixtures.


def test_fixtures_of_pytest_connect_and_serve(tmp_path):
    tmp_path.joinpath("conftest.py").write_text('pytest_plugins = ["framewire.testing.fixtures"]\n')
    tmp_path.joinpath("test_them.py").write_text(
        "import framewire.sync\n\n\n"
        "def test_pair(websocket_pair):\n"
        "    client, server = websocket_pair\n"
        "    client.send('hello')\n"
        "    assert server.recv(5) == 'hello'\n\n\n"
        "def test_server(serve_peer):\n"
        "    with framewire.sync.connect(serve_peer(lambda peer: peer.send('hi')), proxy=None) as ws:\n"
        "        assert ws.recv(5) == 'hi'\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "2 passed" in done.stdout
