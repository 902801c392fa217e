"""`SocketWriter`: messages go directly to the socket, or to the transport while data wait there."""

import os
import socket
import sys
from types import SimpleNamespace

import pytest
from cores import make_core
from frames import BINARY, KEY, TEXT, frame
from samples import SAMPLES

from framewire import CLIENT, SERVER, SharedMessage, State, Stream

pytestmark = [
    pytest.mark.both_backends,
    pytest.mark.skipif(
        sys.platform == "win32", reason="on Windows a socket is no file descriptor, and all data go to the transport"
    ),
]


class Transport:
    """A transport that buffers all data, as if its socket were full."""

    def __init__(self):
        self.held = bytearray()
        self.writes = 0
        self.closing = False
        self.aborted = False

    def write(self, data):
        self.held += data
        self.writes += 1

    def get_write_buffer_size(self):
        return len(self.held)

    def is_closing(self):
        return self.closing

    def abort(self):
        self.aborted = True


class Setting:
    """A writer with its stream, transport and socket, and the socket of the peer."""

    def __init__(self, backend, role=SERVER, limit=1 << 20, direct=True, **options):
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        if role is CLIENT:
            options["mask_source"] = lambda size: KEY[:size]
        self.stream, self.transport = Stream(role, **options), Transport()
        self.sock = SimpleNamespace(fileno=self.near.fileno) if direct else None
        self.writer = backend.SocketWriter(self.stream, self.transport, self.sock, limit)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.near.close()
        self.far.close()

    def arrived(self):
        """Return the bytes that the peer received through the socket since the last call."""
        found = bytearray()
        try:
            while data := self.far.recv(1 << 20):
                found += data
        except BlockingIOError:
            pass
        return bytes(found)

    def taken(self):
        """Return the bytes passed to the transport since the last call."""
        found = bytes(self.transport.held)
        self.transport.held.clear()
        return found


MESSAGES = [
    "", b"", "a", b"a", *SAMPLES, "x" * 125, "x" * 126, "é" * 63, b"x" * 4095, "y" * 4096, "é" * 2048, b"z" * 4097,
    "é" * 2049, "w" * 50_000, "é" * 30_000, b"v" * 65_536,
]  # fmt: skip


@pytest.mark.parametrize("role", [SERVER, CLIENT])
@pytest.mark.parametrize("direct", [True, False])
def test_writer_sends_messages_as_frames(backend, role, direct):
    key = KEY if role is CLIENT else b""
    with Setting(backend, role, direct=direct) as at:
        sent = 0
        for number, message in enumerate(MESSAGES, 1):
            assert at.writer.send(message) is True
            payload = message.encode() if isinstance(message, str) else message
            expected = frame(TEXT if isinstance(message, str) else BINARY, payload, key)
            assert (at.arrived() if direct else at.taken()) == expected
            sent += len(expected)
            assert (at.stream.messages_sent, at.writer.bytes_sent) == (number, sent)
        assert at.transport.writes == (0 if direct else len(MESSAGES))


@pytest.mark.parametrize("direct", [True, False])
def test_writer_sends_the_frame_of_a_shared_message(backend, direct):
    with Setting(backend, direct=direct) as at:
        message = SharedMessage("a" * 100)
        assert at.writer.send_shared(message.frames) is False
        made = at.stream.send_shared(message)
        assert (at.stream.messages_sent, at.writer.bytes_sent) == (1, 0)
        assert at.writer.send_shared(message.frames) is True
        assert (at.arrived() if direct else at.taken()) == made == frame(TEXT, b"a" * 100)
        assert (at.stream.messages_sent, at.writer.bytes_sent) == (2, 102)
        at.stream.send("begin", last=False)
        assert at.writer.send_shared(message.frames) is False
        with pytest.raises(TypeError):
            at.writer.send_shared(None)


def test_writer_refuses_messages_that_need_the_stream(backend):
    with Setting(backend, limit=10) as at:
        for other in (
            bytearray(b"a"), memoryview(b"a"), None, 5, ["a"], type("Octets", (bytes,), {})(b"a"),
            type("Name", (str,), {})("a"), "\ud800", "x" * 11, b"x" * 11, "é" * 6,
        ):  # fmt: skip
            assert at.writer.send(other) is False
        assert at.writer.send("é" * 5) is True
        at.stream.send("begin", last=False)
        assert at.writer.send("a") is False
        at.stream.send("end")
        assert at.writer.send("a") is True
        at.stream.close()
        assert at.writer.send("a") is False
        assert at.arrived() == frame(TEXT, ("é" * 5).encode()) + frame(TEXT, b"a")
        assert (at.stream.messages_sent, at.writer.bytes_sent, at.transport.writes) == (3, 15, 0)
    with Setting(backend, max_send_size=40) as at:
        assert at.writer.send("x" * 10) is True
        assert at.writer.send("x" * 11) is False


@pytest.mark.parametrize("role", [SERVER, CLIENT])
@pytest.mark.parametrize("size", [100, 4096, 5000, 1 << 20])
@pytest.mark.parametrize("kind", ["text", "binary", "frames"])
def test_writer_passes_the_rest_to_the_transport_if_the_socket_is_full(backend, role, size, kind):
    payload = bytes(32 + number % 90 for number in range(size))
    expected = frame(TEXT if kind == "text" else BINARY, payload, KEY if role is CLIENT else b"")

    def write():
        if kind == "frames":
            at.writer.write(expected)
        else:
            assert at.writer.send(payload.decode() if kind == "text" else payload)

    with Setting(backend, role) as at:
        count = 0
        while not at.transport.held:
            write()
            count += 1
        left, through = at.taken(), at.arrived()
        assert through + left == expected * count
        assert len(left) <= len(expected)
        # While data wait in the transport, all data go there.
        at.transport.write(b"waits")
        for _ in range(3):
            write()
        assert at.arrived() == b""
        assert at.taken() == b"waits" + expected * 3
        at.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        write()
        assert at.arrived() + at.taken() == expected
        assert at.writer.bytes_sent == len(expected) * (count + 4)


def test_writer_uses_the_transport_if_the_socket_is_closed(backend):
    with Setting(backend) as at:
        assert at.writer.send("a")
        at.sock.fileno = lambda: -1
        assert at.writer.send("b")
        at.writer.write(frame(TEXT, b"c"))
        assert at.writer.send("d" * 10_000)
        assert at.arrived() == frame(TEXT, b"a")
        assert at.taken() == frame(TEXT, b"b") + frame(TEXT, b"c") + frame(TEXT, b"d" * 10_000)
        at.sock.fileno = at.near.fileno
        at.writer.close()
        assert at.writer.send("e")
        assert at.arrived() == b""
        assert at.taken() == frame(TEXT, b"e")


def test_writer_sends_nothing_after_data_that_the_transport_dropped(backend):
    with Setting(backend) as at:
        while not at.transport.held:
            at.writer.send("x" * 1000)
        at.arrived()
        at.transport.closing = True
        at.transport.held.clear()
        at.writer.send("a")
        assert at.arrived() == b""


def test_writer_leaves_socket_errors_to_the_transport(backend):
    with Setting(backend) as at:
        at.far.close()
        assert at.writer.send("a")
        at.writer.write(frame(TEXT, b"b"))
        at.transport.held.clear()
        assert at.writer.send("c" * 10_000)
        assert at.taken() == frame(TEXT, b"c" * 10_000)
    with Setting(backend) as at:
        at.sock.fileno = lambda: 1 << 20  # no such descriptor
        assert at.writer.send("a")
        assert at.taken() == frame(TEXT, b"a")


@pytest.mark.parametrize(
    ("key", "error"), [("abcd", TypeError), (None, TypeError), (b"abc", ValueError), (bytearray(4), TypeError)]
)
@pytest.mark.parametrize("message", ["a", b"b" * 10_000])
def test_writer_rejects_mask_keys_of_another_size_or_type(backend, key, error, message):
    core = make_core(backend, keys=SimpleNamespace(pop=lambda: key), keys_guarded=True)
    core._set_send_limit(1 << 20, None)
    core._fast_send = True
    transport = Transport()
    writer = backend.SocketWriter(core, transport, None, 1 << 20)
    with pytest.raises(error):
        writer.send(message)
    assert (transport.writes, core.messages_sent, writer.bytes_sent) == (0, 0, 0)


@pytest.mark.parametrize("stream", [None, object(), SimpleNamespace(_max_plain=100, _keys=None)])
def test_writer_requires_a_stream_core(backend, stream):
    with pytest.raises(TypeError, match=r"^SocketWriter\(\) takes a StreamCore$"):
        backend.SocketWriter(stream, Transport(), None, 1 << 20)


@pytest.mark.parametrize("message", ["a", b"b" * 10_000])
def test_writer_mask_source_may_not_close_the_stream(backend, message):
    """No data may follow a close frame, so the source cannot close while `send` needs its key."""
    with Setting(backend, CLIENT) as at:

        def close(size):
            with pytest.raises(RuntimeError, match="in use"):
                at.stream.close()
            with pytest.raises(RuntimeError, match="in use"):
                at.stream.send("begin", last=False)
            return KEY

        stream = Stream(CLIENT, mask_source=close)
        at.stream, writer = stream, backend.SocketWriter(stream, at.transport, at.sock, 1 << 20)
        assert writer.send(message)
        assert at.arrived() == frame(
            TEXT if isinstance(message, str) else BINARY, message.encode() if message == "a" else message, KEY
        )
        assert stream.state is State.OPEN


def test_write_rejects_other_types_than_bytes(backend):
    with Setting(backend) as at:
        for other in (bytearray(b"a"), "a", None):
            with pytest.raises(TypeError, match=r"^write\(\) takes bytes$"):
                at.writer.write(other)


@pytest.mark.parametrize("message", ["a" * 100, b"b" * 10_000, b"c" * (1 << 20), "d" * (1 << 20)])
@pytest.mark.parametrize("kind", ["message", "frames"])
def test_transport_error_aborts_the_connection(backend, kind, message):
    def fail(data):
        raise RuntimeError("closed")

    def write():
        if kind == "frames":
            at.writer.write(at.stream.send(message))
        else:
            at.writer.send(message)

    with Setting(backend, direct=False) as at:
        at.transport.write = fail
        with pytest.raises(RuntimeError, match="closed"):
            write()
        assert (at.writer.bytes_sent, at.transport.aborted) == (0, True)
    with Setting(backend) as at:
        at.transport.write = fail
        sent = 0
        with pytest.raises(RuntimeError, match="closed"):
            while True:
                write()
                sent += 1
        assert at.transport.aborted
        length = len(at.stream.send(message))
        assert at.writer.bytes_sent == sent * length
        arrived = len(at.arrived())
        assert sent * length <= arrived < (sent + 1) * length
        with pytest.raises(RuntimeError, match="closed"):  # the peer may have part of a frame: nothing may follow
            write()
        assert at.arrived() == b""


# The state of the socket and the transport is read before each write


@pytest.mark.parametrize("size", [10, 10_000])
def test_writer_does_not_overtake_what_the_transport_holds_at_the_beginning(backend, size):
    with Setting(backend) as at:
        at.transport.write(b"opening handshake")
        assert at.writer.send(b"b" * size)
        at.writer.write(frame(BINARY, b"c"))
        assert at.arrived() == b""
        assert at.taken() == b"opening handshake" + frame(BINARY, b"b" * size) + frame(BINARY, b"c")
        assert at.writer.send(b"d")
        assert at.arrived() == frame(BINARY, b"d")


@pytest.mark.parametrize("size", [10, 10_000])
def test_writer_does_not_use_the_socket_of_a_transport_that_closes_with_data(backend, size):
    with Setting(backend) as at:
        at.transport.write(b"opening handshake")
        at.transport.closing = True
        at.writer.send(b"b" * size)
        at.writer.write(frame(BINARY, b"c"))
        assert at.arrived() == b""
        assert at.taken() == b"opening handshake" + frame(BINARY, b"b" * size) + frame(BINARY, b"c")


@pytest.mark.parametrize("size", [10, 10_000])
def test_writer_does_not_use_the_socket_after_close(backend, size):
    with Setting(backend) as at:
        at.writer.close()
        at.writer.send(b"b" * size)
        assert at.arrived() == b""
        assert at.taken() == frame(BINARY, b"b" * size)


@pytest.mark.parametrize("size", [10, 10_000, 1 << 20])
def test_writer_closed_during_a_transport_write_stays_closed(backend, size):
    with Setting(backend) as at:
        kept = at.transport.write

        def write(data):
            at.writer.close()
            kept(data)

        at.transport.write = write
        while not at.transport.held:
            assert at.writer.send(b"a" * size)
        at.arrived()
        at.taken()
        assert at.writer.send(b"b" * size)
        assert at.arrived() == b""
        assert at.taken() == frame(BINARY, b"b" * size)


@pytest.mark.parametrize("number", [-1, -2, -100])
@pytest.mark.parametrize("size", [10, 10_000])
def test_writer_uses_the_transport_if_the_descriptor_is_negative(backend, number, size):
    with Setting(backend) as at:
        at.sock.fileno = lambda: number
        assert at.writer.send(b"a" * size)
        at.writer.write(b"b")
        assert (at.arrived(), at.taken()) == (b"", frame(BINARY, b"a" * size) + b"b")


@pytest.mark.parametrize("reason", ["closed", "held", "closing"])
def test_writer_writes_to_no_other_descriptor(backend, reason):
    """Not to standard output, although it would accept the bytes."""
    with Setting(backend) as at:
        if reason == "closed":
            at.writer.close()
        elif reason == "held":
            at.transport.write(b"before")
        else:
            at.transport.closing = True
        kept = os.dup(1)
        os.dup2(at.near.fileno(), 1)
        try:
            at.writer.write(b"a")
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        assert (at.arrived(), at.taken()) == (b"", b"beforea" if reason == "held" else b"a")


@pytest.mark.parametrize("size", [10, 10_000])
def test_writer_asks_the_transport_only_after_data_went_there(backend, size):
    with Setting(backend) as at:
        asked = []
        at.transport.get_write_buffer_size = lambda: asked.append(1) or 0
        for count in (1, 2):
            for _ in range(3):
                assert at.writer.send(b"a" * size)
                assert len(asked) == count
            at.sock.fileno = lambda: -1
            at.writer.send(b"b")
            at.sock.fileno = at.near.fileno


@pytest.mark.parametrize("ask", ["fileno", "get_write_buffer_size", "is_closing"])
@pytest.mark.parametrize("size", [10, 10_000])
def test_writer_sends_nothing_after_an_error_before_the_write(backend, ask, size):
    def fail():
        raise RuntimeError("gone")

    with Setting(backend) as at:
        setattr(at.sock if ask == "fileno" else at.transport, ask, fail)
        with pytest.raises(RuntimeError, match="gone"):
            at.writer.send(b"a" * size)
        with pytest.raises(RuntimeError, match="gone"):
            at.writer.write(b"b")
        assert (at.arrived(), at.taken(), at.stream.messages_sent, at.writer.bytes_sent) == (b"", b"", 0, 0)


@pytest.mark.parametrize("size", [1000, 10_000, 1 << 20])
def test_writer_does_not_block_on_a_blocking_descriptor(backend, size):
    """O_NONBLOCK belongs to the open file description, which a child process may change."""
    with Setting(backend) as at:
        at.near.setblocking(True)
        expected = frame(BINARY, b"a" * size)
        count = 0
        while not at.transport.held:
            assert at.writer.send(b"a" * size)
            count += 1
        assert at.writer.send(b"a" * size)
        at.writer.write(expected)
        left = at.taken()
        assert at.arrived() + left == expected * (count + 2)
