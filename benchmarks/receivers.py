"""Everything that reads a stream of masked frames, behind one shape: a server's end without its socket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from .apart import import_apart
from .contenders import available, backends
from .sinks import LOOP
from .timing import Call, Effort, measure

#: How each one is set up. No compression, no limit, no keepalive anywhere.
SETTINGS = (
    "framewire: Stream(SERVER, max_message_size=None).receive(read); pure is the same without its compiled half",
    "wsproto: Connection(SERVER): receive_data(read), list(events()); a cut message comes in pieces, never joined",
    "websockets: ServerProtocol(max_size=None): receive_data(read), events_received(), decode() of each text;"
    " py is the same without its C extension",
    "aiohttp: the compiled WebSocketReader, no size limit: feed_data(read); its queue is emptied, not awaited",
)


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


def wsproto(text: bool) -> Receiver:
    from wsproto import ConnectionType
    from wsproto.connection import Connection

    connection = Connection(ConnectionType.SERVER)
    return Receiver(
        connection.receive_data,
        lambda: list(connection.events()),
        lambda _: [event.data for event in connection.events()],
    )


def websockets(text: bool, hidden: str = "") -> Receiver:
    server = import_apart("websockets.server", hidden=hidden)
    protocol = server.ServerProtocol(state=server.State.OPEN, max_size=None)
    received = protocol.events_received

    def decoded() -> list[str]:
        return [frame.data.decode() for frame in received()]

    return Receiver(
        protocol.receive_data,
        decoded if text else received,
        lambda _: decoded() if text else [frame.data for frame in received()],
    )


def aiohttp(text: bool) -> Receiver:
    from aiohttp._websocket import reader_c

    protocol = SimpleNamespace(_reading_paused=False)
    queue = reader_c.WebSocketDataQueue(protocol, (1 << 31) - 1, loop=LOOP)
    reader = reader_c.WebSocketReader(queue, 0, False, True)
    messages = queue._buffer

    def look(_: Any) -> list[str | bytes]:
        payloads = [message.data for message, _ in messages]
        messages.clear()
        return payloads

    return Receiver(reader.feed_data, messages.clear, look)


#: The peers by column; each takes whether text is to come.
PEERS: dict[str, Callable[[bool], Receiver]] = {
    "wsproto": wsproto,
    "websockets": websockets,
    "websockets py": partial(websockets, hidden="websockets.speedups"),
    "aiohttp": aiohttp,
}


def receivers(text: bool) -> dict[str, Receiver]:
    """framewire, compiled and pure, and the peers as far as they are installed."""
    return {name: framewire(package) for name, package in backends().items()} | available(PEERS, text)


def contend(
    messages: list[str | bytes], reads: list[bytes], effort: Effort, others: Mapping[str, Call]
) -> dict[str, float]:
    """Checks what every receiver makes of the reads, then times them and the others: nanoseconds per message."""
    expected = type(messages[0])().join(messages)
    calls = {}
    for name, receiver in receivers(type(expected) is str).items():
        if type(expected)().join(receiver.payloads(reads)) != expected:
            raise AssertionError(f"{name} does not give what was sent")
        calls[name] = Call(receiver.run, (reads,))
    return measure({**calls, **others}, effort, per=len(messages))
