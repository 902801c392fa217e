"""Minimal HTTP and SOCKS5 proxies over real sockets, each in a thread."""

import asyncio
from contextlib import asynccontextmanager

from sync_ends import on_loop_of_thread


def proxying(greet, **options):
    """Run a proxy that relays to the address from `greet(reader, writer)`; give its port."""
    serving = set()

    async def pump(source, sink):
        try:
            while data := await source.read(65536):
                sink.write(data)
        finally:
            sink.close()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        writers = [writer]
        try:
            where = await greet(reader, writer)
            if where is not None:
                there, other = await asyncio.open_connection(*where)
                writers.append(other)
                await asyncio.gather(pump(reader, other), pump(there, writer), return_exceptions=True)
        finally:  # a client may leave at any time
            for each in writers:
                each.close()
            await asyncio.gather(*(each.wait_closed() for each in writers), return_exceptions=True)

    @asynccontextmanager
    async def listening():
        async with await asyncio.start_server(serve, "127.0.0.1", 0, **options) as server:
            yield server.sockets[0].getsockname()[1]
            await asyncio.wait_for(asyncio.gather(*serving, return_exceptions=True), 10)

    return on_loop_of_thread(listening)


def answering(answer):
    async def greet(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        host, _, port = head.split()[1].decode().rpartition(":")
        assert b"\r\nHost: %b:%b\r\n" % (host.encode(), port.encode()) in head
        writer.write(answer(head) if callable(answer) else answer)
        return host, int(port)

    return greet


OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def socks5(reader, writer):
    version, methods = await reader.readexactly(2)
    assert version == 5
    await reader.readexactly(methods)
    writer.write(b"\x05\x00")
    assert await reader.readexactly(4) == b"\x05\x01\x00\x03"
    (length,) = await reader.readexactly(1)
    host = (await reader.readexactly(length)).decode()
    port = int.from_bytes(await reader.readexactly(2), "big")
    writer.write(b"\x05\x00\x00\x01\0\0\0\0\0\0")
    return host, port
