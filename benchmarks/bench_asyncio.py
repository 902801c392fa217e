"""Measure the CPU time per message of asyncio servers under load.

    python -m benchmarks.bench_asyncio [--rounds 3] [--seconds 1] [--loops uvloop,asyncio]
                                       [--only echo,burst] [--json FILE]

The server runs on one core, the load generator `load.c` on another. Rounds are interleaved over the
servers, and the median counts. Prints a table, with the ratio of the slowest to the fastest round, and
whether each goal is met; `--json` puts the table into the results of `python -m benchmarks`, and keeps
the rows of other loads if they are of the same machine and versions. The floor, `floor.c`, is what an
echo costs in C, with the fewest system calls through epoll. `bare_callback` and `bare_coroutine` are plain
asyncio protocols around a `Stream`, with the same calls for each message in the program of the user: they
have no limits and no keepalive, and do not check the request. `bare_checked` is one that does, limits the
time of both handshakes, and ends TCP in order.

`uvicorn` is its default class, `uvicorn_framewire` that of framewire; `callback_fastnet`,
`coroutine_fastnet` and `bare_callback_fastnet` have the TLS of aiofastnet, which picows uses too. The
servers in other languages (`npm install bun deno ws bufferutil`, or on the path) and those of PyPI
(`pip install picows aiofastnet uvicorn httptools socketify granian`) are left out if they are not
installed. Each has its fastest documented settings.
"""

import argparse
import importlib.util
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from .environment import describe
from .results import put
from .tables import FLOOR_SERVER

HERE = Path(__file__).parent
ROOT = HERE.parent

#: The servers of `servers.py`, and the package that each needs.
PYTHON_SERVERS = {
    "bare_callback": "framewire",
    "bare_checked": "framewire",
    "bare_coroutine": "framewire",
    "callback": "framewire",
    "coroutine": "framewire",
    "bare_callback_fastnet": "aiofastnet",
    "callback_fastnet": "aiofastnet",
    "coroutine_fastnet": "aiofastnet",
    "uvicorn_framewire": "uvicorn",
    "picows": "picows",
    "picows_websockets": "picows",
    "aiohttp": "aiohttp",
    "websockets": "websockets",
    "uvicorn": "uvicorn",
}

VERSION_OF_PACKAGE = "import importlib.metadata, {0}; print(importlib.metadata.version('{0}'))"
#: The servers of `runtimes/`: the program that runs them, its arguments to print the version, which
#: fail if something is missing, and those to run the server.
RUNTIMES = {
    "bun": ("bun", ["--version"], ["benchmarks/runtimes/bun.js"]),
    "deno": (
        "deno", ["eval", "console.log(Deno.version.deno)"], ["run", "--allow-net", "benchmarks/runtimes/deno.js"],
    ),
    "node_ws": (
        "node", ["-p", "require('bufferutil'); require('ws/package.json').version"], ["benchmarks/runtimes/node_ws.js"],
    ),
    "socketify": (
        sys.executable, ["-c", VERSION_OF_PACKAGE.format("socketify")], ["-m", "benchmarks.runtimes.socketify_echo"],
    ),
    "granian": (
        sys.executable, ["-c", VERSION_OF_PACKAGE.format("granian")], ["-m", "benchmarks.runtimes.granian_echo"],
    ),
}  # fmt: skip
SERVERS = ("floor", *PYTHON_SERVERS, *RUNTIMES)
#: The bare protocol that has the same kind of application as a server.
BARE = {
    "callback": "bare_callback",
    "callback_fastnet": "bare_callback_fastnet",
    "coroutine": "bare_coroutine",
    "uvicorn_framewire": "bare_coroutine",
}

#: Name, mode, connections, depth, size; see load.c.
LOADS = (
    ("echo 1 x 16 B", "echo", 1, 1, 16),
    ("echo 50 x 256 B", "echo", 50, 1, 256),
    ("echo 50 x 16 x 256 B", "echo", 50, 16, 256),
    ("burst 256 B", "burst", 4, 0, 256),
    ("echo 8 x 64 KiB", "echo", 8, 1, 1 << 16),
    ("echo 8 x 256 KiB", "echo", 8, 1, 1 << 18),
    ("echo 4 x 1 MiB", "echo", 4, 1, 1 << 20),
    ("open", "open", 8, 0, 0),
    ("fan 1000 x 256 B", "fan", 1000, 0, 256),
    ("idle 1500", "hold", 1500, 1, 16),
    ("hold 10000, 1 % talk", "hold", 10000, 1000, 256),
    ("TLS echo 50 x 256 B", "echo", 50, 1, 256),
    ("TLS echo 20 x 16 x 256 B", "echo", 20, 16, 256),
    ("TLS echo 8 x 64 KiB", "echo", 8, 1, 1 << 16),
)

#: Marks the figures of a load that are ratios of its slowest to its fastest round.
STEADINESS = ": slowest / fastest"

#: Characters of the labels in the output.
WIDTH = 44

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
    ("echo 8 x 256 KiB", "callback", "picows", 0.8),
    ("echo 8 x 256 KiB", "coroutine", "picows", 0.8),
    ("echo 4 x 1 MiB", "callback", "picows", 1 / 1.4),
    ("echo 4 x 1 MiB", "coroutine", "picows", 0.8),
    *(
        (f"echo {size}{STEADINESS}", server, None, 1.3)
        for size in ("8 x 256 KiB", "4 x 1 MiB")
        for server in ("callback", "coroutine")
    ),
    ("open", "coroutine", "websockets", 1 / 1.5),
    ("open", "callback", "picows", 1.0),
    ("echo 50 x 256 B", "callback", "floor", 1.0),
    ("echo 50 x 256 B", "callback", "bun", 1.15),
    ("echo 50 x 16 x 256 B", "callback", "bun", 1.25),
    ("echo 50 x 256 B", "coroutine", "callback", 1.2),
    ("echo 50 x 16 x 256 B", "coroutine", "callback", 1.4),
    ("echo 50 x 256 B", "uvicorn_framewire", "uvicorn", 0.5),
    ("echo 50 x 16 x 256 B", "uvicorn_framewire", "uvicorn", 0.25),
    ("echo 8 x 64 KiB", "uvicorn_framewire", "uvicorn", 0.6),
    ("echo 4 x 1 MiB", "uvicorn_framewire", "uvicorn", 0.6),
    ("TLS echo 50 x 256 B", "callback_fastnet", "picows", 0.9),
    ("TLS echo 50 x 256 B", "callback", "aiohttp", 1.0),
    ("TLS echo 20 x 16 x 256 B", "callback_fastnet", "picows", 0.9),
    ("TLS echo 20 x 16 x 256 B", "callback", "aiohttp", 1.0),
    ("TLS echo 8 x 64 KiB", "callback_fastnet", "picows", 0.9),
    ("TLS echo 8 x 64 KiB", "callback", "aiohttp", 1.0),
    ("fan 1000 x 256 B", "coroutine", "websockets", 1 / 2),
    ("fan 1000 x 256 B", "coroutine", "picows_websockets", 1 / 1.2),
    ("idle 1500", "coroutine", None, 6.0),
)


def build(name="load", tls=False):
    """Compile the load generator or the floor, if it is outdated; return its path.

    None with `tls` if OpenSSL cannot be compiled with.
    """
    source, target = HERE / f"{name}.c", ROOT / "build" / (f"{name}_tls" if tls else name)
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(exist_ok=True)
        libraries = ["-DWITH_TLS", "-lssl", "-lcrypto"] if tls else []
        done = subprocess.run(["cc", "-O3", "-o", target, source, *libraries], check=not tls, capture_output=tls)
        if done.returncode:
            print("the rows with TLS are left out: the headers of OpenSSL are not installed", flush=True)
            return None
    return target


def environment():
    """Return the environment of this process, with the programs that npm has installed here."""
    return {**os.environ, "PATH": f"{ROOT / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"}


def find_version(server):
    """Return the version of a server, "" for the floor; print the name of one that cannot run."""
    if server == "floor":
        return ""
    if server in RUNTIMES:
        program, arguments, _ = RUNTIMES[server]
        path = shutil.which(program, path=environment()["PATH"])
        if path:
            done = subprocess.run([path, *arguments], cwd=HERE, capture_output=True, text=True, check=False)
            if not done.returncode:
                return done.stdout.strip()
    elif importlib.util.find_spec(PYTHON_SERVERS[server]):
        return version(PYTHON_SERVERS[server])
    print(f"{server} is left out: it is not installed", flush=True)
    return None


def command_of(server, loop):
    """Return the command that runs a server."""
    if server == "floor":
        return [build("floor")]
    if server in RUNTIMES:
        program, _, arguments = RUNTIMES[server]
        return [shutil.which(program, path=environment()["PATH"]), *arguments, loop]
    return [sys.executable, "-m", "benchmarks.servers", server, loop]


def children(pid):
    """Return the ids of the children of a process."""
    return [child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def cpu(pid):
    """Return the CPU time of a process in seconds, with all of its threads and children."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    own = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    return own + sum(map(cpu, children(pid)))


def rss(pid):
    """Return the memory of a process in KiB, with its children."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return own + sum(map(rss, children(pid)))


def measure(load, server, loop, tls, mode, connections, depth, size, seconds):
    """Put one load on a new server.

    Returns:
        The cost and the 99th percentile of the latency in microseconds. The cost is microseconds of
        CPU time per message or, for idle connections, KiB per connection.
    """
    variable = {"burst": "COUNT", "fan": "FAN"}.get(mode)
    variables = {**environment(), **({variable: "1"} if variable else {}), **({"TLS": "1"} if tls else {})}
    command = ["taskset", "-c", "1", *command_of(server, loop)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=variables, cwd=ROOT, start_new_session=True, **pipes) as process:
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
                if server in RUNTIMES:  # the others end with their input; granian may ignore SIGTERM
                    os.killpg(process.pid, signal.SIGKILL)
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the figures into this file")
    arguments = parser.parse_args()
    loads = {False: build(), True: build(tls=True)}
    versions = {server: find_version(server) for server in arguments.servers.split(",")}
    servers = [server for server, found in versions.items() if found is not None]
    rows = []
    print(f"Python {sys.version.split()[0]}; us of server CPU per message (idle: KiB of RSS per connection)\n")
    for loop in arguments.loops.split(","):
        costs = {}
        print(f"{loop:{WIDTH}}", *(f"{server:>22}" for server in servers), flush=True)
        for name, *load_arguments in LOADS:
            load = loads[name.startswith("TLS")]
            if load is None or not any(word in name for word in arguments.only.split(",")):
                continue
            measured, failed = measure_load(load, servers, loop, name, load_arguments, arguments)
            medians = {server: statistics.median(cost for cost, _ in runs) for server, runs in measured.items()}
            table = {(name, "KiB" if name.startswith("idle") else "us"): {**medians, **dict.fromkeys(failed)}}
            if name.startswith("hold"):
                worst = {server: max(p99 for _, p99 in runs) / 1000 for server, runs in measured.items()}
                table[f"{name}: p99", "ms"] = worst
            if arguments.rounds > 1:
                ratios = {server: max(runs)[0] / min(runs)[0] for server, runs in measured.items()}
                table[name + STEADINESS, "ratio"] = ratios
            for (label, unit), cells in table.items():
                texts = (show(cells[server]) if server in cells else "-" for server in servers)
                print(f"{label:{WIDTH}}", *(f"{text:>22}" for text in texts), flush=True)
                rows.append({"loop": loop, "load": label, "unit": unit, "figures": rounded(cells)})
                costs.update({(label, server): figure for server, figure in cells.items()})
        print_verdicts(costs)
    if arguments.json:
        put(arguments.json, servers=merge(read(arguments.json), {"environment": about(versions), "rows": rows}))


def read(file):
    """Return the table in a JSON file, an empty one if there is none."""
    results = json.loads(file.read_text()) if file.exists() else {}
    return results.get("servers", {"environment": {}, "rows": []})


def merge(kept, measured):
    """Return a table with what was measured, and the rows of `kept` for other loads.

    Those of another machine or other versions are left out.
    """
    environment = measured["environment"]
    rows = kept["rows"] if {**kept["environment"], "date": environment["date"]} == environment else []
    merged = {(row["loop"], row["load"]): row for row in (*rows, *measured["rows"])}
    return {"environment": environment, "rows": list(merged.values())}


def rounded(cells):
    """Return the figures of a row with three digits, under the names for charts; None for a failure."""
    return {
        FLOOR_SERVER if server == "floor" else server: None if value is None else float(f"{value:.3g}")
        for server, value in cells.items()
    }


def about(versions):
    """Return the environment of the measurement, with the versions of the servers and of uvloop."""
    found = {name: text for name, text in versions.items() if text and PYTHON_SERVERS.get(name) != "framewire"}
    if importlib.util.find_spec("uvloop"):
        found["uvloop"] = version("uvloop")
    return {**describe(), "peers": ", ".join(f"{name} {text}" for name, text in found.items())}


def measure_load(load, servers, loop, name, load_arguments, arguments):
    """Put one load on the servers in turns.

    Returns:
        The runs of the servers that complete all rounds, by server, and the others.
    """
    runs, failed = {server: [] for server in servers if supports(server, name)}, []
    for _ in range(arguments.rounds):
        for server in list(runs):
            try:
                tls = name.startswith("TLS")
                runs[server].append(measure(load, server, loop, tls, *load_arguments, arguments.seconds))
            except RuntimeError as error:  # a server that fails under a load is a result too
                print(f"  {error}", flush=True)
                del runs[server]
                failed.append(server)
    return runs, failed


def supports(server, name):
    """Return whether a server implements a load."""
    if server == "floor":
        return name.startswith(("echo", "fan"))
    if server.endswith("_fastnet"):
        return name.startswith("TLS")
    if server == "bare_checked":
        return name == "open"
    if server in BARE.values():
        return name.startswith(("echo", "open", "idle", "TLS"))
    if server in RUNTIMES:
        return name.startswith(("echo", "open", "idle"))
    return not (server in ("aiohttp", "uvicorn", "uvicorn_framewire") and name.startswith("fan"))


def bare_protocol(name, server):
    """Return the bare protocol with the least that a server has to do under a load, None if there is none."""
    return "bare_checked" if name == "open" and server in BARE else BARE.get(server)


def show(value):
    """Format a figure with three digits; None is a failure."""
    return "failed" if value is None else f"{value:.3g}"


def print_verdicts(costs):
    """Print whether each goal is met. One is missed if framewire fails; none counts if the other server does."""
    for name, ours, reference, max_ratio in GOALS:
        base, divisor = (costs.get((name, reference)), f" / {reference}") if reference else (1, "")
        if (name, ours) not in costs or base is None:
            continue
        ratio, limit = math.inf, ""
        if costs[name, ours] is not None:
            ratio = costs[name, ours] / base
        for other in ("floor", bare_protocol(name, ours)):
            if costs.get((name, other)) is not None and other != reference:
                limit += f"; {other}{divisor} {costs[name, other] / base:.2f}"
        verdict = "met" if ratio <= max_ratio else "MISSED"
        print(f"  {verdict:7}{name}: {ours}{divisor} {ratio:.2f}, goal {max_ratio:.2f}{limit}", flush=True)
    print(flush=True)


if __name__ == "__main__":
    main()
