"""Allocations that fail (G10): at every step of receiving and of sending, an exception and an ended stream."""

import pytest

from frames import BINARY, PING, TEXT, feed, new_stream, to
from framewire import CLIENT, SERVER, State

_testcapi = pytest.importorskip("_testcapi", reason="this Python cannot be made to run out of memory")

#: Whole messages, messages in pieces that grow, fragments, control frames between, text of every width, a violation.
INPUT = b"".join(
    to(SERVER, *each)
    for each in [
        (TEXT, b"a" * 40),
        (TEXT, "é".encode() * 40),
        (BINARY, bytes(3000)),
        (0x01, "漢".encode() * 700 + b"\xf0\x9f"),
        (PING, b"ping"),
        (0x00, b"\x8e\x89" + b"x" * 5000),
        (0x80, b"end"),
        (0x02, bytes(1500)),
        (0x80, bytes(1500)),
        (TEXT, "🎉".encode() * 900),
        (0x83,),
    ]
)
OPTIONS = [{}, {"fragments": True}, {"text_as_bytes": True}]


def fail_at(number, run):
    """Runs `run` with the allocation `number` and all later ones failing; returns whether it was reached."""
    _testcapi.set_nomemory(number, 0)
    try:
        run()
    except MemoryError:
        return True
    finally:
        _testcapi.remove_mem_hooks()
    return False


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "fragments", "bytes"])
@pytest.mark.parametrize("size", [len(INPUT), 1000, 97])
def test_receiving_without_memory_ends_the_stream_or_changes_nothing(options, size):
    pieces = [INPUT[i : i + size] for i in range(0, len(INPUT), size)]
    expected = feed(new_stream(SERVER, **options), INPUT)
    ended = 0
    for number in range(10_000):
        stream, taken = new_stream(SERVER, **options), [None] * len(pieces)

        def receive(stream=stream, taken=taken):
            for i, piece in enumerate(pieces):
                taken[i] = stream.receive(piece)

        if not fail_at(number, receive):
            break
        left = taken.index(None)
        if stream.state is State.CLOSED:
            ended += 1
            assert stream.receive(INPUT) == []
            assert stream.receive_eof() == []
        else:  # the allocation that failed was made before the piece was looked at
            taken[left:] = map(stream.receive, pieces[left:])
            assert sum(taken, []) == expected
    assert ended > 10
    assert sum(taken, []) == expected


@pytest.mark.parametrize("role", [SERVER, CLIENT])
def test_sending_without_memory_sends_nothing(role):
    messages = ["a" * 100, "é" * 1000, b"b" * 3000, bytearray(100)]
    for message in messages:
        for number in range(1000):
            stream = new_stream(role)
            if not fail_at(number, lambda: stream.send(message)):  # noqa: B023 - called at once
                break
            assert stream.send(message) == new_stream(role).send(message)
        assert number > 0
