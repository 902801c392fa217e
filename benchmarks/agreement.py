"""Compare the latency that `framewire bench` measures with that of the load generator in C.

    python -m benchmarks.agreement [--rounds 7] [--rate 2000] [--connections 10] [--size 125]
                                   [--seconds 2]

The rate is fixed and low enough for the server not to be saturated. The server runs on one core;
both load generators take turns on the other. The medians over the rounds of the median latencies
are compared; the exit status is 1 if they differ by more than 15 %. Linux only.
"""

import argparse
import json
import statistics
import subprocess
import sys

from benchmarks.bench_asyncio import HERE, build

TOLERANCE = 0.15
ON_SERVER_CORE, ON_LOAD_CORE = ("taskset", "-c", "1"), ("taskset", "-c", "0")


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, cwd=HERE.parent, **options
    )
    return done.stdout


def measure_with_c(load, port, arguments):
    """Return the median latency in microseconds. In mode `hold`, 1 of 100 connections is active."""
    count = 100 * arguments.connections
    options = ("hold", port, count, arguments.rate, arguments.size, arguments.seconds)
    output = run(*ON_LOAD_CORE, load, *options, input="go\n")
    return int(output.split()[3])


def measure_with_framewire(port, arguments):
    """Return the median latency in microseconds."""
    options = ("-c", arguments.connections, "-r", arguments.rate, "-s", arguments.size, "-t", arguments.seconds)
    command = (sys.executable, "-m", "framewire", "bench", f"ws://127.0.0.1:{port}/", "--binary", "--json")
    return json.loads(run(*ON_LOAD_CORE, *command, *options))["latency_us"]["p50"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 7), ("rate", 2000), ("connections", 10), ("size", 125), ("seconds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default, help="(%(default)s)")
    arguments = parser.parse_args()
    load = build()
    command = [*ON_SERVER_CORE, sys.executable, "-m", "benchmarks.servers", "coroutine", "asyncio"]
    with subprocess.Popen(
        command, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        port = server.stdout.readline().strip()
        pairs = []
        for _ in range(arguments.rounds):
            pairs.append((measure_with_c(load, port, arguments), measure_with_framewire(port, arguments)))
        server.stdin.close()
    for pair in pairs:
        print("load.c {:>6.0f} us    framewire bench {:>6.0f} us".format(*pair))
    reference, ours = (statistics.median(each) for each in zip(*pairs, strict=True))
    difference = ours / reference - 1
    print(f"medians: {reference:.0f} us and {ours:.0f} us, {difference:+.0%}")
    return abs(difference) > TOLERANCE


if __name__ == "__main__":
    sys.exit(main())
