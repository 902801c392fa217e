"""Memory per connection of the server: resident memory of many open connections, idle and used.

    python -m benchmarks.memory [--connections 1500] [--bytes 20000] [--only 12] [--json FILE]

For each row an echo server runs in a new process; its clients run in this one. The messages are
JSON texts of 1 KB, and every echo is compared. Prints KiB per connection: idle, and after the given
number of bytes in each direction, with the goals and a lower bound, the memory of the contexts of
zlib alone. `--json` puts the figures into the results of `python -m benchmarks`.
"""

import argparse
import asyncio
import json
import random
import socket
import subprocess
import sys
import zlib
from datetime import date
from pathlib import Path

from framewire import CLIENT, Stream
from framewire.asyncio import serve
from framewire.handshake import ClientHandshake
from framewire.http.uri import parse_uri
from framewire.protocol.codecs import agree_to_answers, make_offers
from framewire.protocol.permessage_deflate import PerMessageDeflate

from .results import put

#: Name, settings of the server (None: no extension) and of the client, goals idle and after
#: messages.
ROWS = (
    ("off", None, None, 9, None),
    ("9 / 3", {"bits": 9, "memory_level": 3}, {"bits": 9}, 9, None),
    ("10 / 4", {"bits": 10, "memory_level": 4}, {"bits": 10}, 9, None),
    ("12 / 5, the default", {}, {"bits": 12}, 9, 60),
    ("12 / 5, the peer keeps 15", {}, {}, 9, 75),
    ("15 / 8", {"bits": 15, "memory_level": 8}, {}, 9, None),
)


def extensions_of(settings):
    """Return the extensions for settings; `bits` is the window of both directions."""
    if settings is None:
        return []
    settings = dict(settings)
    if bits := settings.pop("bits", None):
        settings |= {"server_max_window_bits": bits, "client_max_window_bits": bits}
    return [PerMessageDeflate(**settings)]


async def serve_echo(settings):
    """Run the measured server: print its port, and serve until the end of standard input."""

    async def echo(connection):
        async for message in connection:
            await connection.send(message)
            del message  # otherwise each handler keeps its last message

    options = {"compression": None} if settings is None else {"extensions": extensions_of(settings)}
    async with serve(echo, "127.0.0.1", 0, ping_interval=None, **options) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class Client:
    """A blocking client, which is not measured."""

    def __init__(self, port, settings):
        extensions = extensions_of(settings)
        offers = make_offers(extensions)
        if settings == {}:
            offers = [(name, []) for name, _ in offers]
        handshake = ClientHandshake(parse_uri("ws://127.0.0.1/"), extensions=offers)
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(handshake.request())
        while handshake.receive(self.socket.recv(4096)) is None:
            pass
        known = [PerMessageDeflate(client_max_window_bits=None, server_max_window_bits=None)]
        self.stream = Stream(CLIENT, extensions=agree_to_answers(handshake.extensions, known))

    def send(self, message):
        """Send a message."""
        self.socket.sendall(self.stream.send(message))

    def receive(self, message):
        """Receive the echo of a message, and compare it."""
        events = []
        while not events:
            events = self.stream.receive(self.socket.recv(65536))
        if events != [message]:
            raise AssertionError(f"the server does not echo, but sends {events}")


def talk(clients, message):
    """Echo a message with each client, 50 at a time: messages in transit need memory."""
    for start in range(0, len(clients), 50):
        for client in clients[start : start + 50]:
            client.send(message)
        for client in clients[start : start + 50]:
            client.receive(message)


def rss(pid):
    """Return the resident memory of a process in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def messages_of(size):
    """Return the messages for one direction, `size` bytes of JSON in all."""
    source = random.Random(1)
    words = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randrange(2, 10))) for _ in range(4000)]
    return [json.dumps(source.choices(words, k=200))[:1000] for _ in range(size // 1000)]


def hold_contexts(server_settings, client_settings, connections, size):
    """Create only the contexts of zlib for the connections.

    Print their memory in KiB per connection.
    """
    keeps = server_settings.get("bits", 12), client_settings.get("bits", 15)
    peer = zlib.compressobj(wbits=-keeps[1])
    before, pairs = rss("self"), []
    for message in messages_of(size):
        payload = peer.compress(message.encode()) + peer.flush(zlib.Z_SYNC_FLUSH)
        for index in range(connections):
            if index == len(pairs):
                memory_level = server_settings.get("memory_level", 5)
                pairs.append(
                    (zlib.decompressobj(-keeps[1]), zlib.compressobj(-1, zlib.DEFLATED, -keeps[0], memory_level))
                )
            inflater, deflater = pairs[index]
            deflater.compress(inflater.decompress(payload))
            deflater.flush(zlib.Z_SYNC_FLUSH)
    print((rss("self") - before) / connections)


def floor(*row):
    """Run `hold_contexts` in a new process; return its result."""
    if row[0] is None:
        return 0.0
    command = [sys.executable, "-m", "benchmarks.memory", "--hold", json.dumps(row)]
    return float(subprocess.check_output(command, text=True))


def measure(server_settings, client_settings, connections, size):
    """Return the KiB per connection: idle, and after `size` bytes in each direction."""
    command = [sys.executable, "-m", "benchmarks.memory", "--serve", json.dumps(server_settings)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline())
        for _ in range(20):  # one-time allocations of the server
            talk([Client(port, client_settings)], "x" * 1000)
        before = rss(server.pid)
        clients = [Client(port, client_settings) for _ in range(connections)]
        idle = rss(server.pid)
        for message in messages_of(size):
            talk(clients, message)
        after = rss(server.pid)
        server.stdin.close()
    return (idle - before) / connections, (after - before) / connections


def main():
    """Measure all rows, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1500)
    parser.add_argument("--bytes", type=int, default=20_000)
    parser.add_argument("--only", default="", help="only rows whose names hold this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the figures into this file")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--hold", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hold:
        hold_contexts(*json.loads(arguments.hold))
        return
    if arguments.serve:
        asyncio.run(serve_echo(json.loads(arguments.serve)))
        return
    print(f"{arguments.connections} connections, {arguments.bytes} bytes each way; KiB per connection")
    print(
        "{:28}{:>8}{:>8}{:>8}{:>8}{:>8}".format("window bits / memory level", "idle", "goal", "after", "goal", "floor")
    )
    rows = []
    for name, *settings, idle_goal, after_goal in ROWS:
        if arguments.only in name:
            row = (*settings, arguments.connections, arguments.bytes)
            idle, after = measure(*row)
            least = floor(*row)
            rows.append({"label": name, "idle": idle, "after": after, "floor": least or None})
            print(f"{name:28}{idle:8.1f}{idle_goal:>8}{after:8.1f}{after_goal or '-':>8}{least:8.1f}", flush=True)
    if arguments.json:
        put(arguments.json, memory=as_json(arguments, rows))


def as_json(arguments, rows):
    """Return the figures with one digit after the point."""
    return {
        "date": date.today().isoformat(),
        "connections": arguments.connections,
        "bytes": arguments.bytes,
        "rows": [
            {**row, **{key: round(row[key], 1) for key in ("idle", "after", "floor") if row[key]}} for row in rows
        ],
    }


if __name__ == "__main__":
    main()
