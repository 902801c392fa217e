"""`BaseDriver` without a network: receiving, fragments, pings, broadcasts and logs."""

import logging
import socket
from contextlib import nullcontext
from threading import Event

import pytest
from frames import TEXT, to

from framewire import CLIENT, SERVER, ConcurrencyError, State, StateError, Stream
from framewire.errors import ConnectionClosedError, FragmentError, PayloadTooBigError
from framewire.session.base_driver import BaseDriver, own_address, peer_address
from framewire.session.broadcast import Broadcast, queue_broadcast
from framewire.session.connection import BaseConnection
from framewire.session.fragments import is_whole
from framewire.session.message_queue import encode_or_decode
from framewire.session.session import Session
from framewire.session.settings import ConnectionSettings

pytestmark = pytest.mark.both_backends

LOGGER = logging.getLogger("framewire.test")


class StandIn(BaseDriver):
    """A driver without a network; everything is sent at once."""

    lock = nullcontext()
    updates = 0
    input = ()

    def now(self):
        return 0.0

    def start_closing(self, code, reason):
        self.session.close(code, reason, 0.0)

    def update(self):
        self.updates += 1

    async def perform(self, action):
        if self.session.over:
            raise self.session.error()
        return action(self.session)

    async def wait_for_input(self, until):
        assert self.session.reading
        assert self.receiving
        if not self.input:
            raise TimeoutError
        self.session.receive(self.input.pop(0), 0.0)


class Overfull(StandIn):
    """A driver whose network takes nothing."""

    refused = 1 << 20


def opened(logger=LOGGER, settings=None):
    """Return an open connection, and what reads the frames that it sends."""
    driver = StandIn(SERVER, settings or ConnectionSettings())
    connection = BaseConnection(driver)
    connection.logger = driver.logger = logger
    connection._session = driver.session = Session(SERVER, driver.settings, 0, fragments=True)
    decoder = Stream(CLIENT, auto_close=False)
    return connection, lambda: decoder.receive(driver.session.data_to_send())


def complete(coroutine):
    with pytest.raises(StopIteration) as returned:
        coroutine.send(None)
    return returned.value.value


async def each(*fragments):
    for fragment in fragments:
        yield fragment


@pytest.mark.parametrize("kind", [list, each])
def test_fragments_are_sent_as_one_message(kind):
    connection, read = opened()
    fragments = ["a", "b"] if kind is list else each("a", "b")
    complete(connection._driver.send_fragments(fragments, None))
    assert read() == ["ab"]
    complete(connection._driver.send_fragments([], None))
    assert read() == []
    complete(connection._driver.send_fragments([b"c", bytearray(b"d")], True))
    assert read() == ["cd"]
    assert not connection._driver.in_fragments


@pytest.mark.parametrize(("first", "codes"), [([], []), (["a"], [1011])], ids=["none sent", "one sent"])
def test_fragments_that_fail_close_the_connection_once_one_is_sent(first, codes):
    connection, read = opened()
    with pytest.raises(TypeError, match="fragment"):
        connection._driver.send_fragments([*first, 1], None).send(None)
    assert [event.code for event in read()] == codes
    assert not connection._driver.in_fragments


@pytest.mark.parametrize("asynchronous", [False, True])
def test_generator_of_fragments_is_closed_if_one_cannot_be_sent(asynchronous):
    connection, _ = opened()
    generator = each("text", b"binary") if asynchronous else (each for each in ("text", b"binary"))
    with pytest.raises(FragmentError):
        connection._driver.send_fragments(generator, None).send(None)
    assert (generator.ag_frame if asynchronous else generator.gi_frame) is None


def test_whole_message_is_queued_in_fragments_at_once():
    connection, read = opened(settings=ConnectionSettings(fragment_size=2))
    connection._driver.queue_fragments(b"abcde", None)
    assert connection._session.messages_sent == 1
    assert not connection._session.message_open
    assert connection._session.data_to_send().count(b"\x00\x02cd") == 1
    connection._driver.queue_fragments(b"abcde", True)
    assert read() == ["abcde"]


def test_message_that_fails_before_its_first_fragment_leaves_the_connection_open():
    connection, read = opened(settings=ConnectionSettings(fragment_size=2))
    connection._driver.queue_fragments(b"abcde", None)
    with pytest.raises(TypeError):
        connection._driver.send_fragments([1], None).send(None)
    assert read() == [b"abcde"]
    assert connection.state is State.OPEN


class InterruptError(BaseException):
    """Raised by a signal handler."""


@pytest.mark.parametrize("kind", ["iterable", "cut"])
def test_last_fragment_whose_frame_is_lost_closes_the_connection(kind, monkeypatch):
    def add_output(session, *arguments, **options):
        if not (session.message_open or interrupted):
            interrupted.append(True)
            raise InterruptError
        add(session, *arguments, **options)

    interrupted, add = [], Session._add_output
    monkeypatch.setattr(Session, "_add_output", add_output)
    connection, read = opened(settings=ConnectionSettings(fragment_size=1))
    with pytest.raises(InterruptError):
        if kind == "iterable":
            connection._driver.send_fragments(["a", "b"], None).send(None)
        else:
            connection._driver.queue_fragments("ab", None)
    assert [event.code for event in read()] == [1011]


def test_fragments_after_the_end_raise_connection_closed():
    connection, _ = opened()

    def fragments():
        yield "a"
        assert connection._driver.in_fragments
        connection._session.receive_eof(0.0)
        yield "b"

    with pytest.raises(ConnectionClosedError):
        connection._driver.send_fragments(fragments(), None).send(None)


def test_message_is_whole_or_an_iterable():
    assert is_whole("a", asynchronous=False)
    assert not is_whole(["a"], asynchronous=False)
    assert not is_whole(each("a"), asynchronous=True)
    for message, asynchronous in ((1, True), ({}, True), (each("a"), False)):
        with pytest.raises(TypeError):
            is_whole(message, asynchronous=asynchronous)


@pytest.mark.parametrize("ack_on_close", [False, True])
def test_ping_is_answered_by_its_pong_or_by_the_end(ack_on_close):
    connection, read = opened()
    first = complete(connection._driver.ping("one", Event(), ack_on_close))
    second = complete(connection._driver.ping(None, Event(), ack_on_close))
    complete(connection._driver.pong("two"))
    assert [type(event).__name__ for event in read()] == ["Ping", "Ping", "Pong"]
    connection._session.receive(to(SERVER, 0x8A, b"one"), 0.0)
    assert (first.is_set(), second.is_set()) == (True, False)
    connection._session.receive_eof(0.0)
    assert second.is_set() is ack_on_close


def test_start_closing_sends_the_close_frame():
    connection, read = opened()
    connection.start_closing(4000, "bye")
    assert [(event.code, event.reason) for event in read()] == [(4000, "bye")]


def test_next_size_is_that_of_the_first_message():
    connection, _ = opened()
    driver = connection._driver
    assert driver.next_size is None
    driver.session.receive(to(SERVER, TEXT, "ä".encode()), 0.0)
    assert driver.next_size == 2
    driver.session = None
    assert driver.next_size is None


def test_next_size_goes_on_reading_after_a_message_that_was_dropped():
    driver = opened(settings=ConnectionSettings(max_queue=2))[0]._driver
    fragments = to(SERVER, 0x02, b"\xff"), to(SERVER, 0x00, b"a"), to(SERVER, 0x00, b"b"), to(SERVER, 0x00, b"c")
    driver.session.receive(b"".join(fragments), 0.0)
    with pytest.raises(UnicodeDecodeError):
        driver.recv_piece(True, first=True).send(None)
    assert not driver.session.reading
    assert driver.next_size is None
    assert driver.session.reading
    driver.session.receive(to(SERVER, 0x80, b"d") + to(SERVER, TEXT, b"next"), 0.0)
    assert driver.next_size == 4


def test_message_is_received_from_the_queue_or_waited_for():
    driver = opened()[0]._driver
    driver.input = [to(SERVER, 0x01, b"a"), to(SERVER, 0x80, b"b")]
    assert complete(driver.recv(None)) == "ab"
    driver.session.receive(to(SERVER, TEXT, b"c"), 0.0)
    assert complete(driver.recv(False)) == b"c"
    assert not driver.receiving
    with pytest.raises(TimeoutError):
        driver.recv(None, 0.0).send(None)
    assert not driver.receiving


def test_reader_goes_on_once_messages_are_taken():
    driver = opened(settings=ConnectionSettings(max_queue=(1, 0)))[0]._driver
    driver.session.receive(to(SERVER, TEXT, b"a") + to(SERVER, TEXT, b"b"), 0.0)
    assert not driver.session.reading
    assert [complete(driver.recv(None)), driver.updates] == ["a", 0]
    assert [complete(driver.recv(None)), driver.updates] == ["b", 1]
    driver.session.receive(to(SERVER, 0x01, b"c") + to(SERVER, 0x00, b"d"), 0.0)
    assert not driver.session.reading
    driver.input = [to(SERVER, 0x80, b"e")]
    assert complete(driver.recv(None)) == "cde"


def test_message_is_received_in_pieces_which_nothing_else_may_interrupt():
    driver = opened()[0]._driver
    driver.input = [to(SERVER, 0x01, b"a"), to(SERVER, 0x80, b"b"), to(SERVER, TEXT, b"c")]
    assert complete(driver.recv_piece(None, first=True)) == ("a", False)
    with pytest.raises(ConcurrencyError, match="in pieces"):
        driver.recv_piece(None, first=True).send(None)
    with pytest.raises(ConcurrencyError, match="in pieces"):
        driver.recv(None).send(None)
    assert complete(driver.recv_piece(False, first=False)) == (b"b", True)
    assert complete(driver.recv_piece(None, first=True)) == ("c", True)


def test_second_receiver_is_refused():
    driver = opened()[0]._driver
    driver.receiving = True
    with pytest.raises(ConcurrencyError, match="already receiving"):
        driver.recv(None).send(None)
    assert driver.receiving


def test_messages_before_a_violation_or_the_end_are_received_first():
    driver = opened()[0]._driver
    driver.session.receive(to(SERVER, TEXT, b"a") + to(SERVER, 0x83), 0.0)
    assert complete(driver.recv(None)) == "a"
    with pytest.raises(ConnectionClosedError, match="1002"):
        driver.recv(None).send(None)
    assert (driver.updates, driver.receiving) == (1, False)


def test_text_and_binary_are_converted():
    assert [encode_or_decode("ä", False, "strict"), encode_or_decode(b"a", True, "strict")] == ["ä".encode(), "a"]


def test_broadcast_reaches_open_connections_only(caplog):
    ends = [opened() for _ in range(5)]
    unopened, closed, sending, one, two = (connection for connection, _ in ends)
    unopened._driver.session = None
    closed.start_closing()
    sending._driver.in_fragments = True
    drivers, errors = queue_broadcast([connection for connection, _ in ends], Broadcast("all"), False)
    assert drivers == [one._driver, two._driver]
    assert [driver.updates for driver in drivers] == [1, 1]
    assert errors == []
    assert [read() for _, read in ends[2:]] == [[], ["all"], ["all"]]
    assert caplog.messages == ["skipped broadcast: sending a fragmented message"]
    _, errors = queue_broadcast([sending], Broadcast("all"), True)
    assert list(map(type, errors)) == [ConcurrencyError]


@pytest.mark.parametrize("raise_exceptions", [False, True])
@pytest.mark.parametrize("compression", ["shared", "own", None])
def test_broadcast_goes_on_after_a_connection_that_cannot_send_the_message(compression, raise_exceptions, caplog):
    small = ConnectionSettings(max_send_size=5)
    ends = [opened(), opened(settings=small), opened(settings=small), opened(), opened()]
    connections = [connection for connection, _ in ends]
    connections[2]._session.pause_writing(0)  # its peer does not keep up, but this is not why it gets nothing
    connections[2]._driver.__class__ = Overfull
    connections[3]._driver.update = lambda: 1 / 0  # such as that no thread can be started
    drivers, errors = queue_broadcast(connections, Broadcast("large.", None, compression), raise_exceptions)
    assert drivers == [connections[0]._driver, connections[4]._driver]
    assert [read() for _, read in ends] == [["large."], [], [], ["large."], ["large."]]
    kinds = [PayloadTooBigError, PayloadTooBigError, ZeroDivisionError]
    if raise_exceptions:
        assert list(map(type, errors)) == kinds
        assert caplog.messages == []
    else:
        assert errors == []
        text = "skipped broadcast: a message to send has at most 5 bytes, not 6"
        assert caplog.messages == [text, text, "skipped broadcast: division by zero"]


@pytest.mark.parametrize("compression", ["shared", "own"])
def test_broadcast_keeps_the_frame_that_connections_share(compression):
    connection, read = opened()
    message = Broadcast(b"all", compression=compression)
    message.send(connection._session)
    assert connection._session.send_frame_of(message.frames) is (compression == "shared")
    assert read() == [b"all"] * (2 if compression == "shared" else 1)


def test_broadcast_leaves_out_a_connection_whose_message_is_open(caplog):
    connection, _ = opened()
    connection._session.send("begun", last=False)
    assert queue_broadcast([connection], Broadcast(b"all"), False) == ([], [])
    assert len(caplog.messages) == 1


def test_driver_logs_the_opening_the_frames_and_the_end(caplog):
    connection, _ = opened()
    driver = connection._driver
    caplog.set_level(logging.INFO, "framewire.test")
    driver.log_open()
    assert driver.received_log is None
    caplog.set_level(logging.DEBUG, "framewire.test")
    driver.log_open()
    driver.received_log.feed(to(SERVER, TEXT, b"in"))
    driver.sent_log.feed(to(CLIENT, TEXT, b"out"))
    driver.log_closed()
    assert caplog.messages == [
        "connection open", "connection open", "< TEXT 'in' [2 bytes]", "> TEXT 'out' [3 bytes]", "connection closed",
    ]  # fmt: skip
    driver.logger = None
    driver.log_open()
    driver.log_closed()
    assert len(caplog.messages) == 5


def test_driver_before_the_opening_handshake():
    driver = StandIn(SERVER, ConnectionSettings())
    assert (driver.state, driver.messages_sent) == (State.CONNECTING, 0)
    with pytest.raises(StateError):
        driver.opened_session()
    driver.end_unopened()
    assert driver.state is State.CLOSED
    assert driver.ended


def test_driver_counts_what_waits_for_the_network():
    driver = opened()[0]._driver
    assert (driver.state, driver.waiting) == (State.OPEN, 0)
    driver.session.send(bytes(10))
    assert driver.waiting == driver.refused == 12
    driver.bytes_sent += 2
    assert driver.waiting == 10


def test_driver_leaves_all_topics_at_the_end():
    class Topics:
        forgotten, released = [], []

        def forget(self, driver):
            self.forgotten.append(driver)

        def release(self, driver):
            self.released.append(driver)

    driver, topics = opened()[0]._driver, Topics()
    driver.topics[topics] = driver.holding[topics] = None
    driver.note_end()
    driver.note_end()
    driver.release_held()
    assert (topics.forgotten, topics.released) == ([driver], [])


def test_address_of_a_peer_that_is_not_there_is_none():
    assert peer_address(None) is None
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert peer_address(sock) is None  # it is connected to nobody
        with socket.create_connection(sock.getsockname()) as client:
            assert peer_address(client) == sock.getsockname()


def test_own_address_of_a_socket_that_is_closed_or_not_there_is_none():
    assert own_address(None) is None
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert own_address(sock) == sock.getsockname()
    assert own_address(sock) is None
