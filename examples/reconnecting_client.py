"""A client that reconnects with exponential backoff when its connection fails.

The delay doubles from 0.25 to 30 seconds and is randomized, so that many clients do not reconnect
at the same moment. It is reset when a connection has opened.
"""

import asyncio
import random
import sys

from framewire import ConnectionClosed, ConnectionClosedOK, ResponseError
from framewire.asyncio import connect

#: In seconds.
MIN_DELAY, MAX_DELAY = 0.25, 30


async def messages(uri, min_delay=MIN_DELAY):
    """Yield the messages of all connections, until the server closes with code 1000 or 1001."""
    delay = min_delay
    while True:
        try:
            async with connect(uri) as ws:
                delay = min_delay
                while True:
                    yield await ws.recv()
        except ConnectionClosedOK:
            return
        except (ConnectionClosed, ResponseError, OSError, TimeoutError) as error:
            print(f"{error}; reconnecting in {delay:.2f} s", file=sys.stderr)
        await asyncio.sleep(delay * random.uniform(0.5, 1))
        delay = min(delay * 2, MAX_DELAY)


async def main(uri):
    """Print the messages."""
    async for message in messages(uri):
        print(message)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:9998/"))
