"""Whether `framewire bench` measures what the load in C measures: latency at a fixed rate that the server bears easily.

    python -m benchmarks.agreement [--rounds 7] [--rate 2000] [--connections 10] [--size 125] [--seconds 2]

The server is on one core, both loads take turns on the other. The medians of the medians are compared; exits with 1 if
they are more than 15 % apart. Linux only.
"""

import argparse
import json
import statistics
import subprocess
import sys

from benchmarks.bench_asyncio import HERE, build

TOLERANCE = 0.15
ON_ONE, ON_OTHER = ("taskset", "-c", "1"), ("taskset", "-c", "0")


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, cwd=HERE.parent, **options
    )
    return done.stdout


def by_c(load, port, arguments):
    """The median in microseconds; of 100 connections `hold` lets one talk."""
    many = 100 * arguments.connections
    said = run(*ON_OTHER, load, "hold", port, many, arguments.rate, arguments.size, arguments.seconds, input="go\n")
    return int(said.split()[3])


def by_framewire(port, arguments):
    """The same, by the command."""
    options = ("-c", arguments.connections, "-r", arguments.rate, "-s", arguments.size, "-t", arguments.seconds)
    command = (sys.executable, "-m", "framewire", "bench", f"ws://127.0.0.1:{port}/", "--binary", "--json")
    return json.loads(run(*ON_OTHER, *command, *options))["latency_us"]["p50"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 7), ("rate", 2000), ("connections", 10), ("size", 125), ("seconds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default, help="(%(default)s)")
    arguments = parser.parse_args()
    load = build()
    command = [*ON_ONE, sys.executable, "-m", "benchmarks.servers", "coroutine", "asyncio"]
    with subprocess.Popen(
        command, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        port = server.stdout.readline().strip()
        pairs = [(by_c(load, port, arguments), by_framewire(port, arguments)) for _ in range(arguments.rounds)]
        server.stdin.close()
    for pair in pairs:
        print("load.c {:>6.0f} us    framewire bench {:>6.0f} us".format(*pair))
    reference, ours = (statistics.median(each) for each in zip(*pairs, strict=True))
    apart = ours / reference - 1
    print(f"medians: {reference:.0f} us and {ours:.0f} us, {apart:+.0%}")
    return abs(apart) > TOLERANCE


if __name__ == "__main__":
    sys.exit(main())
