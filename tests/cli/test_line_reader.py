"""Lines of standard input for an event loop."""

import asyncio
import os
import sys
import threading

import pytest

from framewire.cli.line_reader import LineReader
from framewire.cli.standard_input import read_standard_input


@pytest.fixture
def standard_input(tmp_path, monkeypatch):
    """Return a function that sets the content of standard input."""
    path = tmp_path / "input"
    opened = []

    def write(content):
        path.write_bytes(content)
        opened.append(path.open())
        monkeypatch.setattr(sys, "stdin", opened[0])

    yield write
    for file in opened:
        file.close()


def test_lines_of_one_read_are_handed_over_together(standard_input):
    """A switch between threads for each line would limit the rate to 10,000 lines per second."""
    lines = [f"line {number}" for number in range(100_000)]
    standard_input("\n".join(lines).encode())
    sent, handed_over = [], []

    async def send(line):
        sent.append(line)

    async def body():
        loop = asyncio.get_running_loop()
        call = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *arguments: (handed_over.append(arguments), call(*arguments))
        reader = LineReader()
        await reader.send_to(send)
        assert reader.ended

    asyncio.run(body())
    assert sent == lines
    assert len(handed_over) < 100


@pytest.mark.parametrize("binary", [False, True])
def test_end_of_a_line_is_lf_or_cr_lf(standard_input, binary):
    standard_input(b"a\r\nb\r\r\nc\rd\n\r\n\ne\r")
    sent = []

    async def send(line):
        sent.append(line if binary else line.encode())

    async def body():
        await LineReader(binary).send_to(send)

    asyncio.run(body())
    assert sent == [b"a", b"b\r", b"c\rd", b"", b"", b"e\r"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Windows cannot be made non-blocking")
def test_input_that_another_program_has_made_non_blocking_is_read_to_its_end(monkeypatch):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def write():
        os.write(writing, b"late")
        os.close(writing)

    with open(reading) as file:
        monkeypatch.setattr(sys, "stdin", file)
        later = threading.Timer(0.1, write)
        later.start()
        assert list(read_standard_input()) == [b"late"]
        later.join()


def test_line_whose_sending_failed_is_the_first_of_the_next_call(standard_input):
    standard_input(b"a\nb\nc\n")
    sent = []

    async def send(line):
        if line == "b" and len(sent) == 1:
            sent.append("failed")
            raise ConnectionError
        sent.append(line)

    async def body():
        reader = LineReader()
        with pytest.raises(ConnectionError):
            await reader.send_to(send)
        assert not reader.ended
        await reader.send_to(send)

    asyncio.run(body())
    assert sent == ["a", "failed", "b", "c"]


def test_reading_waits_while_lines_are_not_sent(standard_input):
    standard_input(b"0123456789\n" * 200_000)
    positions = []

    async def body():
        reader = LineReader()

        async def send(line):
            if not positions:
                while reader._room._value:
                    await asyncio.sleep(0)
                positions.append(sys.stdin.buffer.raw.tell())

        await asyncio.wait_for(reader.send_to(send), 20)

    asyncio.run(body())
    assert positions[0] <= 7 << 16
