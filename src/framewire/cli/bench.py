"""`framewire bench URI`: load for a WebSocket server that echoes, and how long its answers take.

Each connection sends a message and waits for it to come back. Without --rate the next one follows at once: a closed
loop, and the rate is what the server can bear. With --rate the messages go out by the clock, whether or not the
answers are in, so that a slow server does not slow down its own measurement; how far the clock was missed is reported.
Latency is from the call of `send` to the whole answer, at the client, which shares the machine's time with a local
server. 8 bytes are kept for each message.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import time
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

from ..asyncio import Listener, ListenerConnection, connect
from ..errors import FramewireError
from ..protocol.constants import State
from .extra import need
from .numbers import natural, positive, positive_float

__all__ = ["Load", "add_parser", "measure"]

PERCENTILES: Final = (50, 75, 90, 99, 99.9)
_BARS: Final = 12
_REFRESH: Final = 0.25  # seconds
_PATIENCE: Final = 1.0  # seconds, for the last answers


class WrongAnswer(FramewireError):  # noqa: N818 - says what came back
    """The server did not send back what it was sent, or went away."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: messages of `size` bytes on `connections`, `rate` a second in all (None: as fast as echoed)."""

    connections: int = 10
    size: int = 125
    rate: float | None = None
    seconds: float = 5.0
    warmup: float = 0.5
    binary: bool = False

    @property
    def message(self) -> str | bytes:
        """The message that is sent over and over."""
        return bytes(self.size) if self.binary else "x" * self.size


@dataclass(slots=True)
class Result:
    """Latencies after the warm-up, and by how much the clock was missed, in seconds; all that was sent and answered."""

    latencies: array[float] = field(default_factory=lambda: array("d"))
    lateness: float = 0.0
    sent: int = 0
    answered: int = 0

    @property
    def unanswered(self) -> int:
        """How many messages did not come back."""
        return self.sent - self.answered


class Window(NamedTuple):
    """The times of the run: what is sent from `start` on and answered by `stop` counts."""

    begin: float
    start: float
    stop: float


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = commands.add_parser(
        "bench",
        help="measure a server that echoes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Load()
    parser.add_argument("uri", help="ws://host:port/path or wss://...")
    parser.add_argument("-c", "--connections", type=positive, default=default.connections, help="(%(default)s)")
    parser.add_argument("-s", "--size", type=natural, default=default.size, help="bytes of a message (%(default)s)")
    parser.add_argument("-r", "--rate", type=positive_float, help="messages per second, all connections together")
    parser.add_argument("-t", "--seconds", type=positive_float, default=default.seconds, help="how long (%(default)s)")
    parser.add_argument("--warmup", type=float, default=default.warmup, help="seconds before that (%(default)s)")
    parser.add_argument("--binary", action="store_true", help="binary messages instead of text")
    parser.add_argument("--json", action="store_true", help="print one JSON document, and no progress")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; 0 if every message was echoed."""
    load = Load(
        arguments.connections, arguments.size, arguments.rate, arguments.seconds, arguments.warmup, arguments.binary
    )
    try:
        if arguments.json:
            result = asyncio.run(measure(arguments.uri, load))
            print(json.dumps(to_json(arguments.uri, load, result), indent=2))
        else:
            need("rich", "bench without --json")
            result = asyncio.run(_measure_with_progress(arguments.uri, load))
            _print(load, result)
    except KeyboardInterrupt:
        return 130
    return 1 if result.unanswered else 0


class _Run:
    """What the connections share."""

    def __init__(self, load: Load, result: Result) -> None:
        self.load, self.message, self.result = load, load.message, result
        self.window = Window(math.inf, math.inf, math.inf)
        self._all_sent = False
        #: Done when all is answered after all was sent, or at the first fault.
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def all_sent(self) -> None:
        self._all_sent = True
        self.look()

    def look(self) -> None:
        if self._all_sent and not self.result.unanswered and not self.done.done():
            self.done.set_result(None)

    def fail(self, text: str) -> None:
        if not self.done.done():
            self.done.set_exception(WrongAnswer(text))


class _Talker(Listener):
    """One connection: a callback and no task, so that hardly more than the server's time is measured."""

    connection: ListenerConnection

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._times = deque[float]()

    def send(self, now: float) -> None:
        if self.connection.state is not State.OPEN:  # a fault, of which `on_close` tells
            return
        self._times.append(now)
        self._run.result.sent += 1
        self.connection.send(self._run.message)

    def on_open(self, connection: ListenerConnection) -> None:
        self.connection = connection

    def on_message(self, connection: ListenerConnection, message: str | bytes) -> None:
        now = time.perf_counter()
        run = self._run
        if message != run.message or not self._times:
            run.fail(f"the server is no echo: it answered {len(message)} characters or bytes of something else")
            return
        run.result.answered += 1
        sent = self._times.popleft()
        if run.window.start <= sent and now <= run.window.stop:
            run.result.latencies.append(now - sent)
        if run.load.rate is None and now < run.window.stop:
            self.send(now)
        run.look()

    def on_close(self, connection: ListenerConnection, code: int, reason: str) -> None:
        self._run.fail(f"the server ended a connection: {code} {reason}".rstrip())


async def measure(uri: str, load: Load, result: Result | None = None) -> Result:
    """Puts `load` on the server at `uri`; `result` fills while this runs.

    Raises WrongAnswer if a message comes back changed or the server ends a connection, and what `connect` raises.
    """
    run = _Run(load, Result() if result is None else result)
    talkers = []
    try:
        for _ in range(load.connections):
            talker = _Talker(run)
            await connect(uri, listener=talker, max_size=4 * load.size + 1, max_unsent=None, compression=None)
            talkers.append(talker)
        begin = time.perf_counter()
        run.window = Window(begin, begin + load.warmup, begin + load.warmup + load.seconds)
        sending = asyncio.ensure_future(_send(run, talkers))
        await asyncio.wait([sending, run.done], return_when=asyncio.FIRST_COMPLETED)
        sending.cancel()
        run.all_sent()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(run.done, _PATIENCE)
    finally:
        run.done.cancel()
        for talker in talkers:
            talker.connection.close()
        for talker in talkers:
            await talker.connection.wait_closed()
    return run.result


async def _send(run: _Run, talkers: Sequence[_Talker]) -> None:
    """Sends until the window ends: by the clock, in turns, or the first message of each connection."""
    rate, window = run.load.rate, run.window
    if rate is None:
        for talker in talkers:
            talker.send(time.perf_counter())
        await asyncio.sleep(window.stop - time.perf_counter())
        return
    for number in itertools.count():
        due = window.begin + number / rate
        if due >= window.stop:
            return
        await asyncio.sleep(max(due - time.perf_counter(), 0))  # behind the clock, answers still get their turn
        now = time.perf_counter()
        if now >= window.stop:
            return
        if now >= window.start:
            run.result.lateness = max(run.result.lateness, now - due)
        talkers[number % len(talkers)].send(now)


# What is printed


def to_json(uri: str, load: Load, result: Result) -> dict[str, object]:
    """The result as plain data; times in microseconds."""
    ordered = sorted(result.latencies)
    return {
        "uri": uri,
        "load": asdict(load),
        "sent": result.sent,
        "messages": len(ordered),
        "messages_per_second": round(len(ordered) / load.seconds, 1),
        "unanswered": result.unanswered,
        "latest_send_us": round(result.lateness * 1e6, 1),
        "latency_us": {
            **{f"p{percent:g}": _microseconds(rank(ordered, percent)) for percent in PERCENTILES},
            "max": _microseconds(rank(ordered, 100)),
        },
    }


def _microseconds(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1e6, 1)


def rank(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the `ordered` ones do not exceed; NaN if there is none."""
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1] if ordered else math.nan


def histogram(ordered: Sequence[float], bars: int = _BARS) -> list[tuple[float, int]]:
    """Pairs of an upper bound and the number of values from the bound before to it; bounds grow by one factor."""
    if not ordered:
        return []
    low, high = max(ordered[0], 1e-9), max(ordered[-1], 1e-9)
    factor = (high / low) ** (1 / bars)
    bounds = [low * factor**i for i in range(1, bars)] + [high]
    ends = [bisect_right(ordered, bound) for bound in bounds]
    ends[-1] = len(ordered)
    return [(bound, end - start) for bound, start, end in zip(bounds, [0, *ends], ends, strict=False)]


async def _measure_with_progress(uri: str, load: Load) -> Result:
    from rich.progress import BarColumn, Progress, TextColumn

    result = Result()
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[seen]}")
    with Progress(*columns, transient=True) as progress:
        total = load.warmup + load.seconds
        bar = progress.add_task(uri, total=total, seen="")
        measuring = asyncio.create_task(measure(uri, load, result))
        begin, before = time.perf_counter(), 0
        while not measuring.done():
            await asyncio.wait([measuring], timeout=_REFRESH)
            count = len(result.latencies)
            seen = f"{(count - before) / _REFRESH:,.0f} messages/s"
            progress.update(bar, completed=min(time.perf_counter() - begin, total), seen=seen)
            before = count
    return measuring.result()


def _print(load: Load, result: Result) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    ordered = sorted(result.latencies)
    console.print(
        f"[bold]{len(ordered) / load.seconds:,.0f} messages/s[/] of {load.size:,} bytes"
        f" on {load.connections:,} connections, {len(ordered):,} in {load.seconds:g} s"
    )
    if result.unanswered:
        console.print(f"[bold red]{result.unanswered:,} messages had no answer[/]")
    if load.rate:
        console.print(f"The clock was missed by at most {_show(result.lateness)}.", style="dim")
    if not ordered:
        return
    percentiles = Table("latency", *(f"{percent:g} %" for percent in PERCENTILES), "max", box=None)
    percentiles.add_row("", *(_show(rank(ordered, percent)) for percent in (*PERCENTILES, 100)))
    console.print(percentiles)
    bars = histogram(ordered)
    most = max(count for _, count in bars)
    for bound, count in bars:
        console.print(f"{'to ' + _show(bound):>14}  [cyan]{'█' * round(40 * count / most):<40}[/]  {count:,}")


def _show(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e6:.0f} µs"
