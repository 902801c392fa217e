"""Both ends of a connection on asyncio, for tests: a server of echoes, a client of bytes, and the loop they run on.

`network` says whose loop that is, and whether they talk TLS.
"""

import asyncio
import functools
import gc
import ssl
from contextlib import asynccontextmanager
from pathlib import Path

import websockets.asyncio.client
import websockets.asyncio.server
from backends import needed
from frames import REQUEST

import framewire
import framewire.asyncio

CERTIFICATE = Path(__file__).parents[1] / "tls" / "localhost.pem"

#: A name of those that the fixtures of tests give: "asyncio", "asyncio tls", "uvloop", "uvloop tls".
network = "asyncio"


def new_loop():
    if "uvloop" in network:
        return needed("uvloop").new_event_loop()
    return asyncio.new_event_loop()


def server_side():
    """What a server needs for TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_side():
    """What a client needs for TLS with that server, by whatever name it calls it."""
    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.check_hostname = False
    return context


def secured(side, **options):
    """The options of a connection, with those for TLS if it is to be used."""
    return {"ssl": side(), **options} if "tls" in network else options


async def finish(test):
    """Awaits a test, at most 30 seconds; a task that it leaves behind fails it."""
    await asyncio.wait_for(test, 30)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=1)
    assert {task for task in left if not task.done()} == set()


def on_loop(test):
    """Runs an async test on a loop of its own."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        loop = new_loop()
        try:
            loop.run_until_complete(finish(test(*args, **kwargs)))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
        gc.collect()  # a transport that is left open warns, and warnings are errors

    return run


async def until(condition):
    """Waits until `condition()` holds."""
    while not condition():
        await asyncio.sleep(0.005)


async def echo(ws):
    async for message in ws:
        await ws.send(message)


def address_of(server):
    """The port of a server, and the URI of a path on it."""
    port = server.sockets[0].getsockname()[1]
    return port, f"{'wss' if 'tls' in network else 'ws'}://127.0.0.1:{port}/path"


@asynccontextmanager
async def serving(handler=echo, **options):
    """A framewire server; gives (server, port, URI)."""
    async with framewire.asyncio.serve(handler, "127.0.0.1", 0, **secured(server_side, **options)) as server:
        yield server, *address_of(server)


@asynccontextmanager
async def peer_serving(handler, **options):
    """A server of the `websockets` package; gives its URI."""
    options = secured(server_side, **options)
    async with websockets.asyncio.server.serve(handler, "127.0.0.1", 0, **options) as server:
        yield address_of(server)[1]


def connect(uri, **options):
    """A framewire client, for a server of either kind."""
    return framewire.asyncio.connect(uri, **secured(client_side, **options))


def peer_connect(uri, **options):
    """A client of the `websockets` package."""
    return websockets.asyncio.client.connect(uri, **secured(client_side, **options))


class Raw:
    """A client of bytes: what a peer does that no library would."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.stream = framewire.Stream(framewire.CLIENT, max_message_size=None)
        self.events = []

    async def upgrade(self, and_then=b""):
        self.writer.write(REQUEST + and_then)
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return self

    def write(self, *frames):
        self.writer.write(b"".join(frames))

    async def read_event(self):
        while not self.events:
            data = await self.reader.read(1 << 16)
            self.events += self.stream.receive(data) if data else self.stream.receive_eof()
        return self.events.pop(0)


@asynccontextmanager
async def raw(port, **options):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **secured(client_side, **options))
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
