"""Receivers of masked frames with a common interface: the servers of the libraries, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from .contenders import available, backends
from .isolated_import import import_isolated
from .sinks import LOOP
from .timing import Call, Effort, measure

#: The settings of each receiver: no compression, size limit or keepalive, and whole messages as str
#: or bytes.
SETTINGS = (
    "framewire: Stream(SERVER, max_message_size=None).receive(read); pure is the same without the compiled backend",
    "wsproto: Connection(SERVER): receive_data(read), events(); the parts of a message are joined",
    "websockets: ServerProtocol(max_size=None): receive_data(read), events_received(); fragments are joined, text is"
    " decoded; py is the same without its C extension",
    "aiohttp: the compiled WebSocketReader, no size limit: feed_data(read); its queue is emptied, not awaited",
)


class Receiver(NamedTuple):
    """A receiver to measure.

    Attributes:
        feed: Receives a read; returns its messages if `take` is None.
        take: Returns the messages of the last read, or only drops them if `look` is given.
        look: Returns the messages of the last read, for checking.
    """

    feed: Callable[[bytes], Any]
    take: Callable[[], Any] | None = None
    look: Callable[[], Any] | None = None

    def run(self, reads: list[bytes]) -> None:
        """Receive all reads and their messages; this call is timed."""
        feed, take = self.feed, self.take
        if take is None:
            for read in reads:
                feed(read)
        else:
            for read in reads:
                feed(read)
                take()

    def messages(self, reads: list[bytes]) -> list[str | bytes]:
        """Return the messages of all reads."""
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
    server = import_isolated("websockets.server", hidden=hidden)
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


#: By column, functions that return the receiver of a peer, for text or binary messages.
PEERS: dict[str, Callable[[bool], Receiver]] = {
    "wsproto": wsproto,
    "websockets": websockets,
    "websockets py": partial(websockets, hidden="websockets.speedups"),
    "aiohttp": aiohttp,
}


def receivers(text: bool) -> dict[str, Receiver]:
    """Return the receivers of framewire, compiled and pure, and of the installed peers."""
    return {name: framewire(package) for name, package in backends().items()} | available(PEERS, text)


def contend(
    messages: list[str | bytes], reads: list[bytes], effort: Effort, others: Mapping[str, Call]
) -> dict[str, float]:
    """Check the messages of every receiver, then time the receivers and other calls.

    Args:
        messages: The messages in the reads.
        reads: The reads.
        effort: How long to measure.
        others: Other calls by column, such as the floor.

    Returns:
        Nanoseconds per message, by column.
    """
    calls = {}
    for name, receiver in receivers(isinstance(messages[0], str)).items():
        if receiver.messages(reads) != messages:
            raise AssertionError(f"{name} does not return the messages that were sent")
        calls[name] = Call(receiver.run, (reads,))
    return measure({**calls, **others}, effort, per=len(messages))
