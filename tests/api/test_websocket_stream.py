"""`WebSocketStream`: what `opened` and `closed` give, the streams, and their backpressure."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from ends import echo, on_loop, until

from framewire.asyncio import serve
from framewire.websocket import (
    InvalidAccessError,
    UrlSyntaxError,
    WebSocketCloseInfo,
    WebSocketError,
    WebSocketStream,
)


@asynccontextmanager
async def serving(handler=echo, **options):
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@on_loop
async def test_messages_pass_in_both_directions_until_the_stream_is_closed():
    async with serving(subprotocols=["chat"]) as uri:
        stream = WebSocketStream(uri, {"protocols": ["other", "chat"], "unknown": 1})
        assert stream.url == f"{uri}/"
        opened = await stream.opened
        assert opened.protocol == "chat"
        assert opened.extensions.startswith("permessage-deflate")
        for message in ("caf\xe9", b"\x00\xff", "\ud800"):
            await opened.writable.write(message)
        received = [await anext(opened.readable) for _ in range(3)]
        assert received == ["caf\xe9", b"\x00\xff", "\ufffd"]
        stream.close({"closeCode": 3000, "reason": "done"})
        assert [message async for message in opened.readable] == []
        assert await stream.closed == WebSocketCloseInfo(3000, "done")
        assert await stream.opened is opened


@on_loop
async def test_close_of_the_server_ends_the_readable_stream():
    async def handler(connection):
        await connection.send("last")
        await connection.close(4000, "enough")

    async with serving(handler) as uri:
        stream = WebSocketStream(uri)
        opened = await stream.opened
        assert [message async for message in opened.readable] == ["last"]
        assert await stream.closed == WebSocketCloseInfo(4000, "enough")
        with pytest.raises(WebSocketError, match="closed"):
            await opened.writable.write("late")


@pytest.mark.parametrize(
    ("end", "code", "reason"),
    [
        (lambda opened, stream: stream.close(), 1005, ""),
        (lambda opened, stream: stream.close({"reason": "r"}), 1000, "r"),
        (lambda opened, stream: stream.close(WebSocketCloseInfo(3001)), 3001, ""),
        (lambda opened, stream: opened.writable.close(), 1005, ""),
        (lambda opened, stream: opened.writable.abort(WebSocketError("", 3002, "why")), 3002, "why"),
        (lambda opened, stream: opened.readable.cancel(WebSocketError("", reason="why")), 1000, "why"),
        (lambda opened, stream: opened.readable.cancel("any object"), 1005, ""),
    ],
)
@on_loop
async def test_each_way_to_close_sends_its_code_and_reason(end, code, reason):
    ends = []

    async def handler(connection):
        await connection.wait_closed()
        ends.append((connection.close_code, connection.close_reason))

    async with serving(handler) as uri:
        stream = WebSocketStream(uri)
        opened = await stream.opened
        waiting = end(opened, stream)
        if waiting is not None:
            await waiting
        await stream.closed
        await until(lambda: ends)
        assert ends == [(code, reason)]


@on_loop
async def test_cancelling_the_readable_stream_does_not_wait_for_unread_messages():
    async def handler(connection):
        while True:
            await connection.send("x" * 1000)

    async with serving(handler, compression=None) as uri:  # compressed, the buffers hold 300,000 messages
        stream = WebSocketStream(uri, max_queue=1)
        opened = await stream.opened
        await asyncio.wait_for(opened.readable.cancel(), 10)
        await stream.closed


@on_loop
async def test_connection_that_is_lost_raises_in_both_streams_and_closed():
    async def handler(connection):
        connection.transport.abort()

    async with serving(handler) as uri:
        stream = WebSocketStream(uri)
        opened = await stream.opened
        with pytest.raises(WebSocketError, match="lost"):
            await anext(opened.readable)
        with pytest.raises(WebSocketError, match="lost"):
            await opened.writable.write("a")
        with pytest.raises(WebSocketError, match="lost"):
            await stream.closed


@on_loop
async def test_failed_opening_raises_in_opened_and_closed():
    async with serving() as uri:
        no_subprotocol = WebSocketStream(uri, {"protocols": "asked"})
        given_up = WebSocketStream(uri)
        given_up.close()
        for stream in (no_subprotocol, given_up):
            for future in (stream.opened, stream.closed):
                with pytest.raises(WebSocketError, match="could not be opened"):
                    await future
    with pytest.raises(WebSocketError, match="could not be opened") as caught:
        await WebSocketStream(uri).opened  # no server listens on that port now
    assert isinstance(caught.value.__cause__, OSError)


@on_loop
async def test_close_as_soon_as_the_connection_has_opened_is_no_lost_call():
    """`close` comes between the end of the opening handshake and the task that waits for it."""
    ended = asyncio.Event()

    async def handler(connection):
        await connection.wait_closed()
        ended.set()

    async with serving(handler) as uri:
        stream = WebSocketStream(uri)
        stream._opening.add_done_callback(lambda task: stream.close())
        with pytest.raises(WebSocketError, match="could not be opened"):
            await stream.opened
        with pytest.raises(WebSocketError, match="could not be opened"):
            await stream.closed
        await asyncio.wait_for(ended.wait(), 10)


@on_loop
async def test_wait_for_opened_can_be_cancelled():
    async with serving() as uri:
        stream = WebSocketStream(uri)
        waiting = asyncio.ensure_future(stream.opened)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await stream.opened).protocol == ""
        stream.close()
        await stream.closed


@on_loop
async def test_write_waits_for_a_server_that_does_not_read():
    release = asyncio.Event()
    received = []

    async def handler(connection):
        connection.transport.pause_reading()
        await release.wait()
        connection.transport.resume_reading()
        async for message in connection:
            received.append(len(message))

    async with serving(handler, max_size=None) as uri:
        stream = WebSocketStream(uri, compression=None)
        opened = await stream.opened
        written = 0

        async def write():
            nonlocal written
            for _ in range(64):
                await opened.writable.write(bytes(1 << 20))
                written += 1

        writing = asyncio.ensure_future(write())
        await until(lambda: stream._connection._session.write_paused)  # the buffers of the kernel are full
        assert written < 64
        release.set()
        await writing
        await opened.writable.close()
        assert received == [1 << 20] * 64


@on_loop
async def test_server_waits_while_nobody_reads():
    sent = 0

    async def handler(connection):
        nonlocal sent
        for _ in range(64):
            await connection.send(bytes(1 << 20))
            sent += 1

    async with serving(handler, compression=None, ping_interval=None) as uri:
        stream = WebSocketStream(uri, max_queue=2)
        opened = await stream.opened
        await until(lambda: not stream._connection._session.reading)
        assert sent < 64
        assert [len(message) async for message in opened.readable] == [1 << 20] * 64


@on_loop
async def test_arguments_are_checked_when_they_are_given():
    with pytest.raises(UrlSyntaxError):
        WebSocketStream("relative")
    with pytest.raises(UrlSyntaxError, match="tokens"):
        WebSocketStream("ws://h/", {"protocols": ["a", "a"]})
    with pytest.raises(InvalidAccessError, match="1001"):
        WebSocketError("", 1001)
    async with serving() as uri:
        stream = WebSocketStream(uri)
        opened = await stream.opened
        with pytest.raises(InvalidAccessError, match="999"):
            stream.close({"closeCode": 999})
        with pytest.raises(UrlSyntaxError, match="123"):
            stream.close({"closeCode": 1000, "reason": "x" * 124})
        with pytest.raises(TypeError, match="integer"):
            stream.close({"closeCode": 1000.0})
        for message in (5, ["a", "b"], None):
            with pytest.raises(TypeError):
                await opened.writable.write(message)
        await opened.writable.write("still open")
        stream.close()
        stream.close({"closeCode": 3000})  # no effect
        assert (await stream.closed).closeCode == 1005
