"""Counterparts of the directives and functions of Appweb, over real sockets."""

import asyncio
import re
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress

import ends
import pytest
from frames import REQUEST, explained
from sync_ends import Raw, echo, on_loop_of_thread, serving, until

import framewire
from framewire import Close, ConnectionClosedError, Fragment, PayloadTooBigError, Ping, ResponseError, State
from framewire.asyncio import Listener
from framewire.asyncio import connect as connect_async
from framewire.asyncio import serve as serve_async
from framewire.routes import Routes
from framewire.session.settings import REFUSED
from framewire.sync import connect

SIZES = [0, 150, 1500, 8200, 1 << 18, 510_000]


def routed(routes):
    return serving(routes, process_request=routes.process_request)


@contextmanager
def serving_async(handler=ends.echo, **options):
    """Run an asyncio server in a thread; give its port."""
    with on_loop_of_thread(lambda: ends.serving(handler, **options)) as (_, port, _):
        yield port


@pytest.fixture(params=["asyncio", "threads"])
def echoing(request):
    """Return a context manager that runs an echo server of either kind; it gives the port."""

    @contextmanager
    def served(**options):
        with serving(**options) as (_, port, _):
            yield port

    return serving_async if request.param == "asyncio" else served


# Routes and subprotocols.


def test_route_path_parameters_reach_the_handler():
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


@pytest.mark.parametrize("pattern", ["no/slash", "/{", "/{}", "/{a b}", "/{a:int}", "/}", "/{a}/{a:path}"])
def test_invalid_route_pattern_raises_value_error(pattern):
    with pytest.raises(ValueError, match="pattern"):
        Routes().add(pattern)


def test_route_requires_one_of_its_subprotocols():
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


def test_routes_work_on_asyncio():
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


def test_max_size_limits_the_sum_of_all_fragments():
    with serving(max_size=5000) as (_, port, _), Raw(port) as raw:
        raw.write(raw.stream.send(bytes(5000)))
        assert raw.read_event() == bytes(5000)
        for _ in range(2):
            raw.write(raw.stream.send(bytes(3000), last=False))
        assert raw.read_event() == explained(1009)


def test_message_over_max_send_size_is_not_sent():
    """Nothing of it is sent, nor if it is sent in fragments."""

    def handler(ws):
        for message in ("€" * 34, bytes(101)):
            with pytest.raises(PayloadTooBigError):
                ws.send(message)
        ws.send("€" * 33)

    async def handler_async(ws):
        for message in ("€" * 34, bytes(101)):
            with pytest.raises(PayloadTooBigError):
                await ws.send(message)
        await ws.send("€" * 33)

    class Sending(Listener):
        def on_open(self, connection):
            connection.send(bytes(60), last=False)
            with pytest.raises(PayloadTooBigError):
                connection.send(bytes(41))
            connection.send(bytes(40))

    for fragment_size in (None, 10):
        options = {"max_send_size": 100, "fragment_size": fragment_size}
        with serving(handler, **options) as (_, port, _), Raw(port) as raw:
            assert raw.read_event() == "€" * 33
            assert raw.read_event() == Close(1000, "")
        with serving_async(handler_async, **options) as port, Raw(port) as raw:
            assert raw.read_event() == "€" * 33
            assert raw.read_event() == Close(1000, "")
    with serving_async(Sending(), max_send_size=100) as port, Raw(port) as raw:
        assert raw.read_event() == bytes(100)


def test_fragment_size_splits_sent_messages(echoing):
    with echoing(fragment_size=4096) as port, Raw(port) as raw:
        raw.write(raw.stream.send(bytes(10_000)))
        data = raw.read_exactly(10_012)
    headers = [data[start : start + 4].hex() for start in (0, 4100, 8200)]
    assert headers == ["027e1000", "007e1000", "807e0710"]


@pytest.mark.parametrize(("size", "pieces"), [(8200, [8192, 8]), (8192, [8192]), (0, [0])])
def test_piece_size_splits_received_messages(size, pieces):
    async def handler_async(ws):
        await ws.send(str([len(piece) async for piece in ws.recv_streaming()]))

    def handler(ws):
        ws.send(str([len(piece) for piece in ws.recv_streaming()]))

    options = {"piece_size": 8192}
    with serving_async(handler_async, **options) as port_async, serving(handler, **options) as (_, port, _):
        for message in (bytes(size), "x" * size):
            for each in (port, port_async):
                with Raw(each) as raw:
                    raw.write(raw.stream.send(message))
                    assert raw.read_event() == str(pieces)


def test_recv_streaming_yields_pieces_as_they_arrive():
    def handler(ws):
        length = 0
        for piece in ws.recv_streaming():
            length += len(piece)
            ws.ping(str(length))

    with serving(handler) as (_, port, _), Raw(port) as raw:
        for size, last in ((1000, False), (500, False), (1, True)):
            raw.write(raw.stream.send(bytes(size), last=last))
            assert raw.read_event() == Ping({1000: b"1000", 500: b"1500", 1: b"1501"}[size])


def test_connection_over_max_connections_gets_503(echoing):
    with echoing(max_connections=2) as port:
        with Raw(port), Raw(port) as raw:
            for _ in range(3):
                with pytest.raises(ResponseError) as caught:
                    connect(f"ws://127.0.0.1:{port}")
                assert caught.value.response.status == 503
            with socket.create_connection(("127.0.0.1", port), 10) as plain:
                assert plain.recv(1000).startswith(b"HTTP/1.1 503 ")  # without a request
            raw.write(raw.stream.send("unharmed"))
            assert raw.read_event() == "unharmed"

        def connected():
            try:
                connect(f"ws://127.0.0.1:{port}").close()
            except ResponseError:
                return False
            return True

        until(connected)  # the server counts the others until their TCP connections end


def test_503_responses_are_limited_and_further_connections_are_cut(echoing):
    def answer(sock):
        with suppress(ConnectionError):
            return sock.recv(1000)
        return b""

    with echoing(max_connections=1) as port, Raw(port) as raw, ExitStack() as stack:
        many = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(80)]
        answers = [answer(each)[:12] for each in many]
        assert set(answers) == {b"HTTP/1.1 503", b""}
        assert answers.count(b"HTTP/1.1 503") >= REFUSED
        raw.write(raw.stream.send("unharmed"))
        assert raw.read_event() == "unharmed"


def test_server_text_errors_option_admits_invalid_utf8():
    ends = []

    def handler(ws):
        for message in ws:
            ws.send(message.encode(errors="surrogateescape"))
        ends.append(ws.close_reason)

    async def handler_async(ws):
        async for message in ws:
            await ws.send(message.encode(errors="surrogateescape"))
        ends.append(ws.close_reason)

    text = bytes.fromhex("8183 00000000 41ff42")
    close = bytes.fromhex("8883 00000000 03e8ff")
    with (
        serving(handler, text_errors="surrogateescape") as (_, port, _),
        serving_async(handler_async, text_errors="surrogateescape") as port_async,
    ):
        for each in (port, port_async):
            with Raw(each) as raw:
                raw.write(text, raw.stream.send("good"), raw.stream.send(""))
                assert [raw.read_event() for _ in range(3)] == [b"A\xffB", b"good", b""]
                raw.write(close)
                assert raw.read_event() == Close(1000, "")
                assert raw.socket.recv(100) == b""
    assert ends == ["\udcff"] * 2
    for frame in (text, close):
        with serving() as (_, port, _), Raw(port) as raw:
            raw.write(frame)
            assert raw.read_event() == explained(1007)


def test_client_text_errors_option_admits_invalid_utf8():
    async def main(port):
        async with connect_async(f"ws://127.0.0.1:{port}", text_errors="surrogateescape", proxy=None) as ws:
            return [await ws.recv(), await ws.recv(decode=False), await ws.recv(decode=True)]

    def handler(ws):
        ws._driver.transport.sendall(bytes.fromhex("8101ff 8101ff 8201ff"))
        ws.recv()

    with serving(handler) as (_, port, uri):
        assert asyncio.run(main(port)) == ["\udcff", b"\xff", "\udcff"]
        with connect(uri, text_errors="replace") as ws:
            assert ws.recv(10) == "\ufffd"


def test_number_of_fragments_is_unlimited():
    with serving() as (_, port, _), Raw(port) as raw:
        raw.write(b"".join(raw.stream.send(bytes(16), last=False) for _ in range(999)) + raw.stream.send(bytes(16)))
        assert raw.read_event() == bytes(16_000)


def test_server_pings_at_ping_interval():
    with serving(ping_interval=0.02) as (_, port, _), Raw(port) as raw:
        for _ in range(3):
            assert isinstance(raw.read_event(), framewire.Ping)
            raw.write(raw.stream.pending())


def read_to_the_end(raw, answer=True):
    """Return the next event that is no ping; answer pings if `answer` is true."""
    while isinstance(event := raw.read_event(), Ping):
        if answer:
            raw.write(raw.stream.pending())
    return event


def test_idle_timeout_is_reset_by_messages_but_not_by_pings(echoing):
    with echoing(idle_timeout=1.5, ping_interval=0.05) as port, Raw(port) as raw:
        begun = time.monotonic()
        for _ in range(2):
            time.sleep(0.8)  # more than half of idle_timeout
            raw.write(raw.stream.send("busy"))
            assert read_to_the_end(raw) == "busy"
        raw.write(raw.stream.ping())
        assert read_to_the_end(raw) == framewire.Pong(b"")
        assert read_to_the_end(raw) == Close(1008, "no messages for too long")
        assert time.monotonic() - begun > 3


def test_ping_timeout_closes_a_dead_peer_without_idle_timeout(echoing):
    """Appweb's InactivityTimeout with WebSocketsPing: a peer that answers pings is kept."""
    with echoing(ping_interval=0.05, ping_timeout=1) as port, Raw(port) as raw:
        for _ in range(6):
            assert isinstance(raw.read_event(), Ping)
            raw.write(raw.stream.pending())
        assert read_to_the_end(raw, answer=False).code == 1011


def test_total_timeout_closes_a_busy_connection(echoing):
    with echoing(total_timeout=0.3, ping_interval=0.05) as port, Raw(port) as raw:
        begun, busy = time.monotonic(), framewire.Stream(framewire.CLIENT).send("busy")
        event = None
        while not isinstance(event, Close):
            raw.write(busy)
            event = read_to_the_end(raw)
        assert event == Close(1008, "the time for this connection is over")
        assert time.monotonic() - begun > 0.25


def test_total_timeout_closes_a_connection_with_a_full_queue():
    """The timeout also applies while nothing is read because the queue is full."""
    ends = []

    def handler(ws):
        until(lambda: ws.state is not State.OPEN)
        ends.append(ws.state)

    with serving(handler, total_timeout=0.3, max_queue=1, ping_interval=None) as (_, port, _), Raw(port) as raw:
        raw.write(*(raw.stream.send("unread") for _ in range(10)))
        assert raw.read_event() == Close(1008, "the time for this connection is over")
    assert ends


def test_process_response_adds_timeout_headers():
    def tell(ws, request, response):
        response.headers["X-Request-Timeout"] = "7200"
        response.headers["X-Inactivity-Timeout"] = "300"

    options = {"process_response": tell, "total_timeout": 7200, "idle_timeout": 300}
    with serving_async(**options) as port, connect(f"ws://127.0.0.1:{port}") as ws:
        assert [ws.response.headers[f"X-{name}-Timeout"] for name in ("Request", "Inactivity")] == ["7200", "300"]


@pytest.mark.parametrize("size", SIZES)
def test_messages_of_every_size_are_echoed(size):
    with serving() as (_, _, uri), connect(uri) as ws:
        for message in (bytes(size), "x" * size):
            ws.send(message)
            assert ws.recv(10) == message


# Receiving.


def test_fragment_boundaries_are_preserved():
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


def test_next_size_is_the_size_of_the_next_message_in_bytes():
    sizes, go_on = [], threading.Event()

    def handler(ws):
        assert ws.next_size is None
        go_on.set()
        until(lambda: ws.next_size is not None and len(ws._session.queue.items) == 2)
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


def test_asyncio_next_size_is_the_size_of_the_next_message_in_bytes():
    async def handler(ws):
        sizes = [ws.next_size]
        await ws.send("go on")
        while len(sizes) < 3:
            await ends.until(lambda: ws.next_size is not None)
            sizes.append(ws.next_size)
            await ws.recv()
        await ws.send(str(sizes))

    with serving_async(handler) as port, Raw(port) as raw:
        assert raw.read_event() == "go on"
        raw.write(raw.stream.send("€€"), raw.stream.send(bytes(10)))
        assert raw.read_event() == "[None, 6, 10]"


def test_recv_with_zero_timeout_does_not_wait():
    with serving() as (_, _, uri), connect(uri) as ws:
        with pytest.raises(TimeoutError):
            ws.recv(0)
        ws.send("x")
        until(lambda: ws.next_size == 1)
        assert ws.recv(0) == "x"


# Sending.


def test_send_piece_builds_messages_from_pieces():
    def handler(ws):
        ws.send_piece("one ", last=False)
        ws.send_piece("two", last=False)
        ws.send_piece("", last=True)
        ws.send_piece(b"\x00", last=False)
        ws.send_piece(b"")

    with serving(handler) as (_, _, uri), connect(uri) as ws:
        assert list(ws) == ["one two", b"\x00"]


def test_send_piece_accepts_empty_pieces():
    def handler(ws):
        ws.send("")
        ws.send_piece(b"", last=False)
        ws.send_piece(b"", last=True)

    with serving(handler) as (_, port, _), Raw(port) as raw:
        assert raw.read_exactly(6).hex(" ", 2) == "8100 0200 8000"


def test_iterator_is_streamed_as_one_message(tmp_path):
    """As in a sample of Appweb, a file is streamed as one message."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)

    async def handler(ws):
        with path.open("rb") as file:
            await ws.send(iter(lambda: file.read(10_000), b""))

    with serving_async(handler) as port, connect(f"ws://127.0.0.1:{port}") as ws:
        assert ws.recv(10) == path.read_bytes()


def test_sync_send_waits_for_the_network():
    sent = threading.Event()

    def handler(ws):
        ws.send(bytes(1 << 25))
        sent.set()

    with serving(handler) as (_, port, _), Raw(port, max_message_size=None) as raw:
        assert not sent.wait(0.2)  # time passes in a real socket whose peer does not read
        assert len(raw.read_event()) == 1 << 25
        assert raw.read_event() == Close(1000, "")
    assert sent.is_set()


def test_asyncio_send_returns_before_the_peer_reads():
    """On asyncio the transport buffers the message."""

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


def test_listener_send_does_not_wait_and_reports_a_full_buffer():
    """`send` buffers messages and fragments; `full` reports that the buffer is full."""
    full = Future()

    class Sending(Listener):
        def on_open(self, connection):
            for _ in range(31):
                connection.send(bytes(1 << 18), last=False)
            full.set_result(connection.full)
            connection.send(bytes(1 << 18))
            connection.send("and a text")

    with serving_async(Sending()) as port, Raw(port, max_message_size=None) as raw:
        assert full.result(10) is True
        assert raw.read_event() == bytes(1 << 23)
        assert raw.read_event() == "and a text"


# Input that Appweb accepts or refuses contrary to RFC 6455.


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ("8100", 1002),  # unmasked
        ("82fe 0001 00000000 00", 1002),  # non-minimal length
        ("82ff 8000000000000000", 1002),  # over 63 bits
        *((f"8{opcode:x}ff", 1002) for opcode in (3, 4, 5, 6, 7, 11, 15)),  # before the payload arrives
        ("0181 00000000 41 8081 00000000 ff", 1007),  # in a later fragment
        ("0181 00000000 41 8081 00000000 c3", 1007),
        *((f"8882 00000000 {code:04x}", 1002) for code in (0, 999, 1004, 1005, 1006, 1016, 2999, 5000)),
        *((f"8882 00000000 {code:04x}", code) for code in (1000, 1012, 1013, 1014, 3000, 4999)),
    ],
)
def test_frames_are_validated_as_rfc_6455_requires(frames, code):
    with serving() as (_, port, _), Raw(port) as raw:
        raw.write(bytes.fromhex(frames))
        assert raw.read_event() == explained(code)


@pytest.mark.parametrize(
    ("line", "other", "status"),
    [
        (b"Version: 13", b"Version: 14", 426),
        (b"Version: 13", b"Version: 8", 426),
        (b"Upgrade: websocket", b"Upgrade: h2c, WebSocket", 101),
        (b"Key: dGhlIHNhbXBsZSBub25jZQ==", b"Key: short", 400),
    ],
)
def test_requests_are_validated_as_rfc_6455_requires(line, other, status):
    with serving() as (_, port, _), socket.create_connection(("127.0.0.1", port), 10) as plain:
        plain.sendall(REQUEST.replace(line, other))
        answer = plain.recv(1000)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert (re.search(rb"\r\nsec-websocket-version: 13\r\n", answer, re.IGNORECASE) is not None) == (status == 426)


# Closing


def test_state_goes_from_open_to_closing_to_closed():
    states = []

    def handler(ws):
        states.append(ws.state)
        ws.start_closing()
        states.append(ws.state)
        with pytest.raises(framewire.ConnectionClosedOK):
            ws.recv()
        states.append(ws.state)

    with serving(handler) as (_, port, _), Raw(port, auto_close=False) as raw:
        assert raw.read_event() == Close(1000, "")
        until(lambda: len(states) == 2)
        raw.write(raw.stream.close())
        assert raw.socket.recv(100) == b""
    assert states == [State.OPEN, State.CLOSING, State.CLOSED]


def test_listener_callbacks_are_called_in_order():
    seen = []

    class Noting(Listener):
        def on_open(self, connection):
            seen.append("open")

        def on_message(self, connection, message):
            seen.append(message)

        def on_close(self, connection, code, reason):
            seen.append((code, reason, connection.clean))

    with serving_async(Noting()) as port:
        with Raw(port) as raw:
            raw.write(raw.stream.send("one"), raw.stream.send(b"two"), raw.stream.close(4000, "why"))
            assert raw.read_event() == Close(4000, "why")
        until(lambda: len(seen) == 4)
        with Raw(port):
            pass  # TCP ends without a close frame
        until(lambda: len(seen) == 6)
    assert seen == ["open", "one", b"two", (4000, "why", True), "open", (1006, "", False)]


def test_close_reasons_of_0_to_123_bytes_are_sent_without_a_nul():
    for size in (0, 1, 122, 123):
        with serving(lambda ws, size=size: ws.close(1000, "r" * size)) as (_, port, _), Raw(port) as raw:
            assert raw.read_event() == Close(1000, "r" * size)


def test_second_close_call_does_nothing():
    def handler(ws):
        ws.close(4000, "first")
        ws.close(4001, "second")

    with serving(handler) as (_, port, _), Raw(port) as raw:
        assert raw.read_event() == Close(4000, "first")
        raw.write(raw.stream.pending())
        assert raw.socket.recv(100) == b""


@pytest.mark.parametrize("code", [1000, 1001, 1012, 1013, 1014, 3000, 4999])
def test_close_code_of_the_peer_is_echoed(code):
    with serving() as (_, port, _), Raw(port) as raw:
        raw.write(raw.stream.close(code, "why"))
        assert raw.read_event() == Close(code, "why")


def test_close_code_reason_and_clean_describe_the_close():
    known = []

    def handler(ws):
        echo(ws)
        known.append((ws.close_code, ws.close_reason, ws.clean, ws.state))

    def lost(ws):
        with pytest.raises(ConnectionClosedError):
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


def test_pings_are_answered_automatically():
    with serving(lambda ws: ws.recv()) as (_, port, _), Raw(port) as raw:
        raw.write(raw.stream.ping(b"same"))
        assert raw.read_event() == framewire.Pong(b"same")


def test_data_after_our_close_is_received_until_the_close_of_the_peer():
    received = []

    def handler(ws):
        ws.start_closing(1000)
        received.extend(ws)

    with serving(handler) as (_, port, _), Raw(port, auto_close=False) as raw:
        assert raw.read_event() == Close(1000, "")
        late = framewire.Stream(framewire.CLIENT)
        raw.write(late.send("late"), late.close(1000), framewire.Stream(framewire.CLIENT).send("too late"))
        assert raw.socket.recv(100) == b""
    assert received == ["late"]
