"""permessage-deflate over real sockets: framewire with itself, raw bytes, and other libraries."""

import asyncio
import functools
import json
import random
import re
import shutil
import subprocess
import sys
import zlib
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import aiohttp.web
import pytest
from backends import skip_unless
from browsers import chromium
from ends import echo, on_loop, raw, serving, until
from frames import REQUEST
from websockets.asyncio.client import connect as peer_connect
from websockets.asyncio.server import serve as peer_serve
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory

import framewire
from framewire.asyncio import broadcast, connect, serve
from framewire.errors import ResponseError
from framewire.protocol.permessage_deflate import PerMessageDeflate

#: Text and binary, compressible or not, ASCII or not, below and above every size limit of a step.
MESSAGES = [
    "",
    b"",
    "Hello",
    "Hello" * 50,
    "Grüße, 世界 🌍 " * 300,
    bytes(range(256)) * 20,
    random.Random(1).randbytes(5000),
    "Hello" * 50,
    random.Random(2).randbytes(70_000).hex(),
    json.dumps([{"id": n, "name": f"item {n}"} for n in range(12_000)]),
    "last",
]

#: Settings of PerMessageDeflate.
SETTINGS = {
    "default": {},
    "no context takeover": {"server_no_context_takeover": True, "client_no_context_takeover": True},
    **{f"{bits} bits": {"server_max_window_bits": bits, "client_max_window_bits": bits} for bits in range(9, 16)},
}
each_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


async def exchange(ws):
    """Send every message to an echo server twice: the second time, the contexts are in use."""
    for message in MESSAGES * 2:
        await ws.send(message)
        assert await ws.recv() == message


@asynccontextmanager
async def echoing(settings):
    """Run an echo server with these settings; give its URI."""
    async with serving(extensions=[PerMessageDeflate(**settings)]) as (_, _, uri):
        yield uri


def extensions_of(connection):
    return connection.response.headers.get("Sec-WebSocket-Extensions")


@each_setting
@on_loop
async def test_framewire_client_and_server_exchange_compressed_messages(settings):
    for options in ({}, {"extensions": [PerMessageDeflate(**settings)]}):
        async with echoing(settings) as uri, connect(uri, **options) as ws:
            assert "permessage-deflate" in extensions_of(ws)
            await exchange(ws)


@each_setting
@on_loop
async def test_websockets_client_exchanges_compressed_messages(settings):
    for takeover in (False, True):
        factory = ClientPerMessageDeflateFactory(
            client_max_window_bits=True, client_no_context_takeover=takeover, server_no_context_takeover=takeover
        )
        async with echoing(settings) as uri, peer_connect(uri, extensions=[factory], compression=None) as ws:
            assert ws.protocol.extensions
            await exchange(ws)


@each_setting
@on_loop
async def test_websockets_server_exchanges_compressed_messages(settings):
    for factory in (
        ServerPerMessageDeflateFactory(),
        ServerPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9),
        ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True),
    ):
        async with peer_serve(echo, "127.0.0.1", 0, extensions=[factory], compression=None) as server:
            uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            async with connect(uri, extensions=[PerMessageDeflate(**settings)]) as ws:
                assert "permessage-deflate" in extensions_of(ws)
                await exchange(ws)


@each_setting
@on_loop
async def test_aiohttp_client_exchanges_compressed_messages(settings):
    async with echoing(settings) as uri, aiohttp.ClientSession() as session:
        for bits in range(9, 16):
            async with session.ws_connect(uri, compress=bits) as ws:
                assert ws.compress
                for message in MESSAGES:
                    await (ws.send_str if isinstance(message, str) else ws.send_bytes)(message)
                    assert (await ws.receive()).data == message


@on_loop
async def test_aiohttp_server_exchanges_compressed_messages():
    async def handler(request):
        ws = aiohttp.web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await (ws.send_str if message.type is aiohttp.WSMsgType.TEXT else ws.send_bytes)(message.data)
        return ws

    app = aiohttp.web.Application()
    app.router.add_get("/", handler)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    uri = f"ws://127.0.0.1:{runner.addresses[0][1]}/"
    for options in ({}, {"extensions": [PerMessageDeflate(server_max_window_bits=None)]}):
        async with connect(uri, **options) as ws:
            assert "permessage-deflate" in extensions_of(ws)
            await exchange(ws)
    await runner.cleanup()


# node and Chromium


@asynccontextmanager
async def program(*command):
    """Run a program whose output is read; kill it at the end."""
    running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


NODE = Path(__file__).parents[1] / "node"


@pytest.fixture(scope="module")
def node():
    """Return a function that runs tests/node/peer.js.

    `npm install --prefix tests/node` installs ws.
    """
    missing = "node" if shutil.which("node") is None else ""
    if not missing and not (NODE / "node_modules" / "ws").exists():
        missing = "ws (npm install --prefix tests/node)"
    skip_unless(missing, "ws of node")

    return functools.partial(program, "node", str(NODE / "peer.js"))


def options_of_ws(settings):
    """Return the settings as JSON, in the option names of ws."""
    options = {re.sub("_(.)", lambda match: match[1].upper(), name): value for name, value in settings.items()}
    return json.dumps({"threshold": 0, **options})


@each_setting
@on_loop
async def test_node_client_exchanges_compressed_messages(node, settings):
    for settings_of_server in ({}, settings):
        async with echoing(settings_of_server) as uri:
            async with node("client", uri, options_of_ws(settings)) as client:
                output = await client.stdout.read()
                assert await client.wait() == 0, output
            assert output.startswith(b"permessage-deflate ")


@each_setting
@on_loop
async def test_node_server_exchanges_compressed_messages(node, settings):
    async with node("server", "0", options_of_ws(settings)) as server:
        port = int(await server.stdout.readline())
        for ours in ({}, {"extensions": [PerMessageDeflate(**settings)]}):
            async with connect(f"ws://127.0.0.1:{port}/", **ours) as ws:
                assert "permessage-deflate" in extensions_of(ws)
                await exchange(ws)


SERVER = """
import asyncio, sys
from framewire.asyncio import serve
from framewire.protocol.permessage_deflate import PerMessageDeflate

async def echo(ws):
    async for message in ws:
        await ws.send(message, compress=True)

async def main():
    settings = [PerMessageDeflate(**settings) for settings in eval(sys.argv[1])]
    servers = [await serve(echo, "127.0.0.1", 0, origins=["null", None], extensions=[one]) for one in settings]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

PAGE = """
async ([port, messages]) => {
    const ws = new WebSocket(`ws://127.0.0.1:${port}/`);
    await new Promise((resolve, reject) => { ws.onopen = resolve; ws.onerror = reject; });
    const got = [];
    ws.onmessage = (event) => got.push(event.data);
    for (const message of messages) ws.send(message);
    while (got.length < messages.length) {
        if (ws.readyState !== 1) throw new Error(`closed after ${got.length}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
    }
    ws.close(1000);
    return [ws.extensions, got.every((data, index) => data === messages[index])];
}
"""


def test_chromium_exchanges_compressed_messages(request):
    settings = list(SETTINGS.values())
    messages = [message for message in MESSAGES if isinstance(message, str)] * 2
    with chromium("compression with Chromium") as browser:
        command = [sys.executable, "-c", SERVER, repr(settings)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        request.addfinalizer(server.communicate)
        request.addfinalizer(server.kill)
        ports = server.stdout.readline().split()
        page = browser.new_page()
        for port, one in zip(ports, settings, strict=True):
            extensions, equal = page.evaluate(PAGE, [port, messages])
            assert equal
            assert "permessage-deflate" in extensions
            bits = one.get("server_max_window_bits", 12)
            assert (f"server_max_window_bits={bits}" in extensions) == (bits < 15)
            assert ("server_no_context_takeover" in extensions) == ("server_no_context_takeover" in one)


# Broadcasts that are compressed once, among a connection's own messages


def mixed_messages(count):
    """Return messages that are nearly alike, or not; pairs with how each is sent."""
    source = random.Random(count)
    ways = ["shared"] * 3 + ["own"] * 3 + ["broadcast with own contexts", "broadcast without compression"]
    for number in range(count):
        text = json.dumps({"id": number, "user": source.randrange(9), "text": "Grüße, 世界 " * source.randrange(40)})
        message = source.choice([text, text.encode(), text[:10], source.randbytes(source.randrange(600))])
        yield source.choice(ways), message


async def mix(connections, count=2000):
    """Send broadcasts and own messages to peers that echo, and check each echo."""
    messages = list(mixed_messages(count))
    compressions = {"shared": "shared", "broadcast with own contexts": "own", "broadcast without compression": None}
    for start in range(0, count, 20):
        batch = messages[start : start + 20]
        for how, message in batch:
            if how == "own":
                for ws in connections:
                    await ws.send(message)
            else:
                broadcast(connections, message, compression=compressions[how])
        for ws in connections:
            assert [await ws.recv() for _ in batch] == [message for _, message in batch]


@asynccontextmanager
async def mixing(settings, number=1, **options):
    """Run a server that mixes messages to `number` peers; give its URI, and check that all came back."""
    checked = asyncio.get_running_loop().create_future()

    async def handler(ws):
        assert "permessage-deflate" in extensions_of(ws)
        if len(ws.server.connections) == number:
            try:
                await mix(list(ws.server.connections))
            except BaseException as error:
                checked.set_exception(error)
                raise
            checked.set_result(None)
        await checked

    async with serving(handler, extensions=[PerMessageDeflate(**settings)], **options) as (_, _, uri):
        yield uri
        await checked


@each_setting
@on_loop
async def test_websockets_clients_read_broadcasts_among_own_messages(settings):
    async with mixing(settings, 2) as uri, peer_connect(uri) as one, peer_connect(uri) as two:
        await asyncio.gather(echo(one), echo(two))


@each_setting
@on_loop
async def test_websockets_server_reads_broadcasts_among_own_messages(settings):
    async with peer_serve(echo, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with connect(uri, extensions=[PerMessageDeflate(**settings)]) as one, connect(uri) as two:
            assert "permessage-deflate" in extensions_of(one)
            await mix([one, two])


@each_setting
@on_loop
async def test_aiohttp_client_reads_broadcasts_among_own_messages(settings):
    async with mixing(settings) as uri, aiohttp.ClientSession() as session, session.ws_connect(uri, compress=15) as ws:
        async for message in ws:
            await (ws.send_str if message.type is aiohttp.WSMsgType.TEXT else ws.send_bytes)(message.data)


@each_setting
@on_loop
async def test_node_client_reads_broadcasts_among_own_messages(node, settings):
    async with mixing(settings) as uri, node("echo", uri, options_of_ws({})) as client:
        output = await client.stdout.read()
        assert await client.wait() == 0
    assert output.startswith(b"permessage-deflate")


@on_loop
async def test_node_server_reads_broadcasts_among_own_messages(node):
    async with node("server", "0", options_of_ws({})) as server:
        uri = f"ws://127.0.0.1:{int(await server.stdout.readline())}/"
        async with connect(uri) as one, connect(uri) as two:
            await mix([one, two])


ECHO_PAGE = """
async (uri) => {
    const ws = new WebSocket(uri);
    ws.binaryType = "arraybuffer";
    ws.onmessage = (event) => ws.send(event.data);
    await new Promise((resolve, reject) => { ws.onclose = resolve; ws.onerror = reject; });
    return ws.extensions;
}
"""


@on_loop
async def test_chromium_reads_broadcasts_among_own_messages():
    def browse(uri):
        with chromium("broadcasts with Chromium") as browser:
            return browser.new_page().evaluate(ECHO_PAGE, uri)

    async with mixing({}, origins=["null"]) as uri:
        assert "permessage-deflate" in await asyncio.to_thread(browse, uri)


# framewire at both ends


@on_loop
async def test_compression_can_be_switched_off():
    async with serving(compression=None) as (_, _, uri), connect(uri) as ws:
        assert extensions_of(ws) is None
        await exchange(ws)
    async with serving() as (_, _, uri), connect(uri, compression=None) as ws:
        assert extensions_of(ws) is None
    with pytest.raises(ValueError, match="gzip"):
        serve(echo, compression="gzip")
    with pytest.raises(ValueError, match="gzip"):
        connect("ws://host/", compression="gzip")


@on_loop
async def test_response_parameter_not_offered_fails_the_handshake():
    class Rogue(PerMessageDeflate):
        def accept(self, offer):
            return [("client_max_window_bits", "8")], super().accept(offer)[1]

    async with serving(extensions=[Rogue()]) as (_, _, uri):
        with pytest.raises(ResponseError, match="client_max_window_bits=8"):
            await connect(uri)


@pytest.mark.parametrize("fragment_size", [None, 10_000])
@on_loop
async def test_compressing_a_long_message_yields_and_preserves_order(fragment_size):
    long = random.Random(4).randbytes(400_000).hex()
    ticks = []

    async def tick():
        while True:
            ticks.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0)

    options = {"max_size": None, "fragment_size": fragment_size}
    async with serving(**options) as (_, _, uri), connect(uri, **options) as ws:
        ticking = asyncio.ensure_future(tick())
        await asyncio.sleep(0)
        before = len(ticks)
        sends = [asyncio.ensure_future(ws.send(message)) for message in (long, "a" * 100, "b", long, "c" * 100)]
        await sends[0]
        assert len(ticks) - before >= len(long) // 65536
        assert [await ws.recv() for _ in sends] == [long, "a" * 100, "b", long, "c" * 100]
        await asyncio.gather(*sends)
        ticking.cancel()


@pytest.mark.parametrize("fragment_size", [None, 10_000])
@on_loop
async def test_cancelled_send_of_a_long_message_sends_nothing(fragment_size):
    long = "Hello" * 500_000
    async with serving(max_size=None) as (_, _, uri), connect(uri, max_size=None, fragment_size=fragment_size) as ws:
        await ws.send("before" * 20)
        for turns in range(6):
            sending = asyncio.ensure_future(ws.send(long))
            for _ in range(turns + 1):
                await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        await ws.send("after" * 20)
        assert [await ws.recv(), await ws.recv()] == ["before" * 20, "after" * 20]


@on_loop
async def test_answers_of_a_callback_leave_in_order_compressed_or_not():
    answers = ["long" * 100, "short", b"short", "long" * 200, "short again"] * 3

    class Answering(framewire.asyncio.Listener):
        def on_message(self, connection, message):
            for answer in answers:
                connection.send(answer)

    async with serving(Answering()) as (_, _, uri), connect(uri) as ws:
        await ws.send("question")
        assert [await ws.recv() for _ in answers] == answers


@on_loop
async def test_send_of_a_long_message_raises_when_the_connection_closes():
    async def handler(ws):
        await ws.close()

    async with serving(handler) as (_, _, uri), connect(uri) as ws:
        with pytest.raises(framewire.ConnectionClosed):
            while True:
                await ws.send(bytes(10_000_000))


@on_loop
async def test_inflating_many_bombs_in_one_read_stops_at_the_full_queue():
    waiting = []

    async def handler(ws):
        await until(lambda: not ws._session.reading)
        waiting.append(sum(map(len, ws._queue.items)))
        async for message in ws:
            waiting.append(len(message))

    deflater = zlib.compressobj(9, wbits=-15)
    frames = []
    for _ in range(40):
        payload = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_SYNC_FLUSH)
        payload = payload.removesuffix(b"\x00\x00\xff\xff")
        frames.append(b"\xc2\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload)
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    async with serving(handler) as (_, port, _), raw(port) as client:
        client.writer.write(REQUEST.removesuffix(b"\r\n") + offer + b"".join(frames) + b"\x88\x80\0\0\0\0")
        await until(lambda: len(waiting) == 41)
    assert waiting[0] <= 6 << 20
    assert waiting[1:] == [1 << 20] * 40
