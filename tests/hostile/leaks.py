"""`python tests/hostile/leaks.py COUNT`: make COUNT connections to a server, and measure leaks.

Server and clients run in this process. One in ten clients violates the protocol, one in ten ends
TCP without a close frame, the others echo a message, half of them compressed. Prints the objects,
references (in a debug build) and bytes of memory that are left, after connections that fill caches
and free lists; exits with status 1 if there are more than a few, however many connections were made.
"""

import asyncio
import gc
import os
import sys

from ends import until
from frames import CLOSE, TEXT, to
from victims import DEFLATE, REQUEST

from framewire import SERVER
from framewire.asyncio import serve

#: Most objects, references, and bytes of memory that may be left.
MOST = (10, 100, 1 << 20)
HELLO = to(SERVER, TEXT, b"Hello")
COMPRESSED = to(SERVER, 0xC1, bytes.fromhex("f248cdc9c90700"))  # RFC 7692 7.2.3.1


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def visit(port, number):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST + (DEFLATE if number % 2 else b"") + b"\r\n")
    response = await reader.readuntil(b"\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 101 "), response
    if number % 10 == 3:
        writer.write(b"\xff" * 100)
        answer = await reader.read()
        assert answer[2:4] == (1002).to_bytes(2, "big"), answer
    elif number % 10 != 7:
        writer.write(COMPRESSED if number % 2 else HELLO)
        answer = await reader.readexactly(7)
        assert answer == b"\x81\5Hello", answer
        writer.write(to(SERVER, CLOSE, b"\x03\xe8"))
        answer = await reader.read()
        assert answer == b"\x88\2\x03\xe8", answer
    writer.transport.abort()


async def visits(port, count, together=20):
    for start in range(0, count, together):
        await asyncio.gather(*[visit(port, number) for number in range(start, min(start + together, count))])


def measure():
    gc.collect()
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return len(gc.get_objects()), getattr(sys, "gettotalrefcount", int)(), resident


async def main(count):
    async with serve(echo, "127.0.0.1", 0, logger=None) as server:
        port = server.sockets[0].getsockname()[1]
        await visits(port, max(count // 10, 2000))  # one-time allocations
        await until(lambda: not server.counters().as_dict()["connections_open"])
        before = measure()
        await visits(port, count)
        await until(lambda: not server.counters().as_dict()["connections_open"])
        left = [after - first for after, first in zip(measure(), before, strict=True)]
    print(
        f"{count} connections: {left[0]} objects, {left[1]} references, {left[2] / count:.1f} bytes for each are left"
    )
    return any(number > most for number, most in zip(left, MOST, strict=True))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]))))
