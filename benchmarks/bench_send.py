"""Sending: from a message to the bytes for the socket, as a server and as a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from .compiled import load_extension
from .contenders import available, backends
from .inputs import BINARY, KIB, MIB, TEXT, encoded, payload, size_name, text, unframe
from .isolated_import import import_isolated
from .sinks import aiohttp_writer, picows_transport
from .tables import FAST, FLOOR, PURE, Goal, Table
from .timing import Call, Effort, measure

SIZES = (16, 125, KIB, 16 * KIB, 64 * KIB, MIB)
KEY = b"\x37\xfa\x21\x3d"
PARTS = "send_parts"
#: The largest payload for which a peer, as a server, joins header and payload. Larger bytes are not
#: copied, as in `send_parts`; a `str` is copied once at any size, as in `send`.
JOIN_LIMITS = {"picows": 8 * KIB, "aiohttp": 16 * KIB}


class Sender(NamedTuple):
    """A sender to measure.

    Attributes:
        call: The call to time.
        frame: Returns the frame that the call creates, for checking.
    """

    call: Call
    frame: Callable[[], bytes]


def tables(effort: Effort) -> Iterator[Table]:
    for client in (False, True):
        role = "client" if client else "server"
        table = Table(
            "send",
            f"a message to bytes, as a {role}",
            "message",
            [
                f"{FLOOR}: one new object, filled by one {'XOR pass at full width' if client else 'memcpy'}",
                f"framewire: Stream({role.upper()}).send(message); {PARTS}: the same with header and payload separate",
                "websockets: Frame(opcode, data).serialize(mask=...); py is the same without its C extension",
                "wsproto: Connection.send(Message(data))",
                "aiohttp: WebSocketWriter._write_websocket_frame(), picows: WSTransport.send(), which call write();"
                " both use predictable masking keys",
                "picows passes a view of its only buffer to write(), the others return a new object",
            ],
        )
        for kind in ("text", "binary"):
            for size in effort.sizes(*SIZES):
                message = text("ASCII", size) if kind == "text" else payload(size)
                figures = measure(contenders(message, client), effort)
                table.add(f"{kind}, {size_name(size)}", figures, goals(message, client), size)
        yield table


def contenders(message: str | bytes, client: bool) -> dict[str, Call]:
    """Return the calls to time, after a check of the frames that they create."""
    packages = backends()
    senders = {name: framewire(package, message, client) for name, package in packages.items()}
    if FAST in packages:
        senders[PARTS] = framewire(packages[FAST], message, client, parts=True)
    senders |= available(PEERS, message, client)
    data = encoded(message)
    for name, sender in senders.items():
        if unframe(sender.frame()) != (0x80 | opcode_of(message), data):
            raise AssertionError(f"{name} creates a wrong frame")
    calls = {name: sender.call for name, sender in senders.items()}
    floor = load_extension("floor")
    calls[FLOOR] = Call(floor.xor_copy, (data, KEY)) if client else Call(floor.copy_of, (data,))
    return calls


def goals(message: str | bytes, client: bool) -> Iterator[Goal]:
    """Yield goals: as fast as every peer. `send_parts` is compared with peers that do not join."""
    for name in PEERS:
        separate = isinstance(message, bytes) and not client and len(message) > JOIN_LIMITS.get(name, len(message))
        yield Goal(name, 1, PARTS if separate else FAST)
    for name in ("wsproto", "websockets py"):
        yield Goal(name, 1, PURE)


def opcode_of(message: str | bytes) -> int:
    return TEXT if isinstance(message, str) else BINARY


def framewire(package: ModuleType, message: str | bytes, client: bool, parts: bool = False) -> Sender:
    stream = package.Stream(package.CLIENT if client else package.SERVER)
    if parts:
        return Sender(Call(stream.send_parts, (message,)), lambda: b"".join(stream.send_parts(message)))
    return Sender(Call(stream.send, (message,)), lambda: stream.send(message))


def wsproto(message: str | bytes, client: bool) -> Sender:
    from wsproto import ConnectionType, events
    from wsproto.connection import Connection

    connection = Connection(ConnectionType.CLIENT if client else ConnectionType.SERVER)
    event: Any = events.TextMessage if isinstance(message, str) else events.BytesMessage
    return Sender(Call(lambda: connection.send(event(message))), lambda: connection.send(event(message)))


def websockets(message: str | bytes, client: bool, hidden: str = "") -> Sender:
    frames = import_isolated("websockets.frames", hidden=hidden)
    make, opcode = frames.Frame, frames.Opcode(opcode_of(message))

    def send_text() -> bytes:
        return make(opcode, message.encode()).serialize(mask=client)

    def send_bytes() -> bytes:
        return make(opcode, message).serialize(mask=client)

    send = send_text if isinstance(message, str) else send_bytes
    return Sender(Call(send), send)


def aiohttp(message: str | bytes, client: bool) -> Sender:
    writer, sink = aiohttp_writer(client)
    write = writer._write_websocket_frame
    if isinstance(message, str):
        call = Call(lambda: write(message.encode(), TEXT, 0))
    else:
        call = Call(write, (message, BINARY, 0))
    return Sender(call, lambda: sink.written_by(call))


def picows(message: str | bytes, client: bool) -> Sender:
    from picows import WSMsgType

    transport, sink = picows_transport(client)
    call = Call(transport.send, (WSMsgType(opcode_of(message)), message))
    return Sender(call, lambda: sink.written_by(call))


#: By column, functions that return the sender of a peer.
PEERS: dict[str, Callable[[str | bytes, bool], Sender]] = {
    "wsproto": wsproto,
    "websockets": websockets,
    "websockets py": partial(websockets, hidden="websockets.speedups"),
    "aiohttp": aiohttp,
    "picows": picows,
}
