"""`recv_streaming` on asyncio: pieces are returned while the message arrives."""

import asyncio

import pytest
from ends import on_loop, raw
from frames import BINARY, KEY, frame, to

from framewire import CLIENT, ConcurrencyError
from framewire.asyncio import ServerConnection, connect, serve
from framewire.asyncio.connection import MESSAGES_PER_TURN
from framewire.testing.asyncio import connect_peer


@pytest.mark.both_backends
@on_loop
async def test_recv_streaming_returns_pieces_while_the_frame_arrives():
    sizes, asked = asyncio.Queue(), asyncio.Event()

    async def handler(ws):
        pieces = ws.recv_streaming()
        asked.set()
        async for piece in pieces:
            sizes.put_nowait(len(piece))

    async with connect_peer(handler, server={"piece_size": 1000, "compression": None}) as peer:
        data = frame(BINARY, bytes(10_000), KEY)
        await asked.wait()
        await asyncio.sleep(0)  # the task calls recv_streaming before the message arrives
        await peer.send_bytes(data[:5_500])
        assert [await sizes.get() for _ in range(5)] == [1000] * 5
        await peer.send_bytes(data[5_500:])
        assert [await sizes.get() for _ in range(5)] == [1000] * 5


@pytest.mark.both_backends
@on_loop
async def test_recv_streaming_decodes_code_points_that_pieces_cut():
    received = asyncio.get_running_loop().create_future()

    async def handler(ws):
        received.set_result([piece async for piece in ws.recv_streaming(decode=True)])

    async with connect_peer(handler, server={"piece_size": 2, "compression": None}) as peer:
        await peer.send_bytes(frame(BINARY, "€uro".encode(), KEY))
        assert await asyncio.wait_for(received, 10) == ["", "€u", "ro"]


@pytest.mark.both_backends
@on_loop
async def test_recv_streaming_receives_a_long_message_that_comes_in_one_read():
    begun, received = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def handler(ws):
        async for _ in ws.recv_streaming():
            begun.set()
        received.set_result(b"".join([piece async for piece in ws.recv_streaming()]))

    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        async with raw(server.sockets[0].getsockname()[1]) as client:
            await client.upgrade()
            client.write(frame(BINARY, b"first", KEY))
            await asyncio.wait_for(begun.wait(), 10)
            client.write(frame(BINARY, bytes(100_000), KEY))
            assert await asyncio.wait_for(received, 10) == bytes(100_000)


@pytest.mark.both_backends
@on_loop
async def test_next_size_goes_on_reading_after_a_message_that_was_dropped():
    sizes = asyncio.get_running_loop().create_future()

    async def handler(ws):
        with pytest.raises(UnicodeDecodeError):
            async for _ in ws.recv_streaming(decode=True):
                pass
        while ws._session.reading:
            await asyncio.sleep(0.001)
        while ws.next_size is None:
            await asyncio.sleep(0.001)
        sizes.set_result((ws.next_size, await ws.recv()))

    async with connect_peer(handler, server={"max_queue": 2, "compression": None}) as peer:
        await peer.send_bytes(frame(0x02, b"\xff", KEY) + 10 * frame(0x00, b"a", KEY))
        await peer.send_bytes(frame(0x80, b"end", KEY) + frame(BINARY, b"next", KEY))
        assert await asyncio.wait_for(sizes, 10) == (4, b"next")


@pytest.mark.both_backends
@pytest.mark.parametrize("arrived", [True, False], ids=["arrived before", "arrives while one waits"])
@on_loop
async def test_pieces_of_a_message_go_to_one_of_two_receivers(arrived):
    async def arrive():
        frames = b"".join([to(CLIENT, *each) for each in ((0x02, b"a"), (0x00, b"b"), (0x80, b"c"))])
        ws._driver.get_buffer(-1)[: len(frames)] = frames
        ws._driver.buffer_updated(len(frames))

    async def receive(pieces):
        async for piece in ws.recv_streaming():
            pieces.append(piece)
            await asyncio.sleep(0)

    async with serve(ServerConnection.wait_closed, "127.0.0.1", 0) as server:
        async with connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", compression=None) as ws:
            ws._driver.deliver_fragments()
            ws._taken = MESSAGES_PER_TURN  # the first receiver lets others run before it takes a piece
            taken = [], []
            steps = [receive(pieces) for pieces in taken]
            steps.insert(0 if arrived else 2, arrive())
            ended = await asyncio.wait_for(asyncio.gather(*steps, return_exceptions=True), 10)
            assert [type(each) for each in ended if each is not None] == [ConcurrencyError]
            assert taken == ([], [b"a", b"b", b"c"])
