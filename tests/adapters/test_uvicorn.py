"""uvicorn with framewire's class, over sockets; the client is raw bytes or `websockets`.

Each test runs on asyncio's own loop and on uvloop.
"""

import asyncio
import gc
import ssl
import subprocess
import sys
import weakref
from contextlib import asynccontextmanager

import ends
import pytest
import uvicorn
from ends import CERTIFICATE, on_loop, until
from frames import REQUEST as WHOLE_REQUEST
from frames import TEXT, explained, to
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import connect

from framewire import CLIENT, SERVER, Close, CloseCodeError, PerMessageDeflate, Ping, Pong, Stream
from framewire.adapters.uvicorn import WebSocketProtocol

OURS = "framewire.adapters.uvicorn:WebSocketProtocol"
REQUEST = WHOLE_REQUEST.replace(b"/path", b"/caf%C3%A9?q=1")
DEFLATE_REQUEST = REQUEST.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")


@pytest.fixture(params=["asyncio", "uvloop"], autouse=True)
def network(request, monkeypatch):
    """The event loop of the test."""
    monkeypatch.setattr(ends, "network", request.param)
    return request.param


class Application:
    """An application that accepts, echoes, and keeps its scope and the last event."""

    def __init__(self):
        self.scope = self.end = None
        self.done = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.scope = scope
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept", "headers": [(b"x-app", b"yes")]})
        while (event := await receive())["type"] == "websocket.receive":
            kinds = event.keys() - {"type"}
            assert len(kinds) == 1  # text or bytes, never both
            await send({"type": "websocket.send", **{kind: event[kind] for kind in kinds}})
        self.end = event
        assert await receive() == event  # repeated at each call
        self.done.set()


@asynccontextmanager
async def serving(app, **options):
    """Run a uvicorn server on a free port; yield it and its port."""
    options = {"ws": OURS, "lifespan": "off", "log_level": "warning", "port": 0, **options}
    server = uvicorn.Server(uvicorn.Config(app, **options))
    task = asyncio.create_task(server._serve())
    await until(lambda: server.started or task.done())
    assert not task.done(), task.result()
    try:
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


class Raw:
    """A client on a raw socket."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.stream = Stream(CLIENT, max_message_size=None)
        self.events = []
        self.head = b""

    @classmethod
    async def open(cls, port, early=b"", request=REQUEST, **options):
        """Send the request and `early` in one segment, and read the head of the response."""
        self = cls(*await asyncio.open_connection("127.0.0.1", port, **options))
        self.writer.write(request + early)
        self.head = await self.reader.readuntil(b"\r\n\r\n")
        return self

    async def next(self):
        """Return the next event; None at the end of the connection."""
        while not self.events:
            data = await self.reader.read(65536)
            if not data:
                return None
            self.events += self.stream.receive(data)
        return self.events.pop(0)

    async def send(self, message):
        self.writer.write(self.stream.send(message))
        await self.writer.drain()

    async def close(self, code=1000):
        self.writer.write(self.stream.close(code))
        while await self.next() is not None:
            pass
        self.writer.close()


each_parser = pytest.mark.parametrize("http", ["h11", "httptools"])


@each_parser
@on_loop
async def test_uvicorn_echoes_messages_and_passes_the_asgi_scope(http):
    app = Application()
    async with serving(app, http=http) as (server, port):
        client = await Raw.open(port)
        assert b"\r\nx-app: yes\r\n" in client.head
        (protocol,) = server.server_state.connections
        assert type(protocol) is WebSocketProtocol
        for message in ("", "é" * 100, b"", b"\x00" * 70_000, "x" * 200_000):
            await client.send(message)
            assert await client.next() == message
        await client.close(1001)
        await app.done.wait()
    assert app.end == {"type": "websocket.disconnect", "code": 1001, "reason": ""}
    assert app.scope["path"] == "/café"
    assert app.scope["raw_path"] == b"/caf%C3%A9"
    assert app.scope["query_string"] == b"q=1"
    assert app.scope["scheme"] == "ws"
    assert app.scope["asgi"]["spec_version"] == "2.4"
    assert (b"upgrade", b"websocket") in app.scope["headers"]


@each_parser
@on_loop
async def test_frames_in_the_segment_of_the_request_are_not_lost(http):
    frames = Stream(CLIENT)
    async with serving(Application(), http=http) as (_, port):
        client = await Raw.open(port, early=frames.send("first") + frames.ping(b"?") + frames.send(b"second"))
        assert [await client.next() for _ in range(3)] == [Pong(b"?"), "first", b"second"]
        await client.close()


@on_loop
async def test_frames_before_the_handshake_response_are_kept_and_bounded():
    async def app(scope, receive, send):
        await receive()
        asked.set()
        (protocol,) = server.server_state.connections
        await until(lambda: not protocol.transport.is_reading())
        held.append(len(protocol.opening._early))
        await send({"type": "websocket.accept"})
        held.append((await receive())["bytes"])

    held, asked = [], asyncio.Event()
    async with serving(app) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await asked.wait()
        writer.write(Stream(CLIENT).send(b"a" * 1_000_000))
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        await reader.read()
        writer.close()
    assert held[0] < 200_000
    assert held[1] == b"a" * 1_000_000


@on_loop
async def test_burst_is_read_without_pausing_until_ws_max_queue():
    """One message that waits does not stop reading, as long as `ws_max_queue` is not reached."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        (protocol,) = server.server_state.connections
        await until(lambda: len(protocol.session.queue.items) == 20)
        seen.append((len(protocol.session.queue.items), not protocol.session.reading))
        go_on.set()
        await until(lambda: not protocol.session.reading)
        seen.append((len(protocol.session.queue.items), not protocol.session.reading))
        while (event := await receive())["type"] == "websocket.receive":
            count.append(event["text"])

    seen, count, go_on = [], [], asyncio.Event()
    async with serving(app, ws_max_queue=32) as (server, port):
        client = await Raw.open(port)
        for _ in range(20):
            await client.send("x")
        await go_on.wait()
        for _ in range(2000):
            await client.send("x" * 1000)
        await client.close()
    assert seen[0] == (20, False)
    assert seen[1][1] is True  # the queue is full
    assert seen[1][0] < 500
    assert len(count) == 2020


@on_loop
async def test_sending_waits_for_a_peer_that_does_not_read():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(100):
            await send({"type": "websocket.send", "bytes": bytes(1 << 20)})
            sent.append(1)

    sent = []
    async with serving(app) as (server, port):
        client = await Raw.open(port, limit=1024)
        (protocol,) = server.server_state.connections
        await until(lambda: sent and protocol.session.write_paused)
        assert 0 < len(sent) < 50
        before = len(sent)
        for _ in range(before + 2):
            assert await client.next() == bytes(1 << 20)
        assert len(sent) > before
        client.writer.transport.abort()


@on_loop
async def test_waiting_task_sends_before_one_that_sends_again_and_again():
    async def app(scope, receive, send):
        async def send_on_and_on():
            while True:
                await send({"type": "websocket.send", "bytes": bytes(1 << 20)})

        await receive()
        await send({"type": "websocket.accept"})
        greedy = asyncio.ensure_future(send_on_and_on())
        await until(lambda: protocols()[0].session.write_paused)
        go.set()
        for number in range(3):
            await send({"type": "websocket.send", "text": str(number)})
        greedy.cancel()
        await asyncio.wait([greedy])

    go = asyncio.Event()
    async with serving(app) as (server, port):

        def protocols():
            return list(server.server_state.connections)

        client = await Raw.open(port, limit=1024)
        await go.wait()
        events = []
        while "2" not in events:
            events.append(await client.next())
        first, second, third = (events.index(text) for text in "012")
        assert (second - first, third - second) == (2, 2)  # one of the other task in between
        client.writer.transport.abort()


@on_loop
async def test_connection_lost_without_a_close_frame_is_1006():
    app = Application()
    async with serving(app) as (_, port):
        client = await Raw.open(port)
        client.writer.transport.abort()
        await app.done.wait()
    assert app.end == {"type": "websocket.disconnect", "code": 1006}


@on_loop
async def test_send_after_close_raises_client_disconnected():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["code"] == 1000
        try:
            await send({"type": "websocket.send", "text": "late"})
        except ClientDisconnected:
            said.append(True)

    said = []
    async with serving(app) as (_, port):
        client = await Raw.open(port)
        await client.close()
    assert said == [True]


@pytest.mark.parametrize(
    ("bytes_in", "code"),
    [
        (b"\x82\xfe\x01\x00abcd" + bytes(256), 1009),
        (b"\x81\x82abcd\x9e\x9d", 1007),
        (b"\x81\x02hi", 1002),
        (b"\xc1\x80abcd", 1002),
    ],
    ids=["too big", "not UTF-8", "not masked", "RSV1"],
)
@on_loop
async def test_violation_closes_with_the_matching_code(bytes_in, code):
    app = Application()
    async with serving(app, ws_max_size=255, ws_per_message_deflate=False) as (_, port):
        client = await Raw.open(port)
        client.writer.write(bytes_in)
        assert await client.next() == explained(code)
        assert await client.next() is None
        await app.done.wait()
        client.writer.close()
    assert app.end["code"] == code
    assert app.end["reason"]


@on_loop
async def test_shutdown_closes_with_1012():
    app = Application()
    async with serving(app) as (server, port):
        client = await Raw.open(port)
        server.should_exit = True
        assert await client.next() == Close(1012, "")
        await app.done.wait()
        client.writer.close()
    assert app.end == {"type": "websocket.disconnect", "code": 1012}


@on_loop
async def test_unanswered_keepalive_ping_closes_with_1011():
    app = Application()
    async with serving(app, ws_ping_interval=0.3, ws_ping_timeout=0.6) as (_, port):
        client = await Raw.open(port)
        for _ in range(3):
            assert type(await client.next()) is Ping
            client.writer.write(client.stream.pending())
        events = [await client.next(), await client.next()]  # this ping is not answered
        assert type(events[0]) is Ping
        assert events[1] == Close(1011, "keepalive ping timeout")
        await app.done.wait()
        client.writer.close()
    assert app.end["code"] == 1011


@on_loop
async def test_ping_interval_none_disables_keepalive():
    async with serving(Application(), ws_ping_interval=None) as (server, port):
        client = await Raw.open(port)
        (protocol,) = server.server_state.connections
        assert protocol.session.next_timer() is None
        await client.close()


@pytest.mark.parametrize("compression", [True, False])
@on_loop
async def test_ws_per_message_deflate_option_controls_compression(compression):
    async with serving(Application(), ws_per_message_deflate=compression) as (_, port):
        async with connect(f"ws://127.0.0.1:{port}/") as client:
            assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"] * compression
            for message in ("text " * 1000, b"\x00" * 100_000, ""):
                await client.send(message)
                assert await client.recv() == message


class Compressing(WebSocketProtocol):
    permessage_deflate = PerMessageDeflate(server_max_window_bits=9, client_max_window_bits=10, threshold=1000)


class Incompressible(WebSocketProtocol):
    permessage_deflate = None


@pytest.mark.parametrize(
    ("ws", "answer"),
    [
        (OURS, b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"),
        (Compressing, b"permessage-deflate; server_max_window_bits=9; client_max_window_bits=10"),
        (Incompressible, None),
    ],
)
@on_loop
async def test_class_attribute_selects_the_compression(ws, answer):
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    request = REQUEST.replace(b"\r\n\r\n", b"\r\n" + offer + b"\r\n\r\n")
    async with serving(Application(), ws=ws) as (_, port):
        client = await Raw.open(port, request=request)
        head = client.head.lower()
        assert (b"\r\nsec-websocket-extensions: " in head) is (answer is not None)
        assert answer is None or b": " + answer + b"\r\n" in head
        await client.close()


@on_loop
async def test_messages_below_the_threshold_are_not_compressed():
    async with serving(Application(), ws=Compressing) as (_, port):
        client = await Raw.open(port, request=DEFLATE_REQUEST)
        for size, first_byte in ((999, 0x81), (1000, 0xC1)):
            client.writer.write(client.stream.send("x" * size))
            assert (await client.reader.readexactly(1))[0] == first_byte
            length = (await client.reader.readexactly(1))[0]
            assert (length == 126) is (size == 999)
            await client.reader.readexactly(size + 2 if length == 126 else length)
        client.writer.close()


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("option", [False, True])
@on_loop
async def test_application_can_turn_compression_off(enabled, option):
    """But not on; a middleware may pass on a copy of the scope."""

    async def app(scope, receive, send):
        scope = {**scope, "extensions": {**scope["extensions"]}}
        setting = scope["extensions"]["framewire.compression"]
        assert setting == {"enabled": option}
        setting["enabled"] = enabled
        await echo(scope, receive, send)

    echo = Application()
    async with serving(app, ws_per_message_deflate=option) as (_, port):
        client = await Raw.open(port, request=DEFLATE_REQUEST)
        assert (b"permessage-deflate" in client.head) is (enabled and option)
        await client.close()


@each_parser
@on_loop
async def test_uvicorn_serves_over_tls(http):
    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.check_hostname = False
    app = Application()
    async with serving(app, http=http, ssl_certfile=CERTIFICATE, ssl_keyfile=CERTIFICATE) as (_, port):
        async with connect(f"wss://127.0.0.1:{port}/", ssl=context) as client:
            await client.send("x" * 100_000)
            assert await client.recv() == "x" * 100_000
        client.transport.close()  # on Python 3.10 websockets leaves it open, which would warn
        await app.done.wait()
    assert app.scope["scheme"] == "wss"
    assert app.end["code"] == 1000


@on_loop
async def test_subprotocol_and_lifespan_state_reach_the_application():
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["count"] = 7
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await receive()
        assert scope["subprotocols"] == ["a", "b"]
        await send({"type": "websocket.accept", "subprotocol": "b"})
        await send({"type": "websocket.send", "text": str(scope["state"]["count"])})
        await send({"type": "websocket.close", "code": 3000, "reason": "done"})

    async with serving(app, lifespan="on") as (_, port):
        async with connect(f"ws://127.0.0.1:{port}/", subprotocols=["a", "b"]) as client:
            assert client.subprotocol == "b"
            assert await client.recv() == "7"
            await client.wait_closed()
            assert (client.close_code, client.close_reason) == (3000, "done")


@on_loop
async def test_denial_response_is_sent_to_the_client():
    async def app(scope, receive, send):
        await receive()
        start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no ticket")]}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b"go ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"away"})
        ends.append(await receive())

    ends = []
    async with serving(app) as (_, port):
        client = await Raw.open(port)
        assert client.head.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert b"\r\nx-why: no ticket\r\n" in client.head
        assert b"\r\ncontent-length: 7\r\n" in client.head
        assert await client.reader.read() == b"go away"
        client.writer.close()
    assert ends == [{"type": "websocket.disconnect", "code": 1006}]


@each_parser
@on_loop
async def test_absolute_uri_is_split_into_path_and_query(http):
    app = Application()
    async with serving(app, http=http) as (_, port):
        for target, path, query in ((b"http://other/a%2Fb?q=/", "/a/b", b"q=/"), (b"WS://other", "/", b"")):
            client = await Raw.open(port, request=WHOLE_REQUEST.replace(b"/path", target))
            await client.close()
            assert (app.scope["path"], app.scope["query_string"]) == (path, query)


@pytest.mark.parametrize("status", [204, 205, 304])
@on_loop
async def test_denial_response_without_content_has_no_content_length(status):
    async def app(scope, receive, send):
        await receive()
        headers = [(b"Content-Length", b"0"), (b"x-why", b"no news")]
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"dropped"})

    async with serving(app) as (_, port):
        client = await Raw.open(port)
        assert client.head.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nx-why: no news\r\n" in client.head
        assert b"content-length" not in client.head.lower()
        assert await client.reader.read() == b""
        client.writer.close()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Version: 13", b"Version: 8"), 426),
        ((b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), 400),
        ((b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"), 400),
    ],
    ids=["version", "key", "body"],
)
@on_loop
async def test_invalid_request_is_refused_before_the_application(change, status):
    async def app(scope, receive, send):
        raise AssertionError("the application must not run")

    async with serving(app, http="h11") as (_, port):
        client = await Raw.open(port, request=REQUEST.replace(*change))
        assert client.head.startswith(b"HTTP/1.1 %d " % status)
        client.writer.close()


@pytest.mark.parametrize(
    ("header", "error"), [((b"x", b"a\r\nSet-Cookie: b"), "InvalidHeaderValue"), ((b"a b", b"c"), "ValueError")]
)
@on_loop
async def test_header_that_would_split_the_response_is_refused(header, error, capsys):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept", "headers": [header]})

    async with serving(app) as (_, port):
        client = await Raw.open(port)
        assert client.head.startswith(b"HTTP/1.1 500 ")
        assert b"Set-Cookie" not in client.head
        client.writer.close()
    assert f"{error}: " in capsys.readouterr().err


@on_loop
async def test_starlette_and_fastapi_applications_are_served():
    from fastapi import FastAPI, WebSocket
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute

    async def echo(socket: WebSocket):
        await socket.accept()
        async for message in socket.iter_text():
            await socket.send_text(message)

    fast = FastAPI()
    fast.websocket("/")(echo)
    for app in (fast, Starlette(routes=[WebSocketRoute("/", echo)])):
        async with serving(app) as (server, port), connect(f"ws://127.0.0.1:{port}/") as client:
            (protocol,) = server.server_state.connections
            assert type(protocol) is WebSocketProtocol
            await client.send("hello")
            assert await client.recv() == "hello"


@each_parser
@on_loop
async def test_http_1_0_request_is_refused_before_the_application(http):
    async def app(scope, receive, send):
        raise AssertionError("the application must not run")

    async with serving(app, http=http) as (_, port):
        client = await Raw.open(port, request=REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert client.head.startswith(b"HTTP/1.1 400 ")
        assert b"HTTP version" in await client.reader.read()
        client.writer.close()


@pytest.mark.parametrize("orderly", [True, False], ids=["close frame", "reset"])
@on_loop
async def test_close_after_the_end_is_silent_in_fastapi(orderly, capsys):
    from fastapi import FastAPI, WebSocket

    app, ended = FastAPI(), asyncio.Event()

    @app.websocket("/{path}")
    async def handler(socket: WebSocket):
        await socket.accept()
        try:
            async for _ in socket.iter_text():
                pass
        finally:
            await socket.close()
            ended.set()

    async with serving(app) as (server, port):
        client = await Raw.open(port)
        if orderly:
            await client.close()
        else:
            client.writer.transport.abort()
        await ended.wait()
        await until(lambda: not server.server_state.tasks)
    assert capsys.readouterr().err == ""


@on_loop
async def test_close_code_and_reason_of_the_peer_are_echoed():
    app = Application()
    async with serving(app) as (_, port):
        client = await Raw.open(port)
        client.writer.write(client.stream.close(4001, "bye"))
        assert await client.next() == Close(4001, "bye")
        assert await client.next() is None
        client.writer.close()
    assert app.end == {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}


@on_loop
async def test_corrupt_deflate_data_ends_with_1007():
    app = Application()
    async with serving(app) as (_, port):
        client = await Raw.open(port, request=DEFLATE_REQUEST)
        client.writer.write(to(SERVER, 0xC1, b"\xff\xff\xff"))
        assert (await client.next()).code == 1007
        assert await client.next() is None
        client.writer.close()
    assert app.end["code"] == 1007


@on_loop
async def test_frame_that_arrives_slowly_postpones_the_keepalive_deadline():
    async with serving(Application(), ws_ping_interval=0.3, ws_ping_timeout=0.6) as (_, port):
        client = await Raw.open(port)
        data = client.stream.send(bytes(1000))
        for start in range(0, len(data), 100):
            client.writer.write(data[start : start + 100])
            await asyncio.sleep(0.15)  # real time: the frame takes twice as long as the peer may be silent
        while isinstance(event := await client.next(), Ping):
            pass
        assert event == bytes(1000)
        client.writer.transport.abort()


@pytest.mark.parametrize("interval", [0, -1])
@on_loop
async def test_ping_interval_of_zero_or_less_disables_keepalive(interval):
    async with serving(Application(), ws_ping_interval=interval) as (server, port):
        client = await Raw.open(port)
        (protocol,) = server.server_state.connections
        assert protocol.session.next_timer() is None
        await client.close()


@pytest.mark.parametrize(
    "options",
    [{"ws_ping_timeout": 0}, {"ws_ping_timeout": -1}, {"ws_max_size": -1}, {"ws_max_queue": -1}],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("ws", [OURS, WebSocketProtocol, type("Derived", (WebSocketProtocol,), {})])
def test_server_does_not_start_with_settings_out_of_range(options, ws):
    with pytest.raises(ValueError, match=next(iter(options)).removeprefix("ws_")):
        uvicorn.run(Application(), ws=ws, port=0, lifespan="off", log_config=None, **options)


def test_server_does_not_start_with_another_type_of_compression():
    class Wrong(WebSocketProtocol):
        permessage_deflate = True

    with pytest.raises(TypeError, match="permessage_deflate is PerMessageDeflate or None, not bool"):
        uvicorn.run(Application(), ws=Wrong, port=0, lifespan="off", log_config=None)


@on_loop
async def test_settings_of_another_protocol_class_are_not_validated():
    async with serving(Application(), ws="websockets-sansio", ws_max_queue=-1) as (_, port):
        client = await Raw.open(port)
        await client.close()


@on_loop
async def test_close_timeout_of_a_subclass_limits_the_closing_handshake():
    class Impatient(WebSocketProtocol):
        close_timeout = 0.2

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})
        events.append(await receive())

    events = []
    async with serving(app, ws=Impatient) as (server, port):
        client = await Raw.open(port)
        assert await client.next() == Close(4000, "enough")
        with pytest.raises(ConnectionResetError):
            while await client.next() is None:  # the peer sends no close frame and does not end TCP
                await asyncio.sleep(0.01)
                client.writer.write(b"x")
                await client.writer.drain()
        client.writer.transport.abort()
        await until(lambda: not server.server_state.connections)
    assert events == [{"type": "websocket.disconnect", "code": 4000, "reason": "enough"}]


@on_loop
async def test_messages_before_the_application_returns_arrive_in_order():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        for message in messages:
            await send({"type": "websocket.send", "bytes": message})

    messages = [b"a", b"b", bytes(100_000), b"c", bytearray(50_000), b"d"]
    async with serving(app) as (_, port):
        client = await Raw.open(port)
        assert [await client.next() for _ in messages] == messages
        assert await client.next() is None
        client.writer.close()


@on_loop
async def test_messages_that_arrive_after_the_applications_close_are_dropped():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        (protocol,) = server.server_state.connections
        await until(lambda: protocol.session.queue.items)
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})
        await until(lambda: protocol.session.stream.messages_received == 2)
        events.extend([await receive(), await receive()])

    events = []
    async with serving(app) as (server, port):
        client = await Raw.open(port)
        await client.send("before")
        assert await client.next() == Close(4000, "enough")
        client.writer.write(to(SERVER, TEXT, b"after") + client.stream.pending())
        assert await client.next() is None
        client.writer.close()
    assert events == [
        {"type": "websocket.receive", "text": "before"},
        {"type": "websocket.disconnect", "code": 4000, "reason": "enough"},
    ]


@on_loop
async def test_receive_returns_the_events_of_its_slow_path():
    class Slow(WebSocketProtocol):
        receive = WebSocketProtocol._receive_event

    async def app(scope, receive, send):
        seen = []
        while not seen or seen[-1]["type"] != "websocket.disconnect":
            seen.append(await receive())
            if seen[-1]["type"] == "websocket.connect":
                await send({"type": "websocket.accept"})
            elif seen[-1].get("text") == "?":
                await send({"type": "websocket.send", "text": str(len(seen))})
                (protocol,) = server.server_state.connections
                assert protocol.session.queue.size == 0
        events.append(seen)

    events = []
    for protocol in (WebSocketProtocol, Slow):
        async with serving(app, ws=protocol, ws_max_queue=4) as (server, port):
            client = await Raw.open(port)
            for message in ("a", b"b", ["c", "d"], "", "x" * 70_000, *["y"] * 600):
                parts = [message] if isinstance(message, (str, bytes)) else message
                for number, part in enumerate(parts, 1):
                    client.writer.write(client.stream.send(part, last=number == len(parts)))
                if message != "y":
                    await client.send("?")
                    assert await client.next() is not None
            await client.send("?")
            assert await client.next() == "612"
            await client.close(4000)
    assert events[0] == events[1]
    assert len(events[0]) == 613


@on_loop
async def test_connect_is_the_first_event_after_an_early_accept():
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        (protocol,) = server.server_state.connections
        await until(lambda: protocol.session.queue.items)
        events.extend([await receive(), await receive()])

    events = []
    async with serving(app) as (server, port):
        client = await Raw.open(port)
        await client.send("a")
        assert await client.next() is None  # the application has returned
        client.writer.close()
    assert events == [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "a"}]


@on_loop
async def test_application_that_ignores_the_end_lets_other_tasks_run():
    ran, others = [], []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        asyncio.get_running_loop().call_soon(others.append, "other task")
        for _ in range(1000):
            assert (await receive())["type"] == "websocket.disconnect"
            if others:
                break
        ran.append(list(others))

    async with serving(app) as (_, port):
        client = await Raw.open(port)
        await client.close()
        await until(lambda: ran)
    assert ran == [["other task"]]


@on_loop
async def test_several_tasks_may_receive():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        receivers = [asyncio.ensure_future(receive()) for _ in range(4)]
        await asyncio.sleep(0)
        receivers[0].cancel()
        ready.set()
        events.extend(await asyncio.gather(*receivers[1:]))

    events, ready = [], asyncio.Event()
    async with serving(app) as (_, port):
        client = await Raw.open(port)
        await ready.wait()
        client.writer.write(client.stream.send("1") + client.stream.send("2"))
        await client.close()
    assert sorted(event.get("text", "") for event in events) == ["", "1", "2"]


@on_loop
async def test_violation_after_unreceived_messages_is_answered():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        (protocol,) = server.server_state.connections
        await until(lambda: protocol.session.stream.failing)  # then it returns without receiving

    async with serving(app) as (server, port):
        client = await Raw.open(port)
        client.writer.write(client.stream.send("unread") + b"\xff\xff")
        assert (await client.next()).code == 1002
        assert await client.next() is None
        client.writer.close()


@on_loop
async def test_close_reply_is_received_after_held_back_input():
    """Reading has stopped in the middle of compressed messages when the application closes."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        (protocol,) = server.server_state.connections
        await until(lambda: protocol.session.has_held_back)
        await send({"type": "websocket.close"})

    async with serving(app, ws_max_queue=1) as (server, port):
        client = await Raw.open(port, request=DEFLATE_REQUEST)
        frame = to(SERVER, 0xC2, b"\x62\x00\x00")  # two bytes of 0
        client.writer.write(frame * 2000)  # in a single read
        assert await client.next() == Close(1000, "")
        client.writer.write(client.stream.pending())
        assert await asyncio.wait_for(client.next(), 5) is None
        client.writer.close()
        await until(lambda: not server.server_state.connections)


@on_loop
async def test_invalid_close_code_is_an_error_that_changes_nothing():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        with pytest.raises(CloseCodeError, match="1005"):
            await send({"type": "websocket.close", "code": 1005})
        await send({"type": "websocket.send", "text": "still here"})
        await send({"type": "websocket.close"})

    async with serving(app) as (_, port):
        client = await Raw.open(port)
        assert [await client.next(), await client.next()] == ["still here", Close(1000, "")]
        client.writer.write(client.stream.pending())
        client.writer.close()


@on_loop
async def test_shutdown_before_the_answer_is_status_500():
    async def app(scope, receive, send):
        await receive()
        asked.set()
        ends.append(await receive())

    ends, asked = [], asyncio.Event()
    async with serving(app) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await asked.wait()
        server.should_exit = True
        assert (await reader.read()).startswith(b"HTTP/1.1 500 ")
        writer.close()
    assert ends == [{"type": "websocket.disconnect", "code": 1006}]


@on_loop
async def test_ended_connections_are_freed():
    async with serving(Application()) as (server, port):
        client = await Raw.open(port)
        (protocol,) = server.server_state.connections
        gone = weakref.ref(protocol)
        del protocol
        await client.close()
        await until(lambda: not server.server_state.connections and not server.server_state.tasks)
        await until(lambda: gc.collect() >= 0 and gone() is None)


#: A program for a new interpreter in which websockets and wsproto cannot be imported.
APART = """
import asyncio, sys
sys.modules["wsproto"] = None
import uvicorn
from framewire import CLIENT, Stream
from framewire.adapters.uvicorn import WebSocketProtocol
assert "websockets" not in sys.modules

async def app(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    message = await receive()
    await send({"type": "websocket.send", "text": message["text"]})
    print(type(asyncio.get_running_loop()).__module__, (await receive())["code"])

async def main():
    config = uvicorn.Config(app, ws=WebSocketProtocol, http=sys.argv[1], lifespan="off", log_level="warning", port=0)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stream = Stream(CLIENT)
    writer.write(REQUEST + stream.send("early"))
    await reader.readuntil(b"\\r\\n\\r\\n")
    assert stream.receive(await reader.read(100)) == ["early"]
    writer.write(stream.close(1000))
    await reader.read()
    writer.close()
    server.should_exit = True
    await task

if sys.argv[2] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@each_parser
def test_uvicorn_serves_without_websockets_and_wsproto(http, network):
    script = f"REQUEST = {REQUEST!r}\n" + APART.replace(
        'sys.modules["wsproto"] = None', 'sys.modules["wsproto"] = None; sys.modules["websockets.protocol"] = None'
    )
    command = [sys.executable, "-c", script, http, network]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    module = {"asyncio": "asyncio.unix_events", "uvloop": "uvloop"}[network]
    assert (done.returncode, done.stdout.strip()) == (0, f"{module} 1000"), done.stderr
