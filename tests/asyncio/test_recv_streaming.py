"""`recv_streaming` on asyncio: pieces are returned while the message arrives."""

import asyncio

import pytest
from ends import on_loop, raw
from frames import BINARY, KEY, frame

from framewire.asyncio import serve


@pytest.mark.both_backends
@on_loop
async def test_recv_streaming_returns_pieces_while_the_frame_arrives():
    sizes, asked = asyncio.Queue(), asyncio.Event()

    async def handler(ws):
        pieces = ws.recv_streaming()
        asked.set()
        async for piece in pieces:
            sizes.put_nowait(len(piece))

    async with serve(handler, "127.0.0.1", 0, piece_size=1000, compression=None) as server:
        async with raw(server.sockets[0].getsockname()[1]) as client:
            await client.upgrade()
            data = frame(BINARY, bytes(10_000), KEY)
            await asyncio.wait_for(asked.wait(), 10)
            await asyncio.sleep(0)  # the task calls recv_streaming before the message arrives
            client.write(data[:5_500])
            assert [await asyncio.wait_for(sizes.get(), 10) for _ in range(5)] == [1000] * 5
            client.write(data[5_500:])
            assert [await asyncio.wait_for(sizes.get(), 10) for _ in range(5)] == [1000] * 5
