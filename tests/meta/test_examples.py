"""The programs in examples/, except for those of pywebsocket: see test_pywebsocket.py."""

import asyncio
import importlib.util
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import framewire
from framewire.asyncio import serve as serve_async
from framewire.sync import connect, serve

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def running(name):
    """Run an example in a new process; give the address that it prints."""
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / f"{name}.py"), "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield re.search(r"//(\S+?)/", process.stdout.readline())[1]
        finally:
            process.send_signal(signal.SIGTERM)


def test_half_duplex_echo_example_replies_and_closes():
    with running("half_duplex_echo") as where:
        for _ in range(2):
            with connect(f"ws://{where}/") as ws:
                ws.send("anything")
                assert ws.recv(10) == "Hello"
                ws.send(b"x" * 1000)
                assert ws.ping().wait(10)
                ws.close(1000)
                assert ws.close_code == 1005
        with socket.create_connection(where.split(":"), 10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert plain.recv(100).startswith(b"HTTP/1.1 426 ")


@contextmanager
def chatting(count):
    """Run a chat with `count` users, who have received their greetings.

    Give its URI and the users.
    """
    with load("chat_server").start(0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        uri = "ws://{}:{}/ChatServerWebSocket".format(*server.socket.getsockname())
        users = []
        for number in range(1, count + 1):
            users.append(connect(uri))
            assert take(users[-1], "userinit") == f"userinit|{number}|User{number}"
            assert take(users[-1], "moderator").startswith("moderator||Welcome")
        yield uri, users
        for user in users:
            user.close()
    thread.join()


def take(ws, command):
    """Return the next message with this command."""
    while not (message := ws.recv(10)).startswith(command + "|"):
        pass
    return message


def test_chat_server_example_handles_every_command():
    with chatting(2) as (_, (one, two)):
        assert take(one, "useradd") == "useradd|2|User2"
        one.send("||hello | all")
        for user in (one, two):
            assert take(user, "regular") == "regular|1|hello | all"
        two.send("private|1|psst")
        for user in (one, two):
            assert take(user, "private") == "private|2|psst"
        two.send("name||Ada")
        for user in (one, two):
            assert take(user, "username") == "username|2|Ada"
        one.send("ping|2|")
        assert re.fullmatch(r"ping\|2\|\d+", take(one, "ping"))
        for wrong in ("name||ADA", "name||", "name||a b", "name||é", "private|9|x", "nonsense", "a|b", b"binary"):
            one.send(wrong)
            assert take(one, "error")
        two.close()
        assert take(one, "userdel") == "userdel|2|"


def test_chat_server_serves_its_page():
    with chatting(0) as (uri, _):
        where = uri[5:].partition("/")[0]
        for path, status, text in ((b"/", b"200", b"<!doctype html>"), (b"/other", b"404", b"nothing here")):
            with socket.create_connection(where.split(":"), 10) as plain:
                plain.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b"".join(iter(lambda plain=plain: plain.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert text in answer


def test_reconnecting_client_example_recovers_from_connection_loss(capsys):
    module = load("reconnecting_client")
    visits = []

    async def handler(ws):
        visits.append(ws)
        await ws.send(f"visit {len(visits)}")
        if len(visits) < 3:
            ws.transport.abort()

    async def main():
        async with serve_async(handler, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return [message async for message in module.messages(f"ws://127.0.0.1:{port}/", 0.01)]

    assert asyncio.run(asyncio.wait_for(main(), 60))[-1] == "visit 3"
    assert capsys.readouterr().err.count("reconnecting in") == 2


def test_push_server_example_sends_the_time_to_all_clients():
    with running("push_server") as where, connect(f"ws://{where}/") as one, connect(f"ws://{where}/") as two:
        for ws in (one, two, one):
            assert re.fullmatch(r'\{"time": "\d\d:\d\d:\d\d"\}', ws.recv(10))


def test_stream_video_example_delivers_pictures_as_they_are_made():
    module = load("stream_video")
    seen = []

    def handler(ws):
        def pictures():
            for picture in module.camera(5):
                yield picture
                assert seen_one.wait(10)
                seen_one.clear()

        ws.send(pictures())

    seen_one = threading.Event()
    with serve(handler, "127.0.0.1") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for picture in module.watch("ws://{}:{}/".format(*server.socket.getsockname())):
            seen.append(int.from_bytes(picture[:4], "big"))
            seen_one.set()  # each fragment arrives before the next is created
    thread.join()
    assert seen == [0, 1, 2, 3, 4]


def test_stream_video_is_one_message():
    module = load("stream_video")
    with serve(lambda ws: ws.send(module.camera(3)), "127.0.0.1") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with connect("ws://{}:{}/".format(*server.socket.getsockname())) as ws:
            assert len(ws.recv(10)) == 3 * 20_004
            with pytest.raises(framewire.ConnectionClosedOK):
                ws.recv(10)
    thread.join()
