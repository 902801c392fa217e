"""Soak test of topics: subscribers that join, leave, read slowly and are cut at random.

    python -m benchmarks.soak_rooms [--seconds 600] [--clients 30] [--loop uvloop] [--seed 1]

Server and clients run in one process. Messages of each topic are numbered: a client that keeps up
must get every number, and any client only rising ones. The exit status is 1 if a message is lost,
if a connection, a task or a file descriptor is left at the end, or if the memory has grown after
the first third of the time.
"""

import asyncio
import gc
import random
import socket
import time

from framewire.asyncio import Topics, connect, serve
from framewire.errors import ConnectionClosed, OpeningError

from .soak import MAX_GROWTH, descriptors, main, rss

POLICIES = ("close", "drop", "latest")
TOPICS = ("a/1", "a/2", "b")
PATTERNS = {"a/1": ("a/1",), "a/+": ("a/1", "a/2"), "#": TOPICS}

#: Seconds between the messages of the publisher.
INTERVAL = 0.004

#: Limits of the server's buffers, in bytes: slow clients reach them, bursts do not.
SOCKET_BUFFER, WRITE_LIMIT = 1 << 14, 1 << 17


class Soak:
    """The server with topics of each policy, and its clients, with their common counters."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.port = 0
        self.topics = {policy: Topics(patterns="mqtt", policy=policy) for policy in POLICIES}
        self.connections = self.messages = self.closed = self.cut = self.gaps = 0

    async def handler(self, ws):
        """Subscribe a client as each of its messages says."""
        async for message in ws:
            verb, policy, pattern = message.split()
            (self.topics[policy].subscribe if verb == "join" else self.topics[policy].unsubscribe)(ws, pattern)
            await ws.send(message)

    async def publish(self):
        """Publish numbered messages, several in some turns, now and then a long one."""
        numbers = dict.fromkeys(((policy, topic) for policy in POLICIES for topic in TOPICS), 0)
        while True:
            for _ in range(self.random.choice((1, 1, 1, 5))):
                policy, topic = key = self.random.choice(list(numbers))
                size = int(2 ** self.random.uniform(4, self.random.choice((10, 12, 14, 15))))
                self.topics[policy].publish(topic, f"{topic} {numbers[key]} {self.random.randbytes(size // 2).hex()}")
                numbers[key] += 1
            await asyncio.sleep(INTERVAL)

    async def talk(self):
        """Join topics of one policy, read for a while, and leave or end in one of several ways."""
        policy, slow = self.random.choice(POLICIES), self.random.random() < 0.3
        self.connections += 1
        compression = self.random.choice(("deflate", None))
        async with connect(f"ws://127.0.0.1:{self.port}/", compression=compression, max_queue=4, max_size=None) as ws:
            last, joined = {}, set()
            for _ in range(self.random.randrange(1, 4)):
                pattern = self.random.choice(list(PATTERNS))
                verb = "leave" if pattern in joined else "join"
                await ws.send(f"{verb} {policy} {pattern}")
                # Numbers are missing after a time without a subscription.
                last = {} if verb == "leave" else last
                joined ^= {pattern}
                await self.read(ws, last, slow, self.random.uniform(0, 12 if slow else 2))
        if self.random.random() < 0.3:
            self.cut += 1
            ws.transport.abort()

    async def read(self, ws, last, slow, seconds):
        """Read for some time, and check the numbers of the messages."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if slow and self.random.random() < 0.05:
                await asyncio.sleep(self.random.uniform(0, 4))
            try:
                topic, number, *_ = (await asyncio.wait_for(ws.recv(), 1)).split()
            except asyncio.TimeoutError:
                continue
            if topic in ("join", "leave"):
                last.clear()
                continue
            number = int(number)
            if topic in last and (number <= last[topic] if slow else number != last[topic] + 1):
                raise SystemExit(f"after message {last[topic]} of {topic} came {number}")
            self.gaps += topic in last and number > last[topic] + 1
            last[topic] = number
            self.messages += 1

    async def client(self, until):
        """Open one connection after another."""
        while time.monotonic() < until:
            try:
                await self.talk()
            except ConnectionClosed as error:
                self.closed += error.rcvd is not None and error.rcvd.code == 1013
            except (OpeningError, OSError):
                self.cut += 1


def listening_socket():
    """Return a socket whose connections have small send buffers in the kernel."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
    return listening


async def run(arguments):
    """Run the soak test; return its failures."""
    soak = Soak(arguments.seed)
    async with serve(soak.handler, "127.0.0.1", 0) as server:  # opens the descriptors that the loop keeps
        soak.port = server.sockets[0].getsockname()[1]
        await asyncio.gather(soak.talk(), return_exceptions=True)
    await asyncio.sleep(0.2)
    descriptors_before, tasks_before = descriptors(), len(asyncio.all_tasks())
    async with serve(soak.handler, sock=listening_socket(), write_limit=WRITE_LIMIT) as server:
        soak.port = server.sockets[0].getsockname()[1]
        start, publisher = time.monotonic(), asyncio.ensure_future(soak.publish())
        clients = [asyncio.ensure_future(soak.client(start + arguments.seconds)) for _ in range(arguments.clients)]
        await asyncio.sleep(arguments.seconds / 3)
        gc.collect()
        rss_before = rss()
        await asyncio.gather(*clients)
        publisher.cancel()
        await asyncio.gather(publisher, return_exceptions=True)
        for connection in list(server.connections):
            await connection.close()
    await asyncio.sleep(0.2)
    gc.collect()
    growth = rss() - rss_before
    print(
        f"{soak.connections} connections, {soak.messages} messages checked, {soak.closed} closed as too slow, "
        f"{soak.cut} cut, {soak.gaps} gaps of slow clients; memory grew by {growth} KiB",
        *(f"{policy}: {topics.counters}" for policy, topics in soak.topics.items()),
        sep="\n",
        flush=True,
    )
    known = sum(len(topics._topics._connections) for topics in soak.topics.values())
    waiting = sum(len(topics._topics._waiting) for topics in soak.topics.values())
    return [
        f"{name}: {number}"
        for name, number, maximum in (
            ("subscribers left", known, 0),
            ("held messages left", waiting, 0),
            ("tasks left", len(asyncio.all_tasks()) - tasks_before, 0),
            ("descriptors left", descriptors() - descriptors_before, 0),
            ("memory growth in KiB", growth, MAX_GROWTH),
            ("no messages checked", 1 - soak.messages, 0),
        )
        if number > maximum
    ]


if __name__ == "__main__":
    main(run, __doc__)
