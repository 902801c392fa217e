"""Compatibility with `websockets`: exceptions, and programs that change their imports only."""

import subprocess
import sys
from textwrap import dedent

import pytest
import websockets.exceptions

import framewire.exceptions


def test_exception_hierarchy_matches_websockets():
    for name in ("ConnectionClosed", "ConnectionClosedOK", "ConnectionClosedError", "InvalidStatus", "InvalidURI"):
        ours, theirs = getattr(framewire.exceptions, name), getattr(websockets.exceptions, name)
        assert [each.__name__ for each in ours.__mro__ if each.__name__.startswith("Connection")] == [
            each.__name__ for each in theirs.__mro__ if each.__name__.startswith("Connection")
        ]


ECHO_AND_HELLO = """
    async def hello(websocket):
        name = await websocket.recv()
        await websocket.send(f"Hello {name}, at {websocket.request.path}!")

    async with serve(hello, "localhost", 0) as server:
        uri = f"ws://localhost:{server.sockets[0].getsockname()[1]}/desk"
        async with connect(uri) as websocket:
            await websocket.send("Ada")
            print(await websocket.recv())
            try:
                await websocket.recv()
            except ConnectionClosedOK as end:
                print(end.rcvd.code, end.sent.code, end.rcvd_then_sent, websocket.close_code)
"""

COUNTER_FOR_ALL = """
    users, value = set(), 0

    async def counter(websocket):
        nonlocal value
        users.add(websocket)
        broadcast(users, json.dumps({"users": len(users)}))
        await websocket.send(json.dumps({"value": value}))
        try:
            async for message in websocket:
                value += {"plus": 1, "minus": -1}[json.loads(message)["action"]]
                broadcast(users, json.dumps({"value": value}))
        finally:
            users.remove(websocket)
            broadcast(users, json.dumps({"users": len(users)}))

    async with serve(counter, "localhost", 0) as server:
        uri = f"ws://localhost:{server.sockets[0].getsockname()[1]}"
        async with connect(uri) as one:
            print(await one.recv(), await one.recv())
            async with connect(uri) as two:
                print(await one.recv(), await two.recv(), await two.recv())
                await two.send('{"action": "plus"}')
                print(await one.recv(), await two.recv())
            print(await one.recv())
"""

CONSUMER_AND_PRODUCER = """
    async def handler(websocket):
        asked = asyncio.Event()

        async def consume():
            async for message in websocket:
                print("server heard", message)
                asked.set()

        async def produce():
            await asked.wait()
            for number in range(3):
                await websocket.send([f"part one of {number}, ", "part two"])
            await websocket.close(4000, "that is all")

        await asyncio.gather(consume(), produce(), return_exceptions=True)
        await websocket.wait_closed()

    async with serve(handler, "localhost", 0, compression=None) as server:
        async with connect(f"ws://localhost:{server.sockets[0].getsockname()[1]}") as websocket:
            await websocket.send("here I am")
            try:
                while True:
                    print([part async for part in websocket.recv_streaming()] and "a message")
            except ConnectionClosedError as end:
                print(end.rcvd.code, end.rcvd.reason)
"""

AUTHENTICATED_WITH_A_HEALTH_CHECK = """
    def health(connection, request):
        if request.path == "/health":
            return connection.respond(http.HTTPStatus.OK, "fine")

    async def who(websocket):
        await websocket.send(websocket.username)

    async with serve(who, "localhost", 0, process_request=health) as server:
        try:
            await connect(f"ws://localhost:{server.sockets[0].getsockname()[1]}/health")
        except InvalidStatus as error:
            print(error.response.status_code, bytes(error.response.body))
    guard = basic_auth(realm="door", credentials=[("ada", "secret")])
    async with serve(who, "localhost", 0, process_request=guard) as server:
        host = f"localhost:{server.sockets[0].getsockname()[1]}"
        for user in ("ada:secret@", "ada:wrong@", ""):
            try:
                async with connect(f"ws://{user}{host}/") as websocket:
                    print(await websocket.recv())
            except InvalidStatus as error:
                print(error.response.status_code, error.response.headers["WWW-Authenticate"])
"""

AGAIN_AND_AGAIN = """
    async def short(websocket):
        await websocket.send("once")
        await websocket.close(1011, "tired")

    async with serve(short, "localhost", 0) as server:
        times = 0
        uri = f"ws://localhost:{server.sockets[0].getsockname()[1]}"
        async for websocket in connect(uri, reconnect_delays=lambda: iter([0.01] * 3)):
            try:
                async for message in websocket:
                    print(message)
            except ConnectionClosed:
                times += 1
                if times < 3:
                    continue
                break
        print(times)
"""

ON_A_SOCKET_OF_UNIX_WITH_KEEPALIVE = """
    async def latency(websocket):
        await (await websocket.ping())
        await websocket.send("alive" if websocket.latency >= 0 else "dead")
        await websocket.send(b"bytes")

    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/socket"
        async with unix_serve(latency, path, ping_interval=5, ping_timeout=5):
            async with unix_connect(path, "ws://example.org/") as websocket:
                print([message async for message in websocket], websocket.request.headers["Host"])
"""

HEAD = """
import asyncio, http, json, tempfile
from {package}.asyncio.client import connect, unix_connect
from {package}.asyncio.server import basic_auth, broadcast, serve, unix_serve
from {package}.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus

async def main():
{body}

asyncio.run(asyncio.wait_for(main(), 20))
"""

PROGRAMS = {
    name: body for name, body in globals().items() if isinstance(body, str) and "serve(" in body and name != "HEAD"
}


@pytest.mark.skipif(sys.platform == "win32", reason="a program needs a Unix socket")
@pytest.mark.parametrize("name", list(PROGRAMS))
def test_program_prints_the_same_under_both_imports(name):
    said = {}
    if "reconnect_delays" in PROGRAMS[name] and sys.version_info < (3, 11):
        pytest.skip("needs websockets 17, which needs Python 3.11")
    for package in ("websockets", "framewire"):
        program = HEAD.format(package=package, body=PROGRAMS[name].strip("\n"))
        run = subprocess.run([sys.executable, "-c", dedent(program)], capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr
        said[package] = run.stdout
    assert said["framewire"] == said["websockets"]
    assert said["framewire"]
