"""`Stream` against the sans-I/O protocols of `websockets`, in both roles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import CLIENT as THEIR_CLIENT
from websockets.protocol import OPEN, Protocol
from websockets.protocol import SERVER as THEIR_SERVER

from framewire import CLIENT, SERVER, Close, Ping, Pong, State, Stream

ROLES = pytest.mark.parametrize(
    ("ours", "theirs"), [(SERVER, THEIR_CLIENT), (CLIENT, THEIR_SERVER)], ids=["server", "client"]
)

ACTIONS = st.lists(
    st.tuples(
        st.one_of(
            st.text(max_size=300),
            st.binary(max_size=300),
            st.builds(Ping, st.binary(max_size=125)),
            st.builds(Pong, st.binary(max_size=125)),
        ),
        st.integers(0, 310),
    ),
    max_size=8,
)
CLOSES = st.tuples(st.sampled_from([1000, 1001, 1011, 3000, 4999]), st.text(max_size=30))


def message_of(frames):
    """Convert frames of `websockets` to events: fragments joined, no unsolicited pongs."""
    events, opcode, parts = [], None, b""
    for each in frames:
        if each.opcode is Opcode.PING:
            events.append(Ping(bytes(each.data)))
        elif each.opcode is Opcode.PONG:
            events.append(Pong(bytes(each.data)))
        elif each.opcode is Opcode.CLOSE:
            data = bytes(each.data)
            events.append(Close(int.from_bytes(data[:2], "big"), data[2:].decode()) if data else Close(1005, ""))
        else:
            opcode, parts = each.opcode if each.opcode is not Opcode.CONT else opcode, parts + bytes(each.data)
            if each.fin:
                events.append(parts.decode() if opcode is Opcode.TEXT else parts)
                parts = b""
    return events


@ROLES
@given(actions=ACTIONS, end=CLOSES)
def test_websockets_peer_receives_sent_messages(ours, theirs, actions, end):
    stream, peer = Stream(ours), Protocol(theirs, state=OPEN, max_size=None)
    written, expected = b"", []
    for action, cut in actions:
        if isinstance(action, Ping):
            written += stream.ping(action.payload)
        elif isinstance(action, Pong):
            written += stream.pong(action.payload)
        elif cut < 300:
            text = isinstance(action, str)
            data = action.encode() if text else action
            written += stream.send(data[:cut], text=text, last=False) + stream.ping(b"between")
            written += b"".join(stream.send_parts(data[cut:], text=text))
            expected.append(Ping(b"between"))
        else:
            written += stream.send(action)
        expected.append(action)
    written += stream.close(*end)
    peer.receive_data(written)
    assert message_of(peer.events_received()) == [*expected, Close(*end)]
    answers = stream.receive(b"".join(peer.data_to_send()))
    assert answers[-1] == Close(*end)
    assert answers[:-1] == [Pong(event.payload) for event in expected if isinstance(event, Ping)]
    assert stream.clean
    assert stream.state is State.CLOSED


@ROLES
@given(actions=ACTIONS, end=CLOSES, chunk=st.integers(1, 100_000))
def test_stream_receives_messages_sent_by_websockets(ours, theirs, actions, end, chunk):
    stream, peer = Stream(ours), Protocol(theirs, state=OPEN)
    expected = []
    for action, cut in actions:
        if isinstance(action, Ping):
            peer.send_ping(action.payload)
        elif isinstance(action, Pong):
            peer.send_pong(action.payload)
        else:
            text = isinstance(action, str)
            data = action.encode() if text else action
            send = peer.send_text if text else peer.send_binary
            if cut < 300:
                send(data[:cut], fin=False)
                peer.send_continuation(data[cut:], fin=True)
            else:
                send(data)
        expected.append(action)
    peer.send_close(*end)
    data = b"".join(peer.data_to_send())
    events = []
    for start in range(0, len(data), chunk):
        events += stream.receive(data[start : start + chunk])
    assert events == [*expected, Close(*end)]
    peer.receive_data(stream.pending())
    assert message_of(peer.events_received())[-1] == Close(*end)
    assert peer.close_rcvd.code == end[0]
    assert stream.clean


@ROLES
def test_websockets_peer_receives_failure_close_code(ours, theirs):
    stream, peer = Stream(ours, max_message_size=10), Protocol(theirs, state=OPEN)
    peer.send_text(b"x" * 11)
    (failure,) = stream.receive(b"".join(peer.data_to_send()))
    assert failure.code == 1009
    peer.receive_data(stream.pending())
    assert peer.close_rcvd.code == 1009


@ROLES
@pytest.mark.parametrize("size", [125, 126, 65535, 65536, 300_000])
def test_every_length_form_interoperates_with_websockets(ours, theirs, size):
    stream, peer = Stream(ours), Protocol(theirs, state=OPEN)
    text = "é€🎉"[size % 3] * (size // 4)
    peer.receive_data(stream.send(bytes(size)) + stream.send(text))
    assert (message_of(peer.events_received()) == [bytes(size), text]) is True
    peer.send_binary(bytes(size))
    peer.send_text(text.encode())
    assert (stream.receive(b"".join(peer.data_to_send())) == [bytes(size), text]) is True
