"""Applications of the accelerated libraries: `python applications.py NAME before|after`.

Each exchanges `MESSAGES` over a socket. `accelerate` is called before or after the import of the
library. The last line of the output is the number of calls of framewire's functions.
"""

import asyncio
import socket
import sys
import threading
import time
from importlib import import_module

import framewire

MESSAGES = ["hello", "é" * 200, b"\x00\xff" * 300, "", "x" * 70_000, b"", b"y" * 20_000]


class Counter:
    """Counts the calls of functions in the adapter of one library."""

    def __init__(self, adapter, *names):
        self.count = 0
        module = import_module(f"framewire.adapters.{adapter}")
        for name in names:
            setattr(module, name, self.counted(getattr(module, name)))

    def counted(self, function):
        def count(*arguments):
            self.count += 1
            return function(*arguments)

        return count


async def talk(port, messages=MESSAGES):
    """Exchange the messages and then a burst with a client of websockets."""
    from websockets.asyncio.client import connect

    async with connect(f"ws://127.0.0.1:{port}/echo", compression=None, proxy=None) as client:
        for message in messages:
            await client.send(message)
            assert await client.recv() == message
        for _ in range(100):
            await client.send("burst")
        for _ in range(100):
            assert await client.recv() == "burst"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def wait_for(port):
    """Wait up to 20 seconds until a server listens on the port."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def quart():
    """Quart in hypercorn."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from quart import Quart, websocket

    app = Quart(__name__)

    @app.websocket("/echo")
    async def echo():
        while True:
            await websocket.send(await websocket.receive())

    async def main():
        port, done = free_port(), asyncio.Event()
        config = Config()
        config.bind = [f"127.0.0.1:{port}"]
        server = asyncio.create_task(serve(app, config, shutdown_trigger=done.wait))
        await asyncio.to_thread(wait_for, port)
        await talk(port, [message for message in MESSAGES if message != b""])  # hypercorn cannot send empty bytes
        done.set()
        await server

    asyncio.run(main())


def flask_sock():
    """Flask-Sock, which uses simple-websocket, in the server of werkzeug."""
    from flask import Flask
    from flask_sock import Sock
    from werkzeug.serving import make_server

    app = Flask(__name__)

    @Sock(app).route("/echo")
    def echo(socket):
        while True:
            socket.send(socket.receive())

    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asyncio.run(talk(server.server_port))
    server.shutdown()


def trio_websocket():
    """A server and a client of trio-websocket."""
    import trio
    from trio_websocket import ConnectionClosed, open_websocket_url, serve_websocket

    async def echo(request):
        connection = await request.accept()
        try:
            while True:
                await connection.send_message(await connection.get_message())
        except ConnectionClosed:
            pass

    async def main():
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_websocket, echo, "127.0.0.1", 0, None)
            async with open_websocket_url(f"ws://127.0.0.1:{server.port}/") as client:
                for message in MESSAGES:
                    await client.send_message(message)
                    assert await client.get_message() == message
            nursery.cancel_scope.cancel()

    trio.run(main)


def websocket_client():
    """A client of websocket-client."""
    from websocket import ABNF, create_connection

    async def main():
        async def echo(connection):
            async for message in connection:
                await connection.send(message)

        def script():
            client = create_connection(f"ws://127.0.0.1:{port}/")
            for message in MESSAGES:
                client.send(message, ABNF.OPCODE_TEXT if isinstance(message, str) else ABNF.OPCODE_BINARY)
                assert client.recv() == message
            client.close()

        async with framewire.asyncio.serve(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await asyncio.to_thread(script)

    import framewire.asyncio

    asyncio.run(main())


def websockets():
    """A server and a client of websockets."""
    from websockets.asyncio.server import serve

    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async def main():
        async with serve(echo, "127.0.0.1", 0, compression=None) as server:
            await talk(server.sockets[0].getsockname()[1])

    asyncio.run(main())


def autobahn():
    """A server of autobahn."""
    from autobahn.asyncio.websocket import WebSocketServerFactory, WebSocketServerProtocol

    class Echo(WebSocketServerProtocol):
        def onMessage(self, payload, is_binary):  # noqa: N802 - autobahn's name
            self.sendMessage(payload, is_binary)

    async def main():
        factory = WebSocketServerFactory()
        factory.protocol = Echo
        server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
        await talk(server.sockets[0].getsockname()[1])
        server.close()

    asyncio.run(main())


def gevent_websocket():
    """A server of gevent-websocket."""
    from gevent import get_hub
    from gevent.pywsgi import WSGIServer
    from geventwebsocket.handler import WebSocketHandler

    def echo(environ, start_response):
        connection = environ["wsgi.websocket"]
        while (message := connection.receive()) is not None:
            connection.send(message, binary=isinstance(message, (bytes, bytearray)))
        return []

    server = WSGIServer(("127.0.0.1", 0), echo, handler_class=WebSocketHandler, log=None)
    server.start()
    get_hub().threadpool.apply(asyncio.run, (talk(server.server_port),))
    server.stop()


#: The distribution, the module to import, the adapter, and the functions whose calls are counted.
UNDER_TEST = {
    quart: ("wsproto", "wsproto", "wsproto", "take_frames"),
    flask_sock: ("wsproto", "simple_websocket", "wsproto", "take_frames"),
    trio_websocket: ("wsproto", "trio_websocket", "wsproto", "take_frames"),
    websocket_client: ("websocket-client", "websocket", "websocket_client", "apply_mask", "Utf8Validator"),
    websockets: ("websockets", "websockets.asyncio.server", "websockets", "take_frames"),
    autobahn: ("autobahn", "autobahn.asyncio.websocket", "wsaccel", "apply_mask"),
    gevent_websocket: ("gevent-websocket", "geventwebsocket.websocket", "gevent_websocket", "apply_mask_in_place"),
}


def main(name, order):
    application = next(each for each in UNDER_TEST if each.__name__ == name)
    library, module, adapter, *functions = UNDER_TEST[application]
    if order == "before":
        acceleration = framewire.accelerate(library)
        assert [outcome.state for outcome in acceleration] == ["waiting"]
        import_module(module)
    else:
        import_module(module)
        acceleration = framewire.accelerate(library)
    assert [outcome.state for outcome in acceleration] == ["active"], str(acceleration)
    counter = Counter(adapter, *functions)
    application()
    print(counter.count)


if __name__ == "__main__":
    main(*sys.argv[1:])
