"""`framewire bench`: the load is as requested, and the figures are those of the server."""

import asyncio
import json
import math
import re
import time
from array import array
from contextlib import asynccontextmanager

import pytest

from framewire.asyncio import broadcast, serve
from framewire.cli import bench, main
from framewire.cli.bench import Load, histogram, measure, percentile
from framewire.cli.serve import address


@asynccontextmanager
async def server(delay=0.0, change=None):
    """An echo server with a delay in seconds, whose messages pass through `change`."""
    seen = []

    async def handler(ws):
        async for message in ws:
            seen.append(message)
            if delay:
                await asyncio.sleep(delay)
            await ws.send(change(message) if change else message)

    async with serve(handler, "127.0.0.1", 0) as listening:
        yield f"ws://{address(listening)}/", seen


def run(load, **kwargs):
    """Measure a server in this process; return the result and the received messages."""

    async def body():
        async with server(**kwargs) as (uri, seen):
            return await asyncio.wait_for(measure(uri, load), 20), seen

    return asyncio.run(body())


@pytest.mark.parametrize(("binary", "size"), [(False, 0), (False, 125), (True, 70_000)])
def test_bench_messages_have_the_requested_kind_and_size(binary, size):
    result, seen = run(Load(connections=2, size=size, seconds=0.2, warmup=0, binary=binary))
    assert {(type(message), len(message)) for message in seen} == {(bytes if binary else str, size)}
    assert result.unanswered == 0
    assert 0 < len(result.latencies) <= len(seen)


def test_bench_keeps_the_requested_rate():
    result, seen = run(Load(connections=4, rate=200, seconds=0.5, warmup=0.1))
    assert 119 - 200 * result.max_delay <= len(seen) <= 120  # a client that is late at the end sends fewer
    assert result.sent == result.answered == len(seen)
    assert 0 < len(result.latencies) <= len(seen)


def test_largest_delay_counts_a_send_that_comes_too_late_for_the_measurement():
    def block(message):
        time.sleep(0.5)  # the client runs in the same loop
        return message

    result, _ = run(Load(connections=1, rate=20, seconds=0.3, warmup=0), change=block)
    assert result.max_delay > 0.1


def test_latency_includes_the_servers_delay():
    result, _ = run(Load(connections=5, seconds=0.4, warmup=0.1), delay=0.05)
    assert min(result.latencies) >= 0.05
    assert percentile(sorted(result.latencies), 50) < 1


def test_latency_of_a_slow_server_includes_queueing():
    """An echo takes four times as long as the interval of messages; queueing is measured."""
    interval, delay = 0.025, 0.1
    result, _ = run(Load(connections=1, rate=1 / interval, seconds=0.6, warmup=0), delay=delay)
    assert len(result.latencies) > 1
    for number, latency in enumerate(result.latencies):
        # The server delays each echo in turn. On a busy machine the client sends late.
        assert latency > (number + 1) * delay - number * interval - result.max_delay - 0.001
    assert result.unanswered > 0


def test_reply_that_is_not_an_echo_raises_wrong_answer():
    with pytest.raises(bench.WrongAnswer, match="not an echo server"):
        run(Load(connections=3, seconds=0.2), change=lambda message: message + "!")


def test_server_that_sends_to_all_clients_raises_wrong_answer():
    async def body():
        async def chat(ws):
            async for message in ws:
                broadcast(ws.server.connections, message)

        async with serve(chat, "127.0.0.1", 0) as listening:
            await measure(f"ws://{address(listening)}/", Load(connections=2, seconds=5))

    with pytest.raises(bench.WrongAnswer, match="received 125 characters that it had not sent"):
        asyncio.run(body())


def test_lost_messages_are_counted_as_unanswered():
    async def body():
        async def swallow(ws):
            async for _ in ws:
                pass

        async with serve(swallow, "127.0.0.1", 0) as listening:
            return await measure(f"ws://{address(listening)}/", Load(connections=3, seconds=0.1, warmup=0))

    result = asyncio.run(body())
    assert result.unanswered == 3
    assert len(result.latencies) == 0


def test_rank_is_the_nearest_rank_percentile():
    values = list(range(1, 101))
    assert [percentile(values, percent) for percent in (0, 1, 50, 99, 99.9, 100)] == [1, 1, 50, 99, 100, 100]
    assert math.isnan(percentile([], 50))


@pytest.mark.parametrize("values", [[1.0], [1.0] * 9, [1e-6, 2e-6, 5e-3, 1.0], [x / 1000 for x in range(1, 500)]])
def test_histogram_counts_each_value_once(values):
    bars = histogram(values)
    assert sum(count for _, count in bars) == len(values)
    assert [bound for bound, _ in bars] == sorted(bound for bound, _ in bars)
    assert bars[-1][0] == values[-1]
    assert histogram([]) == []


def test_replies_after_the_end_of_the_run_are_not_counted():
    result, _ = run(Load(connections=2, seconds=0.1, warmup=0), delay=0.3)
    assert (result.sent, result.unanswered, len(result.latencies)) == (2, 0, 0)


def test_connection_closed_by_the_server_raises_wrong_answer():
    async def body():
        async def leave(ws):
            await ws.recv()
            await ws.close(4000, "enough")

        async with serve(leave, "127.0.0.1", 0) as listening:
            await measure(f"ws://{address(listening)}/", Load(connections=2, seconds=5))

    with pytest.raises(bench.WrongAnswer, match="ended a connection: 4000 enough"):
        asyncio.run(asyncio.wait_for(body(), 20))


@pytest.fixture
def in_process_server(monkeypatch):
    """Make the command measure a server that runs in the event loop of the command."""
    real = bench.measure

    async def measured(uri, load, result=None):
        async with server() as (here, _):
            return await real(here, load, result)

    monkeypatch.setattr(bench, "measure", measured)


def test_bench_json_output_has_load_and_latencies(in_process_server, capsys):
    assert main(["bench", "ws://x/", "--json", "-c", "2", "-t", "0.2", "--warmup", "0", "-r", "100"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["load"] == {
        "connections": 2, "size": 125, "rate": 100.0, "seconds": 0.2, "warmup": 0.0, "binary": False
    }  # fmt: skip
    assert 0 < said["messages"] <= 20
    latencies = list(said["latency_us"].values())
    assert latencies == sorted(latencies)
    assert list(said["latency_us"]) == ["p50", "p75", "p90", "p99", "p99.9", "max"]


def test_bench_terminal_output_shows_rate_and_histogram(in_process_server, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["bench", "ws://x/", "-c", "2", "-t", "0.3", "--warmup", "0"]) == 0
    said = capsys.readouterr().out
    for part in ("messages/s", "of 125 bytes", "99.9 %", "█"):
        assert part in said


@pytest.mark.parametrize("wrong", [("-c", "0"), ("-s", "-1"), ("-t", "0"), ("-r", "inf"), ("-r", "nan")])
def test_invalid_load_option_is_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        main(["bench", "ws://127.0.0.1:1/", *wrong])
    assert wrong[0] in capsys.readouterr().err


def test_unreachable_server_prints_a_one_line_error(capsys):
    assert main(["bench", "ws://127.0.0.1:1/", "--json"]) == 69
    assert capsys.readouterr().err.startswith("framewire: ")


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_result_fits_the_width_of_the_terminal(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    result = bench.Result(array("d", [1e-6 * 1.5**n for n in range(40)]), sent=41, answered=40)
    bench._print_result(Load(connections=1, size=1, seconds=1), result)
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= columns
    assert "of 1 byte on 1 connection," in " ".join(output.split())
    assert "1 message was not answered" in output
    assert "…" not in output
    assert re.search(r"99\.9 %", output)
    assert "█" in output
