"""Everything that reads a stream of masked frames, behind one shape: a server's end without its socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from .apart import import_apart
from .contenders import available, backends
from .sinks import LOOP
from .timing import Call, Effort, measure

#: How each one is set up. No compression, no limit, no keepalive anywhere; each gives whole messages, as str or bytes.
SETTINGS = (
    "framewire: Stream(SERVER, max_message_size=None).receive(read); pure is the same without its compiled half",
    "wsproto: Connection(SERVER): receive_data(read), events(); the pieces of a message are joined",
    "websockets: ServerProtocol(max_size=None): receive_data(read), events_received(); fragments are joined, text is"
    " decoded; py is the same without its C extension",
    "aiohttp: the compiled WebSocketReader, no size limit: feed_data(read); its queue is emptied, not awaited",
)


class Receiver(NamedTuple):
    """`feed` reads what arrived; `take` fetches the messages, unless `feed` returned them.

    `look` fetches them for checking where `take` only drops them.
    """

    feed: Callable[[bytes], Any]
    take: Callable[[], Any] | None = None
    look: Callable[[], Any] | None = None

    def run(self, reads: list[bytes]) -> None:
        """What is timed: all reads, each with its messages."""
        feed, take = self.feed, self.take
        if take is None:
            for read in reads:
                feed(read)
        else:
            for read in reads:
                feed(read)
                take()

    def messages(self, reads: list[bytes]) -> list[str | bytes]:
        """What comes out of all reads."""
        messages: list[str | bytes] = []
        for read in reads:
            fed = self.feed(read)
            take = self.look or self.take
            messages += fed if take is None else take()
        return messages


def framewire(package: ModuleType) -> Receiver:
    return Receiver(package.Stream(package.SERVER, max_message_size=None).receive)


def wsproto(text: bool) -> Receiver:
    from wsproto import ConnectionType
    from wsproto.connection import Connection

    connection = Connection(ConnectionType.SERVER)
    parts: list[Any] = []
    join: Any = ("" if text else b"").join

    def take() -> list[str | bytes]:
        messages = []
        event: Any
        for event in connection.events():
            data = event.data
            if parts or not event.message_finished:
                parts.append(data)
                if not event.message_finished:
                    continue
                data = join(parts)
                parts.clear()
            messages.append(data)
        return messages

    return Receiver(connection.receive_data, take)


def websockets(text: bool, hidden: str = "") -> Receiver:
    server = import_apart("websockets.server", hidden=hidden)
    protocol = server.ServerProtocol(state=server.State.OPEN, max_size=None)
    parts: list[bytes] = []

    def take() -> list[str | bytes]:
        messages: list[str | bytes] = []
        for frame in protocol.events_received():
            data = frame.data
            if parts or not frame.fin:
                parts.append(data)
                if not frame.fin:
                    continue
                data = b"".join(parts)
                parts.clear()
            messages.append(data.decode() if text else data)
        return messages

    return Receiver(protocol.receive_data, take)


def aiohttp(text: bool, compress: bool = False) -> Receiver:
    from aiohttp._websocket import reader_c

    protocol = SimpleNamespace(_reading_paused=False)
    queue = reader_c.WebSocketDataQueue(protocol, (1 << 31) - 1, loop=LOOP)
    reader = reader_c.WebSocketReader(queue, 0, compress, True)
    buffered = queue._buffer

    def look() -> list[str | bytes]:
        messages = [message.data for message, _ in buffered]
        buffered.clear()
        return messages

    return Receiver(reader.feed_data, buffered.clear, look)


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
    calls = {}
    for name, receiver in receivers(isinstance(messages[0], str)).items():
        if receiver.messages(reads) != messages:
            raise AssertionError(f"{name} does not give what was sent")
        calls[name] = Call(receiver.run, (reads,))
    return measure({**calls, **others}, effort, per=len(messages))
