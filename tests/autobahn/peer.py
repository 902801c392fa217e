"""framewire under test: an echo server, or a client that runs all cases of a fuzzing server.

usage: peer.py server PORT | peer.py client PORT AGENT
"""

import asyncio
import contextlib
import json
import sys

from framewire import ConnectionClosed
from framewire.asyncio import connect, serve

#: The largest message of the testsuite (9.1.6, 9.2.6): 16 MiB.
OPTIONS = {"max_size": 1 << 24}


async def echo(ws):
    async for message in ws:
        await ws.send(message)


async def run_server(port):
    async with serve(echo, "127.0.0.1", port, **OPTIONS) as server:
        await server.serve_forever()


async def run_client(port, agent):
    uri = f"ws://127.0.0.1:{port}"
    async with connect(f"{uri}/getCaseCount") as ws:
        count = json.loads(await ws.recv())
    for case in range(1, count + 1):
        async with connect(f"{uri}/runCase?case={case}&agent={agent}", **OPTIONS) as ws:
            with contextlib.suppress(ConnectionClosed):  # a case that fails the connection ends so
                await echo(ws)
    async with connect(f"{uri}/updateReports?agent={agent}"):
        pass


if __name__ == "__main__":
    role, port, *rest = sys.argv[1:]
    asyncio.run({"server": run_server, "client": run_client}[role](int(port), *rest))
