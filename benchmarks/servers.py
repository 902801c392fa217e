"""The servers for `bench_asyncio`: `python -m benchmarks.servers NAME LOOP` prints its port.

Each server echoes binary messages. With `COUNT=1` in the environment it counts them instead, and
replies to the text "?" with their number; with `FAN=1` it sends each message to all connections. No
compression; other limits are the defaults.
"""

import asyncio
import os
import socket
import sys

COUNT, FAN = (os.environ.get(name) == "1" for name in ("COUNT", "FAN"))


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
    return await serve(listener, "127.0.0.1", 0, compression=None, max_size=1 << 24)


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

    return await serve(handler_of(broadcast, set()), "127.0.0.1", 0, compression=None, max_size=1 << 24)


async def websockets():
    from websockets.asyncio.server import broadcast, serve

    return await serve(handler_of(broadcast, set()), "127.0.0.1", 0, compression=None, max_size=1 << 24)


async def picows_websockets():
    from picows.websockets.asyncio.server import broadcast, serve

    return await serve(handler_of(broadcast, set()), "127.0.0.1", 0, compression=None, max_size=1 << 24)


async def picows():
    from picows import WSListener, WSMsgType, ws_create_server

    class Echo(WSListener):
        def on_ws_frame(self, transport, frame):
            if frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()
            else:
                transport.send(frame.msg_type, frame.get_payload_as_bytes())

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
            message = frame.get_payload_as_bytes()
            for receiver in transports:
                receiver.send(WSMsgType.BINARY, message)

    listener = Counter if COUNT else Fan if FAN else Echo
    return await ws_create_server(lambda request: listener(), "127.0.0.1", 0, max_frame_size=1 << 24)


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
    await web.SockSite(runner, sock).start()
    return sock


async def main(name):
    server = await globals()[name]()
    sock = server if isinstance(server, socket.socket) else server.sockets[0]
    print(sock.getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.install()
    asyncio.run(main(sys.argv[1]))
