"""The sample and test programs of Appweb 4, from their description, against both kinds of servers.

The server has the limits of their configuration; the clients use the browser's API, as theirs do.
"""

import ast
import asyncio
import threading
from contextlib import contextmanager

import ends
import pytest
from ends import on_loop
from frames import REQUEST
from sync_ends import Raw, on_loop_of_thread, serving

import framewire.asyncio
import framewire.sync
from framewire import Close, ConnectionClosed, Fragment
from framewire.asyncio import Listener
from framewire.websocket import WebSocket

#: LimitWebSockets, LimitWebSocketsMessage, LimitWebSocketsPacket, LimitWebSocketsFrame, RequestTimeout,
#: InactivityTimeout.
LIMITS = {
    "max_connections": 25,
    "max_size": 10 << 20,
    "piece_size": 8 << 10,
    "fragment_size": 4 << 10,
    "total_timeout": 3600,
    "idle_timeout": 120,
}

#: 510,000 characters.
BIG = "".join(f"{line:8}:01234567890123456789012345678901234567890\n" for line in range(10_000))
#: 1000 frames of 16 characters.
FRAMES = [f"{line:8}: Hello\n" for line in range(1000)]
DIGITS = b"0123456789" * 5
LONG = (DIGITS * (10 * 1024 * 1024 // 50)).decode()


def describe(pieces):
    """Describe a message by its type, its length and the first 10 characters of its last piece."""
    is_text, last = isinstance(pieces[-1], str), pieces[-1][:10]
    data = last if is_text else bytes(last).decode()
    return repr({"type": 1 if is_text else 2, "length": sum(map(len, pieces)), "data": data})


def read_description(answer):
    """Return the type and the length in an answer of the len program."""
    described = ast.literal_eval(answer)
    return described["type"], described["length"]


#: The message of each program that sends one and closes; a list is sent as frames.
MESSAGES = {"empty": "", "big": BIG, "frames": FRAMES}


def run_on_threads(ws):
    """Serve one connection; the last part of the path is the name of the program."""
    name = ws.request.path.rpartition("/")[2]
    if name == "len":
        while pieces := list(ws.recv_streaming()):
            ws.send(describe(pieces))
    elif name in MESSAGES:
        ws.send(MESSAGES[name])
        ws.close(1000, "OK")
    else:
        for _ in ws:
            pass


async def run_on_asyncio(ws):
    name = ws.request.path.rpartition("/")[2]
    if name == "len":
        while pieces := [piece async for piece in ws.recv_streaming()]:
            await ws.send(describe(pieces))
    elif name in MESSAGES:
        await ws.send(MESSAGES[name])
        await ws.close(1000, "OK")
    else:
        async for _ in ws:
            pass


@contextmanager
def programs(kind, **options):
    """Serve the programs; give the port."""
    options = {**LIMITS, **options}
    if kind == "threads":
        with serving(run_on_threads, **options) as (_, port, _):
            yield port
    else:
        with on_loop_of_thread(lambda: ends.serving(run_on_asyncio, **options)) as (_, port, _):
            yield port


@pytest.fixture(params=["asyncio", "threads"])
def port(request):
    with programs(request.param) as port:
        yield port


class Client(WebSocket):
    """A WebSocket that notes its messages and its end, as the programs of Appweb do."""

    def __init__(self, port, name, *arguments, **options):
        super().__init__(f"{'wss' if 'ssl' in options else 'ws'}://127.0.0.1:{port}/{name}", *arguments, **options)
        assert self.readyState == self.CONNECTING
        self.messages, self.errors, self.close_event = [], 0, None
        self.opened, self.closed, self.received = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.onopen = lambda event: self.opened.set()
        self.onmessage = self.note_message
        self.onerror = self.note_error
        self.onclose = self.note_close

    def note_message(self, event):
        self.messages.append(event.data)
        self.received.set()

    def note_error(self, event):
        self.errors += 1

    def note_close(self, event):
        self.close_event = event
        self.closed.set()

    async def end(self):
        """Close, if the server has not, and wait for the end."""
        self.close()
        assert self.readyState in (self.CLOSING, self.CLOSED)
        await self.closed.wait()
        assert self.readyState == self.CLOSED


@on_loop
async def test_appweb_construct_program_closes_while_connecting(port):
    client = Client(port, "open")
    client.close()
    assert client.readyState == client.CLOSING
    await client.end()


@on_loop
async def test_appweb_open_and_send_programs_go_through_all_states(port):
    for message in (None, "Hello World"):
        client = Client(port, "open")
        await client.opened.wait()
        assert client.readyState == client.OPEN
        if message:
            client.send(message)
        client.close()
        assert client.readyState == client.CLOSING
        await client.end()
        assert (client.errors, client.close_event.wasClean, client.close_event.code) == (0, True, 1005)


@pytest.mark.parametrize(("name", "message"), [("empty", ""), ("big", BIG), ("frames", "".join(FRAMES))])
@on_loop
async def test_appweb_programs_send_one_message_and_close(port, name, message):
    client = Client(port, name)
    await client.opened.wait()
    client.send("Hello")
    await client.closed.wait()
    assert client.messages == [message]
    event = client.close_event
    assert (client.errors, event.wasClean, event.code, event.reason) == (0, True, 1000, "OK")


def test_appweb_big_program_is_received_in_pieces(port):
    """With the packet limit of the server at the client too."""
    with framewire.sync.connect(f"ws://127.0.0.1:{port}/big", max_size=10 << 20, piece_size=8 << 10) as ws:
        pieces = list(ws.recv_streaming())
        with pytest.raises(ConnectionClosed):
            ws.recv(10)
    assert len(pieces) > 10
    assert sum(map(len, pieces)) == len(BIG) == 510_000


# A list is sent before its end is known, so an empty frame ends the message.
@pytest.mark.parametrize(("name", "sizes"), [("big", [4096] * 124 + [2096]), ("frames", [16] * 1000 + [0])])
def test_appweb_programs_send_frames_of_the_configured_size(port, name, sizes):
    with Raw(port, request=REQUEST.replace(b"/path", f"/{name}".encode()), fragments=True) as raw:
        fragments = []
        while not fragments or not fragments[-1].last:
            fragments.append(raw.read_event())
        assert raw.read_event() == Close(1000, "OK")
    assert [len(each.data) for each in fragments] == sizes
    assert all(isinstance(each, Fragment) for each in fragments)


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("0123456789" * 15, "0123456789"),
        ("0123456789" * 150, "0123456789"),
        (DIGITS * 164, "23456789"),  # 8 bytes after a packet of 8 KiB
        (DIGITS * (256 * 1024 // 50), None),
    ],
    ids=["len-150", "len-1500", "len-8200", "len-256K"],
)
@on_loop
async def test_appweb_len_program_reports_type_and_length(port, message, data):
    client = Client(port, "len")
    await client.opened.wait()
    client.send(message)
    await client.received.wait()
    await client.end()
    assert read_description(client.messages[0]) == (1 if isinstance(message, str) else 2, len(message))
    assert data in (None, ast.literal_eval(client.messages[0])["data"])


@on_loop
async def test_appweb_send_block_program_sends_10_mb_buffered(port):
    client = Client(port, "len")
    await client.opened.wait()
    client.send(LONG)
    assert client.bufferedAmount == len(LONG)
    await client.received.wait()
    await client.end()
    assert read_description(client.messages[0]) == (1, len(LONG))


def test_appweb_send_block_program_sends_10_mb_blocking(port):
    with framewire.sync.connect(f"ws://127.0.0.1:{port}/len") as ws:
        ws.send(LONG)
        assert read_description(ws.recv(20)) == (1, len(LONG))


def test_appweb_send_block_program_sends_10_mb_without_blocking(port):
    answers, done = [], threading.Event()

    class Sending(Listener):
        def on_open(self, connection):
            for start in range(0, len(LONG), 1 << 16):
                connection.send(LONG[start : start + (1 << 16)], last=start + (1 << 16) >= len(LONG))

        def on_message(self, connection, message):
            answers.append(message)
            done.set()

    with on_loop_of_thread(lambda: framewire.asyncio.connect(f"ws://127.0.0.1:{port}/len", listener=Sending())):
        assert done.wait(20)
    assert read_description(answers[0]) == (1, len(LONG))


@pytest.fixture(params=["asyncio", "threads"])
def secure_port(request):
    with programs(request.param, ssl=ends.server_side(), subprotocols=["chat"]) as port:
        yield port


@on_loop
async def test_appweb_ssl_program_reports_its_message(secure_port):
    client = Client(secure_port, "len", ["chat"], ssl=ends.client_side())
    await client.opened.wait()
    assert client.protocol == "chat"
    client.send("Hello Server")
    await client.received.wait()
    await client.end()
    assert ast.literal_eval(client.messages[0]) == {"type": 1, "length": 12, "data": "Hello Serv"}


# The samples: both demand the subprotocol "chat", and end idle connections.


@on_loop
async def test_appweb_echo_sample_echoes_and_closes_idle_connections():
    limits = {"subprotocols": ["chat"], "max_size": 40 << 20, "total_timeout": 600, "idle_timeout": 0.3}
    async with ends.serving(ends.echo, **limits) as (_, port, _):
        client = Client(port, "ws/test/echo", ["chat"])
        await client.opened.wait()
        client.send("Hello Server")
        await client.closed.wait()
    assert client.messages == ["Hello Server"]
    assert (client.close_event.code, client.close_event.wasClean, client.errors) == (1008, True, 0)


@on_loop
async def test_appweb_output_sample_streams_a_file_as_one_message(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("0123456789abcdef, a line of text\n" * 3455)  # 114,015 bytes

    async def output(ws):
        with path.open() as file:
            await ws.send(iter(lambda: file.read(4096), ""))
        await ws.close(1000, "OK")

    limits = {"subprotocols": ["chat"], "max_size": 400 << 20, "total_timeout": 600, "idle_timeout": 60}
    async with ends.serving(output, **limits) as (_, port, _):
        client = Client(port, "ws/test/output", ["chat"])
        await client.closed.wait()
    assert client.messages == [path.read_text()]
    assert (client.close_event.code, client.close_event.reason, client.errors) == (1000, "OK", 0)
