"""G: native code, threads, callbacks. See also test_kernels.py and test_memory_errors.py."""

import asyncio
import gc
import sys
import threading
import time
import weakref
import zlib

import pytest
from ends import on_loop, until
from frames import BINARY, KEY, PING, TEXT, frame, new_stream, to

from framewire import CLIENT, SERVER, Close, Failure, Ping, Stream
from framewire.asyncio import connect, serve
from framewire.protocol.permessage_deflate import Deflate


@pytest.fixture
def hurried():
    """Let threads take turns as often as possible."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(*functions):
    """Run functions in concurrent threads; raise the exception of one of them."""
    errors, start = [], threading.Barrier(len(functions))

    def run(function):
        try:
            start.wait()
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.both_backends
def test_g4_buffer_cannot_be_resized_while_it_is_read(hurried):
    """The buffer is locked: resizing raises BufferError, and the reader gets its content."""
    data = bytearray(frame(BINARY, b"x" * 200_000))
    done = threading.Event()

    def resize():
        while not done.is_set():
            try:
                data.append(0)
                data.pop()
            except BufferError:
                pass

    def receive():
        try:
            for _ in range(300):
                assert new_stream(CLIENT).receive(data)[0] == b"x" * 200_000
        finally:
            done.set()

    in_threads(resize, receive)


class Gate:
    """A codec that waits inside `receive` or `send` until the test opens it."""

    rsv, threshold, pending = 0x40, 0, False

    def __init__(self):
        self.inside, self.open = threading.Event(), threading.Event()

    def decode(self, payload, most, last):
        self.inside.set()
        assert self.open.wait(10)
        return payload

    def encode(self, content, last):
        self.inside.set()
        assert self.open.wait(10)
        return content

    def abandon(self):
        pass

    def close(self):
        pass


CALLS = {
    "receive": lambda stream: stream.receive(to(SERVER, TEXT, b"x")),
    "receive_one": lambda stream: stream.receive_one(to(SERVER, TEXT, b"x")),
    "receive_eof": lambda stream: stream.receive_eof(),
    "buffer_updated": lambda stream: (stream.get_buffer(-1), stream.buffer_updated(1)),
    "send, encoded": lambda stream: stream.send(b"x", compress=True),
    "send, in fragments": lambda stream: stream.send(b"x", last=False),
    "send_parts": lambda stream: stream.send_parts(b"x"),
    "send_steps": lambda stream: list(stream.send_steps(b"x")),
    "close": lambda stream: stream.close(),
    "fail": lambda stream: stream.fail(1011),
}


@pytest.mark.both_backends
@pytest.mark.parametrize("inside", ["receive", "send"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_g5_second_thread_in_one_stream_raises_runtime_error(inside, call):
    """Any call of a second thread is a RuntimeError and leaves the first call undisturbed."""
    gate, result = Gate(), []
    stream = Stream(SERVER, extensions=[gate])

    def first():
        if inside == "receive":
            result.append(stream.receive(to(SERVER, 0xC1, b"whole") + to(SERVER, TEXT, b"next")))
        else:
            result.append(stream.send(b"whole", compress=True))

    def second():
        try:
            assert gate.inside.wait(10)
            with pytest.raises(RuntimeError, match="in use"):
                call(stream)
        finally:
            gate.open.set()

    in_threads(first, second)
    assert result == [["whole", "next"] if inside == "receive" else b"\xc2\x05whole"]
    assert stream.receive(to(SERVER, PING, b"p")) == [Ping(b"p")]
    assert stream.pending() == b"\x8a\x01p"


def deflated(content):
    deflater = zlib.compressobj(wbits=-15)
    return (deflater.compress(content) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.both_backends
def test_g5_concurrent_calls_on_one_stream_are_refused_or_complete(hurried):
    """Each call is refused or complete, also with large payloads; every byte is counted."""
    stream = Stream(SERVER, max_message_size=None, extensions=[Deflate(decode_resets=True, encode_resets=True)])
    large = b"z" * 100_000
    cases = [
        (to(SERVER, 0x01, b"a" * 50) + to(SERVER, 0x80, b"b"), ["a" * 50 + "b"]),
        (to(SERVER, BINARY, large, key=KEY), [large]),
        (to(SERVER, 0xC2, deflated(large)), [large]),
        (to(SERVER, PING, b"p") + to(SERVER, TEXT, "é".encode() * 10), [Ping(b"p"), "é" * 10]),
    ]
    taken, refused = [0] * len(cases), [0] * len(cases)
    deadline = time.monotonic() + 60

    def hammer(i):
        data, events = cases[i]
        # Until two calls have met, which the scheduler decides.
        while taken[i] < 100 or not (any(refused) or time.monotonic() > deadline):
            try:
                assert stream.receive(data) == events
                taken[i] += 1
            except RuntimeError:
                refused[i] += 1

    def send():
        for _ in range(100):
            try:
                frame = stream.send(large, compress=True)
            except RuntimeError:
                continue
            assert Stream(CLIENT, extensions=[Deflate()]).receive(frame) == [large]

    in_threads(*[lambda i=i: hammer(i) for i in range(len(cases))], send)
    assert any(refused)
    offset = stream.receive(b"\xff")[0].offset
    assert offset == sum(count * len(data) for count, (data, _) in zip(taken, cases, strict=True))
    assert stream.pending().count(b"\x8a\x01p") == taken[3]


@pytest.mark.both_backends
@pytest.mark.parametrize("call", ["receive", "send", "close", "pending"])
def test_g6_reentrant_call_from_mask_source_raises_runtime_error(call):
    """A forbidden call is a RuntimeError inside the mask source, and the stream goes on."""
    calls = {
        "receive": lambda: stream.receive(frame(TEXT, b"inner")),
        "send": lambda: stream.send(b"inner", last=False),
        "close": lambda: stream.close(),
        "pending": lambda: stream.pending(),
    }
    wanted = [True]

    def source(size):
        if wanted:
            wanted.pop()
            calls[call]()
        return KEY

    stream = Stream(CLIENT, mask_source=source)
    assert stream.receive(frame(PING, b"p") + frame(TEXT, b"text")) == [Ping(b"p"), "text"]
    with pytest.raises(RuntimeError, match="in use"):
        stream.pending()
    assert stream.pending() == to(SERVER, 0x8A, b"p")
    assert stream.send("outer") == to(SERVER, TEXT, b"outer")


@pytest.mark.both_backends
def test_g6_mask_source_may_drop_the_last_reference_to_the_stream():
    streams = []

    def source(size):
        streams.clear()
        gc.collect()
        return KEY

    streams.append(Stream(CLIENT, mask_source=source))
    streams[0].receive(frame(PING, b"p"))
    assert streams[0].pending() == to(SERVER, 0x8A, b"p")
    assert streams == []


@pytest.mark.both_backends
@pytest.mark.parametrize("data", [frame(PING, b"p"), frame(0x88), frame(0x83)], ids=["ping", "close", "violation"])
def test_mask_source_error_during_pong_loses_no_message(data):
    """`receive` delivers everything; `pending`, which needs the key, raises and loses nothing."""
    working = []

    def source(size):
        if not working:
            raise OSError("no entropy")
        return KEY

    stream = Stream(CLIENT, mask_source=source)
    before, last, *after = stream.receive(frame(TEXT, b"before") + data + frame(TEXT, b"after"))
    assert before == "before"
    assert after == (["after"] if isinstance(last, Ping) else [])
    assert isinstance(last, Ping | Close | Failure)
    for _ in range(2):
        with pytest.raises(OSError, match="no entropy"):
            stream.pending()
    working.append(True)
    assert stream.pending()[1] & 0x80
    assert stream.pending() == b""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython counts references")
@on_loop
async def test_g8_closed_connections_are_freed_without_the_garbage_collector():
    """A connection that is over is freed by reference counts alone."""
    gone = []

    async def handler(connection):
        gone.append(weakref.ref(connection))
        async for message in connection:
            await connection.send(message)

    gc.collect()
    gc.disable()
    try:
        async with serve(handler, "127.0.0.1", 0) as server:
            uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            for i in range(100):
                async with connect(uri, proxy=None) as connection:
                    await connection.send("x" * i)
                    assert await connection.recv() == "x" * i
                gone.append(weakref.ref(connection))
                del connection
            assert not server.connections
        # This test's own frames may refer to two of them.
        await until(lambda: sum(each() is not None for each in gone) <= 2)
    finally:
        gc.enable()


@on_loop
async def test_g9_cancelled_send_and_recv_lose_no_message():
    """A send or receive cancelled after any number of turns is complete or has no effect.

    The messages whose send returned arrive, in order, and no others.
    """
    got = []

    async def keep(connection):
        async for message in connection:
            got.append(message)
            await connection.send(message)

    async with serve(keep, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with connect(uri, proxy=None, write_limit=1000, max_queue=2) as connection:
            sent, back, cancelled = [], [], 0
            for turns in range(12):
                message = f"{turns} " + "x" * 3000
                for operation in (connection.send(message), connection.recv()):
                    task = asyncio.ensure_future(operation)
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    task.cancel()
                    (result,) = await asyncio.gather(task, return_exceptions=True)
                    if result is None:
                        sent.append(message)
                    elif isinstance(result, str):
                        back.append(result)
                    else:
                        assert isinstance(result, asyncio.CancelledError)
                        cancelled += 1
            await connection.send("last")
            while not back or back[-1] != "last":
                back.append(await asyncio.wait_for(connection.recv(), 5))
    assert len(sent) > 1
    assert cancelled > 1
    assert got == back == [*sent, "last"]
