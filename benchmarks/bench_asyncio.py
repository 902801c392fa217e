"""Measure the CPU time per message of asyncio servers under load.

    python -m benchmarks.bench_asyncio [--rounds 3] [--seconds 1] [--loops uvloop,asyncio]
                                       [--only echo,burst]

The server runs on one core, the load generator `load.c` on another. Rounds are interleaved over the
servers, and the median counts. Prints a table, and whether each goal is met. The floor, `floor.c`,
is a lower bound for any server on this machine: a goal below it cannot be met.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SERVERS = ("floor", "callback", "coroutine", "picows", "picows_websockets", "aiohttp", "websockets")

#: Name, mode, connections, depth, size; see load.c.
LOADS = (
    ("echo 1 x 16 B", "echo", 1, 1, 16),
    ("echo 50 x 256 B", "echo", 50, 1, 256),
    ("echo 50 x 16 x 256 B", "echo", 50, 16, 256),
    ("burst 256 B", "burst", 4, 0, 256),
    ("echo 8 x 64 KiB", "echo", 8, 1, 1 << 16),
    ("echo 4 x 1 MiB", "echo", 4, 1, 1 << 20),
    ("open", "open", 8, 0, 0),
    ("fan 1000 x 256 B", "fan", 1000, 0, 256),
    ("idle 1500", "hold", 1500, 1, 16),
    ("hold 10000, 1 % talk", "hold", 10000, 1000, 256),
)

#: Load, server of framewire, reference server (None: an absolute limit), largest allowed ratio of
#: costs.
GOALS = (
    ("echo 1 x 16 B", "callback", "picows", 1.05),
    ("echo 1 x 16 B", "coroutine", "picows_websockets", 1.05),
    ("echo 50 x 256 B", "callback", "picows", 1.05),
    ("echo 50 x 256 B", "coroutine", "picows_websockets", 1.05),
    ("echo 50 x 16 x 256 B", "callback", "picows", 1 / 4),
    ("echo 50 x 16 x 256 B", "coroutine", "picows", 1 / 2.5),
    ("echo 50 x 16 x 256 B", "coroutine", "websockets", 1 / 8),
    ("burst 256 B", "callback", "picows", 0.7),
    ("echo 8 x 64 KiB", "callback", "picows", 1 / 1.3),
    ("echo 4 x 1 MiB", "callback", "picows", 1 / 1.4),
    ("open", "coroutine", "websockets", 1.0),
    ("fan 1000 x 256 B", "coroutine", "websockets", 1 / 2),
    ("fan 1000 x 256 B", "coroutine", "picows_websockets", 1 / 1.2),
    ("idle 1500", "coroutine", None, 9.0),
)


def build(name="load"):
    """Compile the load generator or the floor, if it is outdated; return its path."""
    source, target = HERE / f"{name}.c", HERE.parent / "build" / name
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(exist_ok=True)
        subprocess.run(["cc", "-O3", "-o", target, source], check=True)
    return target


def cpu(pid):
    """Return the CPU time of a process in seconds."""
    fields = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(fields[0]) / 1e9


def rss(pid):
    """Return the memory of a process in KiB."""
    return next(
        int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line[:6] == "VmRSS:"
    )


def measure(load, server, loop, mode, connections, depth, size, seconds):
    """Put one load on a new server.

    Returns:
        The cost and the 99th percentile of the latency in microseconds. The cost is microseconds of
        CPU time per message or, for idle connections, KiB per connection.
    """
    variable = {"burst": "COUNT", "fan": "FAN"}.get(mode)
    environment = {**os.environ, **({variable: "1"} if variable else {})}
    program = [build("floor")] if server == "floor" else [sys.executable, "-m", "benchmarks.servers", server, loop]
    command = ["taskset", "-c", "1", *program]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=environment, cwd=HERE.parent, **pipes) as process:
        port = process.stdout.readline().strip()
        before = rss(process.pid)
        arguments = ["taskset", "-c", "0", str(load), mode, port, *map(str, (connections, depth, size, seconds))]
        with subprocess.Popen(arguments, **pipes) as generator:
            try:
                if generator.stdout.readline() != "ready\n":
                    raise RuntimeError(f"{server} under {mode}: the connections did not open")
                time.sleep(0.3)
                memory, start = rss(process.pid) - before, cpu(process.pid)
                generator.stdin.write("go\n")
                generator.stdin.flush()
                result = generator.stdout.readline().split()
                used = cpu(process.pid) - start
            finally:
                generator.stdin.close()
                process.stdin.close()
        if not result:
            raise RuntimeError(f"{server} under {mode}: the load generator failed")
    done, p99 = int(result[0]), int(result[3])
    if mode == "hold" and depth == 1:
        return memory / connections, p99
    return used / max(done, 1) * 1e6, p99


def main():
    """Measure all loads on all servers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--loops", default="uvloop,asyncio")
    parser.add_argument("--servers", default=",".join(SERVERS))
    parser.add_argument("--only", default="", help="only loads whose name has one of these words (a,b)")
    arguments = parser.parse_args()
    load, servers = build(), arguments.servers.split(",")
    print(f"Python {sys.version.split()[0]}; us of server CPU per message (idle: KiB of RSS per connection)\n")
    for loop in arguments.loops.split(","):
        costs = {}
        print(f"{loop:24}", *(f"{server:>18}" for server in servers), flush=True)
        for name, *load_arguments in LOADS:
            if not any(word in name for word in arguments.only.split(",")):
                continue
            measured = measure_load(load, servers, loop, name, load_arguments, arguments)
            for server, runs in measured.items():
                costs[name, server] = statistics.median(cost for cost, _ in runs)
            print(f"{name:24}", *(f"{show(costs.get((name, server))):>18}" for server in servers), flush=True)
            if name.startswith("hold"):
                worst = {server: max(p99 for _, p99 in runs) / 1000 for server, runs in measured.items()}
                print(f"{'  p99 in ms':24}", *(f"{show(worst.get(server)):>18}" for server in servers), flush=True)
        print_verdicts(costs)


def measure_load(load, servers, loop, name, load_arguments, arguments):
    """Put one load on the servers in turns; return the runs of those that complete all rounds."""
    runs = {server: [] for server in servers if supports(server, name)}
    for _ in range(arguments.rounds):
        for server in list(runs):
            try:
                runs[server].append(measure(load, server, loop, *load_arguments, arguments.seconds))
            except RuntimeError as error:  # a server that fails under a load is a result too
                print(f"  {error}", flush=True)
                del runs[server]
    return runs


def supports(server, name):
    """Return whether a server implements a load."""
    if server == "floor":
        return name.startswith(("echo", "fan"))
    return not (server == "aiohttp" and name.startswith("fan"))


def show(value):
    """Format a figure with three digits."""
    return "-" if value is None else f"{value:.3g}"


def print_verdicts(costs):
    """Print whether each goal is met."""
    for name, ours, reference, max_ratio in GOALS:
        if (name, ours) not in costs or (reference is not None and (name, reference) not in costs):
            continue
        value = costs[name, ours] / (costs[name, reference] if reference else 1)
        verdict = "met" if value <= max_ratio else "MISSED"
        limit = ""
        if (name, "floor") in costs:
            limit = f"; floor / {reference} {costs[name, 'floor'] / costs[name, reference]:.2f}"
        ratio = f"{ours} / {reference}" if reference else ours
        print(f"  {verdict:7}{name}: {ratio} {value:.2f}, goal {max_ratio:.2f}{limit}", flush=True)
    print(flush=True)


if __name__ == "__main__":
    main()
