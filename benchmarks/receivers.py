"""Everything that reads a stream of masked frames, behind one shape: the server end of a connection without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from .apart import import_apart
from .backends import backends, left_out
from .inputs import encoded

#: How each one is set up. No compression, no limit, no keepalive anywhere.
SETTINGS = {
    "framewire": "Stream(SERVER, max_message_size=None).receive(read)",
    "pure": "the same without the compiled half",
    "wsproto": "Connection(SERVER): receive_data(read), list(events()); a message may come in pieces",
    "websockets": "ServerProtocol(max_size=None): receive_data(read), events_received(); text stays undecoded",
    "websockets py": "the same without its C extension",
    "aiohttp": "compiled WebSocketReader, no size limit: feed_data(read); its queue is emptied, not awaited",
}


class Receiver(NamedTuple):
    """`feed` reads what arrived; `take` fetches the events, unless `feed` returned them.

    `look` is for checking: it gets what `feed` returned and takes the payloads instead of `take`.
    """

    feed: Callable[[bytes], Any]
    take: Callable[[], Any] | None
    look: Callable[[Any], Iterable[str | bytes]]

    def run(self, reads: list[bytes]) -> None:
        """What is timed: all reads, each with its events."""
        feed, take = self.feed, self.take
        if take is None:
            for read in reads:
                feed(read)
        else:
            for read in reads:
                feed(read)
                take()

    def payloads(self, reads: list[bytes]) -> list[str | bytes]:
        """What comes out of all reads."""
        return [payload for read in reads for payload in self.look(self.feed(read))]


def framewire(package: ModuleType) -> Receiver:
    stream = package.Stream(package.SERVER, max_message_size=None)
    return Receiver(stream.receive, None, lambda events: events)


def wsproto() -> Receiver:
    from wsproto import ConnectionType
    from wsproto.connection import Connection

    connection = Connection(ConnectionType.SERVER)
    return Receiver(
        connection.receive_data,
        lambda: list(connection.events()),
        lambda _: [event.data for event in connection.events()],
    )


def websockets(hidden: str = "") -> Receiver:
    server = import_apart("websockets.server", hidden=hidden)
    protocol = server.ServerProtocol(state=server.State.OPEN, max_size=None)
    return Receiver(
        protocol.receive_data,
        protocol.events_received,
        lambda _: [frame.data for frame in protocol.events_received()],
    )


def aiohttp() -> Receiver:
    from aiohttp._websocket import reader_c

    protocol = SimpleNamespace(_reading_paused=False)
    queue = reader_c.WebSocketDataQueue(protocol, (1 << 31) - 1, loop=asyncio.new_event_loop())
    reader = reader_c.WebSocketReader(queue, 0, False, True)
    messages = queue._buffer

    def look(_: Any) -> list[str | bytes]:
        payloads = [message.data for message, _ in messages]
        messages.clear()
        return payloads

    return Receiver(reader.feed_data, messages.clear, look)


#: The peers by column.
PEERS: dict[str, Callable[[], Receiver]] = {
    "wsproto": wsproto,
    "websockets": websockets,
    "websockets py": lambda: websockets(hidden="websockets.speedups"),
    "aiohttp": aiohttp,
}


def receivers(*peers: str) -> dict[str, Receiver]:
    """framewire, compiled and pure, and the named peers, as far as they are installed (default: all)."""
    found = {name: framewire(package) for name, package in backends().items()}
    for name in peers or PEERS:
        try:
            found[name] = PEERS[name]()
        except ImportError as error:
            left_out(name, error)
    return found


def check(name: str, receiver: Receiver, reads: list[bytes], messages: list[str | bytes]) -> None:
    """Whether everything that was sent came out, whatever the pieces. AssertionError if not."""
    expected = b"".join(map(encoded, messages))
    got = b"".join(bytes(encoded(payload)) for payload in receiver.payloads(reads))
    if got != expected:
        raise AssertionError(f"{name} gave {len(got)} bytes of payload that are not the {len(expected)} sent")
