"""B: memory of a victim, measured against the bytes sent to it."""

import asyncio
import gc
import zlib

import pytest
from bounds import KIB, MIB, Traced
from ends import on_loop, until
from frames import BINARY, CLOSE, PING, explained, new_stream
from victims import REQUEST, each_server, each_victim, refused, taken

from framewire import SERVER, Close, Pong

#: Allowance for the connection of the test and its chunks, in bytes.
OWN = 256 * KIB


#: The offer of browsers.
OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"


def deflated(content):
    deflater = zlib.compressobj(wbits=-15)
    return (deflater.compress(content) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


async def settle(victim):
    """Wait until the victim has read all input: send a ping, which may arrive between fragments."""
    await victim.send(victim.frame(PING, b"read?"))
    assert await victim.hear() == [Pong(b"read?")]


@each_victim
@on_loop
async def test_b1_tiny_fragments_hold_at_most_twice_the_payload(attack):
    """20,000 fragments of 1 byte: one buffer, which holds at most twice the payload."""
    async with attack() as victim:
        chunk = victim.frame(0x00, b"x") * 1000
        await victim.send(victim.frame(0x01, b"x"))
        await settle(victim)
        with Traced() as memory:
            for _ in range(20):
                await victim.send(chunk)
            await settle(victim)
            assert memory.now() <= 2 * 20_000 + OWN
        await victim.send(victim.frame(0x80) + victim.frame(CLOSE, b"\x03\xe8"))
        assert await victim.end() == [Close(1000, "")]
        assert victim.delivered == ["x" * 20_001]


@each_victim
@on_loop
async def test_b2_empty_fragments_hold_no_memory(attack):
    async with attack() as victim:
        chunk = victim.frame(0x00) * 1000
        await victim.send(victim.frame(0x02))
        await settle(victim)
        with Traced() as memory:
            for _ in range(20):
                await victim.send(chunk)
            await settle(victim)
            assert memory.now() <= OWN
        await victim.send(victim.frame(0x80) + victim.frame(CLOSE, b"\x03\xe8"))
        await victim.end()
        assert victim.delivered == [b""]


@each_victim
@on_loop
async def test_b3_small_reads_and_b4_small_fragments_hold_bounded_memory(attack):
    """Memory is at most twice what has arrived; test_bounds.py shows that time is linear."""
    payload = bytes(range(256)) * 256
    async with attack() as victim:
        whole = victim.frame(BINARY, payload)
        pieces = b"".join(
            victim.frame(0x02 if i == 0 else 0x00, payload[i : i + 64]) for i in range(0, len(payload), 64)
        )
        with Traced() as memory:
            for i in range(0, len(whole), 1777):
                await victim.send(whole[i : i + 1777])
            await settle(victim)
            assert memory.peak() <= 3 * len(payload) + OWN
        with Traced() as memory:
            for i in range(0, len(pieces), 1777):
                await victim.send(pieces[i : i + 1777])
            await settle(victim)
            assert memory.peak() <= 2 * len(payload) + OWN
        await victim.send(victim.frame(0x80) + victim.frame(CLOSE, b"\x03\xe8"))
        await victim.end()
        assert victim.delivered == [payload, payload]


@each_victim
@pytest.mark.parametrize("pieces", [1, 50])
@on_loop
async def test_b5_decompression_bomb_is_refused_at_the_limit(attack, pieces):
    """64 MiB of zeros in 65 KB, whole and in fragments: 1009 with at most the limit inflated."""
    bomb = deflated(bytes(64 * MIB))
    size = -(-len(bomb) // pieces)
    parts = [bomb[i : i + size] for i in range(0, len(bomb), size)]
    async with attack(limit=MIB // 2, deflate=True) as victim:
        data = b"".join(
            victim.frame((0x42 if i == 0 else 0) | 0x80 * (i == len(parts) - 1), part) for i, part in enumerate(parts)
        )
        with Traced() as memory:
            await victim.send(data)
            assert await victim.end() == [explained(1009)]
            assert memory.peak() <= MIB + OWN
        assert victim.delivered == []


@each_victim
@pytest.mark.parametrize("first", [BINARY, 0xC2])
@on_loop
async def test_b6_message_over_the_limit_is_refused_not_truncated(attack, first):
    """One byte over the limit is refused (B7, with every zlib: test_deflate.py)."""

    def message(size):
        return deflated(bytes(size)) if first == 0xC2 else bytes(size)

    await taken(
        attack, lambda victim: victim.frame(first, message(5000)), [bytes(5000)], limit=5000, deflate=first == 0xC2
    )
    await refused(attack, 1009, lambda victim: victim.frame(first, message(5001)), limit=5000, deflate=first == 0xC2)


@each_server
@on_loop
async def test_b8_compression_memory_per_connection_is_bounded(server):
    """Connections with compression, in bytes each: idle, after a message, and gone."""
    payload, links, count = deflated(b"x" * 500), [], 40
    message = bytes([0xC2, 0x80 | len(payload)]) + bytes(4) + payload
    async with server(deflate=True, echo=True) as (port, _):

        async def open_links(number):
            for _ in range(number):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
                writer.write(REQUEST + OFFER)
                await reader.readuntil(b"\r\n\r\n")
                links.append((reader, writer))

        await open_links(5)  # one-time allocations
        with Traced() as memory:
            await open_links(count)
            idle = memory.now() / count
            for reader, writer in links[5:]:
                writer.write(message)
                await reader.readexactly(2)
            used = memory.now() / count
            for _, writer in links[5:]:
                writer.transport.abort()
            del links[5:], reader, writer
            await until(lambda: gc.collect() >= 0 and memory.now() / count <= 4 * KIB)
        for _, writer in links:
            writer.transport.abort()
    assert idle <= 32 * KIB
    assert used <= 80 * KIB


@pytest.mark.both_backends
@pytest.mark.parametrize("value", [5, 1.5, None, "text", [1, 2]], ids=repr)
def test_b14_uninitialised_memory_is_never_sent(value):
    """An int is never taken as a size: other types than bytes and str raise TypeError."""
    stream = new_stream(SERVER)
    for call in (stream.ping, stream.pong):
        with pytest.raises(TypeError):
            call(value)
    if value != "text":
        with pytest.raises(TypeError):
            stream.send(value)
        with pytest.raises(TypeError):
            stream.close(1000, value)
    assert stream.pending() == b""
    assert stream.close(1000, "still open") == bytes.fromhex("880c03e8") + b"still open"
