"""Both ends of a connection on asyncio: an echo server, a raw client, an event loop.

`network` selects the event loop and TLS.
"""

import asyncio
import functools
import gc
import ssl
import time
from contextlib import asynccontextmanager
from pathlib import Path

import websockets.asyncio.client
import websockets.asyncio.server
from backends import needed
from frames import REQUEST

import framewire
import framewire.asyncio

CERTIFICATE = Path(__file__).parents[1] / "tls" / "localhost.pem"

#: Set by fixtures to "asyncio", "asyncio tls", "uvloop", "uvloop tls", "aiofastnet" or "aiofastnet tls".
network = "asyncio"


def new_loop():
    if "uvloop" in network:
        return needed("uvloop").new_event_loop()
    if "aiofastnet" in network:
        return needed("aiofastnet").patch_loop(asyncio.new_event_loop())
    return asyncio.new_event_loop()


def server_side():
    """Create the TLS context of a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_side():
    """Create the TLS context of a client, which accepts any host name."""
    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.check_hostname = False
    return context


def secured(side, **options):
    """Add the option for TLS if the network uses it."""
    return {"ssl": side(), **options} if "tls" in network else options


async def finish(test):
    """Await a test for at most 30 seconds; fail it if tasks are left."""
    await asyncio.wait_for(test, 30)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=1)
    assert {task for task in left if not task.done()} == set()


def on_loop(test):
    """Run an async test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        loop = new_loop()
        try:
            loop.run_until_complete(finish(test(*args, **kwargs)))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
        gc.collect()  # transports left open warn when they are collected, and warnings are errors

    return run


async def until(condition):
    """Wait until `condition()` is true, for at most 20 seconds; return its value."""
    limit = time.monotonic() + 20
    while not (result := condition()):
        assert time.monotonic() < limit, "the condition did not become true"
        await asyncio.sleep(0.005)
    return result


async def echo(ws):
    async for message in ws:
        await ws.send(message)


def address_of(server):
    """Return the port of a server and the URI of a path on it."""
    port = server.sockets[0].getsockname()[1]
    return port, f"{'wss' if 'tls' in network else 'ws'}://127.0.0.1:{port}/path"


@asynccontextmanager
async def serving(handler=echo, **options):
    """Run a framewire server; give (server, port, URI)."""
    async with framewire.asyncio.serve(handler, "127.0.0.1", 0, **secured(server_side, **options)) as server:
        yield server, *address_of(server)


@asynccontextmanager
async def peer_serving(handler, **options):
    """Run a server of the `websockets` package; give its URI."""
    options = secured(server_side, **options)
    async with websockets.asyncio.server.serve(handler, "127.0.0.1", 0, **options) as server:
        yield address_of(server)[1]


def connect(uri, **options):
    """Connect a framewire client to a server of either package."""
    return framewire.asyncio.connect(uri, **secured(client_side, **options))


def peer_connect(uri, **options):
    """Connect a client of the `websockets` package."""
    return websockets.asyncio.client.connect(uri, **secured(client_side, **options))


class Raw:
    """A client that sends any bytes, as no library would."""

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


def raw(port, **options):
    """Connect a `Raw` client."""
    return _raw("127.0.0.1", port, **options)


def raw_over(sock):
    """Make a `Raw` client of a connected socket; TLS, if the network uses it, starts here."""
    return _raw(sock=sock, server_hostname="127.0.0.1")


@asynccontextmanager
async def _raw(*address, **options):
    reader, writer = await asyncio.open_connection(*address, **secured(client_side, **options))
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
