"""Push notifications: the server sends a message to all clients when something happens.

A new client gets the last notification first. `publish` does not wait: a client that does not read
gets the newest notification once it reads again, so that it neither uses memory nor delays other
clients.
"""

import asyncio
import json
import sys
import time

from framewire.asyncio import Topics, serve


class Feed:
    """The last notification and the subscriptions of the clients."""

    def __init__(self):
        self._topics = Topics(policy="latest")
        self._last = None

    async def subscribe(self, ws):
        """Serve one client; its messages are ignored."""
        if self._last is not None:
            await ws.send(self._last)
        self._topics.subscribe(ws, "news")
        async for _ in ws:
            pass

    def publish(self, **notification):
        """Send a notification to all clients."""
        self._last = json.dumps(notification)
        self._topics.publish("news", self._last)


async def main(port):
    """Serve a feed with the time, every second."""
    feed = Feed()
    async with serve(feed.subscribe, "127.0.0.1", port) as server:
        print("ws://{}:{}/".format(*server.sockets[0].getsockname()), flush=True)
        while True:
            feed.publish(time=time.strftime("%H:%M:%S"))
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9998))
