"""G10: if any allocation of the compiled twins fails, they raise and keep a consistent state.

The pure twins make no allocations of their own.
"""

import contextlib
import socket
import sysconfig
from array import array
from collections import deque
from itertools import chain
from types import SimpleNamespace

import pytest
from backends import LOADED
from frames import PING, PONG, feed, mask, new_stream, to

from framewire import CLIENT, SERVER, State, Stream, _backend
from framewire.errors import TextError
from framewire.protocol.masking_keys import pool
from framewire.protocol.permessage_deflate import CLIENT_DEFAULT

try:
    import _testcapi
except ImportError:
    _testcapi = None

pytestmark = [
    pytest.mark.alone,  # allocations fail for every thread, those of pytest-xdist too
    pytest.mark.skipif(_testcapi is None, reason="this Python cannot make allocations fail"),
    pytest.mark.skipif(_backend.active.name == "pure", reason="the pure twins allocate nothing themselves"),
    pytest.mark.skipif(
        bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="without a GIL, CPython itself crashes without memory"
    ),
]

#: Messages of every width, some of them large.
MESSAGES = ["a" * 40, "é" * 40, bytes(3000), "漢" * 1500, "🎉" * 900, "x" * 9000, bytes(9000)]


def compressing(role, **options):
    return new_stream(role, extensions=[CLIENT_DEFAULT.agree([])], **options)


@pytest.fixture
def fast():
    return SimpleNamespace(**LOADED["fast"])


def fail_at(number, run, count=1):
    """Call `run` while allocations `number` to `number + count` fail; return whether it raised."""
    _testcapi.set_nomemory(number, number + count)
    try:
        run()
    except MemoryError:
        return True
    finally:
        _testcapi.remove_mem_hooks()
    return False


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("size", [1 << 16, 2000, 211])
@pytest.mark.parametrize("make", [new_stream, compressing])
def test_receive_allocation_failure_ends_the_stream_or_changes_nothing(make, size, wrap):
    sender = make(CLIENT)
    data = b"".join(map(sender.send, MESSAGES))
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    expected = feed(make(SERVER, text_as_bytes=wrap), data)
    ended = 0
    for number in range(10_000):
        stream, taken = make(SERVER, text_as_bytes=wrap), [None] * len(pieces)

        def receive(stream=stream, taken=taken):
            for i, piece in enumerate(pieces):
                taken[i] = stream.receive(piece)

        if not fail_at(number, receive):
            break
        if stream.state is State.CLOSED:
            ended += 1
            assert stream.receive(data) == []
            assert stream.receive_eof() == []
        else:  # the allocation failed before the piece was consumed
            left = taken.index(None)
            taken[left:] = map(stream.receive, pieces[left:])
            assert list(chain.from_iterable(taken)) == expected
    assert ended > 5
    assert list(chain.from_iterable(taken)) == expected


def fill_and_take(partial, payload, rest):
    """Fill a partial message like the slow path, with text and binary fragments."""
    for opcode, key in ((1, b""), (2, b""), (1, b"\0\0\0\0"), (2, b"\0\0\0\0")):
        partial.begin_frame(opcode, False, len(payload), key, opcode == 1)
        for start in range(0, len(payload), 997):
            partial.fill(payload, start, min(start + 997, len(payload)))
        partial.end_frame()
        partial.take_piece()
        partial.begin_frame(opcode, True, len(rest), key, opcode == 1)
        partial.fill(rest, 0, len(rest))
        partial.finish()


@pytest.mark.parametrize("text", ["a", "é", "漢", "🎉"])
@pytest.mark.parametrize("wrap", [None, bytes])
def test_partial_message_survives_allocation_failure(fast, text, wrap):
    """A buffer that cannot grow is kept with its size."""
    payload, rest = text.encode() * 3000 + "é".encode()[:1], "é".encode()[1:] + text.encode() * 3000
    partial = fast.PartialMessage(False, 1 << 20, wrap)
    for number in range(1000):
        if not fail_at(number, lambda: fill_and_take(partial, payload, rest)):
            break
        assert partial.size >= 0
        partial.take_piece()  # the content is intact
        partial.clear()
        assert (partial.opcode, partial.size, partial.in_frame, partial.need) == (0, 0, False, 0)
    assert number > 5


@pytest.mark.parametrize("role", [SERVER, CLIENT])
@pytest.mark.parametrize("message", ["a" * 100, "é" * 1000, b"b" * 3000, bytearray(100)], ids=type)
def test_send_allocation_failure_changes_nothing(role, message):
    for number in range(1000):
        stream = new_stream(role)
        if not fail_at(number, lambda: stream.send(message)):  # noqa: B023 - called at once
            break
        assert stream.send(message) == new_stream(role).send(message)
    assert number > 0


@pytest.mark.parametrize("make", [new_stream, compressing])
@pytest.mark.parametrize("fragments", [False, True])
@pytest.mark.parametrize("send", ["send", "send_parts"])
def test_send_allocation_failure_does_not_affect_later_messages(make, send, fragments):
    """A frame that is not sent changes neither compression context nor fragment state."""
    texts = [f"{i} " + "abc" * 500 for i in range(4)]
    expected = ["".join(texts)] if fragments else texts
    for number in range(1000):
        stream, frames = make(CLIENT), [None] * len(texts)

        def send_all(stream=stream, frames=frames):
            for i, text in enumerate(texts):
                if frames[i] is None:
                    frames[i] = getattr(stream, send)(text, last=not fragments or text is texts[-1])

        failed = fail_at(number, send_all)
        send_all()
        data = b"".join(each if isinstance(each, bytes) else b"".join(each) for each in frames)
        assert make(SERVER).receive(data) == expected
        if not failed:
            break
    assert number > 5


def test_send_steps_allocation_failure_does_not_affect_later_messages():
    def collect(steps):
        frames[1] = yield from steps

    texts = ["abc" * 500, "abc" * 30_000]
    for number in range(1000):
        stream, frames = compressing(CLIENT), [None] * 2
        frames[0] = stream.send(texts[0])
        # Created before: CPython 3.12 and 3.13 crash if the generator itself cannot be allocated.
        steps = collect(stream.send_steps(texts[1]))
        failed = fail_at(number, lambda: list(steps))  # noqa: B023 - called at once
        if failed:
            frames[1] = stream.send(texts[1])
        assert compressing(SERVER).receive(b"".join(frames)) == texts
        if not failed:
            break
    assert number > 5


def test_pending_replies_survive_allocation_failure():
    for number in range(1000):
        stream = new_stream(CLIENT)
        stream.receive(to(CLIENT, PING, b"1") + to(CLIENT, PING, b"2"))
        if not fail_at(number, stream.pending):
            break
        assert stream.pending() == to(SERVER, PONG, b"1") + to(SERVER, PONG, b"2")
    assert number > 0


def test_masking_allocation_failure_raises_memory_error(fast):
    assert fail_at(0, lambda: fast.apply_mask(bytes(100), b"1234"))
    assert fast.apply_mask(bytes(8), b"1234") == mask(bytes(8), b"1234")


def send_surrogate(stream, fast, sock):
    with contextlib.suppress(TextError):
        stream.send("\ud800")


def write_out(stream, fast, sock):
    transport = SimpleNamespace(write=deque(maxlen=1).append, get_write_buffer_size=int, is_closing=bool, abort=bool)
    writer = fast.SocketWriter(stream, transport, sock, 1 << 20)
    for message in ("a", "é", "\ud800", b"b" * 5000, "b" * 5000):
        writer.send(message)
    writer.write(b"c")


@pytest.fixture(scope="module")
def sock():
    """A socket for the writer, which becomes full."""
    sock, peer = socket.socketpair()
    with sock, peer:
        sock.setblocking(False)
        yield sock


#: Calls in which the compiled twins handle a Python exception or a buffer of another type.
STEPS = {
    "a key when none is left": lambda stream, fast, sock: stream.send("a"),
    "a lone surrogate": send_surrogate,
    "integers sent": lambda stream, fast, sock: stream.send(array("I", range(100))),
    "integers received": lambda stream, fast, sock: stream.receive(array("I", b"\x82\x82\0\0\0\0ab")),
    "integers masked": lambda stream, fast, sock: fast.apply_mask(array("I", [1]), b"1234"),
    "integers masked in place": lambda stream, fast, sock: fast.apply_mask_in_place(array("I", [1]), b"1234"),
    "written to the transport": lambda stream, fast, sock: write_out(stream, fast, None),
    "written to the socket": lambda stream, fast, sock: write_out(stream, fast, sock),
    "corrupt": lambda stream, fast, sock: stream.receive(b"\xc1\x82\0\0\0\0\xff\xff"),
}


@pytest.mark.parametrize("count", [1, 2, 3, 10])
@pytest.mark.parametrize("step", STEPS)
def test_error_without_memory_for_its_traceback_does_not_crash(fast, sock, step, count):
    role, make = (SERVER, compressing) if step == "corrupt" else (CLIENT, Stream)
    shown = 0
    for number in range(200):
        pool.clear()
        stream = make(role)
        try:
            shown += fail_at(number, lambda: STEPS[step](stream, fast, sock), count)  # noqa: B023 - called at once
        except SystemError as error:  # CPython could not call a Python function, and set no exception
            assert "cyfunction" not in str(error)  # noqa: PT017 - not all raise it
    assert shown
