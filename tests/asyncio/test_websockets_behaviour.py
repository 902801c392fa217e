"""Behaviour that programs for `websockets` rely on: logs, causes, the end of servers, reconnecting,
routes.
"""

import asyncio
import logging
import ssl
import sys
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from itertools import repeat

import ends
import pytest
from backends import needed
from ends import echo, on_loop, until
from proxies import OPEN, answering, proxying

from framewire.asyncio.client import connect
from framewire.asyncio.connection import broadcast
from framewire.asyncio.router import Router, route
from framewire.asyncio.server import serve
from framewire.errors import ProxyError, StatusError
from framewire.exceptions import (
    ConcurrencyError,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidProxyStatus,
    InvalidStatus,
)
from framewire.http.headers import Headers
from framewire.http.http11 import Response
from framewire.http.proxy import Proxy, Tunnel
from framewire.http.reconnect import Reconnection, process_exception
from framewire.http.uri import parse_uri
from framewire.routes import Routes

if sys.version_info < (3, 11):
    # asyncio of Python 3.10 leaves TLS transports open after failed handshakes and closes by the
    # server.
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


@pytest.fixture(autouse=True, params=["asyncio", "uvloop"])
def network(request, monkeypatch):
    monkeypatch.setattr(ends, "network", request.param)


def uri_of(server, path="/"):
    return f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"


@on_loop
async def test_server_logs_its_connections_at_info(caplog):
    caplog.set_level(logging.INFO)
    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(uri_of(server)) as client:
            await client.send("a")
            assert await client.recv() == "a"
            (connection,) = server.connections
            (record,) = [each for each in caplog.records if each.message == "connection open"]
            assert record.websocket.id == connection.id
        await until(lambda: "connection closed" in caplog.messages)
    assert caplog.messages == [
        f"server listening on 127.0.0.1:{port}", "connection open", "connection closed", "server closing",
        "server closed",
    ]  # fmt: skip


@on_loop
async def test_frames_and_handshakes_are_logged_at_debug(caplog):
    caplog.set_level(logging.DEBUG, "framewire")
    async with serve(echo, "127.0.0.1", 0, compression=None) as server, connect(uri_of(server, "/path")) as client:
        for message in ("hello", bytes(100_000)):
            await client.send(message)
            assert await client.recv() == message
    server_log = [each.getMessage() for each in caplog.records if each.name == "framewire.server"]
    client_log = [each.getMessage() for each in caplog.records if each.name == "framewire.client"]
    for log, sent, received in ((server_log, "<", ">"), (client_log, ">", "<")):
        assert f"{sent} GET /path HTTP/1.1" in log
        assert f"{received} HTTP/1.1 101 Switching Protocols" in log
        for arrow in (sent, received):
            assert f"{arrow} TEXT 'hello' [5 bytes]" in log
            assert any(line.startswith(f"{arrow} BINARY") and "[100000 bytes]" in line for line in log)
            assert any(line.startswith(f"{arrow} CLOSE 1000") for line in log)


@on_loop
async def test_connection_closed_has_the_error_of_the_transport_as_cause():
    async def handler(connection):
        message = await connection.recv()
        if message == "abort":
            connection.transport.abort()
        await connection.wait_closed()

    async with serve(handler, "127.0.0.1", 0) as server:
        async with connect(uri_of(server)) as client:
            await client.send("abort")
            with pytest.raises(ConnectionClosedError) as lost:
                await client.recv()
        assert isinstance(lost.value.__cause__, (EOFError, OSError))
        async with connect(uri_of(server)) as client:
            await client.close()
            with pytest.raises(ConnectionClosedOK) as closed:
                await client.recv()
        assert closed.value.__cause__ is None


@on_loop
async def test_close_timeout_is_the_cause_of_connection_closed():
    serving = serve(echo, "127.0.0.1", 0, close_timeout=0.1)
    async with serving as server, connect(uri_of(server), close_timeout=0.05) as client:
        await until(lambda: server.connections)
        next(iter(server.connections)).transport.pause_reading()
        await client.close()
        with pytest.raises(ConnectionClosedError) as closed:
            await client.recv()
        assert isinstance(closed.value.__cause__, TimeoutError)


@on_loop
async def test_cancelled_serve_forever_closes_connections_with_1001():
    server = await serve(echo, "127.0.0.1", 0)
    serving = asyncio.ensure_future(server.serve_forever())
    async with connect(uri_of(server)) as client:
        serving.cancel()
        with pytest.raises(ConnectionClosedOK) as closed:
            await client.recv()
    assert closed.value.rcvd.code == 1001
    with pytest.raises(asyncio.CancelledError):
        await serving


@on_loop
async def test_serve_forever_returns_after_close():
    server = await serve(echo, "127.0.0.1", 0, start_serving=False)
    serving = asyncio.ensure_future(server.serve_forever())
    await until(server.is_serving)
    server.close()
    assert await serving is None
    await server.wait_closed()


@on_loop
async def test_closing_server_answers_503_during_the_handshake():
    begun = asyncio.Event()

    async def process_request(connection, request):
        begun.set()
        await until(lambda: connection.server.closing)

    async with serve(echo, "127.0.0.1", 0, process_request=process_request) as server:
        uri = uri_of(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        await until(lambda: len(server._everyone) == 1)
        opening = asyncio.ensure_future(connect(uri).__aenter__())
        await begun.wait()
    with pytest.raises(InvalidStatus) as refused:
        await opening
    assert refused.value.response.status_code == 503
    assert (await reader.read()).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    writer.close()


@on_loop
async def test_open_timeout_does_not_hide_a_refusal_without_end():
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        with pytest.raises(InvalidStatus) as refused:
            await connect(uri_of(server), open_timeout=0.2)
    assert refused.value.response.status_code == 403
    assert refused.value.response.body == b"no"
    assert isinstance(refused.value.__cause__, asyncio.TimeoutError)  # TimeoutError since Python 3.11


@on_loop
async def test_reconnecting_waits_after_connections_that_the_server_ends_at_once():
    delays = []

    def make_delays():
        for delay in (0.01, 0.02, 0.03):
            delays.append(delay)
            yield delay

    async def handler(connection):
        await connection.close(1013)

    async with serve(handler, "127.0.0.1", 0) as server:
        count = 0
        async for client in connect(uri_of(server), reconnect_delays=make_delays):
            count += 1
            if count == 4:
                break
            await client.wait_closed()
    assert delays == [0.01, 0.02, 0.03]


def test_connections_of_some_duration_reset_the_delays():
    reconnection = Reconnection(process_exception, lambda: iter([1.0, 2.0]), logging.getLogger())
    assert [reconnection.ended(0.1, True), reconnection.failed(OSError())] == [1.0, 2.0]
    assert reconnection.ended(0.1, False) == 0
    assert reconnection.failed(OSError()) == 1.0
    assert reconnection.ended(1.5, True) == 0
    error = ValueError()
    with pytest.raises(ValueError) as raised:
        reconnection.failed(error)
    assert raised.value is error


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        ("99999999999999", 3600, 3600),
        ("soon", 0.5, 0.5),
        (format_datetime(datetime.now(timezone.utc) + timedelta(hours=2), usegmt=True), 3600, 3600),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.5, 0.5),
    ],
    ids=["seconds", "too many seconds", "neither", "date to come", "date in the past"],
)
def test_retry_after_makes_the_delay_longer(value, least, most):
    error = StatusError(Response(503, "Service Unavailable", Headers([("Retry-After", value)])))
    assert least <= Reconnection(process_exception, lambda: repeat(0.5), logging.getLogger()).failed(error) <= most


def test_ssl_none_is_refused_with_a_wss_uri():
    with pytest.raises(ValueError, match="ssl=None"):
        connect("wss://localhost/", ssl=None)


def test_proxy_interim_responses_are_skipped_and_refusals_have_their_body():
    proxy = Proxy("http", "proxy", 80, None, None)
    tunnel = Tunnel(proxy, parse_uri("ws://localhost/"), None)
    assert not tunnel.receive(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert tunnel.receive(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    tunnel = Tunnel(proxy, parse_uri("ws://localhost/"), None)
    with pytest.raises(InvalidProxyStatus) as refused:
        tunnel.receive(b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno")
    response = refused.value.response
    assert (response.status_code, response.headers["Proxy-Authenticate"], response.body) == (407, "Basic", b"no")


@on_loop
async def test_server_inside_of_tls_to_a_proxy_is_verified():
    trust = ends.client_side()
    with proxying(answering(OPEN), ssl=ends.server_side()) as port:
        async with serve(echo, "127.0.0.1", 0, ssl=ends.server_side()) as server:
            uri = f"wss://localhost:{server.sockets[0].getsockname()[1]}/"
            options = {"proxy": f"https://localhost:{port}", "proxy_ssl": trust}
            if sys.version_info < (3, 11) and isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
                with pytest.raises(ProxyError, match="needs Python 3.11"):
                    await connect(uri, ssl=trust, **options)
                return
            async with connect(uri, ssl=trust, **options) as client:
                await client.send("through both")
                assert await client.recv() == "through both"
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(uri, **options)


@on_loop
async def test_tls_failure_through_a_proxy_is_raised_and_logs_nothing(caplog):
    async def proxy(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await reader.read(1)
        writer.write(b"this is no TLS")
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        with pytest.raises(OSError):
            await connect("wss://localhost/", proxy=uri_of(server).replace("ws:", "http:"))
    assert caplog.messages == []


@on_loop
async def test_broadcast_collects_exceptions_and_sends_bytes_as_text(caplog):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def pieces():
        begun.set()
        await go_on.wait()
        yield "a"

    async with serve(echo, "127.0.0.1", 0) as server, connect(uri_of(server)) as client:
        await until(lambda: server.connections)
        (connection,) = server.connections
        broadcast([connection], b"text", text=True)
        assert await client.recv() == "text"
        sending = asyncio.ensure_future(connection.send(pieces()))
        await begun.wait()
        if sys.version_info >= (3, 11):
            with pytest.raises(Exception, match="skipped broadcast") as raised:
                broadcast([connection], "lost", raise_exceptions=True)
            assert [type(each) for each in raised.value.exceptions] == [ConcurrencyError]
        go_on.set()
        await sending
        assert await client.recv() == "a"
    assert caplog.messages == []


@on_loop
async def test_routes_serve_their_handlers_after_process_request():
    routes = Routes()

    @routes.add("/rooms/{room}")
    async def talk(connection, room):
        await connection.send(room)

    async def process_request(connection, request):
        return connection.respond(200, "fine") if request.path == "/health" else None

    async with route(routes, "127.0.0.1", 0, process_request=process_request) as server:
        async with connect(uri_of(server, "/rooms/a")) as client:
            assert await client.recv() == "a"
        for path, status in (("/health", 200), ("/elsewhere", 404)):
            with pytest.raises(InvalidStatus) as refused:
                await connect(uri_of(server, path))
            assert refused.value.response.status_code == status


@on_loop
async def test_map_of_werkzeug_serves_endpoints_and_redirects():
    routing = needed("werkzeug.routing")

    async def count(connection, number):
        await connection.send(str(number))

    class Renamed(Router):
        def not_found(self, connection):
            return connection.respond(410, "gone")

    url_map = routing.Map([routing.Rule("/<int:number>", endpoint=count), routing.Rule("/first", redirect_to="/1")])
    async with route(url_map, "127.0.0.1", 0, create_router=Renamed) as server:
        for path in ("/1", "/first"):
            async with connect(uri_of(server, path)) as client:
                assert await client.recv() == "1"
        with pytest.raises(InvalidStatus) as refused:
            await connect(uri_of(server, "/none"))
        assert refused.value.response.status_code == 410


@on_loop
async def test_respond_sends_one_content_length():
    def process_request(connection, request):
        response = connection.respond(200, "fine")
        assert response.headers["Content-Length"] == "4"
        return response

    async with serve(echo, "127.0.0.1", 0, process_request=process_request) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.count(b"Content-Length: 4\r\n") == 1
    assert answer.endswith(b"\r\n\r\nfine")
