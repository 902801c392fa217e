"""Measure the CPU time and memory of servers that send messages to many connections.

    python -m benchmarks.bench_rooms [--connections 500] [--rounds 40] [--repeat 3]

Each server runs in a process of its own, on one core; its clients run in this one, on another. In
each round the server sends one message (JSON of 1 KiB), or ten, to all; then every client receives
and compares them. The servers take turns, and the best of `--repeat` runs counts. Prints
microseconds of server CPU per connection and round, KiB of memory per connection after the rounds,
and whether each goal is met. The row `os.write` makes one frame and does
nothing but call `os.write` for each connection. On free-threaded Python, tells how much faster two event
loops are than one.
"""

import argparse
import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

from . import loops
from .room_client import Client, message_of

#: Name, server, how it sends, whether the connections compress, messages in a round, their size.
ROWS = (
    ("broadcast", "framewire", "broadcast", False, 1, 1024),
    ("broadcast", "websockets", "broadcast", False, 1, 1024),
    ("broadcast", "picows.websockets", "broadcast", False, 1, 1024),
    ("broadcast", "os.write", "os.write", False, 1, 1024),
    ("broadcast, deflate", "framewire", "broadcast", True, 1, 1024),
    ("broadcast, deflate", "os.write", "os.write", True, 1, 1024),
    ("broadcast, deflate, own contexts", "framewire", "own", True, 1, 1024),
    ("broadcast, deflate", "websockets", "broadcast", True, 1, 1024),
    ("publish", "framewire", "publish", False, 1, 1024),
    ("publish 10 messages", "framewire", "publish", False, 10, 1024),
    ("publish, deflate", "framewire", "publish", True, 1, 1024),
    ("await send for each", "framewire", "send", False, 1, 1024),
    ("FastAPI, 256 B", "uvicorn, Rooms", "rooms", False, 1, 256),
    ("FastAPI, 256 B", "uvicorn, send_text", "send", False, 1, 256),
    ("FastAPI, 256 B", "os.write", "os.write", False, 1, 256),
    ("FastAPI, 256 B, deflate", "uvicorn, Rooms", "rooms", True, 1, 256),
    ("FastAPI, 256 B, deflate", "uvicorn, send_text", "send", True, 1, 256),
    ("FastAPI, 256 B, deflate", "os.write", "os.write", True, 1, 256),
    ("FastAPI, 256 B, deflate", "hypercorn, Rooms", "rooms", True, 1, 256),
    ("FastAPI, 256 B, deflate", "hypercorn, send_text", "send", True, 1, 256),
)

#: Row, reference row, largest ratio of costs.
GOALS = (
    (("broadcast, deflate", "framewire"), ("broadcast", "framewire"), 1.15),
    (("broadcast", "framewire"), ("broadcast", "websockets"), 0.6),
    (("broadcast", "framewire"), ("broadcast", "picows.websockets"), 0.85),
    (("publish 10 messages", "framewire"), ("publish", "framewire"), 2.0),
    (("FastAPI, 256 B", "uvicorn, Rooms"), ("FastAPI, 256 B", "uvicorn, send_text"), 0.25),
    (("FastAPI, 256 B, deflate", "uvicorn, Rooms"), ("FastAPI, 256 B, deflate", "uvicorn, send_text"), 0.25),
)

#: Most KiB per connection that compressed broadcasts may add to uncompressed ones: the measure has
#: a resolution of about one page.
MAX_ADDED_MEMORY = 4.0


# The server


async def serve(server, way, compressed, size):
    """Run the measured server: print its port; send so many messages as each line of input says."""
    library = "framewire" if server == "os.write" else server
    start = {"uvicorn": start_uvicorn, "hypercorn": start_hypercorn}.get(server.partition(",")[0], start_library)
    send, port = await start(library, way, compressed)
    first, done = 0, asyncio.Event()

    def begin_round():
        nonlocal first
        count = sys.stdin.buffer.raw.readline().strip()
        if not count:
            done.set()
            return
        send([message_of(number, size) for number in range(first, first + int(count))])
        first += int(count)

    asyncio.get_running_loop().add_reader(sys.stdin, begin_round)
    print(port, flush=True)
    await done.wait()
    os._exit(0)


async def start_library(library, way, compressed):
    """Start the server of a library; return how it sends to all connections, and its port."""
    asyncio_api = __import__(f"{library}.asyncio.server", fromlist=["broadcast", "serve"])
    connections = set()

    async def handler(connection):
        connections.add(connection)
        await connection.wait_closed()

    options = {"ping_interval": None} | ({} if compressed else {"compression": None})
    server = await asyncio_api.serve(handler, "127.0.0.1", 0, **options)
    send = write_to_each(connections, compressed) if way == "os.write" else sender_of(asyncio_api, way, connections)
    return send, server.sockets[0].getsockname()[1]


def make_application(way):
    """Return an application of FastAPI, and how it sends to all members: by `Rooms`, or in a loop of
    `send_text`.
    """
    from fastapi import FastAPI, WebSocket

    from framewire.rooms import Rooms

    app, rooms, sockets = FastAPI(), Rooms(), set()

    @app.websocket("/")
    async def member(websocket: WebSocket):
        await websocket.accept()
        if way == "rooms":
            await rooms.join(websocket, "all")
        else:
            sockets.add(websocket)
        async for _ in websocket.iter_text():
            pass

    def publish(messages):
        for message in messages:
            rooms.publish("all", message)

    async def send(message):
        for websocket in sockets:
            await websocket.send_text(message)

    return app, publish if way == "rooms" else in_task(send)


async def start_uvicorn(name, way, compressed):
    """Start uvicorn with an application of FastAPI: for `Rooms` with framewire's class, otherwise
    with uvicorn's own.
    """
    import uvicorn

    app, send = make_application(way)
    ws = "framewire.adapters.uvicorn:WebSocketProtocol" if way == "rooms" else "auto"
    options = {"lifespan": "off", "log_level": "error", "loop": "asyncio", "ws_ping_interval": 3600}
    config = uvicorn.Config(app, port=0, ws=ws, ws_per_message_deflate=compressed, **options)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    return send, server.servers[0].sockets[0].getsockname()[1]


async def start_hypercorn(name, way, compressed):
    """Start hypercorn, which always agrees to compression, with an application of FastAPI."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    app, send = make_application(way)
    listening, config = socket.create_server(("127.0.0.1", 0)), Config()
    config.bind, config.errorlog = [f"fd://{listening.fileno()}"], None
    serving = asyncio.ensure_future(serve(app, config))
    serving.add_done_callback(lambda _: listening.close())  # keeps both as long as the loop
    return send, listening.getsockname()[1]


def in_task(send):
    """Return a function that awaits `send` for each message in a task."""
    running = set()

    async def send_all(messages):
        for message in messages:
            await send(message)

    def start(messages):
        task = asyncio.ensure_future(send_all(messages))
        running.add(task)
        task.add_done_callback(running.discard)

    return start


def sender_of(asyncio_api, way, connections):
    """Return a function that sends messages to all connections."""
    if way == "publish":
        from framewire.asyncio import Topics

        topics = Topics()

        def publish(messages):
            if len(topics.subscribers("all")) < len(connections):
                for connection in connections:
                    topics.subscribe(connection, "all")
            for message in messages:
                topics.publish("all", message)

        return publish
    if way == "send":

        async def send(message):
            for connection in connections:
                await connection.send(message)

        return in_task(send)
    options = {"compression": "own"} if way == "own" else {}

    def broadcast(messages):
        for message in messages:
            asyncio_api.broadcast(connections, message, **options)

    return broadcast


def write_to_each(connections, compressed):
    """Return a function that makes one frame of each message, and writes it to all connections."""

    descriptors = []

    def write(messages):
        if len(descriptors) < len(connections):
            descriptors[:] = [each.transport.get_extra_info("socket").fileno() for each in connections]
        for message in messages:
            payload, first = message.encode(), 0x81
            if compressed:
                compressor, first = zlib.compressobj(wbits=-15), 0xC1
                payload = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
            size = len(payload)
            frame = bytes((first, size)) if size < 126 else bytes((first, 126)) + size.to_bytes(2, "big")
            frame += payload
            for descriptor in descriptors:
                if os.write(descriptor, frame) < len(frame):
                    raise AssertionError("the buffer of a socket is full")

    return write


# The measurement


def cpu(pid):
    """Return the CPU time of a process in microseconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e3


def rss(pid):
    """Return the resident memory of a process in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def on_core(core):
    """Return the words that run a command on one core, if there are several."""
    return ["taskset", "-c", str(core)] if shutil.which("taskset") and os.cpu_count() > core else []


def measure(server, way, compressed, count, size, connections, rounds):
    """Run one server.

    Returns:
        Microseconds of CPU per connection and round, and KiB per connection.
    """
    words = ["-m", "benchmarks.bench_rooms", "--serve", server, way, str(int(compressed)), str(size)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*on_core(1), sys.executable, *words], cwd=Path(__file__).parents[1], **pipes) as process:
        port, clients = int(process.stdout.readline()), []
        before = rss(process.pid)
        try:
            clients += [Client(port) for _ in range(connections)]
            if any(client.compressed is not compressed for client in clients):
                raise AssertionError(f"{server} has not agreed to compression as it should")
            for turn in range(rounds + 2):
                if turn == 2:  # the first rounds warm up
                    start = cpu(process.pid)
                process.stdin.write(f"{count}\n")
                process.stdin.flush()
                messages = [message_of(number, size) for number in range(turn * count, (turn + 1) * count)]
                for client in clients:
                    client.receive(messages)
            used, memory = cpu(process.pid) - start, rss(process.pid) - before
        finally:
            process.kill()
            for client in clients:
                client.socket.close()
    return used / rounds / connections, memory / connections


def main():
    """Measure all servers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        server, way, compressed, size = arguments.serve
        asyncio.run(serve(server, way, compressed == "1", int(size)))
        return
    cores = os.sched_getaffinity(0) if on_core(0) else ()
    if cores:
        os.sched_setaffinity(0, {0})
    print(f"Python {sys.version.split()[0]}, {arguments.connections} connections, messages of 1 KiB if not said\n")
    rows = [row for row in ROWS if row[1] == "os.write" or find_spec(re.match(r"\w+", row[1])[0])]
    runs = {row[:2]: [] for row in rows}
    for _ in range(arguments.repeat):
        for name, server, *how in rows:
            runs[name, server].append(measure(server, *how, arguments.connections, arguments.rounds))
    costs = {key: tuple(map(min, zip(*values, strict=True))) for key, values in runs.items()}
    print(f"{'':34}{'':20}{'us a connection':>16}{'KiB a connection':>18}")
    for (name, server), (used, memory) in costs.items():
        print(f"{name:34}{server:20}{used:16.2f}{memory:18.1f}")
    print_goals(costs)
    if cores:
        os.sched_setaffinity(0, cores)
    loops.report(arguments.rounds)


def print_goals(costs):
    """Print whether each goal is met."""
    print()
    for subject, reference, limit in GOALS:
        if subject in costs and reference in costs:
            ratio = costs[subject][0] / costs[reference][0]
            verdict = "met" if ratio <= limit else "MISSED"
            alone = costs.get((subject[0], "os.write"))
            least = f" (os.write alone: {alone[0] / costs[reference][0]:.2f})" if alone else ""
            print(f"{' of '.join(subject)} / {' of '.join(reference)}: {ratio:.2f}, goal {limit}: {verdict}{least}")
    added = costs["broadcast, deflate", "framewire"][1] - costs["broadcast", "framewire"][1]
    verdict = "met" if added <= MAX_ADDED_MEMORY else "MISSED"
    print(f"memory that compressed broadcasts add: {added:.1f} KiB a connection, goal 0: {verdict}")


if __name__ == "__main__":
    main()
