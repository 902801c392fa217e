"""`framewire demo`: the speed of both backends on this machine, one conversation byte by byte, and the chat page."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from .. import CLIENT, SERVER, Opcode, Stream
from .._backend import apply_mask, read_header
from ..http.client_handshake import ClientHandshake
from ..http.uri import parse_uri
from .serve import address, print_addresses, start
from .signals import stop_requested

__all__ = ["add_parser", "measure", "time_message"]

#: What is decoded: a name and the message. Each is received, masked, as often as makes about 4 MB.
_WORKLOADS: Final[dict[str, str | bytes]] = {
    "text, 16 bytes": "x" * 16,
    "text, 1 KiB": "x" * 1024,
    "binary, 16 KiB": bytes(1 << 14),
    "binary, 1 MiB": bytes(1 << 20),
}
_VOLUME: Final = 4_000_000
_MOST_MESSAGES: Final = 20_000
_READ: Final = 1 << 16


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = commands.add_parser("demo", help="show the speed, a conversation in bytes, the chat", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end before serving the chat page")
    parser.add_argument("--port", type=int, default=9998, help="port of the chat page (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Shows all three; the last until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        print_speeds()
        asyncio.run(_show(None if arguments.once else arguments.port))
    return 0


async def _show(port: int | None) -> None:
    async with start("127.0.0.1", 0) as server:
        await print_conversation(f"ws://{address(server)}/echo")
    if port is not None:
        async with start("127.0.0.1", port) as server:
            print_addresses(server)
            await stop_requested()


def print_speeds() -> None:
    """Prints the time that each backend takes to decode a message, both measured now, in processes of their own."""
    print("Receiving: microseconds for one masked message, by Stream.receive\n")
    pure, fast = _measure_in_process("pure"), _measure_in_process("fast")
    print(f"{'':<18}{'pure':>10}{'compiled':>10}{'speed-up':>10}")
    for name in _WORKLOADS:
        slow = pure[name] * 1e6 if pure else None
        quick = fast[name] * 1e6 if fast else None
        ratio = f"{slow / quick:.1f}x" if slow and quick else "-"
        cells = ["-" if cell is None else f"{cell:.2f}" for cell in (slow, quick)]
        print(f"{name:<18}{cells[0]:>10}{cells[1]:>10}{ratio:>10}")
    if fast is None:
        print("\nThe compiled backend is not there; `framewire doctor` tells what to do.")
    print(flush=True)


def _measure_in_process(backend: str) -> dict[str, float] | None:
    code = "from framewire.cli import demo; demo.measure()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FRAMEWIRE_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return None
    seconds: dict[str, float] = json.loads(done.stdout)
    return seconds


def measure() -> None:
    """Prints as JSON how many seconds the active backend takes for one message of each workload: the best of 3."""
    print(json.dumps({name: time_message(message) for name, message in _WORKLOADS.items()}))


def time_message(message: str | bytes) -> float:
    """Seconds that the active backend takes to receive one such message, masked, among many: the best of 3."""
    frame = Stream(CLIENT).send(message)
    count = min(_MOST_MESSAGES, max(1, _VOLUME // len(frame)))
    wire = memoryview(frame * count)
    reads = [wire[i : i + _READ] for i in range(0, len(wire), _READ)]
    best = float("inf")
    for _ in range(3):
        stream = Stream(SERVER)
        received = 0
        begin = time.perf_counter()
        for read in reads:
            received += len(stream.receive(read))
        best = min(best, time.perf_counter() - begin)
        assert received == count
    return best / count


async def print_conversation(uri: str) -> None:
    """Prints every byte that a client and the server exchange: handshake, text, ping, close."""
    print(f"A conversation with {uri}\n")
    target = parse_uri(uri)
    reader, writer = await asyncio.open_connection(target.host, target.port)

    def write(data: bytes) -> bytes:
        writer.write(data)
        return data

    async def answer() -> bytes:
        data = await reader.read(_READ)
        stream.receive(data)
        return data

    handshake = ClientHandshake(target)
    _print_head("->", write(handshake.request()))
    while not handshake.response:
        data = await reader.read(_READ)
        handshake.receive(data)
        _print_head("<-", data)
    stream = Stream(CLIENT)
    for frame in (stream.send("Grüße"), stream.ping(b"?"), stream.close(1000, "bye")):
        _print_frames("->", write(frame))
        _print_frames("<-", await answer())
    writer.close()
    await writer.wait_closed()
    print(flush=True)


def _print_head(arrow: str, data: bytes) -> None:
    for line in data.decode("latin-1").split("\r\n")[:-2]:
        print(f"  {arrow}  {line}")
    print()


def _print_frames(arrow: str, data: bytes) -> None:
    for frame, meaning in _explain(data):
        print(f"  {arrow}  {frame.hex(' '):<44}  {meaning}")


def _explain(data: bytes) -> Iterator[tuple[bytes, str]]:
    """Cuts whole frames apart and says what each means (RFC 6455 5.2)."""
    position = 0
    while header := read_header(data, position, len(data)):
        first, masked, length, end, key = header
        frame = data[position : end + length]
        payload = apply_mask(data[end : end + length], key) if key else data[end : end + length]
        opcode = Opcode(first & 15)
        meaning = opcode.name.lower()
        if opcode is Opcode.CLOSE and payload:
            meaning += f" {int.from_bytes(payload[:2], 'big')}"
            payload = payload[2:]
        if payload:
            meaning += f" {payload.decode()!r}"
        yield frame, meaning + (", masked" if masked else "")
        position = end + length
