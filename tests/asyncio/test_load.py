"""The load generator in C and the servers of the benchmarks: each load briefly."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from benchmarks import agreement
from benchmarks.bench_asyncio import ROOT, build, measure, print_verdicts
from benchmarks.tables import FLOOR_SERVER

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or not shutil.which("cc") or not shutil.which("taskset"),
        reason="needs Linux and a compiler",
    ),
]


@pytest.mark.parametrize(
    ("server", "mode", "connections", "depth", "size"),
    [
        ("floor", "echo", 3, 2, 300),
        ("floor", "echo", 2, 1, 100_000),
        ("floor", "fan", 5, 0, 16),
        ("callback", "echo", 3, 2, 300),
        ("coroutine", "burst", 2, 0, 70_000),
        ("coroutine", "open", 2, 0, 0),
        ("bare_callback", "echo", 3, 2, 300),
        ("bare_callback", "open", 2, 0, 0),
        ("bare_coroutine", "echo", 3, 2, 300),
        ("bare_coroutine", "open", 2, 0, 0),
        ("bare_coroutine", "hold", 100, 1, 16),
        ("bare_checked", "open", 2, 0, 0),
        ("callback", "fan", 5, 0, 16),
        ("bare_callback_fastnet", "echo", 3, 2, 300),
        ("callback_fastnet", "echo", 3, 2, 300),
        ("coroutine_fastnet", "echo", 3, 2, 300),
        ("coroutine", "hold", 100, 50, 16),
    ],
)
def test_load_generator_measures_every_server_and_mode(server, mode, connections, depth, size):
    cost, latency = measure(build(), server, "asyncio", False, mode, connections, depth, size, 0.2)
    assert cost > 0
    assert latency >= 0


def test_load_generator_measures_tls():
    load = build(tls=True)
    if load is None:
        pytest.skip("needs the headers of OpenSSL")
    cost, latency = measure(load, "callback", "asyncio", True, "echo", 3, 2, 300, 0.2)
    assert cost > 0
    assert latency >= 0


def test_table_of_servers_is_written_as_json(tmp_path):
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks.bench_asyncio", "--rounds=2", "--seconds=0.1", "--loops=asyncio"]
    chosen = ["--only=echo 1 x", "--servers=floor,callback", f"--json={results}"]
    subprocess.run([*command, *chosen], check=True, capture_output=True, cwd=ROOT)
    servers = json.loads(results.read_text())["servers"]
    assert servers["environment"]["framewire"]
    row, steadiness = servers["rows"]
    assert (row["loop"], row["load"], row["unit"]) == ("asyncio", "echo 1 x 16 B", "us")
    assert (steadiness["load"], steadiness["unit"]) == ("echo 1 x 16 B: slowest / fastest", "ratio")
    assert all(ratio >= 1 for ratio in steadiness["figures"].values())
    assert row["figures"].keys() == {FLOOR_SERVER, "callback"}
    assert all(figure > 0 for figure in row["figures"].values())


WRONG_REPLY = """
import asyncio
from framewire.asyncio import Listener, serve
class Wrong(Listener):
    def on_message(self, connection, message):
        connection.send(message[:-1] + b"?")
async def main():
    async with serve(Wrong(), "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()
asyncio.run(main())
"""
RESET = """
import asyncio
from framewire.asyncio import serve
async def reset(connection):
    connection.transport.abort()
async def main():
    async with serve(reset, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("program", "mode", "error"),
    [(WRONG_REPLY, "echo", "a message with other contents"), (RESET, "open", "without a close frame")],
)
def test_load_generator_detects_a_wrong_reply(program, mode, error):
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            port = server.stdout.readline().strip()
            command = [str(build()), mode, port, "1", "1", "16", "0.2"]
            load = subprocess.run(command, input="go\n", capture_output=True, text=True, timeout=20, check=False)
        finally:
            server.kill()
    assert load.returncode == 1
    assert error in load.stderr


def test_verdicts_report_missed_and_met_goals(capsys):
    costs = {("burst 256 B", "callback"): 1.0, ("burst 256 B", "picows"): 1.25, ("idle 1500", "coroutine"): 5.5}
    costs["idle 1500", "bare_coroutine"] = 4.5
    costs |= {("echo 8 x 64 KiB", server): cost for server, cost in (("callback", 9), ("picows", 10), ("floor", 8.5))}
    costs |= {
        ("open", "coroutine"): None,
        ("open", "websockets"): 1.0,
        ("open", "callback"): 1.0,
        ("open", "picows"): None,
    }
    print_verdicts(costs)
    assert capsys.readouterr().out.split("\n")[:4] == [
        "  MISSED burst 256 B: callback / picows 0.80, goal 0.70",
        "  MISSED echo 8 x 64 KiB: callback / picows 0.90, goal 0.77; floor / picows 0.85",
        "  MISSED open: coroutine / websockets inf, goal 0.67",
        "  met    idle 1500: coroutine 5.50, goal 6.00; bare_coroutine 4.50",
    ]


def test_agreement_measures_both_load_generators(monkeypatch, capsys):
    """The difference itself is meaningful only on an idle machine."""
    monkeypatch.setattr(
        "sys.argv", ["agreement", "--rounds", "1", "--seconds", "1", "--rate", "100", "--connections", "2"]
    )
    assert agreement.main() in (False, True)
    measured = re.findall(r"(\d+) us", capsys.readouterr().out)
    assert len(measured) == 4
    assert all(int(latency) > 0 for latency in measured)
