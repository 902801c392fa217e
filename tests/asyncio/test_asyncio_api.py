"""The asyncio API that `websockets` users know, and the callback API, on asyncio and uvloop."""

import asyncio
import contextlib
import gc
import itertools
import logging
import select
import socket
import ssl
from array import array

import ends
import pytest
from backends import needed
from ends import CERTIFICATE, echo, on_loop, until
from frames import REQUEST, TEXT, to

from framewire import CLIENT, SERVER, Close, RateLimit, State, StateError, Stream
from framewire.asyncio import Listener, broadcast
from framewire.asyncio.client import backoff, connect, process_exception, unix_connect
from framewire.asyncio.server import SAME_ORIGIN, basic_auth, serve, unix_serve
from framewire.asyncio.timer import SharedTimer
from framewire.asyncio.transport_writer import MIN_UNCORKED
from framewire.exceptions import (
    ConcurrencyError,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidStatus,
    NegotiationError,
    ProxyError,
    SecurityError,
)
from framewire.extensions import Deflate
from framewire.http.headers import Headers
from framewire.http.http11 import Response
from framewire.session.settings import ConnectionSettings


@pytest.fixture(autouse=True, params=["asyncio", "uvloop"])
def network(request, monkeypatch):
    monkeypatch.setattr(ends, "network", request.param)


@pytest.fixture(params=["plain", "tls"])
def secure(request):
    return request.param == "tls"


class Served:
    """A running server, and a method that connects to it."""

    def __init__(self, handler, secure=False, **options):
        self.client_options = {}
        if secure:
            options["ssl"] = ends.server_side()
            self.client_options["ssl"] = ssl.create_default_context(cafile=CERTIFICATE)
        self.scheme = "wss" if secure else "ws"
        self.opening = serve(handler, "127.0.0.1", 0, **options)

    async def __aenter__(self):
        self.server = await self.opening.__aenter__()
        self.port = self.server.sockets[0].getsockname()[1]
        self.uri = f"{self.scheme}://localhost:{self.port}/"
        return self

    async def __aexit__(self, *error):
        await self.opening.__aexit__(*error)

    def connect(self, **options):
        return connect(self.uri, host="127.0.0.1", port=self.port, **self.client_options, **options)


class Recorder(Listener):
    """A listener that echoes and records its events."""

    def __init__(self):
        self.happened = []

    def on_open(self, connection):
        self.happened.append("open")

    def on_message(self, connection, message):
        self.happened.append(message)
        connection.send(message)

    def on_ping(self, connection, payload):
        self.happened.append(("ping", payload))

    def on_close(self, connection, code, reason):
        self.happened.append(("close", code, reason))


@on_loop
async def test_message_that_another_task_delivers_wakes_the_receiver_in_the_next_turn():
    """Transports, such as one in memory, may deliver input in a call by a task."""
    async with Served(echo) as served, served.connect() as client:
        receiving = asyncio.create_task(client.recv())
        await asyncio.sleep(0)
        frame = to(CLIENT, TEXT, b"delivered")
        client._driver.get_buffer(-1)[: len(frame)] = frame
        client._driver.buffer_updated(len(frame))
        assert not receiving.done()
        assert await receiving == "delivered"


@on_loop
async def test_connection_echoes_messages_and_closes_with_its_code(secure):
    async with Served(echo, secure) as at:
        async with at.connect() as ws:
            for message in ("", "x" * 100_000, b"", b"\xff" * 300_000, "ä" * 7):
                await ws.send(message)
                assert await ws.recv() == message
            await ws.close(4000, "bye")
            assert ws.close_code == 4000
        with pytest.raises(ConnectionClosedError):
            await ws.recv()


@on_loop
async def test_many_messages_stay_in_order(secure):
    async with Served(echo, secure) as at, at.connect(max_queue=None) as ws:
        sent = [str(number) if number % 3 else number.to_bytes(3, "big") * (number % 500) for number in range(3000)]

        async def send():
            for message in sent:
                await ws.send(message)

        sender = asyncio.ensure_future(send())
        assert [await ws.recv() for _ in sent] == sent
        await sender


@on_loop
async def test_server_listener_receives_all_events(secure):
    recorder = Recorder()
    async with Served(recorder, secure) as at, at.connect() as ws:
        await ws.send("text")
        await ws.send(b"bytes" * 20_000)
        assert await ws.recv() == "text"
        assert await ws.recv() == b"bytes" * 20_000
        await (await ws.ping("here"))
        await ws.close(4001, "done")
        await until(lambda: len(recorder.happened) == 5)
    assert recorder.happened == ["open", "text", b"bytes" * 20_000, ("ping", b"here"), ("close", 4001, "done")]


@on_loop
async def test_listener_receives_text_as_bytes():
    recorder = Recorder()
    async with Served(recorder, text_as_bytes=True) as at, at.connect() as ws:
        for message in ("é", b"\xff", "x" * 70_000):
            await ws.send(message)
        assert [await ws.recv() for _ in range(3)] == recorder.happened[1:]
    assert recorder.happened[1:4] == ["é".encode(), b"\xff", b"x" * 70_000]


@on_loop
async def test_client_listener_receives_all_events():
    recorder = Recorder()

    async def greet(ws):
        await ws.send("hello")
        assert await ws.recv() == "hello"
        await ws.close(4002, "thanks")

    async with Served(greet) as at:
        connection = await at.connect(listener=recorder)
        await connection.wait_closed()
    assert recorder.happened == ["open", "hello", ("close", 4002, "thanks")]


@on_loop
async def test_listener_exception_closes_with_1011(caplog):
    class Broken(Recorder):
        def on_message(self, connection, message):
            self.happened.append(message)
            raise LookupError

    broken = Broken()
    async with Served(broken) as at, at.connect() as ws:
        await ws.send(["a", "b"])
        with pytest.raises(ConnectionClosedError) as info:
            await ws.recv()
        assert info.value.rcvd.code == 1011
    assert broken.happened[:2] == ["open", "ab"]
    assert [record.exc_info[0] for record in caplog.records] == [LookupError]
    caplog.clear()


class Failing(Listener):
    """A listener that records its events, and raises in one callback when it is called first."""

    def __init__(self, callback):
        self.callback = callback
        self.calls = []

    def note(self, callback):
        self.calls.append(callback)
        if callback == self.callback:
            raise LookupError

    def on_open(self, connection):
        self.note("on_open")

    def on_message(self, connection, message):
        self.note("on_message")

    def on_ping(self, connection, payload):
        self.note("on_ping")

    def on_drain(self, connection):
        self.note("on_drain")

    def on_close(self, connection, code, reason):
        self.note("on_close")


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("callback", ["on_open", "on_message", "on_ping", "on_drain"])
@on_loop
async def test_callback_that_raises_is_followed_by_on_close_alone(callback, apart, caplog):
    listener = Failing(callback)
    async with Served(listener, compression=None, close_timeout=10) as at:
        client = await ends.Raw(*await asyncio.open_connection("127.0.0.1", at.port)).upgrade()
        (connection,) = await until(lambda: at.server._everyone)
        if callback == "on_drain":
            connection._driver.resume_writing()
        before = connection.bytes_received
        ping, message = client.stream.ping(b"p"), client.stream.send("a")
        for data in (ping + message) * 3, ping, message, message, ping:
            client.write(data)
            before += len(data)
            if apart:
                await until(lambda: connection.bytes_received == before)  # noqa: B023 - called at once
        await until(lambda: connection.bytes_received == before)
        connection._driver.resume_writing()
        events = [await client.read_event()]
        while type(events[-1]) is not Close:
            events.append(await client.read_event())
        assert events[-1] == Close(1011, "")
        client.write(client.stream.pending())
        client.writer.close()
        await asyncio.wait_for(connection.wait_closed(), 10)
    begun = {"on_message": ["on_ping"]}.get(callback, [])
    opened = [] if callback == "on_open" else ["on_open"]
    assert listener.calls == [*opened, *begun, callback, "on_close"]
    assert [record.exc_info[0] for record in caplog.records] == [LookupError]
    caplog.clear()


@pytest.mark.parametrize("fails", [False, True])
@on_loop
async def test_messages_that_a_close_in_a_callback_lets_in_come_after_those_of_the_read(fails, caplog):
    received = []

    class Closing(Listener):
        def on_message(self, connection, message):
            received.append(message)
            if message == "0":
                connection.close()
            if message == "2" and fails:
                raise LookupError

        def on_ping(self, connection, payload):
            received.append(payload)

    limit = RateLimit(messages=3, seconds=1000)
    async with Served(Closing(), compression=None, rate_limit=limit) as at:
        client = await ends.Raw(*await asyncio.open_connection("127.0.0.1", at.port)).upgrade()
        (connection,) = await until(lambda: at.server.connections)
        stream = client.stream
        client.write(*map(stream.send, "01234"), stream.ping(b"ping"), stream.send("5"))
        assert (await client.read_event()).code == 1000
        client.write(stream.pending())
        client.writer.close()
        await asyncio.wait_for(connection.wait_closed(), 10)
    assert received == (["0", "1", "2"] if fails else ["0", "1", "2", "3", "4", b"ping", "5"])
    assert [record.exc_info[0] for record in caplog.records] == [LookupError] * fails
    caplog.clear()


@on_loop
async def test_listener_connection_sends_no_ping_after_its_close_frame():
    async with Served(echo) as at:
        connection = await at.connect(listener=Listener())
        connection.close()
        assert connection.state is State.CLOSING
        for _ in range(2):
            with pytest.raises(StateError, match="the connection is not open"):
                connection.ping(b"late")
            await asyncio.wait_for(connection.wait_closed(), 10)
        assert connection.pings_sent == 0


@on_loop
async def test_listener_gets_messages_before_all_of_their_read_is_inflated():
    received, waiting = [], []

    class Noting(Listener):
        def on_message(self, connection, message):
            received.append(message)
            waiting.append(connection.messages_received - len(received))
            if len(received) == 10:
                connection.close()  # which lets in what was held back, after the messages before it

    async with Served(Noting()) as at:
        reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
        writer.write(REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        stream = Stream(CLIENT, extensions=[Deflate()])
        messages = [b"%d" % number + bytes(100_000) for number in range(500)]
        writer.write(b"".join(map(stream.send, messages)) + stream.close())
        await until(lambda: len(received) == 500)
        assert received == messages
        assert max(waiting) < 100
        writer.close()


@pytest.mark.parametrize("message", [5, None, ["a"], {"a": 1}, object()], ids=lambda message: type(message).__name__)
@on_loop
async def test_listener_connection_refuses_what_is_no_message(message):
    async with Served(Listener()) as at:
        client = await ends.Raw(*await asyncio.open_connection("127.0.0.1", at.port)).upgrade()
        (connection,) = await until(lambda: at.server.connections)
        for options in ({}, {"last": False}, {"compress": False}):
            with pytest.raises(TypeError, match=f"a message is str or bytes, not {type(message).__name__}"):
                connection.send(message, **options)
        assert connection.send(array("H", b"next"))
        assert await asyncio.wait_for(client.read_event(), 10) == b"next"
        client.writer.close()


@on_loop
async def test_replies_to_one_read_are_sent_in_one_write():
    writes = []

    class Watched(Listener):
        def on_open(self, connection):
            writer = connection._writer.socket_writer

            class Spy:
                messages_sent = 0

                def send(self, message):
                    writes.append(2 + len(message))
                    return writer.send(message)

                def write(self, data):
                    writes.append(len(data))
                    writer.write(data)

                def __getattr__(self, name):
                    return getattr(writer, name)

            connection._writer.socket_writer = spy = Spy()
            connection._writer.send_whole = spy.send

        def on_message(self, connection, message):
            connection.send(message)

    async with Served(Watched(), compression=None) as at:
        client = await ends.Raw(*await asyncio.open_connection("127.0.0.1", at.port)).upgrade()
        for count in (100, 1):
            client.write(client.stream.send("0123456789") * count)
            for _ in range(count):
                assert await asyncio.wait_for(client.read_event(), 10) == "0123456789"
        assert writes == [1200, 12]
        client.writer.close()


@pytest.mark.parametrize("count", [1, 2])
@on_loop
async def test_reply_is_sent_after_messages_already_corked(count):
    opened = []

    class Replying(Listener):
        def on_open(self, connection):
            opened.append(connection)

        def on_message(self, connection, message):
            connection.send(message)

    async with Served(Replying()) as at, at.connect(compression=None) as ws:
        await until(lambda: opened)
        connection = opened[0]
        # Messages sent by another connection's callback before this connection's read, in the same
        # turn of the loop.
        for number in range(3):
            connection.send(str(number))
        frames = to(SERVER, TEXT, b"reply") * count
        connection._driver.get_buffer(-1)[: len(frames)] = frames
        connection._driver.buffer_updated(len(frames))
        assert [await ws.recv() for _ in range(3 + count)] == ["0", "1", "2"] + ["reply"] * count


@pytest.mark.parametrize("corked", [False, True])
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_send_after_loop_close_does_not_write_to_a_reused_descriptor(corked):
    kept = []

    class Keeping(Listener):
        def on_open(self, connection):
            kept.append(connection)

    async def leave():
        server = await serve(Keeping(), "127.0.0.1", 0)
        peer = socket.create_connection(server.sockets[0].getsockname())
        peer.sendall(REQUEST)
        await until(lambda: kept)
        return peer

    loop = ends.new_loop()
    peer = loop.run_until_complete(leave())
    loop.close()
    others = [end for _ in range(50) for end in socket.socketpair()]  # these reuse the freed descriptors
    with contextlib.suppress(RuntimeError):
        kept[0]._writer.uncorked = not corked
        kept[0].send("lost")
        kept[0]._writer.flush()
    assert select.select(others, [], [], 0) == ([], [], [])
    for end in (peer, *others):
        end.close()
    kept.clear()
    gc.collect()  # collect the transports of the closed loop here: they warn


@on_loop
async def test_recv_decode_and_send_text_override_the_message_type():
    async with Served(echo) as at, at.connect() as ws:
        await ws.send("ä")
        await ws.send("ä".encode())
        assert await ws.recv(decode=False) == "ä".encode()
        assert await ws.recv(decode=True) == "ä"
        await ws.send(b"bytes as text", text=True)
        await ws.send("text as bytes", text=False)
        assert await ws.recv() == "bytes as text"
        assert await ws.recv() == b"text as bytes"


@on_loop
async def test_fragments_stream_in_both_directions(secure):
    async def handler(ws):
        async for piece in ws.recv_streaming():
            await ws.send(f"piece {piece}")
        await ws.send(len(piece).to_bytes(2, "big") for piece in [b"a", b"bb"])
        assert await ws.recv() == "joined"

    async def slowly():
        for piece in ("one", "two"):
            yield piece
            assert await ws.recv() == f"piece {piece}"  # each piece arrives before the next is created

    async with Served(handler, secure) as at, at.connect(compression=None) as ws:
        await ws.send("")  # may arrive before the first call of recv_streaming
        assert await ws.recv() == "piece "
        assert await ws.recv() == b"\x00\x01\x00\x02"
        await ws.send(["jo", "", "ined"])
        with pytest.raises(ConnectionClosedOK):
            await ws.recv()

    async def stream(ws):
        await ws.send("ready")
        async for piece in ws.recv_streaming():
            if piece:
                await ws.send(f"piece {piece}")

    # recv_streaming is called before the message arrives, so pieces are delivered as they arrive.
    async with Served(stream, secure) as at, at.connect() as ws:
        assert await ws.recv() == "ready"
        (connection,) = at.server.connections
        await until(lambda: connection._driver.receiver is not None)
        await ws.send(slowly())


@on_loop
async def test_messages_are_cut_at_fragment_size_and_piece_size():
    sizes = []

    async def handler(ws):
        async for piece in ws.recv_streaming():
            sizes.append(len(piece.encode()))
        await ws.send("x" * 1000)

    async with Served(handler, piece_size=300, fragment_size=100) as at, at.connect(compression=None) as ws:
        await ws.send("ü" * 1000)
        assert "".join([piece async for piece in ws.recv_streaming()]) == "x" * 1000
    assert 250 < max(sizes) <= 300 or max(sizes) == 150  # 150 if the message arrived before the first call
    assert sum(sizes) == 2000


@on_loop
async def test_fragment_size_of_text_counts_utf8_bytes():
    async def handler(ws):
        for count in (4, 5, 10):
            await ws.send("é" * count)

    async with Served(handler, fragment_size=9) as at:
        raw = await ends.Raw(*await asyncio.open_connection("127.0.0.1", at.port)).upgrade()
        headers = bytes.fromhex("8108 0109 8001 0109 0009 8002 8802")
        data = await raw.reader.readexactly(sum(headers[1::2]) + len(headers))
        raw.writer.close()
    found = b""
    while data:
        found, data = found + data[:2], data[2 + data[1] :]
    assert found == headers


@on_loop
async def test_listener_messages_are_cut_at_fragment_size():
    class Long(Listener):
        def on_open(self, connection):
            connection.send("é" * 4)
            connection.send("é" * 50)
            connection.send("x" * 30, last=False)
            connection.send(bytearray(30), text=True)
            connection.send(bytes(MIN_UNCORKED))
            connection.send(memoryview(array("I", bytes(16))))
            connection.send(b"end")

    async with Served(Long(), fragment_size=9) as at:
        raw = await ends.Raw(*await asyncio.open_connection("127.0.0.1", at.port)).upgrade()
        raw.stream = Stream(CLIENT, fragments=True)
        assert await raw.read_event() == "éééé"
        fragments = []
        # They leave in the same turn of the event loop, not with the next ping.
        while (fragment := await asyncio.wait_for(raw.read_event(), 5)) != b"end":
            fragments.append(fragment)
        raw.writer.close()
    sizes = [len(each.data.encode() if isinstance(each.data, str) else each.data) for each in fragments]
    assert sum(sizes) == 100 + 60 + MIN_UNCORKED + 16
    # Fragments given by the caller are sent unchanged.
    assert sizes.count(30) == 2
    assert sorted(sizes)[-3] <= 10  # code points are never split
    assert [each.last for each in fragments].count(True) == 4


@on_loop
async def test_cancelled_send_of_a_message_in_fragments_has_sent_all_or_nothing():
    reading, received = asyncio.Event(), []

    async def handler(ws):
        await reading.wait()
        async for message in ws:
            received.append(len(message))

    async with Served(handler, max_size=None, max_queue=1) as at:
        async with at.connect(compression=None, fragment_size=10_000) as ws:
            first = asyncio.ensure_future(ws.send(bytes(1 << 24)))
            await until(lambda: ws._session.write_paused)
            second = asyncio.ensure_future(ws.send(bytes(1 << 20)))
            await asyncio.sleep(0)
            assert first.done()
            assert not second.done()
            second.cancel()
            await asyncio.wait([second])
            reading.set()
            await asyncio.wait_for(ws.send(b"next"), 10)
        assert ws.close_code == 1000
    assert received == [1 << 24, 4]


@on_loop
async def test_generator_that_has_begun_is_closed_if_send_is_cancelled_before_its_turn():
    closed = []

    def fragments():
        try:
            yield "taken before"
            yield "fragment"
        finally:
            closed.append("generator")

    async def async_fragments():
        try:
            yield "taken before"
            yield "fragment"
        finally:
            closed.append("async generator")

    async def block():
        yield "begun"
        await asyncio.Event().wait()

    async with Served(echo) as at, at.connect(compression=None, close_timeout=0.1) as ws:
        generators = fragments(), async_fragments()
        next(generators[0])
        await anext(generators[1])
        blocking = asyncio.ensure_future(ws.send(block()))
        await until(lambda: ws._in_fragments)
        for generator in generators:
            sending = asyncio.ensure_future(ws.send(generator))
            await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        assert closed == ["generator", "async generator"]
        blocking.cancel()
        await asyncio.wait([blocking])


@on_loop
async def test_concurrent_sends_do_not_interleave_fragments():
    async def slowly(number):
        for _ in range(5):
            yield number
            await asyncio.sleep(0)

    async with Served(echo) as at, at.connect() as ws:
        await asyncio.gather(*(ws.send(slowly(str(number))) for number in range(8)), *(ws.send("w") for _ in range(8)))
        got = [await ws.recv() for _ in range(16)]
        assert sorted(got) == sorted([str(number) * 5 for number in range(8)] + ["w"] * 8)


@on_loop
async def test_send_that_waits_for_fragments_ends_with_the_connection():
    async def fragments():
        yield "first"
        await asyncio.Event().wait()

    async def end(connection):
        await connection.recv()
        connection.transport.abort()

    async with Served(end) as at, at.connect(compression=None) as ws:
        await ws.send("end")
        stuck = asyncio.ensure_future(ws.send(fragments()))
        await asyncio.sleep(0)
        for message in ("whole", ["other", "fragments"]):
            with pytest.raises(ConnectionClosedError):
                await asyncio.wait_for(ws.send(message), 10)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck


@on_loop
async def test_iterator_error_during_send_closes_with_1011():
    async def broken():
        yield "one"
        raise LookupError

    async with Served(echo) as at, at.connect() as ws:
        with pytest.raises(LookupError):
            await ws.send(broken())
        with pytest.raises(ConnectionClosedError) as info:
            await ws.recv()
        assert info.value.sent.code == 1011
    async with Served(echo) as at, at.connect() as ws:
        for nothing in ({"a": 1}, 5, None, [1], [["a"]]):
            with pytest.raises(TypeError):
                await ws.send(nothing)
        await ws.send([])
        await ws.send("still open")
        assert await ws.recv() == "still open"
        with pytest.raises(TypeError):
            await ws.send(["text", b"bytes"])


@on_loop
async def test_abandoned_recv_streaming_loses_no_message():
    async with Served(echo) as at, at.connect() as ws:
        pieces = ws.recv_streaming()
        waiting = asyncio.ensure_future(pieces.__anext__())
        await asyncio.sleep(0)  # starts the task
        with pytest.raises(ConcurrencyError):
            await ws.recv()
        waiting.cancel()
        await asyncio.wait([waiting])
        await pieces.aclose()
        await ws.send("kept")
        assert await ws.recv() == "kept"


@on_loop
async def test_pulse_with_many_members_lets_other_tasks_run():
    happened = []

    class Member:
        def look_at_clock(self):
            happened.append(self)

    def other():
        happened.append(None)
        asyncio.get_running_loop().call_soon(other)

    pulse = SharedTimer(ConnectionSettings(ping_interval=0.4))
    members = [Member() for _ in range(1000)]
    for member in members:
        pulse.add(member)
    other()
    for count in (1000, 2000):
        await until(lambda: len(happened) - happened.count(None) >= count)  # noqa: B023 - awaited at once
        beaten = [one for one in happened if one is not None]
        assert len(beaten) == count
        assert set(beaten[-1000:]) == set(members)
    longest = max(len(list(run)) for beats, run in itertools.groupby(happened, bool) if beats)
    assert longest <= 256
    for member in members:
        pulse.discard(member)
    await asyncio.sleep(0.1)  # two intervals of the timer, in which nothing may happen
    assert len(happened) - happened.count(None) == 2000


@on_loop
async def test_keepalive_pings_and_fails_dead_peers():
    async with Served(echo, ping_interval=0.05) as at, at.connect(ping_interval=None) as ws:
        await until(lambda: ws.pings_received >= 2)
        (connection,) = at.server.connections
        assert 0 < connection.latency < 5
    async with Served(echo, ping_interval=0.05, ping_timeout=0.1, close_timeout=0.1) as at:
        async with at.connect(ping_interval=None) as ws:
            (connection,) = at.server.connections
            ws.transport.pause_reading()  # it neither reads nor sends
            await connection.wait_closed()
            assert connection._session.close_state.sent.code == 1011
            ws.transport.abort()


@on_loop
async def test_idle_timeout_and_total_timeout_close_with_1008():
    async with Served(echo, idle_timeout=0.6, ping_interval=0.1) as at, at.connect() as ws:
        begun = ws.loop.time()
        for _ in range(6):
            await asyncio.sleep(0.15)  # a quarter of idle_timeout passes
            await ws.send("")
            await ws.recv()
        with pytest.raises(ConnectionClosedError) as info:
            await ws.recv()
        assert info.value.rcvd.code == 1008
        assert 1.3 < ws.loop.time() - begun < 5
    async with Served(echo, total_timeout=0.2) as at, at.connect() as ws:
        with pytest.raises(ConnectionClosedError) as info:
            while True:
                await ws.send("")
                await ws.recv()
        assert info.value.rcvd.code == 1008


@on_loop
async def test_connections_over_max_connections_are_refused_with_503():
    async with Served(echo, max_connections=2) as at:
        async with at.connect(), at.connect() as ws:
            for _ in range(3):
                with pytest.raises(InvalidStatus) as info:
                    await at.connect()
                assert info.value.response.status_code == 503
            await ws.send("unharmed")
            assert await ws.recv() == "unharmed"
        await until(lambda: not at.server._everyone)
        async with at.connect():
            pass
        assert at.server.counters().as_dict()["connections_busy"] == 3


@on_loop
async def test_max_unsent_cuts_a_peer_that_does_not_read():
    def limit_kernel_buffer(transport, option):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, option, 1 << 16)

    class Flood(Listener):
        def on_message(self, connection, message):
            limit_kernel_buffer(connection.transport, socket.SO_SNDBUF)
            for _ in range(1000):
                connection.send(bytes(1 << 16))
                if connection.transport.is_closing():
                    break
            self.buffered = connection.bytes_sent

    flood = Flood()
    async with Served(flood, max_unsent=4 << 20) as at, at.connect(compression=None) as ws:
        ws.transport.pause_reading()
        limit_kernel_buffer(ws.transport, socket.SO_RCVBUF)
        await ws.send("go")
        await until(lambda: not at.server._everyone)
        # Sent are max_unsent, one message, and at most 2 MiB of the kernel's buffers.
        assert 4 << 20 < flood.buffered < (6 << 20) + (1 << 16)
        ws.transport.abort()


@on_loop
async def test_process_response_changes_or_replaces_the_response():
    def process_response(connection, request, response):
        response.headers["Set-Cookie"] = "a=b"

    async with Served(echo, process_response=process_response, server_header="mine") as at, at.connect() as ws:
        assert ws.response.headers["Set-Cookie"] == "a=b"
        assert ws.response.headers["Server"] == "mine"
        assert "Date" in ws.response.headers
        assert ws.response.status_code == 101

    async def replace(connection, request, response):
        await asyncio.sleep(0)
        return Response(418, "Teapot", Headers([("X", "1")]))

    async with Served(echo, process_response=replace, server_header=None) as at:
        with pytest.raises(InvalidStatus) as info:
            await at.connect()
        assert info.value.response.status_code == 418
        assert "Server" not in info.value.response.headers


@on_loop
async def test_select_subprotocol_callback_chooses_or_refuses():
    def select(connection, offered):
        if "a" not in offered:
            raise NegotiationError("a is needed")
        return "a"

    async with Served(echo, select_subprotocol=select) as at:
        async with at.connect(subprotocols=["b", "a"]) as ws:
            assert ws.subprotocol == "a"
        with pytest.raises(InvalidStatus) as info:
            await at.connect(subprotocols=["b"])
        assert info.value.response.status_code == 400


@on_loop
async def test_origins_option_selects_the_allowed_origins():
    for origins, origin, good in (
        (SAME_ORIGIN, "http://evil.example", False),
        (None, "http://evil.example", True),
        (["http://good.example"], "http://good.example", True),
        (["http://good.example"], None, False),
    ):
        async with Served(echo, origins=origins) as at:
            if good:
                async with at.connect(origin=origin):
                    pass
            else:
                with pytest.raises(InvalidStatus) as info:
                    await at.connect(origin=origin)
                assert info.value.response.status_code == 403


@on_loop
async def test_basic_auth_admits_only_valid_credentials():
    async def handler(ws):
        await ws.send(ws.username)

    async def check(username, password):
        return (username, password) == ("ann", "päss")

    for options in ({"credentials": ("ann", "päss")}, {"credentials": [("x", "y"), ("ann", "päss")]},
                    {"check_credentials": check}):  # fmt: skip
        async with Served(handler, process_request=basic_auth("a realm", **options)) as at:
            async with connect(f"ws://ann:p%C3%A4ss@127.0.0.1:{at.port}/") as ws:
                assert await ws.recv() == "ann"
            for user in ("", "ann:wrong@", "bob:p@"):
                with pytest.raises(InvalidStatus) as info:
                    await connect(f"ws://{user}127.0.0.1:{at.port}/")
                assert info.value.response.status_code == 401
                assert info.value.response.headers["WWW-Authenticate"].startswith('Basic realm="a realm"')
    with pytest.raises(ValueError):
        basic_auth("r")
    with pytest.raises(TypeError):
        basic_auth("r", credentials="ab")


@pytest.mark.parametrize("options", [{"host": "127.0.0.1"}, {"port": 0}])
def test_unix_serve_takes_no_host_or_port(tmp_path, options):
    with pytest.raises(ValueError, match="incompatible with a Unix socket"):
        unix_serve(echo, str(tmp_path / "socket"), **options)


@on_loop
async def test_unix_serve_and_unix_connect_exchange_messages(tmp_path):
    path = str(tmp_path / "socket")
    async with unix_serve(echo, path), unix_connect(path) as ws:
        await ws.send("here")
        assert await ws.recv() == "here"


def redirect_to(location, status=302):
    def process_request(connection, request):
        if request.path == "/":
            return Response(status, "Found", Headers([("Location", location)]))
        return None

    return process_request


@on_loop
async def test_redirects_are_followed_without_leaking_credentials():
    async with Served(echo, process_request=redirect_to("/there?a=b")) as at:
        async with connect(f"ws://127.0.0.1:{at.port}/", additional_headers={"Authorization": "Bearer x"}) as ws:
            assert ws.request.path == "/there?a=b"
            assert ws.request.headers["Authorization"] == "Bearer x"
        async with Served(echo, process_request=redirect_to(f"ws://127.0.0.1:{at.port}/other")) as elsewhere:
            private = {"Authorization": "Bearer x", "Cookie": "c=1", "X": "kept"}
            async with connect(f"ws://127.0.0.1:{elsewhere.port}/", additional_headers=private) as ws:
                headers = ws.request.headers
                assert "Authorization" not in headers
                assert "Cookie" not in headers
                assert headers["X"] == "kept"
    async with Served(echo, process_request=redirect_to("/")) as at:
        with pytest.raises(SecurityError):
            await connect(f"ws://127.0.0.1:{at.port}/")
    async with Served(echo, True, process_request=redirect_to("ws://127.0.0.1/x")) as at:
        with pytest.raises(SecurityError):
            await connect(f"wss://localhost:{at.port}/", **at.client_options)


@on_loop
async def test_async_for_over_connect_reconnects(caplog):
    refusals = 2
    caplog.set_level(logging.INFO, "framewire.client")

    def process_request(connection, request):
        nonlocal refusals
        refusals -= 1
        return connection.respond(503, "not yet") if refusals >= 0 else None

    async with Served(echo, process_request=process_request) as at:
        served = 0
        async for ws in connect(f"ws://127.0.0.1:{at.port}/", reconnect_delays=lambda: iter([0.01, 0.02])):
            await ws.send("again")
            assert await ws.recv() == "again"
            served += 1
            if served == 2:
                break
            await ws.close()
            with pytest.raises(ConnectionClosedOK):
                await ws.recv()
        await ws.close()
    assert len(caplog.records) == 2
    caplog.clear()
    async with Served(echo, process_request=lambda connection, request: connection.respond(404, "no")) as at:
        with pytest.raises(InvalidStatus):
            async for _ in connect(f"ws://127.0.0.1:{at.port}/"):
                pass


def test_reconnect_delays_grow_to_their_maximum():
    delays = backoff()
    first = next(delays)
    rest = [next(delays) for _ in range(12)]
    assert 0 <= first <= 5
    assert rest == sorted(rest)
    assert rest[-1] == 90
    assert process_exception(ConnectionRefusedError()) is None
    assert process_exception(TimeoutError()) is None
    error = ValueError()
    assert process_exception(error) is error


@on_loop
async def test_client_connects_through_an_http_proxy(secure):
    requests = []

    async def proxy(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        requests.append(head)
        if b"Proxy-Authorization: Basic YTpi" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            writer.close()
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source, sink):
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer), return_exceptions=True)

    async with Served(echo, secure) as at, await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(at.uri, proxy=f"http://a:b@127.0.0.1:{port}", **at.client_options) as ws:
            await ws.send("through")
            assert await ws.recv() == "through"
        assert requests[0].startswith(f"CONNECT localhost:{at.port} HTTP/1.1\r\nHost: ".encode())
        with pytest.raises(ProxyError, match="407"):
            await connect(at.uri, proxy=f"http://127.0.0.1:{port}", **at.client_options)
        with pytest.raises(InvalidHandshake):
            await connect(at.uri, proxy=f"http://127.0.0.1:{port}", **at.client_options)
        with pytest.raises(ValueError):
            await connect(at.uri, proxy="ftp://127.0.0.1", **at.client_options)


@on_loop
async def test_client_connects_through_a_socks_proxy():
    async def proxy(reader, writer):
        version, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        assert version == 5
        assert await reader.readexactly(4) == b"\x05\x01\x00\x03"
        (length,) = await reader.readexactly(1)
        host = (await reader.readexactly(length)).decode()
        port = int.from_bytes(await reader.readexactly(2), "big")
        there_reader, there_writer = await asyncio.open_connection(host, port)
        writer.write(b"\x05\x00\x00\x01\0\0\0\0\0\0")

        async def pump(source, sink):
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer), return_exceptions=True)

    needed("python_socks")
    async with Served(echo) as at, await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(at.uri, proxy=f"socks5h://127.0.0.1:{port}") as ws:
            await ws.send("through")
            assert await ws.recv() == "through"


@on_loop
async def test_server_counters_count_messages_bytes_and_closes():
    async with Served(echo) as at:
        async with at.connect(compression=None) as ws:
            for _ in range(3):
                await ws.send("12345")
                await ws.recv()
            await (await ws.ping())
            found = at.server.counters().as_dict()
            assert found["connections_open"] == 1
            assert found["messages_received"] == found["messages_sent"] == 3
            assert found["bytes_sent"] == 3 * 7 + 6  # the pong
            assert found["pings_received"] == 1
        await until(lambda: not at.server._everyone)
        found = at.server.counters().as_dict()
        assert found["connections_open"] == 0
        assert found["messages_received"] == 3
        assert found["closes"] == {1000: 1}
        text = at.server.counters().as_text()
        assert '\nframewire_closes_total{code="1000"} 1\n' in text
        assert "\nframewire_messages_received_total 3\n" in text


@on_loop
async def test_serve_can_be_entered_again_only_after_its_end():
    opening = serve(echo, "127.0.0.1", 0)
    for _ in range(2):
        async with opening as server:
            with pytest.raises(RuntimeError, match="entered already"):
                await opening.__aenter__()
            assert server.is_serving()
    with socket.create_server(("127.0.0.1", 0)) as other:
        opening = serve(echo, "127.0.0.1", other.getsockname()[1])
        for _ in range(2):
            with pytest.raises(OSError, match="in use"):
                await opening.__aenter__()


@on_loop
async def test_server_close_timeout_bounds_the_shutdown():
    async def stubborn(ws):
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                break

    async with Served(stubborn, close_timeout=5) as at:
        ws = await at.connect()
        ws.transport.pause_reading()
        begun = ws.loop.time()
        at.server.close(timeout=0.2)
        await at.server.wait_closed()
        assert ws.loop.time() - begun < 2
        ws.transport.abort()


@on_loop
async def test_server_close_may_keep_connections_open():
    async with Served(echo) as at, at.connect() as ws:
        at.server.close(close_connections=False)
        await ws.send("still here")
        assert await ws.recv() == "still here"


@on_loop
async def test_broadcast_skips_a_busy_connection_and_refuses_fragments():
    async with Served(echo) as at, at.connect() as one, at.connect() as two:
        await until(lambda: len(at.server.connections) == 2)
        gate = asyncio.Event()

        async def slowly():
            yield "a"
            await gate.wait()
            yield "b"

        busy, free = at.server.connections
        sending = asyncio.ensure_future(busy.send(slowly()))
        await until(lambda: busy._session.stream.message_open)
        broadcast([busy, free], "news")
        gate.set()
        await sending
        broadcast([busy], "end")
        assert {await one.recv(), await two.recv()} == {"ab", "news"}
        with pytest.raises(TypeError):
            broadcast([busy], ["a"])
