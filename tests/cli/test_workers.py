"""`framewire serve --workers`, with processes, sockets and signals."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import COMMAND, get, run, serving
from sync_ends import until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="Linux alone deals out the connections of a shared port"),
]


def workers_of(process):
    """Return the process ids of the workers."""
    return set(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))


def open_and_received(where):
    """Return the numbers of open connections and received messages in /metrics."""
    body = get(f"http://{where}/metrics")[2].decode()
    names = ("connections_open", "messages_received_total")
    return tuple(int(re.search(rf"^framewire_{name} (\d+)$", body, re.MULTILINE)[1]) for name in names)


def serving_worker(connection):
    """Return the process id of the worker that accepted a connection: the owner of its socket."""
    here, there = connection.local_address[1], connection.remote_address[1]
    pattern = re.compile(rf" \w+:{there:04X} \w+:{here:04X} 01 (?:\S+ +){{5}}(\d+)")
    inode = pattern.search(Path("/proc/net/tcp").read_text())[1]
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == f"socket:[{inode}]":
                return int(link.parts[2])
        except OSError:  # the process has just ended
            pass
    raise AssertionError("no process owns the socket")


def connect_to_each(where, count, stack):
    """Open a connection to each of `count` workers; return the connections by process id."""
    found = {}
    while len(found) < count:
        connection = stack.enter_context(connect(f"ws://{where}/echo"))
        connection.send("x")
        assert connection.recv(timeout=10) == "x"
        found.setdefault(serving_worker(connection), connection)
    return found


def close_code(connection):
    with pytest.raises(ConnectionClosed) as caught:
        connection.recv(timeout=10)
    return caught.value.rcvd and caught.value.rcvd.code


def send_ctrl_c(process):
    """Send SIGINT to all processes, as a terminal does for its foreground process group."""
    for pid in (process.pid, *workers_of(process)):
        os.kill(pid, signal.SIGINT)


@pytest.mark.parametrize("stop", [lambda process: process.terminate(), send_ctrl_c], ids=["SIGTERM", "Ctrl-C"])
def test_all_workers_serve_and_close_with_1001_on_shutdown(stop):
    with serving("--workers", "3") as (process, where), ExitStack() as stack:
        connections = connect_to_each(where, 3, stack)
        assert set(connections) == workers_of(process)
        stop(process)
        assert [close_code(connection) for connection in connections.values()] == [1001] * 3
        _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")


def test_workers_with_an_infinite_grace_period_end_with_their_connections():
    with serving("--workers", "2", "--grace", "inf") as (process, where), ExitStack() as stack:
        connections = connect_to_each(where, 2, stack)
        process.terminate()
        assert [close_code(connection) for connection in connections.values()] == [1001] * 2
        _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")


def test_metrics_sum_all_workers_and_totals_survive_a_worker_death():
    with serving("--workers", "2", "--metrics") as (process, where), ExitStack() as stack:
        by_worker = connect_to_each(where, 2, stack)
        for connection in by_worker.values():
            for _ in range(3):
                connection.send("counted")
                connection.recv(timeout=10)
        # One message on each connection and six more: then both workers have published all
        # counters.
        count, total = until(lambda: (seen := open_and_received(where))[1] == seen[0] + 6 and seen)
        (dead, _), (_, alive) = by_worker.items()
        os.kill(dead, signal.SIGKILL)
        until(lambda: dead not in workers_of(process))  # until then it may serve the request
        until(lambda: open_and_received(where)[0] < count)
        alive.send("more")
        alive.recv(timeout=10)
        until(lambda: open_and_received(where)[1] == total + 1)


def test_dead_worker_is_replaced_and_others_keep_serving():
    with serving("--workers", "2") as (process, where), ExitStack() as stack:
        former = connect_to_each(where, 2, stack)
        dead, other = former
        os.kill(dead, signal.SIGKILL)
        until(lambda: len(workers_of(process) - {dead}) == 2)
        assert connect_to_each(where, 2, stack).keys() == workers_of(process)
        former[other].send("still here")
        assert former[other].recv(timeout=10) == "still here"
        process.terminate()
        _, errors = process.communicate(timeout=10)
        assert errors == f"framewire: worker {dead} exited with status -9; restarting in 0.1 s\n"
        assert process.returncode == 0


def test_worker_restart_delay_doubles_with_each_death():
    with serving("--workers", "2") as (process, _):
        steady = max(workers_of(process))
        for _ in range(3):
            victim = until(lambda: workers_of(process) - {steady}).pop()
            os.kill(victim, signal.SIGKILL)
            until(lambda victim=victim: victim not in workers_of(process))
        process.terminate()
        _, errors = process.communicate(timeout=10)
    assert re.findall(r"restarting in (\S+) s", errors) == ["0.1", "0.2", "0.4"]


def upgraded(where):
    """Open a WebSocket whose client never reads."""
    host, port = where.split(":")
    client = socket.create_connection((host, int(port)), 10)
    client.sendall(
        b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
    return client


@pytest.mark.parametrize("workers", ["1", "2"])
def test_client_not_answering_the_close_is_cut_after_the_grace_period(workers):
    with serving("--workers", workers, "--grace", "0.2") as (process, where), upgraded(where):
        process.terminate()
        process.communicate(timeout=8)  # less than the close timeout of 10 seconds
        assert process.returncode == 0


def test_second_signal_stops_the_server_at_once():
    with serving("--workers", "2", "--grace", "60") as (process, where), upgraded(where) as client:
        process.terminate()
        assert client.recv(100)[:4] == b"\x88\x02\x03\xe9"
        process.terminate()
        process.communicate(timeout=8)
        assert process.returncode == 1


def test_hanging_worker_is_killed_on_shutdown():
    with serving("--workers", "2", "--grace", "0.1") as (process, _):
        os.kill(min(workers_of(process)), signal.SIGSTOP)
        process.terminate()
        process.communicate(timeout=15)
        assert process.returncode == 1


def test_workers_stop_when_their_supervisor_dies():
    with serving("--workers", "2") as (process, where), ExitStack() as stack:
        connections = connect_to_each(where, 2, stack)
        process.kill()
        assert [close_code(connection) for connection in connections.values()] == [1001, 1001]
        host, port = where.split(":")

        def refused():
            with socket.socket() as probe:
                return probe.connect_ex((host, int(port))) != 0

        until(refused)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_with_workers_fails_if_the_port_is_in_use(workers):
    with serving("--workers", workers) as (_, where):
        done = run("serve", "--port", where.rpartition(":")[2], "--workers", "2")
    assert done.returncode == 74
    assert re.fullmatch(r"framewire: .*[Aa]ddress already in use\n", done.stderr)


def test_workers_option_is_rejected_with_handlers(tmp_path):
    done = run("serve", "-w", str(tmp_path), "--workers", "2")
    assert done.returncode == 2
    assert done.stderr == "framewire: --workers and --redis are for the chat, not for handlers\n"


@pytest.mark.parametrize(
    "wrong", [("--workers", "-1"), ("--redis", "http://127.0.0.1:6379"), ("--redis", "redis://127.0.0.1:port")]
)
def test_serve_rejects_invalid_workers_and_redis_arguments(wrong):
    done = run("serve", *wrong)
    assert done.returncode == 2
    assert wrong[0] in done.stderr.splitlines()[-1]


def test_workers_end_if_standard_output_fails():
    command = [*COMMAND, "serve", "--port", "0", "--workers", "2"]
    with open("/dev/full", "w") as full:  # `run` returns when no worker has the standard error open any more
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (74, "framewire: No space left on device\n")


#: The second call of `os.fork` fails.
FAILING_FORK = """
import os
from framewire.cli import main
fork, calls = os.fork, []
def fork_once():
    calls.append(1)
    if len(calls) == 2:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
os.fork = fork_once
raise SystemExit(main(["serve", "--port", "0", "--workers", "2"]))
"""


def test_workers_end_if_a_further_one_cannot_be_started():
    done = subprocess.run([sys.executable, "-c", FAILING_FORK], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (74, "framewire: Resource temporarily unavailable\n")


def test_no_connection_is_refused_while_a_worker_is_replaced():
    with serving("--workers", "2") as (process, where):
        address = where.partition(":")[0], int(where.partition(":")[2])
        refused, stop = [], threading.Event()

        def come_and_go():
            while not stop.is_set():
                with socket.socket() as guest:
                    refused.append(guest.connect_ex(address))

        guest = threading.Thread(target=come_and_go)
        guest.start()
        for _ in range(3):
            with ExitStack() as stack:
                victim = min(connect_to_each(where, 2, stack))  # both listen now
                os.kill(victim, signal.SIGKILL)
            until(lambda victim=victim: len(workers_of(process) - {victim}) == 2)
        stop.set()
        guest.join()
    assert set(refused) == {0}
