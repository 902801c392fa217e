"""Connections of framewire whose peer is a raw socket or stream, made with the public API alone.

The peer's suite tests its `Connection` on a pair of sockets without an opening handshake. Here the
far end makes the handshake by hand, so that the connection under test is one as users have it, and
its peer is at the first frame.
"""

import asyncio
import importlib
import re
import socket
import ssl
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT
from websockets.utils import accept_key

URI = "ws://localhost/"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
#: Options of connections that the raw ones of the peer's suite do not have by default.
DEFAULTS = {"compression": None, "ping_interval": None, "max_size": None}
#: Options of the connections that `reopen` makes.
OPTIONS = {}


def import_each(module, *names):
    """Return names of a module of framewire; one that it lacks is a function that raises
    ImportError when called.
    """

    def lack(error):
        def raise_it(*args, **kwargs):
            raise error

        return raise_it

    found = []
    for name in names:
        try:
            found.append(getattr(importlib.import_module(module), name))
        except (AttributeError, ModuleNotFoundError) as error:
            found.append(lack(error))
    return found


def answer(request):
    """Return the response of a server to the request of a client."""
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)[1].decode()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_key(key).encode()
    )


def is_secure(server, depth=2):
    """Return whether a server of either library holds a TLS context, which neither makes public."""
    parts = [*getattr(server, "__dict__", {}).values(), getattr(server, "_ssl_context", None)]
    for cell in getattr(server, "__closure__", None) or ():
        with suppress(ValueError):  # an empty cell
            parts.append(cell.cell_contents)
    return any(isinstance(part, (ssl.SSLContext, ssl.SSLSocket)) for part in parts) or (
        depth > 0 and any(is_secure(part, depth - 1) for part in parts if not isinstance(part, type))
    )


class Pair:
    """The near end, for `Connection`; it knows the far end, which is a socket."""

    def __init__(self, side):
        self.side = side
        if side is CLIENT:
            self.near, self.far = socket.socketpair()
        else:
            self.folder = tempfile.TemporaryDirectory()
            path = str(Path(self.folder.name) / "socket")
            self.near = socket.socket(socket.AF_UNIX)
            self.near.bind(path)
            self.near.listen()
            self.far = socket.socket(socket.AF_UNIX)
            self.far.connect(path)


def socketpair(side):
    """Return both ends, in place of `socket.socketpair()`."""
    pair = Pair(side)
    return pair, pair.far


def read_head(sock):
    """Read an HTTP head, and nothing after it, from a blocking socket."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = sock.recv(1)
        if not data:
            raise EOFError(head)
        head += data
    return head


class Ping:
    """Equal to every ping frame: the random payload of a ping is not that of the peer's suite."""

    def __eq__(self, other):
        return isinstance(other, Frame) and other.opcode is Opcode.PING

    __hash__ = None


def extensions(connection):
    """Return the extensions of a connection as instances of the peer's class, in place of
    `protocol.extensions`.
    """
    names = connection.response.headers.get("Sec-WebSocket-Extensions", "")
    return [object.__new__(PerMessageDeflate)] if names.startswith("permessage-deflate") else []


async def reopen(test, **options):
    """Give a test of asyncio or trio a new connection with other options."""
    OPTIONS.update(options)
    try:
        await test.asyncTearDown()
        await test.asyncSetUp()
    finally:
        OPTIONS.clear()


def reopen_sync(test, **options):
    """Give a test of threads a new connection with other options."""
    OPTIONS.update(options)
    try:
        test.tearDown()
        test.setUp()
    finally:
        OPTIONS.clear()


class AsyncioConnection:
    """A connection to be made by `create_connection`."""

    def __init__(self, protocol, **options):
        self.options = {**DEFAULTS, **OPTIONS, **options}


async def _wait(awaitable):
    return await awaitable


async def create_connection(loop, factory, *, sock):
    """Open a connection of framewire, or one of websockets, in place of
    `loop.create_connection`.
    """
    made = factory()
    if not isinstance(made, AsyncioConnection):
        return await loop.create_connection(lambda: made, sock=sock)
    from framewire.asyncio import connect, serve

    far = sock.far
    if sock.side is CLIENT:
        opening = asyncio.ensure_future(_wait(connect(URI, sock=sock.near, proxy=None, **made.options)))
        request = await asyncio.to_thread(read_head, far)
        far.sendall(answer(request))
        connection = await opening
    else:
        opened = loop.create_future()

        async def handler(connection):
            opened.set_result(connection)
            await connection.wait_closed()

        server = await serve(handler, sock=sock.near, **made.options)
        far.sendall(REQUEST)
        await asyncio.to_thread(read_head, far)
        connection = await opened
        server.close(close_connections=False)
    far.setblocking(False)
    return connection.transport, connection


def sync_connection(pair, protocol, **options):
    """Open a connection of framewire in place of `websockets.sync.connection.Connection`."""
    from framewire.sync import connect, serve

    far, options = pair.far, {**DEFAULTS, **OPTIONS, **options}
    if pair.side is CLIENT:
        thread = threading.Thread(target=lambda: far.sendall(answer(read_head(far))), daemon=True)
        thread.start()
        connection = connect(URI, sock=pair.near, proxy=None, **options)
        thread.join()
        return connection
    opened, made = threading.Event(), []

    def handler(connection):
        made.append(connection)
        opened.set()
        while connection.state.name != "CLOSED":
            if ended.wait(0.05):
                return

    ended = threading.Event()
    server = serve(handler, sock=pair.near, **options)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    far.sendall(REQUEST)
    read_head(far)
    opened.wait()
    return made[0]


def stream_pair(side):
    """Return both ends, in place of `trio.testing.memory_stream_pair()`."""
    import trio.testing

    near, far = trio.testing.memory_stream_pair()
    near.side, near.far = side, far
    return near, far


async def trio_connection(nursery, near, protocol, **options):
    """Open a connection of framewire in place of `websockets.trio.connection.Connection`."""
    import trio

    connect, serve = import_each("framewire.trio", "connect", "serve")
    options = {**DEFAULTS, **OPTIONS, **options}
    made = []

    async def receive_head():
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await near.far.receive_some(1)
        return head

    opened = trio.Event()
    if near.side is CLIENT:

        async def client():
            async with connect(URI, stream=near, proxy=None, **options) as connection:
                made.append(connection)
                opened.set()
                await connection.wait_closed()

        nursery.start_soon(client)
        await near.far.send_all(answer(await receive_head()))
    else:

        class Listener(trio.abc.Listener):
            socket = near.far  # it has no address
            taken = False

            async def accept(self):
                if self.taken:
                    await trio.sleep_forever()
                self.taken = True
                return near

            async def aclose(self):
                pass

        async def handler(connection):
            made.append(connection)
            opened.set()
            await connection.wait_closed()
            scope.cancel()

        async def server():
            with scope:
                await serve(handler, listeners=[Listener()], **options)

        scope = trio.CancelScope()
        near.far.getsockname = str
        nursery.start_soon(server)
        await near.far.send_all(REQUEST)
        await receive_head()
    await opened.wait()
    return made[0]
