"""Exceptions: either no input was consumed or the stream is closed. Reentrant calls raise."""

import copy
import os
import pickle
import signal
import sys

import pytest
from frames import BINARY, CLOSE, KEY, PING, TEXT, frame, new_stream, to

import framewire
from framewire import CLIENT, SERVER, Failure, MaskSourceError, State, StateError, Stream
from framewire.extensions import Deflate, PerMessageDeflate

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

ERRORS = [RuntimeError, KeyboardInterrupt, SystemError, MemoryError, SystemExit, TypeError, StopIteration]
RECEIVES = {
    "receive": lambda stream, data: stream.receive(data),
    "receive a view": lambda stream, data: stream.receive(memoryview(bytearray(data)), len(data)),
    "receive_one": lambda stream, data: stream.receive_one(data),
    "buffer_updated": lambda stream, data: fill(stream, data),
}


def fill(stream, data):
    stream.get_buffer(-1)[: len(data)] = data
    return stream.buffer_updated(len(data))


class Codec:
    """A codec that reverses. Counts calls of `close` and `abandon`; methods can be replaced."""

    rsv, threshold, pending = 0x40, 0, False

    def __init__(self, **methods):
        self.closed = self.abandoned = 0
        for name, method in methods.items():
            setattr(self, name, method)

    def decode(self, payload, most, last):
        return payload[::-1]

    def encode(self, content, last):
        return content[::-1]

    def abandon(self):
        self.abandoned += 1

    def close(self):
        self.closed += 1


def raising(error):
    def fail(*arguments):
        raise error("out")

    return fail


def assert_ended(stream, codec=None):
    assert stream.state is State.CLOSED
    assert stream.close_code == 1006
    assert stream.receive(to(SERVER, TEXT, b"later")) == []
    assert stream.receive_one(to(SERVER, TEXT, b"later"))[0] is None
    assert stream.receive_eof() == []
    with pytest.raises(StateError):
        stream.send("later")
    if codec is not None:
        assert codec.closed == 1


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("receive", RECEIVES.values(), ids=RECEIVES)
@pytest.mark.parametrize("firsts", [(0xC1,), (0x41, 0x80)], ids=["whole", "fragments"])
def test_codec_error_ends_the_stream(error, receive, firsts):
    codec = Codec(decode=raising(error))
    stream = Stream(SERVER, extensions=[codec])
    with pytest.raises(error, match="out"):
        receive(stream, b"".join(to(SERVER, first, b"x") for first in firsts))
    assert_ended(stream, codec)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("data", [to(SERVER, 0x01, b"1") + to(SERVER, 0x00, b"2"), to(SERVER, PING, b"p")[:4]])
def test_codec_error_with_a_message_in_progress_ends_the_stream(error, data):
    """If a fragment is lost, the message must not be delivered without it."""
    stream = Stream(SERVER)
    assert stream.receive(data) == []
    receiver = stream._receiver

    class Failing:
        take_frame = staticmethod(raising(error))
        clear = receiver.clear

    stream._receiver = Failing()
    with pytest.raises(error, match="out"):
        stream.receive(to(SERVER, 0x00, b"2"))
    stream._receiver = receiver
    assert_ended(stream)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGUSR1")
@pytest.mark.parametrize("receive", RECEIVES.values(), ids=RECEIVES)
def test_signal_handler_error_ends_the_stream(receive):
    def decode(payload, most, last):
        signal.raise_signal(signal.SIGUSR1)
        return payload

    before = signal.signal(signal.SIGUSR1, raising(Interrupt))
    try:
        codec = Codec(decode=decode)
        stream = Stream(SERVER, extensions=[codec])
        with pytest.raises(Interrupt):
            receive(stream, to(SERVER, 0xC1, b"x"))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert_ended(stream, codec)


class Interrupt(BaseException):
    """An exception as a signal handler raises it: between any two lines."""


PACKAGE = os.path.dirname(framewire.__file__)


def interrupted_at(number, call):
    """Run `call`, and raise Interrupt before line `number` of framewire's Python code.

    Return False if the call ends before that line.
    """
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            lines += 1
            if lines == number:
                sys.settrace(None)
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("receive", ["receive", "receive_one"])
@pytest.mark.parametrize("compressed", [False, True])
def test_interrupt_at_any_line_loses_no_message_of_an_open_stream(receive, compressed):
    def new():
        return Stream(SERVER, extensions=[Deflate()] if compressed else [])

    frames = [(0x01, b"1"), (PING,), (0x00, b"2"), (0x80, b"3"), (TEXT,)]
    if compressed:
        frames = [(0xC1, bytes.fromhex("f248cdc9c90700")), (0x41, b"\0"), (0x80,), *frames]
    data = b"".join(to(SERVER, *each) for each in frames)
    expected = new().receive(data)
    for number in range(1, 2000):
        stream = new()
        if not interrupted_at(number, lambda: getattr(stream, receive)(data)):  # noqa: B023 - called at once
            break
        try:
            # No input was consumed, or the stream is closed.
            assert stream.receive(data) == ([] if stream.state is State.CLOSED else expected)
        except RuntimeError as error:  # interrupted while it acquired or released its lock
            assert "in use" in str(error)  # noqa: PT017
    assert number > 20


def test_codec_close_error_is_raised_after_the_stream_is_closed():
    codec = Codec(decode=raising(KeyError), close=raising(RuntimeError))
    stream = Stream(SERVER, extensions=[codec])
    with pytest.raises(RuntimeError, match="out"):
        stream.receive(to(SERVER, 0xC1, b"x"))
    assert_ended(stream)


@pytest.mark.parametrize("made", [bytearray(b"x"), "x", None, memoryview(b"x")])
@pytest.mark.parametrize("firsts", [(0xC1,), (0x41, 0x80)], ids=["whole", "fragments"])
def test_stream_requires_decode_to_return_bytes(made, firsts):
    codec = Codec(decode=lambda *arguments: made)
    stream = Stream(SERVER, extensions=[codec])
    with pytest.raises(TypeError, match=rf"^decode\(\) returns bytes, not {type(made).__name__}$"):
        stream.receive(b"".join(to(SERVER, first, b"x") for first in firsts))
    assert_ended(stream, codec)


SENDS = {
    "send": lambda stream: stream.send(b"abc"),
    "send_parts": lambda stream: stream.send_parts(b"abc"),
    "send a bytearray": lambda stream: stream.send(bytearray(b"abc")),
    "send a fragment": lambda stream: stream.send(b"abc", last=False),
    "send_steps": lambda stream: list(stream.send_steps(b"abc")),
}


@pytest.mark.parametrize("made", [bytearray(b"x"), "x", None])
@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
def test_stream_requires_encode_to_return_bytes(made, send):
    codec = Codec(encode=lambda content, last: made)
    stream = Stream(SERVER, extensions=[codec])
    with pytest.raises(TypeError, match=rf"^encode\(\) returns bytes, not {type(made).__name__}$"):
        send(stream)
    assert (codec.abandoned, stream.messages_sent, stream.message_open) == (1, 0, False)
    del codec.encode
    assert stream.send(b"abc") == frame(0xC2, b"cba")


@pytest.mark.parametrize("error", ERRORS[:4])
@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
def test_encode_error_leaves_the_stream_unchanged(error, send):
    codec = Codec(encode=raising(error))
    stream = Stream(SERVER, extensions=[codec])
    with pytest.raises(error, match="out"):
        send(stream)
    assert (codec.abandoned, stream.messages_sent, stream.message_open) == (1, 0, False)
    del codec.encode
    assert stream.send(b"abc") == frame(0xC2, b"cba")


# A mask source that uses the stream

INSIDE = {
    "close": lambda stream: stream.close(),
    "fail": lambda stream: stream.fail(1011),
    "begin a fragment": lambda stream: stream.send("a", last=False),
    "send": lambda stream: stream.send("a"),
    "ping": lambda stream: stream.ping(),
    "receive": lambda stream: stream.receive(to(CLIENT, CLOSE)),
    "receive_one": lambda stream: stream.receive_one(to(CLIENT, CLOSE)),
    "receive_eof": lambda stream: stream.receive_eof(),
}
OUTSIDE = {
    "send": lambda stream: stream.send("out"),
    "send_parts": lambda stream: b"".join(stream.send_parts("out")),
    "send a bytearray": lambda stream: stream.send(bytearray(b"out"), text=True),
    "send_steps": lambda stream: last_of(stream.send_steps("out")),
    "ping": lambda stream: stream.ping(b"out"),
    "pong": lambda stream: stream.pong(b"out"),
}


def last_of(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


@pytest.mark.parametrize("inside", INSIDE.values(), ids=INSIDE)
@pytest.mark.parametrize("outside", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize("compressed", [False, True])
def test_mask_source_may_not_use_the_stream(inside, outside, compressed):
    refused = []

    def source(size):
        with pytest.raises(RuntimeError, match="in use"):
            inside(stream)
        refused.append(size)
        return KEY

    stream = Stream(CLIENT, mask_source=source, extensions=[Codec()] if compressed else [])
    assert outside(stream).endswith(frame(TEXT, b"tuo" if compressed and outside not in CONTROLS else b"out", KEY)[2:])
    assert refused == [4]
    assert stream.state is State.OPEN
    assert not stream.message_open


CONTROLS = (OUTSIDE["ping"], OUTSIDE["pong"])


def test_send_steps_after_close_raises_state_error():
    stream = Stream(SERVER, extensions=[Codec()])
    steps = stream.send_steps(bytes(100_000))
    next(steps)
    stream.close()
    with pytest.raises(StateError):
        next(steps)
    assert stream.messages_sent == 0


def test_mask_source_error_counts_no_sent_message():
    stream = Stream(CLIENT, mask_source=lambda size: b"", extensions=[Deflate()])
    for send in SENDS.values():
        with pytest.raises(MaskSourceError):
            send(stream)
    assert stream.messages_sent == 0


# Invalid codecs


@pytest.mark.parametrize("other", [PerMessageDeflate(), object(), None, "deflate"])
def test_stream_rejects_extensions_that_are_no_codecs(other):
    with pytest.raises(TypeError, match="a stream takes codecs") as caught:
        Stream(SERVER, extensions=[other])
    how = "get one for a connection from PerMessageDeflate.accept(offer) or agree(answer), or from the handshake"
    what = f"a stream takes codecs, and {type(other).__name__} is no codec"
    assert str(caught.value) == (f"{what}: {how}" if isinstance(other, PerMessageDeflate) else what)


@pytest.mark.parametrize("threshold", [1 << 63, 1 << 64, 1 << 200])
def test_huge_threshold_disables_compression(threshold):
    codec = Codec()
    codec.threshold = threshold
    stream = Stream(SERVER, extensions=[codec])
    assert stream.send(b"abc") == frame(BINARY, b"abc")
    assert stream.send(bytearray(b"abc")) == frame(BINARY, b"abc")
    assert stream.send(b"abc", compress=True) == frame(0xC2, b"cba")


def test_threshold_must_be_an_integer():
    codec = Codec()
    codec.threshold = 5.5
    with pytest.raises(TypeError):
        Stream(SERVER, extensions=[codec])
    codec.threshold = -5
    assert Stream(SERVER, extensions=[codec]).send(b"") == frame(0xC2)


# Counters and state


def test_messages_sent_counts_each_finished_message_once():
    stream = Stream(SERVER, extensions=[Deflate()])
    for number, send in enumerate(
        [
            lambda: stream.send("a", compress=False), lambda: stream.send("a"), lambda: stream.send_parts(b"a"),
            lambda: stream.send(bytearray(9)), lambda: stream.send("a", text=False),
            lambda: list(stream.send_steps("a")), lambda: list(stream.send_steps("a", compress=False)),
            lambda: list(stream.send_steps(bytes(200_000))),
        ],
        1,
    ):  # fmt: skip
        send()
        assert stream.messages_sent == number
    for last in (False, False, True):
        assert stream.messages_sent == 8
        stream.send("a", last=last)
    assert stream.messages_sent == 9
    stream.ping(), stream.pong(), stream.close()
    assert stream.messages_sent == 9


def test_message_open_is_true_between_fragments():
    stream = new_stream(SERVER)
    assert not stream.message_open
    stream.send("a", last=False)
    assert stream.message_open
    stream.ping()
    stream.send("b", last=False)
    assert stream.message_open
    stream.send("c")
    assert not stream.message_open
    stream.send("d")
    assert not stream.message_open


def test_stream_cannot_be_copied_or_pickled():
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="^cannot pickle 'Stream' object$"):
            make(Stream(SERVER))


def test_stream_init_cannot_be_called_twice():
    stream = Stream(SERVER)
    with pytest.raises(RuntimeError, match="initialized once"):
        stream.__init__(SERVER)


def test_failure_reason_fits_a_close_frame():
    biggest = (1 << 63) - 1
    for data, options in [
        (b"\x82\xff" + biggest.to_bytes(8, "big"), {"max_message_size": biggest - 1}),
        (b"\x82\xff" + biggest.to_bytes(8, "big"), {"max_frame_size": biggest - 1, "max_message_size": None}),
    ]:
        (failure,) = Stream(SERVER, **options).receive(data)
        assert isinstance(failure, Failure)
        assert failure.code == 1009
        assert len(failure.reason) <= 123
