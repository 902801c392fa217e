"""Measure how much faster a server is in two event loops than in one, on free-threaded Python.

In each round the server echoes, or sends, messages of all connections, of which each loop has the same
number; its clients, in this process, rest meanwhile. So both cores are the server's.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from framewire import asyncio as ours

from .room_client import Client, message_of

#: What is measured, connections, messages of a round for each of them, their size in bytes.
ROWS = (("echo", 40, 250, 32), ("broadcast", 400, 20, 256), ("publish", 400, 20, 256))

#: How many servers are measured, of which the fastest counts.
PROCESSES = 5

#: Smallest ratio of speeds on two cores.
GOAL = 1.7


async def serve(way, threads, connections, count, size):
    """Run the measured server: print its port, and a line when all messages of a round are sent."""
    lock, members, topics, echoed = threading.Lock(), Counter(), ours.Topics(), 0
    opened, done = [], asyncio.Event()

    async def handler(connection):
        nonlocal echoed
        with lock:
            members[connection.loop] += 1
            if members[connection.loop] > connections // threads:
                return  # the client tries again
            opened.append(connection)
        topics.subscribe(connection, "all")
        await connection.send("ready")
        number = 0
        async for message in connection:
            await connection.send(message)
            number += 1
            if number % count == 0:
                with lock:
                    echoed += 1
                    if echoed % connections == 0:
                        print("done", flush=True)

    messages = [message_of(number, size) for number in range(count)]

    async def send():
        for message in messages:
            if way == "publish":
                topics.publish("all", message)
            else:
                ours.broadcast(opened, message)
            await asyncio.sleep(0)  # what this turn has published leaves
        settled = [asyncio.run_coroutine_threadsafe(asyncio.sleep(0.0), loop) for loop in members]
        await asyncio.gather(*map(asyncio.wrap_future, settled))
        print("done", flush=True)

    def begin_round():
        if not sys.stdin.buffer.raw.readline():
            done.set()
            return
        tasks.append(asyncio.ensure_future(send()))

    tasks = []
    options = {"ping_interval": None, "compression": None, "max_queue": None, "allow_gil": True}
    server = await ours.serve(handler, "127.0.0.1", 0, threads=threads, **options)
    asyncio.get_running_loop().add_reader(sys.stdin, begin_round)
    print(server.sockets[0].getsockname()[1], flush=True)
    await done.wait()
    os._exit(0)


def open_clients(port, number):
    """Connect clients; the server refuses those of a loop that has its share."""
    clients = []
    while len(clients) < number:
        client = Client(port)
        try:
            client.receive(["ready"])
        except AssertionError:
            client.socket.close()
        else:
            clients.append(client)
    return clients


def measure(way, threads, connections, count, size, rounds):
    """Return the shortest time of a round in seconds."""
    words = ["-m", "benchmarks.loops", way, *map(str, (threads, connections, count, size))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    messages = [message_of(number, size) for number in range(count)]
    times, clients = [], []
    with subprocess.Popen([sys.executable, *words], cwd=Path(__file__).parents[1], **pipes) as process:
        try:
            clients += open_clients(int(process.stdout.readline()), connections)
            for _ in range(rounds):
                if way == "echo":
                    os.kill(process.pid, signal.SIGSTOP)  # until all messages wait in its sockets
                    for client in clients:
                        client.socket.sendall(b"".join(map(client.stream.send, messages)))
                start = time.perf_counter()
                if way == "echo":
                    os.kill(process.pid, signal.SIGCONT)
                else:
                    process.stdin.write("\n")
                    process.stdin.flush()
                process.stdout.readline()
                times.append(time.perf_counter() - start)
                for client in clients:
                    client.receive(messages)
        finally:
            process.kill()
            for client in clients:
                client.socket.close()
    return min(times)


def report(rounds):
    """Print the ratios, and whether each meets the goal."""
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        print("2 loops / 1 loop: left out, as this Python has a GIL")
        return
    for way, *load in ROWS:
        # Where in memory a process has its objects decides which of them its threads contend for.
        one, two = (min(measure(way, threads, *load, rounds) for _ in range(PROCESSES)) for threads in (1, 2))
        verdict = "met" if one / two >= GOAL else "MISSED"
        print(f"2 loops / 1 loop, {way}: {one / two:.2f} times as fast, goal {GOAL}: {verdict}")


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], *map(int, sys.argv[2:])))
