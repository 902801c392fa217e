"""`Rooms` of ASGI applications: under framewire's class, under others, and with a scripted `send`."""

import asyncio
import gc
import logging
from contextlib import AsyncExitStack, asynccontextmanager

import ends
import pytest
import uvicorn
from ends import on_loop, raw, until
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect

from framewire import Close, ConnectionClosed, StateError
from framewire.asyncio.transport_writer import TransportWriter
from framewire.rooms import Rooms

OURS = "framewire.adapters.uvicorn:WebSocketProtocol"
each_server = pytest.mark.parametrize("ws", [OURS, "websockets-sansio", "wsproto"])


@pytest.fixture(params=["asyncio", "uvloop"], autouse=True)
def network(request, monkeypatch):
    monkeypatch.setattr(ends, "network", request.param)


@asynccontextmanager
async def serving(app, ws=OURS, **options):
    """Run a uvicorn server on a free port; give its port."""
    server = uvicorn.Server(uvicorn.Config(app, ws=ws, lifespan="off", log_level="warning", port=0, **options))
    task = asyncio.create_task(server._serve())
    await until(lambda: server.started or task.done())
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


def members_of(rooms):
    """Return the members of rooms, of one event loop."""
    (members,) = rooms._topics._loops
    return members


def application(rooms, ends=None):
    """Return an application whose connections join the room of their path, and publish there."""
    app = FastAPI()

    @app.websocket("/{room}")
    async def talk(websocket: WebSocket, room: str):
        await websocket.accept()
        assert await rooms.join(websocket, room)
        assert not await rooms.join(websocket, room)
        try:
            while True:
                message = await websocket.receive_text()
                if message == "leave":
                    assert await rooms.leave(websocket, room)
                    await websocket.send_text("left")
                else:
                    for part in message.split("|"):
                        rooms.publish(room, part, exclude=websocket)
                    if message.startswith("echo"):
                        await websocket.send_text(message)
        except WebSocketDisconnect as error:
            if ends is not None:
                ends.append((error.code, error.reason))

    return app


@asynccontextmanager
async def clients(rooms, port, *names):
    """Give clients that have joined these rooms, one after the other."""
    async with AsyncExitStack() as stack:
        sockets = []
        for name in names:
            before = len(rooms.members(name))
            sockets.append(await stack.enter_async_context(connect(f"ws://127.0.0.1:{port}/{name}")))
            await until(lambda name=name, before=before: len(rooms.members(name)) > before)
        yield sockets


@each_server
@on_loop
async def test_members_of_a_room_get_its_messages(ws):
    rooms = Rooms()
    async with serving(application(rooms), ws) as port:
        async with clients(rooms, port, "red", "red", "red", "blue") as (one, two, three, other):
            await one.send("hello|again")
            for client in (two, three):
                assert [await client.recv(), await client.recv()] == ["hello", "again"]
            await three.send("leave")
            assert await three.recv() == "left"
            await two.send("a")
            assert await one.recv() == "a"
            await other.send("echo to nobody")
            assert await other.recv() == "echo to nobody"
            assert rooms.publish("red", b"\x00binary") == 2
            assert [await one.recv(), await two.recv()] == [b"\x00binary"] * 2
            assert rooms.publish("red", b"text", text=True) == 2
            assert [await one.recv(), await two.recv()] == ["text"] * 2
        await until(lambda: rooms.members("red") == rooms.members("blue") == [])
    assert members_of(rooms)._connections == rooms._plain == {}
    assert rooms.counters.sent == 9


@each_server
@on_loop
async def test_many_messages_arrive_in_order(ws):
    rooms = Rooms(patterns="mqtt")
    async with serving(application(rooms), ws) as port, clients(rooms, port, "red", "red") as (one, two):
        for number in range(300):
            rooms.publish("red", f"{number} " + "x" * (number % 7 * 100))
            if number % 10 == 9:
                await asyncio.sleep(0)
        for client in (one, two):
            assert [int((await client.recv()).split()[0]) for _ in range(300)] == list(range(300))


@each_server
@on_loop
async def test_threads_publish_to_rooms(ws):
    rooms = Rooms()
    async with serving(application(rooms), ws) as port, clients(rooms, port, "red") as (one,):
        for number in range(50):
            await asyncio.to_thread(rooms.publish_threadsafe, "red", str(number))
        await asyncio.to_thread(rooms.publish_threadsafe, "red", "not to one", exclude=rooms.members("red"))
        assert [await one.recv() for _ in range(50)] == [str(number) for number in range(50)]
        await until(lambda: rooms.counters.published == 51)
        assert rooms.counters.sent == 50


@each_server
@on_loop
async def test_messages_that_are_sent_one_by_one_are_logged_once(ws, caplog):
    caplog.set_level(logging.INFO, "framewire.rooms")
    rooms = Rooms()
    async with serving(application(rooms), ws) as port, clients(rooms, port, "red", "red"):
        pass
    assert len([record for record in caplog.records if record.name == "framewire.rooms"]) == (ws != OURS)


# Under framewire's class


@on_loop
async def test_messages_are_compressed_once_and_written_once(monkeypatch):
    sizes, push = [], TransportWriter._push

    def count(self):
        sizes.append(self._session.output_size)
        push(self)

    rooms = Rooms()
    async with serving(application(rooms)) as port, clients(rooms, port, "red", "red") as sockets:
        monkeypatch.setattr(TransportWriter, "_push", count)
        for number in range(10):
            rooms.publish("red", f"{number} " + "to all members " * 20)
        await asyncio.sleep(0)
        assert len(sizes) == 2
        assert max(sizes) < 800
        for client in sockets:
            assert [int((await client.recv())[0]) for _ in range(10)] == list(range(10))
        for driver in members_of(rooms)._connections:
            assert driver.session.stream._codecs[0].deflater is None


@on_loop
async def test_slow_member_is_closed_and_its_application_is_told():
    ends, slow = [], []
    rooms = Rooms(on_slow=lambda *arguments: slow.append(arguments))
    async with serving(application(rooms, ends)) as port, raw(port, limit=1024) as peer:
        await peer.upgrade()
        await until(lambda: rooms.members("path"))
        (member,) = rooms.members("path")
        sent = 0
        while not slow:
            rooms.publish("path", bytes(1 << 20))
            await asyncio.sleep(0)
            sent += 1
        assert slow == [(member, "path", "closed")]
        await until(lambda: ends == [(1013, "reading too slowly")])
        events = [await peer.read_event() for _ in range(sent)]
        assert events == [bytes(1 << 20)] * (sent - 1) + [Close(1013, "reading too slowly")]


@on_loop
async def test_joining_after_the_end_of_the_connection_is_an_error():
    rooms, app = Rooms(), FastAPI()
    kept = []

    @app.websocket("/")
    async def keep(websocket: WebSocket):
        await websocket.accept()
        await rooms.join(websocket, "red")
        kept.append(websocket)
        await websocket.close()

    async with serving(app) as port:
        async with connect(f"ws://127.0.0.1:{port}/") as client:
            await client.wait_closed()
        await until(lambda: not rooms.members("red"))
        with pytest.raises(ConnectionClosed):
            await rooms.join(kept[0], "red")
        kept[0]._receive = kept[0]._send = None  # otherwise it keeps the connection
        await until(lambda: gc.collect() >= 0 and rooms._find_driver(kept[0]) is None)
        with pytest.raises(ConnectionClosed):
            await rooms.join(kept[0], "red")
        assert not await rooms.leave(kept[0], "red")
        assert rooms.publish("red", "x", exclude=kept) == 0


@on_loop
async def test_joining_before_the_connection_is_accepted_is_an_error():
    rooms, errors = Rooms(), []

    async def app(scope, receive, send):
        websocket = WebSocket(scope, receive, send)
        try:
            await rooms.join(websocket, "red")
        except StateError as error:
            errors.append(str(error))
        await websocket.accept()
        await websocket.close()

    async with serving(app) as port, connect(f"ws://127.0.0.1:{port}/") as client:
        await client.wait_closed()
    assert errors == ["the opening handshake is not done"]


# With a scripted `send`


class Scripted:
    """A connection whose `send` waits until it may go on."""

    def __init__(self):
        self.scope = {"type": "websocket"}
        self.sent = []
        self.gate = asyncio.Event()

    async def base_send(self, event):
        await self.gate.wait()
        self.sent.append(event.get("text", event.get("bytes", event.get("code"))))


@asynccontextmanager
async def joined(rooms, *sockets):
    """Let connections join the room "red" in a task that ends with the block."""
    done, begun = asyncio.Event(), asyncio.Event()

    async def handle():
        for socket in sockets:
            await rooms.join(socket, "red")
        begun.set()
        await done.wait()

    task = asyncio.create_task(handle())
    await begun.wait()
    try:
        yield
    finally:
        done.set()
        await task


async def publish_until(rooms, counter):
    """Publish messages of 10 KB until a counter counts; return how many were published."""
    number = 0
    while not getattr(rooms.counters, counter):
        rooms.publish("red", f"{number} " + "x" * 10_000)
        number += 1
        await asyncio.sleep(0)
    return number


@pytest.mark.parametrize("policy", ["close", "drop", "latest"])
@on_loop
async def test_policies_apply_to_members_of_other_servers(policy):
    slow_ones = []
    rooms = Rooms(policy=policy, on_slow=lambda *arguments: slow_ones.append(arguments))
    slow, fast = Scripted(), Scripted()
    fast.gate.set()
    async with joined(rooms, slow, fast):
        published = await publish_until(rooms, {"close": "closed", "drop": "dropped", "latest": "replaced"}[policy])
        await until(lambda: len(fast.sent) == published)
        assert slow_ones == [(slow, "red", {"close": "closed", "drop": "dropped", "latest": "replaced"}[policy])]
        slow.gate.set()
        if policy == "close":
            await until(lambda: slow.sent[-1:] == [1013])
            assert [text[0] for text in slow.sent[:-1]] == ["0"]
            assert rooms.publish("red", "last") == 1
        else:
            last = published - 1 if policy == "latest" else published - 2
            await until(lambda: slow.sent and slow.sent[-1].startswith(f"{last} "))
            assert len(slow.sent) == published - 1
            assert rooms.publish("red", "last") == 2
            await until(lambda: slow.sent[-1] == "last")
        await until(lambda: fast.sent[-1] == "last")
        assert [int(text.split()[0]) for text in fast.sent[:-1]] == list(range(published))


@on_loop
async def test_held_message_waits_until_most_of_the_queue_is_sent():
    class Stepwise(Scripted):
        async def base_send(self, event):
            await super().base_send(event)
            self.gate.clear()

    rooms, member = Rooms(policy="latest"), Stepwise()
    async with joined(rooms, member):
        await publish_until(rooms, "held")
        queued = rooms.counters.sent
        for number in range(1, queued + 1):
            assert rooms.counters.sent == queued
            member.gate.set()
            await until(lambda number=number: len(member.sent) == number)
        await until(lambda: rooms.counters.sent == queued + 1)


@on_loop
async def test_one_long_message_does_not_make_a_member_slow():
    rooms, member = Rooms(), Scripted()
    async with joined(rooms, member):
        rooms.publish("red", "long " * 100_000)
        for number in range(10):
            await asyncio.sleep(0)
            assert rooms.publish("red", str(number)) == 1
        member.gate.set()
        await until(lambda: member.sent[1:] == [str(number) for number in range(10)])


@on_loop
async def test_member_that_takes_no_empty_messages_is_slow_too():
    rooms, member = Rooms(), Scripted()
    async with joined(rooms, member):
        for _ in range(100_000):
            if not rooms.publish("red", ""):
                break
        assert rooms.counters.closed == 1
        assert rooms.counters.sent < 40_000
        member.gate.set()
        await until(lambda: member.sent == [1013])


@on_loop
async def test_member_of_another_server_leaves_when_its_task_ends():
    rooms, member, other = Rooms(policy="latest"), Scripted(), Scripted()
    async with joined(rooms, member, other):
        await publish_until(rooms, "held")
        assert rooms.members("red") == [member, other]
    await until(lambda: not rooms.members("red"))
    assert rooms._plain == {}
    assert rooms.publish("red", "x") == 0
    assert member.sent == []


@on_loop
async def test_member_of_another_server_leaves_when_it_cannot_be_sent_to():
    class Broken(Scripted):
        async def base_send(self, event):
            raise RuntimeError("Unexpected ASGI message")

    rooms, broken, whole = Rooms(compression="own"), Broken(), Scripted()
    whole.gate.set()
    async with joined(rooms, broken, whole):
        driver = rooms._plain[id(broken.scope)]
        assert rooms.publish("red", "a") == 2
        await until(lambda: rooms.members("red") == [whole])
        assert rooms.publish("red", "b") == 1
        await until(lambda: whole.sent == ["a", "b"])
        with pytest.raises(ConnectionClosed):
            rooms._topics.subscribe(driver, broken, "red")
        for room in ("red", "blue"):
            with pytest.raises(ConnectionClosed):
                await rooms.join(broken, room)
        assert not await rooms.leave(broken, "red")
        assert [rooms.members(room) for room in ("red", "blue")] == [[whole], []]
    await until(lambda: rooms._plain == {})


@on_loop
async def test_member_that_joins_outside_of_a_task_is_forgotten_when_it_cannot_be_sent_to():
    class Broken(Scripted):
        async def base_send(self, event):
            raise RuntimeError("Unexpected ASGI message")

    rooms, joined_without_task = Rooms(), []

    def join():
        with pytest.raises(StopIteration) as returned:
            rooms.join(Broken(), "red").send(None)
        joined_without_task.append(returned.value.value)

    asyncio.get_running_loop().call_soon(join)
    await until(lambda: joined_without_task == [True])
    assert rooms.publish("red", "a") == 1
    await until(lambda: not rooms.members("red"))
    assert rooms._plain == {}


@on_loop
async def test_members_of_several_event_loops_get_the_messages_of_a_room():
    rooms, here = Rooms(), Scripted()
    here.gate.set()

    @on_loop
    async def join_in_another_loop():
        there = Scripted()
        there.gate.set()
        async with joined(rooms, there):
            assert rooms.members("red") == [here, there]
            assert rooms.publish("red", "to both") == 2
            assert rooms.publish("red", "to one", exclude=there) == 1
            await until(lambda: there.sent == ["to both"])

    async with joined(rooms, here):
        await asyncio.to_thread(join_in_another_loop)
        await until(lambda: here.sent == ["to both", "to one"])


@on_loop
async def test_send_of_the_application_is_used_if_it_is_given():
    rooms, sent = Rooms(), []

    class Bare:
        scope = {"type": "websocket", "extensions": None}  # noqa: RUF012

    async def send(event):
        sent.append(event)

    assert await rooms.join(Bare(), "red", send=send)
    rooms.publish("red", "text")
    rooms.publish("red", b"binary")
    await until(lambda: len(sent) == 2)
    assert sent == [{"type": "websocket.send", "text": "text"}, {"type": "websocket.send", "bytes": b"binary"}]
    assert not await rooms.leave(Scripted(), "red")


@pytest.mark.parametrize("options", [{"patterns": "glob"}, {"policy": "ignore"}, {"compression": "gzip"}])
def test_invalid_options_of_rooms_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options.values()))):
        Rooms(**options)


def test_invalid_messages_to_rooms_are_refused():
    rooms = Rooms()
    for publish in (rooms.publish, rooms.publish_threadsafe):
        for room, message, error in [("", "x", ValueError), (1, "x", TypeError), ("a", ["x"], TypeError)]:
            with pytest.raises(error):
                publish(room, message)
    rooms.publish_threadsafe("a", "to nobody")
