"""The servers for `bench_asyncio`: `python -m benchmarks.servers NAME LOOP` prints its port.

Each server echoes binary messages. With `COUNT=1` in the environment it counts them instead, and
replies to the text "?" with their number; with `FAN=1` it sends each message to all connections. No
compression; other limits are the defaults. With `TLS=1` they serve TLS.
"""

import asyncio
import os
import socket
import ssl
import sys
from collections import deque
from functools import partial
from pathlib import Path

CERTIFICATE = Path(__file__).parent.parent / "tests" / "tls" / "localhost.pem"

COUNT, FAN = (os.environ.get(name) == "1" for name in ("COUNT", "FAN"))

TLS = None
if os.environ.get("TLS") == "1":
    TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    TLS.load_cert_chain(CERTIFICATE)


async def callback():
    from framewire.asyncio import Listener, serve

    class Echo(Listener):
        def on_message(self, connection, message):
            connection.send(message)

    class Counter(Listener):
        def on_open(self, connection):
            connection.count = 0

        def on_message(self, connection, message):
            if message == "?":
                connection.send(str(connection.count))
            else:
                connection.count += 1

    class Fan(Listener):
        def __init__(self):
            self.connections = []

        def on_open(self, connection):
            self.connections.append(connection)

        def on_message(self, connection, message):
            for receiver in self.connections:
                receiver.send(message)

    listener = Counter() if COUNT else Fan() if FAN else Echo()
    return await serve(listener, "127.0.0.1", 0, compression=None, max_size=1 << 24, ssl=TLS)


def handler_of(broadcast, connections):
    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async def counter(connection):
        count = 0
        async for message in connection:
            if message == "?":
                await connection.send(str(count))
            else:
                count += 1

    async def fan(connection):
        connections.add(connection)
        async for message in connection:
            broadcast(connections, message)

    return counter if COUNT else fan if FAN else echo


async def coroutine():
    from framewire.asyncio import broadcast, serve

    return await serve(handler_of(broadcast, set()), "127.0.0.1", 0, compression=None, max_size=1 << 24, ssl=TLS)


class Bare(asyncio.BufferedProtocol):
    """A connection that only moves bytes and calls a listener: the frames are those of a `Stream`.

    No limit, no timeout, no backpressure, no state, no log; the request is not checked.
    """

    buffer = memoryview(bytearray(1 << 16))

    def connection_made(self, transport):
        self.transport = transport
        self.stream = None
        self.output = []

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        if self.stream is None:
            self.open(bytes(self.buffer[:nbytes]))
            return
        events = self.stream.receive(self.buffer, nbytes)
        if events and type(events[-1]) is not bytes:
            self.transport.write(self.stream.pending())
            self.end()
        elif events:
            self.on_messages(events)

    def open(self, request):
        from framewire import SERVER, Stream
        from framewire.handshake import accept_key

        key = request.partition(b"Sec-WebSocket-Key: ")[2][:24]
        self.stream = Stream(SERVER, max_message_size=1 << 24)
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_key(key)
        )

    def end(self):
        self.transport.close()

    def on_messages(self, messages):
        for message in messages:
            self.on_message(self, message)
        self.flush()

    @staticmethod
    def on_message(connection, message):
        connection.send(message)

    def send(self, message):
        self.output.append(self.stream.send(message))

    def flush(self):
        self.transport.write(b"".join(self.output))
        self.output.clear()


class BareWithTask(Bare):
    """A connection like that, whose handler is a coroutine which waits for messages."""

    def open(self, request):
        super().open(request)
        self.messages = deque()
        self.waiter = None
        self.task = asyncio.get_running_loop().create_task(handler_of(None, None)(self))

    def on_messages(self, messages):
        self.messages += messages
        if self.waiter is not None:
            self.waiter.set_result(None)
            self.waiter = None

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.messages:
            self.flush()
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return self.messages.popleft()

    async def send(self, message):
        super().send(message)

    def connection_lost(self, error):
        if self.stream is not None:
            self.task.cancel()


class BareChecked(Bare):
    """A connection like that which checks the request, limits the time of both handshakes, and ends TCP in order."""

    def __init__(self, policy):
        self.policy = policy

    def connection_made(self, transport):
        super().connection_made(transport)
        self.limit_time()

    def limit_time(self):
        self.timer = asyncio.get_running_loop().call_later(10, self.transport.abort)

    def open(self, request):
        from framewire import SERVER, Stream

        handshake = self.policy.new_handshake()
        handshake.receive(request)
        self.policy.check(handshake)
        self.transport.write(handshake.answer(handshake.agree(headers=self.policy.headers())))
        self.timer.cancel()
        self.stream = Stream(SERVER, max_message_size=1 << 24)

    def end(self):
        self.transport.write_eof()  # the peer gets the close frame before it has to end TCP
        self.limit_time()

    def connection_lost(self, error):
        self.timer.cancel()


async def bare_callback():
    return await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0, ssl=TLS)


async def bare_checked():
    from framewire.http.server_policy import ServerPolicy

    make = partial(BareChecked, ServerPolicy())
    return await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=TLS)


async def bare_coroutine():
    return await asyncio.get_running_loop().create_server(BareWithTask, "127.0.0.1", 0, ssl=TLS)


async def websockets():
    from websockets.asyncio.server import broadcast, serve

    return await serve(handler_of(broadcast, set()), "127.0.0.1", 0, compression=None, max_size=1 << 24, ssl=TLS)


async def picows_websockets():
    from picows.websockets.asyncio.server import broadcast, serve

    return await serve(handler_of(broadcast, set()), "127.0.0.1", 0, compression=None, max_size=1 << 24, ssl=TLS)


async def picows():
    from picows import WSListener, WSMsgType, ws_create_server

    class Echo(WSListener):
        def on_ws_frame(self, transport, frame):
            if frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()
            else:
                transport.send(frame.msg_type, frame.get_payload_as_memoryview())

    class Counter(WSListener):
        def on_ws_connected(self, transport):
            self.count = 0

        def on_ws_frame(self, transport, frame):
            if frame.msg_type == WSMsgType.TEXT:
                transport.send(WSMsgType.TEXT, str(self.count).encode())
            else:
                self.message = frame.get_payload_as_bytes()
                self.count += 1

    transports = []

    class Fan(WSListener):
        def on_ws_connected(self, transport):
            transports.append(transport)

        def on_ws_frame(self, transport, frame):
            message = frame.get_payload_as_memoryview()
            for receiver in transports:
                receiver.send(WSMsgType.BINARY, message)

    listener = Counter if COUNT else Fan if FAN else Echo
    return await ws_create_server(lambda request: listener(), "127.0.0.1", 0, max_frame_size=1 << 24, ssl=TLS)


async def aiohttp():
    from aiohttp import WSMsgType, web

    async def handler(request):
        ws = web.WebSocketResponse(compress=False, max_msg_size=1 << 24)
        await ws.prepare(request)
        count = 0
        async for message in ws:
            if message.type == WSMsgType.TEXT:
                await ws.send_str(str(count))
            elif COUNT:
                count += 1
            else:
                await ws.send_bytes(message.data)
        return ws

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    await web.SockSite(runner, sock, ssl_context=TLS).start()
    return sock


async def application(scope, receive, send):
    """Echo as an ASGI application, for uvicorn."""
    await receive()
    await send({"type": "websocket.accept"})
    count = 0
    while (event := await receive())["type"] == "websocket.receive":
        data = event.get("bytes")
        if data is None:
            await send({"type": "websocket.send", "text": str(count)})
        elif COUNT:
            count += 1
        else:
            await send({"type": "websocket.send", "bytes": data})


async def serve_uvicorn(ws):
    import uvicorn

    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    options = {"ssl_certfile": CERTIFICATE} if TLS else {}
    config = uvicorn.Config(
        application, ws=ws, http="httptools", lifespan="off", log_level="error", access_log=False,
        ws_per_message_deflate=False, ws_max_size=1 << 24, **options,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.serving = asyncio.create_task(server.serve(sockets=[sock]))  # a reference, so that it is not collected
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    return sock


async def uvicorn():
    return await serve_uvicorn("auto")


async def uvicorn_framewire():
    return await serve_uvicorn("framewire.adapters.uvicorn:WebSocketProtocol")


async def main(name):
    if name.endswith("_fastnet"):
        import aiofastnet

        aiofastnet.patch_loop()
    server = await globals()[name.removesuffix("_fastnet")]()
    sock = server if isinstance(server, socket.socket) else server.sockets[0]
    print(sock.getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.install()
    asyncio.run(main(sys.argv[1]))
