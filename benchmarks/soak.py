"""Soak test: clients that connect, talk, abort and are cancelled at random, with an echo server.

    python -m benchmarks.soak [--seconds 600] [--clients 30] [--loop uvloop] [--seed 1]

Clients and server run in one process. Every echo is compared with the message sent. The exit status
is 1 if a connection, a task or a file descriptor is left at the end, or if the memory has grown
after the first third of the time.
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

#: Allowed growth of the memory after the first third, in KiB: the allocator keeps memory of peaks.
MAX_GROWTH = 8 << 10


def rss():
    """Return the memory of this process in KiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def descriptors():
    """Return the number of open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


class Soak:
    """The server's handler and the clients, with their common counters."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.port = 0
        self.messages = self.connections = self.cancelled = self.broken = 0

    async def echo(self, connection):
        """Echo messages, some in fragments or with a delay; sometimes close the connection."""
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
        """Return text or bytes of random length, mostly short."""
        size = int(2 ** self.random.uniform(0, self.random.choice((8, 8, 8, 17, 19))))
        return self.random.randbytes(size) if self.random.random() < 0.5 else "äx" * (size // 2)

    async def talk(self):
        """Open a connection, send messages, and compare the echoes."""
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
                            raise SystemExit(f"the echo of message {number} of a batch differs")
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
        """Open one connection after another; cancel some of them at a random time."""
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
    """Run the soak test; return its failures."""
    soak = Soak(arguments.seed)
    # The first connection opens the descriptors that the event loop keeps for its lifetime.
    async with serve(soak.echo, "127.0.0.1", 0) as server:
        soak.port = server.sockets[0].getsockname()[1]
        await asyncio.gather(soak.talk(), return_exceptions=True)
    await asyncio.sleep(0.2)
    descriptors_before, tasks_before = descriptors(), len(asyncio.all_tasks())
    async with serve(soak.echo, "127.0.0.1", 0, max_size=1 << 21, close_timeout=2) as server:
        soak.port = server.sockets[0].getsockname()[1]
        listening = descriptors()
        start = time.monotonic()
        clients = [asyncio.ensure_future(soak.client(start + arguments.seconds)) for _ in range(arguments.clients)]
        await asyncio.sleep(arguments.seconds / 3)
        gc.collect()
        rss_before = rss()
        await asyncio.gather(*clients)
        for _ in range(100):
            left = descriptors() - listening  # of connections in any state, at both ends
            if not left:
                break
            await asyncio.sleep(0.1)
        counters = server.counters().as_dict()
    await asyncio.sleep(0.1)
    gc.collect()
    growth = rss() - rss_before
    print(
        f"{soak.connections} connections, {soak.messages} messages checked, {soak.cancelled} cancelled, "
        f"{soak.broken} aborted; memory grew by {growth} KiB; {counters}",
        flush=True,
    )
    return [
        f"{name}: {number}"
        for name, number, maximum in (
            ("connections left open", counters["connections_open"], 0),
            ("descriptors of connections left", left, 0),
            ("tasks left", len(asyncio.all_tasks()) - tasks_before, 0),
            ("descriptors left", descriptors() - descriptors_before, 0),
            ("memory growth in KiB", growth, MAX_GROWTH),
            ("no messages checked", 1 - soak.messages, 0),
        )
        if number > maximum
    ]


def main(run, description, add_options=lambda parser: None):
    """Run a soak test on the chosen event loop; exit with 1 if it returns failures.

    Args:
        run: The coroutine function of the test, which takes the arguments of the command.
        description: The help of the command.
        add_options: Adds options of this test to the parser.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--seed", type=int, default=1)
    add_options(parser)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    if arguments.loop == "uvloop":
        import uvloop

        uvloop.install()
    failures = asyncio.run(run(arguments))
    print("\n".join(failures) or "nothing lost, nothing left")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main(run, __doc__)
