"""The servers that `bench_asyncio` loads: run as `python -m benchmarks.servers NAME LOOP`, prints its port.

Each echoes binary messages; counts them instead when it is asked to with `COUNT=1` in the environment, and answers
the text "?" with the count; or sends each to all with `FAN=1`. No compression, no limits but the defaults.
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

    class Tally(Listener):
        def on_open(self, connection):
            connection.tally = 0

        def on_message(self, connection, message):
            if message == "?":
                connection.send(str(connection.tally))
            else:
                connection.tally += 1

    class Fan(Listener):
        def __init__(self):
            self.everyone = []

        def on_open(self, connection):
            self.everyone.append(connection)

        def on_message(self, connection, message):
            for one in self.everyone:
                one.send(message)

    listener = Tally() if COUNT else Fan() if FAN else Echo()
    return await serve(listener, "127.0.0.1", 0, compression=None, max_size=1 << 24)


def handler_of(broadcast, connections):
    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async def tally(connection):
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

    return tally if COUNT else fan if FAN else echo


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

    class Tally(WSListener):
        def on_ws_connected(self, transport):
            self.tally = 0

        def on_ws_frame(self, transport, frame):
            if frame.msg_type == WSMsgType.TEXT:
                transport.send(WSMsgType.TEXT, str(self.tally).encode())
            else:
                self.message = frame.get_payload_as_bytes()
                self.tally += 1

    everyone = []

    class Fan(WSListener):
        def on_ws_connected(self, transport):
            everyone.append(transport)

        def on_ws_frame(self, transport, frame):
            message = frame.get_payload_as_bytes()
            for one in everyone:
                one.send(WSMsgType.BINARY, message)

    listener = Tally if COUNT else Fan if FAN else Echo
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
