"""The send side of a connection on asyncio, with a stand-in for its transport."""

import pytest
from frames import PONG, TEXT, frame

from framewire import SERVER
from framewire.asyncio.transport_writer import MAX_CORKED, TransportWriter
from framewire.session.session import Ending, Session
from framewire.session.settings import ConnectionSettings

pytestmark = pytest.mark.both_backends


class Loop:
    """An event loop whose next turn is a call of `turn`."""

    def __init__(self):
        self.callbacks = []

    def call_soon(self, callback):
        self.callbacks.append(callback)

    def turn(self):
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()


class Transport:
    """A transport that keeps what is written, and calls `during_write` meanwhile."""

    def __init__(self):
        self.written = []
        self.aborted = False
        self.waiting = 0
        self.during_write = None

    def write(self, data):
        self.written.append(bytes(data))
        if self.during_write is not None:
            self.during_write()

    def get_write_buffer_size(self):
        return self.waiting

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True


class Corked:
    """A session, its writer, and the stand-ins."""

    def __init__(self, **settings):
        self.loop, self.transport = Loop(), Transport()
        self.session = Session(SERVER, ConnectionSettings(ping_interval=None, **settings), 0)
        self.writer = TransportWriter(self.session, self.transport, self.loop)

    def send(self, message):
        self.session.send(message)
        self.writer.cork()


def test_first_frame_leaves_at_once_and_the_others_of_a_turn_together():
    at = Corked()
    for message in ("a", "b", "c"):
        at.send(message)
    assert at.transport.written == [frame(TEXT, b"a")]
    at.loop.turn()
    assert at.transport.written == [frame(TEXT, b"a"), frame(TEXT, b"b") + frame(TEXT, b"c")]


def test_many_corked_bytes_do_not_wait_for_the_next_turn():
    at = Corked()
    at.send("a")
    at.send("b" * (MAX_CORKED + 1))
    assert len(at.transport.written) == 2


@pytest.mark.parametrize("in_callback", [False, True])
def test_frames_are_written_once_though_the_transport_calls_back(in_callback):
    def call_back():
        at.writer.pause_writing()
        at.writer.flush()

    at = Corked()
    at.transport.during_write = call_back
    at.session.handling = in_callback
    at.send("a")
    at.session.handling = False
    at.loop.turn()
    at.writer.flush()
    assert at.transport.written == [frame(TEXT, b"a")]
    assert at.session.data_to_send() == b""


def test_further_message_after_too_many_unread_bytes_aborts_but_a_pong_does_not():
    at = Corked(max_unsent=100)
    at.writer.pause_writing()
    at.transport.waiting = 101
    at.session.pong(b"p")
    at.writer.flush()
    assert at.transport.written == [frame(PONG, b"p")]
    assert not at.writer.may_write()
    assert at.transport.aborted
    assert at.session.ending is Ending.ABORT
    at.session.pong(b"q")
    at.writer.flush()
    assert at.transport.written == [frame(PONG, b"p")]
