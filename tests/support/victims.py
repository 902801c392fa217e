"""Victims of hostile peers: a `Stream` of either role, `serve`, uvicorn, and `connect`.

    async with attack(limit=1 << 20, deflate=False) as victim:
        await victim.send(bytes)  # to the victim, after the opening handshake
        await victim.hear(2)      # return the next two events that it sends
        await victim.end()        # return the events that it sends until it closes the connection
        victim.delivered          # the messages that its application received

`limit` is the size of a message in bytes, `deflate` negotiates permessage-deflate, `echo` makes a
server echo.
"""

import asyncio
import contextlib
import functools
from contextlib import asynccontextmanager

import pytest
import uvicorn
from frames import CLOSE, explained, to
from frames import REQUEST as WHOLE_REQUEST

from framewire import CLIENT, SERVER, Close, State, Stream
from framewire.adapters.uvicorn import WebSocketProtocol
from framewire.asyncio import connect, serve
from framewire.errors import ConnectionClosed
from framewire.handshake import accept_key
from framewire.protocol.permessage_deflate import Deflate

#: The request without its final empty line, so that headers can be added.
REQUEST = WHOLE_REQUEST.removesuffix(b"\r\n")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"

#: Seconds within which a victim must end a failed connection; its timeouts are longer.
PATIENCE = 5


class Victim:
    """A connection to a victim whose role is `role`."""

    def __init__(self, role, reader=None, writer=None):
        self.role, self.reader, self.writer = role, reader, writer
        self.delivered = []
        self.parser = Stream(CLIENT if role is SERVER else SERVER, max_message_size=None, auto_close=False)

    def frame(self, first, payload=b"", form=None):
        """Build a frame as this victim expects it from its peer."""
        return to(self.role, first, payload, form=form)

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self, count=1):
        events = []
        while len(events) < count:
            data = await asyncio.wait_for(self.reader.read(65536), PATIENCE)
            assert data, f"the connection has ended after {events}"
            events += self.parser.receive(data)
        return events

    async def end(self):
        events = []
        while data := await asyncio.wait_for(self.reader.read(65536), PATIENCE):
            events += self.parser.receive(data)
            if self.role is CLIENT and events and isinstance(events[-1], Close):
                self.writer.write_eof()  # a client waits for its server to end TCP (7.1.1)
        return events


class StreamVictim(Victim):
    """A stream without a connection; up to 1,000 bytes are fed to it in single bytes."""

    def __init__(self, role, stream):
        super().__init__(role)
        self.stream, self.said = stream, b""

    async def send(self, data):
        step = 1 if len(data) <= 1000 else len(data)
        for start in range(0, len(data), step):
            events = self.stream.receive(data[start : start + step])
            self.delivered += [event for event in events if isinstance(event, str | bytes)]
            self.said += self.stream.pending()

    async def hear(self, count=1):
        events, self.said = self.parser.receive(self.said), b""
        assert len(events) == count
        return events

    async def end(self):
        assert self.stream.state is not State.OPEN
        return self.parser.receive(self.said)


@asynccontextmanager
async def stream(role, limit=1 << 20, deflate=False):
    extensions = [Deflate()] if deflate else []
    yield StreamVictim(role, Stream(role, max_message_size=limit, extensions=extensions))


@asynccontextmanager
async def upgraded(port, deflate=False):
    """Connect to the victim that serves at `port`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    writer.write(REQUEST + (DEFLATE if deflate else b"") + b"\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert (b"permessage-deflate" in head) is deflate, head
    try:
        yield Victim(SERVER, reader, writer)
    finally:
        writer.transport.abort()


async def use(connection, delivered, echo=False):
    """Run the application of framewire's own server or client."""
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            if echo:
                await connection.send(message)
            else:
                delivered.append(message)


@asynccontextmanager
async def serving(limit=1 << 20, deflate=False, echo=False, **options):
    """Run `serve`; give its port and the list of messages that its application received."""
    delivered = []
    options = {"compression": "deflate" if deflate else None, "max_size": limit, "close_timeout": 0.5, **options}
    async with serve(lambda connection: use(connection, delivered, echo), "127.0.0.1", 0, **options) as server:
        yield server.sockets[0].getsockname()[1], delivered


class Impatient(WebSocketProtocol):
    close_timeout = 0.5


@asynccontextmanager
async def serving_uvicorn(limit=1 << 20, deflate=False, echo=False, **options):
    """Run uvicorn; give its port and the list of messages that its application received."""
    delivered = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            message = event.get("text", event.get("bytes"))
            if echo:
                await send({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})
            else:
                delivered.append(message)

    config = uvicorn.Config(
        application, port=0, ws=Impatient, ws_max_size=limit, ws_per_message_deflate=deflate, lifespan="off",
        log_level="critical", timeout_graceful_shutdown=1, **options,
    )  # fmt: skip
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server.servers[0].sockets[0].getsockname()[1], delivered
        while server.server_state.connections:
            await asyncio.sleep(0.001)
    finally:
        await server.shutdown()


def server_victim(serving):
    @asynccontextmanager
    async def victim(limit=1 << 20, deflate=False):
        async with serving(limit, deflate) as (port, delivered), upgraded(port, deflate) as victim:
            victim.delivered = delivered
            yield victim

    return victim


@asynccontextmanager
async def answering(rest, connected=None, start=SWITCH):
    """Run a server that answers with `start`, the right accept key, and `rest`; give its URI.

    `connected`, a future, gets the connection's reader and writer.
    """
    writers = []

    async def answer(reader, writer):
        writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        writer.write(start + b"Sec-WebSocket-Accept: " + accept_key(key.split()[1]) + b"\r\n" + rest)
        if connected is not None:
            connected.set_result((reader, writer))

    async with await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 24) as server:
        try:
            yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        finally:
            for writer in writers:
                writer.transport.abort()


@asynccontextmanager
async def client(limit=1 << 20, deflate=False):
    connected = asyncio.get_running_loop().create_future()
    async with answering((DEFLATE if deflate else b"") + b"\r\n", connected) as uri:
        options = {"compression": "deflate" if deflate else None, "max_size": limit, "close_timeout": 0.5}
        connection = await connect(uri, proxy=None, **options)
        victim = Victim(CLIENT, *await connected)
        application = asyncio.create_task(use(connection, victim.delivered))
        yield victim
    await application
    await connection.close()


STREAMS = {
    "stream of a server": functools.partial(stream, SERVER),
    "stream of a client": functools.partial(stream, CLIENT),
}
DRIVERS = {"serve": server_victim(serving), "uvicorn": server_victim(serving_uvicorn), "client": client}

_streams = [pytest.param(make, id=name, marks=pytest.mark.both_backends) for name, make in STREAMS.items()]
_drivers = [pytest.param(make, id=name) for name, make in DRIVERS.items()]

#: For rules of the protocol: a stream of either role, on both backends.
each_stream = pytest.mark.parametrize("attack", _streams)
#: For attacks on memory, time and the end of a connection: the drivers as well.
each_victim = pytest.mark.parametrize("attack", [*_streams, *_drivers])
each_server = pytest.mark.parametrize("server", [serving, serving_uvicorn], ids=["serve", "uvicorn"])


async def refused(attack, code, make, delivered=(), **options):
    """Send the bytes of `make`; check that the victim delivers messages and fails with `code`."""
    async with attack(**options) as victim:
        await victim.send(make(victim))
        assert await victim.end() == [explained(code)]
        assert victim.delivered == list(delivered)


async def taken(attack, make, delivered, heard=(), **options):
    """Send the bytes of `make`; check that the victim delivers `delivered` and sends `heard`."""
    async with attack(**options) as victim:
        await victim.send(make(victim) + victim.frame(CLOSE, b"\x03\xe8"))
        assert await victim.end() == [*heard, Close(1000, "")]
        assert victim.delivered == list(delivered)
