"""B9 to B12, C1: floods over raw sockets: memory of the server, and delays of other clients."""

import asyncio
import contextlib
import socket
import time
import tracemalloc

import ends
import pytest
from bounds import KIB, MIB
from frames import BINARY, PING, PONG, to
from victims import each_server, serving, serving_uvicorn, upgraded

from framewire import SERVER
from framewire.asyncio import Listener, serve


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request, monkeypatch):
    """Run a coroutine on a new event loop, for at most 30 seconds."""
    monkeypatch.setattr(ends, "network", request.param)

    def run(main):
        loop = ends.new_loop()
        try:
            return loop.run_until_complete(asyncio.wait_for(main, 30))
        finally:
            loop.close()

    return run


class EchoListener(Listener):
    def on_message(self, connection, message):
        connection.send(message)


@contextlib.asynccontextmanager
async def listening(echo=True):
    async with serve(EchoListener(), "127.0.0.1", 0, close_timeout=0.5) as server:
        yield server.sockets[0].getsockname()[1], []


@contextlib.asynccontextmanager
async def stubborn(echo=False):
    """A server whose handler does not receive."""
    finished = asyncio.Event()

    async def handler(connection):
        await finished.wait()

    async with serve(handler, "127.0.0.1", 0, close_timeout=0.5) as server:
        yield server.sockets[0].getsockname()[1], []
        finished.set()


def frame(first, payload=b""):
    return to(SERVER, first, payload, key=bytes(4))


async def attack(victim, data, seconds, reads=False):
    """Write `data` repeatedly while the server takes it.

    Return the number of bytes that it took.
    """
    victim.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    if not reads:
        victim.writer.transport.pause_reading()
    reading = asyncio.ensure_future(read_on(victim.reader if reads else None))
    taken, until = 0, time.monotonic() + seconds
    with contextlib.suppress(asyncio.TimeoutError, OSError):
        while time.monotonic() < until:
            victim.writer.write(data)
            await asyncio.wait_for(victim.writer.drain(), 0.2)
            taken += len(data)
    reading.cancel()
    return taken


async def read_on(reader):
    while reader is not None and await reader.read(1 << 20):
        pass


async def held(server, data, first=b"", echo=True):
    """Return (the peak of memory while a server is attacked, the number of bytes that it took)."""
    async with server(echo=echo) as (port, _), upgraded(port) as victim:
        victim.writer.write(first)
        tracemalloc.start()
        try:
            taken = await attack(victim, data, 0.3)
            return tracemalloc.get_traced_memory()[1], taken
        finally:
            tracemalloc.stop()


#: Allowance for the data of the test and the buffers of its transport, in bytes.
OWN = 3 * MIB

ECHOES = pytest.mark.parametrize(
    "server", [serving, listening, serving_uvicorn], ids=["serve", "listener", "uvicorn"]
)  # fmt: skip


@ECHOES
@pytest.mark.parametrize(
    "data", [frame(BINARY, bytes(60_000)) * 5, frame(BINARY) * 10_000], ids=["messages", "empty messages"]
)
def test_b10_slow_reader_and_b9_empty_messages_hold_bounded_memory(run, server, data):
    peak, taken = run(held(server, data))
    assert taken > 0
    assert peak < OWN + 2 * MIB


@ECHOES
@pytest.mark.parametrize("data", [frame(PING, bytes(125)) * 2000, frame(PONG) * 10_000], ids=["pings", "pongs"])
def test_c1_unread_ping_flood_and_b13_pong_flood_hold_bounded_memory(run, server, data):
    peak, taken = run(held(server, data))
    assert taken > 0
    assert peak < OWN + 2 * MIB


@each_server
@pytest.mark.parametrize("data", [frame(0x00, b"x") * 20_000, frame(0x00) * 20_000], ids=["tiny", "empty"])
def test_b1_b2_endless_fragments_hold_bounded_memory(run, server, data):
    peak, taken = run(held(server, data, frame(0x01, b"x"), echo=False))
    assert taken > 0
    assert peak < OWN + 4 * MIB


def test_b11_handler_that_does_not_receive_holds_bounded_memory(run):
    peak, taken = run(held(stubborn, frame(BINARY, bytes(50_000)) * 5))
    assert taken > 0
    assert peak < OWN + 2 * MIB


@each_server
def test_b12_bytes_after_a_violation_are_discarded(run, server):
    peak, taken = run(held(server, b"\xff" * 256 * KIB))
    assert taken > 0
    assert peak < OWN


@each_server
@pytest.mark.parametrize(
    "data",
    [frame(BINARY) * 10_000, frame(PING) * 10_000, frame(PONG) * 10_000, frame(BINARY, b"x" * 100_000) * 3],
    ids=["empty messages", "pings", "pongs", "messages"],
)
def test_b9_other_connections_are_served_during_a_flood(run, server, data):
    """Measure the slowest answer on a second connection, in processor time of this process."""

    async def main():
        async with server(echo=True) as (port, _), upgraded(port) as flooding, upgraded(port) as other:
            flood = asyncio.ensure_future(attack(flooding, data, 0.4, reads=True))
            slowest = 0.0
            while not flood.done():
                begin = time.process_time()
                other.writer.write(frame(BINARY, b"12345678"))
                await asyncio.wait_for(other.reader.readexactly(10), 5)
                slowest = max(slowest, time.process_time() - begin)
                await asyncio.sleep(0.01)
            await flood
            return slowest

    assert run(main()) < 0.5
