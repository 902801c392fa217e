"""permessage-deflate: sending and receiving, against the calls of zlib alone."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from . import receivers
from .contenders import available, backends
from .inputs import KIB, MIB, TEXT, frame, size_name
from .sinks import aiohttp_writer, picows_transport
from .tables import FAST, FLOOR, Goal, Table
from .timing import Call, Effort, measure

SIZES = (64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, MIB)
BITS, MEMORY = 12, 8
RSV1 = 0x40
TAIL = b"\x00\x00\xff\xff"
#: The fixed level of aiohttp; it is compared with a column of the same level.
LOW = 1
FAST_LOW = f"framewire, level {LOW}"
#: Values of the setting `zlib` except for the default, each at its default level, by column.
OTHERS = {"with zlib-ng": "zlib_ng", "with isal": "isal"}
NOTES = [
    f"text that looks like JSON; {BITS} bits of window, context takeover, memory level {MEMORY}, level 6, no limits",
    f"{FLOOR}: encode() and the calls of zlib alone, with the same settings; the calls of zlib and decode()",
    "framewire: Stream(SERVER, extensions=[Deflate(...)]).send(message); Stream(CLIENT, ...).receive(frame)",
    f"{', '.join(OTHERS)}: framewire and these modules, at their default levels, which compress less; measured"
    " after the others, as the vector instructions of isal slow down what runs next to it",
    "websockets: Frame.serialize() and ClientProtocol.receive_data() with its PerMessageDeflate; text is decoded",
    f"aiohttp: WebSocketWriter.send_frame(), at level {LOW} always; WebSocketReader.feed_data()",
    "picows: encode_frame() of picows.websockets and WSTransport.send(); decode_frame() and decode(), without parsing",
]


def tables(effort: Effort) -> Iterator[Table]:
    for title, contend, like_aiohttp, near in (
        ("a message to a compressed frame", senders, FAST_LOW, {256: 1.5, 4 * KIB: 1.15}),
        ("a compressed frame to a message", takers, FAST, {256: 1.3, 4 * KIB: 1.1}),
    ):
        table = Table("deflate", title, "message", NOTES)
        for size in effort.sizes(*SIZES):
            messages = texts(size)
            calls = contend(messages)
            apart = [{name: calls.pop(name)} for name in OTHERS if name in calls]
            figures = {}
            for together in (calls, *apart):
                figures |= measure(together, effort, per=len(messages))
            table.add(f"text, {size_name(size)}", figures, goals(near.get(size), like_aiohttp), size)
        yield table


def goals(near: float | None, like_aiohttp: str) -> Iterator[Goal]:
    """Yield goals: at most `near` times the time of zlib alone, faster than every peer at the same settings."""
    if near is not None:
        yield Goal(FLOOR, near)
    yield Goal("websockets", 1)
    yield Goal("picows", 1)
    yield Goal("aiohttp", 1, like_aiohttp)


def texts(size: int) -> list[str]:
    """Return messages of `size` bytes, several windows in all, so that repeats are out of reach."""
    source = random.Random(size)
    words = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randrange(2, 10))) for _ in range(400)]
    count = max(2, 32 * KIB // size)
    whole = ""
    while len(whole) < size * count:
        records = [{"id": source.randrange(10**6), "text": " ".join(source.choices(words, k=8))} for _ in range(100)]
        whole += json.dumps(records)
    return [whole[at : at + size] for at in range(0, size * count, size)]


def run(function: Callable[[Any], Any], arguments: list[Any]) -> None:
    """Call a function for each argument; this call is timed."""
    for argument in arguments:
        function(argument)


def make_stream(package: Any, role: str, level: int | None = 6, zlib: str = "zlib") -> Any:
    """Create a stream with these settings."""
    codec = package._backend.Deflate(encode_bits=BITS, decode_bits=BITS, level=level, memory_level=MEMORY, zlib=zlib)
    return package.Stream(package.Role(role), max_message_size=None, extensions=[codec])


def framewire_ends(role: str) -> dict[str, Any]:
    """Create the streams by column, with every installed zlib module."""
    packages = backends()
    ends = {name: make_stream(package, role) for name, package in packages.items()}
    if FAST in packages:
        makers = {name: partial(make_stream, packages[FAST], role, None, zlib) for name, zlib in OTHERS.items()}
        ends |= available(makers)
    return ends


def deflater(level: int = 6) -> Callable[[str], bytes]:
    """Return a function that only compresses a message."""
    compress = zlib.compressobj(level, zlib.DEFLATED, -BITS, MEMORY)
    return lambda message: compress.compress(message.encode()) + compress.flush(zlib.Z_SYNC_FLUSH)


# Sending


def senders(messages: list[str]) -> dict[str, Call]:
    """Return the calls to time by column, after a check of their frames."""
    sends: dict[str, Any] = {name: end.send for name, end in framewire_ends("server").items()}
    if FAST in sends:
        sends[FAST_LOW] = make_stream(backends()[FAST], "server", LOW).send
    for name, (make, written) in available(SENDERS).items():
        sends[name] = make
        check(name, [written(message) for message in messages], messages)
    for name in sends.keys() - SENDERS.keys():
        check(name, [sends[name](message) for message in messages], messages)
    sends[FLOOR] = deflater()
    return {name: Call(run, (send, messages)) for name, send in sends.items()}


def check(name: str, frames: list[bytes], messages: list[str]) -> None:
    """Raise AssertionError unless the first frames of a connection contain the messages."""
    if make_stream(next(iter(backends().values())), "client").receive(b"".join(frames)) != messages:
        raise AssertionError(f"{name} makes a wrong frame")


def websockets_extension() -> Any:
    from websockets.extensions.permessage_deflate import PerMessageDeflate

    return PerMessageDeflate(False, False, BITS, BITS, {"level": 6, "memLevel": MEMORY})


def websockets_sender() -> tuple[Callable[[str], Any], Callable[[str], bytes]]:
    from websockets.frames import Frame, Opcode

    extensions = [websockets_extension()]

    def send(message: str) -> bytes:
        return Frame(Opcode.TEXT, message.encode()).serialize(mask=False, extensions=extensions)

    return send, send


def aiohttp_sender() -> tuple[Callable[[str], Any], Callable[[str], bytes]]:
    writer, sink = aiohttp_writer(client=False)
    writer.compress = BITS
    write = writer._send_compressed_frame_sync  # called by send_frame(), in a thread for long messages

    def send(message: str) -> None:
        write(message.encode(), TEXT, None)

    return send, lambda message: sink.written_by(Call(send, (message,)))


def picows_sender() -> tuple[Callable[[str], Any], Callable[[str], bytes]]:
    from picows import WSMsgType
    from picows.websockets.asyncio.connection import _PerMessageDeflate

    transport, sink = picows_transport(client=False)
    encode = _PerMessageDeflate.from_response_header(f"permessage-deflate; client_max_window_bits={BITS}").encode_frame
    kind = WSMsgType.TEXT

    def send(message: str) -> None:
        transport.send(kind, encode(kind, message, True), True, True)

    return send, lambda message: sink.written_by(Call(send, (message,)))


SENDERS = {"websockets": websockets_sender, "aiohttp": aiohttp_sender, "picows": picows_sender}


# Receiving


def takers(messages: list[str]) -> dict[str, Call]:
    """Return the calls to time by column, after a check of the received messages.

    The first frame refers to no context, so the frames can be received repeatedly.
    """
    payloads = list(map(deflater(), messages))
    frames = [frame(RSV1 | TEXT, payload.removesuffix(TAIL)) for payload in payloads]
    ends = {name: receivers.Receiver(end.receive) for name, end in framewire_ends("client").items()}
    ends |= available(RECEIVERS)
    for name, receiver in ends.items():
        if receiver.messages(frames) != messages:
            raise AssertionError(f"{name} does not give what was sent")
    calls = {name: Call(receiver.run, (frames,)) for name, receiver in ends.items()}
    inflate = zlib.decompressobj(-BITS).decompress
    calls[FLOOR] = Call(run, (lambda payload: inflate(payload).decode(), payloads))
    return calls | available({"picows": picows_taker}, payloads, messages)


def websockets_receiver() -> receivers.Receiver:
    from websockets.client import ClientProtocol
    from websockets.protocol import State
    from websockets.uri import parse_uri

    protocol = ClientProtocol(parse_uri("ws://host/"), state=State.OPEN, max_size=None)
    protocol.extensions = [websockets_extension()]
    return receivers.Receiver(
        protocol.receive_data, lambda: [event.data.decode() for event in protocol.events_received()]
    )


RECEIVERS = {"websockets": websockets_receiver, "aiohttp": partial(receivers.aiohttp, text=True, compress=True)}


def picows_taker(payloads: list[bytes], messages: list[str]) -> Call:
    """Return the call that decodes parsed frames: the parser of picows only reads sockets."""
    from picows.picows import WSMsgType, _make_test_ws_frame
    from picows.websockets.asyncio.connection import _PerMessageDeflate

    decode = _PerMessageDeflate.from_response_header(f"permessage-deflate; server_max_window_bits={BITS}").decode_frame
    frames = [_make_test_ws_frame(WSMsgType.TEXT, payload.removesuffix(TAIL), True, True) for payload in payloads]

    def take(frame: Any) -> str:
        return str(decode(frame, 0), "utf-8")

    if list(map(take, frames)) != messages:
        raise AssertionError("picows does not give what was sent")
    return Call(run, (take, frames))
