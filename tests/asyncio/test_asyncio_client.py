"""The asyncio client: its time limits, and the arguments for its connections and proxies."""

import asyncio
import contextlib
import errno
import gc
import math
import socket
import ssl
import sys

import ends
import pytest
from backends import needed
from ends import CERTIFICATE, on_loop, server_side, serving, until
from modules import import_again
from proxies import OPEN, answering, proxying, socks5

from framewire import State
from framewire.asyncio import Listener, serve
from framewire.asyncio.client import ClientConnection, connect, unix_connect
from framewire.asyncio.proxy import _Opening
from framewire.asyncio.server import unix_serve
from framewire.exceptions import InvalidMessage, InvalidProxyMessage

TRUST = ssl.create_default_context(cafile=CERTIFICATE)


@pytest.fixture(autouse=True, params=["asyncio", "uvloop"])
def network(request, monkeypatch):
    monkeypatch.setattr(ends, "network", request.param)


async def check(opening):
    async with opening as ws:
        await ws.send("through")
        assert await ws.recv() == "through"


# Time limits

#: Seconds: a limit that must not hold, and a longer delay.
LIMIT, DELAY = 0.1, 0.4


@pytest.mark.parametrize("limit", [None, 10])
@on_loop
async def test_open_timeout_is_the_only_limit_of_a_socks_proxy(monkeypatch, limit):
    needed("python_socks")
    monkeypatch.setattr("python_socks.async_.asyncio._proxy.DEFAULT_TIMEOUT", LIMIT)

    async def late(reader, writer):
        await asyncio.sleep(DELAY)
        return await socks5(reader, writer)

    async with serving() as (_, port, _):
        with proxying(late) as proxy:
            uri = f"ws://localhost:{port}/"
            await check(connect(uri, proxy=f"socks5h://127.0.0.1:{proxy}", open_timeout=limit))


@on_loop
async def test_open_timeout_holds_for_a_socks_proxy():
    needed("python_socks")

    async def silent(reader, writer):
        await reader.read()

    with proxying(silent) as proxy:
        with pytest.raises(TimeoutError, match=r"during opening handshake, after 0\.2 seconds"):
            await connect("ws://localhost/", proxy=f"socks5h://127.0.0.1:{proxy}", open_timeout=0.2)


def late(greet):
    """Return `greet` of a proxy with a delay before the bytes pass."""

    async def greet_late(reader, writer):
        where = await greet(reader, writer)
        await asyncio.sleep(DELAY)
        return where

    return greet_late


@pytest.mark.parametrize("limit", [None, 10])
@pytest.mark.parametrize("kind", ["direct", "http", "socks5h", "https"])
@pytest.mark.parametrize("network", ["asyncio"], indirect=True)  # its limit can be set
def test_open_timeout_is_the_only_limit_of_a_tls_handshake(monkeypatch, kind, limit):
    if kind == "socks5h":
        needed("python_socks")

    async def open_late():
        async with serving(**({} if kind == "https" else {"ssl": server_side()})) as (_, port, _):

            async def to_server(reader, writer):
                return "127.0.0.1", port

            uri = f"wss://localhost:{port}/"
            if kind == "direct":
                with proxying(late(to_server)) as relay:
                    await check(connect(f"wss://localhost:{relay}/", ssl=TRUST, open_timeout=limit))
            elif kind == "https":  # TLS is late on the way to the proxy
                with proxying(answering(OPEN), ssl=server_side(), ssl_handshake_timeout=60) as inner:

                    async def to_proxy(reader, writer):
                        return "127.0.0.1", inner

                    with proxying(late(to_proxy)) as relay:
                        options = {"proxy": f"https://localhost:{relay}", "proxy_ssl": TRUST}
                        await check(connect(uri.replace("wss", "ws"), **options, open_timeout=limit))
            else:
                with proxying(late(socks5 if kind == "socks5h" else answering(OPEN))) as proxy:
                    await check(connect(uri, ssl=TRUST, proxy=f"{kind}://127.0.0.1:{proxy}", open_timeout=limit))

    monkeypatch.setattr("asyncio.constants.SSL_HANDSHAKE_TIMEOUT", LIMIT)
    on_loop(open_late)()


@pytest.mark.parametrize("limit", [None, 10, math.inf])
@on_loop
async def test_tls_handshake_of_the_loop_may_have_no_limit(limit):
    async with serving(ssl=server_side()) as (_, port, _):
        with proxying(answering(OPEN)) as proxy, proxying(answering(OPEN), ssl=server_side()) as secure_proxy:
            uri = f"wss://localhost:{port}/"
            await check(connect(uri, ssl=TRUST, open_timeout=limit))
            await check(connect(uri, ssl=TRUST, proxy=f"http://127.0.0.1:{proxy}", open_timeout=limit))
            if sys.version_info >= (3, 11):
                options = {"proxy": f"https://localhost:{secure_proxy}", "proxy_ssl": TRUST}
                await check(connect(uri, ssl=TRUST, open_timeout=limit, **options))


@pytest.mark.parametrize("limit", [None, 10])
@on_loop
async def test_timeout_of_the_network_is_raised_as_it_is(monkeypatch, limit):
    async def time_out(*args, **kwargs):
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", time_out, raising=False)
    with pytest.raises(TimeoutError, match="Connection timed out") as caught:
        await connect("ws://127.0.0.1/", proxy=None, open_timeout=limit)
    assert caught.value.errno == errno.ETIMEDOUT


@pytest.fixture
def timeout_of_python_3_10(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(sys, "version_info", (3, 10, 0, "final", 0))
        timeout = import_again("framewire.asyncio.compat").timeout
    assert timeout is not getattr(asyncio, "timeout", None)
    return timeout


@on_loop
async def test_timeout_of_python_3_10_tells_its_end_from_other_errors(timeout_of_python_3_10):
    timeout = timeout_of_python_3_10
    with pytest.raises(asyncio.TimeoutError):
        async with timeout(0.01) as limit:
            await asyncio.wait_for(asyncio.Event().wait(), 10)
    assert limit.expired()
    for seconds in (None, 10):
        with pytest.raises(asyncio.TimeoutError, match="of the body"):
            async with timeout(seconds) as limit:
                raise asyncio.TimeoutError("of the body")
        assert not limit.expired()
        async with timeout(seconds) as limit:
            pass
        assert not limit.expired()


@on_loop
async def test_timeout_of_python_3_10_lets_a_cancellation_through(timeout_of_python_3_10):
    entered, limit = asyncio.Event(), timeout_of_python_3_10(10)

    async def wait():
        async with limit:
            entered.set()
            await asyncio.wait_for(asyncio.Event().wait(), 10)

    task = asyncio.ensure_future(wait())
    await asyncio.wait_for(entered.wait(), 10)
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()
    assert not limit.expired()


@on_loop
async def test_connect_cannot_be_entered_concurrently():
    async def process_request(connection, request):
        with pytest.raises(RuntimeError, match="entered already"):
            await connecting.__aenter__()

    async with serving(process_request=process_request) as (_, _, uri):
        connecting = connect(uri)
        async with connecting:
            with pytest.raises(RuntimeError, match="entered already"):
                await connecting.__aenter__()
        await check(connecting)


# Arguments for connections and proxies


@on_loop
async def test_socks_proxy_is_reached_from_the_local_address():
    needed("python_socks")
    seen = []

    async def note_address(reader, writer):
        seen.append(writer.get_extra_info("peername")[:2])
        return await socks5(reader, writer)

    probe = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    own = probe.sockets[0].getsockname()
    probe.close()
    async with serving() as (_, port, _):
        with proxying(note_address) as proxy:
            await check(connect(f"ws://localhost:{port}/", proxy=f"socks5h://127.0.0.1:{proxy}", local_addr=own))
    assert seen == [own]


FOR_A_PROXY = {"proxy_ssl": TRUST, "proxy_server_hostname": "proxy", "proxy_ssl_handshake_timeout": 5}


@on_loop
async def test_arguments_for_an_http_proxy_are_not_used_without_one(monkeypatch, tmp_path):
    monkeypatch.delenv("ws_proxy", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with serving() as (_, _, uri):
        await check(connect(uri, **FOR_A_PROXY))
        await check(connect(uri, proxy=None, proxy_local_addr=("127.0.0.1", 0)))
    path = str(tmp_path / "socket")
    async with unix_serve(ends.echo, path):
        await check(unix_connect(path, **FOR_A_PROXY))


@on_loop
async def test_unknown_arguments_for_a_proxy_raise_type_error(tmp_path):
    async with serving() as (_, port, uri):
        with pytest.raises(TypeError, match="proxy_sll"):
            await connect(uri, proxy=None, proxy_sll=TRUST)
        needed("python_socks")
        with proxying(socks5) as proxy, pytest.raises(TypeError, match="proxy_sll"):
            await connect(f"ws://localhost:{port}/", proxy=f"socks5h://127.0.0.1:{proxy}", proxy_sll=TRUST)
    path = str(tmp_path / "socket")
    async with unix_serve(ends.echo, path):
        with pytest.raises(TypeError, match="proxy_sll"):
            await unix_connect(path, proxy_sll=TRUST)


@pytest.mark.parametrize("kind", ["http", "socks5h"])
@on_loop
async def test_proxy_ssl_goes_with_a_proxy_of_the_scheme_https(kind):
    with pytest.raises(ValueError, match="proxy_ssl goes with a proxy of the scheme https"):
        await connect("ws://127.0.0.1/", proxy=f"{kind}://127.0.0.1:1", proxy_ssl=TRUST)


def test_create_connection_does_not_go_with_a_listener():
    with pytest.raises(ValueError, match="create_connection is incompatible with listener"):
        connect("ws://127.0.0.1/", listener=Listener(), create_connection=dict)
    with pytest.raises(ValueError, match="create_connection is incompatible with a Listener"):
        serve(Listener(), "127.0.0.1", 0, create_connection=dict)


def keeping(kept):
    """Return a `create_connection` that appends each connection to `kept`."""

    def create(*arguments):
        kept.append(ClientConnection(*arguments))
        return kept[-1]

    return create


@pytest.mark.parametrize("secure", [False, True])
@on_loop
async def test_close_in_the_opening_handshake_of_a_client_cuts_the_connection(secure):
    async def open_connection():
        return await connect(uri, create_connection=keeping(kept), open_timeout=None, **options)

    loop, kept = asyncio.get_running_loop(), []
    options = {"ssl": TRUST} if secure else {}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        uri = f"ws{'s' * secure}://localhost:{listening.getsockname()[1]}/"
        opening = asyncio.ensure_future(open_connection())
        sock, _ = await asyncio.wait_for(loop.sock_accept(listening), 10)
        await until(lambda: kept)
        waiting = asyncio.ensure_future(kept[0].close())
        await asyncio.sleep(0)
        if secure:  # the connection has no transport before that
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=server_side())
        else:
            reader, writer = await asyncio.open_connection(sock=sock)
            transport = writer.transport
        with pytest.raises(InvalidMessage):
            await asyncio.wait_for(opening, 10)
        await asyncio.wait_for(waiting, 10)
        assert kept[0].state is State.CLOSED
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 10)
        transport.abort()


@on_loop
async def test_connection_of_a_client_whose_tls_fails_is_closed():
    kept = []
    async with serving() as (_, port, _):
        with pytest.raises(OSError):
            await connect(f"wss://localhost:{port}/", ssl=TRUST, create_connection=keeping(kept))
    assert kept[0].state is State.CLOSED
    await asyncio.wait_for(kept[0].close(), 10)


@on_loop
async def test_cancelled_opening_at_a_proxy_leaves_no_error_behind(monkeypatch):
    unhandled, ended = [], []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context["message"]))

    class CancellingOpening(_Opening):
        def connection_made(self, transport):
            super().connection_made(transport)
            tasks[0].cancel()

    async def silent(reader, writer):
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.append(reader)

    monkeypatch.setattr("framewire.asyncio.proxy._Opening", CancellingOpening)
    with proxying(silent) as proxy:
        tasks = [asyncio.ensure_future(connect("ws://localhost/", proxy=f"http://127.0.0.1:{proxy}").__aenter__())]
        await asyncio.wait(tasks, timeout=10)
        assert tasks[0].cancelled()
        await ends.until(lambda: ended)
    tasks.clear()
    gc.collect()
    await asyncio.sleep(0)
    assert unhandled == []


@on_loop
async def test_proxy_that_ends_the_connection_is_an_error_of_the_proxy():
    async def end(reader, writer):
        await reader.readuntil(b"\r\n\r\n")

    with proxying(end) as proxy, pytest.raises(InvalidProxyMessage):
        await connect("ws://localhost/", proxy=f"http://127.0.0.1:{proxy}")
