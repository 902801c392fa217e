"""Situations of user programs over real sockets: the outcome is the same on every driver."""

import asyncio
import contextlib
import functools
import os
import sysconfig
import time

import ends
import pytest
import trio
from bounds import Traced
from drivers import close, echo, every_driver, hold, receive_all, recv, recv_pieces, send, send_bytes
from frames import BINARY, CLOSE, PING, PONG, TEXT, to
from sync_ends import Raw, serving, until

import framewire
import framewire.trio
from framewire import (
    SERVER,
    Close,
    CloseCodeError,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    Fragment,
    Ping,
    Pong,
    RateLimit,
)
from framewire.asyncio import Listener
from framewire.sync import connect, serve

MIB = 1 << 20


@every_driver(clients=True, tls=True)
@pytest.mark.parametrize("message", [bytes(50_000_000), "\xe9" * 10_000_000], ids=["binary", "text"])
def test_message_larger_than_every_buffer_arrives_at_a_peer_that_reads(driver, message):
    def script():
        yield send(message)
        yield from receive_all()

    with driver.open(script) as peer:
        assert peer.read_event(60) == message
        peer.send(peer.frame(CLOSE, b"\x03\xe8"))
        assert peer.read_to_end()[-1].code == 1000


@every_driver()
def test_compressed_message_larger_than_every_buffer_arrives_at_a_peer_that_reads(driver):
    def script():
        yield send(message)
        yield from receive_all()

    message = os.urandom(1 << 16) * 320  # 20 MiB, which the window of 32 KiB does not shrink
    with driver.serve(script) as server, server.connection(compression=True) as peer:
        assert peer.read_event(60) == message
        peer.send(peer.frame(CLOSE, b"\x03\xe8"))
        assert peer.read_to_end()[-1].code == 1000


@every_driver(clients=True)
def test_large_frame_that_arrives_slowly_keeps_the_connection(driver):
    with driver.open(receive_all, ping_interval=0.3, ping_timeout=0.5) as peer:
        data = peer.frame(BINARY, bytes(20_000))
        for start in range(0, len(data), 1000):
            peer.send(data[start : start + 1000])
            time.sleep(0.08)  # real time: the frame takes three times as long as ping_timeout
        until(lambda: peer.record.messages == [bytes(20_000)])


@every_driver(clients=True)
def test_peer_that_answers_no_ping_fails_with_1011(driver):
    with driver.open(receive_all, ping_interval=0.1, ping_timeout=0.3, close_timeout=0.3) as peer:
        start = time.monotonic()
        until(lambda: peer.record.exception is not None)
        assert 0.3 < time.monotonic() - start < 5
        events = peer.read_to_end()
        assert events[-1] == Close(1011, "keepalive ping timeout")


@every_driver(clients=True)
def test_ping_in_the_write_buffer_does_not_fail_a_peer_that_reads_slowly(driver):
    with driver.open(send_bytes(40 * MIB), ping_interval=0.2, ping_timeout=0.5) as peer:
        peer.read_some(1)
        peer.send(peer.frame(PING, b"p"))
        for _ in range(300):
            peer.read_some(1 << 16)
            time.sleep(0.005)  # in all this takes three times as long as the peer may be silent
        assert peer.read_event() == bytes(40 * MIB)
        assert {type(peer.read_event()), type(peer.read_event())} == {Ping, Pong}


@pytest.mark.parametrize("network", ["asyncio", "uvloop"])
def test_pong_after_a_message_of_a_listener_that_a_slow_peer_reads_arrives(network, monkeypatch):
    class Sending(Listener):
        def on_open(self, connection):
            connection.send(bytes(40 * MIB))

    monkeypatch.setattr(ends, "network", network)

    @ends.on_loop
    async def situation():
        async with ends.serving(Sending()) as (_, port, _), ends.raw(port) as peer:
            await peer.upgrade(to(SERVER, PING, b"p"))
            assert await peer.read_event() == bytes(40 * MIB)
            assert await peer.read_event() == Pong(b"p")

    situation()


@pytest.mark.parametrize("network", ["asyncio", "uvloop"])
def test_two_listeners_that_send_much_at_once_both_receive_it(network, monkeypatch):
    received = []

    class Sending(Listener):
        def on_open(self, connection):
            for _ in range(16):
                connection.send(bytes(MIB))

        def on_message(self, connection, message):
            received.append(len(message))

    monkeypatch.setattr(ends, "network", network)

    @ends.on_loop
    async def situation():
        async with (
            ends.serving(Sending(), compression=None) as (_, _, uri),
            framewire.asyncio.connect(uri, compression=None, listener=Sending()),
        ):
            await ends.until(lambda: len(received) == 32)

    situation()


@every_driver(without=("uvicorn",))
def test_messages_held_back_are_received_before_the_keepalive_fails(driver):
    def script():
        with contextlib.suppress(ConnectionClosedError):
            yield send(bytes(40 * MIB))  # the peer reads nothing
        yield from receive_all()

    limit = RateLimit(messages=1, seconds=1000)
    with driver.open(script, rate_limit=limit, ping_interval=0.2, ping_timeout=0.6, close_timeout=0.3) as peer:
        peer.send(peer.frame(TEXT, b"1"), peer.frame(TEXT, b"2"), peer.frame(TEXT, b"3"))
        until(lambda: peer.record.messages == ["1", "2", "3"])


@pytest.mark.parametrize("network", ["asyncio", "uvloop"])
def test_listener_gets_messages_held_back_before_the_keepalive_fails(network, monkeypatch):
    received = []

    class Sending(Listener):
        def on_open(self, connection):
            connection.send(bytes(40 * MIB))

        def on_message(self, connection, message):
            received.append(message)

    monkeypatch.setattr(ends, "network", network)

    @ends.on_loop
    async def situation():
        limit = RateLimit(messages=1, seconds=1000)
        times = {"ping_interval": 0.2, "ping_timeout": 0.6, "close_timeout": 0.3}
        async with ends.serving(Sending(), rate_limit=limit, **times) as (_, _, uri):
            async with framewire.asyncio.connect(uri, max_size=None, compression=None, close_timeout=0.3) as client:
                client.transport.pause_reading()
                for number in "123":
                    await client.send(number)
                await ends.until(lambda: received == ["1", "2", "3"])

    situation()


@every_driver(clients=True)
def test_pong_that_waits_while_reading_is_paused_does_not_fail_the_connection(driver):
    def script():
        yield hold()
        yield from receive_all()

    with driver.open(script, max_queue=1, ping_interval=0.2, ping_timeout=0.4) as peer:
        peer.send(*[peer.frame(BINARY, bytes(1000))] * 1000)
        ping = peer.read_event()
        peer.send(peer.frame(PONG, ping.payload))
        time.sleep(1.2)  # three times as long as the peer may be silent
        peer.record.release()
        until(lambda: len(peer.record.messages) == 1000)


@every_driver(clients=True)
def test_close_code_and_reason_are_echoed(driver):
    with driver.open(receive_all) as peer:
        peer.send(peer.frame(CLOSE, b"\x0f\xa1bye"))
        assert peer.read_to_end()[-1] == Close(4001, "bye")
        assert (peer.record.code, peer.record.reason) == (4001, "bye")


@every_driver(clients=True, without=("uvicorn",))
def test_message_of_a_cancelled_recv_is_received_in_pieces(driver):
    def script():
        yield recv()
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            yield recv(0.2)
        yield send("given up")
        pieces.append((yield recv_pieces()))
        yield from receive_all()

    pieces = []
    with driver.open(script) as peer:
        peer.send(peer.frame(TEXT, b"first"), peer.frame(0x01, b"AA"))
        assert peer.read_event() == "given up"
        peer.send(peer.frame(0x80, b"BB"), peer.frame(0x01, b"xx"), peer.frame(0x80, b"yy"))
        until(lambda: peer.record.messages[1:] == ["xxyy"])
        assert "".join(pieces[0]) == "AABB"


@every_driver(clients=True, without=("uvicorn",))
def test_pieces_after_pieces_and_a_receiver_that_gave_up_are_not_mixed(driver):
    def script():
        pieces.append((yield recv_pieces()))
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            yield recv(0.2)
        yield send("given up")
        pieces.append((yield recv_pieces()))
        yield from receive_all()

    pieces = []
    with driver.open(script) as peer:
        peer.send(peer.frame(0x01, b"1"), peer.frame(0x80, b"2"), peer.frame(0x01, b"AA"))
        assert peer.read_event() == "given up"
        peer.send(peer.frame(0x80, b"BB"), peer.frame(0x02, b"xx"), peer.frame(0x80, b"yy"))
        until(lambda: peer.record.messages == [b"xxyy"])
        assert ["".join(each) for each in pieces] == ["12", "AABB"]


@every_driver(clients=True, without=("uvicorn",))
@pytest.mark.parametrize("way", ["in pieces", "whole", "cut"])
def test_next_message_arrives_after_one_in_pieces_that_cannot_be_decoded(driver, way):
    def script():
        yield recv_pieces()  # on asyncio the first call switches to pieces
        yield send("ready")
        with pytest.raises(UnicodeDecodeError):
            yield recv_pieces(True)
        yield send("rejected")
        if way == "in pieces":
            pieces.append((yield recv_pieces(True)))
        with pytest.raises(ConnectionClosed):
            yield from receive_all()

    pieces = []
    with driver.open(script) as peer:
        peer.send(peer.frame(TEXT, b"first"))
        assert peer.read_event() == "ready"
        peer.send(peer.frame(0x02, b"a\xff"), peer.frame(0x00, b"\xff"))
        assert peer.read_event() == "rejected"
        peer.send(peer.frame(0x00, b"\xff"))
        if way != "cut":
            peer.send(peer.frame(0x80, b"end"), peer.frame(BINARY, "é".encode()))
        peer.send(peer.frame(CLOSE, b"\x03\xe8"))
        assert peer.record.end() is None
        expected = {"in pieces": ([["é"]], []), "whole": ([], ["é".encode()]), "cut": ([], [])}
        assert (pieces, peer.record.messages) == expected[way]


@every_driver(clients=True, without=("uvicorn",))
@pytest.mark.parametrize("way", ["close", "end of TCP"])
def test_recv_after_the_end_in_the_middle_of_pieces_raises_connection_closed(driver, way):
    def script():
        yield send("ready")
        for operation in (recv_pieces(), recv(), recv_pieces()):
            with pytest.raises(ConnectionClosed):
                yield operation

    with driver.open(script) as peer:
        assert peer.read_event() == "ready"
        peer.send(peer.frame(0x01, b"cut"), peer.frame(CLOSE, b"\x03\xe8") if way == "close" else b"")
        peer.end_output()
        assert peer.record.end() is None


@every_driver(clients=True)
@pytest.mark.parametrize("frames", [(), ((CLOSE, b"\x03\xe8"),)], ids=["no close", "close"])
def test_peer_that_has_ended_its_direction_gets_everything_that_was_queued(driver, frames):
    with driver.open(send_bytes(32 * MIB)) as peer:
        peer.wait_for_input()
        peer.send(*[peer.frame(*frame) for frame in frames])
        peer.end_output()
        if not frames:
            assert peer.record.code == 1006
        events = []
        with contextlib.suppress(EOFError):
            while True:
                events.append(peer.read_event())
        assert events == [bytes(32 * MIB), *([Close(1000, "")] if frames else [])]


@every_driver(clients=True, tls=True)
def test_orderly_close_by_the_peer_then_close_of_our_own_is_silent(driver, caplog):
    def script():
        try:
            yield from receive_all()
        finally:
            yield close(1000, "")

    with driver.open(script) as peer:
        peer.send(peer.frame(CLOSE, b"\x03\xe8"))
        assert peer.read_to_end() == [Close(1000, "")]
        peer.socket.close()
        peer.record.end()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@every_driver(without=("sync",))  # whose `send` waits until the peer reads
def test_message_after_pings_whose_answers_were_not_read_arrives(driver):
    def script():
        yield send(large)
        yield from echo()

    large = os.urandom(8 * MIB)  # more than the network takes
    with driver.serve(script) as server, server.connection(compression=True) as peer:
        peer.wait_for_input()  # the message is under way
        peer.send(*[peer.frame(PING, bytes(125))] * 1000, peer.frame(TEXT, b"last"))
        assert peer.read_event() == large
        assert [peer.read_event() for _ in range(1000)] == [Pong(bytes(125))] * 1000
        assert peer.read_event() == "last"


# Close inside a message


@pytest.mark.parametrize("network", ["asyncio", "uvloop"])
def test_close_while_fragments_are_sent_is_an_error_at_both_ends_on_asyncio(network, monkeypatch):
    monkeypatch.setattr(ends, "network", network)

    @ends.on_loop
    async def situation():
        async def handler(ws):
            async def fragments():
                yield "begun"
                begun.set()
                await closed.wait()
                yield "more"

            sending = asyncio.ensure_future(ws.send(fragments()))
            await begun.wait()
            await ws.close()
            closed.set()
            outcomes.append((await asyncio.gather(sending, return_exceptions=True))[0])

        begun, closed, outcomes = asyncio.Event(), asyncio.Event(), []
        async with ends.serving(handler, close_timeout=1) as (_, _, uri), ends.connect(uri) as ws:
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.recv()
            assert caught.value.rcvd == Close(1011, "close during fragmented message")
        assert isinstance(outcomes[0], ConnectionClosedError)

    situation()


def test_close_while_fragments_are_sent_is_an_error_at_both_ends_with_threads():
    def handler(ws):
        def fragments():
            yield "begun"
            ws.start_closing()
            yield "more"

        try:
            ws.send(fragments())
        except ConnectionClosedError as error:
            outcomes.append(error)

    outcomes = []
    with serving(handler) as (_, _, uri), connect(uri, proxy=None) as ws:
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv(10)
        assert caught.value.rcvd == Close(1011, "close during fragmented message")
    assert len(outcomes) == 1


# Deadlines of senders that a peer blocks, and of the end of a server.


def send_without_end():
    """Send more than the network takes of a peer that does not read."""
    while True:
        yield send(bytes(MIB))


@every_driver(tls=True)
@pytest.mark.parametrize("script", [send_without_end, receive_all], ids=["sending", "receiving"])
def test_end_of_a_server_is_done_after_close_timeout_though_a_client_is_silent(driver, script):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(driver.serve(script, close_timeout=0.5, ping_interval=None))
        with server.connection() as peer:
            if script is send_without_end:
                peer.wait_for_input()
            start = time.monotonic()
            stack.close()
            assert time.monotonic() - start < 4
            assert isinstance(peer.record.end(), Exception)


@every_driver(clients=True, tls=True)
def test_blocked_send_raises_after_keepalive_has_failed_the_connection(driver):
    settings = {"ping_interval": 0.2, "ping_timeout": 0.3, "close_timeout": 0.5}
    with driver.open(send_without_end, **settings) as peer:
        start = time.monotonic()
        error = peer.record.end()
        assert time.monotonic() - start < 5
        assert isinstance(error, driver.closed)


@every_driver(clients=True, tls=True)
def test_blocked_send_raises_within_close_timeout_of_the_peers_close(driver):
    with driver.open(send_without_end, ping_interval=None, close_timeout=0.5) as peer:
        peer.wait_for_input()
        peer.send(peer.frame(CLOSE, b"\x03\xe8"))
        start = time.monotonic()
        error = peer.record.end()
        assert time.monotonic() - start < 3
        assert isinstance(error, driver.closed)


def test_close_begun_while_the_reader_waits_is_limited_by_close_timeout():
    def handler(ws):
        until(lambda: ws._driver.reader.is_alive())
        time.sleep(0.1)  # the reader waits for input, without a deadline
        ws.start_closing()
        ws._driver.reader.join()

    with serving(handler, close_timeout=0.5, ping_interval=None) as (_, port, _), Raw(port, auto_close=False) as raw:
        assert raw.read_event() == Close(1000, "")
        start = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert raw.socket.recv(1) == b""
        assert 0.3 < time.monotonic() - start < 3


@every_driver(clients=True)
@pytest.mark.parametrize("payload", [b"x", b""], ids=["of one byte", "empty"])
def test_memory_of_tiny_fragments_follows_the_payload(driver, payload):
    with driver.open(receive_all, max_size=None) as peer:
        peer.send(peer.frame(0x01, b"begun"))
        some = peer.frame(0x00, payload) * 5000
        peer.send(some)
        with Traced() as memory:
            for _ in range(5):
                peer.send(some)
            peer.send(peer.frame(PING, b"all of it"))
            assert peer.read_event(30) == Pong(b"all of it")
            peak = memory.peak()
        peer.send(peer.frame(0x80, b"end"))
        until(lambda: peer.record.messages)
    assert peer.record.messages == ["begun" + payload.decode() * 30_000 + "end"]
    # 40 bytes each; without a GIL, the memory of a list that has grown is freed later.
    assert peak < (1.5 if sysconfig.get_config_var("Py_GIL_DISABLED") else 1.2) * MIB


# Invalid messages


@pytest.mark.parametrize("message", [{"type": "x"}, None, 5, [b"x", 5]])
def test_invalid_message_raises_type_error_that_names_the_type(message):
    with serving() as (_, _, uri), connect(uri, proxy=None) as ws:
        with pytest.raises(TypeError, match=r"dict|NoneType|int"):
            ws.send(message)

    @ends.on_loop
    async def on_asyncio():
        async with ends.serving() as (_, _, uri), ends.connect(uri) as ws:
            with pytest.raises(TypeError, match=r"dict|NoneType|int"):
                await ws.send(message)

    on_asyncio()


BAD_SETTINGS = [
    ({"max_size": (1, 2, 3)}, ValueError),
    ({"max_queue": (1, 2)}, ValueError),
    ({"max_queue": 1.5}, TypeError),
    ({"subprotocols": "chat"}, TypeError),
    ({"ping_interval": -1}, ValueError),
]


@pytest.mark.parametrize(("settings", "error"), BAD_SETTINGS)
def test_invalid_settings_are_rejected_when_given(settings, error):
    with pytest.raises(error):
        serve(echo, "127.0.0.1", **settings)
    with pytest.raises(error):
        framewire.asyncio.serve(echo, "127.0.0.1", 0, **settings)
    with pytest.raises(error):
        connect("ws://127.0.0.1:9/", proxy=None, **settings)
    with pytest.raises(error):
        framewire.asyncio.connect("ws://127.0.0.1:9/", **settings)


BAD_SERVER_SETTINGS = [
    ({"max_connections": -1}, ValueError),
    ({"max_connections": "5"}, TypeError),
    ({"process_request": 5}, TypeError),
    ({"create_connection": "x"}, TypeError),
    ({"extensions": ["x"], "compression": None}, TypeError),
]


@pytest.mark.parametrize(("settings", "error"), BAD_SERVER_SETTINGS)
def test_server_settings_that_cannot_be_are_refused_when_given(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        serve(echo, "127.0.0.1", **settings)
    with pytest.raises(error, match=next(iter(settings))):
        framewire.asyncio.serve(echo, "127.0.0.1", 0, **settings)
    with pytest.raises(error, match=next(iter(settings))):
        trio.run(functools.partial(framewire.trio.serve, echo, 0, host="127.0.0.1", **settings))


@pytest.mark.parametrize("handler", [None, 5, "handler"])
def test_handler_that_is_no_function_is_refused_when_given(handler):
    for make in (serve, framewire.asyncio.serve):
        with pytest.raises(TypeError, match="handler is a function, not"):
            make(handler, "127.0.0.1", 0)
    with pytest.raises(TypeError, match="handler is a function, not"):
        trio.run(framewire.trio.serve, handler, 0)


def test_settings_of_one_server_that_cannot_be_are_refused_when_given():
    with pytest.raises(TypeError, match="the handler is a coroutine function"):
        serve(asyncio.sleep, "127.0.0.1")
    with pytest.raises(TypeError, match="process_response is a function, not int"):
        framewire.asyncio.serve(echo, "127.0.0.1", 0, process_response=5)
    with pytest.raises(TypeError, match="pass an instance of Listener, not the class"):
        framewire.asyncio.serve(Listener, "127.0.0.1", 0)
    with pytest.raises(TypeError, match="ssl is an SSLContext or None, not bool"):
        serve(echo, "127.0.0.1", ssl=True)


@every_driver(clients=True)
def test_sizes_of_message_and_frame_and_marks_of_the_queue_are_pairs(driver):
    with driver.open(receive_all, max_size=(100, 50), max_queue=(8, 2)) as peer:
        peer.send(peer.frame(0x02, bytes(50)), peer.frame(0x80, bytes(50)))
        peer.send(peer.frame(BINARY, bytes(51)))
        assert [event.code for event in peer.read_to_end()] == [1009]
        peer.record.end()
        assert peer.record.messages == [bytes(100)]


def test_server_goes_on_after_a_close_with_an_invalid_code():
    with serving() as (server, _, uri), connect(uri, proxy=None) as ws:
        with pytest.raises(CloseCodeError):
            server.shutdown(code=1006)
        ws.send("threads")
        assert ws.recv(10) == "threads"
        with connect(uri, proxy=None):
            pass

    @ends.on_loop
    async def on_asyncio():
        async with ends.serving() as (server, _, uri), ends.connect(uri) as ws:
            with pytest.raises(CloseCodeError):
                server.close(code=1006)
            await ws.send("asyncio")
            assert await ws.recv() == "asyncio"
            async with ends.connect(uri):
                pass

    async def on_trio():
        async def handler(ws):
            async for message in ws:
                await ws.send(message)

        async with trio.open_nursery() as nursery:
            server = await nursery.start(functools.partial(framewire.trio.serve, handler, 0, host="127.0.0.1"))
            uri = f"ws://127.0.0.1:{server.listeners[0].socket.getsockname()[1]}/"
            async with framewire.trio.connect(uri, proxy=None) as ws:
                with pytest.raises(CloseCodeError):
                    await server.aclose(code=1006)
                await ws.send("trio")
                assert await ws.recv() == "trio"
                async with framewire.trio.connect(uri, proxy=None):
                    pass
            await server.aclose()

    on_asyncio()
    trio.run(on_trio)


# Callbacks.


@pytest.mark.parametrize("network", ["asyncio", "asyncio tls", "uvloop", "uvloop tls"])
def test_listener_that_answers_while_the_server_closes_is_silent(network, monkeypatch, caplog):
    class Echo(Listener):
        def on_message(self, connection, message):
            answers.append(connection.send(message))

    answers = []
    monkeypatch.setattr(ends, "network", network)

    @ends.on_loop
    async def situation():
        async with ends.serving(Echo()) as (server, _, uri):
            clients = [await ends.connect(uri) for _ in range(5)]
            for ws in clients:
                await ws.send("x")
                assert await ws.recv() == "x"
                for _ in range(10):
                    await ws.send("under way")
            server.close()
            await asyncio.gather(*(ws.wait_closed() for ws in clients), server.wait_closed())

    situation()
    assert set(answers) <= {True, False}
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("network", ["asyncio", "uvloop"])
def test_send_of_a_listener_returns_false_once_the_connection_is_closing(network, monkeypatch):
    class Closing(Listener):
        def on_open(self, connection):
            sent.append(connection.send("before"))
            connection.close(4000)
            sent.append(connection.send("after"))
            sent.append(connection.send(bytes(1 << 20)))

    sent = []
    monkeypatch.setattr(ends, "network", network)

    @ends.on_loop
    async def situation():
        async with ends.serving(Closing()) as (_, port, _), ends.raw(port) as peer:
            await peer.upgrade()
            assert [await peer.read_event(), await peer.read_event()] == ["before", Close(4000, "")]

    situation()
    assert sent == [True, False, False]


@pytest.mark.parametrize("network", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("way", "code"), [("close", 4000), ("violation", 1006), ("end", 1006), ("abort", 1006)])
def test_listener_and_counters_learn_of_the_end_once(network, way, code, monkeypatch):
    class Recording(Listener):
        def on_message(self, connection, message):
            seen.append(message)

        def on_ping(self, connection, payload):
            seen.append(payload)

        def on_close(self, connection, code, reason):
            seen.append(code)

    seen = []
    monkeypatch.setattr(ends, "network", network)

    @ends.on_loop
    async def situation():
        async with ends.serving(Recording()) as (server, port, _), ends.raw(port) as peer:
            await peer.upgrade()
            last = {"close": [to(SERVER, CLOSE, b"\x0f\xa0")], "violation": [to(SERVER, 0x83, b"")]}.get(way, [])
            peer.write(to(SERVER, TEXT, b"a"), to(SERVER, PING, b"1"), to(SERVER, PING, b"2"), *last)
            assert [await peer.read_event() for _ in range(2)] == [Pong(b"1"), Pong(b"2")]
            if way == "abort":
                peer.writer.transport.abort()
            else:
                peer.writer.write_eof()
            await ends.until(lambda: server.counters().closes)
            counters = server.counters().as_dict()
        assert counters == server.counters().as_dict()
        assert counters["closes"] == {code: 1}
        assert [counters[name] for name in ("connections_open", "messages_received", "pings_received")] == [0, 1, 2]

    situation()
    assert seen == ["a", b"1", b"2", code]


# Fragments given by the caller: exceptions and frames


def test_fragments_of_an_iterable_are_frames_of_their_own():
    def handler(ws):
        ws.send(["a", "b"])

    with serving(handler) as (_, port, _), Raw(port, fragments=True) as raw:
        assert [raw.read_event() for _ in range(3)] == [
            Fragment("a", True, False),
            Fragment("b", False, False),
            Fragment("", False, True),
        ]


def test_receiving_again_before_the_last_piece_is_refused():
    with serving(lambda ws: ws.send(["a", "b"])) as (_, _, uri), connect(uri, proxy=None) as ws:
        pieces = ws.recv_streaming()
        assert next(pieces) == "a"
        pieces.close()
        with pytest.raises(ConcurrencyError):
            ws.recv(10)
