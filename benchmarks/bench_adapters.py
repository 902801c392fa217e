"""Existing servers with and without framewire: processor time of the server per message."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path
from time import clock_gettime_ns, monotonic, sleep, thread_time
from typing import NamedTuple

from framewire.adapters.accelerate import accelerate
from framewire.cli.run import environment

from .applications import COUNT_QUERY_FRAME, KEY
from .inputs import BINARY, KIB, TEXT, encoded, frame, payload, size_name, text, unframe
from .tables import FAST, FLOOR, Goal, Table
from .timing import Effort

BEFORE = "before"
OURS = "framewire.adapters.uvicorn:WebSocketProtocol"
APP = "benchmarks.applications:app"


class Server(NamedTuple):
    """The compared servers, as command lines with {port}.

    Attributes:
        before: The server without framewire.
        after: The server with framewire.
        floor: The application in `benchmarks.applications` that is its lower bound.
    """

    before: list[str]
    after: list[str]
    floor: str = "asyncio"


class Load(NamedTuple):
    """A load.

    Attributes:
        size: The size of each message, in bytes.
        count: Messages in each write, without replies; 0 for messages that are echoed.
        connections: Connections that are used in turns.
        in_flight: Messages on each connection that are echoed at a time.
    """

    size: int
    count: int
    connections: int = 1
    in_flight: int = 1

    def __str__(self) -> str:
        name = f"{'burst' if self.count else 'echo'} {size_name(self.size)}"
        if self.connections > 1:
            name += f", {self.connections} connections"
        return name + (f", {self.in_flight} in flight" if self.in_flight > 1 else "")


def _uvicorn(loop: str) -> Server:
    command = [
        "-m",
        "uvicorn",
        APP,
        "--port",
        "{port}",
        "--log-level",
        "error",
        "--loop",
        loop,
        "--ws-ping-interval",
        "3600",
    ]
    return Server(command, [*command, "--ws", OURS], loop)


def _accelerated(command: str, floor: str = "asyncio") -> Server:
    words = ["-m", *command.split()]
    return Server(words, [ACCELERATED, *words], floor)


ACCELERATED = "framewire run"
OWN = "benchmarks.applications"
HYPERCORN_FLOOR, GUNICORN_FLOOR = "hypercorn-floor", "gunicorn-floor"
SERVERS = {
    "uvicorn": _uvicorn("asyncio"),
    "uvicorn, uvloop": _uvicorn("uvloop"),
    "websockets": _accelerated(f"{OWN} websockets {{port}}"),
    "hypercorn": _accelerated(
        f"hypercorn {APP} -b 127.0.0.1:{{port}} --workers 0 --log-level error", "hypercorn-floor"
    ),
    "gunicorn": _accelerated(f"gunicorn {APP} -k asgi -b 127.0.0.1:{{port}} --log-level error", GUNICORN_FLOOR),
    "autobahn": _accelerated(f"{OWN} autobahn {{port}}"),
    "tornado": _accelerated(f"{OWN} tornado {{port}}"),
    "Flask-Sock": _accelerated(f"{OWN} flask {{port}}"),
    "gevent-websocket": _accelerated(f"{OWN} gevent {{port}}"),
}
ECHO, ECHO_LARGE, BURST, BURST_LARGE = Load(256, 0), Load(16 * KIB, 0), Load(256, 64), Load(16 * KIB, 8)
ECHO_MANY, ECHO_FLIGHT = Load(256, 0, 50), Load(256, 0, 50, 16)
ECHO_MANY_LARGE = Load(64 * KIB, 0, 50)

#: The factor by which the processor time of the server must decrease; 1 allows no increase.
GOALS: Mapping[str, Mapping[Load, float]] = {
    "uvicorn": {ECHO: 2, ECHO_LARGE: 2, BURST: 4},
    "uvicorn, uvloop": {ECHO: 1.5, ECHO_LARGE: 2, BURST: 4},
    "websockets": {ECHO: 1.2, BURST: 2},
    "hypercorn": {BURST: 2, BURST_LARGE: 3},
    "gunicorn": {ECHO_LARGE: 30},
    "autobahn": {ECHO: 1, ECHO_LARGE: 1},
    "tornado": {ECHO_MANY: 2, ECHO_FLIGHT: 5, ECHO_MANY_LARGE: 2.5},
    "Flask-Sock": {ECHO: 1, ECHO_LARGE: 1},
    "gevent-websocket": {ECHO: 1, ECHO_LARGE: 1},
}


def tables(effort: Effort) -> Iterator[Table]:
    servers = Table(
        "adapters",
        "servers with and without framewire, no compression, one connection if not stated",
        "message, processor time of the server's processes",
        [
            f"{BEFORE}: as installed; {FAST}: --ws {OURS} for uvicorn, `framewire run --` for the others",
            f"{FLOOR}: the same reads and writes without any other work, the cost of the event loop and the network;",
            "for hypercorn and gunicorn: the servers themselves with frames for free (prepared, and left masked)",
            "echo: a message and its reply, one by one if not stated",
            "burst: 64 of 256 B or 8 of 16 KiB in a write, without replies",
        ],
    )
    for name in SERVERS if effort.turns > 1 else ["uvicorn"]:  # starting a server takes a second
        server = SERVERS[name]
        with ExitStack() as stack:
            floor = ["-m", "benchmarks.applications", server.floor, "{port}"]
            commands = {BEFORE: server.before, FAST: server.after, FLOOR: floor}
            running = {column: stack.enter_context(_run(command)) for column, command in commands.items()}
            for load, times in GOALS[name].items():
                servers.add(f"{name}, {load}", _compare(running, load, effort), [Goal.faster(BEFORE, times)])
    yield servers
    yield _client(effort)


def _client(effort: Effort) -> Table:
    """Measure websocket-client in this thread, with and without acceleration in turns."""
    from websocket import WebSocket

    table = Table(
        "adapters",
        "clients with and without framewire",
        "message, processor time of the thread",
        [f"WebSocket.recv() of an unmasked text; {FLOOR}: socket.recv() of as many bytes"],
    )
    size = min(64 * KIB, effort.largest)
    message = text("ASCII", size)
    near, far = socket.socketpair()
    client = WebSocket(sockopt=None)
    client.sock, client.connected = near, True
    data = frame(TEXT, encoded(message))
    best: dict[str, float] = {}
    with near, far:
        for _ in range(1 + effort.turns // 4):
            for name in (BEFORE, FAST, FLOOR):
                acceleration = accelerate("websocket-client") if name == FAST else None
                far.sendall(data)
                start = thread_time()
                received = near.recv(len(data), socket.MSG_WAITALL) if name == FLOOR else client.recv()
                elapsed = (thread_time() - start) * 1e9
                if received != (data if name == FLOOR else message):
                    raise AssertionError("websocket-client received another message")
                best[name] = min(elapsed, best.get(name, elapsed))
                if acceleration is not None:
                    acceleration.undo()
    table.add(f"websocket-client, receive {size_name(size)} text", best, [Goal.faster(BEFORE, 50)], size)
    return table


@contextmanager
def _run(command: Iterable[str]) -> Iterator[_Running]:
    """Run a server, on another core than this process if there are two."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [word.format(port=port) for word in command]
    variables = environment() if words[0] == ACCELERATED else dict(os.environ)
    own, others = _cores()
    os.sched_setaffinity(0, others)  # inherited by the server
    try:
        command = [sys.executable, *(word for word in words if word != ACCELERATED)]
        process = subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL)
    finally:
        os.sched_setaffinity(0, own)
    try:
        yield _Running(process.pid, port)
    finally:
        process.terminate()
        process.wait()


@cache
def _cores() -> tuple[set[int], set[int]]:
    """Return a core for this process, and the cores for servers."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[0]}, set(cores[1:] or cores)


class _Running:
    """A running server."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port

    @cached_property
    def family(self) -> list[int]:
        """The process ids of the server and its descendants; to be read after its first reply."""
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # the process has just ended
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        family = [self.pid]
        for member in family:
            family += [child for child, parent in parents.items() if parent == member]
        return family

    def connect(self, path: str) -> socket.socket:
        """Return an open WebSocket; wait up to 20 seconds for the server to start."""
        deadline = monotonic() + 20
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
                break
            except ConnectionRefusedError:
                if monotonic() > deadline:
                    raise
                sleep(0.05)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        response = b""
        while not response.endswith(b"\r\n\r\n"):
            response += _receive(connection, 1)
        if b" 101 " not in response.partition(b"\r\n")[0]:
            raise AssertionError(f"the server responded with {response!r}")
        return connection

    def processor_time(self) -> int:
        """Return the processor time of all its threads, including ended ones, in nanoseconds."""
        return sum(clock_gettime_ns(~pid << 3 | 2) for pid in self.family)  # as clock_getcpuclockid(3)


def _compare(running: Mapping[str, _Running], load: Load, effort: Effort) -> dict[str, float]:
    """Measure servers in turns; return the nanoseconds per message of the best turn of each."""
    message = payload(load.size)
    sent = frame(BINARY, message, KEY)
    echo = frame(BINARY, message)
    repeat = 1 + int(effort.seconds * (1e5 if load.count else 5e5 / load.connections / load.in_flight))
    best: dict[str, float] = {}
    with ExitStack() as stack:
        path = "/sink" if load.count else "/echo"
        connections = {
            name: [stack.enter_context(server.connect(path)) for _ in range(load.connections)]
            for name, server in running.items()
        }
        for _ in range(1 + effort.turns // 4):
            for name, sockets in connections.items():
                start = running[name].processor_time()
                if load.count:
                    count = _burst(sockets[0], sent, load.count, repeat)
                else:
                    count = _echo(sockets, sent, echo, load.in_flight, repeat, checked=name != FLOOR)
                elapsed = (running[name].processor_time() - start) / count
                best[name] = min(elapsed, best.get(name, elapsed))
    return best


def _echo(sockets: list[socket.socket], sent: bytes, echo: bytes, in_flight: int, repeat: int, *, checked: bool) -> int:
    sent, echo = sent * in_flight, echo * in_flight
    for _ in range(repeat):
        for sock in sockets:
            sock.sendall(sent)
        for sock in sockets:
            if _receive(sock, len(echo)) != echo and checked:
                raise AssertionError("the server returned another message")
    return repeat * len(sockets) * in_flight


def _burst(sock: socket.socket, sent: bytes, count: int, repeat: int) -> int:
    before = _query_count(sock)
    for _ in range(repeat):
        sock.sendall(sent * count)
    if _query_count(sock) - before != repeat * count:
        raise AssertionError("the server lost messages")
    return repeat * count


def _query_count(sock: socket.socket) -> int:
    """Wait until the server has received all messages; return their number."""
    sock.sendall(COUNT_QUERY_FRAME)
    head = _receive(sock, 2)
    _, reply = unframe(head + _receive(sock, head[1]))
    return int(reply)


def _receive(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise AssertionError("the server has closed the connection")
        data += chunk
    return bytes(data)
