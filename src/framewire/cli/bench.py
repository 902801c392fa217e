"""`framewire bench URI`: measure the message rate and latency of a WebSocket echo server.

Each connection sends a message and waits for its echo. Without --rate, the next message follows
the echo at once, so the rate is the highest that the server sustains. With --rate, messages are
sent on a fixed schedule whether or not earlier ones were answered, so that a slow server cannot
slow down its own measurement; the largest delay of a send after its scheduled time is reported.

Latency is the time from the call of `send` to the complete echo, measured in the client, which
shares the processor with a server on the same machine. Each message takes 8 bytes of memory.
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
from .argument_types import non_negative_float, non_negative_int, positive_float, positive_int
from .optional_packages import require_package
from .output import ParagraphFormatter, make_console
from .reporting import connecting_to, count

__all__ = ["Load", "add_parser", "measure"]

PERCENTILES: Final = (50, 75, 90, 99, 99.9)
_HISTOGRAM_BARS: Final = 12
#: Seconds between updates of the progress bar.
_REFRESH_INTERVAL: Final = 0.25
#: Consoles of fewer columns get each percentile on a line of its own.
_NARROW: Final = 80
#: Seconds to wait for outstanding echoes after the last message.
_LAST_ECHO_TIMEOUT: Final = 1.0


class WrongAnswer(FramewireError):  # noqa: N818 - reads as the fact it reports
    """The server sent something other than the echo, or closed the connection."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load to put on a server.

    Attributes:
        connections: Number of connections.
        size: Payload size of each message, in bytes.
        rate: Messages per second over all connections; None sends each after the echo of the last.
        seconds: Duration of the measurement.
        warmup: Seconds of load before the measurement.
        binary: Whether to send binary messages instead of text.
    """

    connections: int = 10
    size: int = 125
    rate: float | None = None
    seconds: float = 5.0
    warmup: float = 0.5
    binary: bool = False

    def message(self, number: int) -> str | bytes:
        """Return the message that a connection sends repeatedly. It begins with the number of the
        connection, so that a server which sends to all clients is not taken for an echo server.
        """
        text = f"{number:x<{self.size}}"[: self.size]
        return text.encode() if self.binary else text


@dataclass(slots=True)
class Result:
    """The measurement.

    Attributes:
        latencies: Seconds from send to echo, of messages sent and answered in the window.
        max_delay: The largest delay of a send after its scheduled time, in seconds.
        sent: Messages sent, including the warm-up.
        answered: Echoes received, including the warm-up.
    """

    latencies: array[float] = field(default_factory=lambda: array("d"))
    max_delay: float = 0.0
    sent: int = 0
    answered: int = 0

    @property
    def unanswered(self) -> int:
        """Number of messages without an echo."""
        return self.sent - self.answered


class Window(NamedTuple):
    """Times of a run: load from `begin` to `stop`, of which `start` to `stop` is measured."""

    begin: float
    start: float
    stop: float


def add_parser(commands: Any) -> None:
    """Add this subcommand to the command line."""
    parser = commands.add_parser(
        "bench",
        help="measure an echo server",
        description=__doc__,
        formatter_class=ParagraphFormatter,
    )
    default = Load()
    parser.add_argument("uri", help="ws://host:port/path or wss://...")
    parser.add_argument(
        "-c",
        "--connections",
        type=positive_int,
        default=default.connections,
        help="number of connections (%(default)s)",
    )
    parser.add_argument(
        "-s", "--size", type=non_negative_int, default=default.size, help="payload size in bytes (%(default)s)"
    )
    parser.add_argument("-r", "--rate", type=positive_float, help="messages per second over all connections")
    parser.add_argument("-t", "--seconds", type=positive_float, default=default.seconds, help="duration (%(default)s)")
    parser.add_argument(
        "--warmup",
        type=non_negative_float,
        default=default.warmup,
        help="seconds of load before the measurement (%(default)s)",
    )
    parser.add_argument("--binary", action="store_true", help="send binary messages instead of text")
    parser.add_argument("--json", action="store_true", help="print one JSON document, without progress")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print the result; return 1 if an echo is missing."""
    load = Load(
        arguments.connections, arguments.size, arguments.rate, arguments.seconds, arguments.warmup, arguments.binary
    )
    if not arguments.json:
        require_package("rich", "bench without --json")
    with connecting_to(arguments.uri):
        result = asyncio.run((measure if arguments.json else _measure_with_progress)(arguments.uri, load))
    if arguments.json:
        print(json.dumps(to_json(arguments.uri, load, result), indent=2))
    else:
        _print_result(load, result)
    return 1 if result.unanswered else 0


class _Measurement:
    """State that the connections of one measurement share."""

    def __init__(self, load: Load, result: Result) -> None:
        self.load, self.result = load, result
        self.window = Window(math.inf, math.inf, math.inf)
        self._sending_ended = False
        #: Done when sending has ended and every message was echoed, or at the first failure.
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end_sending(self) -> None:
        self._sending_ended = True
        self.finish_if_answered()

    def finish_if_answered(self) -> None:
        if self._sending_ended and not self.result.unanswered and not self.done.done():
            self.done.set_result(None)

    def fail(self, text: str) -> None:
        if not self.done.done():
            self.done.set_exception(WrongAnswer(text))


class _EchoClient(Listener):
    """One connection. Callbacks instead of a task keep the cost of the client low."""

    connection: ListenerConnection

    def __init__(self, measurement: _Measurement, message: str | bytes) -> None:
        self._measurement = measurement
        self._message = message
        self._send_times = deque[float]()

    def send(self, now: float) -> None:
        if self.connection.state is not State.OPEN:  # `on_close` reports the failure
            return
        self._send_times.append(now)
        self._measurement.result.sent += 1
        self.connection.send(self._message)

    def on_open(self, connection: ListenerConnection) -> None:
        self.connection = connection

    def on_message(self, connection: ListenerConnection, message: str | bytes) -> None:
        now = time.perf_counter()
        measurement = self._measurement
        if message != self._message or not self._send_times:
            unit = "characters" if isinstance(message, str) else "bytes"
            text = f"not an echo server: a connection received {len(message)} {unit} that it had not sent"
            several = measurement.load.connections > 1
            measurement.fail(f"{text} (one that sends to all clients needs --connections 1)" if several else text)
            return
        measurement.result.answered += 1
        sent = self._send_times.popleft()
        if measurement.window.start <= sent and now <= measurement.window.stop:
            measurement.result.latencies.append(now - sent)
        if measurement.load.rate is None and now < measurement.window.stop:
            self.send(now)
        measurement.finish_if_answered()

    def on_close(self, connection: ListenerConnection, code: int, reason: str) -> None:
        self._measurement.fail(f"the server ended a connection: {code} {reason}".rstrip())


async def measure(uri: str, load: Load, result: Result | None = None) -> Result:
    """Put a load on an echo server and measure it.

    Args:
        uri: The server.
        load: The load.
        result: Filled while the measurement runs, for a display of its progress.

    Returns:
        The result.

    Raises:
        WrongAnswer: If a message comes back changed or the server ends a connection.
        FramewireError, OSError: If a connection cannot be opened.
    """
    measurement = _Measurement(load, Result() if result is None else result)
    clients = []
    try:
        for number in range(load.connections):
            client = _EchoClient(measurement, load.message(number))
            await connect(uri, listener=client, max_size=4 * load.size + 1, max_unsent=None, compression=None)
            clients.append(client)
        begin = time.perf_counter()
        measurement.window = Window(begin, begin + load.warmup, begin + load.warmup + load.seconds)
        sending = asyncio.ensure_future(_send_load(measurement, clients))
        await asyncio.wait([sending, measurement.done], return_when=asyncio.FIRST_COMPLETED)
        sending.cancel()
        measurement.end_sending()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(measurement.done, _LAST_ECHO_TIMEOUT)
    finally:
        measurement.done.cancel()
        for client in clients:
            client.connection.close()
        for client in clients:
            await client.connection.wait_closed()
    return measurement.result


async def _send_load(measurement: _Measurement, clients: Sequence[_EchoClient]) -> None:
    """Send until the window ends.

    With a rate, send on schedule over the connections in turn. Without one, send the first message
    of each connection; `_EchoClient.on_message` sends the others.
    """
    rate, window = measurement.load.rate, measurement.window
    if rate is None:
        for client in clients:
            client.send(time.perf_counter())
        await asyncio.sleep(window.stop - time.perf_counter())
        return
    for number in itertools.count():
        due = window.begin + number / rate
        if due >= window.stop:
            return
        await asyncio.sleep(max(due - time.perf_counter(), 0))  # even when late, so that echoes are read
        now = time.perf_counter()
        if now >= window.start:
            measurement.result.max_delay = max(measurement.result.max_delay, now - due)
        if now >= window.stop:
            return
        clients[number % len(clients)].send(now)


# Output


def to_json(uri: str, load: Load, result: Result) -> dict[str, object]:
    """Return the result as plain data, with times in microseconds."""
    ordered = sorted(result.latencies)
    return {
        "uri": uri,
        "load": asdict(load),
        "sent": result.sent,
        "messages": len(ordered),
        "messages_per_second": round(len(ordered) / load.seconds, 1),
        "unanswered": result.unanswered,
        "max_send_delay_us": round(result.max_delay * 1e6, 1),
        "latency_us": {
            **{f"p{percent:g}": _microseconds(percentile(ordered, percent)) for percent in PERCENTILES},
            "max": _microseconds(percentile(ordered, 100)),
        },
    }


def _microseconds(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1e6, 1)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of sorted values; NaN if there are none."""
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1] if ordered else math.nan


def histogram(ordered: Sequence[float], bars: int = _HISTOGRAM_BARS) -> list[tuple[float, int]]:
    """Count sorted values in intervals of geometrically growing width.

    Args:
        ordered: The values, sorted.
        bars: Number of intervals.

    Returns:
        The upper bound of each interval and the number of values in it.
    """
    if not ordered:
        return []
    low, high = max(ordered[0], 1e-9), max(ordered[-1], 1e-9)
    factor = (high / low) ** (1 / bars)
    bounds = [low * factor**i for i in range(1, bars)] + [high]
    ends = [bisect_right(ordered, bound) for bound in bounds]
    ends[-1] = len(ordered)
    return [(bound, end - start) for bound, start, end in zip(bounds, [0, *ends], ends, strict=False)]


async def _measure_with_progress(uri: str, load: Load) -> Result:
    """Measure, with a progress bar on standard error if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    result = Result()
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[rate]}")
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        total = load.warmup + load.seconds
        bar = progress.add_task("" if console.width < _NARROW else uri, total=total, rate="")
        measuring = asyncio.create_task(measure(uri, load, result))
        begin, previous_count = time.perf_counter(), 0
        while not measuring.done():
            await asyncio.wait([measuring], timeout=_REFRESH_INTERVAL)
            answered = len(result.latencies)
            rate = f"{(answered - previous_count) / _REFRESH_INTERVAL:,.0f} messages/s"
            progress.update(bar, completed=min(time.perf_counter() - begin, total), rate=rate)
            previous_count = answered
    return measuring.result()


def _print_result(load: Load, result: Result) -> None:
    console = make_console()
    ordered = sorted(result.latencies)
    console.print(
        f"[bold]{len(ordered) / load.seconds:,.0f} messages/s[/] of {count(load.size, 'byte')}"
        f" on {count(load.connections, 'connection')}, {len(ordered):,} in {load.seconds:g} s"
    )
    if result.unanswered:
        verb = "was" if result.unanswered == 1 else "were"
        console.print(f"[bold red]{count(result.unanswered, 'message')} {verb} not answered[/]")
    if load.rate:
        console.print(
            f"The largest delay of a send was {_format_duration(result.max_delay, console.options.ascii_only)}.",
            style="dim",
        )
    if ordered:
        _print_latencies(console, ordered)


def _print_latencies(console: Any, ordered: Sequence[float]) -> None:
    """Print percentiles and a histogram in the width of the console."""
    from rich.table import Table

    ascii_only: bool = console.options.ascii_only
    names = [*(f"{percent:g} %" for percent in PERCENTILES), "max"]
    values = [_format_duration(percentile(ordered, percent), ascii_only) for percent in (*PERCENTILES, 100)]
    if console.width < _NARROW:
        for name, value in zip(names, values, strict=True):
            console.print(f"{name:>14}  {value}")
    else:
        percentiles = Table("latency", *names, box=None)
        percentiles.add_row("", *values)
        console.print(percentiles)
    bars = histogram(ordered)
    max_count = max(number for _, number in bars)
    bar_width = max(min(40, console.width - 18 - len(f"{max_count:,}")), 1)
    for bound, number in bars:
        bar = ("#" if ascii_only else "█") * round(bar_width * number / max_count)
        console.print(f"{'to ' + _format_duration(bound, ascii_only):>14}  [cyan]{bar:<{bar_width}}[/]  {number:,}")


def _format_duration(seconds: float, ascii_only: bool) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e6:.0f} {'us' if ascii_only else 'µs'}"
