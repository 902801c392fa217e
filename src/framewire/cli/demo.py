"""`framewire demo`: the speed of both backends, one connection byte by byte, and the chat page."""

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
from .argument_types import port
from .serve import address, print_addresses, start
from .signals import wait_for_signal

__all__ = ["add_parser", "measure", "time_message"]

#: The messages whose decoding is timed, by label.
_WORKLOADS: Final[dict[str, str | bytes]] = {
    "text, 16 bytes": "x" * 16,
    "text, 1 KiB": "x" * 1024,
    "binary, 16 KiB": bytes(1 << 14),
    "binary, 1 MiB": bytes(1 << 20),
}
#: Bytes decoded in one timed run, unless that takes more messages than the next line allows.
_RUN_BYTES: Final = 4_000_000
_MAX_RUN_MESSAGES: Final = 20_000
_READ_SIZE: Final = 1 << 16


def add_parser(commands: Any) -> None:
    """Add this subcommand to the command line."""
    parser = commands.add_parser("demo", help="show the speed, the bytes of a connection, a chat", description=__doc__)
    parser.add_argument("--once", action="store_true", help="exit before serving the chat page")
    parser.add_argument("--port", type=port, default=9998, help="port of the chat page (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show all three parts; serve the chat page until Ctrl-C."""
    print_speeds()
    with suppress(KeyboardInterrupt):
        asyncio.run(_show(None if arguments.once else arguments.port))
    return 0


async def _show(port: int | None) -> None:
    async with start("127.0.0.1", 0) as server:
        await print_connection(f"ws://{address(server)}/echo")
    if port is not None:
        async with start("127.0.0.1", port) as server:
            print_addresses(server)
            await wait_for_signal()


def print_speeds() -> None:
    """Measure and print the time that each backend takes to decode a message."""
    print("Stream.receive: microseconds per masked message\n")
    pure, fast = _measure_in_process("pure"), _measure_in_process("fast")
    print(f"{'':<15}{'pure':>7}{'compiled':>9}{'speed-up':>9}")
    for name in _WORKLOADS:
        pure_time = pure[name] * 1e6 if pure else None
        fast_time = fast[name] * 1e6 if fast else None
        ratio = f"{pure_time / fast_time:.1f}x" if pure_time and fast_time else "-"
        cells = ["-" if cell is None else f"{cell:.{2 if cell < 1000 else 0}f}" for cell in (pure_time, fast_time)]
        print(f"{name:<15}{cells[0]:>7}{cells[1]:>9}{ratio:>9}")
    if fast is None:
        print("\nThe compiled backend is not installed; `framewire doctor` says how to get it.")
    print(flush=True)


def _measure_in_process(backend: str) -> dict[str, float] | None:
    """Run `measure` in a process with the given backend; return None if it is not installed."""
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
    """Print, as JSON, the seconds per message of each workload on the active backend."""
    print(json.dumps({name: time_message(message) for name, message in _WORKLOADS.items()}))


def time_message(message: str | bytes) -> float:
    """Return the seconds that the active backend takes to receive a masked message.

    The time is the mean over many copies of the message in reads of 64 KiB, in the best of 3 runs.
    """
    frame = Stream(CLIENT).send(message)
    count = min(_MAX_RUN_MESSAGES, max(1, _RUN_BYTES // len(frame)))
    wire = memoryview(frame * count)
    reads = [wire[i : i + _READ_SIZE] for i in range(0, len(wire), _READ_SIZE)]
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


async def print_connection(uri: str) -> None:
    """Print every byte that a client and a server exchange: handshake, text, ping and close."""
    print(f"A connection to {uri}\n")
    target = parse_uri(uri)
    reader, writer = await asyncio.open_connection(target.host, target.port)
    handshake = ClientHandshake(target)
    request = handshake.request()
    writer.write(request)
    _print_head("->", request)
    while not handshake.response:
        data = await reader.read(_READ_SIZE)
        handshake.receive(data)
        _print_head("<-", data)
    stream = Stream(CLIENT)
    for frame in (stream.send("Grüße"), stream.ping(b"?"), stream.close(1000, "bye")):
        writer.write(frame)
        _print_frames("->", frame)
        data = await reader.read(_READ_SIZE)
        stream.receive(data)
        _print_frames("<-", data)
    writer.close()
    await writer.wait_closed()
    print(flush=True)


def _print_head(arrow: str, data: bytes) -> None:
    for line in data.decode("latin-1").split("\r\n")[:-2]:
        print(f"  {arrow}  {line}")
    print()


def _print_frames(arrow: str, data: bytes) -> None:
    for frame, description in _split_frames(data):
        print(f"  {arrow}  {frame.hex(' '):<44}  {description}")


def _split_frames(data: bytes) -> Iterator[tuple[bytes, str]]:
    """Split whole frames and describe each (RFC 6455 5.2)."""
    position = 0
    while header := read_header(data, position, len(data)):
        first_byte, masked, length, end, key = header
        frame = data[position : end + length]
        payload = apply_mask(data[end : end + length], key) if key else data[end : end + length]
        opcode = Opcode(first_byte & 15)
        description = opcode.name.lower()
        if opcode is Opcode.CLOSE and payload:
            description += f" {int.from_bytes(payload[:2], 'big')}"
            payload = payload[2:]
        if payload:
            description += f" {payload.decode()!r}"
        yield frame, description + (", masked" if masked else "")
        position = end + length
