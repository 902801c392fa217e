"""Run the Autobahn Testsuite against server and client, and compare with expected.json.

usage: run.py WSTEST [--groups 1,2,10] [--backends fast,pure] [--roles server,client]
              [--reports DIRECTORY]

Prints one line for each group. Every case must be OK, except for those listed in expected.json,
which are informational. The exit status is 1 after any other result, or if a case was not run.
"""

import argparse
import collections
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
GROUPS = "1,2,3,4,5,6,7,9,10"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wstest")
    parser.add_argument("--groups", default=GROUPS)
    parser.add_argument("--backends", default="fast,pure")
    parser.add_argument("--roles", default="server,client")
    parser.add_argument("--reports", default="build/autobahn/reports")
    options = parser.parse_args()
    cases = [f"{group}.*" for group in options.groups.split(",")]
    backends = options.backends.split(",")
    good = True
    for role in options.roles.split(","):
        reports = Path(options.reports, role).resolve()
        reports.mkdir(parents=True, exist_ok=True)
        index = reports / "index.json"
        index.unlink(missing_ok=True)
        {"server": test_server, "client": test_client}[role](options.wstest, cases, backends, reports)
        results = json.loads(index.read_text())
        for backend in backends:
            good &= compare(role, backend, options.groups.split(","), results[backend])
    return 0 if good else 1


def test_server(wstest, cases, backends, reports):
    """Run the testsuite as the client of one server for each backend."""
    servers = {backend: free_port() for backend in backends}
    with contextlib.ExitStack() as stack:
        for backend, port in servers.items():
            stack.enter_context(peer(backend, "server", port))
            wait_for(port)
        agents = [{"agent": backend, "url": f"ws://127.0.0.1:{port}"} for backend, port in servers.items()]
        spec = write_spec(reports, cases, servers=agents)
        subprocess.run([wstest, "-m", "fuzzingclient", "-s", spec], check=True, stdout=subprocess.DEVNULL)


def test_client(wstest, cases, backends, reports):
    """Run the testsuite as the server.

    It listens on all interfaces, so `make autobahn` gives it a network namespace of its own.
    """
    port = free_port()
    spec = write_spec(reports, cases, url=f"ws://127.0.0.1:{port}")
    with process([wstest, "-m", "fuzzingserver", "-u", "0", "-s", spec], stdout=subprocess.DEVNULL):
        wait_for(port)
        for backend in backends:
            with peer(backend, "client", port, backend) as client:
                assert client.wait() == 0


def write_spec(reports, cases, **side):
    path = reports / "spec.json"
    spec = {"outdir": str(reports), "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}, **side}
    path.write_text(json.dumps(spec))
    return str(path)


@contextlib.contextmanager
def process(command, **options):
    with subprocess.Popen(command, **options) as running:
        try:
            yield running
        finally:
            running.terminate()


def peer(backend, *arguments):
    environment = {**os.environ, "FRAMEWIRE_BACKEND": backend}
    return process([sys.executable, str(HERE / "peer.py"), *map(str, arguments)], env=environment)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for(port):
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


def compare(role, backend, groups, results):
    """Print the results of each group; return whether they are as in expected.json."""
    expected = json.loads((HERE / "expected.json").read_text())
    informational = set(expected["informational"])
    good = True
    for group in groups:
        verdicts = collections.Counter()
        milliseconds = 0
        for case, result in results.items():
            if case.split(".")[0] != group:
                continue
            verdict = result["behavior"]
            verdicts[verdict] += 1
            milliseconds += result["duration"]
            wanted = "INFORMATIONAL" if case in informational else "OK"
            if verdict != wanted or result["behaviorClose"] not in ("OK", "INFORMATIONAL"):
                good = False
                print(f"  {case}: {verdict} instead of {wanted}, its close {result['behaviorClose']}")
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
        print(f"{role} {backend} {group}.*: {counts} in {milliseconds / 1000:.1f} s", flush=True)
        if verdicts.total() != expected["cases"][group]:
            good = False
            print(f"  {verdicts.total()} cases instead of {expected['cases'][group]}")
    return good


if __name__ == "__main__":
    sys.exit(main())
