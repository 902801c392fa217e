"""Soak test of topics: subscribers that join, leave, read slowly and are cut at random.

    python -m benchmarks.soak_rooms [--seconds 600] [--clients 30] [--loop uvloop] [--seed 1] [--broker]

Servers and clients run in one process. The messages of each server and topic are numbered: a client
must get every number, unless `on_slow` has been called for it, and then only rising ones. With `--broker` there are two
servers, which exchange their shorter messages through a redis-server that is killed and started
again: after that, numbers of the other server may be missing, but only after `on_gap` has been called.
The exit status is 1 if a message is lost, if a connection, a task or a file descriptor is left at the
end, or if the memory has grown after the first third of the time.
"""

import asyncio
import gc
import random
import socket
import subprocess
import time
from contextlib import AsyncExitStack, suppress

from framewire.asyncio import Topics, connect, serve
from framewire.errors import ConnectionClosed, OpeningError

from .soak import MAX_GROWTH, descriptors, main, rss

POLICIES = ("close", "drop", "latest")
TOPICS = ("a/1", "a/2", "b")
PATTERNS = {"a/1": ("a/1",), "a/+": ("a/1", "a/2"), "#": TOPICS}

#: Seconds between the messages of the publisher of each server.
INTERVAL = 0.004

#: Limits of the server's buffers, in bytes: slow clients reach them, bursts do not.
SOCKET_BUFFER, WRITE_LIMIT = 1 << 14, 1 << 17

#: Size in bytes of the longest message that is relayed: many of them arrive at once after a gap.
MAX_RELAYED = 1 << 10

#: Least and most seconds that the broker runs, and that it is away.
BROKER_UP, BROKER_DOWN = (3, 5), (0, 1.5)


class Broker:
    """A redis-server that is killed and started again at random."""

    def __init__(self, source):
        self._random = source
        self._process = None
        self.starts = 0
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]

    async def run(self):
        """Run until cancelled."""
        try:
            while True:
                self._start()
                await asyncio.sleep(self._random.uniform(*BROKER_UP))
                self._stop()
                await asyncio.sleep(self._random.uniform(*BROKER_DOWN))
        finally:
            self._stop()

    def _start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.starts += 1

    def _stop(self):
        self._process.kill()
        self._process.wait()


class Server:
    """A server with topics of each policy, its publisher, and with a broker its relays."""

    def __init__(self, number, source):
        self.name = str(number)
        self.port = 0
        self.gaps_told = 0
        self.topics = {policy: Topics(patterns="mqtt", policy=policy, on_slow=self._note_slow) for policy in POLICIES}
        self.slow = set()  # the addresses of clients that have not kept up
        self._random = source
        self._relays = {}
        self._numbers = {}

    def relays(self, broker):
        """Return the relays of all topics, to be entered."""
        from framewire.relay import TopicRelay

        uri = f"redis://127.0.0.1:{broker.port}"
        for policy, topics in self.topics.items():
            self._relays[policy] = TopicRelay(
                topics, uri, policy, on_gap=lambda _, topics=topics: self._tell_gap(topics)
            )
        return self._relays.values()

    def _note_slow(self, connection, topic, outcome):
        self.slow.add(connection.remote_address)

    def _tell_gap(self, topics):
        self.gaps_told += 1
        for topic in TOPICS:
            topics.publish(topic, f"{topic} gap 0")

    async def handler(self, ws):
        """Subscribe a client as each of its messages says."""
        self.slow.discard(ws.remote_address)  # an earlier client had the same
        async for message in ws:
            verb, policy, pattern = message.split()
            (self.topics[policy].subscribe if verb == "join" else self.topics[policy].unsubscribe)(ws, pattern)
            await ws.send(message)

    async def publish(self):
        """Publish numbered messages, several in some turns, now and then a long one."""
        while True:
            for _ in range(self._random.choice((1, 1, 1, 5))):
                self._publish_one(self._random.choice(POLICIES), self._random.choice(TOPICS))
            await asyncio.sleep(INTERVAL)

    def _publish_one(self, policy, topic):
        size = int(2 ** self._random.uniform(4, self._random.choice((10, 12, 14, 15))))
        relayed = size <= MAX_RELAYED and policy in self._relays
        origin = f"{self.name}-to-all" if relayed else self.name
        number = self._numbers[policy, topic, origin] = self._numbers.get((policy, topic, origin), 0) + 1
        publisher = (self._relays if relayed else self.topics)[policy]
        publisher.publish(topic, f"{topic} {origin} {number} {self._random.randbytes(size // 2).hex()}")


class Soak:
    """The servers and their clients, with their common counters."""

    def __init__(self, seed, servers, seconds):
        self.random = random.Random(seed)
        self.end = time.monotonic() + seconds
        self.servers = [Server(number, self.random) for number in range(servers)]
        self.connections = self.messages = self.closed = self.cut = self.gaps = self.relayed = 0

    async def talk(self):
        """Join topics of one policy, read for a while, and leave or end in one of several ways."""
        server = self.random.choice(self.servers)
        policy, slow = self.random.choice(POLICIES), self.random.random() < 0.3
        self.connections += 1
        compression = self.random.choice(("deflate", None))
        uri = f"ws://127.0.0.1:{server.port}/"
        async with connect(uri, compression=compression, max_queue=4, max_size=None) as ws:
            last, joined = {}, set()
            for _ in range(self.random.randrange(1, 4)):
                pattern = self.random.choice(list(PATTERNS))
                verb = "leave" if pattern in joined else "join"
                await ws.send(f"{verb} {policy} {pattern}")
                # Numbers are missing after a time without a subscription.
                last = {} if verb == "leave" else last
                joined ^= {pattern}
                await self.read(ws, server, last, slow, self.random.uniform(0, 12 if slow else 2))
        if self.random.random() < 0.3:
            self.cut += 1
            ws.transport.abort()

    async def read(self, ws, server, last, slow, seconds):
        """Read for some time, and check the numbers of the messages."""
        until = min(time.monotonic() + seconds, self.end)
        while time.monotonic() < until:
            if slow and self.random.random() < 0.05:
                await asyncio.sleep(self.random.uniform(0, 4))
            try:
                topic, origin, number, *_ = (await asyncio.wait_for(ws.recv(), 1)).split()
            except asyncio.TimeoutError:
                continue
            if topic in ("join", "leave"):
                last.clear()
            elif origin == "gap":
                for key in [key for key in last if key[0] == topic and not key[1].startswith(server.name)]:
                    del last[key]
            else:
                kept_up = ws.local_address not in server.slow
                self.check(last, (topic, origin), int(number), kept_up, origin.startswith(server.name))

    def check(self, last, key, number, kept_up, own):
        """Check the number of a message after those of the `last` ones."""
        if key in last:
            # The broker delivers a message twice if it is killed meanwhile; a slow client may miss the gap.
            wrong = number != last[key] + 1 if kept_up else number < last[key] + own
            if wrong:
                raise SystemExit(f"after message {last[key]} of {key} came {number}")
            self.gaps += number > last[key] + 1
        last[key] = number
        self.messages += 1
        self.relayed += not own

    async def client(self):
        """Open one connection after another."""
        while time.monotonic() < self.end:
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


async def cancel(task):
    """Cancel a task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def open_servers(soak, stack, broker):
    """Open the servers of a soak test, with the broker and their relays."""
    if broker is not None:
        stack.push_async_callback(cancel, asyncio.ensure_future(broker.run()))
    for server in soak.servers:
        if broker is not None:
            for relay in server.relays(broker):
                await stack.enter_async_context(relay)
        opened = await stack.enter_async_context(
            serve(server.handler, sock=listening_socket(), write_limit=WRITE_LIMIT)
        )
        server.port = opened.sockets[0].getsockname()[1]
        stack.push_async_callback(cancel, asyncio.ensure_future(server.publish()))


async def run(arguments):
    """Run the soak test; return its failures."""
    soak = Soak(arguments.seed, 2 if arguments.broker else 1, arguments.seconds)
    broker = Broker(soak.random) if arguments.broker else None
    async with serve(soak.servers[0].handler, "127.0.0.1", 0) as server:  # opens the descriptors that the loop keeps
        for each in soak.servers:
            each.port = server.sockets[0].getsockname()[1]
        await asyncio.gather(soak.talk(), return_exceptions=True)
    await asyncio.sleep(0.2)
    descriptors_before, tasks_before = descriptors(), len(asyncio.all_tasks())
    async with AsyncExitStack() as stack:
        await open_servers(soak, stack, broker)
        clients = [asyncio.ensure_future(soak.client()) for _ in range(arguments.clients)]
        await asyncio.sleep(arguments.seconds / 3)
        gc.collect()
        rss_before = rss()
        await asyncio.gather(*clients)
    await asyncio.sleep(0.2)
    gc.collect()
    growth = rss() - rss_before
    print(
        f"{soak.connections} connections, {soak.messages} messages checked, {soak.closed} closed as too slow, "
        f"{soak.cut} cut, {soak.gaps} gaps of slow clients; memory grew by {growth} KiB",
        *(f"{policy}: {topics.counters}" for server in soak.servers for policy, topics in server.topics.items()),
        sep="\n",
        flush=True,
    )
    if broker is not None:
        gaps_told = sum(server.gaps_told for server in soak.servers)
        print(f"{broker.starts} starts of the broker, {gaps_told} gaps told, {soak.relayed} relayed messages checked")
    topics = [topics for server in soak.servers for topics in server.topics.values()]
    members = [members for each in topics for members in each._topics._loops]
    known = sum(len(each._connections) for each in members)
    waiting = sum(len(each._waiting) for each in members)
    return [
        f"{name}: {number}"
        for name, number, maximum in (
            ("subscribers left", known, 0),
            ("held messages left", waiting, 0),
            ("tasks left", len(asyncio.all_tasks()) - tasks_before, 0),
            ("descriptors left", descriptors() - descriptors_before, 0),
            ("memory growth in KiB", growth, MAX_GROWTH),
            ("no messages checked", 1 - soak.messages, 0),
            ("no relayed messages checked", 0 if broker is None else 1 - soak.relayed, 0),
        )
        if number > maximum
    ]


if __name__ == "__main__":
    main(run, __doc__, lambda parser: parser.add_argument("--broker", action="store_true", help="with a redis-server"))
