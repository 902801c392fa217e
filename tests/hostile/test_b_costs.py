"""Time and memory that a hostile peer can cause, measured against the bytes that it sends."""

from functools import partial

import pytest
from bounds import KIB, Traced, assert_linear
from frames import new_stream, to
from victims import REQUEST

from framewire import SERVER, HandshakeError, ResponseError
from framewire.handshake import ClientHandshake, ServerHandshake
from framewire.http.headers import parse_extensions, split_list
from framewire.http.uri import parse_uri
from framewire.session.session import Session
from framewire.session.settings import ConnectionSettings


def bytes_after_a_violation(count):
    """B12: bytes after a violation are neither parsed nor kept."""
    stream = new_stream(SERVER)
    stream.receive(to(SERVER, 0x83))
    chunk = bytes(1 << 16)
    for _ in range(count):
        assert stream.receive(chunk) == []


def unsolicited_pongs(count):
    """B13."""
    stream, pong = new_stream(SERVER), to(SERVER, 0x8A)
    for _ in range(count // 1000):
        assert len(stream.receive(pong * 1000)) == 1000


def a_head_in_single_bytes(count):
    """F2: a head is scanned once, however it is cut into reads."""
    head = REQUEST + b"".join(b"X-%d: %s\r\n" % (i, b"v" * 190) for i in range(count // 200))
    handshake = ServerHandshake()
    for i in range(len(head)):
        assert handshake.receive(head[i : i + 1]) is None


def a_list_of_blanks(count):
    """F4: no pattern backtracks."""
    for value in (" " * count, "," * count, "\t ," * count, 'b;x="' + "\\" * count, "a;" + " " * count + "x"):
        split_list([value])
        try:
            parse_extensions([value])
        except ValueError:
            continue


@pytest.mark.both_backends
@pytest.mark.parametrize(
    ("run", "size"),
    [
        (bytes_after_a_violation, 2000),
        (unsolicited_pongs, 4000),
        (a_head_in_single_bytes, 10_000),
        (a_list_of_blanks, 4000),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_hostile_input_takes_linear_time(run, size):
    assert_linear(run, size)


@pytest.mark.both_backends
@pytest.mark.parametrize("session", [False, True], ids=["stream", "session"])
@pytest.mark.parametrize("flood", [to(SERVER, 0x8A) * 1000, to(SERVER, 0x83) + bytes(6000)], ids=["pongs", "violation"])
def test_pongs_and_bytes_after_a_violation_hold_no_memory(flood, session):
    """B12, B13: 300 KB of unsolicited pongs, or of bytes after a violation."""
    receive = new_stream(SERVER).receive
    if session:
        receive = partial(Session(SERVER, ConnectionSettings(), 0.0).receive, now=0.0)
    receive(flood)
    with Traced() as memory:
        for _ in range(50):
            receive(flood)
        assert memory.now() < 16 * KIB  # free lists of the interpreter


def feed_without_end(handshake, flood, refusal):
    """Return (the refusal, the number of bytes taken until then, the peak of memory in bytes)."""
    sent = 0
    with Traced() as memory:
        with pytest.raises(refusal) as refused:
            while sent < 1 << 24:
                handshake.receive(flood)
                sent += len(flood)
        return refused.value, sent, memory.peak()


@pytest.mark.parametrize("flood", [b"x", b"GET /" + b"x" * 100, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20])
def test_endless_request_is_refused_at_its_limit(flood):
    """F2, F3: at most 32 KiB in all, 8 KiB a line, 128 headers, and no more memory."""
    error, sent, peak = feed_without_end(ServerHandshake(), flood, HandshakeError)
    assert error.status in (400, 414, 431)
    assert sent <= 1 << 15
    assert peak < 1 << 17


def test_endless_refusal_body_is_cut_at_one_mebibyte():
    """F13, F15."""
    handshake = ClientHandshake(parse_uri("ws://a/"))
    handshake.request()
    assert handshake.receive(b"HTTP/1.1 403 No\r\nContent-Length: 999999999\r\n\r\n") is None
    error, sent, peak = feed_without_end(handshake, bytes(1 << 16), ResponseError)
    assert len(error.response.body) == 1 << 20
    assert sent <= 1 << 20
    assert peak < 4 << 20
