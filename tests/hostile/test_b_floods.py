"""What a peer can make a server hold: each case is measured against its bound, on raw sockets."""

import asyncio
import socket
import sys
import time
import tracemalloc

import pytest

from framewire.asyncio import Listener, serve

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture(params=["asyncio", "uvloop"] if sys.platform != "win32" else ["asyncio"])
def new_loop(request):
    if request.param == "uvloop":
        return pytest.importorskip("uvloop").new_event_loop
    return asyncio.new_event_loop


class EchoListener(Listener):
    def on_message(self, connection, message):
        connection.send(message)


async def echo(ws):
    async for message in ws:
        await ws.send(message)


def frame(first, payload=b""):
    """A masked frame, with the key 0."""
    if len(payload) < 126:
        return bytes([first, 0x80 | len(payload)]) + bytes(4) + payload
    return bytes([first, 0xFE]) + len(payload).to_bytes(2, "big") + bytes(4) + payload


async def attack(port, data, seconds, first=b"", reads=False):
    """Upgrades and writes `data` again and again, as far as the server takes it; returns how many bytes it took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    writer.write(REQUEST)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(first)
    if not reads:
        writer.transport.pause_reading()
    taken, until = 0, time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            writer.write(data)
            await asyncio.wait_for(writer.drain(), 0.2)
            taken += len(data)
            if reads:
                await reader.read(1 << 20)
    except (asyncio.TimeoutError, OSError):
        pass
    return taken, reader, writer


def held(new_loop, handler, data, first=b"", **options):
    """How many bytes the server holds more at its worst while it is attacked, and how many it took."""

    async def main():
        async with serve(handler, "127.0.0.1", 0, close_timeout=0.5, **options) as server:
            port = server.sockets[0].getsockname()[1]
            tracemalloc.start()
            try:
                taken, _, writer = await attack(port, data, 0.3, first)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            writer.transport.abort()
            return peak, taken

    loop = new_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


#: What the test itself may hold: its data, and the buffers of its own transport.
OWN = 3 << 20


@pytest.mark.parametrize("handler", [echo, EchoListener()], ids=["coroutine", "callback"])
@pytest.mark.parametrize(
    "data",
    [
        frame(0x89, bytes(125)) * 2000,
        frame(0x82, bytes(60_000)) * 5,
        frame(0x82) * 10_000,
        frame(0x8A) * 10_000,
    ],
    ids=["pings", "messages", "empty messages", "pongs"],
)
def test_a_peer_that_never_reads(new_loop, handler, data):
    peak, taken = held(new_loop, handler, data)
    assert taken > 0
    assert peak < OWN + (2 << 20)


@pytest.mark.parametrize(
    "data",
    [frame(0x00, b"x") * 20_000, frame(0x00) * 20_000],
    ids=["tiny fragments", "empty fragments"],
)
def test_fragments_without_end(data):
    async def wait(ws):
        async for _ in ws:
            pass

    peak, _ = held(asyncio.new_event_loop, wait, data, frame(0x01, b"x"))
    assert peak < OWN + (4 << 20)


def test_bytes_after_a_violation_are_discarded():
    peak, _ = held(asyncio.new_event_loop, echo, b"\xff" * (1 << 18))
    assert peak < OWN


def test_a_handler_that_does_not_receive():
    async def stubborn(ws):
        await asyncio.sleep(1)

    peak, _ = held(asyncio.new_event_loop, stubborn, frame(0x82, bytes(50_000)) * 5)
    assert peak < OWN + (2 << 20)


def test_others_are_served_while_one_floods(new_loop):
    async def main():
        async with serve(echo, "127.0.0.1", 0, close_timeout=0.5) as server:
            port = server.sockets[0].getsockname()[1]
            flood = asyncio.ensure_future(attack(port, frame(0x82) * 10_000, 0.5, reads=True))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            slowest = 0.0
            while not flood.done():
                begun = time.monotonic()
                writer.write(frame(0x82, b"12345678"))
                await reader.readexactly(10)
                slowest = max(slowest, time.monotonic() - begun)
                await asyncio.sleep(0.01)
            (await flood)[2].transport.abort()
            writer.transport.abort()
            return slowest

    loop = new_loop()
    try:
        assert loop.run_until_complete(main()) < 0.5
    finally:
        loop.close()
