"""A soak: clients that connect, talk, break off and are cancelled at random, against an echo, in one process.

    python -m benchmarks.soak [--seconds 600] [--clients 30] [--loop uvloop] [--seed 1]

Every message that comes back is compared with what was sent, in order. In the end nothing may be left: no connection,
no task, no descriptor; and the memory must not have grown after the first third. Exits with 1 otherwise.
"""

import argparse
import asyncio
import gc
import logging
import os
import random
import sys
import time
from pathlib import Path

from framewire.asyncio import connect, serve
from framewire.errors import ConnectionClosed, OpeningError

#: How much the memory may grow between the first third and the end, in KiB: what the allocator keeps of peaks.
GROWTH = 8 << 10


def rss():
    """The memory of this process in KiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def descriptors():
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


class Soak:
    """What the clients share."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.port = 0
        self.messages = self.connections = self.cancelled = self.broken = 0

    async def echo(self, connection):
        """The server's handler: echoes, sometimes in fragments or late, and sometimes leaves."""
        async for message in connection:
            choice = self.random.random()
            if choice < 0.002:
                return
            if choice < 0.1 and len(message) > 2:
                third = len(message) // 3
                await connection.send([message[:third], message[third : 2 * third], message[2 * third :]])
            else:
                await connection.send(message)
            if choice > 0.99:
                await asyncio.sleep(0.01)

    def message(self):
        """Text or bytes of random length, most of them short."""
        size = int(2 ** self.random.uniform(0, self.random.choice((8, 8, 8, 17, 19))))
        return self.random.randbytes(size) if self.random.random() < 0.5 else "äx" * (size // 2)

    async def talk(self):
        """One connection: sends, and compares what comes back."""
        compression = self.random.choice(("deflate", None))
        self.connections += 1
        async with connect(f"ws://127.0.0.1:{self.port}/", compression=compression, max_size=1 << 21) as ws:
            for _ in range(self.random.randrange(20)):
                batch = [self.message() for _ in range(self.random.randrange(1, 9))]
                sender = asyncio.ensure_future(self.send(ws, batch))
                try:
                    for number, message in enumerate(batch):
                        if self.random.random() < 0.05:
                            await (await ws.ping())
                        if await ws.recv() != message:
                            raise SystemExit(f"message {number} of a batch came back as another one")
                        self.messages += 1
                    await sender
                finally:
                    sender.cancel()
                    await asyncio.gather(sender, return_exceptions=True)
            if self.random.random() < 0.2:
                ws.transport.abort()

    @staticmethod
    async def send(ws, batch):
        for message in batch:
            await ws.send(message)

    async def client(self, until):
        """One connection after the other; some are cancelled at whatever they await."""
        while time.monotonic() < until:
            task = asyncio.ensure_future(self.talk())
            if self.random.random() < 0.3:
                await asyncio.sleep(self.random.uniform(0, 0.2))
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                self.cancelled += 1
            except (ConnectionClosed, OpeningError, OSError):
                self.broken += 1


async def run(arguments):
    """The soak; returns what is wrong in the end."""
    soak = Soak(arguments.seed)
    async with serve(soak.echo, "127.0.0.1", 0) as server:  # what a loop opens once, it opens now
        soak.port = server.sockets[0].getsockname()[1]
        await asyncio.gather(soak.talk(), return_exceptions=True)
    await asyncio.sleep(0.2)
    before, tasks = descriptors(), len(asyncio.all_tasks())
    async with serve(soak.echo, "127.0.0.1", 0, max_size=1 << 21, close_timeout=2) as server:
        soak.port = server.sockets[0].getsockname()[1]
        start = time.monotonic()
        clients = [asyncio.ensure_future(soak.client(start + arguments.seconds)) for _ in range(arguments.clients)]
        await asyncio.sleep(arguments.seconds / 3)
        gc.collect()
        first = rss()
        await asyncio.gather(*clients)
        for _ in range(100):
            if not server._everyone:
                break
            await asyncio.sleep(0.1)
        counters, left = server.counters().as_dict(), len(server._everyone)
    await asyncio.sleep(0.1)
    gc.collect()
    growth = rss() - first
    print(
        f"{soak.connections} connections, {soak.messages} messages checked, {soak.cancelled} cancelled, "
        f"{soak.broken} broken off; memory grew by {growth} KiB; {counters}",
        flush=True,
    )
    return [
        f"{what}: {number}"
        for what, number, most in (
            ("connections left", left, 0),
            ("tasks left", len(asyncio.all_tasks()) - tasks, 0),
            ("descriptors left", descriptors() - before, 0),
            ("memory grown by KiB", growth, GROWTH),
            ("messages missing", 1 - soak.messages, 0),
        )
        if number > most
    ]


def main():
    """Runs it on the loop that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    if arguments.loop == "uvloop":
        import uvloop

        uvloop.install()
    wrong = asyncio.run(run(arguments))
    print("\n".join(wrong) or "nothing lost, nothing left")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
