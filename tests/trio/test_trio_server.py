"""The trio server over real sockets: opening handshakes, handlers, limits, shutdown."""

import contextlib
import functools
import gc
import logging
import socket

import pytest
import trio
import trio.lowlevel
from ends import client_side, server_side
from frames import CLOSE, REQUEST, TEXT
from trio_ends import connect, echo, on_trio, port_of, raw, read_head, serving

from framewire import Close, ConnectionClosedError, ConnectionClosedOK, State, StatusError
from framewire.errors import NegotiationError
from framewire.testing.trio import pair
from framewire.trio import ServerConnection, basic_auth, serve, unix_connect, unix_serve

pytestmark = pytest.mark.both_backends


async def hold(ws):
    with contextlib.suppress(ConnectionClosedOK):
        await ws.recv()


async def until(condition):
    while not condition():
        await trio.sleep(0.005)


async def status_of(uri, **options):
    """Connect, and return the status of the response."""
    with pytest.raises(StatusError) as caught:
        async with connect(uri, **options):
            pass
    return caught.value.status


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@on_trio
async def test_connection_attributes_describe_the_connection_on_trio(tls):
    async with serving(tls=tls, subprotocols=["b", "a"]) as (server, uri):
        async with connect(uri, subprotocols=["a", "b"]) as ws:
            await ws.send("x")
            assert await ws.recv() == "x"
            (other,) = server.connections
            assert (ws.subprotocol, other.subprotocol) == ("b", "b")
            assert ws.remote_address == other.local_address == ("127.0.0.1", port_of(server))
            assert ws.local_address == other.remote_address
            assert other.request.path == "/path"
            assert ws.response.headers["Server"] == other.response.headers["Server"]
            assert (ws.messages_sent, ws.messages_received, other.server) == (1, 1, server)
            assert isinstance(ws.stream, trio.SSLStream) is tls
        await until(lambda: not server.connections)


@on_trio
async def test_handshakes_and_frames_are_logged_at_debug_on_trio(caplog):
    caplog.set_level(logging.DEBUG, "framewire")
    async with pair("/path") as (ws, other):
        await ws.send("hello")
        await other.send(await other.recv())
        assert await ws.recv() == "hello"
    of_client, of_server = (
        [record.getMessage() for record in caplog.records if getattr(record, "websocket", None) == each]
        for each in (ws, other)
    )
    for sent, received, messages in ((">", "<", of_client), ("<", ">", of_server)):
        assert messages[0] == f"{sent} GET /path HTTP/1.1"
        assert f"{received} HTTP/1.1 101 Switching Protocols" in messages
        frames = messages[messages.index("connection open") + 1 : messages.index("connection closed")]
        assert frames[:2] == [f"{sent} TEXT 'hello' [5 bytes]", f"{received} TEXT 'hello' [5 bytes]"]


@on_trio
async def test_refusals_are_logged_at_info_on_trio(caplog):
    caplog.set_level(logging.INFO, "framewire")
    async with serving(process_request=lambda connection, request: connection.respond(403, "no")) as (_, uri):
        assert await status_of(uri) == 403
    assert "connection rejected (403 Forbidden)" in caplog.messages


# Handlers


@on_trio
async def test_handler_that_returns_or_raises_closes_with_1000_or_1011(caplog):
    async def handler(ws):
        if ws.request.path != "/path":
            raise ValueError

    async with serving(handler) as (_, uri):
        for path, code in (("", 1000), ("x", 1011)):
            async with connect(uri + path) as ws:
                await ws.wait_closed()
                assert ws.close_code == code
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "connection handler failed"
    ]


@on_trio
async def test_handler_ended_by_its_connection_in_a_nursery_is_silent(caplog):
    async def handler(ws):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ws.recv)

    async with serving(handler) as (server, _):
        async with raw(server) as peer:
            await until(lambda: server.connections)
            peer.stream.socket.close()
        await until(lambda: not server.connections)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@on_trio
async def test_frames_in_the_same_segment_as_the_request_arrive():
    async with serving() as (server, _):
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(server))
        async with stream:
            await stream.send_all(REQUEST + b"\x81\x82\0\0\0\0hi")
            _, rest = await read_head(stream)
            assert (rest or await stream.receive_some()) == b"\x81\x02hi"


# Opening handshakes


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@on_trio
async def test_process_request_and_process_response_decide(is_async):
    def process_request(ws, request):
        if request.path == "/health":
            return ws.respond(200, "fine")
        if request.path == "/fail":
            raise ValueError
        return None

    def process_response(ws, request, response):
        response.headers["X-Path"] = request.path
        return ws.respond(418, "") if request.path == "/pot" else None

    def as_async(function):
        async def call(*arguments):
            await trio.lowlevel.checkpoint()
            return function(*arguments)

        return call

    convert = as_async if is_async else lambda function: function
    options = {"process_request": convert(process_request), "process_response": convert(process_response)}
    async with serving(**options) as (_, uri):
        base = uri.removesuffix("/path")
        async with connect(base + "/ok") as ws:
            assert ws.response.headers["X-Path"] == "/ok"
        assert [await status_of(base + path) for path in ("/health", "/fail", "/pot")] == [200, 500, 418]


@on_trio
async def test_select_subprotocol_chooses_or_refuses():
    def select_subprotocol(ws, offered):
        if "no" in offered:
            raise NegotiationError
        return offered[-1]

    async with serving(select_subprotocol=select_subprotocol) as (_, uri):
        async with connect(uri, subprotocols=["a", "b"]) as ws:
            assert ws.subprotocol == "b"
        assert await status_of(uri, subprotocols=["no"]) == 400


@on_trio
async def test_origins_and_basic_auth_refuse_clients():
    guard = basic_auth(credentials=("ada", "secret"))
    async with serving(origins=["https://a.example"], process_request=guard) as (server, uri):
        known = uri.replace("//", "//ada:secret@")
        async with connect(known, origin="https://a.example") as ws:
            await ws.send("x")
            assert await ws.recv() == "x"
            assert next(iter(server.connections)).username == "ada"
        assert await status_of(known, origin="https://b.example") == 403
        assert await status_of(uri, origin="https://a.example") == 401


@on_trio
async def test_request_that_is_not_http_is_answered_400():
    async with serving() as (server, _):
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(server))
        async with stream:
            await stream.send_all(b"HELO example\n\r\n\r\n" + bytes(100_000))
            head, _ = await read_head(stream)
            assert head.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@on_trio
async def test_client_that_does_not_finish_its_handshake_is_cut_after_open_timeout(tls):
    async with serving(tls=tls, open_timeout=0.2) as (server, _):
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(server))
        async with stream:
            with trio.fail_after(5):
                await stream.send_all(b"" if tls else b"GET / HTTP/1.1\r\n")
                assert await stream.receive_some() == b""


@on_trio
async def test_connection_that_never_opens_ends_for_those_that_wait_for_it():
    async def process_request(ws, request):
        attempts.append(ws)
        return ws.respond(403, "") if len(attempts) == 1 else await trio.sleep_forever()

    attempts = []
    async with serving(process_request=process_request, open_timeout=0.2) as (server, uri):
        await status_of(uri)
        async with await trio.open_tcp_stream("127.0.0.1", port_of(server)) as stream:
            await stream.send_all(REQUEST)
            assert await stream.receive_some() == b""
        for ws in attempts:
            await ws.wait_closed()
            assert ws.state is State.CLOSED
    assert len(attempts) == 2


@on_trio
async def test_stream_that_is_lost_in_the_opening_handshake_is_logged(caplog):
    caplog.set_level(logging.DEBUG, "framewire.server")
    async with serving(tls=True) as (server, _):
        async with await trio.open_tcp_stream("127.0.0.1", port_of(server)) as stream:
            await stream.send_all(b"not TLS")
            await stream.receive_some()
        await until(lambda: "! opening handshake failed" in caplog.messages)


@on_trio
async def test_clients_above_max_connections_are_answered_503():
    async with serving(hold, max_connections=1) as (server, uri):
        async with connect(uri):
            assert await status_of(uri) == 503
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(20):  # above the limit of concurrent responses
                    await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port_of(server)))
        await until(lambda: not server._tasks)
        async with connect(uri):
            pass


@on_trio
async def test_create_connection_and_logger_are_used():
    class Own(ServerConnection):
        async def shout(self):
            await self.send("own")

    async with serving(lambda ws: ws.shout(), create_connection=Own, logger=logging.getLogger("mine")) as (server, uri):
        assert server.logger.name == "mine"
        async with connect(uri) as ws:
            assert await ws.recv() == "own"


# Shutdown


@on_trio
async def test_aclose_closes_connections_with_its_code_and_awaits_handlers():
    ended = []

    async def handler(ws):
        with contextlib.suppress(ConnectionClosedError):
            await ws.recv()
        await trio.sleep(0.05)  # longer than the closing handshake
        ended.append(ws.close_code)

    async with serving(handler) as (server, uri), connect(uri) as ws:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(functools.partial(server.aclose, code=1012, reason="restart"))
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.recv()
            assert caught.value.rcvd == Close(1012, "restart")
        assert ended == [1012]
        assert server.handlers_waiter.is_set()
        with pytest.raises(OSError, match="connect"):
            async with connect(uri):
                pass


@on_trio
async def test_aclose_may_leave_connections_to_their_handlers():
    async with serving() as (server, uri):
        async with connect(uri) as ws, trio.open_nursery() as nursery:
            nursery.start_soon(functools.partial(server.aclose, close_connections=False))
            await until(lambda: server.closing)
            await ws.send("still")
            assert await ws.recv() == "still"
            await ws.aclose()


@on_trio
async def test_aclose_answers_503_to_a_request_and_cuts_a_client_without_one():
    requested, released = trio.Event(), trio.Event()

    async def process_request(ws, request):
        requested.set()
        await released.wait()

    async with serving(process_request=process_request) as (server, uri):
        silent = await trio.open_tcp_stream("127.0.0.1", port_of(server))
        async with silent, trio.open_nursery() as nursery:

            async def ask():
                assert await status_of(uri) == 503

            nursery.start_soon(ask)
            await requested.wait()
            nursery.start_soon(server.aclose)
            assert await silent.receive_some() == b""
            released.set()


@on_trio
async def test_connection_that_opens_while_the_server_closes_is_closed_too():
    async def process_response(ws, request, response):
        ws.stream = ws._driver.stream = Slow(ws.stream)

    class Slow:
        """A stream whose first write takes until `released` is set."""

        def __init__(self, stream):
            self._stream = stream

        def __getattr__(self, name):
            return getattr(self._stream, name)

        async def send_all(self, data):
            writing.set()
            await released.wait()
            await self._stream.send_all(data)

    writing, released = trio.Event(), trio.Event()
    async with serving(hold, process_response=process_response) as (server, _):
        async with trio.open_nursery() as nursery:

            async def join():
                async with raw(server) as peer:
                    assert await peer.read_event() == Close(1001, "")
                    await peer.send(peer.frame(CLOSE, b"\x03\xe9"))

            nursery.start_soon(join)
            await writing.wait()
            nursery.start_soon(server.aclose)
            await until(lambda: server.closing)
            released.set()
        await server.aclose()  # again


@on_trio
async def test_error_that_is_nobodys_fault_is_logged_and_ends_one_connection(caplog):
    def create_connection(nursery, stream, server):
        if not caplog.records or caplog.records[-1].levelno < logging.ERROR:
            raise ValueError("mine")
        return ServerConnection(nursery, stream, server)

    async with serving(create_connection=create_connection) as (server, uri):
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(server))
        async with stream:
            assert await stream.receive_some() == b""
        async with connect(uri) as ws:
            await ws.send("x")
            assert await ws.recv() == "x"
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == ["connection failed"]


@on_trio
async def test_aclose_cancelled_cuts_remaining_connections():
    async def handler(ws):
        await trio.sleep_forever()

    async with serving(handler) as (server, uri):
        async with connect(uri) as ws:
            with trio.move_on_after(0.1) as scope:
                await server.aclose()
            assert scope.cancelled_caught
            await server.handlers_waiter.wait()
            await ws.wait_closed()


@on_trio
async def test_handlers_that_close_the_server_wait_for_the_others_only():
    ended, released, begun = [], trio.Event(), trio.Event()

    async def handler(ws):
        await begun.wait()
        if ws.request.path == "/path/other":
            await released.wait()
        elif ws.request.path == "/path/child":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ws.server.aclose)
        else:
            await ws.server.aclose()
        ended.append(ws.request.path)

    async with serving(handler) as (server, uri):
        async with connect(uri + "/other"), connect(uri + "/child"), connect(uri):
            await until(lambda: len(server.connections) == 3)
            begun.set()
            await until(lambda: len(server._stopping) == 2)
            assert ended == []
            released.set()
            await server.handlers_waiter.wait()
    assert sorted(ended) == ["/path", "/path/child", "/path/other"]


@on_trio
async def test_handler_whose_close_of_the_server_is_cancelled_cuts_all_connections():
    ended = []

    async def handler(ws):
        if ws.request.path == "/path/other":
            await trio.sleep_forever()
        try:
            with trio.fail_after(0.05):
                await ws.server.aclose()
        finally:
            ended.append(ws)

    async with serving(handler) as (server, uri):
        async with connect(uri + "/other") as other, connect(uri) as ws:
            await server.handlers_waiter.wait()
            await other.wait_closed()
            await ws.wait_closed()
    assert len(ended) == 1


@on_trio
async def test_serve_cancelled_cuts_connections():
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(serve, echo, 0, host="127.0.0.1"))
        async with connect(f"ws://127.0.0.1:{port_of(server)}/") as ws:
            nursery.cancel_scope.cancel()
        assert server.handlers_waiter.is_set()
    assert ws.close_code in (1000, 1006)


@on_trio
async def test_tls_server_ends_tls_and_tcp_after_the_closing_handshake():
    async with serving(tls=True) as (server, _):
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(server))
        secured = trio.SSLStream(stream, client_side(), server_hostname="localhost")  # requires a closing alert
        async with secured:
            await secured.send_all(REQUEST)
            await read_head(secured)
            await secured.send_all(b"\x88\x80\0\0\0\0")
            data = b""
            while chunk := await secured.receive_some():
                data += chunk
            assert data == b"\x88\x00"


@on_trio
async def test_unread_input_does_not_lose_the_close_frame():
    async def handler(ws):
        await ws.recv()

    async with serving(handler, max_size=100, compression=None) as (server, _), raw(server) as peer:
        await peer.send(peer.frame(TEXT, b"x" * 101))
        with contextlib.suppress(trio.BrokenResourceError), trio.move_on_after(0.3):
            await peer.send(bytes(1 << 22))
        assert (await peer.read_event()).code == 1009


# Listeners


@pytest.mark.parametrize("options", [{}, {"port": 0, "listeners": []}, {"host": "x", "listeners": []}])
@on_trio
async def test_serve_requires_either_a_port_or_listeners(options):
    with pytest.raises(ValueError, match="listeners"):
        await serve(echo, **options)


@pytest.mark.parametrize("options", [{"subprotocols": "chat"}, {"ping_interval": -1}, {"compression": "gzip"}])
@on_trio
async def test_invalid_settings_are_rejected_before_listening(options):
    with pytest.raises((TypeError, ValueError)):
        await serve(echo, 0, **options)
    with pytest.raises((TypeError, ValueError)):
        connect("ws://localhost/", **options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"handler": None}, TypeError),
        ({"head_limits": 8192}, TypeError),
        ({"max_connections": -1}, ValueError),
        ({"process_request": 5}, TypeError),
        ({"process_response": 5}, TypeError),
        ({"create_connection": "x"}, TypeError),
        ({"extensions": ["x"], "compression": None}, TypeError),
        ({"ssl": True}, TypeError),
    ],
)
@on_trio
async def test_bad_settings_of_a_server_are_refused_before_it_listens(options, error):
    with pytest.raises(error, match=next(iter(options))):
        await serve(**{"handler": echo, "port": 0, **options})


@on_trio
async def test_listeners_of_the_caller_are_used():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        async with await nursery.start(functools.partial(serve, echo, listeners=listeners)) as server:
            assert server.listeners is listeners
            async with raw(server) as peer:
                await peer.send(peer.frame(CLOSE))
                assert await peer.read_event() == Close(1005, "")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets")
@pytest.mark.parametrize(
    ("handler", "options"),
    [
        pytest.param(echo, {"ping_intervall": 3}, id="unknown argument"),
        pytest.param(echo, {"ping_interval": "x"}, id="invalid setting"),
        pytest.param(echo, {"host": "h"}, id="host"),
        pytest.param(None, {}, id="no handler"),
    ],
)
@on_trio
async def test_unix_server_that_cannot_start_leaves_the_socket_of_another_one(handler, options, tmp_path):
    path = tmp_path / "socket"
    async with trio.open_nursery() as nursery:
        async with await nursery.start(functools.partial(unix_serve, echo, path)):
            with pytest.raises((TypeError, ValueError)):
                await unix_serve(handler, path, **options)
            async with unix_connect(path) as ws:
                await ws.send("x")
                assert await ws.recv() == "x"


@pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets")
@on_trio
async def test_unix_server_that_cannot_listen_leaves_no_socket_open(tmp_path):
    with pytest.raises(FileNotFoundError):
        await unix_serve(echo, tmp_path / "missing" / "socket")
    gc.collect()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@on_trio
async def test_unix_socket_can_be_served_repeatedly(tls, tmp_path):
    path = tmp_path / "socket"
    ours, theirs = ({"ssl": server_side()}, {"ssl": client_side()}) if tls else ({}, {})
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            async with await nursery.start(functools.partial(unix_serve, echo, path, **ours)):
                async with unix_connect(path, **theirs) as ws:
                    await ws.send("x")
                    assert await ws.recv() == "x"
                    assert ws.request.headers["Host"] == "localhost"
                    assert ws.remote_address == str(path)
