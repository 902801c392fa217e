"""Soak test of topics: subscribers that join, leave, read slowly and are cut at random.

    python -m benchmarks.soak_rooms [--seconds 600] [--clients 30] [--loop uvloop] [--seed 1] [--broker]

Servers and clients run in one process. The messages of each server and topic are numbered: a client
must get every number, unless `on_slow` has been called for it, and then only rising ones. With `--broker` there are two
servers, which exchange their shorter messages through a redis-server that is killed and started
again: after that, numbers of the other server may be missing, but only after `on_gap` has been called.
The exit status is 1 if a message is lost, if a connection ends otherwise than asked for or as too
slow, if an error is logged, if a subscriber, a task, a file descriptor or objects are left at the end,
or if the memory grows from the second third of the time to the last.
"""

import asyncio
import random
import socket
import subprocess
import time
from contextlib import AsyncExitStack, suppress

from framewire.asyncio import Topics, connect, serve
from framewire.errors import ConnectionClosed, ConnectionClosedOK

from .soak import MAX_BLOCKS, MAX_GROWTH, blocks, descriptors, main, watch_memory

POLICIES = ("close", "drop", "latest")
TOPICS = ("a/1", "a/2", "b")
PATTERNS = {"a/1": ("a/1",), "a/+": ("a/1", "a/2"), "#": TOPICS}

#: Seconds between the messages of the publisher of each server.
INTERVAL = 0.004

#: Limits of the server's buffers, in bytes: slow clients reach them, bursts do not.
SOCKET_BUFFER, WRITE_LIMIT = 1 << 14, 1 << 17

#: Size in bytes of the longest message that is relayed: many of them arrive at once after a gap.
MAX_RELAYED = 1 << 10

#: Seconds in which a client that keeps up gets an answer, and a message of the topics that it has joined.
SILENCE = 20

#: The close code of a subscriber that the policy "close" finds too slow.
TOO_SLOW = 1013

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

    def __init__(self, number, source, failures):
        self.name = str(number)
        self.failures = failures
        self.port = 0
        self.gaps_told = 0
        self.topics = {policy: Topics(patterns="mqtt", policy=policy, on_slow=self._note_slow) for policy in POLICIES}
        self.slow = set()  # the addresses of clients that have not kept up
        self.cut = set()  # and of those that have cut their connections
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
        self.cut.discard(ws.remote_address)
        try:
            async for message in ws:
                verb, policy, pattern = message.split()
                (self.topics[policy].subscribe if verb == "join" else self.topics[policy].unsubscribe)(ws, pattern)
                await ws.send(message)
        except ConnectionClosedOK:
            pass  # the client does not wait for the answer
        except ConnectionClosed as error:
            if not (ws.remote_address in self.cut or self._was_closed_as_slow(ws, error.sent)):
                self.failures.add("unexpected ends for the server", error)

    def _was_closed_as_slow(self, ws, close):
        return ws.remote_address in self.slow and close is not None and close.code == TOO_SLOW

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

    def __init__(self, seed, servers, seconds, failures):
        self.random = random.Random(seed)
        self.failures = failures
        self.end = time.monotonic() + seconds
        self.servers = [Server(number, self.random, failures) for number in range(servers)]
        self.connections = self.messages = self.closed = self.cut = self.gaps = self.relayed = 0

    async def talk(self, server, policy):
        """Open a connection, take part, end it in one of several ways, and check how it has ended."""
        slow = self.random.random() < 0.3
        compression = self.random.choice(("deflate", None))
        uri = f"ws://127.0.0.1:{server.port}/"
        async with connect(uri, compression=compression, max_queue=4, max_size=None) as ws:
            ended = False
            try:
                await self.take_part(ws, server, policy, slow)
            except ConnectionClosed:
                ended = True
            else:
                if self.random.random() < 0.3:
                    self.cut += 1
                    server.cut.add(ws.local_address)
                    ws.transport.abort()
        if policy == "close" and ws.local_address in server.slow:
            self.closed += 1
        elif ended or not (ws.close_code == 1000 or ws.local_address in server.cut):
            self.failures.add("unexpected ends for a client", f"close code {ws.close_code}, policy {policy}")

    async def take_part(self, ws, server, policy, slow):
        """Join and leave topics of a policy, and read in between."""
        last, joined = {}, set()
        for _ in range(self.random.randrange(1, 4)):
            pattern = self.random.choice(list(PATTERNS))
            verb = "leave" if pattern in joined else "join"
            await ws.send(f"{verb} {policy} {pattern}")
            # Numbers are missing after a time without a subscription.
            last = {} if verb == "leave" else last
            joined ^= {pattern}
            await self.read(ws, server, last, joined, slow, self.random.uniform(0, 12 if slow else 2))

    async def read(self, ws, server, last, joined, slow, seconds):
        """Read for some time; if the client keeps up, until the answer and a message of its topics have come.

        Check the numbers of the messages.
        """
        began = time.monotonic()
        until, answered, heard = min(began + seconds, self.end), slow, slow or not joined
        while time.monotonic() < until or not (answered and heard):
            if slow and self.random.random() < 0.05:
                await asyncio.sleep(self.random.uniform(0, 4))
            with suppress(asyncio.TimeoutError):
                topic, origin, number, *_ = (await asyncio.wait_for(ws.recv(), 1)).split()
                if topic in ("join", "leave"):
                    answered = True
                    last.clear()
                elif origin == "gap":
                    for key in [key for key in last if key[0] == topic and not key[1].startswith(server.name)]:
                        del last[key]
                else:
                    heard = True
                    kept_up = ws.local_address not in server.slow
                    self.check(last, (topic, origin), int(number), kept_up, origin.startswith(server.name))
            if not (answered and heard) and time.monotonic() > began + seconds + SILENCE:
                self.failures.add("silent connections", f"answered: {answered}, a message came: {heard}")
                return

    def check(self, last, key, number, kept_up, own):
        """Check the number of a message after those of the `last` ones."""
        if key in last:
            # The broker delivers a message twice if it is killed meanwhile; a slow client may miss the gap.
            wrong = number != last[key] + 1 if kept_up else number < last[key] + own
            if wrong:
                self.failures.add("lost messages", f"after {last[key]} of {key} came {number}")
            self.gaps += number > last[key] + 1
        last[key] = number
        self.messages += 1
        self.relayed += not own

    async def client(self):
        """Open one connection after another."""
        while time.monotonic() < self.end:
            self.connections += 1
            try:
                await self.talk(self.random.choice(self.servers), self.random.choice(POLICIES))
            except Exception as error:
                self.failures.add("unexpected errors of a client", repr(error))


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


async def warm_up(port):
    """Join a topic and leave it."""
    async with connect(f"ws://127.0.0.1:{port}/") as ws:
        for verb in ("join", "leave"):
            await ws.send(f"{verb} {POLICIES[0]} {TOPICS[0]}")
            await asyncio.wait_for(ws.recv(), SILENCE)


async def run(arguments, failures):
    """Run the soak test; return the limits to check at the end: tuples of name, number, largest number."""
    soak = Soak(arguments.seed, 2 if arguments.broker else 1, arguments.seconds, failures)
    broker = Broker(soak.random) if arguments.broker else None
    if broker is not None:
        import framewire.relay  # noqa: F401 - and redis, before the memory is measured
    async with serve(soak.servers[0].handler, "127.0.0.1", 0) as server:  # opens the descriptors that the loop keeps
        port = server.sockets[0].getsockname()[1]
        await asyncio.gather(*[warm_up(port) for _ in range(arguments.clients)])
    await asyncio.sleep(0.2)
    descriptors_before, tasks_before, blocks_before = descriptors(), len(asyncio.all_tasks()), blocks()
    async with AsyncExitStack() as stack:
        await open_servers(soak, stack, broker)
        clients = [asyncio.ensure_future(soak.client()) for _ in range(arguments.clients)]
        growth = await watch_memory(arguments.seconds)
        await asyncio.gather(*clients)
        del clients
    await asyncio.sleep(0.2)
    for server in soak.servers:
        server.slow.clear()
        server.cut.clear()
    blocks_left = blocks() - blocks_before
    print(
        f"{soak.connections} connections, {soak.messages} messages checked, {soak.closed} closed as too slow, "
        f"{soak.cut} cut, {soak.gaps} gaps of slow clients; memory grew by {growth} KiB and {blocks_left} blocks",
        *(f"{policy}: {topics.counters}" for server in soak.servers for policy, topics in server.topics.items()),
        sep="\n",
        flush=True,
    )
    if broker is not None:
        gaps_told = sum(server.gaps_told for server in soak.servers)
        print(f"{broker.starts} starts of the broker, {gaps_told} gaps told, {soak.relayed} relayed messages checked")
    topics = [topics for server in soak.servers for topics in server.topics.values()]
    members = [members for each in topics for members in each._topics._loops]
    return [
        ("subscribers left", sum(len(each._connections) for each in members), 0),
        ("held messages left", sum(len(each._waiting) for each in members), 0),
        ("tasks left", len(asyncio.all_tasks()) - tasks_before, 0),
        ("descriptors left", descriptors() - descriptors_before, 0),
        # The first connection to the broker imports and caches more.
        ("blocks left", blocks_left, MAX_BLOCKS if broker is None else 4 * MAX_BLOCKS),
        ("memory growth in KiB", growth, MAX_GROWTH),
        ("no messages checked", 1 - soak.messages, 0),
        ("no relayed messages checked", 0 if broker is None else 1 - soak.relayed, 0),
    ]


if __name__ == "__main__":
    main(run, __doc__, lambda parser: parser.add_argument("--broker", action="store_true", help="with a redis-server"))
