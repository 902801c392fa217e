"""Soak test: clients that connect, talk, abort and are cancelled at random, with an echo server.

    python -m benchmarks.soak [--seconds 600] [--clients 30] [--loop uvloop] [--seed 1]

Clients and server run in one process. Every echo is compared with the message sent. The exit status
is 1 if an echo is lost or differs, if a connection ends that neither end has ended, if an error is
logged, if a connection, a task, a file descriptor or objects are left at the end, or if the memory
grows from the second third of the time to the last.
"""

import argparse
import asyncio
import gc
import logging
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

from framewire.asyncio import connect, serve
from framewire.errors import ConnectionClosed

#: Allowed growth of the memory from the second third of the time to the last, in KiB: the allocator
#: keeps memory of peaks.
MAX_GROWTH = 8 << 10

#: Allowed growth of the number of allocated blocks of memory from the first connections to the end:
#: caches and free lists.
MAX_BLOCKS = 2000

#: Seconds in which all echoes of a batch must come.
ECHO_TIMEOUT = 30

#: Which end has asked for the end of a connection, as bits.
BY_SERVER, BY_CLIENT = 1, 2

#: Failures of each kind that are shown; the others are only counted.
SHOWN = 3


def rss():
    """Return the memory of this process in KiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def descriptors():
    """Return the number of open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def blocks():
    """Return the number of memory blocks of all objects of this process."""
    gc.collect()
    return sys.getallocatedblocks()


async def watch_memory(seconds):
    """Sample the memory for a time; return by how many KiB its minimum grows from the second third to
    the last.
    """
    samples, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        samples.append(rss())
        await asyncio.sleep(seconds / 300)
    third = len(samples) // 3
    return min(samples[2 * third :]) - min(samples[third : 2 * third])


class Failures(logging.Handler):
    """Counts failures and logged errors, by kind."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.counts = Counter()

    def add(self, kind, text):
        """Count a failure; show the first ones of its kind."""
        self.counts[kind] += 1
        if self.counts[kind] <= SHOWN:
            print(f"{kind}: {text}", flush=True)

    def emit(self, record):
        self.add("errors logged", self.format(record))


class Soak:
    """The server's handler and the clients, with their common counters."""

    def __init__(self, seed, failures):
        self.random = random.Random(seed)
        self.failures = failures
        self.port = 0
        self.messages = self.cancelled = self.aborted = self.ended_by_server = 0
        #: For each connection, which end has asked for its end.
        self.asked = bytearray()

    async def echo(self, connection):
        """Echo messages, some in fragments or with a delay; sometimes close the connection."""
        number = int(connection.request.path[1:])
        try:
            async for message in connection:
                choice = self.random.random()
                if choice < 0.002:
                    self.asked[number] |= BY_SERVER
                    return
                if choice < 0.1 and len(message) > 2:
                    third = len(message) // 3
                    await connection.send([message[:third], message[third : 2 * third], message[2 * third :]])
                else:
                    await connection.send(message)
                if choice > 0.99:
                    await asyncio.sleep(0.01)
        except ConnectionClosed as error:
            if not self.asked[number] & BY_CLIENT:
                self.failures.add("unexpected ends for the server", error)

    def message(self):
        """Return text or bytes of random length, mostly short."""
        size = int(2 ** self.random.uniform(0, self.random.choice((8, 8, 8, 17, 19))))
        return self.random.randbytes(size) if self.random.random() < 0.5 else "äx" * (size // 2)

    async def talk(self, number):
        """Open a connection, send messages, and compare the echoes."""
        compression = self.random.choice(("deflate", None))
        uri = f"ws://127.0.0.1:{self.port}/{number}"
        async with connect(uri, compression=compression, max_size=1 << 21) as ws:
            for _ in range(self.random.randrange(20)):
                batch = [self.message() for _ in range(self.random.randrange(1, 9))]
                sender = asyncio.ensure_future(self.send(ws, batch))
                try:
                    await asyncio.wait_for(self.compare(ws, batch), ECHO_TIMEOUT)
                    await sender
                except asyncio.TimeoutError:
                    self.failures.add("lost echoes", f"not all of {len(batch)} within {ECHO_TIMEOUT} s")
                    self.asked[number] |= BY_CLIENT
                    return
                finally:
                    sender.cancel()
                    await asyncio.gather(sender, return_exceptions=True)
            if self.random.random() < 0.2:
                self.asked[number] |= BY_CLIENT
                self.aborted += 1
                ws.transport.abort()
        if ws.close_code != 1000 and not self.asked[number] & BY_CLIENT:
            self.failures.add("unexpected ends for a client", f"close code {ws.close_code}")

    @staticmethod
    async def send(ws, batch):
        for message in batch:
            await ws.send(message)

    async def compare(self, ws, batch):
        """Receive the echoes of a batch."""
        for number, message in enumerate(batch):
            if self.random.random() < 0.05:
                await (await ws.ping())
            if await ws.recv() != message:
                self.failures.add("echoes that differ", f"message {number} of {len(batch)}, {len(message)} long")
            self.messages += 1

    async def client(self, until):
        """Open one connection after another; cancel some of them at a random time."""
        while time.monotonic() < until:
            await self.visit(0.3)

    async def visit(self, cancel_rate):
        """Open a connection, talk, and check how it ends."""
        number = len(self.asked)
        self.asked.append(0)
        task = asyncio.ensure_future(self.talk(number))
        if self.random.random() < cancel_rate:
            await asyncio.sleep(self.random.uniform(0, 0.2))
            if not task.done():
                self.asked[number] |= BY_CLIENT
                task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            self.cancelled += 1
        except ConnectionClosed as error:
            if self.asked[number] & BY_SERVER and error.code == 1000:
                self.ended_by_server += 1
            else:
                self.failures.add("unexpected ends for a client", error)
        except Exception as error:
            self.failures.add("unexpected errors of a client", repr(error))


async def run(arguments, failures):
    """Run the soak test; return the limits to check at the end: tuples of name, number, largest number."""
    soak = Soak(arguments.seed, failures)
    # The first connections open the descriptors that the event loop keeps for its lifetime, and fill caches.
    async with serve(soak.echo, "127.0.0.1", 0, max_size=1 << 21) as server:
        soak.port = server.sockets[0].getsockname()[1]
        await asyncio.gather(*[soak.visit(0.1) for _ in range(arguments.clients)])
    await asyncio.sleep(0.2)
    descriptors_before, tasks_before, blocks_before = descriptors(), len(asyncio.all_tasks()), blocks()
    async with serve(soak.echo, "127.0.0.1", 0, max_size=1 << 21, close_timeout=2) as server:
        soak.port = server.sockets[0].getsockname()[1]
        listening = descriptors()
        until = time.monotonic() + arguments.seconds
        clients = [asyncio.ensure_future(soak.client(until)) for _ in range(arguments.clients)]
        growth = await watch_memory(arguments.seconds)
        await asyncio.gather(*clients)
        del clients
        for _ in range(100):
            left = descriptors() - listening  # of connections in any state, at both ends
            if not left:
                break
            await asyncio.sleep(0.1)
        counters = server.counters().as_dict()
    await asyncio.sleep(0.1)
    print(
        f"{len(soak.asked)} connections, {soak.messages} messages checked, {soak.ended_by_server} ended by the server, "
        f"{soak.aborted} aborted, {soak.cancelled} cancelled; memory grew by {growth} KiB and "
        f"{blocks() - blocks_before} blocks; {counters}",
        flush=True,
    )
    return [
        ("connections left open", counters["connections_open"], 0),
        ("descriptors of connections left", left, 0),
        ("tasks left", len(asyncio.all_tasks()) - tasks_before, 0),
        ("descriptors left", descriptors() - descriptors_before, 0),
        ("blocks left", blocks() - blocks_before, MAX_BLOCKS),
        ("memory growth in KiB", growth, MAX_GROWTH),
        ("no messages checked", 1 - soak.messages, 0),
    ]


def main(run, description, add_options=lambda parser: None):
    """Run a soak test on the chosen event loop; exit with 1 if there are failures.

    Args:
        run: The coroutine function of the test. It takes the arguments of the command and the
            `Failures`, and returns tuples: a name, a number, and the largest that is allowed.
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
    failures = Failures()
    logging.getLogger().addHandler(failures)
    if arguments.loop == "uvloop":
        import uvloop

        uvloop.install()
    left = asyncio.run(run(arguments, failures))
    found = [f"{name}: {number}" for name, number, allowed in left if number > allowed]
    found += [f"{kind}: {number}" for kind, number in failures.counts.items()]
    print("\n".join(found) or "nothing lost, nothing left")
    sys.exit(bool(found))


if __name__ == "__main__":
    main(run, __doc__)
