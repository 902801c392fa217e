"""Frames on the slow path: messages in many fragments, and pings with their pongs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from types import ModuleType
from typing import Any

from .compiled import load_extension
from .contenders import available, backends
from .inputs import BINARY, CONTINUATION, KIB, PING, PONG, cut, frame, keys, payload
from .isolated_import import import_isolated
from .receivers import SETTINGS, contend
from .tables import FLOOR, PURE, Goal, Table
from .timing import Call, Effort, measure

#: Size of a fragment and of a fragmented message, in bytes.
FRAGMENT, MESSAGE = 64, 16 * KIB
PINGS = 4000
GOALS = (Goal.faster("websockets", 3), Goal("wsproto", 1, PURE), Goal("websockets py", 1, PURE))


def tables(effort: Effort) -> Iterator[Table]:
    yield fragments(effort)
    yield pings(effort)


def fragments(effort: Effort) -> Table:
    table = Table(
        "fragments",
        f"binary messages of {MESSAGE // KIB} KiB in fragments of {FRAGMENT} B, in reads of 64 KiB",
        "message",
        [
            "floor: one new object and one memcpy of the whole message",
            *SETTINGS,
        ],
    )
    message = payload(MESSAGE)
    messages: list[str | bytes] = [message] * (16 if effort.seconds else 4)
    stream = bytearray()
    source = keys()
    for _ in messages:
        for start in range(0, MESSAGE, FRAGMENT):
            stream += frame(
                CONTINUATION if start else BINARY,
                message[start : start + FRAGMENT],
                next(source),
                final=start + FRAGMENT == MESSAGE,
            )
    floor = Call(load_extension("floor").copy_each, (messages,))
    table.add("message, 16 KiB", contend(messages, cut(bytes(stream)), effort, {FLOOR: floor}), GOALS, MESSAGE)
    return table


def pings(effort: Effort) -> Table:
    """Measure pings, each of which is delivered and answered."""
    table = Table(
        "fragments",
        "pings of 16 B in reads of 64 KiB, with their pongs",
        "ping",
        [
            "floor: a C loop that creates the payloads, without the pongs",
            "framewire: receive(read), pending(); pure is the same without the compiled backend",
            "wsproto: receive_data(read), send(event.response()) for each event",
            "websockets: receive_data(read), events_received(), data_to_send()",
        ],
    )
    data = payload(16)
    reads = cut(b"".join(frame(PING, data, key) for key in islice(keys(), PINGS)))
    answerers: dict[str, Answerer] = {name: framewire(package) for name, package in backends().items()}
    answerers |= available(PEERS)
    calls = {}
    for name, answer in answerers.items():
        answers = [answer(read) for read in reads]
        if b"".join(pongs for _, pongs in answers) != frame(PONG, data) * PINGS:
            raise AssertionError(f"{name} does not return the right pongs")
        if [getattr(ping, "data", None) or ping.payload for pings, _ in answers for ping in pings] != [data] * PINGS:
            raise AssertionError(f"{name} does not return the pings that were sent")
        calls[name] = Call(answer_all, (answer, reads))
    calls[FLOOR] = Call(load_extension("floor").make_bytes, (data * PINGS, 0, 16, 16, PINGS))
    table.add("ping, 16 B", measure(calls, effort, per=PINGS), GOALS, 16)
    return table


#: Receives a read; returns the pings in it and the bytes of their pongs.
Answerer = Callable[[bytes], tuple[list[Any], bytes]]


def answer_all(answer: Answerer, reads: list[bytes]) -> None:
    for read in reads:
        answer(read)


def framewire(package: ModuleType) -> Answerer:
    stream = package.Stream(package.SERVER)
    return lambda read: (stream.receive(read), stream.pending())


def wsproto() -> Answerer:
    from wsproto import ConnectionType
    from wsproto.connection import Connection

    connection = Connection(ConnectionType.SERVER)

    def answer(read: bytes) -> tuple[list[Any], bytes]:
        connection.receive_data(read)
        pings: list[Any] = list(connection.events())
        return pings, b"".join([connection.send(ping.response()) for ping in pings])

    return answer


def websockets(hidden: str = "") -> Answerer:
    server = import_isolated("websockets.server", hidden=hidden)
    protocol = server.ServerProtocol(state=server.State.OPEN)

    def answer(read: bytes) -> tuple[list[Any], bytes]:
        protocol.receive_data(read)
        return protocol.events_received(), b"".join(protocol.data_to_send())

    return answer


PEERS: dict[str, Callable[[], Answerer]] = {
    "wsproto": wsproto,
    "websockets": websockets,
    "websockets py": partial(websockets, hidden="websockets.speedups"),
}
