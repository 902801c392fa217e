"""Whoever comes from Appweb: what its directives and calls do, through sockets and threads."""

import asyncio
import threading
import time

import pytest

import framewire
from framewire import Close, Fragment, ResponseError
from framewire.asyncio import connect as connect_async
from framewire.asyncio import serve as serve_async
from framewire.routes import Routes
from framewire.sync import connect
from test_sync import Raw, echo, serving, until

SIZES = [0, 150, 1500, 8200, 1 << 18, 510_000]


def routed(routes):
    return serving(routes, process_request=routes.process_request)


# Routes and subprotocols.


def test_routes_with_parameters_of_the_path():
    routes = Routes()

    @routes.add("/rooms/{room}/{user}")
    def talk(ws, room, user):
        ws.send(f"{user} in {room}")

    @routes.add("/files/{name:path}")
    def read(ws, name):
        ws.send(name)

    @routes.add("/a.b")
    def exact(ws):
        ws.send("exact")

    with routed(routes) as (_, port, _):
        uri = f"ws://127.0.0.1:{port}"
        for path, said in {
            "/rooms/red%20room/ada?x=/y": "ada in red room",
            "/files/a/b/c": "a/b/c",
            "/a.b": "exact",
        }.items():
            with connect(uri + path) as ws:
                assert ws.recv(10) == said
        for path in ("/", "/rooms/x", "/rooms/x/y/z", "/rooms//y", "/files/", "/axb"):
            with pytest.raises(ResponseError) as caught:
                connect(uri + path)
            assert caught.value.response.status == 404


@pytest.mark.parametrize("pattern", ["no/slash", "/{", "/{}", "/{a b}", "/{a:int}", "/}"])
def test_patterns_that_cannot_be(pattern):
    with pytest.raises(ValueError, match="pattern"):
        Routes().add(pattern)


def test_subprotocol_of_a_route():
    routes = Routes()
    routes.add("/chat", subprotocols=["chat"])(lambda ws: ws.send(ws.subprotocol))
    routes.add("/any")(lambda ws: ws.send(str(ws.subprotocol)))
    with routed(routes) as (_, port, _):
        uri = f"ws://127.0.0.1:{port}"
        with connect(uri + "/chat", subprotocols=["better-chat", "chat"]) as ws:
            assert ws.recv(10) == ws.subprotocol == "chat"
        with connect(uri + "/any", subprotocols=["chat"]) as ws:
            assert ws.recv(10) == "None"
        for offered in ([], ["Chat"], ["better-chat"]):
            with pytest.raises(ResponseError) as caught:
                connect(uri + "/chat", subprotocols=offered)
            assert caught.value.response.status == 400


def test_routes_on_asyncio():
    routes = Routes()

    @routes.add("/rooms/{room}", subprotocols=["chat"])
    async def talk(ws, room):
        await ws.send(f"{room} {ws.subprotocol}")

    async def main():
        async with serve_async(routes, "127.0.0.1", 0, process_request=routes.process_request) as server:
            uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with connect_async(uri + "/rooms/red", subprotocols=["chat"]) as ws:
                return await ws.recv()

    assert asyncio.run(main()) == "red chat"


# Limits and times.


def test_limit_of_a_message_holds_for_the_sum_of_its_frames():
    with serving(max_size=5000) as (_, port, _), Raw(port) as raw:
        raw.write(raw.stream.send(bytes(5000)))
        assert raw.read_event() == bytes(5000)
        for _ in range(2):
            raw.write(raw.stream.send(bytes(3000), last=False))
        assert raw.read_event() == Close(1009, "")


def test_frames_of_a_message_are_unlimited_in_number():
    with serving() as (_, port, _), Raw(port) as raw:
        raw.write(b"".join(raw.stream.send(bytes(16), last=False) for _ in range(999)) + raw.stream.send(bytes(16)))
        assert raw.read_event() == bytes(16_000)


def test_ping_period():
    with serving(ping_interval=0.02) as (_, port, _), Raw(port) as raw:
        for _ in range(3):
            assert isinstance(raw.read_event(), framewire.Ping)
            raw.write(raw.stream.pending())


@pytest.mark.parametrize("size", SIZES)
def test_messages_of_every_size(size):
    with serving() as (_, _, uri), connect(uri) as ws:
        for message in (bytes(size), "x" * size):
            ws.send(message)
            assert ws.recv(10) == message


# Receiving.


def test_frames_preserved_in_and_out():
    def handler(ws):
        ws.send(list(ws.recv_streaming()))

    with serving(handler) as (_, port, _), Raw(port, fragments=True) as raw:
        raw.write(raw.stream.send("a", last=False), raw.stream.send("b", last=False), raw.stream.send("c"))
        assert [raw.read_event() for _ in range(4)] == [
            Fragment("a", True, False),
            Fragment("b", False, False),
            Fragment("c", False, False),
            Fragment("", False, True),
        ]


def test_size_of_the_next_message():
    sizes, go_on = [], threading.Event()

    def handler(ws):
        assert ws.next_size is None
        go_on.set()
        until(lambda: ws.next_size is not None and len(ws._messages) == 2)
        sizes.append(ws.next_size)
        ws.recv()
        sizes.append(ws.next_size)
        ws.send("done")

    with serving(handler) as (_, _, uri), connect(uri) as ws:
        go_on.wait(10)
        ws.send("€€")
        ws.send(bytes(10))
        assert ws.recv(10) == "done"
    assert sizes == [6, 10]


def test_receiving_without_waiting():
    with serving() as (_, _, uri), connect(uri) as ws:
        with pytest.raises(TimeoutError):
            ws.recv(0)
        ws.send("x")
        until(lambda: ws.next_size == 1)
        assert ws.recv(0) == "x"


# Sending.


def test_blocks_with_more_to_come():
    def handler(ws):
        ws.send_piece("one ", last=False)
        ws.send_piece("two", last=False)
        ws.send_piece("", last=True)
        ws.send_piece(b"\x00", last=False)
        ws.send_piece(b"")

    with serving(handler) as (_, _, uri), connect(uri) as ws:
        assert list(ws) == ["one two", b"\x00"]


def test_a_blocking_send_waits_for_the_network():
    waited = []

    def handler(ws):
        begin = time.monotonic()
        ws.send(bytes(1 << 25))
        waited.append(time.monotonic() - begin)

    with serving(handler) as (_, port, _), Raw(port, max_message_size=None) as raw:
        time.sleep(0.2)
        assert len(raw.read_event()) == 1 << 25
        assert raw.read_event() == Close(1000, "")
    assert waited[0] > 0.15


def test_a_send_that_does_not_wait():
    """What is not to wait is sent on asyncio, where the transport takes all."""

    async def handler(ws):
        await ws.send(bytes(1 << 25))
        sent.set()
        await ws.wait_closed()

    async def main():
        async with serve_async(handler, "127.0.0.1", 0) as server:
            with await asyncio.to_thread(Raw, server.sockets[0].getsockname()[1]):
                await asyncio.wait_for(sent.wait(), 10)

    sent = asyncio.Event()
    asyncio.run(main())
    assert sent.is_set()


# The close.


def test_reasons_from_0_to_123_bytes_without_a_nul():
    for size in (0, 1, 122, 123):
        with serving(lambda ws, size=size: ws.close(1000, "r" * size)) as (_, port, _), Raw(port) as raw:
            assert raw.read_event() == Close(1000, "r" * size)


def test_a_second_close_does_nothing():
    def handler(ws):
        ws.close(4000, "first")
        ws.close(4001, "second")

    with serving(handler) as (_, port, _), Raw(port) as raw:
        assert raw.read_event() == Close(4000, "first")
        raw.write(raw.stream.pending())
        assert raw.socket.recv(100) == b""


@pytest.mark.parametrize("code", [1000, 1001, 1012, 1013, 1014, 3000, 4999])
def test_the_code_of_the_peer_is_answered_with_itself(code):
    with serving() as (_, port, _), Raw(port) as raw:
        raw.write(raw.stream.close(code, "why"))
        assert raw.read_event() == Close(code, "")


def test_what_is_known_about_the_end():
    known = []

    def handler(ws):
        echo(ws)
        known.append((ws.close_code, ws.close_reason, ws.clean, ws.state))

    def lost(ws):
        with pytest.raises(framewire.ConnectionClosedError):
            echo(ws)
        known.append((ws.close_code, ws.close_reason, ws.clean, ws.state))

    with serving(handler) as (_, _, uri), connect(uri) as ws:
        ws.close(1001, "leaving")
    with serving(handler) as (_, _, uri), connect(uri) as ws:
        ws.close(None)
    with serving(lost) as (_, port, _), Raw(port):
        pass
    closed = framewire.State.CLOSED
    assert known == [(1001, "leaving", True, closed), (1005, "", True, closed), (1006, "", False, closed)]


def test_pings_are_answered_by_themselves():
    with serving(lambda ws: ws.recv()) as (_, port, _), Raw(port) as raw:
        raw.write(raw.stream.ping(b"same"))
        assert raw.read_event() == framewire.Pong(b"same")


def test_data_after_our_close_does_no_harm():
    def handler(ws):
        ws.start_closing(1000)

    with serving(handler) as (_, port, _), Raw(port, auto_close=False) as raw:
        assert raw.read_event() == Close(1000, "")
        late = framewire.Stream(framewire.CLIENT)
        raw.write(late.send("late"), late.close(1000))
        assert raw.socket.recv(100) == b""
