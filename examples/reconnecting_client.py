"""A client that stays connected: when the connection breaks it comes back, each time after a longer pause.

The pause doubles from a quarter of a second to half a minute and has a random part, so that a thousand clients do not
come back in the same moment. It begins anew once a connection has opened.
"""

import asyncio
import random
import sys

from framewire import ConnectionClosed, ConnectionClosedOK, ResponseError
from framewire.asyncio import connect

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30


async def messages(uri, first_pause=FIRST_PAUSE):
    """Yields the messages of all connections, until the server closes in an orderly way."""
    pause = first_pause
    while True:
        try:
            async with connect(uri) as ws:
                pause = first_pause
                while True:
                    yield await ws.recv()
        except ConnectionClosedOK:
            return
        except (ConnectionClosed, ResponseError, OSError, TimeoutError) as error:
            print(f"{error}; again in {pause:.2f} s", file=sys.stderr)
        await asyncio.sleep(pause * random.uniform(0.5, 1))
        pause = min(pause * 2, LONGEST_PAUSE)


async def main(uri):
    """Prints the messages."""
    async for message in messages(uri):
        print(message)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:9998/"))
