"""`Relay` and `framewire serve --redis`, with a redis-server that starts, stops and hangs."""

import asyncio
import importlib
import json
import logging
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from threading import Thread

import pytest
import sync_ends
from backends import skip_unless
from commands import Guest, serving
from documents import ROOT, connect_in_time, write_files
from ends import on_loop, until
from websockets.asyncio.client import connect as peer

from framewire import relay as relays
from framewire.asyncio import Topics, connect, serve
from framewire.cli import chat
from framewire.cli.serve import address, start
from framewire.relay import Gap, Relay, TopicRelay


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Broker:
    """A redis-server on a free port."""

    def __init__(self, folder):
        self._folder = folder
        self.port = free_port()
        self.uri = f"redis://127.0.0.1:{self.port}"
        self.process = None

    def start(self, *options):
        address = ["--port", str(self.port), "--bind", "127.0.0.1"]
        self.process = subprocess.Popen(
            ["redis-server", *address, "--save", "", "--dir", str(self._folder), *options], stdout=subprocess.DEVNULL
        )
        sync_ends.until(self.is_listening)

    def is_listening(self):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def publish(self, channel, data):
        """Publish bytes without a relay."""
        assert self.call(b"PUBLISH", channel, data).startswith(b":")

    def call(self, *words):
        """Send a command; return the beginning of its reply."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as client:
            client.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(x), x) for x in words))
            return client.recv(1 << 16)


@pytest.fixture
def broker(tmp_path, monkeypatch):
    """A broker that is not started yet."""
    skip_unless("" if shutil.which("redis-server") else "redis-server", "a chat of several processes")
    monkeypatch.setattr(relays, "_RETRY_DELAY", 0.05)
    monkeypatch.setattr(relays, "_RECONNECT_DELAY", 0.3)
    broker = Broker(tmp_path)
    yield broker
    if broker.process:
        broker.stop()


class Peer:
    """A relay that queues the messages it receives."""

    def __init__(self, broker, **options):
        self.received = asyncio.Queue()
        self.relay = Relay(broker.uri, "test", lambda sender, text: self.received.put_nowait((sender, text)), **options)

    async def __aenter__(self):
        await self.relay.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.relay.__aexit__(*error)

    async def wait_for(self, text):
        """Drop messages until this text arrives; return its sender."""
        while (message := await self.received.get())[1] != text:
            pass
        return message[0]


async def wait_until_connected(*peers):
    """Wait until each peer receives the messages of all others."""
    for sender in peers:
        for receiver in peers:
            while receiver is not sender:
                sender.relay.publish("probe")
                try:
                    await asyncio.wait_for(receiver.wait_for("probe"), 0.1)
                    break
                except asyncio.TimeoutError:
                    pass


@on_loop
async def test_published_messages_reach_all_other_relays_in_order(broker):
    broker.start()
    async with Peer(broker) as a, Peer(broker) as b, Peer(broker) as c:
        await wait_until_connected(a, b, c)
        sent = ["Grüße \U0001f600 with spaces\n", "", "end"]
        for text in sent:
            a.relay.publish(text)
        for peer in (b, c):
            received = []
            while len(received) < len(sent):
                sender, text = await peer.received.get()
                if sender == a.relay.id and text != "probe":  # a late probe may arrive too
                    received.append(text)
            assert received == sent
        b.relay.publish("answer")
        assert await c.wait_for("answer") == await a.wait_for("answer") == b.relay.id


class Node:
    """A server whose clients subscribe to "news", and the topics that it shares with other nodes."""

    def __init__(self, broker, **options):
        self.topics = Topics()
        self.relay = TopicRelay(self.topics, broker.uri, "topics", **options)

    async def handle(self, ws):
        self.topics.subscribe(ws, "news")
        await ws.send("subscribed")
        await ws.wait_closed()

    @asynccontextmanager
    async def client(self):
        """Run the node; give a client that is subscribed."""
        async with self.relay, serve(self.handle, "127.0.0.1", 0) as server:
            async with connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as client:
                assert await client.recv() == "subscribed"
                yield client


async def probe(node, client):
    """Publish at a node until a client of another one gets it."""
    while True:
        node.relay.publish("news", "probe")
        try:
            return await asyncio.wait_for(client.recv(), 0.1)
        except asyncio.TimeoutError:
            pass


@on_loop
async def test_topics_reach_the_subscribers_of_all_processes(broker, caplog):
    broker.start()
    one, two = Node(broker), Node(broker)
    async with one.client() as near, two.client() as far:
        await probe(one, far)
        messages = ["Grüße", b"\x00\xff", "", b"", "with spaces 3 4"]
        for message in messages:
            assert one.relay.publish("news", message) == 1
        one.relay.publish("news", b"as text", text=True)
        one.relay.publish("news", "as binary", text=False)
        one.relay.publish("other", "nobody")
        one.relay.publish("news", "end", exclude=next(iter(one.topics.subscribers("news"))))
        for client, last in ((near, []), (far, ["end"])):
            expected = [*messages, "as text", b"as binary", *last]
            received = []
            while len(received) < len(expected):
                message = await client.recv()
                if message != "probe":
                    received.append(message)
            assert received == expected
    with pytest.raises(TypeError):
        one.relay.publish("news", 5)
    with pytest.raises(ValueError, match="topic"):
        one.relay.publish("", "text")


@on_loop
async def test_data_of_others_on_the_channel_of_topics_is_logged_and_ignored(broker, caplog):
    broker.start()
    one, two = Node(broker), Node(broker)
    async with one.client(), two.client() as far:
        await probe(one, far)
        invalid = [
            b"id",
            b"id text",
            b"id text x news",
            b"id picture 4 newsx",
            b"id binary 4 news!",
            b"id text 0 ",
            b"",
        ]
        for data in invalid:
            broker.publish(b"topics", data)
        await until(lambda: caplog.messages.count("a callback failed") == 2 * len(invalid))
        one.relay.publish("news", "end")
        while await far.recv() != "end":
            pass


@on_loop
async def test_gap_tells_of_the_time_without_the_broker_and_of_discarded_messages(broker):
    gaps, began = [], time.monotonic()
    async with Peer(broker, backlog=3, on_gap=gaps.append) as a, Peer(broker) as b:
        await asyncio.sleep(0.1)  # the broker is not there yet
        broker.start()
        await wait_until_connected(a, b)
        assert [gap.discarded for gap in gaps] == [0]
        assert 0.05 < gaps[0].seconds < time.monotonic() - began
        broker.stop()
        await until(lambda: not a.relay._may_publish.is_set())
        for number in range(10):
            a.relay.publish(str(number))
        broker.start()
        await until(lambda: len(gaps) == 2)
        assert isinstance(gaps[1], Gap)
        assert gaps[1].discarded >= 6  # the one that is being published is no longer in the backlog
        assert await b.wait_for("9") == a.relay.id


@on_loop
async def test_gap_tells_of_messages_that_were_discarded_while_the_broker_was_reachable(broker):
    gaps = []
    broker.start()
    async with Peer(broker, backlog=3, on_gap=gaps.append) as a, Peer(broker) as b:
        await wait_until_connected(a, b)
        await until(a.relay._backlog.empty)
        for number in range(10):  # in one turn of the event loop, so that 7 do not leave the backlog
            a.relay.publish(str(number))
        await until(lambda: gaps)
        assert await b.wait_for("7") == a.relay.id
        a.relay.publish("after them")
        assert await b.wait_for("after them") == a.relay.id
    assert gaps == [Gap(0, 7)]


@on_loop
async def test_gap_tells_of_messages_that_another_relay_has_discarded(broker):
    gaps = []
    broker.start()
    async with Peer(broker, backlog=3) as a, Peer(broker, on_gap=gaps.append) as b:
        await wait_until_connected(a, b)
        await until(a.relay._backlog.empty)
        for number in range(10):  # in one turn of the event loop, so that 7 do not leave the backlog
            a.relay.publish(str(number))
        assert await b.wait_for("7") == a.relay.id
        assert gaps[-1] == Gap(0, 0, missed=7)
        assert [await b.received.get(), await b.received.get()] == [(a.relay.id, "8"), (a.relay.id, "9")]


@on_loop
async def test_message_that_is_published_again_is_delivered_once(broker):
    gaps, sender = [], "0123456789abcdef"
    broker.start()
    async with Peer(broker, on_gap=gaps.append) as a, Peer(broker) as b:
        await wait_until_connected(a, b)
        for text in ("5 five", "6 six", "5 five", "6 six", "7 seven"):
            broker.publish(b"test", f"{sender}/{text}".encode())
        await a.wait_for("five")
        assert [await a.received.get(), await a.received.get()] == [(sender, "six"), (sender, "seven")]
    assert gaps == []


@on_loop
async def test_relay_forgets_the_numbers_of_relays_that_were_not_heard_for_long(broker, monkeypatch):
    monkeypatch.setattr(relays, "_MAX_SENDERS", 2)
    broker.start()
    async with Peer(broker) as a, Peer(broker) as b:
        await wait_until_connected(a, b)
        for sender in range(5):
            broker.publish(b"test", f"{sender:016x}/1 one".encode())
        broker.publish(b"test", b"x end")
        await a.wait_for("end")
        assert list(a.relay._received) == [f"{sender:016x}" for sender in (3, 4)]


@on_loop
async def test_nothing_is_published_if_the_broker_fails_again_soon_after_a_reconnection(broker):
    gaps = []
    async with Peer(broker, on_gap=gaps.append) as a:
        await asyncio.sleep(0.1)  # the broker is not there yet
        broker.start()
        await until(lambda: gaps)
        broker.stop()
        await asyncio.sleep(1.5 * relays._RECONNECT_DELAY)
        assert not a.relay._may_publish.is_set()


@on_loop
async def test_messages_are_kept_while_the_broker_is_unreachable(broker, caplog):
    async with Peer(broker) as a, Peer(broker) as b:
        a.relay.publish("before the start")
        broker.start()
        await b.wait_for("before the start")
        broker.stop()
        a.relay.publish("after the stop")
        await until(lambda: "the broker is unreachable" in caplog.text)
        broker.start()
        await b.wait_for("after the stop")
        await wait_until_connected(a, b)


@on_loop
async def test_backlog_is_limited_to_the_newest_messages(broker):
    async with Peer(broker, backlog=3) as a, Peer(broker) as b:
        for number in range(10):
            a.relay.publish(str(number))
        broker.start()
        received = [(await b.received.get())[1]]
        while received[-1] != "9":
            received.append((await b.received.get())[1])
    assert received in (["7", "8", "9"], ["0", "7", "8", "9"])  # "0" may have left the backlog already


@on_loop
async def test_relay_reconnects_if_the_broker_stops_responding(broker, monkeypatch, caplog):
    monkeypatch.setattr(relays, "_BROKER_TIMEOUT", 0.2)
    broker.start()
    async with Peer(broker) as a, Peer(broker) as b:
        await wait_until_connected(a, b)
        broker.process.send_signal(signal.SIGSTOP)
        await until(lambda: "the broker is unreachable" in caplog.text)
        broker.process.send_signal(signal.SIGCONT)
        await wait_until_connected(a, b)


@on_loop
async def test_malformed_messages_and_callback_errors_do_not_stop_a_relay(broker, caplog):
    broker.start()
    received = asyncio.Queue()

    def receive(sender, text):
        received.put_nowait((sender, text))
        if text == "fault":
            raise ValueError("a fault")

    async with Peer(broker) as a, Relay(broker.uri, "test", receive):
        while received.empty():
            a.relay.publish("hello")
            await asyncio.sleep(0.05)
        for data in (b"no-sender", b"\xff \xfe", b"x fault", b"x last"):
            broker.publish(b"test", data)
        found = []
        while ("x", "last") not in found:
            found.append(await received.get())
    assert [each for each in found if each[1] != "hello"] == [
        ("no-sender", ""),
        ("\ufffd", "\ufffd"),
        ("x", "fault"),
        ("x", "last"),
    ]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "a callback failed"
    ]


@on_loop
async def test_relay_exits_promptly_in_any_state(broker):
    broker.start()
    for turns in range(150):
        relay = Relay(broker.uri, "test", print)
        await relay.__aenter__()
        for _ in range(turns % 3):
            relay.publish("said")
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(relay.__aexit__(None, None, None), 4)


@on_loop
async def test_relay_whose_exit_is_cancelled_has_ended_its_tasks_and_its_connections(broker):
    relay = Relay(broker.uri, "test", print)  # the broker is not there, so that the exit waits
    await relay.__aenter__()
    relay.publish("said")
    close, closed = relay._redis.aclose, []

    async def aclose():
        closed.append(relay)
        await close()

    relay._redis.aclose = aclose
    leaving = asyncio.create_task(relay.__aexit__(None, None, None))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not leaving.done()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(leaving, 10)
    assert [task.done() for task in relay._tasks] == [True, True]
    assert closed == [relay]


@pytest.mark.parametrize(("backlog", "error"), [(0, ValueError), (-1, ValueError), (None, TypeError), ("5", TypeError)])
def test_backlog_without_a_limit_is_refused(backlog, error):
    uri, channel = "redis://localhost", "test"
    for make in (partial(Relay, uri, channel, print), partial(TopicRelay, Topics(), uri, channel)):
        with pytest.raises(error, match="backlog is"):
            make(backlog=backlog)


@on_loop
async def test_relay_goes_on_after_replies_that_redis_never_gives(broker, caplog):
    async def answer(reader, writer):
        await reader.read(100)
        writer.write(b":no number\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", broker.port)
    async with Peer(broker) as a, Peer(broker) as b:
        for peer in (a, b):
            peer.relay._may_publish.set()
            peer.relay.publish("early")
        await until(lambda: "the broker is unreachable: invalid literal" in caplog.text)
        await until(lambda: "messages cannot be published: invalid literal" in caplog.text)
        server.close()
        broker.start()
        await wait_until_connected(a, b)


@pytest.mark.parametrize("message", [b"binary", None])
def test_message_that_is_no_text_is_refused(message):
    relay = Relay("redis://localhost", "test", print)
    with pytest.raises(TypeError, match="a message of a relay is a str"):
        relay.publish(message)
    assert relay._backlog.empty()


@on_loop
async def test_messages_of_another_thread_are_published_at_once_in_order(broker, monkeypatch):
    monkeypatch.setattr(relays, "_BROKER_TIMEOUT", 60.0)  # nothing else wakes the event loop of the relay
    broker.start()
    texts = [f"{number}" for number in range(50)]

    def publish_and_receive(relay):
        with socket.create_connection(("127.0.0.1", broker.port), 10) as client, client.makefile("rb") as replies:
            client.sendall(b"*2\r\n$9\r\nSUBSCRIBE\r\n$6\r\ntopics\r\n")
            while not replies.readline().startswith(b":"):
                pass
            for text in texts:
                relay.publish("news", text)
            return [line.decode().split("news")[-1].strip() for line in replies_of(replies, len(texts))]

    def replies_of(replies, count):
        while count:
            line = replies.readline()
            if b"text 4 news" in line:
                count -= 1
                yield line

    async with TopicRelay(Topics(), broker.uri, "topics") as relay:
        await until(relay.relay._may_publish.is_set)
        assert await asyncio.to_thread(publish_and_receive, relay) == texts


@on_loop
async def test_earlier_messages_of_another_thread_are_published_at_the_exit(broker):
    broker.start()
    async with Peer(broker) as a:
        async with Peer(broker) as b:
            await wait_until_connected(a, b)
            thread = Thread(target=b.relay.publish, args=("last",))
            thread.start()
            thread.join()
        assert await a.wait_for("last") == b.relay.id


@on_loop
async def test_broker_that_refuses_messages_is_logged_once(broker, caplog):
    broker.start("--user", "default", "on", "nopass", "~*", "&*", "+@all", "-publish")

    def rejected():
        found = re.search(rb"cmdstat_publish:.*rejected_calls=(\d+)", broker.call(b"INFO", b"commandstats"))
        return 0 if found is None else int(found[1])

    def rejected_since(before):
        return rejected() >= before + 3

    def warnings():
        return [text for text in caplog.messages if text.startswith("messages cannot be published: ")]

    async with Peer(broker) as a, Peer(broker) as b:
        for number in range(2):
            a.relay.publish(str(number))
            await until(partial(rejected_since, rejected()))
            assert len(warnings()) == number + 1
            broker.call(b"ACL", b"SETUSER", b"default", b"+publish")
            assert await b.wait_for(str(number)) == a.relay.id
            broker.call(b"ACL", b"SETUSER", b"default", b"-publish")
    assert "permission" in warnings()[0]


@contextmanager
def two_servers(broker):
    with serving("--redis", broker.uri) as (_, one), serving("--redis", broker.uri, "--workers", "2") as (_, two):
        yield one, two


def people(guest, names):
    """Wait until the list of people holds exactly these names."""
    while {person["name"] for person in guest.next("people")["people"]} != names:
        pass


def test_chat_is_shared_by_two_servers(broker):
    broker.start()
    with two_servers(broker) as (one, two), Guest.joining(one, "Ada") as ada:
        with Guest.joining(two, "Bob") as bob, Guest.joining(two, "Cleo") as cleo:
            for guest in (ada, bob, cleo):
                people(guest, {"Ada", "Bob", "Cleo"})
            assert len({ada.id, bob.id, cleo.id}) == 3
            for guest in (ada, bob):
                guest.say(say="hello")
                said = {"type": "said", "id": guest.id, "name": "Ada" if guest is ada else "Bob", "text": "hello"}
                assert ada.next("said") == bob.next("said") == cleo.next("said") == said
            ada.say(name="bob")
            assert ada.next("note")["text"]
            assert ada.next("you")["name"] == "Ada"
        people(ada, {"Ada"})


def test_chat_connections_survive_a_broker_restart(broker):
    broker.start()
    with two_servers(broker) as (one, two), Guest.joining(one, "Ada") as ada, Guest.joining(two, "Bob") as bob:
        people(ada, {"Ada", "Bob"})
        people(bob, {"Ada", "Bob"})
        broker.stop()
        ada.say(say="is anybody here?")
        assert ada.next("said")["text"] == "is anybody here?"  # the room of her process still works
        bob.say(say="I am")
        assert bob.next("said")["text"] == "I am"
        broker.start()
        assert bob.next("said") == {"type": "said", "id": ada.id, "name": "Ada", "text": "is anybody here?"}
        assert ada.next("said") == {"type": "said", "id": bob.id, "name": "Bob", "text": "I am"}
        ada.say(say="there you are")
        assert bob.next("said")["text"] == "there you are"


@on_loop
async def test_guests_of_a_silent_remote_room_are_removed(broker, monkeypatch):
    monkeypatch.setattr(chat, "ANNOUNCE_INTERVAL", 0.1)
    broker.start()
    room = chat.Room()
    async with Relay(broker.uri, "rooms", room.receive) as relay, start("127.0.0.1", 0, room) as server:
        joining = asyncio.create_task(room.join(relay))
        async with peer(f"ws://{address(server)}/chat?name=Ada") as ada:

            async def see(*names):
                while True:
                    message = json.loads(await ada.recv())
                    if message["type"] == "people" and {each["name"] for each in message["people"]} == {*names}:
                        return

            await see("Ada")
            ghost = json.dumps({"type": "people", "people": [{"id": 7, "name": "Ghost"}]}).encode()
            shown = asyncio.create_task(see("Ada", "Ghost"))
            while not shown.done():
                broker.publish(b"rooms", b"other " + ghost)
                await asyncio.sleep(0.02)
            await shown
            async with connect(f"ws://{address(server)}/chat?name=GHOST") as second:
                assert json.loads(await second.recv())["name"].startswith("Guest ")
            await see("Ada")
        joining.cancel()


@pytest.mark.parametrize(("program", "echoes"), [("rooms.py", True), ("news.py", False)])
def test_documented_program_connects_two_processes(broker, tmp_path, program, echoes):
    broker.start()
    write_files(ROOT / "docs/how-to/processes.md", tmp_path)
    ports = [free_port() for _ in range(2)]
    processes = [subprocess.Popen([sys.executable, tmp_path / program, str(port), broker.uri]) for port in ports]

    async def talk():
        async with (
            await connect_in_time(f"ws://127.0.0.1:{ports[0]}/") as one,
            await connect_in_time(f"ws://127.0.0.1:{ports[1]}/") as two,
        ):
            hearing = asyncio.ensure_future(two.recv())
            while not hearing.done():  # until both relays are connected
                await one.send("here")
                if echoes:
                    assert await one.recv() == "here"
                await asyncio.sleep(0.02)
            assert hearing.result() == "here"

    try:
        asyncio.run(asyncio.wait_for(talk(), 60))
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def test_import_without_redis_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    monkeypatch.delitem(sys.modules, "framewire.relay")
    with pytest.raises(ImportError, match=r"^framewire.relay needs redis: pip install framewire\[redis\]$"):
        importlib.import_module("framewire.relay")
