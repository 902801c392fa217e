"""Compatibility with `websockets.trio`: behaviour, and both as peers."""

import subprocess
import sys
from importlib.metadata import version
from textwrap import dedent

import pytest
import trio
from ends import client_side
from trio_ends import connect, echo, on_trio, serving

import framewire.trio.client
import framewire.trio.server

if not version("websockets").startswith("17."):
    pytest.skip("websockets.trio is of version 17", allow_module_level=True)

import websockets.trio.client
import websockets.trio.server

MESSAGES = ["", "text", "Grüße €🎉", b"", b"\x00\xff", "x" * 70_000, bytes(1 << 20)]


async def converse(ws):
    for message in MESSAGES:
        await ws.send(message)
        assert await ws.recv() == message
    await ws.send(["frag", "", "mented"])
    assert await ws.recv() == "fragmented"
    await (await ws.ping()).wait()
    await ws.aclose(4000, "done")
    assert (ws.close_code, ws.close_reason) == (4000, "done")


@pytest.mark.both_backends
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("compression", [None, "deflate"])
@on_trio
async def test_websockets_client_exchanges_messages_with_the_trio_server(tls, compression):
    async with serving(tls=tls) as (_, uri):
        options = {"ssl": client_side()} if tls else {}
        async with websockets.trio.client.connect(uri, proxy=None, compression=compression, **options) as ws:
            await converse(ws)


@pytest.mark.both_backends
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("compression", [None, "deflate"])
@on_trio
async def test_trio_client_exchanges_messages_with_a_websockets_server(tls, compression):
    async with serving(tls=tls, serve=websockets.trio.server.serve) as (_, uri):
        async with connect(uri, compression=compression) as ws:
            await converse(ws)


@pytest.mark.both_backends
@on_trio
async def test_many_clients_of_both_packages_at_once():
    async def talk(connect, number):
        async with connect(uri, proxy=None) as ws:
            for turn in range(10):
                await ws.send(f"{number} {turn}" * 100)
                assert await ws.recv() == f"{number} {turn}" * 100

    async with serving(echo) as (_, uri), trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(talk, websockets.trio.client.connect, number)
            nursery.start_soon(talk, framewire.trio.client.connect, -number)


HELLO = """
    async def hello(websocket):
        name = await websocket.recv()
        await websocket.send(f"Hello {name}, at {websocket.request.path}!")

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, hello, 0)
        async with server:
            async with connect(f"ws://localhost:{port_of(server)}/desk") as websocket:
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
        try:
            await broadcast(users, json.dumps({"users": len(users)}))
            await websocket.send(json.dumps({"value": value}))
            async for message in websocket:
                value += {"plus": 1, "minus": -1}[json.loads(message)["action"]]
                await broadcast(users, json.dumps({"value": value}))
        finally:
            users.remove(websocket)
            await broadcast(users, json.dumps({"users": len(users)}))

    async with trio.open_nursery() as nursery:
        async with await nursery.start(serve, counter, 0) as server:
            uri = f"ws://localhost:{port_of(server)}"
            async with connect(uri) as one:
                print(await one.recv(), await one.recv())
                async with connect(uri) as two:
                    print(await one.recv(), await two.recv(), await two.recv())
                    await two.send('{"action": "plus"}')
                    print(await one.recv(), await two.recv())
                print(await one.recv())
"""

TIMEOUTS_AND_PIECES = """
    async def handler(websocket):
        with trio.move_on_after(0.05) as scope:
            await websocket.recv()
        await websocket.send(["waited ", str(scope.cancelled_caught)])
        pong = await websocket.ping("alive?")
        await pong.wait()
        await websocket.aclose(4000, "that is all")

    async with trio.open_nursery() as nursery:
        async with await nursery.start(serve, handler, 0) as server:
            async with connect(f"ws://localhost:{port_of(server)}", compression=None) as websocket:
                print([part async for part in websocket.recv_streaming()])
                try:
                    await websocket.recv()
                except ConnectionClosedError as end:
                    print(end.rcvd.code, end.rcvd.reason)
"""

AUTHENTICATED = """
    async def who(websocket):
        await websocket.send(websocket.username)

    guard = basic_auth(realm="door", credentials=[("ada", "secret")])
    async with trio.open_nursery() as nursery:
        async with await nursery.start(functools.partial(serve, who, 0, process_request=guard)) as server:
            for user in ("ada:secret@", "ada:wrong@", ""):
                try:
                    async with connect(f"ws://{user}localhost:{port_of(server)}/") as websocket:
                        print(await websocket.recv())
                except InvalidStatus as error:
                    print(error.response.status_code, error.response.headers["WWW-Authenticate"])
"""

PROGRAM = """
import functools, json, trio
from {package}.trio.client import connect
from {package}.trio.server import basic_auth, broadcast, serve
from {package}.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

def port_of(server):
    return server.listeners[0].socket.getsockname()[1]

async def main():
{body}

async def limited():
    with trio.fail_after(20):
        await main()

trio.run(limited)
"""


@pytest.mark.parametrize("body", [HELLO, COUNTER_FOR_ALL, TIMEOUTS_AND_PIECES, AUTHENTICATED])
def test_trio_program_prints_the_same_under_both_imports(body):
    said = {}
    for package in ("websockets", "framewire"):
        program = dedent(PROGRAM.format(package=package, body=body.strip("\n")))
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == 0, run.stderr
        said[package] = run.stdout
    assert said["framewire"] == said["websockets"]
    assert said["framewire"]
