"""One table of drivers, so that one test states the outcome of a situation for all of them.

    @every_driver()
    def test_text_that_is_not_utf8_ends_with_1007(driver):
        with driver.open(receive_all) as peer:
            peer.send(peer.frame(TEXT, b"\xff"))
            assert peer.read_to_end() == [explained(1007)]
            assert peer.record.code == 1007

A script is the application of a connection: a generator function that yields operations (`recv()`,
`send(message)`, ...). The result or exception of each operation comes from its `yield`.
`driver.open` runs the script at one end of a connection and gives the other end as bytes;
`driver.serve` runs it for each connection to a server.

To add a driver: a class of operations for its connections (`AsyncioOperations` shows all), a
`Driver`, its line in `DRIVERS`.
"""

import asyncio
import contextlib
import functools
import select
import socket
import ssl
import struct
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import trio
from backends import needed
from ends import client_side, server_side
from frames import REQUEST, to
from sync_ends import on_loop_of_thread, until

import framewire.asyncio
import framewire.sync
import framewire.trio
from framewire import CLIENT, SERVER, State, Stream
from framewire.extensions import Deflate
from framewire.handshake import accept_key

#: Seconds after which a waiting test fails.
PATIENCE = 10

# Operations of a script. Not every driver has all: an ASGI application receives and sends whole
# messages only.


def recv(timeout=None):
    """Receive a message; `timeout` is in seconds."""
    return "recv", timeout


def recv_pieces(decode=None):
    """Receive the pieces of one message, as a list."""
    return "recv_pieces", decode


def send(message):
    """Send a message; an iterable is sent as fragments."""
    return "send", message


def close(code=1000, reason=""):
    """Close the connection."""
    return "close", code, reason


def ping(payload):
    """Send a ping and wait for its pong; the result is the latency in seconds."""
    return "ping", payload


def hold():
    """Do nothing until the test calls `record.release()`, or ends."""
    return ("hold",)


# Scripts that many tests use.


def echo():
    """Send back each message."""
    while True:
        yield send((yield recv()))


def receive_all():
    """Receive until the connection ends; the messages are in the record."""
    while True:
        yield recv()


def receive_nothing():
    """Hold the connection without receiving."""
    yield hold()


def send_bytes(size):
    """Return a script that sends a binary message of `size` bytes, then receives until the end."""

    def script():
        yield send(bytes(size))
        yield from receive_all()

    return script


def send_pieces(*pieces):
    """Return a script that sends a message in fragments, then receives until the end."""

    def script():
        yield send(pieces)
        yield from receive_all()

    return script


class Record:
    """The messages that one script received, and how its connection ended."""

    def __init__(self):
        self.messages = []
        #: The exception that ended the script, None if it returned.
        self.exception = None
        self.released = threading.Event()
        self._ended = threading.Event()
        self._connection = None

    def release(self):
        """Let the script go on after `hold()`."""
        self.released.set()

    def end(self):
        """Wait until the script has ended; return the exception that ended it, or None."""
        assert self._ended.wait(PATIENCE), "the script goes on"
        return self.exception

    @property
    def code(self):
        """The close code that the application sees, once the connection has ended."""
        until(lambda: self._connection is not None and self._connection.close_code is not None)
        return self._connection.close_code

    @property
    def reason(self):
        """The close reason that the application sees, once the connection has ended."""
        assert self.code is not None
        return self._connection.close_reason

    @property
    def counts(self):
        """The numbers of messages and pings that the connection has received."""
        return self._connection.messages_received, self._connection.pings_received

    def begin(self, connection):
        self._connection = connection

    def finish(self):
        self._ended.set()


async def run_script(script, operations, record):
    """Run a script on a connection, one operation after the other."""
    record.begin(operations.connection)
    generator = script()
    step, argument = generator.send, None
    try:
        while True:
            name, *arguments = step(argument)
            try:
                step, argument = generator.send, await getattr(operations, name)(*arguments)
            except Exception as error:
                step, argument = generator.throw, error
    except StopIteration:
        pass
    except Exception as error:
        record.exception = error
    finally:
        record.finish()


def run_blocking(script, operations, record):
    """Like `run_script`, for operations whose coroutines block and never suspend."""
    with contextlib.suppress(StopIteration):
        run_script(script, operations, record).send(None)


class SyncOperations:
    """Operations on a connection of `framewire.sync`, for `run_blocking`."""

    def __init__(self, connection, record):
        self.connection = connection
        self.record = record

    async def recv(self, timeout):
        self.record.messages.append(self.connection.recv(timeout))
        return self.record.messages[-1]

    async def recv_pieces(self, decode):
        return list(self.connection.recv_streaming(decode))

    async def send(self, message):
        self.connection.send(message)

    async def close(self, code, reason):
        self.connection.close(code, reason)

    async def ping(self, payload):
        ping = self.connection.ping(payload)
        assert ping.wait(PATIENCE)
        return self.connection.latency

    async def hold(self):
        assert self.record.released.wait(3 * PATIENCE)


class AsyncioOperations:
    """Operations on a connection of `framewire.asyncio`."""

    def __init__(self, connection, record):
        self.connection = connection
        self.record = record

    async def recv(self, timeout):
        self.record.messages.append(await asyncio.wait_for(self.connection.recv(), timeout))
        return self.record.messages[-1]

    async def recv_pieces(self, decode):
        return [piece async for piece in self.connection.recv_streaming(decode)]

    async def send(self, message):
        await self.connection.send(message)

    async def close(self, code, reason):
        await self.connection.close(code, reason)

    async def ping(self, payload):
        return await (await self.connection.ping(payload))

    async def hold(self):
        while not self.record.released.is_set():
            await asyncio.sleep(0.005)


class TrioOperations:
    """Operations on a connection of `framewire.trio`."""

    def __init__(self, connection, record):
        self.connection = connection
        self.record = record

    async def recv(self, timeout):
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            self.record.messages.append(await self.connection.recv())
            return self.record.messages[-1]
        raise TimeoutError

    async def recv_pieces(self, decode):
        return [piece async for piece in self.connection.recv_streaming(decode)]

    async def send(self, message):
        await self.connection.send(message)

    async def close(self, code, reason):
        await self.connection.aclose(code, reason)

    async def ping(self, payload):
        await (await self.connection.ping(payload)).wait()
        return self.connection.latency

    async def hold(self):
        while not self.record.released.is_set():
            await trio.sleep(0.005)


class AsgiDisconnectedError(Exception):
    """An ASGI application received `websocket.disconnect`."""


class AsgiConnection:
    """The connection of an ASGI application, with the methods of framewire's own connections."""

    def __init__(self, receive, send, protocol):
        self._receive, self._send = receive, send
        self._protocol = protocol
        self.close_code = self.close_reason = None

    @property
    def messages_received(self):
        return self._protocol.session.stream.messages_received

    @property
    def pings_received(self):
        return self._protocol.session.pings_received

    async def recv(self):
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            self.close_code, self.close_reason = event["code"], event.get("reason", "")
            raise AsgiDisconnectedError(self.close_code, self.close_reason)
        return event["text"] if event.get("text") is not None else event["bytes"]

    async def send(self, message):
        await self._send({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})

    async def close(self, code, reason):
        await self._send({"type": "websocket.close", "code": code, "reason": reason})


class Peer:
    """The other end of a connection, as bytes; `role` is the role of the driver that is tested."""

    def __init__(self, sock, role, unread=b"", codecs=()):
        self.socket = sock
        self.role = role
        self.record = None
        side = CLIENT if role is SERVER else SERVER
        self._stream = Stream(side, max_message_size=None, auto_close=False, extensions=codecs)
        self._events = self._stream.receive(unread)

    def frame(self, first_byte, payload=b"", form=None):
        """Build a frame as the driver expects it: masked for a server."""
        return to(self.role, first_byte, payload, form=form)

    def send(self, *frames):
        self.socket.sendall(b"".join(frames))

    def read_event(self, timeout=PATIENCE):
        """Return the next event that the driver sends; raise EOFError after the last one."""
        self.socket.settimeout(timeout)
        while not self._events:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self._events += self._stream.receive(data)
        return self._events.pop(0)

    def wait_for_input(self):
        """Wait until something has arrived, without reading it."""
        assert select.select([self.socket], [], [], PATIENCE)[0]

    def read_some(self, size):
        """Read at most `size` bytes, whether they complete an event or not."""
        self.socket.settimeout(PATIENCE)
        self._events += self._stream.receive(self.socket.recv(size))

    def read_to_end(self, timeout=PATIENCE):
        """Return all events until the end of TCP, which the server ends first (RFC 6455 7.1.1)."""
        events = []
        with contextlib.suppress(EOFError):
            while True:
                if self.role is CLIENT and self._stream.state is not State.OPEN and not self._events:
                    self.end_output()
                events.append(self.read_event(timeout))
        return events

    def end_output(self):
        """End this direction of TCP; with TLS, which has no half-closed state, the connection."""
        if isinstance(self.socket, ssl.SSLSocket):
            self.socket.close()
            raise EOFError
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """Cut TCP with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Served:
    """A running server; `records` grows by one for each connection."""

    def __init__(self, port, tls, records):
        self.port, self.tls, self.records = port, tls, records

    def _open_socket(self):
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        return client_side().wrap_socket(sock, server_hostname="127.0.0.1") if self.tls else sock

    def answer(self, request):
        """The whole answer to a request that opens no WebSocket."""
        with self._open_socket() as sock:
            sock.sendall(request)
            answer = b""
            while chunk := sock.recv(1 << 16):
                answer += chunk
            return answer

    @contextmanager
    def connection(self, *early, compression=False):
        """A connection of bytes after its opening handshake; its `record` is set.

        Args:
            early: Frames, as first byte and payload, to send in one segment with the request.
            compression: Whether to receive compressed messages.
        """
        offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n" if compression else b""
        count = len(self.records)
        sock = self._open_socket()
        try:
            frames = b"".join([to(SERVER, *each) for each in early])
            sock.sendall(REQUEST.removesuffix(b"\r\n") + offer + b"\r\n" + frames)
            head, unread = read_head(sock)
            assert head.startswith(b"HTTP/1.1 101 "), head
            peer = Peer(sock, SERVER, unread, [Deflate()] if compression else ())
            until(lambda: len(self.records) > count)
            peer.record = self.records[count]
            yield peer
        finally:
            sock.close()

    def connect(self, **options):
        """A client of `framewire.sync`."""
        if self.tls:
            options["ssl"] = client_side()
        return framewire.sync.connect(f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}/", proxy=None, **options)


def read_head(sock):
    """Read a head; return it and the bytes after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = sock.recv(1 << 16)
        assert chunk, data
        data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


class Driver:
    """A server of one driver, with or without TLS."""

    role = SERVER

    def __init__(self, name, serving, tls=False):
        self.name = name
        self._serving = serving
        self.tls = tls
        #: What operations of a script raise after the end of the connection.
        self.closed = OSError if name == "uvicorn" else framewire.ConnectionClosed

    def __str__(self):
        return f"{self.name} tls" if self.tls else self.name

    @contextmanager
    def serve(self, script, **settings):
        """Run a server whose connections run `script`.

        The settings have the names of `framewire.asyncio.serve`.
        """
        records = []

        def new_record():
            records.append(Record())
            return records[-1]

        if self.tls:
            settings["ssl"] = server_side()
        with self._serving(script, new_record, settings) as port:
            try:
                yield Served(port, self.tls, records)
            finally:
                for record in records:
                    record.release()

    @contextmanager
    def open(self, script, **settings):
        """Run `script` on one connection, and give the other end of it."""
        with self.serve(script, **settings) as server, server.connection() as peer:
            yield peer


class ClientDriver(Driver):
    """A client of one driver, connected to a server of bytes."""

    role = CLIENT

    serve = None

    @contextmanager
    def open(self, script, **settings):
        record = Record()
        with socket.create_server(("127.0.0.1", 0)) as listening_socket:
            listening_socket.settimeout(PATIENCE)
            uri = f"{'wss' if self.tls else 'ws'}://127.0.0.1:{listening_socket.getsockname()[1]}/"
            if self.tls:
                settings["ssl"] = client_side()
            thread = threading.Thread(target=self._serving, args=(uri, script, record, settings))
            thread.start()
            sock, _ = listening_socket.accept()
            try:
                if self.tls:
                    sock = server_side().wrap_socket(sock, server_side=True)
                head, unread = read_head(sock)
                key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
                sock.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: " + accept_key(key.split()[1]) + b"\r\n\r\n"
                )
                peer = Peer(sock, CLIENT, unread)
                peer.record = record
                yield peer
            finally:
                record.release()
                sock.close()
                thread.join()


# The drivers.


def new_asyncio_loop():
    return asyncio.new_event_loop()


def new_uvloop_loop():
    return needed("uvloop").new_event_loop()


@contextmanager
def serving_asyncio(new_loop, script, new_record, settings):
    async def handler(connection):
        record = new_record()
        await run_script(script, AsyncioOperations(connection, record), record)

    with on_loop_of_thread(lambda: framewire.asyncio.serve(handler, "127.0.0.1", 0, **settings), new_loop) as server:
        yield server.sockets[0].getsockname()[1]


@contextmanager
def serving_sync(script, new_record, settings):
    def handler(connection):
        record = new_record()
        run_blocking(script, SyncOperations(connection, record), record)

    with framewire.sync.serve(handler, "127.0.0.1", **settings) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
    thread.join()


@contextmanager
def trio_server_of_thread(serve):
    """Run the server that `nursery.start(serve)` starts in a thread; give the server."""
    started, stopped = Future(), threading.Event()

    async def main():
        async with trio.open_nursery() as nursery, await nursery.start(serve) as server:
            started.set_result(server)
            while not stopped.is_set():
                await trio.sleep(0.005)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(trio.run, main)
        running.add_done_callback(
            lambda done: done.exception() and not started.done() and started.set_exception(done.exception())
        )
        try:
            yield started.result(PATIENCE)
        finally:
            stopped.set()
        running.result()


@contextmanager
def serving_trio(script, new_record, settings):
    async def handler(connection):
        record = new_record()
        await run_script(script, TrioOperations(connection, record), record)

    serve = functools.partial(framewire.trio.serve, handler, 0, host="127.0.0.1", **settings)
    with trio_server_of_thread(serve) as server:
        yield server.listeners[0].socket.getsockname()[1]


#: uvicorn's names of settings.
UVICORN_SETTINGS = {
    "max_size": "ws_max_size",
    "max_queue": "ws_max_queue",
    "ping_interval": "ws_ping_interval",
    "ping_timeout": "ws_ping_timeout",
}

#: Settings that are attributes of the protocol class.
UVICORN_ATTRIBUTES = {"close_timeout", "send_close_reasons"}


@contextlib.asynccontextmanager
async def uvicorn_server(application, made, settings):
    """Run uvicorn with framewire's protocol class, append the protocols to `made`; give the
    port.
    """
    import uvicorn
    from ends import CERTIFICATE

    from framewire.adapters.uvicorn import WebSocketProtocol

    attributes = {name: value for name, value in settings.items() if name in UVICORN_ATTRIBUTES}
    options = {UVICORN_SETTINGS[name]: value for name, value in settings.items() if name in UVICORN_SETTINGS}
    options["ws_per_message_deflate"] = settings.get("compression", "deflate") is not None
    if "ssl" in settings:
        options["ssl_certfile"] = CERTIFICATE
    unknown = settings.keys() - UVICORN_SETTINGS - UVICORN_ATTRIBUTES - {"compression", "ssl"}
    assert not unknown, f"uvicorn has no setting for {unknown}"

    class Protocol(WebSocketProtocol):
        def connection_made(self, transport):
            made.append(self)
            super().connection_made(transport)

    for name, value in attributes.items():
        setattr(Protocol, name, value)
    config = uvicorn.Config(
        application, port=0, ws=Protocol, lifespan="off", log_config=None, timeout_graceful_shutdown=1, **options
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


@contextmanager
def serving_uvicorn(script, new_record, settings):
    needed("uvicorn")

    async def application(scope, receive, send):
        connection = AsgiConnection(receive, send, made.pop(0))  # the application starts in the order of the requests
        await receive()
        await send({"type": "websocket.accept"})
        record = new_record()
        await run_script(script, AsyncioOperations(connection, record), record)

    made = []
    with on_loop_of_thread(lambda: uvicorn_server(application, made, settings), new_asyncio_loop) as port:
        yield port


def connect_asyncio(new_loop, uri, script, record, settings):
    async def main():
        async with framewire.asyncio.connect(uri, proxy=None, **settings) as connection:
            await run_script(script, AsyncioOperations(connection, record), record)

    loop = new_loop()
    try:
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def connect_sync(uri, script, record, settings):
    with framewire.sync.connect(uri, proxy=None, **settings) as connection:
        run_blocking(script, SyncOperations(connection, record), record)


def connect_trio(uri, script, record, settings):
    async def main():
        async with framewire.trio.connect(uri, proxy=None, **settings) as connection:
            await run_script(script, TrioOperations(connection, record), record)

    trio.run(main)


SERVERS = {
    "asyncio": functools.partial(serving_asyncio, new_asyncio_loop),
    "uvloop": functools.partial(serving_asyncio, new_uvloop_loop),
    "sync": serving_sync,
    "trio": serving_trio,
    "uvicorn": serving_uvicorn,
}
CLIENTS = {
    "asyncio client": functools.partial(connect_asyncio, new_asyncio_loop),
    "uvloop client": functools.partial(connect_asyncio, new_uvloop_loop),
    "sync client": connect_sync,
    "trio client": connect_trio,
}


def every_driver(*, clients=False, tls=False, without=()):
    """Parametrize a test, or a module through `pytestmark`, with `driver`.

    Args:
        clients: Whether the situation concerns clients too; a client has `open` alone.
        tls: Whether each driver is tried with TLS too.
        without: Names of drivers to which the situation does not apply.
    """
    kinds = [(Driver, SERVERS), (ClientDriver, CLIENTS)] if clients else [(Driver, SERVERS)]
    drivers = [
        kind(name, how, secure)
        for kind, table in kinds
        for name, how in table.items()
        if name not in without
        for secure in ([False, True] if tls else [False])
    ]
    return pytest.mark.parametrize("driver", drivers, ids=str)
