"""What takes the general lane: messages in many fragments, and a run of pings that want answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from types import ModuleType
from typing import Any

from .apart import import_apart
from .compiled import load_extension
from .contenders import available, backends
from .inputs import BINARY, CONTINUATION, KIB, PING, PONG, cut, frame, keys, payload
from .receivers import SETTINGS, Receiver, contend
from .tables import FLOOR, PURE, Goal, Table
from .timing import Call, Effort, measure

#: Bytes in a fragment, and in a fragmented message.
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
            "wsproto and websockets give the fragments one by one, never joined",
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
    table.add("binary", contend(messages, cut(bytes(stream)), effort, {FLOOR: floor}), GOALS, MESSAGE)
    return table


def pings(effort: Effort) -> Table:
    """Each ping is delivered and answered."""
    table = Table(
        "fragments",
        "pings of 16 B in reads of 64 KiB, with their pongs",
        "ping",
        [
            "floor: a C loop that makes the payloads; the pongs are not in it",
            "framewire: receive(read), pending(); pure is the same without its compiled half",
            "wsproto: receive_data(read), send(event.response()) for each event",
            "websockets: receive_data(read), events_received(), data_to_send()",
        ],
    )
    data = payload(16)
    reads = cut(b"".join(frame(PING, data, key) for key in islice(keys(), PINGS)))
    contenders = {name: framewire(package) for name, package in backends().items()}
    contenders |= available(PEERS)
    for name, contender in contenders.items():
        if contender.payloads(reads) != [data] * PINGS:
            raise AssertionError(f"{name} does not give the pings that were sent")
    calls = {name: Call(contender.run, (reads,)) for name, contender in contenders.items()}
    calls[FLOOR] = Call(load_extension("floor").make_bytes, (data * PINGS, 0, 16, 16, PINGS))
    table.add("16 B", measure(calls, effort, per=PINGS), GOALS, 16)
    return table


def framewire(package: ModuleType) -> Receiver:
    stream = package.Stream(package.SERVER)

    def look(events: Any) -> list[bytes]:
        _check_pongs(stream.pending(), len(events))
        return [event.payload for event in events]

    return Receiver(stream.receive, stream.pending, look)


def wsproto() -> Receiver:
    from wsproto import ConnectionType
    from wsproto.connection import Connection

    connection = Connection(ConnectionType.SERVER)

    def take() -> list[tuple[bytes, bytes]]:
        return [(bytes(event.payload), connection.send(event.response())) for event in connection.events()]

    def look(_: Any) -> list[bytes]:
        taken = take()
        _check_pongs(b"".join(pong for _, pong in taken), len(taken))
        return [payload for payload, _ in taken]

    return Receiver(connection.receive_data, take, look)


def websockets(hidden: str = "") -> Receiver:
    server = import_apart("websockets.server", hidden=hidden)
    protocol = server.ServerProtocol(state=server.State.OPEN)

    def take() -> tuple[Any, list[bytes]]:
        return protocol.events_received(), protocol.data_to_send()

    def look(_: Any) -> list[bytes]:
        frames, pongs = take()
        _check_pongs(b"".join(pongs), len(frames))
        return [frame.data for frame in frames]

    return Receiver(protocol.receive_data, take, look)


PEERS: dict[str, Callable[[], Receiver]] = {
    "wsproto": wsproto,
    "websockets": websockets,
    "websockets py": partial(websockets, hidden="websockets.speedups"),
}


def _check_pongs(pongs: bytes, count: int) -> None:
    if pongs != frame(PONG, payload(16)) * count:
        raise AssertionError("the pongs are not the answers")
