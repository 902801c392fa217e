"""What a connection of every API tells about itself, with a stand-in for its driver."""

from uuid import UUID

import pytest
from frames import BINARY, CLOSE, PING, PONG, TEXT, to

from framewire import SERVER, Close, State, TextError
from framewire.session.connection import BaseConnection, as_payload, close_code_after
from framewire.session.session import Session
from framewire.session.settings import ConnectionSettings

pytestmark = pytest.mark.both_backends


class StandIn:
    """A driver of a connection without a network."""

    local_address = ("127.0.0.1", 1)
    remote_address = ("127.0.0.1", 2)
    messages_sent = 3
    bytes_sent = 40

    def __init__(self):
        self.session = None
        self.closings = []

    def start_closing(self, code, reason):
        self.closings.append((code, reason))

    @property
    def state(self):
        return State.CONNECTING if self.session is None else self.session.state


def opened(**options):
    """A connection after its opening handshake, and its session."""
    connection = BaseConnection(StandIn())
    session = Session(SERVER, ConnectionSettings(), 0, **options)
    connection._session = connection._driver.session = session
    return connection, session


def test_connection_before_its_opening_handshake_has_nothing_to_tell():
    connection = BaseConnection(StandIn())
    assert connection.state is State.CONNECTING
    assert (connection.request, connection.response, connection.subprotocol) == (None, None, None)
    assert (connection.close_code, connection.close_reason, connection.clean) == (None, None, False)
    assert connection.latency == 0
    assert (connection.messages_received, connection.bytes_received) == (0, 0)
    assert (connection.pings_received, connection.pings_sent) == (0, 0)


def test_connection_tells_addresses_and_counters_of_its_driver():
    connection, _ = opened()
    assert connection.local_address == ("127.0.0.1", 1)
    assert connection.remote_address == ("127.0.0.1", 2)
    assert (connection.messages_sent, connection.bytes_sent) == (3, 40)


def test_connection_counts_messages_bytes_and_pings():
    connection, session = opened()
    data = b"".join([to(SERVER, TEXT, b"a"), to(SERVER, BINARY, b"b"), to(SERVER, PING, b"p")])
    session.receive(data, 0)
    session.ping(b"q", 0)
    assert connection.messages_received == 2
    assert connection.bytes_received == len(data)
    assert (connection.pings_received, connection.pings_sent) == (1, 1)


def test_connection_closes_with_1000_and_no_reason_by_default():
    connection, _ = opened()
    connection.start_closing()
    connection.start_closing(1001, "bye")
    assert connection._driver.closings == [(1000, ""), (1001, "bye")]


def test_latency_is_the_round_trip_of_the_last_ping():
    connection, session = opened()
    session.ping(b"q", 1)
    session.receive(to(SERVER, PONG, b"q"), 1.5)
    assert connection.latency == 0.5


def test_close_code_and_reason_are_told_once_the_connection_has_ended():
    connection, session = opened()
    session.close(1000, "", 0)
    assert (connection.state, connection.close_code, connection.close_reason) == (State.CLOSING, None, None)
    assert not connection.clean
    session.receive(to(SERVER, CLOSE, b"\x0f\xa1bye"), 0)
    assert (connection.state, connection.close_code, connection.close_reason) == (State.CLOSED, 4001, "bye")
    assert connection.clean
    assert session.close_state.rcvd == Close(4001, "bye")


def test_loss_of_the_connection_is_1006():
    connection, session = opened()
    session.receive_eof(0)
    assert (connection.close_code, connection.close_reason, connection.clean) == (1006, "", False)


def test_id_is_random_and_lasts():
    first, second = opened()[0], opened()[0]
    assert isinstance(first.id, UUID)
    assert first.id.version == 4
    assert first.id == first.id != second.id


def test_payload_of_a_ping_is_bytes_or_text_as_utf8():
    assert as_payload("\xe9") == b"\xc3\xa9"
    assert as_payload(b"\xe9") == b"\xe9"
    with pytest.raises(TextError):
        as_payload("\ud800")


def test_connection_knows_whether_its_peer_has_begun_the_end():
    connection, session = opened()
    assert not connection.ended_by_peer
    session.close(1000, "", 0)
    session.receive(to(SERVER, CLOSE, b"\x03\xe8"), 0)
    assert not connection.ended_by_peer
    connection, session = opened()
    session.receive(to(SERVER, CLOSE, b"\x03\xe8"), 0)
    assert connection.ended_by_peer
    connection, session = opened()
    session.receive_eof(0)
    assert connection.ended_by_peer


def test_block_that_raises_closes_with_1011():
    assert close_code_after(None) == 1000
    assert close_code_after(ValueError()) == 1011


def test_close_of_the_peer_is_told_once_it_is_answered():
    connection, session = opened(auto_close=False)
    session.receive(to(SERVER, CLOSE, b"\x03\xe9bye"), 0)
    assert session.state is State.CLOSING
    assert (connection.close_code, connection.close_reason) == (None, None)
    session.close(1001, "", 0)
    assert (connection.close_code, connection.close_reason) == (1001, "bye")
