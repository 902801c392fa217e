"""`Session` in virtual time: its peer is a `Stream`, and the test moves the clock."""

import os
import subprocess
import sys
from array import array

import pytest
from bounds import assert_linear
from frames import BINARY, CLOSE, PING, PONG, TEXT, frame, to

from framewire import (
    CLIENT,
    SERVER,
    Close,
    ConcurrencyError,
    ConnectionClosedError,
    ConnectionClosedOK,
    Fragment,
    FragmentError,
    PayloadTooBigError,
    Ping,
    Pong,
    RateLimit,
    State,
    StateError,
    Stream,
)
from framewire.extensions import Deflate
from framewire.session.broadcast import Broadcast
from framewire.session.keepalive import Keepalive
from framewire.session.message_queue import MessageQueue
from framewire.session.session import COMPRESSED_STEP, FRAGMENT_STEP, Ending, Session, length_of
from framewire.session.settings import MAX_QUEUE, QUEUE_SIZE, REPLIES_LIMIT, ConnectionSettings

pytestmark = pytest.mark.both_backends


class World:
    """A session, the stream of its peer, and the virtual time in seconds."""

    def __init__(
        self, role=SERVER, *, codecs=(), queue=True, auto_close=True, auto_pong=True, fragments=False, **settings
    ):
        self.now = 0.0
        settings = {"ping_interval": None, **settings}
        self.session = Session(
            role,
            ConnectionSettings(**settings),
            self.now,
            codecs=codecs,
            queue=queue,
            auto_close=auto_close,
            auto_pong=auto_pong,
            fragments=fragments,
        )
        self.peer = Stream(CLIENT if role is SERVER else SERVER, auto_close=False, auto_pong=False)
        self.written = 0

    def receive(self, *frames):
        """Receive frames: pairs of first byte and payload, or bytes."""
        data = b"".join(each if isinstance(each, bytes) else to(self.session.role, *each) for each in frames)
        return self.session.receive(data, self.now)

    def sent(self):
        """Pass the output to the peer; return the events that it receives."""
        data = self.session.data_to_send()
        self.written += len(data)
        return self.peer.receive(data)

    def take(self):
        """Take the next message like `recv`; return None if the queue is empty."""
        message = self.session.queue.take_message()
        if self.session.has_room_again:
            self.session.taken()
            if self.session.has_held_back:
                self.session.process([], self.now)
        return message

    def advance(self, until, waiting=0, step=None):
        """Move the clock from timer to timer; return the events that the peer receives."""
        events = []
        while (when := self.session.next_timer()) is not None and when <= until:
            self.now = max(self.now, when)
            self.session.written(self.session.bytes_queued, waiting)
            self.session.handle_timer(self.now)
            events += self.sent()
            if step is not None:
                step(self)
        self.now = until
        return events


# Package


def test_session_needs_no_clock_socket_loop_or_thread():
    blocked = ["asyncio", "socket", "select", "selectors", "ssl", "time", "threading", "_socket", "logging"]
    modules = ["broadcast", "close_state", "connection", "keepalive", "message_queue", "session", "settings"]
    code = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({blocked!r}))
for name in {modules!r}:
    importlib.import_module("framewire.session." + name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr


# Messages.


def test_messages_are_queued_in_order():
    world = World()
    assert world.receive((TEXT, b"a")) == []
    assert world.receive((BINARY, b"b"), (TEXT, b"c")) == []
    world.receive((TEXT, b"d"), (PING, b"p"), (TEXT, b"e"))
    assert [world.take() for _ in range(6)] == ["a", b"b", "c", "d", "e", None]
    assert world.session.stream.messages_received == 5
    assert world.session.pings_received == 1


def test_session_knows_that_a_read_brought_messages_only():
    world = World(queue=False)
    for frames, only in (
        ([(TEXT, b"fast")], True),
        ([(0x01, b"fragm"), (0x80, b"ented")], True),
        ([(TEXT, b"a"), (PING, b"")], False),
        ([(TEXT, b"b")], True),
    ):
        world.receive(*frames)
        assert world.session.only_messages is only


def test_messages_alone_are_queued_without_a_clock():
    world = World()
    assert world.session.receive_quickly(to(SERVER, TEXT, b"a")) == []
    assert world.session.receive_quickly(to(SERVER, TEXT, b"b") + to(SERVER, TEXT, b"c")) == []
    assert world.session.receive_quickly(to(SERVER, PING, b"")) == [Ping(b"")]
    assert [world.take() for _ in range(3)] == ["a", "b", "c"]


def test_fragments_are_received_in_steps_once_they_are_delivered():
    world = World(max_queue=1)
    world.session.deliver_fragments()
    world.receive(*[(0x01, b"x")], *[(0x00, b"x")] * FRAGMENT_STEP)
    assert world.session.has_held_back
    assert len(world.session.queue.items) < FRAGMENT_STEP // 2


def test_receiver_need_not_wait_after_an_error_of_the_stream(monkeypatch):
    world = World()
    monkeypatch.setattr(Stream, "_receive_slow", lambda *arguments: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        world.receive((0x01, b"x"))
    world.session.receive_eof(world.now)
    assert world.session.over
    assert world.session.queue.ended
    assert not world.session.quiet
    assert world.session.ending is Ending.CLOSE


def test_session_without_queue_returns_events():
    world = World(queue=False)
    assert world.receive((TEXT, b"a"), (PING, b"p"), (BINARY, b"b")) == ["a", Ping(b"p"), b"b"]
    assert world.session.queue is None
    assert world.sent() == [Pong(b"p")]


def test_session_with_queue_returns_control_frames_for_information():
    world = World()
    assert world.receive((TEXT, b"a"), (PING, b"p"), (PONG, b"q")) == [Ping(b"p"), Pong(b"q")]


def test_bytes_like_input_of_a_given_size_is_received():
    world = World()
    buffer = bytearray(to(SERVER, TEXT, b"a") + b"garbage")
    world.session.receive(buffer, 0, 7)
    assert world.take() == "a"


def test_full_queue_stops_reading_until_it_is_down_to_the_low_mark():
    world = World(max_queue=(3, 1))
    world.receive(*[(TEXT, b"x")] * 3)
    assert world.session.reading
    world.receive((TEXT, b"x"))
    assert not world.session.reading
    for _ in range(2):
        world.take()
    assert not world.session.reading
    world.take()
    assert world.session.reading


def test_stop_queueing_drops_later_messages_only():
    world = World()
    world.receive((TEXT, b"a"))
    world.session.close(1000, "", world.now)
    world.session.stop_queueing()
    world.receive((TEXT, b"b"), (PING, b"p"))
    world.receive((TEXT, b"c"))
    assert [world.take(), world.take()] == ["a", None]
    assert world.session.pings_received == 1


def test_large_messages_stop_reading_by_their_size():
    world = World(max_size=None)
    world.receive((BINARY, bytes(QUEUE_SIZE)))
    assert world.session.reading
    world.receive((BINARY, b"x"))
    assert not world.session.reading
    world.take()
    assert world.session.reading


def test_reading_goes_on_once_a_quarter_of_the_size_waits():
    quarter = QUEUE_SIZE // 4
    for rest, reading in ((quarter, True), (quarter + 1, False)):
        world = World(max_size=None)
        world.receive((BINARY, bytes(QUEUE_SIZE)), (BINARY, bytes(rest)))
        world.take()
        assert world.session.reading is reading
        world.receive((BINARY, b""))
        world.take()
        assert world.session.reading


def test_size_of_queued_messages_is_the_sum_of_all_that_wait():
    world = World(max_size=None, max_queue=100)
    half = BINARY, bytes(QUEUE_SIZE // 2)
    world.receive(half, half)
    assert world.session.reading
    world.receive((BINARY, b"x"))
    assert not world.session.reading
    world = World(max_size=None)
    world.receive((BINARY, bytes(QUEUE_SIZE + 1)))
    assert not world.session.reading


@pytest.mark.parametrize("fragments", [False, True])
def test_queue_without_max_queue_is_limited_all_the_same(fragments):
    world = World(max_queue=None, fragments=fragments)
    world.receive(*[(TEXT, b"")] * MAX_QUEUE)
    assert world.session.reading
    world.receive((TEXT, b"last"))
    assert not world.session.reading
    for _ in range(MAX_QUEUE // 4 * 3):
        assert world.take() == ""
    assert not world.session.reading
    assert world.take() == ""
    assert world.session.reading
    world = World(max_queue=None)
    world.receive((BINARY, bytes(QUEUE_SIZE - 1)), (BINARY, b"a"))
    assert world.session.reading
    world.receive((BINARY, b"a"))
    assert not world.session.reading


def test_message_of_more_fragments_than_the_queue_holds_is_received():
    world = World(max_queue=None, fragments=True)
    world.receive((0x01, b""))
    for _ in range(3):
        world.receive(*[(0x00, b"x")] * (MAX_QUEUE + 1))
        assert not world.session.reading
        assert world.take() is None
        assert world.session.reading
    world.receive((0x80, b""))
    assert world.take() == "x" * 3 * (MAX_QUEUE + 1)


def test_compressed_input_is_received_in_steps_that_a_full_queue_stops():

    sender = Stream(CLIENT, extensions=[Deflate()])
    data = b"".join(sender.send(bytes(100_000)) for _ in range(100))
    assert len(data) > 2 * COMPRESSED_STEP
    world = World(codecs=[Deflate()], max_size=None)
    world.session.receive(data, 0)
    assert not world.session.reading
    assert len(world.session.queue.items) < 100
    world.session.receive(sender.send("last"), 0)  # a read that began before
    received = []
    while (message := world.take()) is not None:
        received.append(message)
    assert received == [bytes(100_000)] * 100 + ["last"]


def test_messages_held_back_are_received_before_the_end():

    sender = Stream(CLIENT, extensions=[Deflate()])
    data = b"".join(sender.send(bytes(100_000)) for _ in range(100))
    world = World(codecs=[Deflate()], max_size=None)
    world.session.receive(data, 0)
    assert world.session.receive_eof(0)
    received = []
    while (message := world.take()) is not None:
        received.append(message)
    assert received == [bytes(100_000)] * 100
    assert world.session.ending is Ending.CLOSE


@pytest.mark.parametrize("queue", [True, False])
def test_input_that_inflates_without_end_is_dropped_at_the_end(queue):
    sender = Stream(CLIENT, extensions=[Deflate()])
    data = b"".join(sender.send(bytes(1_000_000)) for _ in range(100)) + sender.close(1000)
    limits = {"max_queue": 1} if queue else {"rate_limit": RateLimit(messages=1)}
    world = World(codecs=[Deflate()], queue=queue, auto_close=False, **limits)
    world.session.receive(data, 0)
    assert world.session.has_held_back
    remaining = world.session.receive_eof(0)
    received = sum(1 for event in remaining if event == bytes(1_000_000))
    while queue and world.take() is not None:
        received += 1
    most = (1 << 24) + 2 * 1032 * COMPRESSED_STEP + 2_000_000
    assert (1 << 24) - 1_000_000 <= received * 1_000_000 <= most
    assert not world.session.has_held_back
    assert world.session.error().code == 1006


# Pieces.


def test_fragments_are_joined_for_take_message():
    world = World(fragments=True)
    world.receive((0x01, b"a"), (0x00, b""), (0x80, b"b"), (0x02, b"c"), (0x80, b"d"))
    assert [world.take() for _ in range(3)] == ["ab", b"cd", None]


def test_cancelled_recv_loses_and_mixes_nothing():
    """`recv` times out in the middle of a message, then the message is received in pieces."""
    world = World(fragments=True)
    queue = world.session.queue
    world.receive((0x01, b"AA"))
    assert world.take() is None  # recv times out
    world.receive((0x80, b"BB"), (0x02, b"xx"))
    assert [queue.take_piece(), queue.take_piece()] == [("AA", False), ("BB", True)]
    assert world.take() is None
    world.receive((0x80, b"yy"))
    assert world.take() == b"xxyy"


def test_message_taken_in_part_cannot_be_taken_whole():
    world = World(fragments=True)
    world.receive((0x01, b"a"), (0x80, b"b"), (TEXT, b"c"))
    assert world.session.queue.take_piece() == ("a", False)
    with pytest.raises(ConcurrencyError):
        world.take()
    assert world.session.queue.take_piece() == ("b", True)
    assert world.take() == "c"
    assert world.session.queue.take_piece() is None


def test_fragments_are_delivered_from_the_first_request_on():
    world = World()
    world.receive((0x01, b"a"))
    world.session.deliver_fragments()
    assert world.session.receive_step == FRAGMENT_STEP
    world.receive((0x00, b"b"), (0x80, b"c"))
    assert [world.session.queue.take_piece() for _ in range(2)] == [("ab", False), ("c", True)]


@pytest.mark.parametrize(
    ("payload", "pieces"),
    [
        (b"", [b""]),
        (b"12345678", [b"12345678"]),
        (b"123456789", [b"12345678", b"9"]),
        ("é" * 4, ["éééé"]),
        ("é" * 9, ["éé"] * 3 + ["ééé"]),
        ("x" * 9, ["x" * 8, "x"]),
    ],
)
def test_queued_message_is_cut_into_pieces_of_piece_size(payload, pieces):
    world = World(piece_size=8)
    world.session.queue.put([payload], len(payload))
    queue, taken, last = world.session.queue, [], False
    while not last:
        assert queue.next_size is not None
        piece, last = queue.take_piece()
        taken.append(piece)
    assert taken == pieces
    assert all(len(piece.encode() if isinstance(piece, str) else piece) <= 8 for piece in taken)


@pytest.mark.parametrize(
    ("payload", "pieces"),
    [
        (b"12345678", [b"12345", b"678"]),
        ("é€🎉ab".encode(), ["é€".encode(), "🎉a".encode(), b"b"]),
        (b"\xa0" * 8, [b"\xa0" * 5, b"\xa0" * 3]),
    ],
)
def test_queued_text_as_bytes_is_cut_between_code_points(payload, pieces):
    world = World(piece_size=5, text_as_bytes=True)
    world.receive((BINARY, payload))
    assert [world.session.queue.take_piece() for _ in pieces] == [(p, p is pieces[-1]) for p in pieces]


@pytest.mark.parametrize(
    ("message", "settings", "pieces"),
    [
        (bytes(15), {"piece_size": 5}, [5, 5, 5]),
        (b"abcd\xc3\xa9xyz", {"piece_size": 5}, [5, 4]),
        ("🎉abcd", {"piece_size": 4}, [1, 4]),
        (b"abcdefghi", {"piece_size": 4, "text_as_bytes": True}, [4, 4, 1]),
        ("é€🎉".encode(), {"piece_size": 4, "text_as_bytes": True}, [2, 3, 4]),
        ("é€🎉".encode(), {"piece_size": 5, "text_as_bytes": True}, [5, 4]),
        ("éé".encode() + b"x", {"piece_size": 3, "text_as_bytes": True}, [4, 1]),
        ("xéé".encode(), {"piece_size": 4, "text_as_bytes": True}, [3, 2]),
        ("🎉🎉".encode(), {"piece_size": 7, "text_as_bytes": True}, [4, 4]),
        ("🎉".encode(), {"piece_size": 1, "text_as_bytes": True}, [4]),
        (b"a" + b"\x80" * 7, {"piece_size": 4, "text_as_bytes": True}, [4, 4]),  # not UTF-8
    ],
)
def test_queue_cuts_a_message_into_pieces(message, settings, pieces):
    queue = MessageQueue(ConnectionSettings(**settings))
    queue.put([message], len(message))
    taken = []
    while queue.next_size is not None:
        rest = message[sum(map(len, taken)) :]
        assert queue.next_size == len(rest.encode() if isinstance(rest, str) else rest)
        piece, last = queue.take_piece()
        taken.append(piece)
    assert ([*map(len, taken)], type(message)().join(taken), last) == (pieces, message, True)


@pytest.mark.parametrize(
    ("rest", "is_cut"),
    [
        ([], True),
        ([Fragment("c", False, False)], True),
        ([Fragment("c", False, True)], False),
        ([Fragment("c", False, True), Fragment("d", True, False)], False),
    ],
)
def test_message_taken_in_part_holds_others_up_until_the_end_has_cut_it(rest, is_cut):
    queue = MessageQueue(ConnectionSettings(piece_size=1))
    queue.put([Fragment("ab", True, False), *rest], 2 + len(rest))
    assert queue.take_piece() == ("a", False)
    with pytest.raises(ConcurrencyError):
        queue.take_message()
    queue.ended = True
    if is_cut:
        assert queue.take_message() is None
        assert [queue.take_piece() for _ in ("b", *rest)] == [("b", False), *[(each.data, False) for each in rest]]
    else:
        with pytest.raises(ConcurrencyError):
            queue.take_message()


def test_message_whose_end_is_taken_in_part_is_not_cut():
    queue = MessageQueue(ConnectionSettings(piece_size=1))
    queue.put(["ab"], 2)
    assert queue.take_piece() == ("a", False)
    queue.ended = True
    with pytest.raises(ConcurrencyError):
        queue.take_message()
    assert queue.take_piece() == ("b", True)


@pytest.mark.parametrize("end", ["eof", "close", "violation"])
def test_message_taken_in_part_is_over_at_the_end_of_the_connection(end):
    world = World(fragments=True)
    world.receive((0x01, b"cut"))
    assert world.session.queue.take_piece() == ("cut", False)
    world.receive((PING, b""), (PONG, b""))
    with pytest.raises(ConcurrencyError):
        world.take()
    if end == "eof":
        world.session.receive_eof(0.0)
    else:
        world.receive((CLOSE, b"") if end == "close" else (TEXT, b"in between"))
    assert world.take() is None
    assert world.session.over


def test_queue_without_room_takes_no_message_by_the_short_path():
    queues = [MessageQueue(ConnectionSettings(max_queue=number)) for number in (0, 1)]
    assert [queue.max_alone for queue in queues] == [-1, QUEUE_SIZE]


def test_piece_of_text_as_bytes_has_one_code_point_at_least():
    world = World(piece_size=1, text_as_bytes=True)
    world.session.queue.put(["🎉é".encode()], 6)
    assert [world.session.queue.take_piece() for _ in range(2)] == [("🎉".encode(), False), ("é".encode(), True)]


def test_text_as_bytes_is_received_as_bytes_whole_and_in_fragments():
    world = World(fragments=True, text_as_bytes=True)
    world.receive((TEXT, "é".encode()), (0x01, b"\xe2\x82"), (0x80, b"\xac"), (BINARY, b"\xff"))
    assert [world.take() for _ in range(3)] == ["é".encode(), "€".encode(), b"\xff"]


def test_cost_of_cutting_a_queued_message_into_pieces_is_linear(monkeypatch):
    encoded = []
    encode = MessageQueue.encode
    monkeypatch.setattr(MessageQueue, "encode", lambda self, data: encoded.append(len(data)) or encode(self, data))
    world = World(piece_size=16)
    world.session.queue.put(["é" * 20_000], 20_000)
    while not world.session.queue.take_piece()[1]:
        pass
    assert sum(encoded) <= 20_000


@pytest.mark.parametrize("backlog", [0, 1], ids=["taken at once", "taken later"])
def test_queue_keeps_the_order_of_many_reads(backlog):
    world, taken = World(max_queue=None), []
    for number in range(0, 300, 3):
        world.receive(*[(TEXT, str(number + each).encode()) for each in range(3)])
        taken += [world.take() for _ in range(3 - backlog)]
    while (message := world.take()) is not None:
        taken.append(message)
    assert taken == [str(number) for number in range(300)]
    assert world.session.queue.size == 0


def test_time_to_queue_a_message_does_not_depend_on_how_many_wait():
    def run(number):
        queue = MessageQueue(ConnectionSettings())
        for _ in range(number):
            queue.put([""], 0)
        while queue.take_message() is not None:
            pass

    assert_linear(run, 100_000)


def test_max_queue_of_0_stops_reading_at_the_first_message():
    world = World(max_queue=0)
    world.receive((TEXT, b"a"))
    assert not world.session.reading
    assert world.take() == "a"
    assert world.session.reading


@pytest.mark.parametrize(
    ("errors", "data", "parts"),
    [
        ("strict", ["a€".encode()[:2], b"\x82", b"\xacb"], ["a", "", "€b"]),
        ("replace", [b"\xe2", b"\x82", b"x\xf0"], ["", "", "\ufffdx\ufffd"]),
        ("surrogateescape", [b"\xe2\x82", b"\xac\xff", b""], ["", "€\udcff", ""]),
    ],
)
def test_code_point_that_pieces_cut_is_decoded_with_the_last_of_them(errors, data, parts):
    queue = MessageQueue(ConnectionSettings(text_errors=errors))
    for _ in range(2):  # a message leaves nothing behind for the next one
        items = [Fragment(part, number == 0, number == 2) for number, part in enumerate(data)]
        queue.put(items, sum(map(len, data)))
        assert [queue.convert_piece(*queue.take_piece(), True) for _ in data] == parts
        queue.put([Fragment(part, number == 0, number == 2) for number, part in enumerate(data)], sum(map(len, data)))
        assert [queue.convert_piece(*queue.take_piece(), None) for _ in data] == data


def put(queue, items):
    queue.put(list(items), sum(len(each.data if isinstance(each, Fragment) else each) for each in items))


@pytest.mark.parametrize("arrived", [1, 2, 3])
@pytest.mark.parametrize(("way", "result"), [("take_message", "é"), ("take_piece", ("é", True)), ("next_size", 2)])
def test_rest_of_a_message_whose_pieces_cannot_be_decoded_is_dropped(way, result, arrived):
    queue = MessageQueue(ConnectionSettings(piece_size=2))
    look = (lambda: queue.next_size) if way == "next_size" else getattr(queue, way)
    items = [Fragment(b"\xff\xffrest", True, False), Fragment(b"more", False, False), Fragment(b"end", False, True)]
    put(queue, items[:arrived])
    with pytest.raises(UnicodeDecodeError):
        queue.convert_piece(*queue.take_piece(), True)
    queue.check_between_messages()
    for item in items[arrived:]:
        assert look() is None
        put(queue, [item])
    put(queue, ["é", b"\xe2\x82"])
    assert look() == result
    if way == "next_size":
        assert queue.take_message() == "é"
    with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
        queue.convert_piece(*queue.take_piece(), True)
    assert (queue.take_message(), queue.take_piece(), queue.next_size, queue.size) == (None, None, None, 0)
    queue.check_between_messages()


def test_rest_of_a_whole_message_whose_pieces_cannot_be_decoded_is_dropped():
    queue = MessageQueue(ConnectionSettings(piece_size=2))
    put(queue, [b"\xff\xffrest", "next"])
    with pytest.raises(UnicodeDecodeError):
        queue.convert_piece(*queue.take_piece(), True)
    assert [queue.take_message(), queue.take_message()] == ["next", None]


def test_piece_has_one_character_at_least():
    world = World(piece_size=3)
    world.session.queue.put(["🎉é"], 2)
    assert [world.session.queue.take_piece() for _ in range(2)] == [("🎉", False), ("é", True)]


def test_next_size_is_in_bytes():
    world = World(fragments=True)
    assert world.session.queue.next_size is None
    world.receive((TEXT, "é".encode()), (0x01, b"abc"))
    assert world.session.queue.next_size == 2
    world.take()
    assert world.session.queue.next_size == 3
    assert world.session.queue.take_message() is None  # the rest has not arrived
    assert world.session.queue.next_size == 3
    assert world.session.queue.take_piece() == ("abc", False)
    assert world.session.queue.next_size is None


def test_memory_of_fragments_follows_the_payload():
    world = World(fragments=True, max_queue=16)
    one = to(SERVER, 0x00, b"")
    world.receive((0x01, b"a"))
    for _ in range(100):
        world.session.receive(one * 1000, 0)
        while world.take() is not None or not world.session.reading:
            pass
    assert len(world.session.queue.items) <= 17
    world.receive((0x80, b"z"))
    assert world.take() == "az"


# Automatic replies.


def test_replies_that_a_peer_does_not_read_stop_reading():
    world = World()
    world.session.pause_writing(0)
    for _ in range(REPLIES_LIMIT // 127 + 2):
        world.receive((PING, bytes(125)))
    assert not world.session.reading
    world.session.resume_writing()
    assert world.session.reading


@pytest.mark.parametrize("queue", [True, False])
def test_input_held_back_for_unread_replies_is_processed_once_they_are_read(queue):

    world = World(codecs=[Deflate()], queue=queue)
    world.session.pause_writing(0)
    world.receive(*[(PING, bytes(125))] * 1000, (TEXT, b"last"))
    assert not world.session.reading
    assert world.session.has_held_back
    assert "last" not in world.session.process([], 0)
    world.session.resume_writing()
    events = world.session.process([], 0)
    assert (world.take() if queue else events[-1]) == "last"
    assert world.session.pings_received == 1000
    assert not world.session.has_held_back


def test_pongs_of_the_caller_that_nobody_reads_stop_reading():
    world = World(auto_pong=False)
    world.session.pause_writing(1)
    for _ in range(REPLIES_LIMIT // 127 + 1):
        assert world.session.reading
        world.session.reply_pong(bytes(125))
    assert not world.session.reading


def test_session_without_queue_stops_reading_when_unread_replies_pile_up():
    world = World(queue=False)
    world.session.send(bytes(2 * REPLIES_LIMIT))
    world.session.pause_writing(2 * REPLIES_LIMIT)
    world.session.send(bytes(2 * REPLIES_LIMIT))
    assert world.session.reading  # the peer may wait for us in the same way
    world.session.handling = True
    world.session.send(bytes(REPLIES_LIMIT - 4))
    assert world.session.reading
    world.session.send(b"")
    assert not world.session.reading
    world.session.resume_writing()
    assert world.session.reading


def test_pings_may_be_answered_by_the_caller():
    world = World(auto_pong=False)
    world.receive((PING, b"p"))
    assert world.sent() == []
    world.session.reply_pong(b"p")
    assert world.sent() == [Pong(b"p")]
    world.session.receive_eof(0)
    world.session.reply_pong(b"q")
    assert world.sent() == []


# Sending.


def test_output_is_returned_once_and_counted():
    world = World()
    assert world.session.data_to_send() == b""
    world.session.send("a")
    world.session.send(b"b", last=False)
    world.session.send(b"c")
    world.session.send_raw(frame(PING, b"raw"))
    size = world.session.output_size
    assert world.session.bytes_queued == size
    assert world.sent() == ["a", b"bc", Ping(b"raw")]
    assert world.session.data_to_send() == b""
    assert world.session.bytes_queued == size == world.written
    assert world.session.messages_sent == 2


def test_long_messages_are_cut_into_fragments():
    session = World(fragment_size=4).session
    assert not session.is_fragmented(b"1234")
    assert session.is_fragmented(b"12345")
    assert session.is_fragmented("12")  # a character has up to 4 bytes
    assert session.fragments("12") == [(b"12", True, True)]
    assert session.fragments(b"12345") == [(b"1234", False, False), (b"5", False, True)]
    assert not World().session.is_fragmented(bytes(1000))


@pytest.mark.parametrize("message", ["text", b"binary"])
def test_whole_message_is_sent_as_its_type_says(message):
    world = World()
    world.session.send_whole(message)
    assert world.session.bytes_queued == world.session.output_size == len(message) + 2
    assert world.sent() == [message]


def test_long_message_is_sent_in_steps():
    world = World()
    assert list(world.session.send_steps("x" * 100_000)) == []
    assert world.sent() == ["x" * 100_000]
    assert world.session.messages_sent == 1


def test_long_message_of_several_fragments_is_sent_in_steps():
    world = World(codecs=[Deflate()], fragment_size=40_000)
    world.peer = Stream(CLIENT, extensions=[Deflate()], fragments=True)
    steps = world.session.send_steps("x" * 100_000)
    next(steps)
    assert world.sent() == []
    assert list(steps) == []
    whole = (
        Fragment("x" * 40_000, True, False),
        Fragment("x" * 40_000, False, False),
        Fragment("x" * 20_000, False, True),
    )
    assert world.sent() == [*whole]
    assert world.session.messages_sent == 1


class InterruptError(BaseException):
    """Raised by a signal handler."""


def test_messages_after_one_whose_frame_is_lost_arrive(monkeypatch):
    """A signal handler that raises may interrupt `send` once the message is compressed."""

    def interrupt(*_):
        raise InterruptError

    world = World(codecs=[Deflate()])
    world.peer = Stream(CLIENT, extensions=[Deflate()])
    text = os.urandom(5000).hex()
    world.session.send(text)
    with monkeypatch.context() as patch, pytest.raises(InterruptError):
        patch.setattr(Session, "_add_output", interrupt)
        world.session.send(text + "lost" * 500)
    world.session.send(text)
    assert world.sent() == [text, text]


def test_message_that_cannot_be_sent_leaves_the_codec_to_one_that_is_encoded_in_steps():
    world = World(codecs=[Deflate()])
    world.peer = Stream(CLIENT, extensions=[Deflate()])
    text = os.urandom(50_000).hex()
    steps = world.session.send_steps(text)
    next(steps)
    with pytest.raises(TypeError):
        world.session.send(1)
    assert list(steps) == []
    assert world.sent() == [text]


class InterruptedCodec:
    """A codec in whose `encode` a signal handler sends."""

    rsv, threshold, pending, abandoned = 0x40, 0, False, 0

    def encode(self, content, last):
        with pytest.raises(RuntimeError, match="in use"):
            self.session.send("of the handler", last=True)
        return content

    def abandon(self):
        self.abandoned += 1


def test_message_of_a_signal_handler_leaves_the_codec_to_the_one_that_it_interrupts():
    codec = InterruptedCodec()
    codec.session = Session(SERVER, ConnectionSettings(), 0.0, codecs=[codec])
    codec.session.send("interrupted")
    assert (codec.session.messages_sent, codec.abandoned) == (1, 0)


def test_fragment_that_cannot_be_sent_leaves_the_codec_to_its_message():
    world = World(codecs=[Deflate()])
    world.peer = Stream(CLIENT, extensions=[Deflate()])
    world.session.send("begin", last=False)
    with pytest.raises(TypeError):
        world.session.send(1, last=False)
    world.session.send("begin and end")
    assert world.sent() == ["beginbegin and end"]


def test_unread_bytes_before_a_message_abort_the_connection():
    """The message's own size does not count: it does not show that the peer does not read."""
    world = World(max_unsent=100)
    assert world.session.check_unsent(100)
    assert world.session.ending is Ending.NONE
    assert not world.session.check_unsent(101)
    assert world.session.ending is Ending.ABORT
    assert world.session.deadline is None
    assert world.session.next_timer() is None
    world.session.receive_eof(0)
    assert str(world.session.error()) == "sent 1008 (policy violation) too much is unread; no close frame received"
    assert world.session.error().__cause__ is None  # it was not the peer who ended TCP
    assert World(max_unsent=None).session.check_unsent(1 << 40)


# Closing.


def test_close_frame_is_answered_with_its_code_and_reason():
    world = World()
    world.receive((CLOSE, b"\x0f\xa1bye"))
    assert world.sent() == [Close(4001, "bye")]
    assert world.session.over
    assert world.session.ending is Ending.OUTPUT
    error = world.session.error()
    assert (error.rcvd, error.sent, error.rcvd_then_sent) == (Close(4001, "bye"), Close(4001, "bye"), True)
    with pytest.raises(ConnectionClosedError):
        world.session.check_sendable()


def test_client_waits_for_the_server_to_end_tcp_and_aborts_after_close_timeout():
    world = World(CLIENT, close_timeout=5)
    world.session.close(1000, "", 0)
    assert world.session.state is State.CLOSING
    assert not world.session.check_sendable()
    assert world.sent() == [Close(1000, "")]
    world.now = 3
    world.receive((CLOSE, b"\x03\xe8"))
    assert world.session.ending is Ending.WAIT
    assert isinstance(world.session.error(), ConnectionClosedOK)
    assert world.session.error().rcvd_then_sent is False
    world.advance(4.9)
    assert world.session.ending is Ending.WAIT
    world.advance(5)  # the timeout of the first close
    assert world.session.ending is Ending.ABORT


def test_end_of_tcp_after_the_close_closes_both_directions():
    world = World()
    world.receive((CLOSE, b""))
    assert world.session.receive_eof(0) == []
    assert world.session.ending is Ending.CLOSE
    assert isinstance(world.session.error(), ConnectionClosedOK)


def test_loss_of_the_connection_is_1006():
    world = World()
    answers = []
    world.session.ping(b"p", 0, answers.append)
    world.session.ping(b"q", 0)
    world.receive((TEXT, b"before"))
    world.session.receive_eof(0)
    assert world.take() == "before"
    assert world.session.over
    assert world.session.error().code == 1006
    assert answers == [None]
    assert world.session.receive_eof(0) == []


def test_eof_after_an_abort_does_not_change_it():
    world = World(max_unsent=0)
    world.session.check_unsent(1)
    world.session.receive_eof(0)
    assert world.session.ending is Ending.ABORT


def test_after_a_failure_to_write_the_rest_is_received_for_close_timeout_at_most():
    world = World(close_timeout=5)
    world.session.write_failed(0)
    world.advance(4)
    world.receive((TEXT, b"still"))
    assert (world.take(), world.session.ending) == ("still", Ending.NONE)
    world.advance(5)
    assert world.session.ending is Ending.ABORT


def test_second_close_does_nothing():
    world = World()
    world.session.close(4000, "first", 0)
    world.session.close(4001, "second", 0)
    world.session.fail(1011, "third", 0)
    assert world.sent() == [Close(4000, "first")]
    world.session.fail(1011, "fourth", 0)
    assert world.sent() == []


def test_messages_and_close_after_own_close_are_received_within_the_queue_limit():
    world = World(max_queue=2)
    world.receive((TEXT, b"a"))
    world.session.close(1000, "", 0)
    world.receive((TEXT, b"b"), (TEXT, b"c"))
    assert world.session.reading
    world.receive((TEXT, b"d"), (TEXT, b"e"))
    world.receive((TEXT, b"f"))
    world.receive((CLOSE, b"\x03\xe8"))
    assert [world.take() for _ in range(4)] == ["a", "b", "c", None]
    assert isinstance(world.session.error(), ConnectionClosedOK)


def test_close_in_mid_message_is_1011():
    """The peer must regard neither the message as complete nor the close as orderly."""
    world = World()
    world.session.send("begun", last=False)
    world.session.close(1000, "", 0)
    world.sent()
    world.receive((CLOSE, b"\x03\xf3"))
    error = world.session.error()
    assert isinstance(error, ConnectionClosedError)
    assert error.sent == Close(1011, "close during fragmented message")


def test_own_reason_for_1011_in_mid_message_is_kept():
    world = World()
    world.session.send("begun", last=False)
    world.session.close(1011, "error in fragmented message", 0)
    assert world.session.close_state.sent == Close(1011, "error in fragmented message")


def test_answer_to_a_close_may_be_left_to_the_caller():
    world = World(auto_close=False)
    world.receive((CLOSE, b"\x0f\xa1bye"))
    assert world.sent() == []
    assert world.session.over
    assert world.session.ending is Ending.NONE
    world.session.close(4002, "", 0)
    assert world.sent() == [Close(4002, "")]
    assert world.session.ending is Ending.OUTPUT


def test_nothing_is_answered_once_the_connection_is_lost():
    world = World(auto_close=False)
    world.session.receive_eof(0)
    world.session.close(1000, "", 0)
    assert world.sent() == []


def test_close_timeout_of_none_sets_no_deadline():
    world = World(close_timeout=None)
    world.session.close(1000, "", 0)
    assert world.session.next_timer() is None


# Failures.


@pytest.mark.parametrize("reasons", [True, False])
def test_reason_of_a_failure_is_sent_unless_disabled(reasons):
    world = World(send_close_reasons=reasons)
    world.receive((TEXT, b"\xff"))
    (close_frame,) = world.sent()
    assert close_frame.code == 1007
    assert bool(close_frame.reason) == reasons


def test_failure_waits_until_earlier_messages_are_taken():
    world = World(close_timeout=5)
    world.receive((TEXT, b"before"), (TEXT, b"\xff"))
    assert world.sent() == []
    assert world.session.state is State.OPEN
    world.session.send("answer")
    assert world.take() == "before"
    world.session.settle(0)
    assert [type(event) for event in world.sent()] == [str, Close]
    assert world.session.ending is Ending.OUTPUT
    assert world.session.error().sent.code == 1007
    world.session.settle(0)


def test_held_back_failure_is_the_only_timer():
    world = World(close_timeout=5, ping_interval=1, idle_timeout=1, total_timeout=1)
    world.receive((TEXT, b"before"), (TEXT, b"\xff"))
    assert world.session.next_timer() == 5


def test_failure_comes_after_close_timeout_at_the_latest():
    world = World(close_timeout=5)
    world.receive((TEXT, b"before"), (TEXT, b"\xff"))
    world.session.receive(to(SERVER, TEXT, b"ignored"), 0)
    assert world.session.deadline == 5
    (close,) = world.advance(5)
    assert close.code == 1007
    assert world.take() == "before"
    assert world.session.deadline == 10


def test_failure_without_messages_before_it_comes_at_once():
    world = World()
    world.receive((TEXT, b"\xff"))
    assert world.session.over
    assert world.sent()[0].code == 1007


def test_failure_after_nothing_but_a_ping_comes_at_once_after_the_pong():
    world = World()
    world.receive((PING, b"p"), (0x83, b""))
    assert world.session.over
    assert [type(event) for event in world.sent()] == [Pong, Close]


def test_answer_to_a_failure_may_be_left_to_the_caller():
    world = World(auto_close=False)
    world.receive((0x83, b""))
    assert world.sent() == []
    assert world.session.ending is Ending.NONE
    world.session.close(1002, "why", 0)
    assert world.sent() == [Close(1002, "why")]
    assert world.session.ending is Ending.OUTPUT


def test_close_while_a_failure_is_held_back_fails():
    world = World()
    world.receive((TEXT, b"before"), (TEXT, b"\xff"))
    world.session.close(1000, "", 0)
    assert world.sent()[0].code == 1007


def test_earlier_of_two_deadlines_counts():
    world = World(close_timeout=5)
    world.session.close(1000, "", 0)
    world.now = 3
    world.receive((TEXT, b"before"), (TEXT, b"\xff"))
    assert world.session.deadline == 5
    world.advance(5)
    assert world.session.ending is Ending.ABORT
    assert world.take() == "before"


def test_end_of_tcp_is_awaited_for_close_timeout_after_another_failure():
    world = World(close_timeout=5)
    world.receive((TEXT, b"before"), (TEXT, b"\xff"))
    world.session.fail(1011, "first", 3)
    assert world.session.deadline == 8


# Pings and keepalive.


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_ping_carries_bytes_like_data(kind):
    world = World()
    answers = []
    payload = bytearray(b"data")
    assert world.session.ping(kind(payload), 0, answers.append) == b"data"
    payload[:] = b"text"
    assert world.sent() == [Ping(b"data")]
    with pytest.raises(ConcurrencyError):
        world.session.ping(b"data", 1)
    world.now = 2
    world.receive((PONG, b"data"))
    assert answers == [2]
    for invalid, error in (("data", TypeError), (4, TypeError), (bytes(126), PayloadTooBigError)):
        with pytest.raises(error):
            world.session.ping(invalid, 0)


def test_pong_answers_its_ping_and_all_earlier_pings():
    world = World()
    answers = []
    world.session.ping(b"1", 0, lambda latency: answers.append((1, latency)))
    world.session.ping(b"2", 1, lambda latency: answers.append((2, latency)))
    payload = world.session.ping(None, 2)
    assert len(payload) == 4
    with pytest.raises(ConcurrencyError):
        world.session.ping(b"1", 2)
    world.now = 3
    world.receive((PONG, b"unsolicited"))
    assert answers == []
    world.receive((PONG, b"2"))
    assert answers == [(1, 3), (2, 2)]
    assert world.session.keepalive.latency == 2
    assert world.session.pings_sent == 3
    world.session.pong(b"heartbeat")
    assert world.sent()[-1] == Pong(b"heartbeat")


def test_ping_whose_pong_the_caller_recognises_may_repeat():
    world = World()
    world.session.send_ping(b"p")
    world.session.send_ping(b"p")
    assert world.sent() == [Ping(b"p"), Ping(b"p")]


def answer_pings(world):
    """Have the peer answer the last keepalive ping."""
    for payload in list(world.session.keepalive._pings):
        world.receive((PONG, payload))


@pytest.mark.parametrize("keepalive", [None, 20], ids=["no keepalive", "keepalive"])
def test_connection_stays_open_for_a_day_without_messages(keepalive):
    world = World(ping_interval=keepalive, ping_timeout=keepalive)
    events = world.advance(86_400, step=answer_pings)
    assert {type(event) for event in events} <= {Ping}
    assert bool(events) is bool(keepalive)
    assert world.session.state is State.OPEN
    assert world.session.ending is Ending.NONE


def test_keepalive_pings_at_intervals_while_they_are_answered():
    world = World(ping_interval=10, ping_timeout=4)
    events = world.advance(45, step=answer_pings)
    assert [type(event) for event in events] == [Ping] * 4
    assert world.session.state is State.OPEN


def test_keepalive_looks_eight_times_before_it_fails():
    world = World(ping_interval=10, ping_timeout=4)
    looks = []
    world.advance(13.9, step=lambda world: looks.append(world.session.next_timer()))
    assert looks == [10.5, 11, 11.5, 12, 12.5, 13, 13.5, 14]


def test_bytes_that_only_wait_do_not_postpone_the_keepalive_deadline():
    """The application goes on sending to a peer that takes nothing."""
    world = World(ping_interval=2, ping_timeout=2)
    while world.now < 4.2 and world.session.state is State.OPEN:
        world.now += 0.1
        world.session.send(bytes(100))
        queued = world.session.bytes_queued
        world.session.written(queued, queued)
        world.session.handle_timer(world.now)
    assert world.session.state is State.CLOSED


def test_silent_peer_fails_with_1011_after_ping_timeout():
    world = World(ping_interval=10, ping_timeout=4, close_timeout=3)
    events = world.advance(13.9)
    assert [type(event) for event in events] == [Ping]
    assert world.advance(14) == [Close(1011, "keepalive ping timeout")]
    assert world.session.over
    assert world.session.ending is Ending.OUTPUT
    world.advance(17)
    assert world.session.ending is Ending.ABORT


def test_received_bytes_postpone_the_deadline():
    """A peer cannot send a pong inside a frame that it is sending."""
    world = World(ping_interval=2, ping_timeout=2, max_size=None)
    data = to(SERVER, BINARY, bytes(1000))
    for position in range(len(data)):
        world.advance(position / 50)
        world.session.receive(data[position : position + 1], world.now)
    assert world.take() == bytes(1000)
    assert world.session.state is State.OPEN
    world.advance(world.now + 2.3)
    assert world.session.state is State.CLOSED


def test_paused_reading_postpones_the_keepalive_deadline():
    world = World(ping_interval=2, ping_timeout=2, max_queue=1)
    world.receive(*[(TEXT, b"x")] * 3)
    assert not world.session.reading
    world.advance(30)
    assert world.session.state is State.OPEN
    while world.take():
        pass
    world.advance(31.9)
    assert world.session.state is State.OPEN
    world.advance(33)
    assert world.session.state is State.CLOSED


def test_paused_reading_postpones_even_a_deadline_of_0():
    world = World(ping_interval=1, ping_timeout=0, max_queue=1, fragments=True)
    world.receive(*[(BINARY, bytes(20_000))] * 3)
    assert not world.session.reading
    assert [type(event) for event in world.advance(3)] == [Ping]
    while world.session.has_held_back:
        assert len(world.take()) == 20_000
    assert world.session.reading
    assert [type(event) for event in world.advance(4)] == [Close]


def test_keepalive_does_not_fail_ends_without_queue_that_send_much_at_once():
    client, server = [World(role, queue=False, ping_interval=2, ping_timeout=2) for role in (CLIENT, SERVER)]
    directions = [(client, server, bytearray()), (server, client, bytearray())]
    messages = []
    for sender, _, _ in directions:
        sender.session.pause_writing(0)
        sender.session.send(bytes(4 * REPLIES_LIMIT))
    for step in range(200):
        for sender, receiver, waiting in directions:
            waiting += sender.session.data_to_send()
            if receiver.session.reading:
                messages += [
                    each for each in receiver.session.receive(waiting[:4096], step / 10) if type(each) is bytes
                ]
                del waiting[:4096]
            sender.session.written(sender.session.bytes_queued, len(waiting))
            sender.session.handle_timer(step / 10)
    assert client.session.state is server.session.state is State.OPEN
    assert messages == [bytes(4 * REPLIES_LIMIT)] * 2


def stop_reading(*frames, **settings):
    """Return a world whose queue is full and holds back the rest, and that cannot write."""
    world = World(ping_interval=1, ping_timeout=1, max_queue=1, fragments=True, **settings)
    world.receive(*[(BINARY, bytes(20_000))] * 3, *frames)
    assert world.session.has_held_back
    world.advance(1.9, waiting=1)
    assert world.session.state is State.OPEN
    assert len(world.session.queue.items) < 3
    return world


def test_messages_held_back_are_received_before_the_keepalive_fails():
    world = stop_reading()
    assert world.advance(3, waiting=1) == [Close(1011, "keepalive ping timeout")]
    assert [len(world.take()) for _ in range(3)] == [20_000] * 3
    assert world.take() is None


def test_close_held_back_is_answered_instead_of_a_keepalive_failure():
    world = stop_reading((CLOSE, b"\x03\xe8bye"))
    assert world.advance(3, waiting=1) == [Close(1000, "bye")]
    assert [len(world.take()) for _ in range(3)] == [20_000] * 3


def test_violation_held_back_fails_instead_of_the_keepalive():
    world = stop_reading((0x83, b""), close_timeout=5)
    assert world.advance(3, waiting=1) == []
    assert [len(world.take()) for _ in range(3)] == [20_000] * 3
    assert [event.code for event in world.advance(8)] == [1002]


def test_pong_held_back_does_not_stop_the_keepalive_from_failing():
    """As one that nobody has read from the socket: such a peer takes nothing."""
    world = World(ping_interval=1, ping_timeout=1, max_queue=1, fragments=True)
    world.advance(1)
    (payload,) = world.session.keepalive._pings
    world.receive(*[(BINARY, bytes(20_000))] * 3, (PONG, payload))
    assert world.session.has_held_back
    assert world.advance(3, waiting=1) == [Close(1011, "keepalive ping timeout")]


def test_messages_held_back_without_a_queue_are_returned_before_the_keepalive_fails():
    world = World(queue=False, ping_interval=1, ping_timeout=1, fragments=True)
    world.session.pause_writing(1)
    pings = [(PING, bytes(125))] * (REPLIES_LIMIT // 127 + 1)
    assert {type(event) for event in world.receive(*pings, (BINARY, bytes(20_000)), (TEXT, b"last"))} == {Ping}
    assert not world.session.reading
    world.advance(1.9, waiting=1)
    world.now = 3
    events = world.session.handle_timer(world.now)
    assert not world.session.only_messages
    assert events[-2:] == [bytes(20_000), "last"]
    assert world.sent()[-1] == Close(1011, "keepalive ping timeout")


def test_unwritten_ping_postpones_the_keepalive_deadline_while_the_peer_reads():
    world = World(ping_interval=2, ping_timeout=2)
    waiting = 100_000

    def drain(world):
        nonlocal waiting
        waiting -= 100
        world.session.send(bytes(50))

    while world.now < 20:
        world.advance(world.now + 0.1, waiting=waiting, step=drain)
    assert world.session.state is State.OPEN


def test_last_byte_of_an_unwritten_ping_postpones_the_keepalive_deadline():
    keepalive = Keepalive(1, 2, 0)
    keepalive.probe(b"ping", 1, 0, 0)
    assert not keepalive.is_overdue(3, 0, 5, 1, False)
    assert not keepalive.is_overdue(4.9, 0, 6, 0, False)
    assert keepalive.is_overdue(5, 0, 7, 0, False)


def test_peer_that_neither_reads_nor_sends_fails_with_an_unwritten_ping():
    world = World(ping_interval=2, ping_timeout=2)
    world.session.send(bytes(100_000))
    world.session.written(world.session.bytes_queued, world.session.bytes_queued)
    while world.now < 5:
        world.session.written(world.session.bytes_queued, world.session.bytes_queued)
        world.session.handle_timer(world.now)
        world.now += 0.1
    assert world.session.state is State.CLOSED


def test_pings_without_timeout_go_on_without_accumulating():
    world = World(ping_interval=1, ping_timeout=None)
    assert len(world.advance(100.5)) == 100
    assert len(world.session.keepalive._pings) == 1
    assert world.session.state is State.OPEN


def test_empty_ping_of_the_application_is_no_keepalive_ping():
    world = World(ping_interval=10, ping_timeout=4)
    answers = []
    world.session.ping(b"", 0, answers.append)
    assert world.session.next_timer() == 10
    assert world.sent() == [Ping(b"")]
    world.session.handle_timer(9)
    assert world.sent() == []
    assert len(world.advance(10)) == 1
    assert world.session.next_timer() == 10.5
    assert answers == []
    answer_pings(world)
    assert answers == [10]


def test_ping_of_the_application_may_repeat_the_payload_of_an_answered_keepalive_ping():
    world = World(ping_interval=10, ping_timeout=4)
    (keepalive,) = world.advance(10)
    answer_pings(world)
    world.session.ping(keepalive.payload, world.now)
    assert world.session.next_timer() == 20
    assert len(world.advance(20)) == 2
    assert world.advance(24) == [Close(1011, "keepalive ping timeout")]


def test_keepalive_pings_without_timeout_keep_the_empty_ping_of_the_application():
    world = World(ping_interval=1, ping_timeout=None)
    answers = []
    world.session.ping(b"", 0, answers.append)
    world.advance(3)
    world.receive((PONG, b""))
    assert answers == [3]


def test_new_payloads_are_not_those_of_pings_that_wait(monkeypatch):
    world = World(ping_interval=10, ping_timeout=4)
    answers = []
    world.session.ping(b"same", 0, answers.append)
    draws = iter([b"same", b"next", b"same", b"next", b"last"])
    monkeypatch.setattr(os, "urandom", lambda size: next(draws))
    assert world.session.ping(None, 0) == b"next"
    assert world.advance(10)[-1] == Ping(b"last")
    assert answers == []


def test_ping_interval_of_none_sends_no_pings():
    world = World(ping_interval=None, ping_timeout=1)
    assert world.session.next_timer() is None
    world.session.handle_timer(100)
    assert world.sent() == []


def test_timer_that_comes_too_early_does_nothing():
    world = World(ping_interval=10, idle_timeout=10, total_timeout=10)
    world.session.handle_timer(1)
    assert world.sent() == []
    assert world.session.state is State.OPEN


# Idle and total time.


def test_connection_without_messages_is_closed_after_idle_timeout():
    world = World(idle_timeout=8)
    assert world.advance(7.9) == []
    assert world.advance(8) == [Close(1008, "no messages for too long")]
    assert world.session.state is State.CLOSING


def test_messages_in_either_direction_postpone_idle_timeout():
    world = World(idle_timeout=8)
    world.advance(6)
    world.receive((TEXT, b"x"))
    world.advance(13)
    world.session.send("x")
    world.sent()
    world.advance(20)
    assert world.session.state is State.OPEN
    world.session.stream.send("straight to the socket")
    world.session.handle_timer(20)
    world.advance(30)
    assert world.session.state is State.CLOSING


def test_idle_timeout_holds_for_a_driver_that_looks_late():
    world = World(idle_timeout=5)
    assert world.session.check_sendable() is True
    world.session.handle_timer(5)
    assert [event.code for event in world.sent()] == [1008]
    assert world.session.check_sendable() is False


def test_pings_do_not_postpone_idle_timeout():
    world = World(idle_timeout=8, ping_interval=1, ping_timeout=2)
    world.advance(8.5, step=answer_pings)
    assert world.session.close_state.sent == Close(1008, "no messages for too long")


def test_connection_is_closed_after_total_timeout():
    world = World(total_timeout=8)
    world.receive((TEXT, b"x"))
    assert world.advance(8) == [Close(1008, "the time for this connection is over")]


# Broadcast.


def test_broadcast_reaches_an_open_connection():
    world = World()
    for compression in ("shared", "own", None):
        assert Broadcast("all", None, compression).queue(world.session, 0, 0)
        assert Broadcast(b"all", True, compression).queue(world.session, 0, 0)
        assert Broadcast("all", False, compression).queue(world.session, 0, 0)
    assert world.sent() == ["all", "all", b"all"] * 3


def test_compression_of_a_broadcast_is_shared_own_or_none():
    text = "all " * 100
    for compression, compressed, keeps_compressor in (
        ("shared", True, False),
        ("own", True, True),
        (None, False, False),
    ):
        codec = Deflate()
        world = World(codecs=[codec])
        world.peer = Stream(CLIENT, extensions=[Deflate()])
        message = Broadcast(text, None, compression)
        assert [message.queue(world.session, 0, 0) for _ in range(2)] == [True, True]
        assert (world.session.output_size < 100) == compressed
        assert (codec.deflater is not None) == keeps_compressor
        assert world.sent() == [text, text]


@pytest.mark.parametrize("compression", ["shared", "own", None])
def test_broadcast_is_not_compressed_while_a_long_message_is(compression):
    text, long = "all " * 100, bytes(100_000)
    world = World(codecs=[Deflate()])
    world.peer = Stream(CLIENT, extensions=[Deflate()])
    steps = world.session.send_steps(long)
    next(steps)
    assert Broadcast(text, None, compression).queue(world.session, 0, 0)
    assert world.session.output_size > 400
    assert list(steps) == []
    assert world.sent() == [text, long]


@pytest.mark.parametrize("compression", ["", "none", "deflate", 0, False, True])
def test_other_compression_of_a_broadcast_is_refused(compression):
    with pytest.raises(ValueError, match="shared"):
        Broadcast("all", None, compression)


@pytest.mark.parametrize("message", [["all"], None, 1])
def test_other_types_of_broadcast_are_refused(message):
    with pytest.raises(TypeError, match="a message is str or bytes, not"):
        Broadcast(message)


def test_broadcast_leaves_out_connections_in_mid_message_and_closing_ones():
    world = World()
    world.session.send("begun", last=False)
    world.session.data_to_send()
    with pytest.raises(ConcurrencyError):
        Broadcast("all").queue(world.session, 0, 0)
    assert world.session.data_to_send() == b""
    with pytest.raises(ConcurrencyError):
        Broadcast("all").queue(World().session, 0, 0, in_fragments=True)
    closing = World()
    closing.session.close(1000, "", 0)
    closing.sent()
    assert not Broadcast("all").queue(closing.session, 0, 0)
    assert closing.sent() == []


def test_broadcast_closes_a_peer_that_reads_too_slowly():
    world = World(write_limit=1000)
    world.session.pause_writing(5000)
    message = Broadcast("all")
    assert message.queue(world.session, 0, 6000)
    assert not message.queue(world.session, 0, 6001)
    assert world.sent() == ["all", Close(1013, "reading too slowly")]


def test_broadcast_keeps_a_peer_that_reads_while_one_long_message_is_on_its_way():
    world = World(write_limit=1000)
    waiting = 1 << 20  # of one message
    world.session.pause_writing(waiting)
    for _ in range(1000):  # the peer takes as much as is added
        assert Broadcast(bytes(998)).queue(world.session, 0, waiting)
        world.session.pause_writing(2 << 20)  # changes nothing
    assert not world.session.keeps_up(waiting + 1001)
    world.session.resume_writing()
    assert Broadcast("all").queue(world.session, 0, 1 << 30)
    world.session.pause_writing(1001)
    assert not Broadcast("all").queue(world.session, 0, 2002)


# Misuse


def test_misuse_raises_and_changes_nothing():
    world = World()
    world.session.send("text", last=False)
    with pytest.raises(FragmentError):
        world.session.send(b"binary")
    world.session.send("", last=True)
    assert world.sent() == ["text"]
    world.session.close(1000, "", 0)
    with pytest.raises(StateError):
        world.session.send("late")
    assert world.sent() == [Close(1000, "")]


def test_ping_is_sent_and_its_pong_awaited_until_the_end():
    world = World()
    answers = []
    assert world.session.keepalive.latency == 0
    assert world.session.ping(b"p", 0, answers.append) == b"p"
    world.session.send_ping(b"q")
    assert world.sent() == [Ping(b"p"), Ping(b"q")]
    assert world.session.pings_sent == 2
    world.receive((CLOSE, b""))
    assert answers == [None]


def test_reading_goes_on_after_the_end_has_begun():
    ends = (
        lambda session: session.close(1000, "", 0),
        lambda session: session.fail(1011, "", 0),
        lambda session: session.settle(0),
    )
    for end in ends:
        world = World(max_queue=1)
        world.receive(*[(TEXT, b"x")] * 3, *[(0x83, b"")] * (end is ends[-1]))
        assert not world.session.reading
        end(world.session)
        assert world.session.reading


def test_receiver_can_just_wait_while_the_connection_is_open():
    world = World()
    assert world.session.quiet
    world.receive((TEXT, b"a"), (PING, b""))
    assert world.session.quiet
    world.receive((TEXT, b"a"), (0x83, b""))
    assert world.session.stream.failing is not None
    assert not world.session.quiet
    world = World()
    world.session.close(1000, "", 0)
    assert not world.session.quiet


def test_reading_goes_on_between_the_marks_as_before():
    world = World(max_queue=(4, 1))
    world.receive(*[(TEXT, b"x"), (PING, b"")] * 4)
    assert world.session.reading
    world.receive((TEXT, b"x"))
    for left in (4, 3, 2):
        world.take()
        assert len(world.session.queue.items) == left
        assert not world.session.reading
    world.take()
    assert world.session.reading


def test_input_is_received_in_steps_only_where_it_may_become_many_events():
    assert World().session.receive_step == sys.maxsize
    assert World(fragments=True).session.receive_step == FRAGMENT_STEP


def test_peer_that_does_not_end_the_connection_is_the_cause_of_its_end():
    world = World(CLIENT, close_timeout=3)
    world.session.close(1000, "", 0)
    world.advance(3)
    assert world.session.ending is Ending.ABORT
    assert isinstance(world.session.error().__cause__, TimeoutError)


def test_no_ping_follows_a_failure_that_is_held_back():
    world = World(ping_interval=1, close_timeout=None)
    world.receive((TEXT, b"a"), (0x83, b""))
    world.session.handle_timer(2)
    assert world.sent() == []


def test_keepalive_pings_have_4_bytes_and_are_counted():
    world = World(ping_interval=1)
    (ping,) = world.advance(1)
    assert len(ping.payload) == 4
    assert world.session.pings_sent == 1


def test_fragments_are_joined_and_pings_are_answered_by_default():
    session = Session(SERVER, ConnectionSettings(), 0, queue=False)
    session.receive(to(SERVER, PING, b"p"), 0)
    assert session.data_to_send() == frame(PONG, b"p")
    assert session.receive(to(SERVER, 0x01, b"a"), 0) == []
    assert session.receive(to(SERVER, 0x80, b"b"), 0) == ["ab"]


def test_total_timeout_begins_when_the_connection_opens():
    session = Session(SERVER, ConnectionSettings(ping_interval=None, total_timeout=10), 5)
    session.handle_timer(14.9)
    assert session.state is State.OPEN
    session.handle_timer(15)
    assert session.state is State.CLOSING
    assert session.handle_timer(15) == []


def test_total_timeout_is_over_at_its_timer_after_rounding():
    session = Session(SERVER, ConnectionSettings(ping_interval=None, total_timeout=0.5), 0.2)
    assert session.next_timer() - 0.2 < 0.5
    session.handle_timer(session.next_timer())
    assert session.state is State.CLOSING


def test_idle_timeout_is_looked_at_eight_times():
    world = World(idle_timeout=8)
    looks = []
    world.advance(7.9, step=lambda world: looks.append(world.session.next_timer()))
    assert looks == [1, 2, 3, 4, 5, 6, 7, 8]
    world.receive((TEXT, b"a"))
    world.session.send("b")
    world.advance(8)
    assert world.session.state is State.OPEN


def test_failure_of_our_own_is_the_close_frame_that_was_sent():
    world = World()
    world.session.fail(1011, "why", 0)
    assert world.session.error().sent == Close(1011, "why")


def test_message_is_fragmented_if_its_bytes_may_be_more_than_fragment_size():
    session = World(fragment_size=100).session
    sizes = {"a": (25, 26), b"a": (100, 101)}
    assert [[session.is_fragmented(one * n) for n in both] for one, both in sizes.items()] == [[False, True]] * 2
    for message in (array("I", bytes(100)), memoryview(bytes(100)).cast("B", (4, 25))):
        assert not session.is_fragmented(memoryview(message))
    for message in (array("I", bytes(104)), memoryview(bytes(104)).cast("B", (4, 26))):
        assert session.is_fragmented(memoryview(message))
    assert not World().session.is_fragmented("a" * 1000)


def test_length_of_a_message_counts_characters_or_bytes():
    messages = [
        "ä",
        b"ab",
        bytearray(3),
        memoryview(bytes(8)).cast("I"),
        memoryview(bytes(8)).cast("Q", ()),
        array("H", [1]),
    ]
    assert [length_of(message) for message in messages] == [1, 2, 3, 8, 8, 2]
    for other in (1, None, ["a"]):
        with pytest.raises(TypeError, match="a message is str or bytes, not"):
            length_of(other)


@pytest.mark.parametrize("error", [OSError("reset"), None])
def test_loss_of_the_connection_is_the_cause_and_sets_a_deadline(error):
    world = World(close_timeout=3)
    world.session.receive_eof(2, error)
    cause = world.session.error().__cause__
    # Not "the peer ended TCP": the program may have cut the connection itself.
    assert cause is error if error else repr(cause) == "EOFError('TCP ended without a close frame')"
    assert world.session.deadline == 5
    assert not world.session.has_held_back
    world = World()
    world.session.note_cause(error or EOFError("noted"))
    world.session.receive_eof(0)
    assert world.session.error().__cause__ is not None
    assert str(world.session.error().__cause__) == str(error or "noted")


def test_first_error_of_the_transport_is_the_cause_of_the_end():
    world = World()
    first, second = OSError("reset"), OSError("again")
    world.session.close_state.note_cause(first)
    world.session.receive_eof(world.now, second)
    assert world.session.error().__cause__ is first


def test_end_of_input_after_a_close_frame_is_no_error():
    world = World(auto_close=False)
    world.receive((CLOSE, b"\x03\xe8"))
    world.session.receive_eof(world.now)
    assert world.session.error().__cause__ is None


@pytest.mark.parametrize("error", [OSError("reset"), None])
@pytest.mark.parametrize("frames", [[(CLOSE, b"\x03\xe8")], [(TEXT, b"\xff")], [(PING, b""), (TEXT, b"\xff")]], ids=str)
def test_end_that_was_held_back_when_the_connection_is_lost_has_no_other_cause(frames, error):
    world = World(rate_limit=RateLimit(messages=1))
    world.receive(*[(TEXT, b"a")] * 2, *frames)
    assert world.session.has_held_back
    world.session.receive_eof(world.now, error)
    assert world.session.error().__cause__ is None
    assert [world.take(), world.take()] == ["a", "a"]


def test_error_of_the_transport_after_a_close_frame_is_no_cause():
    world = World()
    world.receive((CLOSE, b"\x03\xe8"))
    world.session.note_cause(OSError("reset"))
    assert world.session.error().__cause__ is None


def test_events_that_were_held_back_are_not_taken_for_messages_only():

    world = World(codecs=[Deflate()], queue=False)
    events = world.receive((PING, b"?"), *[(TEXT, b"x" * 1000)] * 10)
    assert [type(event) for event in events] == [Ping, *[str] * 10]
    assert not world.session.only_messages


def test_session_without_queue_returns_input_that_inflates_in_parts():
    sender = Stream(CLIENT, extensions=[Deflate()])
    data = b"".join(sender.send(bytes(1_000_000)) for _ in range(100))
    world = World(codecs=[Deflate()], queue=False)
    parts = [world.session.receive(data, 0)]
    while world.session.has_held_back:
        assert world.session.reading
        parts.append(world.session.process([], 0))
    assert [event for part in parts for event in part] == [bytes(1_000_000)] * 100
    most = QUEUE_SIZE + 1032 * COMPRESSED_STEP
    assert max(sum(map(len, part)) for part in parts) <= most


def test_close_frame_that_was_held_back_until_the_end_is_not_taken_for_a_message():
    sender = Stream(CLIENT)
    world = World(queue=False, rate_limit=RateLimit(messages=1))
    world.session.receive(sender.send("a") + sender.send("b") + sender.close(1000), 0)
    assert world.session.has_held_back
    events = world.session.receive_eof(0)
    assert events == ["b", Close(1000, "")]
    assert not world.session.only_messages
    assert world.session.error().code == 1000


def test_input_that_was_held_back_is_received_at_the_end_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("framewire.session.session.END_SIZE", 10)
    sender = Stream(CLIENT)
    world = World(queue=False, rate_limit=RateLimit(messages=1))
    frames = [sender.send(letter * 5) for letter in "abcdef"]
    world.session._step = len(frames[0])
    assert world.session.receive(b"".join(frames), 0) == ["aaaaa"]
    assert world.session.receive_eof(0)[:-1] == ["bbbbb", "ccccc", "ddddd"]


@pytest.mark.parametrize("message", ["text", bytearray(b"binary")])
@pytest.mark.parametrize("compression", ["shared", "own", None])
def test_copy_of_a_broadcast_sends_the_same_message(message, compression):
    broadcast = Broadcast(message, compression=compression)
    copy = broadcast.copy()
    assert copy.size == broadcast.size
    assert copy.frames is not broadcast.frames
    one, two = World(), World()
    broadcast.send(one.session)
    copy.send(two.session)
    assert one.sent() == two.sent() == [message]
    assert copy.frames == broadcast.frames
    assert bool(copy.frames) == (compression != "own")  # a frame that others get too
