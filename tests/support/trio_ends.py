"""Both ends of a connection on trio, over sockets or in memory: servers, and raw peers."""

import functools
import logging
import math
from contextlib import asynccontextmanager

import trio
import trio.testing
from ends import client_side, server_side
from frames import REQUEST, to

import framewire
import framewire.trio
from framewire import CLIENT, SERVER, Stream
from framewire.handshake import accept_key
from framewire.session.settings import ConnectionSettings

#: Settings of a connection without timers.
QUIET = {"ping_interval": None}


def on_trio(test=None, *, autojump=False):
    """Run an async test on trio, for at most 30 seconds; fail it if tasks are left.

    Args:
        test: The test.
        autojump: Whether the clock jumps to the next deadline whenever all tasks wait.
    """
    if test is None:
        return functools.partial(on_trio, autojump=autojump)

    async def finish(main):
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.fail_after(math.inf if autojump else 30):
            await main()
        assert trio.lowlevel.current_statistics().tasks_living == before

    @functools.wraps(test)
    def run(*args, **kwargs):
        clock = trio.testing.MockClock(autojump_threshold=0) if autojump else None
        trio.run(finish, functools.partial(test, *args, **kwargs), clock=clock)

    return run


async def echo(ws):
    async for message in ws:
        await ws.send(message)


@asynccontextmanager
async def serving(handler=echo, *, tls=False, serve=framewire.trio.serve, **options):
    """Run a server of framewire or of another module; give (server, URI)."""
    if tls:
        options["ssl"] = server_side()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(serve, handler, 0, host="127.0.0.1", **options))
        async with server:
            yield server, f"{'wss' if tls else 'ws'}://127.0.0.1:{port_of(server)}/path"


def port_of(server):
    return server.listeners[0].socket.getsockname()[1]


def connect(uri, **options):
    if uri.startswith("wss"):
        options.setdefault("ssl", client_side())
    return framewire.trio.connect(uri, **{"proxy": None, **options})


class Peer:
    """The peer of a connection of `role`, on a stream of bytes."""

    def __init__(self, stream, role, unread=b""):
        self.stream = stream
        self.role = role
        self._decoder = Stream(CLIENT if role is SERVER else SERVER, max_message_size=None, auto_close=False)
        self._events = self._decoder.receive(unread)

    def frame(self, first_byte, payload=b""):
        return to(self.role, first_byte, payload)

    async def send(self, *frames):
        await self.stream.send_all(b"".join(frames))

    async def read_event(self):
        """Return the next event that the connection sends; raise EOFError after the last one."""
        while not self._events:
            data = await self.stream.receive_some(1 << 16)
            if not data:
                raise EOFError
            self._events += self._decoder.receive(data)
        return self._events.pop(0)

    async def read_to_end(self):
        """Return all events until the end of TCP."""
        events = []
        try:
            while True:
                events.append(await self.read_event())
        except EOFError:
            return events


@asynccontextmanager
async def raw(server):
    """Connect a raw client, and complete its opening handshake."""
    stream = await trio.open_tcp_stream("127.0.0.1", port_of(server))
    async with stream:
        await stream.send_all(REQUEST)
        head, unread = await read_head(stream)
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield Peer(stream, SERVER, unread)


async def read_head(stream):
    """Read a head; return it and the bytes after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = await stream.receive_some(1 << 16)
        assert chunk, data
        data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


@asynccontextmanager
async def in_memory(role, pair=trio.testing.memory_stream_pair, codecs=(), **settings):
    """Give a connection of framewire on a stream in memory, and its peer, which has no codecs."""
    ours, theirs = pair()
    async with trio.open_nursery() as nursery:
        logger = logging.getLogger("framewire.test")
        connection = framewire.trio.Connection(nursery, ours, role, ConnectionSettings(**{**QUIET, **settings}), logger)
        connection.begin(b"", [*codecs])
        yield connection, Peer(theirs, role)
        connection._driver.scope.cancel()


async def accept(stream, *lines):
    """Answer the opening handshake of a client, with header lines; give its peer."""
    head, rest = await read_head(stream)
    key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_key(key.split()[1]) + b"\r\n" + b"".join(lines) + b"\r\n"
    )
    return Peer(stream, CLIENT, rest)
