"""Masking (RFC 6455 5.3), called from Python: into a new object and in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from .compiled import load_extension
from .contenders import available, backends
from .inputs import KIB, MIB, payload, size_name, unframe, xor
from .isolated_import import import_isolated
from .sinks import picows_transport
from .tables import EMPTY, FLOOR, PURE, Goal, Table
from .timing import Call, Effort, measure

SIZES = (16, 125, KIB, 4 * KIB, 16 * KIB, 64 * KIB, MIB)
KEY = b"\x37\xfa\x21\x3d"


def tables(effort: Effort) -> Iterator[Table]:
    yield copies(effort)
    yield in_place(effort)


def copies(effort: Effort) -> Table:
    table = Table(
        "mask",
        "the masked copy of a payload",
        "call",
        [
            f"{FLOOR}: one new object, filled by one XOR pass at full width, with no check of the arguments",
            "memcpy: one new object, filled by memcpy",
            "wsaccel: a new XorMaskerSimple for each payload, because each has its own key",
            "websockets py: without its C extension",
        ],
    )
    for size in effort.sizes(*SIZES):
        data = payload(size)
        expected = xor(data, KEY)
        calls = {name: Call(package._backend.apply_mask, (data, KEY)) for name, package in backends().items()}
        calls |= available(COPIERS, data)
        calls[FLOOR] = Call(load_extension("floor").xor_copy, (data, KEY))
        for name, call in calls.items():
            if call.function(*call.arguments) != expected:
                raise AssertionError(f"{name} masks incorrectly")
        calls["memcpy"] = Call(load_extension("floor").copy_of, (data,))
        goals = [Goal(name, 1) for name in COPIERS]
        goals.append(Goal("websockets py", 1, PURE))
        table.add(size_name(size), measure(calls, effort), goals, size)
    return table


def in_place(effort: Effort) -> Table:
    """Measure masking in place; only the result of the first call is checked."""
    table = Table(
        "mask",
        "a payload masked in place",
        "call",
        [
            f"{FLOOR}: one XOR pass at full width, with no check of the arguments",
            f"{EMPTY}: a compiled function of the same arguments that does nothing",
            "picows: send_reuse_external_bytearray() of a client, which also writes the header and calls write()",
        ],
    )
    for size in effort.sizes(*SIZES):
        data = payload(size)
        calls = {
            name: Call(package._backend.apply_mask_in_place, (bytearray(data), KEY))
            for name, package in backends().items()
        }
        calls[FLOOR] = Call(load_extension("floor").xor_in_place, (bytearray(data), KEY))
        calls |= available({"aiohttp": aiohttp}, data)
        for name, call in calls.items():
            call.function(*call.arguments)
            if xor(data, KEY) not in call.arguments:
                raise AssertionError(f"{name} masks incorrectly")
        calls |= available({"picows": picows}, data)
        calls[EMPTY] = Call(load_extension("floor").mask_nothing, (bytearray(data), KEY))
        goals = (Goal("aiohttp", 1, limit=EMPTY), Goal("picows", 1, limit=EMPTY))
        table.add(size_name(size), measure(calls, effort), goals, size)
    return table


def aiohttp(data: bytes) -> Call:
    from aiohttp._websocket.helpers import websocket_mask

    return Call(websocket_mask, (KEY, bytearray(data)))


def picows(data: bytes) -> Call:
    from picows import WSMsgType

    transport, sink = picows_transport(client=True)
    header_room = 14  # picows writes the header in front of the payload
    buffer = bytearray(header_room) + data
    call = Call(transport.send_reuse_external_bytearray, (WSMsgType.BINARY, buffer, header_room))
    if unframe(sink.written_by(call)) != (0x82, data):
        raise AssertionError("picows masks incorrectly")
    return call


def websockets(data: bytes, hidden: str = "") -> Call:
    return Call(import_isolated("websockets.frames", hidden=hidden).apply_mask, (data, KEY))


def tornado(data: bytes) -> Call:
    from tornado.speedups import websocket_mask

    return Call(websocket_mask, (KEY, data))


def wsaccel(data: bytes) -> Call:
    from wsaccel.xormask import XorMaskerSimple

    return Call(lambda: XorMaskerSimple(KEY).process(data))


#: By column, functions that return the call of a peer for a payload.
COPIERS: dict[str, Callable[[bytes], Call]] = {
    "websockets": websockets,
    "websockets py": partial(websockets, hidden="websockets.speedups"),
    "tornado": tornado,
    "wsaccel": wsaccel,
}
