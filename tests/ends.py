"""Both ends of a connection on asyncio, for tests: a server of echoes, a client of bytes, and the loop they run on."""

import asyncio
import functools
import gc
from contextlib import asynccontextmanager
from pathlib import Path

import framewire
from frames import REQUEST
from framewire.asyncio import serve

CERTIFICATE = Path(__file__).parent / "tls" / "localhost.pem"


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
        asyncio.run(finish(test(*args, **kwargs)))
        gc.collect()  # a transport that is left open warns, and warnings are errors

    return run


async def until(condition):
    """Waits until `condition()` holds."""
    while not condition():
        await asyncio.sleep(0.005)


async def echo(ws):
    async for message in ws:
        await ws.send(message)


@asynccontextmanager
async def serving(handler=echo, **options):
    """A framewire server; gives (server, port, URI)."""
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        port = server.sockets[0].getsockname()[1]
        yield server, port, f"ws://127.0.0.1:{port}/path"


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
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
