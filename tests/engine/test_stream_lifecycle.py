"""The life cycle of `Stream` (RFC 6455 7.1) as one table."""

import pytest
from frames import CLOSE, PING, PONG, TEXT, new_stream, to

from framewire import CLIENT, SERVER, Close, Failure, Ping, State, StateError

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

OPEN, CLOSING, CLOSED = State.OPEN, State.CLOSING, State.CLOSED

STEPS = {
    "close": lambda stream, role: stream.close(1000, "mine"),
    "peer": lambda stream, role: stream.receive(to(role, CLOSE, b"\x03\xe9bye")),
    "empty": lambda stream, role: stream.receive(to(role, CLOSE)),
    "bad": lambda stream, role: stream.receive(to(role, 0x83)),
    "eof": lambda stream, role: stream.receive_eof(),
    "fail": lambda stream, role: stream.fail(1011),
}

#: auto_close, steps, (state, close_code, close_reason, clean), allowed calls, payload of the
#: pending close frame.
TABLE = [
    (True, "", (OPEN, None, None, False), "send ping close", None),
    (True, "close", (CLOSING, None, None, False), "ping", None),
    (True, "close peer", (CLOSED, 1001, "bye", True), "", None),
    (True, "close empty", (CLOSED, 1005, "", True), "", None),
    (True, "close bad", (CLOSED, 1006, "", False), "", None),
    (True, "close eof", (CLOSED, 1006, "", False), "", None),
    (True, "close fail", (CLOSED, 1006, "", False), "", None),
    (True, "close peer eof", (CLOSED, 1001, "bye", True), "", None),
    (True, "peer", (CLOSED, 1001, "bye", True), "", b"\x03\xe9bye"),
    (True, "empty", (CLOSED, 1005, "", True), "", b""),
    (True, "peer peer", (CLOSED, 1001, "bye", True), "", b"\x03\xe9bye"),
    (True, "peer bad", (CLOSED, 1001, "bye", True), "", b"\x03\xe9bye"),
    (True, "peer eof", (CLOSED, 1001, "bye", True), "", b"\x03\xe9bye"),
    (True, "bad", (CLOSED, 1006, "", False), "", b"\x03\xea"),
    (True, "bad bad", (CLOSED, 1006, "", False), "", b"\x03\xea"),
    (True, "bad peer", (CLOSED, 1006, "", False), "", b"\x03\xea"),
    (True, "bad eof", (CLOSED, 1006, "", False), "", b"\x03\xea"),
    (True, "eof", (CLOSED, 1006, "", False), "", None),
    (True, "eof peer", (CLOSED, 1006, "", False), "", None),
    (True, "fail", (CLOSED, 1006, "", False), "", None),
    (True, "fail peer", (CLOSED, 1006, "", False), "", None),
    (False, "close", (CLOSING, None, None, False), "ping", None),
    (False, "close peer", (CLOSED, 1001, "bye", True), "", None),
    (False, "close bad", (CLOSED, 1006, "", False), "", None),
    (False, "peer", (CLOSING, 1001, "bye", False), "send ping close", None),
    (False, "peer close", (CLOSED, 1001, "bye", True), "", None),
    (False, "peer eof", (CLOSED, 1001, "bye", False), "close", None),
    (False, "peer bad", (CLOSING, 1001, "bye", False), "send ping close", None),
    (False, "peer fail", (CLOSED, 1001, "bye", True), "", None),
    (False, "bad", (CLOSED, 1006, "", False), "close", None),
    (False, "bad close", (CLOSED, 1006, "", False), "", None),
    (False, "eof", (CLOSED, 1006, "", False), "close", None),
    (False, "fail", (CLOSED, 1006, "", False), "", None),
]


@pytest.mark.parametrize("role", [SERVER, CLIENT])
@pytest.mark.parametrize(
    ("auto_close", "steps", "shown", "may", "answer"), TABLE, ids=lambda value: value if isinstance(value, str) else ""
)
def test_state_and_allowed_calls_follow_the_life_cycle_table(role, auto_close, steps, shown, may, answer):
    def stepped():
        stream = new_stream(role, auto_close=auto_close)
        for step in steps.split():
            STEPS[step](stream, role)
        return stream

    stream = stepped()
    assert (stream.state, stream.close_code, stream.close_reason, stream.clean) == shown
    written = b"" if answer is None else to(CLIENT if role is SERVER else SERVER, CLOSE, answer)
    assert stream.pending() == written
    for call in (lambda s: s.send("a"), lambda s: s.ping(), lambda s: s.close()):
        name = call.__code__.co_names[0]
        stream = stepped()
        if name in may:
            assert call(stream)
        else:
            with pytest.raises(StateError):
                call(stream)
            assert (stream.state, stream.close_code, stream.close_reason, stream.clean) == shown
            assert stream.pending() == written


@pytest.mark.parametrize("role", [SERVER, CLIENT])
def test_messages_are_still_received_after_own_close(role):
    peer = CLIENT if role is SERVER else SERVER
    stream = new_stream(role)
    assert stream.close() == to(peer, CLOSE, b"\x03\xe8")
    assert stream.receive(to(role, 0x01, b"da") + to(role, PING, b"p")) == [Ping(b"p")]
    assert stream.pending() == to(peer, PONG, b"p")
    assert stream.receive(to(role, 0x80, b"ta") + to(role, CLOSE, b"\x03\xe8") + to(role, TEXT, b"no")) == [
        "data",
        Close(1000, ""),
    ]
    assert stream.pending() == b""
    assert stream.clean


def test_close_frames_that_cross_close_both_ends():
    client, server = new_stream(CLIENT), new_stream(SERVER)
    of_client, of_server = client.close(4000, "client"), server.close(4001, "server")
    assert client.state is server.state is State.CLOSING
    assert client.receive(of_server) == [Close(4001, "server")]
    assert server.receive(of_client) == [Close(4000, "client")]
    assert (client.close_code, server.close_code) == (4001, 4000)
    for stream in (client, server):
        assert (stream.state, stream.clean, stream.pending()) == (State.CLOSED, True, b"")


@pytest.mark.parametrize("auto_close", [True, False])
def test_input_after_a_failure_is_ignored(auto_close):
    stream = new_stream(SERVER, auto_close=auto_close)
    events = stream.receive(to(SERVER, TEXT, b"before") + to(SERVER, 0x83) + to(SERVER, TEXT, b"after"))
    assert events[0] == "before"
    assert isinstance(events[1], Failure)
    assert len(events) == 2
    data = to(SERVER, TEXT, b"after")
    assert stream.receive(data) == []
    assert stream.receive_one(data) == (None, len(data))
    stream.get_buffer(-1)[: len(data)] = data
    assert stream.buffer_updated(len(data)) == []
    assert stream.receive_eof() == []


@pytest.mark.parametrize("how", ["take_failure", "receive_eof"])
@pytest.mark.parametrize(
    "before", [to(SERVER, TEXT, b"a"), to(SERVER, 0x01, b"a") + to(SERVER, 0x80), to(SERVER, PING)]
)
def test_late_failure_allows_replies_to_earlier_messages(before, how):
    stream = new_stream(SERVER, late_failure=True)
    wire = before + to(SERVER, 0x83) + to(SERVER, TEXT, b"after")
    expected = new_stream(SERVER).receive(wire)
    events = stream.receive(wire)
    assert stream.failing == expected[-1]
    stream.pending()
    assert stream.state is OPEN
    assert stream.send("answer") == to(CLIENT, TEXT, b"answer")
    assert stream.receive(to(SERVER, TEXT, b"after")) == []
    assert stream.pending() == b""
    assert events + getattr(stream, how)() == expected
    assert (stream.state, stream.failing, stream.close_code) == (CLOSED, None, 1006)
    assert stream.pending() == to(CLIENT, CLOSE, b"\x03\xea")
    assert stream.take_failure() == stream.receive_eof() == []
    with pytest.raises(StateError):
        stream.send("answer")


def test_late_failure_without_earlier_events_is_immediate():
    stream = new_stream(SERVER, late_failure=True)
    assert stream.take_failure() == []
    assert stream.receive(to(SERVER, TEXT, b"a")) == ["a"]
    assert isinstance(stream.receive(to(SERVER, 0x83))[0], Failure)
    assert stream.failing is None
    assert stream.state is CLOSED


def test_no_event_follows_a_local_failure():
    stream = new_stream(SERVER)
    assert stream.receive(to(SERVER, 0x01, b"half")) == []
    assert stream.fail(1011, "why") == b"\x88\x05\x03\xf3why"
    assert stream.receive(to(SERVER, 0x80, b"half")) == []
    assert stream.fail(1011) == b""
    with pytest.raises(StateError):
        stream.send("a")


def test_stream_attributes_are_read_only():
    stream = new_stream(SERVER)
    for name in ("state", "role", "close_code", "close_reason", "clean"):
        with pytest.raises(AttributeError):
            setattr(stream, name, None)
    with pytest.raises(AttributeError):
        stream.other = 1
