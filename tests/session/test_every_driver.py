"""Rules of the session over real sockets: the outcome is the same on every driver."""

from math import inf
from time import monotonic

import ends
import pytest
from drivers import PATIENCE, close, echo, every_driver, hold, ping, receive_all, recv, send, send_bytes
from frames import BINARY, CLOSE, PING, PONG, REQUEST, TEXT, explained
from sync_ends import until

from framewire import (
    Close,
    ConnectionClosedError,
    ConnectionClosedOK,
    FragmentError,
    HandshakeError,
    Ping,
    Pong,
    State,
    TextError,
)
from framewire.asyncio import Listener
from framewire.errors import NegotiationError
from framewire.handshake import Response
from framewire.session.session import Session

pytestmark = pytest.mark.both_backends

MESSAGES = ["", "text", "Grüße €🎉", b"", b"\x00\xff", "x" * 70_000, bytes(1 << 20)]


def send_and_receive_all():
    """Send one message first: it shows the test that the opening handshake is complete."""
    yield send("hello")
    yield from receive_all()


@every_driver(tls=True)
def test_echo_returns_every_kind_of_message(driver):
    with driver.serve(echo) as server, server.connect() as client:
        for message in MESSAGES:
            client.send(message)
            assert client.recv(10) == message
        client.send(["frag", "", "mented"])
        assert client.recv(10) == "fragmented"


@every_driver(clients=True, tls=True, without=("sync", "sync client", "uvicorn"))  # they have no write limit
def test_every_message_leaves_though_the_write_buffer_may_hold_nothing(driver):
    def script():
        for message in ("a", "b", "c", "d" * 300):
            yield send(message)
        yield from receive_all()

    with driver.open(script, write_limit=0) as peer:
        assert [peer.read_event() for _ in range(4)] == ["a", "b", "c", "d" * 300]


@every_driver(tls=True)
def test_answers_of_one_turn_leave_in_order_compressed_or_not(driver):
    answers = ["long" * 100, "short", b"short", "long" * 200, "short again"] * 3

    def script():
        yield recv()
        for answer in answers:
            yield send(answer)
        yield from receive_all()

    with driver.serve(script) as server, server.connection(compression=True) as peer:
        peer.send(peer.frame(TEXT, b"question"))
        assert [peer.read_event() for _ in answers] == answers


@every_driver(clients=True, tls=True)
@pytest.mark.parametrize("size", [100, 40_000])
def test_loop_that_only_sends_ends_when_the_peer_is_gone(driver, size):
    """A transport of asyncio that is lost takes everything, and tells in a later turn of the event loop."""

    def script():
        end = monotonic() + PATIENCE / 2
        while monotonic() < end:
            yield send("x" * size)

    with driver.open(script) as peer:
        assert peer.read_event() == "x" * size
        peer.reset()
        assert isinstance(peer.record.end(), driver.closed)


@every_driver(clients=True, tls=True)
def test_messages_arrive_and_close_code_is_echoed(driver):
    with driver.open(receive_all) as peer:
        peer.send(peer.frame(TEXT, b"a"), peer.frame(0x02, b"b"), peer.frame(PING, b"p"), peer.frame(0x80, b"c"))
        peer.send(peer.frame(CLOSE, b"\x0f\xa1"))
        assert [event.code if isinstance(event, Close) else event for event in peer.read_to_end()] == [Pong(b"p"), 4001]
        peer.record.end()
        assert peer.record.messages == ["a", b"bc"]
        assert peer.record.code == 4001


@every_driver(clients=True)
def test_close_reason_of_the_peer_reaches_the_application(driver):
    with driver.open(receive_all) as peer:
        peer.send(peer.frame(CLOSE, b"\x03\xe9going"))
        assert peer.read_to_end()[-1].code == 1001
        assert (peer.record.code, peer.record.reason) == (1001, "going")


@every_driver(clients=True)
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param([(BINARY, bytes(101))], 1009, id="message over max_size"),
        pytest.param([(0x02, bytes(60)), (0x80, bytes(41))], 1009, id="fragments over max_size"),
        pytest.param([(TEXT, b"\xff")], 1007, id="text that is not UTF-8"),
        pytest.param([(0x01, b"\xe2\x82"), (0x80, b"")], 1007, id="text that ends in a code point"),
        pytest.param([(CLOSE, b"\x03\xe8\xff")], 1007, id="close reason that is not UTF-8"),
        pytest.param([(0x83, b"")], 1002, id="reserved opcode"),
        pytest.param([(0xC1, b"a")], 1002, id="reserved bit"),
        pytest.param([(0x80, b"a")], 1002, id="continuation of nothing"),
        pytest.param([(0x09, b"a")], 1002, id="fragmented ping"),
        pytest.param([(CLOSE, b"\x03")], 1002, id="half a close code"),
        pytest.param([(CLOSE, b"\x03\xee")], 1002, id="close code 1006"),
    ],
)
def test_violation_ends_the_connection_after_earlier_messages(driver, frames, code):
    with driver.open(receive_all, max_size=100) as peer:
        peer.send(peer.frame(TEXT, b"before"), *(peer.frame(*frame) for frame in frames))
        assert [event.code for event in peer.read_to_end()] == [code]
        peer.record.end()
        assert peer.record.messages == ["before"]


@every_driver()  # TLS has no half-closed state
def test_input_after_a_violation_is_taken_until_the_peer_ends_tcp(driver):
    """A socket that is closed with unread input resets the connection, which can lose the close frame."""
    with driver.open(receive_all, max_size=100) as peer:
        peer.send(peer.frame(BINARY, bytes(101)), bytes(1 << 16))
        peer.wait_for_input()
        peer.send(bytes(1 << 22))
        assert [event.code for event in peer.read_to_end()] == [1009]


@every_driver(clients=True, without=("uvicorn",))  # ASGI delivers text as str
def test_text_as_bytes_receives_validated_bytes(driver):
    with driver.open(receive_all, text_as_bytes=True) as peer:
        peer.send(peer.frame(TEXT, "é".encode()), peer.frame(0x01, b"\xe2\x82"), peer.frame(0x80, b"\xac"))
        peer.send(peer.frame(BINARY, b"\xff"), peer.frame(TEXT, b"\xff"))
        assert [event.code for event in peer.read_to_end()] == [1007]
        peer.record.end()
        assert peer.record.messages == ["é".encode(), "€".encode(), b"\xff"]


@every_driver(clients=True)
@pytest.mark.parametrize("reasons", [True, False])
@pytest.mark.parametrize(
    ("first_byte", "payload", "code"), [(0x83, b"", 1002), (TEXT, b"\xff", 1007), (BINARY, bytes(101), 1009)]
)
def test_close_frame_after_a_violation_carries_the_reason_unless_disabled(driver, reasons, first_byte, payload, code):
    settings = {} if reasons else {"send_close_reasons": False}
    with driver.open(receive_all, max_size=100, **settings) as peer:
        peer.send(peer.frame(first_byte, payload))
        (close_frame,) = peer.read_to_end()
        assert close_frame.code == code
        assert bool(close_frame.reason) == reasons


@every_driver(clients=True)
def test_message_of_max_size_arrives(driver):
    with driver.open(receive_all, max_size=100) as peer:
        peer.send(peer.frame(BINARY, bytes(100)), peer.frame(CLOSE, b"\x03\xe8"))
        assert peer.read_to_end()[-1].code == 1000
        peer.record.end()
        assert peer.record.messages == [bytes(100)]


@every_driver(clients=True, tls=True, without=("uvicorn",))  # ASGI sends bytes
def test_buffer_that_changes_after_it_was_sent_arrives_as_it_was(driver):
    sizes = (10, 1000, 70_000, 3_000_000)

    def script():
        for size in sizes:
            buffer = bytearray(size)
            yield send(buffer)
            buffer[:] = b"x" * size
        yield from receive_all()

    with driver.open(script) as peer:
        assert [peer.read_event() == bytes(size) for size in sizes] == [True] * len(sizes)


@every_driver(clients=True)
def test_ping_is_answered_while_the_application_does_not_receive(driver):
    def script():
        yield hold()
        yield recv()
        yield send((yield recv()))
        yield from receive_all()

    with driver.open(script) as peer:
        peer.send(peer.frame(TEXT, b"waits"), peer.frame(PING, b"1"))
        assert peer.read_event() == Pong(b"1")
        peer.record.release()
        peer.send(peer.frame(TEXT, b"now"), peer.frame(PONG, b"unasked"), peer.frame(PING, bytes(125)))
        assert {peer.read_event(), peer.read_event()} == {"now", Pong(bytes(125))}


@every_driver(clients=True)
def test_close_of_the_application_is_sent_and_awaits_the_answer(driver):
    def script():
        yield close(4000, "enough")

    with driver.open(script) as peer:
        assert peer.read_event() == Close(4000, "enough")
        peer.send(peer.frame(CLOSE, b"\x0f\xa0"))
        assert peer.read_to_end() == []


@every_driver(clients=True, without=("uvicorn",))
def test_generator_of_fragments_is_closed_if_one_cannot_be_sent(driver):
    closed = []

    def fragments():
        try:
            yield "text"
            yield b"binary"
        finally:
            closed.append("generator")

    check_closes(driver, fragments(), closed)


@every_driver(clients=True, without=("uvicorn", "sync", "sync client"))
def test_async_generator_of_fragments_is_closed_if_one_cannot_be_sent(driver):
    closed = []

    async def fragments():
        try:
            yield "text"
            yield b"binary"
        finally:
            closed.append("generator")

    check_closes(driver, fragments(), closed)


def end_in_order(peer):
    """Answer the close frame of the script, and end TCP; check that the script ends too."""
    assert peer.read_event() == Close(1000, "")
    peer.send(peer.frame(CLOSE, b"\x03\xe8"))
    assert peer.read_to_end() == []
    peer.socket.close()
    assert peer.record.end() is None


@every_driver(clients=True, without=("uvicorn",))
def test_generator_that_has_begun_is_closed_if_the_connection_has_ended(driver):
    closed = []

    def fragments():
        try:
            yield "taken before"
            yield "fragment"
        finally:
            closed.append("generator")

    def script():
        generator = fragments()
        next(generator)
        yield close()
        with pytest.raises(driver.closed):
            yield send(generator)
        closed.append("script")

    with driver.open(script) as peer:
        end_in_order(peer)
    assert closed == ["generator", "script"]


@every_driver(clients=True, without=("uvicorn",))
def test_no_fragment_is_taken_if_the_connection_has_ended(driver):
    fragments = iter(["kept"])

    def script():
        yield close()
        for message in (fragments, []):
            with pytest.raises(driver.closed):
                yield send(message)

    with driver.open(script) as peer:
        end_in_order(peer)
    assert list(fragments) == ["kept"]


def check_closes(driver, generator, closed):
    """Check that `send` closes a generator, which is still referred to, before it raises."""

    def script():
        with pytest.raises(FragmentError):
            yield send(generator)
        closed.append("script")

    with driver.open(script, close_timeout=0.1) as peer:
        assert [event.code for event in peer.read_to_end() if isinstance(event, Close)] == [1011]
        assert peer.record.end() is None
    assert closed == ["generator", "script"]


@every_driver(clients=True, without=("uvicorn",))
def test_fragments_that_end_with_another_connection_close_their_own(driver):
    def fragments():
        yield "first"
        raise ConnectionClosedError(None, None)

    def script():
        with pytest.raises(ConnectionClosedError, match="no close frame received or sent"):
            yield send(fragments())
        with pytest.raises(driver.closed):
            yield send("next")

    with driver.open(script, close_timeout=0.1) as peer:
        assert peer.read_to_end() == [Close(1011, "error in fragmented message")]
        assert peer.record.end() is None


def fail_at_second_fragment(monkeypatch):
    def send(session, *arguments, **options):
        if session.message_open:
            raise MemoryError
        original(session, *arguments, **options)

    original = Session.send
    monkeypatch.setattr(Session, "send", send)


@every_driver(clients=True, without=("uvicorn",))
def test_message_whose_second_fragment_cannot_be_sent_closes_the_connection(driver, monkeypatch):
    def script():
        with pytest.raises(MemoryError):
            yield send("x" * 200)

    fail_at_second_fragment(monkeypatch)
    with driver.open(script, fragment_size=100, close_timeout=0.1) as peer:
        assert peer.read_to_end() == [Close(1011, "error in fragmented message")]
        assert peer.record.end() is None


def test_message_of_a_listener_whose_second_fragment_cannot_be_sent_closes_the_connection(monkeypatch):
    async def situation():
        listener = Listener()
        async with ends.serving(listener, fragment_size=100) as (server, port, _), ends.raw(port) as peer:
            await peer.upgrade()
            (connection,) = await ends.until(lambda: server.connections)
            with pytest.raises(MemoryError):
                connection.send("x" * 200)
            assert await peer.read_event() == Close(1011, "error in fragmented message")

    fail_at_second_fragment(monkeypatch)
    monkeypatch.setattr(ends, "network", "asyncio")
    ends.on_loop(situation)()


@every_driver(clients=True, tls=True)
def test_large_message_arrives_at_a_peer_that_reads(driver):
    with driver.open(send_bytes(3_000_000)) as peer:
        assert peer.read_event() == bytes(3_000_000)


@every_driver(clients=True)
def test_keepalive_sends_pings_and_accepts_their_pongs(driver):
    with driver.open(receive_all, ping_interval=0.05, ping_timeout=5) as peer:
        for _ in range(3):
            ping = peer.read_event()
            assert isinstance(ping, Ping)
            peer.send(peer.frame(PONG, ping.payload))


@every_driver(clients=True, without=("uvicorn",))  # ASGI has no pings
def test_empty_ping_of_the_application_waits_beside_the_keepalive(driver):
    def script():
        latency = yield ping(b"")
        yield send(type(latency).__name__)
        yield from receive_all()

    with driver.open(script, ping_interval=0.05, ping_timeout=5) as peer:
        while (event := peer.read_event()) != Ping(b""):
            peer.send(peer.frame(PONG, event.payload))  # a keepalive ping came first
        keepalive = peer.read_event()
        assert len(keepalive.payload) == 4
        peer.send(peer.frame(PONG, keepalive.payload))  # answers the earlier ping too (5.5.3)
        while isinstance(event := peer.read_event(), Ping):
            pass  # another one
        assert event == "float"


@every_driver(clients=True, without=("uvicorn",))  # ASGI has no pings
def test_invalid_arguments_of_a_ping_or_close_are_named_and_change_nothing(driver):
    def script():
        with pytest.raises(TextError):
            yield ping("\ud800")
        with pytest.raises(TypeError, match="a close code is an integer or None, not float"):
            yield close(1000.0)
        with pytest.raises(TypeError, match="a close code is an integer or None, not str"):
            yield close("1000")
        yield ping(bytearray(b"valid"))
        yield from receive_all()

    with driver.open(script) as peer:
        assert peer.read_event() == Ping(b"valid")
        peer.send(peer.frame(PONG, b"valid"))


@every_driver(clients=True)
def test_keepalive_fails_the_connection_of_a_silent_peer(driver):
    with driver.open(receive_all, ping_interval=0.05, ping_timeout=0.1, close_timeout=0.5) as peer:
        events = peer.read_to_end()
        assert isinstance(events[0], Ping)
        assert [event.code for event in events if isinstance(event, Close)] == [1011]
        peer.record.end()


@every_driver(clients=True)
@pytest.mark.parametrize("way", ["end", "reset"])
def test_end_of_tcp_without_close_frame_is_1006(driver, way):
    with driver.open(receive_all) as peer:
        peer.send(peer.frame(TEXT, b"before"))
        peer.send(peer.frame(PING))
        assert peer.read_event() == Pong(b"")
        if way == "end":
            peer.socket.close()
        else:
            peer.reset()
        peer.record.end()
        assert peer.record.messages == ["before"]
        assert peer.record.code == 1006


@every_driver(clients=True)
@pytest.mark.parametrize("way", ["close", "violation", "end", "reset"])
def test_events_at_the_end_of_a_connection_are_processed_once(driver, way):
    def script():
        try:
            yield from receive_all()
        except Exception as error:
            exceptions.append(error)
        yield recv()

    exceptions = []
    last = {"close": [(CLOSE, b"\x03\xe8")], "violation": [(0x83, b"")]}.get(way, [])
    with driver.open(script) as peer:
        peer.send(*(peer.frame(*each) for each in [(TEXT, b"a"), (PING, b"1"), (PING, b"2"), *last]))
        if way == "end":
            peer.end_output()
        events = [peer.read_event(), peer.read_event()]
        if way == "reset":
            peer.reset()
        else:
            events += peer.read_to_end()
        assert events[:2] == [Pong(b"1"), Pong(b"2")]
        assert [event.code for event in events[2:]] == {"close": [1000], "violation": [1002]}.get(way, [])
        error = peer.record.end()
        assert peer.record.messages == ["a"]
        assert peer.record.counts == (1, 2)
        assert [type(each) for each in exceptions] == [type(error)]
        assert str(exceptions[0]) == str(error)


@every_driver(clients=True, tls=True, without=("uvicorn",))  # ASGI has addresses at the beginning only
def test_addresses_are_known_after_the_end(driver):
    with driver.open(receive_all) as peer:
        here, there = peer.socket.getsockname(), peer.socket.getpeername()
        peer.send(peer.frame(CLOSE, b"\x03\xe8"))
        assert peer.read_event().code == 1000
        peer.socket.close()
        peer.record.end()
        connection = peer.record._connection
        until(lambda: connection.state is State.CLOSED)
        assert (connection.local_address, connection.remote_address) == (there, here)


@every_driver(clients=True, tls=True, without=("uvicorn",))  # which has times of its own
@pytest.mark.parametrize("seconds", [30 * 86400, 1e10, inf])
def test_times_may_be_of_any_length(driver, seconds):
    def script():
        yield send((yield recv()))
        yield close()

    times = ("open_timeout", "ping_interval", "ping_timeout", "close_timeout", "idle_timeout", "total_timeout")
    with driver.open(script, **dict.fromkeys(times, seconds)) as peer:
        peer.send(peer.frame(PING, b"1"))
        assert peer.read_event() == Pong(b"1")
        peer.send(peer.frame(TEXT, b"question"))
        assert peer.read_event() == "question"
        assert peer.read_event() == Close(1000, "")
        peer.send(peer.frame(CLOSE, b"\x03\xe8"))
        peer.socket.close()
        assert peer.record.end() is None
        assert peer.record.code == 1000


# What the application is told of the end: by `close_code`, `close_reason` and the exception.


def close_then_receive():
    yield close(4000, "mine")
    yield from receive_all()


def reset_during_our_close(peer):
    assert peer.read_event() == Close(4000, "mine")
    peer.reset()


def end_tcp_during_our_close(peer):
    assert peer.read_event() == Close(4000, "mine")
    peer.socket.close()


def leave_our_close_unanswered(peer):
    assert peer.read_event() == Close(4000, "mine")
    peer.record.end()


def answer_our_close(*answers, messages=()):
    def act(peer):
        assert peer.read_event() == Close(4000, "mine")
        peer.send(*(peer.frame(*answer) for answer in answers))
        peer.read_to_end()
        return messages

    return act


def send_frames(*frames):
    def act(peer):
        peer.send(*(peer.frame(*each) for each in frames))
        peer.read_to_end()

    return act


def send_frames_and_reset(*frames):
    def act(peer):
        peer.send(*(peer.frame(*each) for each in frames))
        peer.read_event()
        peer.reset()

    return act


def answer_no_ping(peer):
    """Answer the failure that follows: it is too late."""
    while (event := peer.read_event()) != Close(1011, "keepalive ping timeout"):
        assert isinstance(event, Ping)
    peer.send(peer.frame(CLOSE, b"\x03\xf3"))


MINE, THEIRS = Close(4000, "mine"), Close(4001, "theirs")
THEIR_CLOSE = (CLOSE, b"\x0f\xa1theirs")

ENDS = {
    # script, what the peer does, the peer's close frame, ours, whether ours was the answer, whether the end is orderly
    "peer resets during our close": (close_then_receive, reset_during_our_close, None, MINE, None, False),
    "peer ends TCP during our close": (close_then_receive, end_tcp_during_our_close, None, MINE, None, False),
    "our close is not answered": (close_then_receive, leave_our_close_unanswered, None, MINE, None, False),
    "our close is answered": (close_then_receive, answer_our_close((CLOSE, b"\x0f\xa0mine")), MINE, MINE, False, False),
    "our close crosses another": (close_then_receive, answer_our_close(THEIR_CLOSE), THEIRS, MINE, False, False),
    "our close is answered with data and a close": (
        close_then_receive,
        answer_our_close((TEXT, b"under way"), (PING, b"late"), THEIR_CLOSE, messages=["under way"]),
        THEIRS, MINE, False, False,
    ),
    "our close is answered with a bad one": (
        close_then_receive, answer_our_close((CLOSE, b"\x03")), None, MINE, None, False,
    ),
    "our close is answered with a violation": (
        close_then_receive, answer_our_close((0x83, b"")), None, MINE, None, False,
    ),
    "peer closes": (receive_all, send_frames(THEIR_CLOSE), THEIRS, THEIRS, True, False),
    "peer closes with 1001": (
        receive_all, send_frames((CLOSE, b"\x03\xe9")), Close(1001, ""), Close(1001, ""), True, True,
    ),
    "peer closes without a code": (
        receive_all, send_frames((CLOSE, b"")), Close(1005, ""), Close(1005, ""), True, True,
    ),
    "peer closes and resets": (receive_all, send_frames_and_reset(THEIR_CLOSE), THEIRS, THEIRS, True, False),
    "data and another close follow a close": (
        receive_all, send_frames(THEIR_CLOSE, (TEXT, b"late"), (CLOSE, b"\x03\xe8"), (0x83, b"")),
        THEIRS, THEIRS, True, False,
    ),
    "peer closes inside a fragmented message": (
        receive_all, send_frames((0x01, b"begun"), (CLOSE, b"\x03\xe8")), Close(1000, ""), Close(1000, ""), True, True,
    ),
    "peer answers no ping": (receive_all, answer_no_ping, None, Close(1011, "keepalive ping timeout"), None, False),
    "half a close code": (receive_all, send_frames((CLOSE, b"\x03")), None, explained(1002), None, False),
    "close code that may not be sent": (
        receive_all, send_frames((CLOSE, b"\x03\xeereason")), None, explained(1002), None, False,
    ),
    "close reason that is not UTF-8": (
        receive_all, send_frames((CLOSE, b"\x03\xe8\xff")), None, explained(1007), None, False,
    ),
    "close in two frames": (receive_all, send_frames((0x08, b"\x03\xe8")), None, explained(1002), None, False),
}  # fmt: skip


@every_driver(clients=True, tls=True, without=("uvicorn",))  # ASGI tells the code alone
@pytest.mark.parametrize(("script", "act", "rcvd", "sent", "answer", "orderly"), ENDS.values(), ids=ENDS)
def test_application_is_told_the_same_of_the_end_by_every_driver(driver, script, act, rcvd, sent, answer, orderly):
    times = {"ping_interval": 0.1, "ping_timeout": 0.2} if act is answer_no_ping else {"ping_interval": None}
    with driver.open(script, close_timeout=0.5, **times) as peer:
        messages = act(peer) or []
        error = peer.record.end()
        assert type(error) is (ConnectionClosedOK if orderly else ConnectionClosedError)
        assert (error.rcvd, error.sent, error.rcvd_then_sent) == (rcvd, sent, answer)
        expected = (1006, "") if rcvd is None else (rcvd.code, rcvd.reason)
        assert (peer.record.code, peer.record.reason) == expected
        assert (error.code, error.reason) == expected
        assert peer.record.messages == messages


def refuse_with_surrogate(connection, request):
    raise HandshakeError(401, "unknown user \udcff")


def choose_no_subprotocol(connection, offered):
    raise NegotiationError("none of \udcff")


@every_driver(without=("uvicorn",))  # it has no such callbacks
@pytest.mark.parametrize(
    ("callbacks", "status"),
    [
        pytest.param({"process_request": refuse_with_surrogate}, 401, id="surrogate in a reason"),
        pytest.param({"select_subprotocol": choose_no_subprotocol}, 400, id="surrogate without process_request"),
        pytest.param({"process_request": lambda *_: Response(200, "OK", [("a", "b", "c")])}, 500, id="malformed line"),
        pytest.param({"process_response": lambda *_: Response(200, "OK", [(1, "b")])}, 500, id="malformed name"),
    ],
)
def test_client_gets_an_answer_whatever_the_callbacks_return(driver, callbacks, status):
    with driver.serve(receive_all, open_timeout=2, **callbacks) as server:
        assert server.answer(REQUEST).startswith(b"HTTP/1.1 %d " % status)


@every_driver(without=("uvicorn",))
def test_extensions_and_subprotocol_that_process_response_removes_are_not_used(driver):
    connections = []

    def process_response(connection, request, response):
        del response.headers["Sec-WebSocket-Extensions"]
        del response.headers["Sec-WebSocket-Protocol"]

    def process_request(connection, request):
        connections.append(connection)

    callbacks = {"process_request": process_request, "process_response": process_response}
    with (
        driver.serve(echo, subprotocols=["chat"], **callbacks) as server,
        server.connect(subprotocols=["chat"]) as client,
    ):
        client.send("x" * 1000)
        assert client.recv(10) == "x" * 1000
        assert [connection.subprotocol for connection in connections] == [client.subprotocol] == [None]
